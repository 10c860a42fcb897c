"""Readers of stacks with short convolutions and softmax: lfm2, lfm2_moe, recurrent_gemma.

Fields and defaults are those of Hugging Face Transformers (``Lfm2Config``, ``Lfm2MoeConfig``,
``RecurrentGemmaConfig``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    Experts,
    FeedForward,
    GatedRecurrence,
    Layer,
    ModelConfig,
    ShortConvolution,
    SoftmaxAttention,
)
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    Size,
    SizeOrZero,
    among_layers,
    attention_biases,
    divided,
    feed_forward,
    grouped_heads,
    head_width,
    one_a_layer,
    per_layer,
    read_fields,
    refuse,
    routed,
    stack,
)


class _Lfm2Fields(ConfigFields):
    """What both say of layers of softmax and of convolutions."""

    harmless: ClassVar[tuple[str, ...]] = (
        *("block_*_init_scale", "*_use_xavier_init", "block_use_swiglu", "use_pos_enc"),
        *("theta", "max_seq_len"),
    )
    """How weights begin, the gate that there always is, and positions."""
    alike: ClassVar[tuple[tuple[str, str], ...]] = (
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
    layer_types: Annotated[tuple[str, ...], one_a_layer("full_attention", "conv")] | None = None
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
        raise refuse(root, "intermediate_size", "nothing is left of it once it is adjusted")
    ffn = feed_forward(inner, gated=True, activation=None)
    return _lfm2_stack(root, c, "lfm2", [ffn] * c.num_hidden_layers)


def lfm2_moe(root: YamlNode) -> ModelConfig:
    """``Lfm2MoeConfig``: the first layers are dense, the others have experts."""
    c = read_fields(_Lfm2MoeConfig, root)
    experts, count = c.num_experts, c.num_hidden_layers
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture = Experts(
        experts=experts,
        per_token=routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
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
    among_layers(root, "full_attn_idxs", listed, count)
    full = [index in listed for index in range(count)]
    if c.layer_types is not None:
        per_layer(root, "layer_types", c.layer_types, count)
        full = [kind == "full_attention" for kind in c.layer_types]
    layers = []
    for attends, ffn in zip(full, ffns, strict=True):
        # Norms of queries and keys; or biases of what goes in, of the taps, and of what comes out.
        own = 2 * width if attends else (5 * d if c.conv_bias else 0)
        other = 2 * d + own + (router_biases if isinstance(ffn, Experts) else 0)
        layers.append(Layer(mixer=softmax if attends else short, ffn=ffn, other_parameters=other))
    if c.tie_embedding is not None:
        c = c.model_copy(update={"tie_word_embeddings": c.tie_embedding})
    return stack(c, family, d, layers, d)


class _RecurrentGemmaConfig(ConfigFields):
    harmless = ("*_init_variance_scale", "embeddings_scale_by_sqrt_dim")
    """How weights begin, and a constant."""
    alike = (("_block_types", "block_types"),)

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
    block_types: Annotated[tuple[str, ...], one_a_layer("recurrent", "attention")] = (
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
    width = divided(root, "hidden_size", d, "num_attention_heads", heads)
    if c.head_dim not in (None, width):
        raise refuse(root, "head_dim", f"{heads} heads of {d} are {width} wide, not {c.head_dim}")
    if not c.block_types:
        raise refuse(root, "block_types", "no kind of layer is named")
    divided(root, "lru_width", inner, "num_attention_heads", heads)
    softmax = SoftmaxAttention(
        heads=heads,
        kv_heads=grouped_heads(root, heads, c.num_key_value_heads or heads),
        qk_width=width,
        v_width=width,
        window=c.attention_window_size,
    )
    gated = GatedRecurrence(inner=inner, blocks=heads, conv_width=c.conv1d_width)
    # Both the gate and what it lets through are half as wide.
    half = divided(root, "intermediate_size", c.intermediate_size, "the gate and the rest", 2)
    ffn = feed_forward(half, gated=True, activation=c.hidden_activation)
    both = 2 * d + 2 * half + d
    inputs = attention_biases(softmax, d, output=False) if c.attention_bias else 0
    attends = Layer(mixer=softmax, ffn=ffn, other_parameters=both + d + inputs)
    # Biases of three projections, of the taps and of both gates; a decay a channel.
    recurs = Layer(mixer=gated, ffn=ffn, other_parameters=both + d + 6 * inner)
    kinds = [c.block_types[i % len(c.block_types)] for i in range(c.num_hidden_layers)]
    layers = [attends if kind == "attention" else recurs for kind in kinds]
    return stack(c, "recurrent_gemma", d, layers, d)
