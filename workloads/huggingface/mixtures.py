"""Readers of decoders whose later layers are mixtures of experts: glm4_moe.

Fields and defaults are those of Hugging Face Transformers (``Glm4MoeConfig``).
"""

from __future__ import annotations

from einsum_cascade.yaml.source import YamlNode

from ..models import Experts, FeedForward, Layer, ModelConfig
from .fields import (
    SiluGate,
    Size,
    SizeOrZero,
    all_full,
    attention_biases,
    feed_forward,
    read_fields,
    routed,
    stack,
)
from .softmax import DecoderConfig, softmax_heads


class _Glm4MoeConfig(DecoderConfig):
    harmless = ("num_nextn_predict_layers", "use_grouped_mm")
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
    all_full(root, c.layer_types, c.num_hidden_layers)
    d, experts = c.hidden_size, c.n_routed_experts
    mixer = softmax_heads(root, c, c.num_key_value_heads, qk_norm=c.use_qk_norm)
    other = 2 * d + (2 * mixer.qk_width if c.use_qk_norm else 0)
    # Queries, keys and values have biases, the output has none.
    other += attention_biases(mixer, d, output=False) if c.attention_bias else 0
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture = Experts(
        experts=experts,
        per_token=routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
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
    return stack(c, "glm4_moe", d, layers, d)
