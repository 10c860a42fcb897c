"""Fields of a Hugging Face ``config.json``: their types, and checks of one against another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import ConfigDict, PlainValidator
from pydantic_core import PydanticCustomError

from einsum_cascade.errors import Problem, SpecError, nearest
from einsum_cascade.yaml.schema import Fields, expected, format_value, validate
from einsum_cascade.yaml.source import LARGEST_COUNT, YamlNode, YamlScalar, YamlSequence

from ..models import FeedForward, Layer, ModelConfig, SoftmaxAttention, runs_of
from .unread import SETTING, unread_problems

MOST_LAYERS = 100_000


class ConfigFields(Fields):
    """Fields of a configuration that are read; ``unread`` says which others there may be."""

    model_config = ConfigDict(extra="ignore")

    harmless: ClassVar[tuple[str, ...]] = ()
    """Names and patterns of fields that change nothing in this family."""
    alike: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Further names of fields, and those that they repeat."""

    vocab_size: Size | None = None
    tie_word_embeddings: bool = False

    @property
    def logit_softcap(self) -> float | None:
        """The largest that a logit may be, where they are capped by tanh."""
        return None


C = TypeVar("C", bound=ConfigFields)


def read_fields(model: type[C], root: YamlNode) -> C:
    """The fields of a configuration that a family reads.

    Parameters
    ----------
    model : type of ConfigFields
        Those of the family.
    root : YamlNode
        The configuration.

    Raises
    ------
    SpecError
        Fields are missing or wrong, or may change what is computed and are not read.
    """
    found = validate(model, root)
    named = root.child("model_type")
    family = f"'{named.text}'" if isinstance(named, YamlScalar) else "such a model"
    alike = {other: getattr(found, name) for other, name in model.alike}
    wrong = unread_problems(
        root,
        frozenset(model.model_fields) - {other for other, _ in model.alike},
        family,
        harmless=model.harmless,
        alike=alike,
    )
    if problems := [*wrong]:
        raise SpecError(problems)
    return found


@contextmanager
def inside(field: str) -> Iterator[None]:
    """Let what is wrong with the fields below a field be set there, as hints say it."""
    try:
        yield
    except SpecError as wrong:
        raise SpecError([_set_inside(problem, field) for problem in wrong.problems]) from None


def _set_inside(problem: Problem, field: str) -> Problem:
    hint = (problem.hint or "").replace(SETTING, f"{SETTING}{field}.")
    return replace(problem, hint=hint or None)


def _whole(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise expected(f"expected a whole number, got {_shown(value)}")
    if value < least:
        raise expected(f"expected a whole number, at least {least}, got {_shown(value)}")
    if value > most:
        raise expected(f"expected a whole number up to {most}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return f"the text {format_value(value)}" if isinstance(value, str) else format_value(value)


def _size(value: Any) -> int:
    return _whole(value, 1, LARGEST_COUNT)


def _size_or_zero(value: Any) -> int:
    return _whole(value, 0, LARGEST_COUNT)


def _layers(value: Any) -> int:
    return _whole(value, 1, MOST_LAYERS)


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected(f"expected a number, got {_shown(value)}")
    if not 0 < value <= LARGEST_COUNT:
        raise expected(f"expected a number above 0 up to 1e15, got {_shown(value)}")
    return float(value)


Size = Annotated[int, PlainValidator(_size)]
"""A whole number above zero, written as one: no text, no ``4096.0``, no ``true``."""
SizeOrZero = Annotated[int, PlainValidator(_size_or_zero)]
LayerCount = Annotated[int, PlainValidator(_layers)]
Positive = Annotated[float, PlainValidator(_positive)]


def one_a_layer(*allowed: str | int) -> PlainValidator:
    """A list with one of some words (or numbers) a layer; tells the first that is wrong."""

    def read(value: Any) -> tuple[str | int, ...]:
        if not isinstance(value, list | tuple):
            raise expected(f"expected a list with an entry a layer, got {_shown(value)}")
        for index, entry in enumerate(value):
            if not any(type(entry) is type(word) and entry == word for word in allowed):
                words = " or ".join(repr(word) for word in allowed)
                close = nearest(str(entry), [str(word) for word in allowed])
                hint = f"did you mean '{close}'?" if close else ""
                raise expected(f"entry {index}: expected {words}, got {_shown(entry)}", hint)
        return tuple(value)

    return PlainValidator(read)


def only(*allowed: str | bool) -> PlainValidator:
    """What a family always has: any other value is of a model that is not read, null says it."""

    def read(value: Any) -> None:
        if value is not None and value not in allowed:
            words = " or ".join(format_value(word) for word in allowed)
            raise expected(f"expected {words}, which all models of the family have")

    return PlainValidator(read)


def _silu(value: Any) -> str | None:
    if value not in (None, "silu", "swish"):
        raise expected(f"expected 'silu', which its gates are counted as, got {_shown(value)}")
    return None


SiluGate = Annotated[str | None, PlainValidator(_silu)]
"""The activation function of what has SiLU alone."""

LayerTypes = Annotated[tuple[str, ...], one_a_layer("full_attention", "sliding_attention")]

ConfigFields.model_rebuild()


CLASSES = "architectures"


def class_of(root: YamlNode) -> YamlScalar | None:
    """The first class of ``architectures``, if there is one."""
    classes = root.child(CLASSES)
    first = classes.child(0) if isinstance(classes, YamlSequence) else None
    return first if isinstance(first, YamlScalar) and isinstance(first.value, str) else None


def refuse(root: YamlNode, field: str, message: str, hint: str = "") -> SpecError:
    """The error of a field that does not go with others; points at it."""
    return SpecError(Problem(f"{field}: {message}", root.span_of((field,)), hint or None))


def divided(root: YamlNode, whole: str, width: int, part: str, count: int) -> int:
    """``width / count``, where the one has to divide the other.

    Parameters
    ----------
    root : YamlNode
        The configuration, for the place of the problem.
    whole, part : str
        The fields that say ``width`` and ``count``.
    width, count : int
        Elements, and into how many equal parts they are cut.

    Raises
    ------
    SpecError
        It does not; names both fields.
    """
    if width % count:
        raise refuse(root, part, f"{count} does not divide {whole}, {width}")
    return width // count


def patches_of(root: YamlNode, image: int, patch: int) -> int:
    """Square patches of ``patch`` pixels a side in an image of ``image`` pixels a side.

    Raises
    ------
    SpecError
        They do not divide the image, or are more than any rank may have; points at
        ``image_size``.
    """
    patches = divided(root, "image_size", image, "patch_size", patch) ** 2
    # A token more is the class's.
    if patches >= LARGEST_COUNT:
        text = f"{image} pixels a side are {patches:.3g} patches of {patch}, more than 1e15"
        raise refuse(root, "image_size", text)
    return patches


def auto_or_size(root: YamlNode, field: str, value: Any) -> int | None:
    """A whole number above zero, or None where ``"auto"`` leaves it to the family.

    Raises
    ------
    SpecError
        It is neither.
    """
    if value == "auto":
        return None
    try:
        return _size(value)
    except PydanticCustomError as wrong:
        raise refuse(root, field, f"{wrong.message()}, or 'auto'") from None


def head_width(root: YamlNode, width: int, heads: int, given: int | None) -> int:
    """``head_dim`` where it is given, else the width of the stream over the heads."""
    if given is not None:
        return given
    return divided(root, "hidden_size", width, "num_attention_heads", heads)


def grouped_heads(root: YamlNode, heads: int, kv_heads: int) -> int:
    """The heads of keys and values, which share out the query heads evenly."""
    divided(root, "num_attention_heads", heads, "num_key_value_heads", kv_heads)
    return kv_heads


def per_layer(root: YamlNode, field: str, written: tuple[Any, ...], layers: int) -> None:
    """Refuse a list that does not have one entry a layer."""
    if len(written) != layers:
        raise refuse(root, field, f"expected one entry for each of {layers} layers", "")


def among_layers(root: YamlNode, field: str, listed: Iterable[int], layers: int) -> None:
    """Refuse indices of layers that there are not."""
    if (last := max(listed, default=0)) >= layers:
        raise refuse(root, field, f"the layers are 0 to {layers - 1}, got {last}")


_FUNCTIONS = MappingProxyType(
    {"swish": "silu", **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_python"), "gelu")}
    | {"gelu_pytorch_tanh": "gelu", "relu2": "squared relu"}
)
"""Activation functions under other names, or approximated."""


def feed_forward(inner: int, gated: bool, activation: str | None) -> FeedForward:
    """A network with the activation function of a field; None is the usual one."""
    usual = FeedForward(inner=inner, gated=gated)
    name = _FUNCTIONS.get(activation or "", activation) or usual.function
    return usual if name == usual.function else replace(usual, activation=name)


def all_full(root: YamlNode, layer_types: tuple[str, ...] | None, layers: int) -> None:
    """Refuse ``layer_types`` of a family whose layers all see every key."""
    if layer_types is None:
        return
    per_layer(root, "layer_types", layer_types, layers)
    if other := next((kind for kind in layer_types if kind != "full_attention"), None):
        raise refuse(root, "layer_types", f"this family has no layers of '{other}'")


def routed(root: YamlNode, field: str, per_token: int, experts: int) -> int:
    """Experts a token goes to, at most all of them."""
    if per_token > experts:
        raise refuse(root, field, f"a token goes to {per_token} experts, there are {experts}")
    return per_token


def attention_biases(attention: SoftmaxAttention, width: int, output: bool = True) -> int:
    """Biases of the projections of queries, keys and values, and of the output."""
    a = attention
    inputs = a.heads * a.qk_width + a.kv_heads * (a.qk_width + a.v_width)
    return inputs + (width if output else 0)


def stack(
    c: ConfigFields, family: str, width: int, layers: Iterable[Layer], other: int
) -> ModelConfig:
    """The model of some layers.

    Parameters
    ----------
    c : ConfigFields
        What every family has: the vocabulary's size, and whether embeddings are tied.
    family : str
        The ``model_type``.
    width : int
        Of the residual stream, in elements.
    layers : iterable of Layer
        In order.
    other : int
        Parameters beside those of the layers and the embeddings.
    """
    return ModelConfig(
        family=family,
        width=width,
        runs=runs_of(layers),
        vocab_size=c.vocab_size,
        logit_softcap=c.logit_softcap,
        tied_embeddings=c.tie_word_embeddings,
        other_parameters=other,
    )
