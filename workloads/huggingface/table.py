"""A table of model families: one row per family, and one reader for all rows.

A row names the fields of a configuration and the differences from a decoder with softmax attention
and a gated feed-forward network, each behind a norm. A ``Half`` is a mixer or a network of a layer
with the parameters that belong to it besides its matrix products: biases, and scales per head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AliasChoices, Field

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    Experts,
    FeedForward,
    Layer,
    Mixer,
    ModelConfig,
    SelectiveScan,
    SoftmaxAttention,
    StateSpaceDual,
    repeated,
)
from .fields import (
    Aliases,
    ConfigFields,
    LayerCount,
    LayerTypes,
    Positive,
    Reader,
    SiluGate,
    Size,
    SizeOrZero,
    UniformSize,
    auto_or_size,
    check_layer_indices,
    check_per_layer,
    constant,
    exact_quotient,
    field_error,
    fields_class,
    one_per_layer,
    read_fields,
)

P = TypeVar("P", bound=Mixer | FeedForward, covariant=True)


@dataclass(frozen=True, slots=True)
class Half(Generic[P]):
    """Mixer or feed-forward network of a layer, with its number of biases and scales per head."""

    part: P
    other_parameters: int = 0


Switch = bool | str | Callable[[Any], bool]
"""Switch of a feature: True, False, the name of a boolean field, or a function of the fields.

A field that the family does not have switches the feature off.
"""
Number = int | str | Callable[[Any], int | None] | None
"""Number in a row: the number, the name of the field that holds it, or a function of the fields."""
LayerRule = Callable[[YamlNode, Any], Sequence[bool]]
"""Function of a configuration and its fields that selects layers: one boolean per layer."""
MixerReader = Callable[["ModelFamily", YamlNode, Any], Half[Mixer]]
"""Function that returns one mixer, from a row, a configuration and its fields."""
MixersReader = Callable[["ModelFamily", YamlNode, Any], Sequence[Half[Mixer]]]
"""Function that returns the mixer of each layer."""
NetworksReader = Callable[["ModelFamily", YamlNode, Any], Sequence[Half[FeedForward] | None]]
"""Function that returns the network of each layer; None stands for no network."""
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
ACTIVATIONS = (
    *("hidden_activation", "activation_function", "activation", "mlp_hidden_act"),
    "hidden_act",
)
"""Fields that may hold the activation function of dense networks; the first that a family has
counts."""
SILU: FieldRow = (SiluGate, None)
"""Field with an activation function that must be SiLU."""
STACK = tuple(STANDARD)[:3]
"""Fields of nearly all stacks of layers with attention."""


def fields_of(kind: Any) -> Callable[..., dict[str, FieldRow]]:
    """Return a function that makes fields of a type, from their names and defaults.

    A field given by name alone has no default.
    """

    def fields(*required: str, **defaults: Any) -> dict[str, FieldRow]:
        given = {name: (kind, default) for name, default in defaults.items()}
        return dict.fromkeys(required, (kind, ...)) | given

    return fields


sizes = fields_of(Size)
layer_counts = fields_of(LayerCount)
optional_sizes = fields_of(Size | None)
uniform_sizes = fields_of(UniformSize | None)
counts = fields_of(SizeOrZero)
optional_counts = fields_of(SizeOrZero | None)
flags = fields_of(bool)
numbers = fields_of(Positive | None)
texts = fields_of(str | None)
index_lists = fields_of(tuple[SizeOrZero, ...] | None)


def fixed(**values: str | bool) -> dict[str, FieldRow]:
    """Return fields that must have one certain value, or null, in all models of the family."""
    return {name: (Annotated[Any, constant(value)], None) for name, value in values.items()}


def lists(*, letters: bool = False, **kinds: tuple[str | int, ...]) -> dict[str, FieldRow]:
    """Return optional fields that hold a list of some kinds, one per layer.

    With ``letters`` a word counts as a list of letters.
    """
    return {
        name: (Annotated[tuple[Any, ...], one_per_layer(*words, letters=letters)] | None, None)
        for name, words in kinds.items()
    }


def layers_where(selects: Callable[[Any, int], bool]) -> LayerRule:
    """Return a rule that selects layers by a test of the fields and a layer's index."""
    return lambda _, c: [selects(c, index) for index in range(c.num_hidden_layers)]


all_layers = layers_where(lambda *_: True)
no_layers = layers_where(lambda *_: False)
even_layers = layers_where(lambda _, index: index % 2 == 0)


def last_of_every(interval: int | str) -> LayerRule:
    """Return a rule that selects the last of every ``interval`` layers.

    ``interval`` is a number, or the field that holds the number.
    """

    def selects(c: Any, index: int) -> bool:
        every = interval if isinstance(interval, int) else getattr(c, interval)
        return bool((index + 1) % every == 0)

    return layers_where(selects)


def all_but(rule: LayerRule) -> LayerRule:
    """Return a rule that selects the layers that another rule does not select."""
    return lambda root, c: [not selected for selected in rule(root, c)]


def from_layer(first: str, every: str = "") -> LayerRule:
    """Return a rule that selects all layers from an index on, or every few of them.

    A field holds the index of the first layer.
    """

    def selects(c: Any, index: int) -> bool:
        return index >= getattr(c, first) and index % (getattr(c, every) if every else 1) == 0

    return layers_where(selects)


def listed(
    field: str,
    kinds: tuple[str | int, ...],
    default: LayerRule = all_layers,
    *,
    may_be_empty: bool = False,
) -> LayerRule:
    """Return a rule that selects layers by their kinds in a list of the configuration.

    Where the configuration has no such list, the rule ``default`` selects layers. With
    ``may_be_empty``, an empty list is no list.
    """

    def rule(root: YamlNode, c: Any) -> Sequence[bool]:
        entries, otherwise = getattr(c, field), default(root, c)
        if entries is None or (may_be_empty and not entries):
            return otherwise
        check_per_layer(root, field, entries, c.num_hidden_layers)
        return [entry in kinds for entry in entries]

    return rule


def indices(field: str, default: LayerRule) -> LayerRule:
    """Return a rule that selects the layers whose indices a field lists."""

    def rule(root: YamlNode, c: Any) -> Sequence[bool]:
        listed = getattr(c, field)
        if listed is None:
            return default(root, c)
        check_layer_indices(root, field, listed, c.num_hidden_layers)
        return [index in listed for index in range(c.num_hidden_layers)]

    return rule


def sparse_by_step(root: YamlNode, c: Any) -> list[bool]:
    """Select the last of every ``decoder_sparse_step`` layers, except layers listed as dense."""
    dense, count = c.mlp_only_layers or (), c.num_hidden_layers
    check_layer_indices(root, "mlp_only_layers", dense, count)
    return [(i + 1) % c.decoder_sparse_step == 0 and i not in dense for i in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows of keys: their size, and the layers whose queries see only a window.

    The list ``layer_types`` selects the layers; without the list the rule ``layers`` does.
    """

    layers: LayerRule
    size: Number = "sliding_window"
    """Number of keys in a window. A field ``use_sliding_window`` may switch windows off."""
    kind: str = "sliding_attention"
    """Entry of ``layer_types`` that selects a layer."""
    chunked: bool = False
    """True if a window is an aligned chunk of the sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Mixture of experts in a family: its fields, and the layers that have the mixture."""

    shared: tuple[str, ...] = ()
    """Names of the fields whose product is the width inside all shared experts."""
    layers: LayerRule = all_layers
    router_bias: Switch = False
    """True if the router adds a bias per expert to its scores, to balance the load of experts."""
    shared_gate: Switch = False
    """True if the output of the shared experts is scaled by one gate per token."""
    clamped: bool = False
    """True if the router and the experts have biases, and SiLU has clamped arguments (gpt-oss)."""

    def half(
        self, row: ModelFamily, root: YamlNode, c: Any, dense: FeedForward
    ) -> Half[FeedForward]:
        """Return the mixture of experts of a layer; gate and activation of experts are those of
        ``dense``.

        Raises
        ------
        SpecError
            A token goes to no expert, or to more than exist.
        """
        experts, per_token = _expert_count(c), c.num_experts_per_tok
        if experts is None or not 0 < per_token <= experts:
            text = "some layers have experts, and this is 0"
            if per_token:
                text = f"a token goes to {per_token} experts, there are {experts}"
            raise field_error(root, row.own_name(root, "num_experts_per_tok"), text)
        # Shared experts are one network as wide as all of them.
        shared = prod(getattr(c, name) or 0 for name in self.shared) if self.shared else 0
        found = Experts(
            experts=experts,
            per_token=per_token,
            inner=getattr(c, "moe_intermediate_size", None) or c.intermediate_size,
            shared_inner=shared,
            gated=dense.gated,
            activation=dense.activation,
        )
        width = c.hidden_size
        other = experts if _value(c, self.router_bias) else 0
        other += width if _value(c, self.shared_gate) else 0
        # Only shared experts have the biases of dense networks.
        other += (dense.products - 1) * shared + width if _value(c, row.ffn_bias) else 0
        if self.clamped:
            found = replace(found, activation="clamped silu", biases=2 * found.inner + width)
            other += experts * (1 + found.biases)
        return Half(found, other)


_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def _expert_count(c: Any) -> int | None:
    """Return the number of routed experts, which a family has in one of several fields."""
    return next((getattr(c, name) for name in _EXPERT_COUNTS if hasattr(c, name)), None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFamily:
    """Family of models, as a row of the table; a call of the row reads a configuration."""

    standard: tuple[str, ...] = tuple(STANDARD)
    """Names of the fields of ``STANDARD`` that the family has."""
    fields: Mapping[str, FieldRow] = field(default_factory=dict)
    """Fields that extend or replace the standard ones. Errors are reported in their order."""
    names: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Family's own names by standard field name. With several names, a file may use any of them."""
    ignored: tuple[str, ...] = ()
    """Names and patterns of fields that change no count."""
    aliases: Aliases = ()
    """Pairs of a field's second name and its first name, or a function of its value."""
    check: Callable[[YamlNode, Any], None] | None = None
    """Function that raises an error if fields contradict one another."""
    mixers: MixersReader | None = None
    """Function that returns the mixers of all layers; by default all are softmax attention."""
    networks: NetworksReader | None = None
    """Function that returns the networks of all layers; by default ``dense`` and ``mixture``."""
    causal: Switch = True
    windows: Windows | None = None
    mixture: Mixture | None = None
    dense: Number = "intermediate_size"
    """Width inside a dense network; null means four times the width of the residual stream."""
    gated: bool = True
    """True if dense networks have a gate."""
    activation: str | None = None
    """Activation function of dense networks if no field of ``ACTIVATIONS`` holds it; null means the
    usual one."""
    kv_heads: Callable[[YamlNode, Any], int] | None = None
    """Function that returns the number of key heads; by default a field ``num_key_value_heads``
    holds it."""
    qk_norm: Switch = "use_qk_norm"
    """True if queries and keys are normalised."""
    qk_norm_size: str = "head"
    """Weights of the norm of queries and keys: "head", "all heads", or "head with bias"."""
    output_gate: bool = False
    """True if a gate multiplies the output of softmax attention."""
    sinks: bool = False
    alibi: Switch = "alibi"
    logit_softcap: str = "final_logit_softcapping"
    """Name of the field with the bound of logits, which tanh caps."""
    norms: Number = None
    """Number of norms of the residual stream in a layer.

    Null means one before the mixer and one before the network.
    """
    norm_bias: Switch = "norm_bias"
    input_bias: Switch = "attention_bias"
    """Switch for biases of the query, key and value projections."""
    output_bias: Switch = "attention_bias"
    """Switch for biases of the output projection."""
    ffn_bias: Switch = "mlp_bias"
    """Switch for biases of the products of dense networks."""
    outside: Callable[[Any], int] | None = None
    """Function that counts parameters outside layers and embeddings; by default one norm."""
    complete: Callable[[YamlNode, Any, ModelConfig], ModelConfig] | None = None
    """Function that adds family-specific properties to a finished model."""

    def __call__(self, root: YamlNode) -> ModelConfig:
        """Return the model of a configuration of this family.

        Raises
        ------
        SpecError
            Fields are missing, wrong, unknown, or contradict one another.
        """
        c: Any = read_fields(_row_fields(self), root)
        if self.check is not None:
            self.check(root, c)
        mixers = (self.mixers or softmax_layers)(self, root, c)
        networks = (self.networks or dense_and_sparse)(self, root, c)
        width = c.hidden_size
        norm = 2 * width if _value(c, self.norm_bias) else width
        layers = []
        for mixer, network in zip(mixers, networks, strict=True):
            norms = _value(c, self.norms)
            norms = (1 if network is None else 2) if norms is None else norms
            other = norms * norm + mixer.other_parameters
            part, cross = mixer.part, None
            if isinstance(part, SoftmaxAttention) and _value(c, "add_cross_attention"):
                cross = replace(part, causal=False)
                other += norm + attention_biases(cross, width)
            layer = Layer(
                mixer=part,
                ffn=None if network is None else network.part,
                cross=cross,
                other_parameters=other + (0 if network is None else network.other_parameters),
            )
            layers.append(layer)
        outside = norm if self.outside is None else self.outside(c)
        softcap = _value(c, self.logit_softcap)
        model = build_model(c, layers, width=width, other_parameters=outside, logit_softcap=softcap)
        return model if self.complete is None else self.complete(root, c, model)

    def own_name(self, root: YamlNode, field: str) -> str:
        """Return the name that a configuration uses for a standard field."""
        names = self.names.get(field, field)
        if isinstance(names, str):
            return names
        return next((name for name in names if root.child(name) is not None), names[0])


def families(names: Mapping[str, Any], **others: Reader) -> Mapping[str, Reader]:
    """Return readers by ``model_type``: the rows among a module's names, and others.

    A public name in capitals is the ``model_type`` of its row.
    """
    rows = {name.lower(): row for name, row in names.items() if isinstance(row, ModelFamily)}
    found = {name: row for name, row in rows.items() if name[0] != "_"}
    return MappingProxyType(found | others)


def own_names(
    width: str | tuple[str, ...],
    layers: str | tuple[str, ...],
    heads: str | tuple[str, ...],
    **others: str | tuple[str, ...],
) -> dict[str, str | tuple[str, ...]]:
    """Return a family's names of the fields of ``STACK``, and of other fields."""
    return dict(zip(STACK, (width, layers, heads), strict=True)) | others


def biased(switch: Switch) -> dict[str, Any]:
    """Return the columns of a row in which one switch decides on biases of all four attention
    projections."""
    return {"input_bias": switch, "output_bias": switch}


def like(
    row: ModelFamily, *, fields: Mapping[str, FieldRow] = MappingProxyType({}), **changes: Any
) -> ModelFamily:
    """Return a copy of a row with further fields and changed columns."""
    return replace(row, fields={**row.fields, **fields}, **changes)


# Pydantic needs about a millisecond per class, so that only the class in use is built.
@cache
def _row_fields(row: ModelFamily) -> type[ConfigFields]:
    standard = {name: STANDARD[name] for name in row.standard}
    if row.mixture is not None and "hidden_act" in standard:
        # Experts of all families have SiLU behind their gates.
        standard["hidden_act"] = SILU
    fields: dict[str, Any] = standard | {**row.fields}
    aliases = [*row.aliases]
    for name, own in row.names.items():
        kind, default = fields[name]
        alias = own if isinstance(own, str) else AliasChoices(*own)
        fields[name] = (kind, Field(default, validation_alias=alias))
        aliases += [] if isinstance(own, str) else [(choice, name) for choice in own]
    return fields_class("row", fields, row.ignored, tuple(aliases))


def _value(c: Any, column: Switch | Number) -> Any:
    """Return a column's value for the fields of a configuration; None without the named field."""
    if callable(column):
        return column(c)
    return getattr(c, column, None) if isinstance(column, str) else column


def softmax_layers(row: ModelFamily, root: YamlNode, c: Any) -> Sequence[Half[Mixer]]:
    """Return softmax attention for every layer, limited to windows where the row says so."""
    windows, chunked = _windows(row, root, c), row.windows is not None and row.windows.chunked
    half = softmax(row, root, c)
    found: list[Half[Mixer]] = []
    for size in windows:
        part = replace(half.part, chunk=size) if chunked else replace(half.part, window=size)
        found.append(replace(half, part=part))
    return found


def _windows(row: ModelFamily, root: YamlNode, c: Any) -> Sequence[int | None]:
    """Return the number of keys that a query of each layer sees; None means all keys."""
    w, layers = row.windows, c.num_hidden_layers
    types = getattr(c, "layer_types", None)
    if w is None:
        if types is not None:
            check_per_layer(root, "layer_types", types, layers)
        if other := next((kind for kind in types or () if kind != "full_attention"), None):
            raise field_error(root, "layer_types", f"this family has no layers of '{other}'")
        return [None] * layers
    selected = listed("layer_types", (w.kind,), w.layers)(root, c)
    size = _value(c, w.size) or None if getattr(c, "use_sliding_window", True) else None
    if types is not None and any(selected) and size is None:
        needs = "an attention_chunk_size" if w.chunked else f"a {w.size}"
        raise field_error(root, "layer_types", f"'{w.kind}' needs {needs}")
    return [size if is_selected else None for is_selected in selected]


def softmax(row: ModelFamily, root: YamlNode, c: Any) -> Half[SoftmaxAttention]:
    """Return the softmax attention of a row, with its parameters for norms, biases and sinks."""
    kv_heads = getattr(c, "num_key_value_heads", None)
    a = attention_heads(
        root,
        c.hidden_size,
        c.num_attention_heads,
        kv_heads if row.kv_heads is None else row.kv_heads(root, c),
        getattr(c, "head_dim", None),
        width_field=row.own_name(root, "hidden_size"),
        heads_field=row.own_name(root, "num_attention_heads"),
        causal=bool(_value(c, row.causal)),
        softcap=_value(c, "attn_logit_softcapping"),
        sinks=row.sinks,
        alibi=bool(_value(c, row.alibi)),
        qk_norm=bool(_value(c, row.qk_norm)),
        gated=row.output_gate,
    )
    other = a.heads if row.sinks else 0
    if a.qk_norm:
        heads = {"head": 2, "all heads": a.heads + a.kv_heads, "head with bias": 4}
        other += heads[row.qk_norm_size] * a.qk_width
    other += attention_biases(a, c.hidden_size, output=False) if _value(c, row.input_bias) else 0
    return Half(a, other + (c.hidden_size if _value(c, row.output_bias) else 0))


def uniform(mixer: MixerReader) -> MixersReader:
    """Return a reader that gives every layer the same mixer."""
    return lambda row, root, c: [mixer(row, root, c)] * c.num_hidden_layers


def mixed(attends: LayerRule, other: MixerReader, attention: MixerReader = softmax) -> MixersReader:
    """Return a reader that gives attention to the layers that a rule selects, and another mixer to
    the rest."""

    def mixers(row: ModelFamily, root: YamlNode, c: Any) -> list[Half[Mixer]]:
        softmax_half, other_half = attention(row, root, c), other(row, root, c)
        return [softmax_half if selected else other_half for selected in attends(root, c)]

    return mixers


def no_networks(_row: ModelFamily, _root: YamlNode, c: Any) -> list[Half[FeedForward] | None]:
    """Return None for every layer."""
    return [None] * c.num_hidden_layers


def dense_network(row: ModelFamily, c: Any) -> Half[FeedForward]:
    """Return the dense feed-forward network of a row, with the number of its biases."""
    width = c.hidden_size
    names = (name for name in ACTIVATIONS if name in row.fields or name in row.standard)
    activation = next((getattr(c, name) for name in names), None)
    inner = _value(c, row.dense) or 4 * width
    network = feed_forward(inner, row.gated, activation or row.activation)
    return Half(network, (network.products - 1) * inner + width if _value(c, row.ffn_bias) else 0)


def dense_and_sparse(row: ModelFamily, root: YamlNode, c: Any) -> Sequence[Half[FeedForward]]:
    """Return the network of each layer: a mixture of experts where the row says, else dense.

    The mixture is built, and its fields are checked, only if a layer has it.
    """
    dense = dense_network(row, c)
    if (mixture := row.mixture) is None:
        return [dense] * c.num_hidden_layers
    rule = mixture.layers(root, c)
    sparse = [bool(_expert_count(c)) and has_experts for has_experts in rule]
    experts = mixture.half(row, root, c, dense.part) if any(sparse) else dense
    return [experts if is_sparse else dense for is_sparse in sparse]


def build_model(c: ConfigFields, layers: Iterable[Layer], **properties: Any) -> ModelConfig:
    """Return the model of some layers, given in order, with further properties by name."""
    return ModelConfig(
        runs=repeated(layers),
        vocab_size=c.vocab_size,
        tied_embeddings=c.tie_word_embeddings,
        **properties,
    )


def attention_heads(
    root: YamlNode,
    width: int,
    heads: int,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    *,
    width_field: str = "hidden_size",
    heads_field: str = "num_attention_heads",
    **features: Any,
) -> SoftmaxAttention:
    """Return softmax attention of some heads, causal unless a feature says otherwise.

    Parameters
    ----------
    root : YamlNode
        The configuration, for the place of an error.
    width, heads : int
        Width of the residual stream, and number of query heads.
    kv_heads : int, optional
        Number of key and value heads; by default one per query head.
    head_dim : int, optional
        Width of a head; by default ``width / heads``.
    width_field, heads_field : str
        Fields that hold ``width`` and ``heads``.
    **features
        Further fields of the attention.

    Raises
    ------
    SpecError
        ``heads`` does not divide ``width``, or ``kv_heads`` does not divide ``heads``.
    """
    if head_dim is None:
        head_dim = exact_quotient(root, width_field, width, heads_field, heads)
    keys = kv_heads or heads
    exact_quotient(root, heads_field, heads, "num_key_value_heads", keys)
    return SoftmaxAttention(
        heads=heads, kv_heads=keys, qk_width=head_dim, v_width=head_dim, **features
    )


def attention_biases(a: SoftmaxAttention, width: int, output: bool = True) -> int:
    """Count the biases of the query, key, value and gate projections and, with ``output``, of the
    output projection."""
    inputs = a.heads * a.qk_width + a.kv_heads * (a.qk_width + a.v_width)
    inputs += a.heads * a.v_width if a.gated else 0
    return inputs + (width if output else 0)


_FUNCTIONS = MappingProxyType(
    {"swish": "silu", **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_python"), "gelu")}
    | {"gelu_pytorch_tanh": "gelu", "relu2": "squared relu", "sqrelu": "squared relu"}
)
"""Project's names of activation functions, by other names and by the names of approximations."""


def feed_forward(inner: int, gated: bool = True, activation: str | None = None) -> FeedForward:
    """Return a feed-forward network of a given inner width.

    Its default activation is SiLU with a gate and GELU without a gate.
    """
    usual = FeedForward(inner=inner, gated=gated)
    name = _FUNCTIONS.get(activation or "", activation) or usual.function
    return usual if name == usual.function else replace(usual, activation=name)


def expanded(c: Any) -> int:
    """Return the number of channels in Mamba's mixers: the width of the stream times ``expand``."""
    width: int = c.expand * c.hidden_size
    return width


def scan(inner: Callable[[Any], int] = expanded) -> MixerReader:
    """Return a reader of Mamba's mixer with ``inner`` channels.

    Parameters outside matrix products are the bias of steps, the skip, optional biases, and
    optional norms (of the latent of steps, of B and of C). A ``time_step_rank`` of ``auto`` means a
    sixteenth of the stream's width, rounded up.
    """

    def mixer(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
        width, channels = c.hidden_size, inner(c)
        rank = auto_or_size(root, row.own_name(root, "time_step_rank"), c.time_step_rank)
        found = SelectiveScan(
            inner=channels,
            state=c.state_size,
            dt_rank=rank if rank is not None else -(-width // 16),
            conv_width=c.conv_kernel,
        )
        other = 2 * channels + (channels if c.use_conv_bias else 0)
        other += 2 * channels + width if c.use_bias else 0
        if getattr(c, "mamba_inner_layernorms", False):
            other += found.dt_rank + 2 * found.state
        return Half(found, other)

    return mixer


def state_space_dual(row: ModelFamily, root: YamlNode, c: Any) -> Half[Mixer]:
    """Return Mamba-2's mixer.

    Parameters outside matrix products are the norm of its output and three numbers per head: A, the
    bias of steps, the skip. The convolution and both projections may have biases.

    Raises
    ------
    SpecError
        The groups do not divide the heads, or the heads do not make up the expanded width.
    """
    heads, groups, width = c.mamba_num_heads, c.n_groups, c.hidden_size
    heads_field, width_field, groups_field = (
        row.own_name(root, name) for name in ("mamba_num_heads", "mamba_head_dim", "n_groups")
    )
    whole = f"{row.own_name(root, 'expand')} x hidden_size"
    inner = expanded(c) if "expand" in row.fields else heads * c.mamba_head_dim
    head_width = auto_or_size(root, width_field, c.mamba_head_dim)
    head_width = head_width or exact_quotient(root, whole, inner, heads_field, heads)
    if heads * head_width != inner:
        text = f"{heads} heads of {width_field} {head_width} are not {whole}, {inner}"
        raise field_error(root, heads_field, text)
    exact_quotient(root, heads_field, heads, groups_field, groups)
    a = StateSpaceDual(
        heads=heads,
        head_width=head_width,
        state=c.state_size,
        groups=groups,
        conv_width=c.conv_kernel,
        chunk=c.chunk_size,
    )
    other = a.inner + 3 * a.heads + (a.convolved if c.use_conv_bias else 0)
    return Half(a, other + (a.inner + a.convolved + a.heads + width if c.use_bias else 0))
