"""Readers of latent attention with mixtures of experts: deepseek, glm_moe_dsa, kimi_linear.

Fields are those of ``DeepseekV2Config``, ``DeepseekV3Config``, ``GlmMoeDsaConfig``, and of Kimi
Linear's own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from einsum_cascade.yaml.source import YamlNode

from ..models import DeltaAttention, KeyIndexer, LatentAttention, Mixer
from .fields import (
    Reader,
    Size,
    check_per_layer,
    exact_quotient,
    field_error,
    read_inner,
)
from .table import (
    STACK,
    Half,
    LayerRule,
    MixersReader,
    Mixture,
    ModelFamily,
    counts,
    families,
    from_layer,
    like,
    listed,
    lists,
    mixed,
    optional_counts,
    optional_sizes,
    sizes,
    uniform,
)


def _latent(row: ModelFamily, root: YamlNode, c: Any) -> Half[LatentAttention]:
    """Return latent attention that is causal and sees all keys.

    Its further parameters are the norms of the latents of queries and of keys.
    """
    del row, root
    found = LatentAttention(
        heads=c.num_attention_heads,
        q_rank=c.q_lora_rank,
        kv_rank=c.kv_lora_rank,
        nope_width=c.qk_nope_head_dim,
        rope_width=c.qk_rope_head_dim,
        v_width=c.v_head_dim,
    )
    return Half(found, c.kv_lora_rank + (c.q_lora_rank or 0))


def _check_groups(root: YamlNode, c: Any) -> None:
    """Raise an error if the fields on groups of experts are inconsistent; groups change no
    count."""
    groups, selected, experts = c.n_group or 1, c.topk_group or 1, c.n_routed_experts
    if experts is None:
        return
    each = exact_quotient(root, "n_routed_experts", experts, "n_group", groups)
    if selected > groups:
        text = f"a token goes to {selected} groups, there are {groups}"
        raise field_error(root, "topk_group", text)
    if c.num_experts_per_tok > selected * each and groups > 1:
        text = f"a token goes to {c.num_experts_per_tok} experts, its groups have {selected * each}"
        raise field_error(root, "num_experts_per_tok", text)


_RULE = from_layer("first_k_dense_replace", every="moe_layer_freq")
_LATENT = sizes("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_STANDARD = (*STACK, "intermediate_size", "hidden_act")

# The router of DeepSeek-V3 adds a bias to the score of each expert, which balances their load
# (arXiv 2412.19437).
_MIXTURE = Mixture(
    shared=("moe_intermediate_size", "n_shared_experts"),
    layers=_RULE,
    router_bias=True,
)
DEEPSEEK_V3 = ModelFamily(
    family="deepseek_v3",
    standard=_STANDARD,
    # Layers that predict further tokens are not read.
    ignored=("num_nextn_predict_layers",),
    # After expansion every query head has keys of its own.
    aliases=(
        ("num_key_value_heads", "num_attention_heads"),
        ("qk_head_dim", lambda c: c.qk_nope_head_dim + c.qk_rope_head_dim),
    ),
    fields=_LATENT
    | optional_sizes("q_lora_rank", "n_routed_experts")
    | optional_counts("n_shared_experts")
    | counts("first_k_dense_replace")
    | optional_counts(n_group=None, topk_group=None)
    | sizes("moe_intermediate_size", "num_experts_per_tok", moe_layer_freq=1),
    check=_check_groups,
    mixers=uniform(_latent),
    mixture=_MIXTURE,
)
DEEPSEEK_V2 = like(DEEPSEEK_V3, family="deepseek_v2", mixture=replace(_MIXTURE, router_bias=False))
KIMI_K2 = like(DEEPSEEK_V3, family="kimi_k2")


def _indexed(own: LayerRule | None = None) -> MixersReader:
    """Return a reader of latent attention in which an indexer selects the keys of each query.

    Layers that the rule ``own`` does not select use the selection of an earlier layer.
    """

    def mixers(row: ModelFamily, root: YamlNode, c: Any) -> list[Half[Mixer]]:
        if c.layer_types is not None:
            check_per_layer(root, "layer_types", c.layer_types, c.num_hidden_layers)
        half = _latent(row, root, c)
        indexer = KeyIndexer(heads=c.index_n_heads, width=c.index_head_dim, top_k=c.index_topk)
        found: list[Half[Mixer]] = []
        for selects in [True] * c.num_hidden_layers if own is None else own(root, c):
            part = replace(half.part, indexer=replace(indexer, shared=not selects))
            # The key of an indexer is normalised, with a bias.
            found.append(Half(part, half.other_parameters + (2 * indexer.width if selects else 0)))
        return found

    return mixers


DEEPSEEK_V32 = like(
    DEEPSEEK_V3,
    family="deepseek_v32",
    fields=sizes("q_lora_rank", "index_n_heads", "index_head_dim", "index_topk")
    # Both words name the same layer: every layer attends to selected keys.
    | lists(layer_types=("deepseek_sparse_attention", "indexed_attention")),
    mixers=_indexed(),
)
_LAYER_KINDS = lists(mlp_layer_types=("dense", "sparse"))


def _listed_sparse_layers(root: YamlNode, c: Any) -> Sequence[bool]:
    """Select the layers with experts: listed ones, or by default every few after the first dense
    ones."""
    found = listed("mlp_layer_types", ("sparse",), _RULE)(root, c)
    if c.mlp_layer_types is not None and any(found) and not c.n_routed_experts:
        text = "some layers have experts, and there are none"
        raise field_error(root, "mlp_layer_types", text)
    return found


GLM4_MOE_LITE = like(
    DEEPSEEK_V3,
    family="glm4_moe_lite",
    ignored=("num_nextn_predict_layers", "head_dim", "mtp_*"),
    fields=counts(first_k_dense_replace=1) | _LAYER_KINDS,
    mixture=replace(_MIXTURE, layers=_listed_sparse_layers),
)


def _own_indexers(root: YamlNode, c: Any) -> Sequence[bool]:
    """Return one boolean per layer: True if the layer's own indexer selects keys.

    A list in the configuration decides; without a list, every few layers have an indexer.
    """
    offset, every = c.index_skip_topk_offset, c.index_topk_freq
    # With an offset of 2 and every 4th layer, layers 0, 1, 5, 9, 13, ... select keys; layers 2 to 4
    # use the keys of layer 1.
    regular = [max(index - offset + 1, 0) % every == 0 for index in range(c.num_hidden_layers)]
    pattern = listed("index_topk_pattern", ("full", "F"), lambda _root, _c: regular)
    own = listed("indexer_types", ("full", "F"), pattern)(root, c)
    if not own[0]:
        raise field_error(root, "indexer_types", "the first layer has no picks to share")
    return own


GLM_MOE_DSA = like(
    DEEPSEEK_V32,
    family="glm_moe_dsa",
    # The ignored fields concern a head's width with rotations, the indexer of further tokens, and
    # the format of router scores.
    ignored=(
        *("num_nextn_predict_layers", "head_dim", "indexer_rope_interleave", "mtp_*"),
        *("index_share_for_mtp_iteration", "moe_router_dtype"),
    ),
    fields=sizes(index_n_heads=32, index_head_dim=128, index_topk=2048, index_topk_freq=1)
    | counts(first_k_dense_replace=3, index_skip_topk_offset=2)
    | _LAYER_KINDS
    | lists(indexer_types=("full", "shared"))
    | lists(letters=True, index_topk_pattern=("F", "S", "full", "shared")),
    mixers=_indexed(_own_indexers),
    mixture=replace(_MIXTURE, layers=_listed_sparse_layers),
)


_KIMI_DELTA = sizes("head_dim", "num_heads", short_conv_kernel_size=4) | dict.fromkeys(
    ("kda_layers", "full_attn_layers"), (tuple[Size, ...], ...)
)


def _kimi_mixers(row: ModelFamily, root: YamlNode, c: Any) -> Sequence[Half[Mixer]]:
    """Return the mixer of each layer: Kimi Delta Attention or latent attention, as two lists say.

    The lists count layers from 1.
    """
    _, linear = read_inner(root, "linear_attn_config", _KIMI_DELTA)
    count, heads, width = c.num_hidden_layers, linear.num_heads, linear.head_dim
    listed = sorted((*linear.kda_layers, *linear.full_attn_layers))
    if listed != list(range(1, count + 1)):
        text = (
            f"kda_layers and full_attn_layers together are not the layers 1 to {count}, each once"
        )
        raise field_error(root, "linear_attn_config", text)
    delta = DeltaAttention(
        heads=heads,
        key_heads=heads,
        qk_width=width,
        v_width=width,
        conv_width=linear.short_conv_kernel_size,
        low_rank=width,
    )
    # Parameters are A and the bias of steps, and the norm of a head's output.
    recurs: Half[Mixer] = Half(delta, heads * (1 + width) + width)
    full = [index in linear.full_attn_layers for index in range(1, count + 1)]
    return mixed(lambda _root, _c: full, lambda *_: recurs, _latent)(row, root, c)


KIMI_LINEAR = ModelFamily(
    family="kimi_linear",
    standard=_STANDARD,
    # The ignored fields concern the choice of experts, and widths without rotation.
    ignored=(
        *("num_nextn_predict_layers", "moe_router_activation_func", "moe_renormalize"),
        *("num_expert_group", "use_grouped_topk", "mla_use_nope", "head_dim"),
    ),
    aliases=(("num_key_value_heads", "num_attention_heads"),),
    names={"num_experts_per_tok": "num_experts_per_token"},
    fields=_LATENT
    | {"linear_attn_config": (dict[str, Any], ...)}
    | optional_sizes(q_lora_rank=None)
    | sizes("num_experts", "num_experts_per_tok", "moe_intermediate_size", moe_layer_freq=1)
    | counts(num_shared_experts=0, first_k_dense_replace=0),
    mixers=_kimi_mixers,
    mixture=replace(_MIXTURE, shared=("moe_intermediate_size", "num_shared_experts")),
)
FAMILIES: Mapping[str, Reader] = MappingProxyType(families(globals()))
"""Readers of configurations by ``model_type``."""
