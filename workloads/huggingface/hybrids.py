"""Readers of hybrid stacks: softmax among Mamba, gated delta rule, convolutions or RG-LRU.

Fields and defaults are those of Hugging Face Transformers (``JambaConfig``,
``Qwen3NextConfig``, ...) and of Kimi Linear's own configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    DeltaAttention,
    Experts,
    FeedForward,
    GatedRecurrence,
    Layer,
    ModelConfig,
    SelectiveScan,
    ShortConvolution,
    SoftmaxAttention,
)
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    SiluGate,
    Size,
    SizeOrZero,
    attention_biases,
    auto_or_size,
    build_model,
    check_layer_indices,
    check_per_layer,
    checked_per_token,
    errors_inside,
    exact_quotient,
    feed_forward,
    field_error,
    grouped_heads,
    head_width,
    one_per_layer,
    read_fields,
)
from .latent import LatentFields
from .softmax import DecoderConfig, softmax_heads
from .vision import Qwen35MultimodalConfig, multimodal_model, qwen3_5_encoder


class _JambaConfig(DecoderConfig):
    ignored = ("use_mamba_kernels", "num_logits_to_keep", "calc_logits_for_entire_prompt")
    """How it is computed, and of which tokens logits are given back."""

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
    """``JambaConfig``: one layer in so many is softmax, the others Mamba's; experts likewise."""
    c = read_fields(_JambaConfig, root)
    for field, offset, period in (
        ("attn_layer_offset", c.attn_layer_offset, c.attn_layer_period),
        ("expert_layer_offset", c.expert_layer_offset, c.expert_layer_period),
    ):
        if offset >= period:
            raise field_error(root, field, f"{offset} is not below the period, {period}")
    d = c.hidden_size
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture: FeedForward | Experts = dense
    if c.num_experts > 1:  # with a single one its authors' layers are dense, and no token is routed
        per_token = checked_per_token(
            root, "num_experts_per_tok", c.num_experts_per_tok, c.num_experts
        )
        mixture = Experts(experts=c.num_experts, per_token=per_token, inner=c.intermediate_size)
    softmax, mamba = softmax_heads(root, c, c.num_key_value_heads), _mamba(root, c)
    layers = []
    for index in range(c.num_hidden_layers):
        # Jamba: of every 8 layers from 0 the one at 4 attends, and those at 1, 3, 5 and 7 have
        # experts.
        attends = index % c.attn_layer_period == c.attn_layer_offset
        sparse = index % c.expert_layer_period == c.expert_layer_offset
        ffn = mixture if sparse else dense
        mixer = softmax if attends else mamba
        other = 2 * d + (0 if attends else _mamba_other_parameters(c, mamba))
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "jamba", d, layers, d)


def _mamba(root: YamlNode, c: _JambaConfig) -> SelectiveScan:
    # ``auto`` is a sixteenth of the stream, rounded up, as in Mamba.
    rank = auto_or_size(root, "mamba_dt_rank", c.mamba_dt_rank)
    return SelectiveScan(
        inner=c.mamba_expand * c.hidden_size,
        state=c.mamba_d_state,
        dt_rank=rank if rank is not None else -(-c.hidden_size // 16),
        conv_width=c.mamba_d_conv,
    )


def _mamba_other_parameters(c: _JambaConfig, m: SelectiveScan) -> int:
    """The bias of the steps, the skip, norms of the steps and of B and C, and further biases."""
    other = 2 * m.inner
    other += m.dt_rank + 2 * m.state if c.mamba_inner_layernorms else 0
    other += m.inner if c.mamba_conv_bias else 0
    return other + (2 * m.inner + c.hidden_size if c.mamba_proj_bias else 0)


class _GatedDeltaConfig(ConfigFields):
    """What layers of Gated DeltaNet and of softmax with a gate say, whatever follows them."""

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
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
"""Layers that predict further tokens, the width of states, positions, and a gate's function."""


class _Qwen35Config(_GatedDeltaConfig):
    ignored = _QWEN35

    num_key_value_heads: Size = 4
    intermediate_size: Size
    attn_output_gate: bool = True


class _Qwen35MoeConfig(_GatedDeltaConfig):
    ignored = (*_QWEN35, "intermediate_size")
    """No layer is dense."""

    num_experts: Size = 256
    num_experts_per_tok: Size = 8
    moe_intermediate_size: Size = 512
    shared_expert_intermediate_size: SizeOrZero = 512
    attn_output_gate: bool = True


def qwen3_next(root: YamlNode) -> ModelConfig:
    """``Qwen3NextConfig``: three layers of Gated DeltaNet, one of softmax with an output gate."""
    c = read_fields(_Qwen3NextConfig, root)
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    ffns: list[FeedForward | Experts] = [dense] * c.num_hidden_layers
    check_layer_indices(root, "mlp_only_layers", c.mlp_only_layers, c.num_hidden_layers)
    if c.num_experts:
        mixture = _experts_with_shared(root, c)
        for index in range(c.decoder_sparse_step - 1, len(ffns), c.decoder_sparse_step):
            if index not in c.mlp_only_layers:
                ffns[index] = mixture
    return _gated_delta_stack(root, c, "qwen3_next", ffns)


def qwen3_5_text(root: YamlNode) -> ModelConfig:
    """``Qwen3_5TextConfig``: as qwen3_next without experts."""
    c = read_fields(_Qwen35Config, root)
    _check_gate(root, c.attn_output_gate)
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    return _gated_delta_stack(root, c, "qwen3_5_text", [dense] * c.num_hidden_layers)


def qwen3_5_moe_text(root: YamlNode) -> ModelConfig:
    """``Qwen3_5MoeTextConfig``: as qwen3_next, with experts in all layers."""
    c = read_fields(_Qwen35MoeConfig, root)
    _check_gate(root, c.attn_output_gate)
    ffns = [_experts_with_shared(root, c)] * c.num_hidden_layers
    return _gated_delta_stack(root, c, "qwen3_5_moe_text", ffns)


def qwen3_5(root: YamlNode) -> ModelConfig:
    """``Qwen3_5Config``: the language model runs; an encoder of images counts as parameters."""
    return multimodal_model(root, Qwen35MultimodalConfig, qwen3_5_text, qwen3_5_encoder)


def qwen3_5_moe(root: YamlNode) -> ModelConfig:
    """``Qwen3_5MoeConfig``: likewise."""
    return multimodal_model(root, Qwen35MultimodalConfig, qwen3_5_moe_text, qwen3_5_encoder)


def _check_gate(root: YamlNode, gated: bool) -> None:
    if not gated:
        raise field_error(root, "attn_output_gate", "the family's softmax layers have a gate")


def _experts_with_shared(root: YamlNode, c: _Qwen3NextConfig | _Qwen35MoeConfig) -> Experts:
    experts = c.num_experts
    return Experts(
        experts=experts,
        per_token=checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.moe_intermediate_size,
        shared_inner=c.shared_expert_intermediate_size,
    )


def _gated_delta_stack(
    root: YamlNode, c: _GatedDeltaConfig, family: str, ffns: Sequence[FeedForward | Experts]
) -> ModelConfig:
    d, heads = c.hidden_size, c.num_attention_heads
    width = head_width(root, d, heads, c.head_dim)
    softmax = SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, c.num_key_value_heads),
        qk_width=width,
        v_width=width,
        qk_norm=True,
        gated=True,
    )
    keys, values = c.linear_num_key_heads, c.linear_num_value_heads
    exact_quotient(root, "linear_num_value_heads", values, "linear_num_key_heads", keys)
    delta = DeltaAttention(
        heads=values,
        key_heads=keys,
        qk_width=c.linear_key_head_dim,
        v_width=c.linear_value_head_dim,
        conv_width=c.linear_conv_kernel_dim,
    )
    # Of an interval of 4: layers 3, 7, 11, ... from 0 attend.
    full = [(i + 1) % c.full_attention_interval == 0 for i in range(c.num_hidden_layers)]
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        full = [kind == "full_attention" for kind in c.layer_types]
    layers = []
    for attends, ffn in zip(full, ffns, strict=True):
        # A head's bias of steps and A, and the norm of its output; norms of queries and keys.
        other = 2 * d + (2 * softmax.qk_width if attends else 2 * values + delta.v_width)
        # Queries carry the gate, and so does their bias.
        biases = attention_biases(softmax, d) + softmax.heads * softmax.v_width
        other += biases if attends and c.attention_bias else 0
        # One number a token weighs the shared expert.
        other += d if isinstance(ffn, Experts) else 0
        layers.append(Layer(mixer=softmax if attends else delta, ffn=ffn, other_parameters=other))
    return build_model(c, family, d, layers, d)


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
    """How experts are chosen; keys without rotations are as wide; and what no layer reads."""
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
    """Kimi Linear's own configuration: Kimi Delta Attention, and latent attention every so often.

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
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture = Experts(
        experts=c.num_experts,
        per_token=checked_per_token(
            root, "num_experts_per_token", c.num_experts_per_token, c.num_experts
        ),
        inner=c.moe_intermediate_size,
        shared_inner=c.moe_intermediate_size * c.num_shared_experts,
    )
    layers = []
    for index in range(count):
        attends = index + 1 in linear.full_attn_layers
        # A and the steps' bias; the norm of a head's output. Or the latents' norms.
        own = delta.heads * (1 + delta.qk_width) + delta.v_width
        other = 2 * d + (c.kv_lora_rank + (c.q_lora_rank or 0) if attends else own)
        sparse = index >= c.first_k_dense_replace and index % c.moe_layer_freq == 0
        layers.append(
            Layer(
                mixer=latent if attends else delta,
                ffn=mixture if sparse else dense,
                other_parameters=other + (c.num_experts if sparse else 0),
            )
        )
    return build_model(c, "kimi_linear", d, layers, d)


class _Lfm2Fields(ConfigFields):
    """What both say of layers of softmax and of convolutions."""

    ignored: ClassVar[tuple[str, ...]] = (
        *("block_*_init_scale", "*_use_xavier_init", "block_use_swiglu", "use_pos_enc"),
        *("theta", "max_seq_len"),
    )
    """How weights begin, the gate that there always is, and positions."""
    aliases: ClassVar[tuple[tuple[str, str], ...]] = (
        *(("block_dim", "hidden_size"), ("conv_dim", "hidden_size")),
        *(("conv_dim_out", "hidden_size"), ("num_heads", "num_attention_heads")),
    )

    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
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
    """``Lfm2Config``: networks are two thirds as wide as it says, up to a multiple."""
    c = read_fields(_Lfm2Config, root)
    inner = c.block_ff_dim or c.intermediate_size
    if c.block_auto_adjust_ff_dim:
        # As the class does it, in floating point: rounded down after each product.
        inner = int(2 * inner / 3)
        if c.block_ffn_dim_multiplier is not None:
            inner = int(c.block_ffn_dim_multiplier * inner)
            inner = c.block_multiple_of * -(-inner // c.block_multiple_of)
    if inner == 0:
        raise field_error(root, "intermediate_size", "nothing is left of it once it is adjusted")
    ffn = feed_forward(inner, gated=True, activation=None)
    return _lfm2_stack(root, c, "lfm2", [ffn] * c.num_hidden_layers)


def lfm2_moe(root: YamlNode) -> ModelConfig:
    """``Lfm2MoeConfig``: the first layers are dense, the others have experts."""
    c = read_fields(_Lfm2MoeConfig, root)
    experts, count = c.num_experts, c.num_hidden_layers
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture = Experts(
        experts=experts,
        per_token=checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.moe_intermediate_size,
    )
    ffns = [dense if index < c.num_dense_layers else mixture for index in range(count)]
    return _lfm2_stack(root, c, "lfm2_moe", ffns, experts if c.use_expert_bias else 0)


def _lfm2_stack(
    root: YamlNode,
    c: _Lfm2Fields,
    family: str,
    ffns: Sequence[FeedForward | Experts],
    router_biases: int = 0,
) -> ModelConfig:
    d, heads, count = c.hidden_size, c.num_attention_heads, c.num_hidden_layers
    width = head_width(root, d, heads, c.head_dim)
    softmax = SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, c.num_key_value_heads),
        qk_width=width,
        v_width=width,
        qk_norm=True,
    )
    short = ShortConvolution(channels=d, conv_width=c.conv_L_cache)
    listed = c.full_attn_idxs if c.full_attn_idxs is not None else range(count)
    check_layer_indices(root, "full_attn_idxs", listed, count)
    full = [index in listed for index in range(count)]
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, count)
        full = [kind == "full_attention" for kind in c.layer_types]
    layers = []
    for attends, ffn in zip(full, ffns, strict=True):
        # Norms of queries and keys; or biases of what goes in, of the taps, and of what comes out.
        own = 2 * width if attends else (5 * d if c.conv_bias else 0)
        other = 2 * d + own + (router_biases if isinstance(ffn, Experts) else 0)
        layers.append(Layer(mixer=softmax if attends else short, ffn=ffn, other_parameters=other))
    if c.tie_embedding is not None:
        c = c.model_copy(update={"tie_word_embeddings": c.tie_embedding})
    return build_model(c, family, d, layers, d)


class _RecurrentGemmaConfig(ConfigFields):
    ignored = ("*_init_variance_scale", "embeddings_scale_by_sqrt_dim")
    """How weights begin, and a constant."""
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

    @property
    def logit_softcap(self) -> float | None:
        """``logits_soft_cap``."""
        return self.logits_soft_cap


def recurrent_gemma(root: YamlNode) -> ModelConfig:
    """``RecurrentGemmaConfig``: two layers of a gated recurrence, then one with a window."""
    c = read_fields(_RecurrentGemmaConfig, root)
    d, heads, inner = c.hidden_size, c.num_attention_heads, c.lru_width or c.hidden_size
    width = exact_quotient(root, "hidden_size", d, "num_attention_heads", heads)
    if c.head_dim not in (None, width):
        raise field_error(
            root, "head_dim", f"{heads} heads of {d} are {width} wide, not {c.head_dim}"
        )
    if not c.block_types:
        raise field_error(root, "block_types", "no kind of layer is named")
    exact_quotient(root, "lru_width", inner, "num_attention_heads", heads)
    softmax = SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, c.num_key_value_heads or heads),
        qk_width=width,
        v_width=width,
        window=c.attention_window_size,
    )
    gated = GatedRecurrence(inner=inner, blocks=heads, conv_width=c.conv1d_width)
    # Both the gate and what it lets through are half as wide.
    half = exact_quotient(
        root, "intermediate_size", c.intermediate_size, "the gate and the rest", 2
    )
    ffn = feed_forward(half, gated=True, activation=c.hidden_activation)
    both = 2 * d + 2 * half + d
    inputs = attention_biases(softmax, d, output=False) if c.attention_bias else 0
    attends = Layer(mixer=softmax, ffn=ffn, other_parameters=both + d + inputs)
    # Biases of three projections, of the taps and of both gates; a decay a channel.
    recurs = Layer(mixer=gated, ffn=ffn, other_parameters=both + d + 6 * inner)
    kinds = [c.block_types[i % len(c.block_types)] for i in range(c.num_hidden_layers)]
    layers = [attends if kind == "attention" else recurs for kind in kinds]
    return build_model(c, "recurrent_gemma", d, layers, d)
