"""Readers of stacks whose layers mix tokens in different ways: jamba, qwen3_next,
qwen3_5, kimi_linear.

Fields and defaults are those of Hugging Face Transformers (``JambaConfig``,
``Qwen3NextConfig``, ...) and of Kimi Linear's own configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    DeltaAttention,
    Experts,
    FeedForward,
    Layer,
    ModelConfig,
    SelectiveScan,
    SoftmaxAttention,
)
from .fields import (
    ConfigFields,
    LayerCount,
    SiluGate,
    Size,
    SizeOrZero,
    among_layers,
    attention_biases,
    auto_or_size,
    divided,
    feed_forward,
    grouped_heads,
    head_width,
    inside,
    one_a_layer,
    per_layer,
    read_fields,
    refuse,
    routed,
    stack,
)
from .latent import LatentFields
from .softmax import DecoderConfig, softmax_heads
from .vision import Qwen35Inputs, of_several_inputs, qwen3_5_encoder


class _JambaConfig(DecoderConfig):
    harmless = ("use_mamba_kernels", "num_logits_to_keep", "calc_logits_for_entire_prompt")
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
            raise refuse(root, field, f"{offset} is not below the period, {period}")
    d = c.hidden_size
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture: FeedForward | Experts = dense
    if c.num_experts > 1:  # with a single one its authors' layers are dense, and no token is routed
        per_token = routed(root, "num_experts_per_tok", c.num_experts_per_tok, c.num_experts)
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
        other = 2 * d + (0 if attends else _beside_mamba(c, mamba))
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return stack(c, "jamba", d, layers, d)


def _mamba(root: YamlNode, c: _JambaConfig) -> SelectiveScan:
    # ``auto`` is a sixteenth of the stream, rounded up, as in Mamba.
    rank = auto_or_size(root, "mamba_dt_rank", c.mamba_dt_rank)
    return SelectiveScan(
        inner=c.mamba_expand * c.hidden_size,
        state=c.mamba_d_state,
        dt_rank=rank if rank is not None else -(-c.hidden_size // 16),
        conv_width=c.mamba_d_conv,
    )


def _beside_mamba(c: _JambaConfig, m: SelectiveScan) -> int:
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
        Annotated[tuple[str, ...], one_a_layer("full_attention", "linear_attention")] | None
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
    harmless = _QWEN35

    num_key_value_heads: Size = 4
    intermediate_size: Size
    attn_output_gate: bool = True


class _Qwen35MoeConfig(_GatedDeltaConfig):
    harmless = (*_QWEN35, "intermediate_size")
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
    among_layers(root, "mlp_only_layers", c.mlp_only_layers, c.num_hidden_layers)
    if c.num_experts:
        mixture = _beside_a_shared_one(root, c)
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
    ffns = [_beside_a_shared_one(root, c)] * c.num_hidden_layers
    return _gated_delta_stack(root, c, "qwen3_5_moe_text", ffns)


def qwen3_5(root: YamlNode) -> ModelConfig:
    """``Qwen3_5Config``: the language model runs; an encoder of images counts as parameters."""
    return of_several_inputs(root, Qwen35Inputs, qwen3_5_text, qwen3_5_encoder)


def qwen3_5_moe(root: YamlNode) -> ModelConfig:
    """``Qwen3_5MoeConfig``: likewise."""
    return of_several_inputs(root, Qwen35Inputs, qwen3_5_moe_text, qwen3_5_encoder)


def _check_gate(root: YamlNode, gated: bool) -> None:
    if not gated:
        raise refuse(root, "attn_output_gate", "the family's softmax layers have a gate")


def _beside_a_shared_one(root: YamlNode, c: _Qwen3NextConfig | _Qwen35MoeConfig) -> Experts:
    experts = c.num_experts
    return Experts(
        experts=experts,
        per_token=routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
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
    divided(root, "linear_num_value_heads", values, "linear_num_key_heads", keys)
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
        per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
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
    return stack(c, family, d, layers, d)


class _KimiDeltaConfig(ConfigFields):
    head_dim: Size
    num_heads: Size
    short_conv_kernel_size: Size = 4
    kda_layers: tuple[Size, ...]
    full_attn_layers: tuple[Size, ...]


class _KimiLinearConfig(LatentFields):
    harmless = (
        *("num_nextn_predict_layers", "moe_router_activation_func", "moe_renormalize"),
        *("num_expert_group", "use_grouped_topk", "mla_use_nope", "head_dim"),
    )
    """How experts are chosen; keys without rotations are as wide; and what no layer reads."""
    alike = (("num_key_value_heads", "num_attention_heads"),)

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
    with inside("linear_attn_config"):
        linear = read_fields(_KimiDeltaConfig, inner if inner is not None else root)
    d, count = c.hidden_size, c.num_hidden_layers
    listed = sorted((*linear.kda_layers, *linear.full_attn_layers))
    if listed != list(range(1, count + 1)):
        text = (
            f"kda_layers and full_attn_layers together are not the layers 1 to {count}, each once"
        )
        raise refuse(root, "linear_attn_config", text)
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
        per_token=routed(root, "num_experts_per_token", c.num_experts_per_token, c.num_experts),
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
    return stack(c, "kimi_linear", d, layers, d)
