"""A table of decoder families: one row per family, and one reader for all rows.

A row names the fields of a configuration and the differences from a decoder with softmax attention
and a gated feed-forward network, each behind a norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import prod
from types import MappingProxyType
from typing import Any

from pydantic import create_model

from einsum_cascade.yaml.source import YamlNode

from ..models import Mixer, ModelConfig, SoftmaxAttention
from .fields import (
    ConfigFields,
    LayerCount,
    LayerTypes,
    Size,
    SizeOrZero,
    check_per_layer,
    field_error,
    listed_layers,
    read_fields,
)
from .stack import (
    Half,
    Network,
    attention_biases,
    attention_heads,
    build_model,
    dense_or_sparse,
    feed_forward,
    join_halves,
    mixture_of_experts,
)

Switch = bool | str
"""True, False, or the name of the boolean field that decides."""
LayerRule = Callable[[YamlNode, Any], Sequence[bool]]
"""Function of a configuration and its fields that selects layers: one boolean per layer."""
FieldRow = tuple[Any, Any]
"""Type and default of a field; the default ``...`` marks a field that must be given."""

STANDARD: Mapping[str, FieldRow] = MappingProxyType(
    {
        "hidden_size": (Size, ...),
        "num_hidden_layers": (LayerCount, ...),
        "num_attention_heads": (Size, ...),
        "intermediate_size": (Size, ...),
        "head_dim": (Size | None, None),
        "layer_types": (LayerTypes | None, None),
        "hidden_act": (str | None, None),
    }
)
"""Fields of nearly all decoders."""


def sizes(**defaults: int) -> dict[str, FieldRow]:
    """Return fields with whole numbers above zero."""
    return {name: (Size, default) for name, default in defaults.items()}


def optional_sizes(**defaults: int | None) -> dict[str, FieldRow]:
    """Return fields with whole numbers above zero, or null."""
    return {name: (Size | None, default) for name, default in defaults.items()}


def counts(**defaults: int) -> dict[str, FieldRow]:
    """Return fields with whole numbers from zero."""
    return {name: (SizeOrZero, default) for name, default in defaults.items()}


def flags(**defaults: bool) -> dict[str, FieldRow]:
    """Return boolean fields."""
    return {name: (bool, default) for name, default in defaults.items()}


def all_layers(root: YamlNode, c: Any) -> list[bool]:
    """Select all layers."""
    del root
    return [True] * c.num_hidden_layers


def even_layers(root: YamlNode, c: Any) -> list[bool]:
    """Select layers 0, 2, 4, ..."""
    del root
    return [index % 2 == 0 for index in range(c.num_hidden_layers)]


def all_but_every(interval: int | str) -> LayerRule:
    """Return a rule that selects all layers but the last of every ``interval`` layers.

    ``interval`` is a number, or the field that holds the number.
    """

    def rule(root: YamlNode, c: Any) -> list[bool]:
        del root
        every = interval if isinstance(interval, int) else getattr(c, interval)
        return [(index + 1) % every != 0 for index in range(c.num_hidden_layers)]

    return rule


def from_layer(field: str) -> LayerRule:
    """Return a rule that selects the layers from the index that a field holds."""

    def rule(root: YamlNode, c: Any) -> list[bool]:
        del root
        return [index >= getattr(c, field) for index in range(c.num_hidden_layers)]

    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Layers whose queries see a window of keys.

    The list ``layer_types`` selects the layers; without the list the rule ``layers`` does.
    """

    layers: LayerRule
    size: str = "sliding_window"
    """Field with the number of keys in a window."""
    switch: Switch = True
    kind: str = "sliding_attention"
    """Entry of ``layer_types`` that selects a layer."""
    chunked: bool = False
    """True if windows are aligned chunks of the sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Fields of a mixture of experts, and the layers that have the mixture."""

    experts: str
    """Field with the number of routed experts."""
    top_k: str = "num_experts_per_tok"
    """Field with the number of routed experts that a token goes to."""
    inner: str = "moe_intermediate_size"
    """Field with the width inside one routed expert."""
    shared: tuple[str, ...] = ()
    """Fields whose product is the width inside all shared experts."""
    layers: LayerRule = all_layers
    router_bias: Switch = False
    """True if the router adds a bias to the score of each expert, which balances their load."""
    shared_gate: bool = False
    """True if one number per token weighs the shared experts."""
    clamped: bool = False
    """True if router and experts have biases, and SiLU has clamped arguments (gpt-oss)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoder:
    """A family of decoders; calling the row reads a configuration."""

    family: str
    fields: Mapping[str, FieldRow] = field(default_factory=dict)
    """Fields besides the standard ones, or in their place. Their order is that of errors."""
    ignored: tuple[str, ...] = ()
    """Names and patterns of fields that change no count."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Pairs of a second name of a field and its first name."""
    check: Callable[[YamlNode, Any], None] | None = None
    """Function that raises an error if fields contradict one another."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The family's own names of standard fields; with names, unnamed standard fields are absent."""
    windows: Windows | None = None
    mixture: Mixture | None = None
    dense: str = "intermediate_size"
    """Field with the width inside a dense network; null means four times the stream."""
    gated: bool = True
    """True if dense networks have a gate."""
    activation: str | None = "hidden_act"
    """Field with the activation function of dense networks."""
    default_activation: str | None = None
    qk_norm: Switch = False
    """True if queries and keys are normalised."""
    qk_norm_size: str = "head"
    """Size of a norm's weight: "head", "all heads", or "head with bias"."""
    sinks: bool = False
    alibi: bool = False
    softcap: str = ""
    """Field with the bound of scores that are capped by tanh."""
    logit_softcap: str = ""
    """Field with the bound of logits that are capped by tanh."""
    norms: int = 2
    """Number of norms of the residual stream in a layer."""
    norm_bias: bool = False
    input_bias: Switch = False
    """True if the query, key and value projections have biases."""
    output_bias: Switch = False
    """True if the output projection has biases."""
    ffn_bias: Switch = False
    """True if the products of dense networks have biases."""
    outside: Callable[[Any], int] | None = None
    """Function that counts parameters outside layers and embeddings; by default one norm."""

    def __call__(self, root: YamlNode) -> ModelConfig:
        """Return the model of a configuration of this family.

        Raises
        ------
        SpecError
            Fields are missing, wrong, unknown, or contradict one another.
        """
        return _read_decoder(self, root)


def biased(switch: Switch) -> dict[str, Any]:
    """Return the columns of a row whose four attention projections have biases together."""
    return {"input_bias": switch, "output_bias": switch}


def like(
    row: Decoder, *, fields: Mapping[str, FieldRow] = MappingProxyType({}), **changes: Any
) -> Decoder:
    """Return a row with further fields and other columns than another row."""
    return replace(row, fields={**row.fields, **fields}, **changes)


# Pydantic needs about a millisecond per class, so that only the class in use is built.
@cache
def _fields_class(row: Decoder) -> type[ConfigFields]:
    standard = {row.names.get(name, name): STANDARD[name] for name in row.names or STANDARD}
    fields: dict[str, Any] = {**standard, **row.fields}
    model = create_model(f"_{row.family}_fields", __base__=ConfigFields, **fields)
    model.ignored, model.aliases = row.ignored, row.aliases
    return model


def _enabled(c: Any, switch: Switch) -> bool:
    return switch if isinstance(switch, bool) else bool(getattr(c, switch))


def _read_decoder(row: Decoder, root: YamlNode) -> ModelConfig:
    c: Any = read_fields(_fields_class(row), root)
    if row.check is not None:
        row.check(root, c)
    width, layers = (
        getattr(c, row.names.get(name, name)) for name in ("hidden_size", "num_hidden_layers")
    )
    windows = _windows(row, root, c, layers)
    networks = _networks(row, root, c, width, layers)
    mixer = _attention(row, root, c, width)
    other = _attention_parameters(row, c, width, mixer)
    chunked = row.windows is not None and row.windows.chunked
    mixers: list[Half[Mixer]] = []
    for window in windows:
        part = replace(mixer, chunk=window) if chunked else replace(mixer, window=window)
        mixers.append(Half(part, other))
    norm = 2 * width if row.norm_bias else width
    return build_model(
        c,
        row.family,
        width,
        join_halves(mixers, networks),
        norm if row.outside is None else row.outside(c),
        logit_softcap=getattr(c, row.logit_softcap) if row.logit_softcap else None,
    )


def _windows(row: Decoder, root: YamlNode, c: Any, layers: int) -> Sequence[int | None]:
    """Return the number of keys that a query of each layer sees; None means all keys."""
    w = row.windows
    if w is None:
        _check_full_attention(root, getattr(c, "layer_types", None), layers)
        return [None] * layers
    selected = listed_layers(root, c, "layer_types", (w.kind,), w.layers(root, c))
    size = getattr(c, w.size) or None if _enabled(c, w.switch) else None
    if c.layer_types is not None and any(selected) and size is None:
        needs = "an attention_chunk_size" if w.chunked else f"a {w.size}"
        raise field_error(root, "layer_types", f"'{w.kind}' needs {needs}")
    return [size if is_selected else None for is_selected in selected]


def _check_full_attention(root: YamlNode, listed: Sequence[str] | None, layers: int) -> None:
    if listed is None:
        return
    check_per_layer(root, "layer_types", listed, layers)
    if other := next((kind for kind in listed if kind != "full_attention"), None):
        raise field_error(root, "layer_types", f"this family has no layers of '{other}'")


def _networks(row: Decoder, root: YamlNode, c: Any, width: int, layers: int) -> list[Half[Network]]:
    activation = getattr(c, row.activation) if row.activation else None
    inner = getattr(c, row.dense) or 4 * width
    network = feed_forward(inner, row.gated, activation or row.default_activation)
    biases = (network.products - 1) * inner + width if _enabled(c, row.ffn_bias) else 0
    dense: Half[Network] = Half(network, biases)
    if (mixture := row.mixture) is None:
        return [dense] * layers
    count = getattr(c, mixture.experts)
    sparse = [bool(count) and has_experts for has_experts in mixture.layers(root, c)]
    return dense_or_sparse(dense, partial(_mixture_half, mixture, root, c, width), sparse)


def _mixture_half(m: Mixture, root: YamlNode, c: Any, width: int) -> Half[Network]:
    count, inner = getattr(c, m.experts), getattr(c, m.inner)
    shared = prod(getattr(c, name) for name in m.shared) if m.shared else 0
    experts = mixture_of_experts(root, count, getattr(c, m.top_k), inner, shared, field=m.top_k)
    other = count if _enabled(c, m.router_bias) else 0
    other += width if m.shared_gate else 0
    if m.clamped:
        experts = replace(experts, activation="clamped silu", biases=2 * inner + width)
        other += count * (1 + experts.biases)
    return Half(experts, other)


def _attention(row: Decoder, root: YamlNode, c: Any, width: int) -> SoftmaxAttention:
    width_field, heads_field = (
        row.names.get(name, name) for name in ("hidden_size", "num_attention_heads")
    )
    mixer = attention_heads(
        root,
        width,
        getattr(c, heads_field),
        getattr(c, "num_key_value_heads", None),
        getattr(c, "head_dim", None),
        width_field=width_field,
        heads_field=heads_field,
    )
    return replace(
        mixer,
        softcap=getattr(c, row.softcap) if row.softcap else None,
        sinks=row.sinks,
        alibi=row.alibi,
        qk_norm=_enabled(c, row.qk_norm),
    )


def _attention_parameters(row: Decoder, c: Any, width: int, a: SoftmaxAttention) -> int:
    """Count norms of a layer, norms of queries and keys, biases of projections, and sinks."""
    other = row.norms * width * (2 if row.norm_bias else 1) + (a.heads if row.sinks else 0)
    if a.qk_norm:
        heads = {"head": 2, "all heads": a.heads + a.kv_heads, "head with bias": 4}
        other += heads[row.qk_norm_size] * a.qk_width
    other += attention_biases(a, width, output=False) if _enabled(c, row.input_bias) else 0
    return other + (width if _enabled(c, row.output_bias) else 0)
