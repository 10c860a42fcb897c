"""Readers of deepseek and glm_moe_dsa (latent attention, mixtures of experts), and of minimax
(hybrid stacks).

Fields are those of ``DeepseekV2Config``, ``DeepseekV3Config``, ``GlmMoeDsaConfig``,
``MiniMaxConfig``, and of MiniMax-Text-01's own configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

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
    build_model,
    check_per_layer,
    checked_per_token,
    exact_quotient,
    field_error,
    grouped_heads,
    head_width,
    one_per_layer,
    read_fields,
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
    ignored: ClassVar[tuple[str, ...]] = ("num_nextn_predict_layers",)
    """Layers that predict further tokens are no part of what is read."""
    aliases = (("num_key_value_heads", "num_attention_heads"), ("qk_head_dim", "qk_width"))
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
    n_group: SizeOrZero | None = None
    topk_group: SizeOrZero | None = None

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
    # One name after the other, of the same: every layer attends to picked keys.
    layer_types: (
        Annotated[tuple[str, ...], one_per_layer("deepseek_sparse_attention", "indexed_attention")]
        | None
    ) = None
    q_lora_rank: Size
    index_n_heads: Size
    index_head_dim: Size
    index_topk: Size


def deepseek_v32(root: YamlNode) -> ModelConfig:
    """``DeepseekV32Config``: as deepseek_v3, but that an indexer picks the keys of a query."""
    c = read_fields(_DeepseekV32Config, root)
    _check_kinds(root, c)
    index = KeyIndexer(heads=c.index_n_heads, width=c.index_head_dim, top_k=c.index_topk)
    return _deepseek_stack(root, c, "deepseek_v32", router_biases=True, indexer=index)


def _check_kinds(root: YamlNode, c: _DeepseekV32Config) -> None:
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)


class _Glm4MoeLiteConfig(_DeepseekConfig):
    ignored = ("num_nextn_predict_layers", "head_dim", "mtp_*")

    first_k_dense_replace: SizeOrZero = 1
    mlp_layer_types: Annotated[tuple[str, ...], one_per_layer("dense", "sparse")] | None = None


def glm4_moe_lite(root: YamlNode) -> ModelConfig:
    """``Glm4MoeLiteConfig``: as deepseek_v3; dense and sparse layers may be listed."""
    c = read_fields(_Glm4MoeLiteConfig, root)
    sparse = _sparse_layers(root, c, c.mlp_layer_types)
    indexers = [None] * c.num_hidden_layers
    return _latent_stack(root, c, "glm4_moe_lite", sparse, indexers, router_biases=True)


def _letters(value: Any) -> Any:
    return list(value) if isinstance(value, str) else value


_PATTERN = one_per_layer("F", "S", "full", "shared")


class _GlmMoeDsaConfig(_DeepseekV32Config):
    ignored = (
        *("num_nextn_predict_layers", "head_dim", "indexer_rope_interleave", "mtp_*"),
        *("index_share_for_mtp_iteration", "moe_router_dtype"),
    )
    """A head's width with rotations is said by itself; of further tokens, who picks; and in what
    width a router's scores are."""

    index_n_heads: Size = 32
    index_head_dim: Size = 128
    index_topk: Size = 2048
    first_k_dense_replace: SizeOrZero = 3
    mlp_layer_types: Annotated[tuple[str, ...], one_per_layer("dense", "sparse")] | None = None
    indexer_types: Annotated[tuple[str, ...], one_per_layer("full", "shared")] | None = None
    index_topk_freq: Size = 1
    index_skip_topk_offset: SizeOrZero = 2
    index_topk_pattern: Annotated[tuple[str, ...], _PATTERN, BeforeValidator(_letters)] | None = (
        None
    )


def glm_moe_dsa(root: YamlNode) -> ModelConfig:
    """``GlmMoeDsaConfig``: as deepseek_v32; some layers take the picks of a layer before."""
    c = read_fields(_GlmMoeDsaConfig, root)
    _check_kinds(root, c)
    sparse = _sparse_layers(root, c, c.mlp_layer_types)
    index = KeyIndexer(heads=c.index_n_heads, width=c.index_head_dim, top_k=c.index_topk)
    indexers = [replace(index, shared=not own) for own in _own_indexers(root, c)]
    return _latent_stack(root, c, "glm_moe_dsa", sparse, indexers, router_biases=True)


def _sparse_layers(
    root: YamlNode, c: _DeepseekConfig, listed: tuple[str, ...] | None = None
) -> list[bool]:
    """Which layers have experts: as listed, else all but the first ones, or every so many."""
    count = c.num_hidden_layers
    found = [i >= c.first_k_dense_replace and i % c.moe_layer_freq == 0 for i in range(count)]
    if listed is not None:
        check_per_layer(root, "mlp_layer_types", listed, count)
        found = [kind == "sparse" for kind in listed]
        if any(found) and not c.n_routed_experts:
            raise field_error(
                root, "mlp_layer_types", "some layers have experts, and there are none"
            )
    return [bool(c.n_routed_experts) and sparse for sparse in found]


def _own_indexers(root: YamlNode, c: _GlmMoeDsaConfig) -> list[bool]:
    """Whether a layer picks keys itself: as listed, else every so many behind the first."""
    count, offset = c.num_hidden_layers, c.index_skip_topk_offset
    # An offset of 2 and every 4th: layers 0 and 1, then 5, 9, 13, ...; 2 to 4 take the picks of 1.
    own = [max(index - offset + 1, 0) % c.index_topk_freq == 0 for index in range(count)]
    for field, listed in (
        ("index_topk_pattern", c.index_topk_pattern),
        ("indexer_types", c.indexer_types),
    ):
        if listed is not None:
            check_per_layer(root, field, listed, count)
            own = [kind in ("full", "F") for kind in listed]
    if not own[0]:
        raise field_error(root, "indexer_types", "the first layer has no picks to share")
    return own


def _check_groups(root: YamlNode, c: _DeepseekConfig) -> None:
    """Groups of experts, of which a token goes to some: they count nothing, but have to exist."""
    groups, picked, experts = c.n_group or 1, c.topk_group or 1, c.n_routed_experts
    if experts is None:
        return
    each = exact_quotient(root, "n_routed_experts", experts, "n_group", groups)
    if picked > groups:
        raise field_error(
            root, "topk_group", f"a token goes to {picked} groups, there are {groups}"
        )
    if c.num_experts_per_tok > picked * each and groups > 1:
        text = f"a token goes to {c.num_experts_per_tok} experts, its groups have {picked * each}"
        raise field_error(root, "num_experts_per_tok", text)


def _deepseek(root: YamlNode, family: str, router_biases: bool) -> ModelConfig:
    return _deepseek_stack(root, read_fields(_DeepseekConfig, root), family, router_biases)


def _deepseek_stack(
    root: YamlNode,
    c: _DeepseekConfig,
    family: str,
    router_biases: bool,
    indexer: KeyIndexer | None = None,
) -> ModelConfig:
    indexers = [indexer] * c.num_hidden_layers
    return _latent_stack(root, c, family, _sparse_layers(root, c), indexers, router_biases)


def _latent_stack(
    root: YamlNode,
    c: _DeepseekConfig,
    family: str,
    sparse: Sequence[bool],
    indexers: Sequence[KeyIndexer | None],
    router_biases: bool,
) -> ModelConfig:
    """Latent attention, layers with experts among them, and layers that pick keys."""
    d, experts = c.hidden_size, c.n_routed_experts or 0
    _check_groups(root, c)
    dense = FeedForward(inner=c.intermediate_size, gated=True)
    mixture = (
        Experts(
            experts=experts,
            per_token=checked_per_token(
                root, "num_experts_per_tok", c.num_experts_per_tok, experts
            ),
            inner=c.moe_intermediate_size,
            # Shared experts are one network as wide as all of them.
            shared_inner=c.moe_intermediate_size * (c.n_shared_experts or 0),
        )
        if experts
        else None
    )
    layers = []
    for is_sparse, indexer in zip(sparse, indexers, strict=True):
        # Both latents are normalised, too, and the key of an indexer, with a bias.
        other = 2 * d + (c.q_lora_rank or 0) + c.kv_lora_rank
        other += 2 * indexer.width if indexer and not indexer.shared else 0
        # DeepSeek-V3's router adds a bias to the score of each expert, which balances their load
        # (arXiv 2412.19437).
        other += experts if is_sparse and router_biases else 0
        ffn = mixture if is_sparse and mixture is not None else dense
        mixer = replace(c.latent_attention, indexer=indexer)
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, family, d, layers, d)


class _MiniMaxConfig(ConfigFields):
    ignored = (
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
        Annotated[tuple[str, ...], one_per_layer("full_attention", "linear_attention")] | None
    ) = None


class _MiniMaxText01Config(_MiniMaxConfig):
    attn_type_list: Annotated[tuple[int, ...], one_per_layer(0, 1)]
    """A 0 for each lightning layer, a 1 for each softmax layer."""
    shared_intermediate_size: SizeOrZero = 0


def minimax(root: YamlNode) -> ModelConfig:
    """``MiniMaxConfig``: without ``layer_types`` every second layer is softmax."""
    c = read_fields(_MiniMaxConfig, root)
    # The first, the third, and so on.
    softmax = [bool((index + 1) % 2) for index in range(c.num_hidden_layers)]
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        softmax = [kind == "full_attention" for kind in c.layer_types]
    return _minimax_stack(root, c, "minimax", softmax, shared=0)


def minimax_text_01(root: YamlNode) -> ModelConfig:
    """MiniMax-Text-01's own configuration, which lists the kind of each layer."""
    c = read_fields(_MiniMaxText01Config, root)
    check_per_layer(root, "attn_type_list", c.attn_type_list, c.num_hidden_layers)
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
        per_token=checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.intermediate_size,
        shared_inner=shared,
    )
    # One number a token weighs the shared expert, where there is one.
    beside = 2 * d + (d if shared else 0)
    full = Layer(
        mixer=SoftmaxAttention(heads=heads, kv_heads=kv_heads, qk_width=width, v_width=width),
        ffn=ffn,
        other_parameters=beside,
    )
    lightning = Layer(
        mixer=DecayAttention(
            heads=heads,
            qk_width=width,
            v_width=width,
            decay="slopes as ALiBi's, weaker in later layers",
        ),
        ffn=ffn,
        other_parameters=beside + heads * width,
    )
    layers = [full if is_softmax else lightning for is_softmax in softmax]
    return build_model(c, family, d, layers, d)
