"""Readers of falcon and mpt: decoders with optional ALiBi, and rules of their own for key heads.

Field names and defaults are those of Hugging Face Transformers (``FalconConfig``), and of MPT's own
configuration, which ``MptConfig`` reads only in part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from einsum_cascade.yaml.source import YamlNode

from ..models import Layer, ModelConfig
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    Reader,
    Size,
    constant,
    errors_inside,
    exact_quotient,
    field_error,
    read_fields,
)
from .stack import attention_biases, attention_heads, build_model, feed_forward


class _FalconConfig(ConfigFields):
    ignored = ("apply_residual_connection_post_layernorm",)
    """Name of a field that the family does not use."""
    aliases = (
        ("n_embed", "hidden_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
        ("n_head_kv", "num_kv_heads"),
        ("ff_factor", "ff_factor"),
    )

    vocab_size: Size | None = 65_024
    hidden_size: Size = Field(validation_alias=AliasChoices("n_embed", "hidden_size"))
    num_hidden_layers: LayerCount = Field(
        validation_alias=AliasChoices("num_hidden_layers", "n_layer")
    )
    num_attention_heads: Size = Field(
        validation_alias=AliasChoices("num_attention_heads", "n_head")
    )
    num_kv_heads: Size | None = Field(
        default=None, validation_alias=AliasChoices("num_kv_heads", "n_head_kv")
    )
    ffn_hidden_size: Size | None = None
    activation: str | None = "gelu"
    alibi: bool = False
    bias: bool = False
    multi_query: bool = True
    parallel_attn: bool = True
    new_decoder_architecture: bool = False
    num_ln_in_parallel_attn: Size | None = None
    tie_word_embeddings: bool = True

    @property
    def inner(self) -> int:
        """Width inside the feed-forward network, in elements."""
        return self.ffn_hidden_size or 4 * self.hidden_size

    @property
    def ff_factor(self) -> float:
        """Ratio of the width inside the network to the width of the stream."""
        return self.inner / self.hidden_size


def falcon(root: YamlNode) -> ModelConfig:
    """Read ``FalconConfig``: one head of keys or groups; parallel halves, or sequential ones
    (RW)."""
    c = read_fields(_FalconConfig, root)
    d = c.hidden_size
    heads = attention_heads(root, d, c.num_attention_heads)
    mixer = replace(heads, kv_heads=_falcon_kv_heads(root, c), alibi=c.alibi)
    # A norm has a weight and a bias per channel.
    other = 2 * d * _falcon_norms(root, c)
    other += attention_biases(mixer, d) + c.inner + d if c.bias else 0
    ffn = feed_forward(c.inner, gated=False, activation=c.activation)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=other)
    return build_model(c, "falcon", d, [layer] * c.num_hidden_layers, 2 * d)


def _falcon_kv_heads(root: YamlNode, c: _FalconConfig) -> int:
    """Return the number of key heads; early Falcons have one or all, whatever ``num_kv_heads``
    says."""
    heads = c.num_attention_heads
    keys = c.num_kv_heads or heads
    if c.new_decoder_architecture:
        exact_quotient(root, "num_attention_heads", heads, "num_kv_heads", keys)
        return keys
    if c.multi_query:
        # The published file of the 7B says 71 heads of keys.
        return 1
    if keys != heads:
        text = f"without new_decoder_architecture all {heads} heads have keys, got {keys}"
        raise field_error(root, "num_kv_heads", text)
    return heads


def _falcon_norms(root: YamlNode, c: _FalconConfig) -> int:
    """Return the number of norms of a layer."""
    newer, stated = c.new_decoder_architecture, c.num_ln_in_parallel_attn
    if not c.parallel_attn:
        if newer:
            text = "the halves of new_decoder_architecture are side by side, and this says not"
            raise field_error(root, "parallel_attn", text)
        return 2
    norms = stated or (2 if newer else 1)
    if norms > (2 if newer else 1):
        most = "1 or 2" if newer else "1 without new_decoder_architecture"
        raise field_error(root, "num_ln_in_parallel_attn", f"expected {most}, got {norms}")
    return norms


_NORMS = (
    *("layernorm", "low_precision_layernorm"),
    *("rmsnorm", "low_precision_rmsnorm", "triton_rmsnorm"),
)


class _MptConfig(ConfigFields):
    ignored = (*("embedding_fraction", "verbose", "tokenizer_name", "use_pad_tok_in_ffn"),)
    """Names of fields about gradients, messages and padding."""

    vocab_size: Size | None = 50_368
    d_model: Size
    n_heads: Size
    n_layers: LayerCount
    expansion_ratio: Size = 4
    max_seq_len: Size = 2048
    learned_pos_emb: bool = True
    no_bias: bool
    """Required, because configuration classes disagree on its default."""
    norm_type: str = "low_precision_layernorm"
    attn_config: dict[str, Any]
    tie_word_embeddings: bool = True


class _MptAttentionConfig(ConfigFields):
    ignored = ("attn_impl", "softmax_scale", "alibi_bias_max")
    """Names of fields about kernels and constants."""

    alibi: bool
    """Required, because configuration classes disagree on its default."""
    rope: bool = False
    attn_type: str = "multihead_attention"
    kv_n_heads: Size | None = None
    clip_qkv: Positive | None = None
    qk_ln: bool = False
    prefix_lm: Annotated[bool | None, constant(False)] = None
    attn_uses_sequence_id: Annotated[bool | None, constant(False)] = None


def mpt(root: YamlNode) -> ModelConfig:
    """Read MPT's own configuration, or ``MptConfig``; usually without any biases."""
    c = read_fields(_MptConfig, root)
    inner = root.child("attn_config")
    node = inner if inner is not None else root
    with errors_inside("attn_config"):
        a = read_fields(_MptAttentionConfig, node)
    if a.alibi and a.rope:
        raise field_error(node, "rope", "a penalty of distance (alibi) stands in its place")
    if c.norm_type not in _NORMS:
        known = ", ".join(_NORMS)
        raise field_error(root, "norm_type", f"expected one of {known}, got '{c.norm_type}'")
    d, wide = c.d_model, c.expansion_ratio * c.d_model
    heads = attention_heads(root, d, c.n_heads, width_field="d_model", heads_field="n_heads")
    mixer = replace(
        heads,
        kv_heads=_mpt_kv_heads(node, c, a),
        alibi=a.alibi,
        clip=a.clip_qkv,
        qk_norm=a.qk_ln,
    )
    # Layer norms have a bias if products have one; RMS norms have none.
    norm = 2 if c.norm_type.endswith("layernorm") and not c.no_bias else 1
    other = 2 * d * norm + (0 if c.no_bias else attention_biases(mixer, d) + wide + d)
    # Norms of queries and keys extend over all heads.
    other += (mixer.heads + mixer.kv_heads) * mixer.qk_width * norm if a.qk_ln else 0
    layer = Layer(
        mixer=mixer,
        ffn=feed_forward(wide, gated=False, activation="gelu"),
        other_parameters=other,
    )
    # Learned positions exist only without ALiBi and rotations.
    learned = c.learned_pos_emb and not (a.alibi or a.rope)
    return build_model(
        c, "mpt", d, [layer] * c.n_layers, d * norm + (c.max_seq_len * d if learned else 0)
    )


def _mpt_kv_heads(node: YamlNode, c: _MptConfig, a: _MptAttentionConfig) -> int:
    """Return the number of key heads that the kind of attention implies."""
    heads, given = c.n_heads, a.kv_n_heads
    match a.attn_type:
        case "multihead_attention":
            keys = heads
        case "multiquery_attention":
            keys = 1
        case "grouped_query_attention":
            if given is None:
                raise field_error(node, "attn_type", "'grouped_query_attention' needs kv_n_heads")
            exact_quotient(node, "n_heads", heads, "kv_n_heads", given)
            return given
        case other:
            text = "expected 'multihead_attention', 'multiquery_attention' or"
            raise field_error(node, "attn_type", f"{text} 'grouped_query_attention', got '{other}'")
    if given not in (None, keys):
        raise field_error(node, "kv_n_heads", f"'{a.attn_type}' has {keys}, got {given}")
    return keys


FAMILIES: Mapping[str, Reader] = MappingProxyType({"falcon": falcon, "mpt": mpt})
"""Readers by ``model_type``."""
