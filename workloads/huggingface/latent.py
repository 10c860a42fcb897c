"""Readers of deepseek (latent attention, mixtures of experts) and minimax (hybrid stacks).

Fields are those of ``DeepseekV2Config``, ``DeepseekV3Config``, ``MiniMaxConfig``, and of
MiniMax-Text-01's own configuration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    DecayAttention,
    Experts,
    FeedForward,
    KeyIndexer,
    LatentAttention,
    Layer,
    ModelConfig,
    SoftmaxAttention,
)
from .fields import (
    ConfigFields,
    LayerCount,
    SiluGate,
    Size,
    SizeOrZero,
    grouped_heads,
    head_width,
    one_a_layer,
    per_layer,
    read_fields,
    routed,
    stack,
)


class LatentFields(ConfigFields):
    """The widths of latent attention, as DeepSeek's configurations and those after them say."""

    num_attention_heads: Size
    q_lora_rank: Size | None
    kv_lora_rank: Size
    qk_nope_head_dim: Size
    qk_rope_head_dim: Size
    v_head_dim: Size

    @property
    def latent_attention(self) -> LatentAttention:
        """It, causal and over all keys."""
        return LatentAttention(
            heads=self.num_attention_heads,
            q_rank=self.q_lora_rank,
            kv_rank=self.kv_lora_rank,
            nope_width=self.qk_nope_head_dim,
            rope_width=self.qk_rope_head_dim,
            v_width=self.v_head_dim,
        )


class _DeepseekConfig(LatentFields):
    harmless = ("num_nextn_predict_layers",)
    """Layers that predict further tokens are no part of what is read."""
    alike = (("num_key_value_heads", "num_attention_heads"), ("qk_head_dim", "qk_width"))
    """Every head has keys of its own once they are unfolded."""

    hidden_act: SiluGate = None
    hidden_size: Size
    num_hidden_layers: LayerCount
    intermediate_size: Size
    moe_intermediate_size: Size
    n_routed_experts: Size | None
    num_experts_per_tok: Size
    n_shared_experts: SizeOrZero | None
    first_k_dense_replace: SizeOrZero
    moe_layer_freq: Size = 1

    @property
    def qk_width(self) -> int:
        """Of a query or key head once it is unfolded."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim


def deepseek_v2(root: YamlNode) -> ModelConfig:
    """``DeepseekV2Config``."""
    return _deepseek(root, "deepseek_v2", router_biases=False)


def deepseek_v3(root: YamlNode) -> ModelConfig:
    """``DeepseekV3Config``; the layer that predicts further tokens is no part of it."""
    return _deepseek(root, "deepseek_v3", router_biases=True)


def kimi_k2(root: YamlNode) -> ModelConfig:
    """Kimi K2's own configuration, which has the fields of ``DeepseekV3Config``."""
    return _deepseek(root, "kimi_k2", router_biases=True)


class _DeepseekV32Config(_DeepseekConfig):
    q_lora_rank: Size
    index_n_heads: Size
    index_head_dim: Size
    index_topk: Size


def deepseek_v32(root: YamlNode) -> ModelConfig:
    """``DeepseekV32Config``: as deepseek_v3, but that an indexer picks the keys of a query."""
    c = read_fields(_DeepseekV32Config, root)
    index = KeyIndexer(heads=c.index_n_heads, width=c.index_head_dim, picks=c.index_topk)
    return _deepseek_stack(root, c, "deepseek_v32", router_biases=True, indexer=index)


def _deepseek(root: YamlNode, family: str, router_biases: bool) -> ModelConfig:
    return _deepseek_stack(root, read_fields(_DeepseekConfig, root), family, router_biases)


def _deepseek_stack(
    root: YamlNode,
    c: _DeepseekConfig,
    family: str,
    router_biases: bool,
    indexer: KeyIndexer | None = None,
) -> ModelConfig:
    d, experts = c.hidden_size, c.n_routed_experts or 0
    mixer = replace(c.latent_attention, indexer=indexer)
    # Both latents are normalised, too, and the indexer's key, with a bias.
    norms = 2 * d + (c.q_lora_rank or 0) + c.kv_lora_rank + (2 * indexer.width if indexer else 0)
    ffn = FeedForward(inner=c.intermediate_size, gated=True)
    layers = [Layer(mixer=mixer, ffn=ffn, other_parameters=norms)] * c.num_hidden_layers
    if experts:
        mixture = Experts(
            experts=experts,
            per_token=routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
            inner=c.moe_intermediate_size,
            # Shared experts are one network as wide as all of them.
            shared_inner=c.moe_intermediate_size * (c.n_shared_experts or 0),
        )
        # DeepSeek-V3's router adds a bias to the score of each expert, which balances their load
        # (arXiv 2412.19437).
        biases = experts if router_biases else 0
        sparse = Layer(mixer=mixer, ffn=mixture, other_parameters=norms + biases)
        for index in range(c.first_k_dense_replace, c.num_hidden_layers):
            if index % c.moe_layer_freq == 0:
                layers[index] = sparse
    return stack(c, family, d, layers, d)


class _MiniMaxConfig(ConfigFields):
    harmless = (
        "*_attention_alpha",
        "*_attention_beta",
        "mlp_alpha_factor",
        "mlp_beta_factor",
        "*_attn_alpha_factor",
        "*_attn_beta_factor",
        "layernorm_*",
        "postnorm",
        "shared_moe_mode",
        "block_size",
    )
    """Factors of the residual stream, where its norms stand, and how chunks are cut."""

    hidden_act: SiluGate = None
    hidden_size: Size
    num_hidden_layers: LayerCount
    num_attention_heads: Size
    intermediate_size: Size
    num_key_value_heads: Size = 8
    head_dim: Size | None = None
    num_local_experts: Size = 8
    num_experts_per_tok: Size = 2
    layer_types: (
        Annotated[tuple[str, ...], one_a_layer("full_attention", "linear_attention")] | None
    ) = None


class _MiniMaxText01Config(_MiniMaxConfig):
    attn_type_list: Annotated[tuple[int, ...], one_a_layer(0, 1)]
    """A 0 for each lightning layer, a 1 for each softmax layer."""
    shared_intermediate_size: SizeOrZero = 0


def minimax(root: YamlNode) -> ModelConfig:
    """``MiniMaxConfig``: without ``layer_types`` every second layer is softmax."""
    c = read_fields(_MiniMaxConfig, root)
    # The first, the third, and so on.
    softmax = [bool((index + 1) % 2) for index in range(c.num_hidden_layers)]
    if c.layer_types is not None:
        per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        softmax = [kind == "full_attention" for kind in c.layer_types]
    return _minimax_stack(root, c, "minimax", softmax, shared=0)


def minimax_text_01(root: YamlNode) -> ModelConfig:
    """MiniMax-Text-01's own configuration, which lists the kind of each layer."""
    c = read_fields(_MiniMaxText01Config, root)
    per_layer(root, "attn_type_list", c.attn_type_list, c.num_hidden_layers)
    softmax = [kind == 1 for kind in c.attn_type_list]
    shared = c.shared_intermediate_size
    return _minimax_stack(root, c, "minimax_text_01", softmax, shared)


def _minimax_stack(
    root: YamlNode, c: _MiniMaxConfig, family: str, softmax: list[bool], shared: int
) -> ModelConfig:
    d, heads = c.hidden_size, c.num_attention_heads
    width = head_width(root, d, heads, c.head_dim)
    kv_heads = grouped_heads(root, heads, c.num_key_value_heads)
    experts = c.num_local_experts
    ffn = Experts(
        experts=experts,
        per_token=routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.intermediate_size,
        shared_inner=shared,
    )
    full = Layer(
        mixer=SoftmaxAttention(heads=heads, kv_heads=kv_heads, qk_width=width, v_width=width),
        ffn=ffn,
        other_parameters=2 * d,
    )
    lightning = Layer(
        mixer=DecayAttention(
            heads=heads,
            qk_width=width,
            v_width=width,
            decay="slopes as ALiBi's, weaker in later layers",
        ),
        ffn=ffn,
        other_parameters=2 * d + heads * width,
    )
    layers = [full if is_softmax else lightning for is_softmax in softmax]
    return stack(c, family, d, layers, d)
