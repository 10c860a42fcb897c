"""Readers of stacks whose layers mix tokens in different ways: jamba.

Fields and defaults are those of Hugging Face Transformers (``JambaConfig``).
"""

from __future__ import annotations

from typing import Any

from einsum_cascade.yaml.source import YamlNode

from ..models import Experts, FeedForward, Layer, ModelConfig, SelectiveScan
from .fields import (
    SiluGate,
    Size,
    SizeOrZero,
    auto_or_size,
    feed_forward,
    read_fields,
    refuse,
    routed,
    stack,
)
from .softmax import DecoderConfig, softmax_heads


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
    per_token = routed(root, "num_experts_per_tok", c.num_experts_per_tok, c.num_experts)
    mixture = Experts(experts=c.num_experts, per_token=per_token, inner=c.intermediate_size)
    softmax, mamba = softmax_heads(root, c, c.num_key_value_heads), _mamba(root, c)
    layers = []
    for index in range(c.num_hidden_layers):
        attends = index % c.attn_layer_period == c.attn_layer_offset
        sparse = index % c.expert_layer_period == c.expert_layer_offset and c.num_experts > 1
        ffn: FeedForward | Experts = mixture if sparse else dense
        mixer = softmax if attends else mamba
        other = 2 * d + (0 if attends else _beside_mamba(c, mamba))
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return stack(c, "jamba", d, layers, d)


def _mamba(root: YamlNode, c: _JambaConfig) -> SelectiveScan:
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
