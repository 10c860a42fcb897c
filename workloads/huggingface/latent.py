"""Readers of latent attention with mixtures of experts (deepseek, glm_moe_dsa) and of minimax.

Fields are those of ``DeepseekV2Config``, ``DeepseekV3Config``, ``GlmMoeDsaConfig``,
``MiniMaxConfig``, and of MiniMax-Text-01's own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from einsum_cascade.yaml.source import YamlNode

from ..models import DecayAttention, KeyIndexer, LatentAttention, Mixer, ModelConfig
from .fields import (
    ConfigFields,
    LayerCount,
    Reader,
    SiluGate,
    Size,
    SizeOrZero,
    StackFields,
    check_per_layer,
    exact_quotient,
    field_error,
    listed_layers,
    one_per_layer,
    read_fields,
)
from .stack import (
    ALIBI_SLOPES,
    Half,
    Network,
    attention_heads,
    build_model,
    dense_or_sparse,
    feed_forward,
    join_halves,
    mixture_of_experts,
)


class LatentFields(ConfigFields):
    """Fields with the widths of latent attention, as in DeepSeek's configurations."""

    num_attention_heads: Size
    q_lora_rank: Size | None
    kv_lora_rank: Size
    qk_nope_head_dim: Size
    qk_rope_head_dim: Size
    v_head_dim: Size

    @property
    def latent_attention(self) -> LatentAttention:
        """Latent attention that is causal and sees all keys."""
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
    """Names of fields about layers that predict further tokens, which are not read."""
    aliases = (("num_key_value_heads", "num_attention_heads"), ("qk_head_dim", "qk_width"))
    """Second names of fields; after expansion every query head has keys of its own."""

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
        """Width of an expanded query or key head."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim


def deepseek(root: YamlNode, *, family: str, router_bias: bool) -> ModelConfig:
    """Read ``DeepseekV2Config``, ``DeepseekV3Config``, or Kimi K2's own configuration.

    ``router_bias`` is True if the router adds a bias to the score of each expert.
    """
    c = read_fields(_DeepseekConfig, root)
    sparse, indexers = _sparse_layers(root, c), [None] * c.num_hidden_layers
    return _latent_model(root, c, family, sparse, indexers, router_bias)


class _DeepseekV32Config(_DeepseekConfig):
    # Both words name the same layer: every layer attends to selected keys.
    layer_types: (
        Annotated[tuple[str, ...], one_per_layer("deepseek_sparse_attention", "indexed_attention")]
        | None
    ) = None
    q_lora_rank: Size
    index_n_heads: Size
    index_head_dim: Size
    index_topk: Size

    @property
    def indexer(self) -> KeyIndexer:
        """Indexer that selects keys in its own layer."""
        return KeyIndexer(
            heads=self.index_n_heads, width=self.index_head_dim, top_k=self.index_topk
        )


def deepseek_v32(root: YamlNode) -> ModelConfig:
    """Read ``DeepseekV32Config``: as deepseek_v3, with an indexer that selects a query's keys."""
    c = read_fields(_DeepseekV32Config, root)
    _check_kinds(root, c)
    sparse, indexers = _sparse_layers(root, c), [c.indexer] * c.num_hidden_layers
    return _latent_model(root, c, "deepseek_v32", sparse, indexers)


def _check_kinds(root: YamlNode, c: _DeepseekV32Config) -> None:
    if c.layer_types is not None:
        check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)


class _Glm4MoeLiteConfig(_DeepseekConfig):
    ignored = ("num_nextn_predict_layers", "head_dim", "mtp_*")

    first_k_dense_replace: SizeOrZero = 1
    mlp_layer_types: Annotated[tuple[str, ...], one_per_layer("dense", "sparse")] | None = None


def glm4_moe_lite(root: YamlNode) -> ModelConfig:
    """Read ``Glm4MoeLiteConfig``: as deepseek_v3, where a list may name dense and sparse layers."""
    c = read_fields(_Glm4MoeLiteConfig, root)
    sparse, indexers = _sparse_layers(root, c), [None] * c.num_hidden_layers
    return _latent_model(root, c, "glm4_moe_lite", sparse, indexers)


def _letters(value: Any) -> Any:
    return list(value) if isinstance(value, str) else value


_PATTERN = one_per_layer("F", "S", "full", "shared")


class _GlmMoeDsaConfig(_DeepseekV32Config):
    ignored = (
        *("num_nextn_predict_layers", "head_dim", "indexer_rope_interleave", "mtp_*"),
        *("index_share_for_mtp_iteration", "moe_router_dtype"),
    )
    """Names of fields about a head's width with rotations, the indexer of further tokens, and
    the format of router scores."""

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
    """Read ``GlmMoeDsaConfig``: as deepseek_v32, where some layers use an earlier layer's
    selection."""
    c = read_fields(_GlmMoeDsaConfig, root)
    _check_kinds(root, c)
    sparse = _sparse_layers(root, c)
    indexers = [replace(c.indexer, shared=not own) for own in _own_indexers(root, c)]
    return _latent_model(root, c, "glm_moe_dsa", sparse, indexers)


def _sparse_layers(root: YamlNode, c: _DeepseekConfig) -> list[bool]:
    """Select the layers with experts: as listed, else every few behind the first ones."""
    layers = range(c.num_hidden_layers)
    rule = [i >= c.first_k_dense_replace and i % c.moe_layer_freq == 0 for i in layers]
    found = listed_layers(root, c, "mlp_layer_types", ("sparse",), rule)
    listed = getattr(c, "mlp_layer_types", None) is not None
    if listed and any(found) and not c.n_routed_experts:
        text = "some layers have experts, and there are none"
        raise field_error(root, "mlp_layer_types", text)
    return [bool(c.n_routed_experts) and sparse for sparse in found]


def _own_indexers(root: YamlNode, c: _GlmMoeDsaConfig) -> Sequence[bool]:
    """Return for each layer whether it selects keys itself: as listed, else every few layers."""
    count, offset = c.num_hidden_layers, c.index_skip_topk_offset
    # With an offset of 2 and every 4th layer, layers 0, 1, 5, 9, 13, ... select keys; layers 2 to 4
    # use the keys of layer 1.
    own: Sequence[bool] = [
        max(index - offset + 1, 0) % c.index_topk_freq == 0 for index in range(count)
    ]
    for field in ("index_topk_pattern", "indexer_types"):
        own = listed_layers(root, c, field, ("full", "F"), own)
    if not own[0]:
        raise field_error(root, "indexer_types", "the first layer has no picks to share")
    return own


def _check_groups(root: YamlNode, c: _DeepseekConfig) -> None:
    """Raise an error if groups of experts are inconsistent; they change no count."""
    groups, selected, experts = c.n_group or 1, c.topk_group or 1, c.n_routed_experts
    if experts is None:
        return
    each = exact_quotient(root, "n_routed_experts", experts, "n_group", groups)
    if selected > groups:
        raise field_error(
            root, "topk_group", f"a token goes to {selected} groups, there are {groups}"
        )
    if c.num_experts_per_tok > selected * each and groups > 1:
        text = f"a token goes to {c.num_experts_per_tok} experts, its groups have {selected * each}"
        raise field_error(root, "num_experts_per_tok", text)


def _latent_model(
    root: YamlNode,
    c: _DeepseekConfig,
    family: str,
    sparse: Sequence[bool],
    indexers: Sequence[KeyIndexer | None],
    router_bias: bool = True,
) -> ModelConfig:
    """Return a model of latent attention whose layers have experts and indexers as given."""
    d, experts = c.hidden_size, c.n_routed_experts or 0
    _check_groups(root, c)

    def mixture() -> Half[Network]:
        inner = c.moe_intermediate_size
        # Shared experts are one network as wide as all of them.
        shared = inner * (c.n_shared_experts or 0)
        part = mixture_of_experts(root, experts, c.num_experts_per_tok, inner, shared)
        # The router of DeepSeek-V3 adds a bias to the score of each expert, which balances their
        # load (arXiv 2412.19437).
        return Half(part, d + (experts if router_bias else 0))

    dense = Half(feed_forward(c.intermediate_size), d)
    mixers: list[Half[Mixer]] = []
    for indexer in indexers:
        # Both latents are normalised, and so is the key of an indexer, with a bias.
        other = d + (c.q_lora_rank or 0) + c.kv_lora_rank
        other += 2 * indexer.width if indexer and not indexer.shared else 0
        mixer = replace(c.latent_attention, indexer=indexer)
        mixers.append(Half(mixer, other))
    return build_model(
        c, family, d, join_halves(mixers, dense_or_sparse(dense, mixture, sparse)), d
    )


class _MiniMaxConfig(StackFields):
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
    """Names of fields about factors of the stream, places of norms, and chunks."""

    hidden_act: SiluGate = None
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
    """List with 0 for each lightning layer and 1 for each softmax layer."""
    shared_intermediate_size: SizeOrZero = 0


def minimax(root: YamlNode) -> ModelConfig:
    """Read ``MiniMaxConfig``: without ``layer_types`` layers 0, 2, 4, ... are softmax."""
    c = read_fields(_MiniMaxConfig, root)
    even = [index % 2 == 0 for index in range(c.num_hidden_layers)]
    softmax = listed_layers(root, c, "layer_types", ("full_attention",), even)
    return _minimax_model(root, c, "minimax", softmax, shared=0)


def minimax_text_01(root: YamlNode) -> ModelConfig:
    """Read MiniMax-Text-01's own configuration, which lists the kind of each layer."""
    c = read_fields(_MiniMaxText01Config, root)
    softmax = listed_layers(root, c, "attn_type_list", (1,))
    return _minimax_model(root, c, "minimax_text_01", softmax, c.shared_intermediate_size)


def _minimax_model(
    root: YamlNode, c: _MiniMaxConfig, family: str, softmax: Sequence[bool], shared: int
) -> ModelConfig:
    d, heads = c.hidden_size, c.num_attention_heads
    full = attention_heads(root, d, heads, c.num_key_value_heads, c.head_dim)
    lightning = DecayAttention(
        heads=heads, qk_width=full.qk_width, v_width=full.v_width, decay=ALIBI_SLOPES
    )
    mixture = mixture_of_experts(
        root, c.num_local_experts, c.num_experts_per_tok, c.intermediate_size, shared
    )
    # One number per token weighs the shared expert, where there is one.
    network = Half(mixture, d + (d if shared else 0))
    attends: Half[Mixer] = Half(full, d)
    # Lightning attention normalises the values of all heads together.
    recurs: Half[Mixer] = Half(lightning, d + heads * full.v_width)
    mixers = [attends if is_softmax else recurs for is_softmax in softmax]
    return build_model(c, family, d, join_halves(mixers, [network] * len(mixers)), d)


FAMILIES: Mapping[str, Reader] = MappingProxyType(
    {
        "deepseek_v2": partial(deepseek, family="deepseek_v2", router_bias=False),
        "deepseek_v3": partial(deepseek, family="deepseek_v3", router_bias=True),
        "deepseek_v32": deepseek_v32,
        "glm4_moe_lite": glm4_moe_lite,
        "glm_moe_dsa": glm_moe_dsa,
        "kimi_k2": partial(deepseek, family="kimi_k2", router_bias=True),
        "minimax": minimax,
        "minimax_m1": minimax_text_01,
        "minimax_text_01": minimax_text_01,
    }
)
"""Readers by ``model_type``."""
