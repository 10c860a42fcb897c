"""Readers of decoders some of whose layers are mixtures of experts: ernie4_5_moe, glm4_moe,
granitemoe, llama4, minimax_m2, olmoe, qwen2_moe.

Fields and defaults are those of Hugging Face Transformers (``Glm4MoeConfig``, ...).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from einsum_cascade.yaml.source import YamlNode

from ..models import Experts, FeedForward, Layer, ModelConfig
from .fields import (
    SiluGate,
    Size,
    SizeOrZero,
    attention_biases,
    build_model,
    check_full_attention,
    check_layer_indices,
    check_per_layer,
    checked_per_token,
    constant,
    feed_forward,
    field_error,
    one_per_layer,
    read_fields,
)
from .softmax import DecoderConfig, Halves, decoder_stack, layer_windows, softmax_heads
from .vision import Llama4MultimodalConfig, llama4_encoder, multimodal_model


class _Glm4MoeConfig(DecoderConfig):
    ignored = ("num_nextn_predict_layers", "use_grouped_mm")
    """Layers that predict further tokens are no part of what is read."""

    hidden_act: SiluGate = None
    num_key_value_heads: Size = 8
    attention_bias: bool = False
    use_qk_norm: bool = False
    moe_intermediate_size: Size
    n_routed_experts: Size
    num_experts_per_tok: Size
    n_shared_experts: SizeOrZero
    first_k_dense_replace: SizeOrZero


def glm4_moe(root: YamlNode) -> ModelConfig:
    """``Glm4MoeConfig``: the first layers are dense, the others have experts, some for all."""
    c = read_fields(_Glm4MoeConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d, experts = c.hidden_size, c.n_routed_experts
    mixer = softmax_heads(root, c, c.num_key_value_heads, qk_norm=c.use_qk_norm)
    other = 2 * d + (2 * mixer.qk_width if c.use_qk_norm else 0)
    # Queries, keys and values have biases, the output has none.
    other += attention_biases(mixer, d, output=False) if c.attention_bias else 0
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture = Experts(
        experts=experts,
        per_token=checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.moe_intermediate_size,
        shared_inner=c.moe_intermediate_size * c.n_shared_experts,
    )
    layers = []
    for index in range(c.num_hidden_layers):
        sparse = index >= c.first_k_dense_replace
        ffn: FeedForward | Experts = mixture if sparse else dense
        # The router has a bias an expert, by which loads are evened out.
        more = experts if sparse else 0
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other + more))
    return build_model(c, "glm4_moe", d, layers, d)


class _Llama4TextConfig(DecoderConfig):
    ignored = ("attn_temperature_tuning", "attn_scale", "floor_scale", "use_qk_norm", "for_llm_*")
    """Scales of queries, and norms without weights."""

    hidden_act: SiluGate = None
    num_key_value_heads: Size = 8
    head_dim: Size | None = 128
    intermediate_size: Size
    """Of an expert, and of the one that all tokens pass."""
    intermediate_size_mlp: Size
    """Of the layers without experts."""
    num_local_experts: SizeOrZero = 16
    num_experts_per_tok: SizeOrZero = 1
    interleave_moe_layer_step: SizeOrZero = 1
    moe_layers: tuple[SizeOrZero, ...] | None = None
    attention_chunk_size: Size | None = 8192
    no_rope_layers: Annotated[tuple[int, ...], one_per_layer(0, 1)] | None = None
    no_rope_layer_interval: Size = 4
    attention_bias: bool = False
    layer_types: (
        Annotated[tuple[str, ...], one_per_layer("full_attention", "chunked_attention")] | None
    ) = None


def llama4_text(root: YamlNode) -> ModelConfig:
    """``Llama4TextConfig``: layers with rotations see chunks, the others all; some have experts."""
    c = read_fields(_Llama4TextConfig, root)
    d, experts = c.hidden_size, c.num_local_experts
    full = softmax_heads(root, c, c.num_key_value_heads)
    other = 2 * d + (attention_biases(full, d) if c.attention_bias else 0)
    dense = feed_forward(c.intermediate_size_mlp, gated=True, activation=None)
    sparse = _sparse_layers(root, c)
    layers = []
    for index, chunked in enumerate(_chunked_layers(root, c)):
        mixer = replace(full, chunk=c.attention_chunk_size) if chunked else full
        ffn: FeedForward | Experts = dense
        if index in sparse:
            per_token = checked_per_token(
                root, "num_experts_per_tok", c.num_experts_per_tok, experts
            )
            ffn = Experts(
                experts=experts,
                per_token=per_token,
                inner=c.intermediate_size,
                shared_inner=c.intermediate_size,
            )
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "llama4_text", d, layers, d)


def _sparse_layers(root: YamlNode, c: _Llama4TextConfig) -> frozenset[int]:
    """The layers with experts: as listed, else every so many, the last of them."""
    # A step of 2: layers 1, 3, 5, ... from 0. A step of 0: none.
    step, count = c.interleave_moe_layer_step, c.num_hidden_layers
    listed = range(step - 1, count, step) if c.moe_layers is None and step else c.moe_layers or ()
    check_layer_indices(root, "moe_layers", listed, count)
    for field in ("num_local_experts", "num_experts_per_tok"):
        if listed and not getattr(c, field):
            raise field_error(root, field, "some layers have experts, and this is 0")
    return frozenset(listed)


def _chunked_layers(root: YamlNode, c: _Llama4TextConfig) -> list[bool]:
    count = c.num_hidden_layers
    if c.no_rope_layers:
        check_per_layer(root, "no_rope_layers", c.no_rope_layers, count)
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, count)
        found = [kind == "chunked_attention" for kind in c.layer_types]
        if any(found) and c.attention_chunk_size is None:
            text = "'chunked_attention' needs an attention_chunk_size"
            raise field_error(root, "layer_types", text)
        return found
    if c.no_rope_layers:
        return [rotated == 1 for rotated in c.no_rope_layers]
    return [(index + 1) % c.no_rope_layer_interval != 0 for index in range(count)]


def llama4(root: YamlNode) -> ModelConfig:
    """``Llama4Config``: the language model runs; an encoder of images counts as parameters."""
    return multimodal_model(root, Llama4MultimodalConfig, llama4_text, llama4_encoder)


def _mixture(
    root: YamlNode, experts: int, per_token: int, inner: int, shared: int = 0, field: str = ""
) -> Experts:
    """Experts of which a token goes to some, checked against how many there are."""
    chosen = checked_per_token(root, field or "num_experts_per_tok", per_token, experts)
    return Experts(experts=experts, per_token=chosen, inner=inner, shared_inner=shared)


class _Qwen2MoeConfig(DecoderConfig):
    num_key_value_heads: Size | None = 16
    hidden_act: SiluGate = None
    use_sliding_window: bool = False
    sliding_window: SizeOrZero | None = 4096
    max_window_layers: SizeOrZero = 28
    num_experts: SizeOrZero = 60
    num_experts_per_tok: Size = 4
    moe_intermediate_size: Size = 1408
    shared_expert_intermediate_size: SizeOrZero = 5632
    decoder_sparse_step: Size = 1
    mlp_only_layers: tuple[SizeOrZero, ...] | None = None
    qkv_bias: bool = True


def qwen2_moe(root: YamlNode) -> ModelConfig:
    """``Qwen2MoeConfig``: as qwen2, with experts beside one that all tokens pass."""
    c = read_fields(_Qwen2MoeConfig, root)
    d, count, experts = c.hidden_size, c.num_hidden_layers, c.num_experts
    ffns: list[FeedForward | Experts] = [
        feed_forward(c.intermediate_size, gated=True, activation=None)
    ] * count
    check_layer_indices(root, "mlp_only_layers", c.mlp_only_layers or (), count)
    if experts:
        shared = c.shared_expert_intermediate_size
        mixture = _mixture(root, experts, c.num_experts_per_tok, c.moe_intermediate_size, shared)
        for index in range(c.decoder_sparse_step - 1, count, c.decoder_sparse_step):
            if index not in (c.mlp_only_layers or ()):
                ffns[index] = mixture
    # Every second layer up to so many, the first among them, where windows are switched on.
    window = (c.sliding_window or None) if c.use_sliding_window else None
    windowed = [index % 2 == 0 and index < c.max_window_layers for index in range(count)]

    def beside(halves: Halves) -> int:
        biases = attention_biases(halves.mixer, d, output=False) if c.qkv_bias else 0
        # One number a token weighs the shared expert.
        return 2 * d + biases + (d if isinstance(halves.ffn, Experts) else 0)

    return decoder_stack(
        root,
        c,
        "qwen2_moe",
        c.num_key_value_heads,
        beside,
        windows=layer_windows(root, c, window, windowed),
        ffns=ffns,
    )


class _OlmoeConfig(DecoderConfig):
    num_key_value_heads: Size | None = None
    hidden_act: SiluGate = None
    attention_bias: bool = False
    num_experts: Size = 64
    num_experts_per_tok: Size = 8


def olmoe(root: YamlNode) -> ModelConfig:
    """``OlmoeConfig``: experts in all layers; queries and keys normalised over all heads."""
    c = read_fields(_OlmoeConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size
    mixture = _mixture(root, c.num_experts, c.num_experts_per_tok, c.intermediate_size)

    def beside(halves: Halves) -> int:
        a = halves.mixer
        biases = attention_biases(a, d) if c.attention_bias else 0
        return 2 * d + (a.heads + a.kv_heads) * a.qk_width + biases

    ffns = [mixture] * c.num_hidden_layers
    return decoder_stack(root, c, "olmoe", c.num_key_value_heads, beside, ffns=ffns, qk_norm=True)


class _GraniteMoeConfig(DecoderConfig):
    ignored = (
        *("embedding_multiplier", "logits_scaling", "residual_multiplier"),
        "attention_multiplier",
    )
    """Constants by which what is there is multiplied."""

    num_key_value_heads: Size | None = None
    hidden_act: SiluGate = None
    attention_bias: bool = False
    num_local_experts: Size = 8
    num_experts_per_tok: Size = 2


def granitemoe(root: YamlNode) -> ModelConfig:
    """``GraniteMoeConfig``: as granite, with experts in all layers."""
    c = read_fields(_GraniteMoeConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size
    mixture = _mixture(root, c.num_local_experts, c.num_experts_per_tok, c.intermediate_size)

    def beside(halves: Halves) -> int:
        return 2 * d + (attention_biases(halves.mixer, d) if c.attention_bias else 0)

    ffns = [mixture] * c.num_hidden_layers
    return decoder_stack(root, c, "granitemoe", c.num_key_value_heads, beside, ffns=ffns)


class _MiniMaxM2Config(DecoderConfig):
    ignored = (
        *("use_mtp", "num_mtp_modules", "mtp_transformer_layers", "layernorm_*"),
        *("mlp_intermediate_size", "shared_moe_mode"),
    )
    """Further tokens, and what no layer has."""
    aliases = (("num_experts", "num_local_experts"),)

    num_key_value_heads: Size | None = 8
    head_dim: Size | None = 128
    hidden_act: SiluGate = None
    num_local_experts: Size = 256
    num_experts_per_tok: Size = 8
    use_qk_norm: bool = True
    qk_norm_type: Annotated[str | None, constant("per_layer")] = None
    use_routing_bias: bool = True
    attn_type_list: Annotated[tuple[int, ...], one_per_layer(1)] | None = None


def minimax_m2(root: YamlNode) -> ModelConfig:
    """``MiniMaxM2Config``: queries and keys normalised over all heads; experts in all layers."""
    c = read_fields(_MiniMaxM2Config, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    if c.attn_type_list is not None:
        check_per_layer(root, "attn_type_list", c.attn_type_list, c.num_hidden_layers)
    d, experts = c.hidden_size, c.num_local_experts
    mixture = _mixture(root, experts, c.num_experts_per_tok, c.intermediate_size)

    def beside(halves: Halves) -> int:
        a = halves.mixer
        norms = (a.heads + a.kv_heads) * a.qk_width if c.use_qk_norm else 0
        # The router has a bias an expert, by which loads are evened out.
        return 2 * d + norms + (experts if c.use_routing_bias else 0)

    ffns = [mixture] * c.num_hidden_layers
    kv_heads = c.num_key_value_heads
    return decoder_stack(root, c, "minimax_m2", kv_heads, beside, ffns=ffns, qk_norm=c.use_qk_norm)


class _Ernie45MoeConfig(DecoderConfig):
    ignored = (
        *("moe_norm_min", "moe_use_aux_free", "moe_gate*", "moe_capacity"),
        "num_nextn_predict_layers",
    )
    """How experts are chosen; capacities are of training; and layers that predict further
    tokens, which are no part of what is read."""
    aliases = (("num_experts", "moe_num_experts"), ("num_experts_per_tok", "moe_k"))

    num_key_value_heads: Size | None = 4
    hidden_act: SiluGate = None
    moe_intermediate_size: Size = 1536
    moe_k: Size = 6
    moe_num_experts: Size = 64
    moe_num_shared_experts: SizeOrZero = 2
    moe_layer_start_index: SizeOrZero = 1
    moe_layer_end_index: int = -1
    moe_layer_interval: Size = 1
    use_rmsnorm: Annotated[bool | None, constant(True)] = None
    tie_word_embeddings: bool = True


def ernie4_5_moe(root: YamlNode) -> ModelConfig:
    """``Ernie4_5_MoeConfig``: the first layers are dense; some experts are for all tokens."""
    c = read_fields(_Ernie45MoeConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d, count, inner = c.hidden_size, c.num_hidden_layers, c.moe_intermediate_size
    shared = inner * c.moe_num_shared_experts
    mixture = _mixture(root, c.moe_num_experts, c.moe_k, inner, shared, "moe_k")
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    last = count - 1 if c.moe_layer_end_index == -1 else c.moe_layer_end_index
    ffns: list[FeedForward | Experts] = [
        mixture
        if c.moe_layer_start_index <= i <= last and (i + 1) % c.moe_layer_interval == 0
        else dense
        for i in range(count)
    ]

    def beside(halves: Halves) -> int:
        # The router has a bias an expert, by which loads are evened out.
        return 2 * d + (c.moe_num_experts if isinstance(halves.ffn, Experts) else 0)

    return decoder_stack(root, c, "ernie4_5_moe", c.num_key_value_heads, beside, ffns=ffns)
