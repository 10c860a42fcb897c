"""Readers of hybrid stacks: softmax among Mamba, gated delta rule, convolutions or RG-LRU.

Fields and defaults are those of Hugging Face Transformers (``JambaConfig``,
``Qwen3NextConfig``, ...) and of Kimi Linear's own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    DeltaAttention,
    GatedRecurrence,
    Mixer,
    ModelConfig,
    SelectiveScan,
    ShortConvolution,
)
from .fields import (
    ConfigFields,
    LayerCount,
    LayerTypes,
    Positive,
    Reader,
    SiluGate,
    Size,
    SizeOrZero,
    StackFields,
    auto_or_size,
    check_layer_indices,
    errors_inside,
    exact_quotient,
    field_error,
    listed_layers,
    one_per_layer,
    read_fields,
)
from .latent import LatentFields
from .stack import (
    Half,
    Network,
    attention_biases,
    attention_heads,
    build_model,
    dense_or_sparse,
    feed_forward,
    join_halves,
    mixture_of_experts,
    scan_half,
)
from .vision import Multimodal, Qwen35MultimodalConfig, qwen3_5_encoder


class _JambaConfig(StackFields):
    # The ignored fields choose kernels, and the tokens whose logits are returned.
    ignored = ("use_mamba_kernels", "num_logits_to_keep", "calc_logits_for_entire_prompt")

    intermediate_size: Size
    head_dim: Size | None = None
    layer_types: LayerTypes | None = None
    hidden_act: SiluGate = None
    num_key_value_heads: Size = 8
    attn_layer_period: Size = 8
    attn_layer_offset: SizeOrZero = 4
    expert_layer_period: Size = 2
    expert_layer_offset: SizeOrZero = 1
    num_experts: Size = 16
    num_experts_per_tok: Size = 2
    mamba_d_state: Size = 16
    mamba_d_conv: Size = 4
    mamba_expand: Size = 2
    mamba_dt_rank: Any = "auto"
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False
    mamba_inner_layernorms: bool = True


def jamba(root: YamlNode) -> ModelConfig:
    """Read ``JambaConfig``: layers at a period are softmax, the others Mamba; likewise for
    experts."""
    c = read_fields(_JambaConfig, root)
    for field, offset, period in (
        ("attn_layer_offset", c.attn_layer_offset, c.attn_layer_period),
        ("expert_layer_offset", c.expert_layer_offset, c.expert_layer_period),
    ):
        if offset >= period:
            raise field_error(root, field, f"{offset} is not below the period, {period}")
    d = c.hidden_size
    dense: Half[Network] = Half(feed_forward(c.intermediate_size), d)

    def mixture() -> Half[Network]:
        part = mixture_of_experts(root, c.num_experts, c.num_experts_per_tok, c.intermediate_size)
        return Half(part, d)

    heads = attention_heads(root, d, c.num_attention_heads, c.num_key_value_heads, c.head_dim)
    softmax: Half[Mixer] = Half(heads, d)
    mamba = _jamba_scan(root, c)
    # In Jamba, of every 8 layers from 0, layer 4 attends, and layers 1, 3, 5 and 7 have experts.
    layers = range(c.num_hidden_layers)
    attends = [i % c.attn_layer_period == c.attn_layer_offset for i in layers]
    # With a single expert, the authors' layers are dense and route no token.
    sparse = [
        c.num_experts > 1 and i % c.expert_layer_period == c.expert_layer_offset for i in layers
    ]
    mixers = [softmax if is_softmax else mamba for is_softmax in attends]
    networks = dense_or_sparse(dense, mixture, sparse)
    return build_model(c, "jamba", d, join_halves(mixers, networks), d)


def _jamba_scan(root: YamlNode, c: _JambaConfig) -> Half[Mixer]:
    # ``auto`` is a sixteenth of the stream, rounded up, as in Mamba.
    rank = auto_or_size(root, "mamba_dt_rank", c.mamba_dt_rank)
    mixer = SelectiveScan(
        inner=c.mamba_expand * c.hidden_size,
        state=c.mamba_d_state,
        dt_rank=rank if rank is not None else -(-c.hidden_size // 16),
        conv_width=c.mamba_d_conv,
    )
    return scan_half(
        mixer,
        c.hidden_size,
        conv_bias=c.mamba_conv_bias,
        proj_bias=c.mamba_proj_bias,
        norms=c.mamba_inner_layernorms,
    )


class _GatedDeltaConfig(StackFields):
    """Fields of layers of Gated DeltaNet and of gated softmax."""

    head_dim: Size | None = 256
    hidden_act: SiluGate = None
    num_key_value_heads: Size = 2
    attention_bias: bool = False
    full_attention_interval: Size = 4
    layer_types: (
        Annotated[tuple[str, ...], one_per_layer("full_attention", "linear_attention")] | None
    ) = None
    linear_conv_kernel_dim: Size = 4
    linear_key_head_dim: Size = 128
    linear_value_head_dim: Size = 128
    linear_num_key_heads: Size = 16
    linear_num_value_heads: Size = 32


class _Qwen3NextConfig(_GatedDeltaConfig):
    intermediate_size: Size
    num_experts: SizeOrZero = 512
    num_experts_per_tok: Size = 10
    moe_intermediate_size: Size = 512
    shared_expert_intermediate_size: SizeOrZero = 512
    decoder_sparse_step: Size = 1
    mlp_only_layers: tuple[SizeOrZero, ...] = ()


_QWEN35 = (
    *("mtp_*", "mamba_ssm_dtype", "num_nextn_predict_layers", "mrope_*"),
    "output_gate_type",
)
"""Names of fields about further tokens, formats of states, positions, and a gate's function."""


class _Qwen35Config(_GatedDeltaConfig):
    ignored = _QWEN35

    num_key_value_heads: Size = 4
    intermediate_size: Size
    attn_output_gate: bool = True


class _Qwen35MoeConfig(_GatedDeltaConfig):
    ignored = (*_QWEN35, "intermediate_size")
    """Names of ignored fields; no layer is dense."""

    num_experts: Size = 256
    num_experts_per_tok: Size = 8
    moe_intermediate_size: Size = 512
    shared_expert_intermediate_size: SizeOrZero = 512
    attn_output_gate: bool = True


def qwen3_next(root: YamlNode) -> ModelConfig:
    """Read ``Qwen3NextConfig``: Gated DeltaNet, and softmax with an output gate in between."""
    c = read_fields(_Qwen3NextConfig, root)
    d, step, count = c.hidden_size, c.decoder_sparse_step, c.num_hidden_layers
    check_layer_indices(root, "mlp_only_layers", c.mlp_only_layers, count)
    dense: Half[Network] = Half(feed_forward(c.intermediate_size), d)
    sparse = [(i + 1) % step == 0 and i not in c.mlp_only_layers for i in range(count)]
    sparse = [bool(c.num_experts) and is_sparse for is_sparse in sparse]
    networks = dense_or_sparse(dense, partial(_experts_with_shared, root, c), sparse)
    return _gated_delta_model(root, c, "qwen3_next", networks)


def qwen3_5_text(root: YamlNode) -> ModelConfig:
    """Read ``Qwen3_5TextConfig``: as qwen3_next without experts."""
    c = read_fields(_Qwen35Config, root)
    _check_gate(root, c.attn_output_gate)
    dense = Half(feed_forward(c.intermediate_size), c.hidden_size)
    return _gated_delta_model(root, c, "qwen3_5_text", [dense] * c.num_hidden_layers)


def qwen3_5_moe_text(root: YamlNode) -> ModelConfig:
    """Read ``Qwen3_5MoeTextConfig``: as qwen3_next, with experts in all layers."""
    c = read_fields(_Qwen35MoeConfig, root)
    _check_gate(root, c.attn_output_gate)
    networks = [_experts_with_shared(root, c)] * c.num_hidden_layers
    return _gated_delta_model(root, c, "qwen3_5_moe_text", networks)


def _check_gate(root: YamlNode, gated: bool) -> None:
    if not gated:
        raise field_error(root, "attn_output_gate", "the family's softmax layers have a gate")


def _experts_with_shared(root: YamlNode, c: _Qwen3NextConfig | _Qwen35MoeConfig) -> Half[Network]:
    mixture = mixture_of_experts(
        root,
        c.num_experts,
        c.num_experts_per_tok,
        c.moe_intermediate_size,
        c.shared_expert_intermediate_size,
    )
    # One number per token weighs the shared expert.
    return Half(mixture, 2 * c.hidden_size)


def _gated_delta_model(
    root: YamlNode, c: _GatedDeltaConfig, family: str, networks: Sequence[Half[Network]]
) -> ModelConfig:
    d = c.hidden_size
    heads = attention_heads(root, d, c.num_attention_heads, c.num_key_value_heads, c.head_dim)
    softmax = replace(heads, qk_norm=True, gated=True)
    # The projection of queries makes the gate, too, and has a bias for it.
    biases = attention_biases(softmax, d) + softmax.heads * softmax.v_width
    keys, values = c.linear_num_key_heads, c.linear_num_value_heads
    exact_quotient(root, "linear_num_value_heads", values, "linear_num_key_heads", keys)
    delta = DeltaAttention(
        heads=values,
        key_heads=keys,
        qk_width=c.linear_key_head_dim,
        v_width=c.linear_value_head_dim,
        conv_width=c.linear_conv_kernel_dim,
    )
    # Norms of queries and keys; or a bias of steps and A per head, and the norm of its output.
    attends: Half[Mixer] = Half(
        softmax, d + 2 * softmax.qk_width + (biases if c.attention_bias else 0)
    )
    recurs: Half[Mixer] = Half(delta, d + 2 * values + delta.v_width)
    # With an interval of 4, layers 3, 7, 11, ... from 0 attend.
    rule = [(i + 1) % c.full_attention_interval == 0 for i in range(c.num_hidden_layers)]
    full = listed_layers(root, c, "layer_types", ("full_attention",), rule)
    mixers = [attends if is_full else recurs for is_full in full]
    return build_model(c, family, d, join_halves(mixers, networks), d)


class _KimiDeltaConfig(ConfigFields):
    head_dim: Size
    num_heads: Size
    short_conv_kernel_size: Size = 4
    kda_layers: tuple[Size, ...]
    full_attn_layers: tuple[Size, ...]


class _KimiLinearConfig(LatentFields):
    ignored = (
        *("num_nextn_predict_layers", "moe_router_activation_func", "moe_renormalize"),
        *("num_expert_group", "use_grouped_topk", "mla_use_nope", "head_dim"),
    )
    """Names of fields about the choice of experts, widths without rotation, and unused fields."""
    aliases = (("num_key_value_heads", "num_attention_heads"),)

    hidden_act: SiluGate = None
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: LayerCount
    linear_attn_config: dict[str, Any]
    q_lora_rank: Size | None = None
    num_experts: Size
    num_experts_per_token: Size
    num_shared_experts: SizeOrZero = 0
    moe_intermediate_size: Size
    first_k_dense_replace: SizeOrZero = 0
    moe_layer_freq: Size = 1


def kimi_linear(root: YamlNode) -> ModelConfig:
    """Read Kimi Linear's own configuration: Kimi Delta Attention, and latent attention in
    between.

    Layers are listed from 1.
    """
    c = read_fields(_KimiLinearConfig, root)
    inner = root.child("linear_attn_config")
    with errors_inside("linear_attn_config"):
        linear = read_fields(_KimiDeltaConfig, inner if inner is not None else root)
    d, count = c.hidden_size, c.num_hidden_layers
    listed = sorted((*linear.kda_layers, *linear.full_attn_layers))
    if listed != list(range(1, count + 1)):
        text = (
            f"kda_layers and full_attn_layers together are not the layers 1 to {count}, each once"
        )
        raise field_error(root, "linear_attn_config", text)
    latent = c.latent_attention
    delta = DeltaAttention(
        heads=linear.num_heads,
        key_heads=linear.num_heads,
        qk_width=linear.head_dim,
        v_width=linear.head_dim,
        conv_width=linear.short_conv_kernel_size,
        low_rank=linear.head_dim,
    )
    # Norms of both latents; or A and the bias of steps, and the norm of a head's output.
    attends: Half[Mixer] = Half(latent, d + c.kv_lora_rank + (c.q_lora_rank or 0))
    recurs: Half[Mixer] = Half(delta, d + delta.heads * (1 + delta.qk_width) + delta.v_width)
    dense: Half[Network] = Half(feed_forward(c.intermediate_size), d)

    def mixture() -> Half[Network]:
        inner = c.moe_intermediate_size
        part = mixture_of_experts(
            root,
            c.num_experts,
            c.num_experts_per_token,
            inner,
            inner * c.num_shared_experts,
            field="num_experts_per_token",
        )
        return Half(part, d + c.num_experts)

    layers = range(count)
    mixers = [attends if i + 1 in linear.full_attn_layers else recurs for i in layers]
    sparse = [i >= c.first_k_dense_replace and i % c.moe_layer_freq == 0 for i in layers]
    networks = dense_or_sparse(dense, mixture, sparse)
    return build_model(c, "kimi_linear", d, join_halves(mixers, networks), d)


class _Lfm2Fields(StackFields):
    """Fields of lfm2 and lfm2_moe about layers of softmax and of convolutions."""

    ignored: ClassVar[tuple[str, ...]] = (
        *("block_*_init_scale", "*_use_xavier_init", "block_use_swiglu", "use_pos_enc"),
        *("theta", "max_seq_len"),
    )
    """Names of fields about initial weights, the gate that always exists, and positions."""
    aliases: ClassVar[tuple[tuple[str, str], ...]] = (
        *(("block_dim", "hidden_size"), ("conv_dim", "hidden_size")),
        *(("conv_dim_out", "hidden_size"), ("num_heads", "num_attention_heads")),
    )

    num_key_value_heads: Size = 8
    head_dim: Size | None = None
    conv_bias: bool = False
    conv_L_cache: Size = 3
    full_attn_idxs: tuple[SizeOrZero, ...] | None = None
    layer_types: Annotated[tuple[str, ...], one_per_layer("full_attention", "conv")] | None = None
    tie_word_embeddings: bool = True
    tie_embedding: bool | None = None


class _Lfm2Config(_Lfm2Fields):
    intermediate_size: Size = 12288
    block_ff_dim: Size | None = None
    block_multiple_of: Size = 256
    block_ffn_dim_multiplier: Positive | None = 1.0
    block_auto_adjust_ff_dim: bool = True


class _Lfm2MoeConfig(_Lfm2Fields):
    intermediate_size: Size
    moe_intermediate_size: Size = 1792
    num_dense_layers: SizeOrZero = 2
    num_experts: Size = 32
    num_experts_per_tok: Size = 4
    use_expert_bias: bool = True


def lfm2(root: YamlNode) -> ModelConfig:
    """Read ``Lfm2Config``: networks have two thirds of the stated width, rounded up to a
    multiple."""
    c = read_fields(_Lfm2Config, root)
    inner = c.block_ff_dim or c.intermediate_size
    if c.block_auto_adjust_ff_dim:
        # As in the class, floating-point results are rounded down after each product.
        inner = int(2 * inner / 3)
        if c.block_ffn_dim_multiplier is not None:
            inner = int(c.block_ffn_dim_multiplier * inner)
            inner = c.block_multiple_of * -(-inner // c.block_multiple_of)
    if inner == 0:
        raise field_error(root, "intermediate_size", "nothing is left of it once it is adjusted")
    network = Half(feed_forward(inner), c.hidden_size)
    return _lfm2_model(root, c, "lfm2", [network] * c.num_hidden_layers)


def lfm2_moe(root: YamlNode) -> ModelConfig:
    """Read ``Lfm2MoeConfig``: the first layers are dense, the others have experts."""
    c = read_fields(_Lfm2MoeConfig, root)
    d, experts, count = c.hidden_size, c.num_experts, c.num_hidden_layers
    dense: Half[Network] = Half(feed_forward(c.intermediate_size), d)

    def mixture() -> Half[Network]:
        part = mixture_of_experts(root, experts, c.num_experts_per_tok, c.moe_intermediate_size)
        return Half(part, d + (experts if c.use_expert_bias else 0))

    sparse = [index >= c.num_dense_layers for index in range(count)]
    networks = dense_or_sparse(dense, mixture, sparse)
    return _lfm2_model(root, c, "lfm2_moe", networks)


def _lfm2_model(
    root: YamlNode, c: _Lfm2Fields, family: str, networks: Sequence[Half[Network]]
) -> ModelConfig:
    d, count = c.hidden_size, c.num_hidden_layers
    heads = attention_heads(root, d, c.num_attention_heads, c.num_key_value_heads, c.head_dim)
    softmax = replace(heads, qk_norm=True)
    short = ShortConvolution(channels=d, conv_width=c.conv_L_cache)
    # Norms of queries and keys; or biases of the input projection, of the taps, and of the output.
    attends: Half[Mixer] = Half(softmax, d + 2 * softmax.qk_width)
    convolves: Half[Mixer] = Half(short, d + (5 * d if c.conv_bias else 0))
    listed = c.full_attn_idxs if c.full_attn_idxs is not None else range(count)
    check_layer_indices(root, "full_attn_idxs", listed, count)
    rule = [index in listed for index in range(count)]
    full = listed_layers(root, c, "layer_types", ("full_attention",), rule)
    mixers = [attends if is_full else convolves for is_full in full]
    if c.tie_embedding is not None:
        c = c.model_copy(update={"tie_word_embeddings": c.tie_embedding})
    return build_model(c, family, d, join_halves(mixers, networks), d)


class _RecurrentGemmaConfig(ConfigFields):
    ignored = ("*_init_variance_scale", "embeddings_scale_by_sqrt_dim")
    """Names of fields about initial weights, and a constant factor."""
    aliases = (("_block_types", "block_types"),)

    vocab_size: Size | None = 256_000
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size = 10
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    lru_width: Size | None = None
    attention_window_size: Size = 2048
    conv1d_width: Size = 4
    hidden_activation: str | None = "gelu_pytorch_tanh"
    block_types: Annotated[tuple[str, ...], one_per_layer("recurrent", "attention")] = (
        *("recurrent", "recurrent"),
        "attention",
    )
    attention_bias: bool = False
    tie_word_embeddings: bool = True
    logits_soft_cap: Positive | None = 30.0


def recurrent_gemma(root: YamlNode) -> ModelConfig:
    """Read ``RecurrentGemmaConfig``: two layers of a gated recurrence, then one with a window."""
    c = read_fields(_RecurrentGemmaConfig, root)
    d, heads, inner = c.hidden_size, c.num_attention_heads, c.lru_width or c.hidden_size
    width = exact_quotient(root, "hidden_size", d, "num_attention_heads", heads)
    if c.head_dim not in (None, width):
        text = f"{heads} heads of {d} are {width} wide, not {c.head_dim}"
        raise field_error(root, "head_dim", text)
    if not c.block_types:
        raise field_error(root, "block_types", "no kind of layer is named")
    exact_quotient(root, "lru_width", inner, "num_attention_heads", heads)
    softmax = replace(
        attention_heads(root, d, heads, c.num_key_value_heads), window=c.attention_window_size
    )
    gated = GatedRecurrence(inner=inner, blocks=heads, conv_width=c.conv1d_width)
    # The field counts both the gate and the values that the gate multiplies.
    half = exact_quotient(
        root, "intermediate_size", c.intermediate_size, "the gate and the rest", 2
    )
    network: Half[Network] = Half(
        feed_forward(half, activation=c.hidden_activation), 2 * d + 2 * half
    )
    inputs = attention_biases(softmax, d, output=False) if c.attention_bias else 0
    attends: Half[Mixer] = Half(softmax, 2 * d + inputs)
    # Biases of three projections, of the taps and of both gates; a decay per channel.
    recurs: Half[Mixer] = Half(gated, 2 * d + 6 * inner)
    kinds = [c.block_types[i % len(c.block_types)] for i in range(c.num_hidden_layers)]
    mixers = [attends if kind == "attention" else recurs for kind in kinds]
    layers = join_halves(mixers, [network] * c.num_hidden_layers)
    return build_model(c, "recurrent_gemma", d, layers, d, logit_softcap=c.logits_soft_cap)


FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {
        "jamba": jamba,
        "kimi_linear": kimi_linear,
        "lfm2": lfm2,
        "lfm2_moe": lfm2_moe,
        "qwen3_5": Multimodal(Qwen35MultimodalConfig, qwen3_5_text, qwen3_5_encoder),
        "qwen3_5_moe": Multimodal(Qwen35MultimodalConfig, qwen3_5_moe_text, qwen3_5_encoder),
        "qwen3_5_moe_text": qwen3_5_moe_text,
        "qwen3_5_text": qwen3_5_text,
        "qwen3_next": qwen3_next,
        "recurrent_gemma": recurrent_gemma,
    }
)
"""Readers by ``model_type``."""
