"""Fields of a Hugging Face ``config.json``: types, checks, and fields that are ignored.

A configuration has dozens of fields for training, generation and file handling, which change no
shape and no counted operation. Any other field that its family does not read may change the
computation (experts, kinds of layers, quantised weights). Such a field is refused unless its value
turns it off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from math import prod
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, PlainValidator, create_model
from pydantic_core import PydanticCustomError

from einsum_cascade.errors import Problem, SpecError, nearest, raise_all
from einsum_cascade.yaml.schema import Fields, expected, format_value, validate
from einsum_cascade.yaml.source import (
    LARGEST_COUNT,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    shorten,
)

from ..models import ModelConfig
from ..policy import MAX_LAYERS

Aliases = tuple[tuple[str, str | Callable[[Any], Any]], ...]
Reader = Callable[[YamlNode], ModelConfig]
"""Function that reads a configuration and returns its model."""

IGNORED: tuple[str, ...] = (
    # Fields about the file and its authors.
    *("model_type", "architectures", "source", "name", "title", "license", "language", "_*"),
    *("name_or_path", "auto_map", "*_version", "torch_dtype", "dtype", "torchscript"),
    *("use_bfloat16", "*_in_fp32", "tokenizer_class", "prefix", "id2label", "label2id"),
    *("num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    # Fields about special tokens and about generation of text.
    *("*_token_id", "*_token_ids", "*_token_index", "bad_words_ids", "*suppress_tokens"),
    *("do_sample", "early_stopping", "temperature", "top_k", "top_p", "typical_p", "num_beams"),
    *("num_beam_groups", "num_return_sequences", "*_penalty", "*no_repeat_ngram_size"),
    *("max_length", "min_length", "remove_invalid_values", "use_cache", "cache_implementation"),
    # Fields about training.
    *("*dropout*", "*_drop_rate", "*_pdrop", "*layerdrop*", "*drop_path*", "initializer_*"),
    *("init_*", "*_init", "*_init_std", "*_init_scheme", "*loss*", "aux_*", "*_aux"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("output_router_logits", "output_past", "return_*", "use_return_dict"),
    *("gradient_checkpointing", "router_jitter_noise"),
    *("summary_*", "classifier_*", "pruned_heads", "rescale_prenorm_residual"),
    # Fields about partitioning of work, which change none of it.
    *("pretraining_tp", "ep_size", "tensor_parallel*", "fuse_*", "fused_*", "use_flash*"),
    *("attn_implementation", "chunk_size_feed_forward", "reorder_and_upcast_attn"),
    # Fields about positions: rotations are not counted, and a largest length is no length.
    *("rope_*", "rotary_*", "*_rotary_*", "max_position_embeddings", "n_positions", "n_ctx"),
    *("original_max_position_embeddings", "max_sequence_length", "model_max_length"),
    *("initial_context_length", "relative_attention_max_distance"),
    # Constants inside functions, which change no number of operations.
    *("*_eps", "*_epsilon", "scale_attn_*", "query_pre_attn_scalar", "logit_scale"),
    *("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    *("routed_scaling_factor", "norm_topk_prob", "scoring_func", "topk_method"),
    *("topk_group", "n_group"),
    # Fields that are read for all families: formats, and layers that predict further tokens.
    *("quantization_config", "num_nextn_predict_layers", "num_mtp_modules", "mtp_*", "use_mtp"),
)
"""Names, and patterns of names, of fields that every family ignores."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        # Rotations are not counted; a bias of scores (alibi, relative_key) would be.
        "position_embedding_type": ("absolute", "rope", "rope_gptj", "nope"),
        "hidden_act": ("silu", "swish"),
    }
)
"""Values by field: an unread field with one of its values does not change the computation."""


SETTING = "workload.config."
"""Prefix of the settings that change a field of a configuration."""
_FURTHER = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Names of fields with the number of multi-token-prediction layers."""


def omitted_parts(root: YamlNode, counted: bool = True) -> tuple[str, ...]:
    """Return sentences about the parts of the published model that do not run.

    The parameters of an encoder are ``counted``, or not.

    Raises
    ------
    SpecError
        The number of layers that predict further tokens is no whole number.
    """
    inner = root.child("text_config")
    found = []
    further = max(_count(node, name) for node in (root, inner) for name in _FURTHER)
    if further and _plain(root, "use_mtp") is not False:
        layers = "layer that predicts" if further == 1 else "layers that predict"
        found.append(f"{further} {layers} further tokens: neither counted nor run")
    if inner is not None and _plain(root, "vision_config"):
        how = "counts as parameters, and is not run" if counted else "is neither counted nor run"
        found.append(f"the encoder of images {how}")
    return tuple(found)


def trained_length(root: YamlNode) -> int | None:
    """Return the largest number of tokens of a sequence in training, scaled positions included.

    It is None if the configuration does not say.
    """
    node = root.child("text_config") or root
    scaling = node.child("rope_scaling") or node.child("rope_parameters")
    names = ("original_max_position_embeddings", "factor")
    stated = _plain(node, "max_position_embeddings") or 0
    # Each may be any text or number: no family needs it.
    with suppress(TypeError, ValueError, OverflowError):
        return int(max(stated, prod(_plain(scaling, name) or 0 for name in names))) or None
    return None


def _plain(node: YamlNode | None, name: str) -> Any:
    field = node.child(name) if node is not None else None
    return field.plain() if field is not None else None


def _count(node: YamlNode | None, name: str) -> int:
    value = _plain(node, name)
    if node is None or value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        text = f"{name}: expected how many layers predict further tokens, a whole number from 0"
        got = f"the text '{shorten(value)}'" if isinstance(value, str) else shorten(str(value))
        raise SpecError(f"{text}, got {got}", node.span_of((name,)))
    return value


class ConfigFields(Fields):
    """Fields of a configuration that a reader uses; ``read_fields`` checks all other fields."""

    model_config = ConfigDict(extra="ignore")

    ignored: ClassVar[tuple[str, ...]] = ()
    """Names and patterns of fields that change nothing in this family."""
    aliases: ClassVar[Aliases] = ()
    """Pairs of a field's second name and its first name, or a function of its value."""

    vocab_size: Size | None = None
    tie_word_embeddings: bool = False


def fields_class(
    name: str, fields: Mapping[str, Any], ignored: tuple[str, ...], aliases: Aliases = ()
) -> type[ConfigFields]:
    """Return a class with some fields, from the type and the default of each."""
    found = create_model(f"_{name}_fields", __base__=ConfigFields, **fields)
    found.ignored, found.aliases = ignored, aliases
    return found


def read_fields(model: type[ConfigFields], root: YamlNode) -> Any:
    """Return the fields of a configuration that a family reads.

    Parameters
    ----------
    model : type of ConfigFields
        Class with the fields of the family.
    root : YamlNode
        The configuration.

    Raises
    ------
    SpecError
        Fields are missing or wrong, or are not read and may change the computation.
    """
    found = validate(model, root)
    raise_all(_other_fields(model, found, root), SpecError)
    return found


def _other_fields(
    model: type[ConfigFields], found: ConfigFields, root: YamlNode
) -> Iterator[Problem]:
    """Yield problems of fields that no reader uses and that may change the computation.

    A second name of a field must have the value of the first name.
    """
    named = root.child("model_type")
    family = f"'{named.text}'" if isinstance(named, YamlScalar) else "such a model"
    aliases = {
        other: first(found) if callable(first) else getattr(found, first)
        for other, first in model.aliases
    }
    read = [info.validation_alias or name for name, info in model.model_fields.items()]
    for key, node in root.entries if isinstance(root, YamlMapping) else ():
        name = key.text
        value = node.plain()
        if name in aliases:
            # A list in a file is a tuple after it is read.
            if (tuple(value) if isinstance(value, list) else value) not in (None, aliases[name]):
                text = f"{name}: expected {aliases[name]}, as the other fields say"
                yield Problem(text, node.span)
        elif name in read or any(fnmatchcase(name, p) for p in (*IGNORED, *model.ignored)):
            continue
        elif value and value not in NEUTRAL.get(name, ()):
            text = f"'{shorten(name)}' is not read for {family}, and may change what is computed"
            hint = f"if it changes nothing, leave it out: --set {SETTING}{shorten(name)}=null"
            yield Problem(text, key.span, hint)


def read_inner(
    root: YamlNode, section: str, fields: Mapping[str, Any], ignored: tuple[str, ...] = ()
) -> tuple[YamlNode, Any]:
    """Return a section of a configuration, and the fields in this section."""
    inner = root.child(section)
    node = inner if inner is not None else root
    with errors_inside(section):
        return node, read_fields(fields_class(section, fields, ignored), node)


@contextmanager
def errors_inside(field: str) -> Iterator[None]:
    """Add the enclosing field to the settings that the hints of errors name."""
    try:
        yield
    except SpecError as wrong:
        inside = f"{SETTING}{field}."
        raise SpecError(
            [
                replace(p, hint=(p.hint or "").replace(SETTING, inside) or None)
                for p in wrong.problems
            ]
        ) from None


def _whole_number(value: Any, *, smallest: int = 1, largest: int = LARGEST_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise expected(f"expected a whole number, got {_shown_value(value)}")
    if value < smallest:
        raise expected(f"expected a whole number, at least {smallest}, got {_shown_value(value)}")
    if value > largest:
        raise expected(f"expected a whole number up to {largest}, got {_shown_value(value)}")
    return value


def _shown_value(value: Any) -> str:
    return f"the text {format_value(value)}" if isinstance(value, str) else format_value(value)


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected(f"expected a number, got {_shown_value(value)}")
    if not 0 < value <= LARGEST_COUNT:
        raise expected(f"expected a number above 0 up to 1e15, got {_shown_value(value)}")
    return float(value)


Size = Annotated[int, PlainValidator(_whole_number)]
"""Whole number above zero; a text, ``4096.0`` and ``true`` are refused."""
SizeOrZero = Annotated[int, PlainValidator(partial(_whole_number, smallest=0))]
LayerCount = Annotated[int, PlainValidator(partial(_whole_number, largest=MAX_LAYERS))]
Positive = Annotated[float, PlainValidator(_positive)]


def _same_in_all_layers(value: Any) -> int:
    alike = isinstance(value, list | tuple) and len({*map(repr, value)}) == 1
    return _whole_number(value[0] if alike else value)


UniformSize = Annotated[int, PlainValidator(_same_in_all_layers)]
"""Whole number above zero, or a list with the same one for each layer."""


def one_per_layer(*allowed: str | int, letters: bool = False) -> PlainValidator:
    """Return a validator of lists with one entry per layer, each among some words or numbers.

    Its error names the first wrong entry. With ``letters``, a word counts as a list of letters.
    """

    def read(value: Any) -> tuple[str | int, ...]:
        value = [*value] if letters and isinstance(value, str) else value
        if not isinstance(value, list | tuple):
            raise expected(f"expected a list with an entry a layer, got {_shown_value(value)}")
        for index, entry in enumerate(value):
            if not any(type(entry) is type(word) and entry == word for word in allowed):
                words = " or ".join(repr(word) for word in allowed)
                close = nearest(str(entry), [str(word) for word in allowed])
                hint = f"did you mean '{close}'?" if close else ""
                raise expected(f"entry {index}: expected {words}, got {_shown_value(entry)}", hint)
        return tuple(value)

    return PlainValidator(read)


def constant(*allowed: str | bool) -> PlainValidator:
    """Return a validator of a field that must have one certain value, or null."""

    def read(value: Any) -> None:
        if value is not None and value not in allowed:
            words = " or ".join(format_value(word) for word in allowed)
            raise expected(f"expected {words}, which all models of the family have")

    return PlainValidator(read)


def _silu(value: Any) -> None:
    if value not in (None, "silu", "swish"):
        text = "expected 'silu', which its gates are counted as"
        raise expected(f"{text}, got {_shown_value(value)}")


SiluGate = Annotated[None, PlainValidator(_silu)]
"""Type of the field with a gate's activation function, which must be SiLU or null."""

LayerTypes = Annotated[tuple[str, ...], one_per_layer("full_attention", "sliding_attention")]

ConfigFields.model_rebuild()


CLASSES = "architectures"


def class_of(root: YamlNode) -> YamlScalar | None:
    """Return the first name in ``architectures``, or None."""
    classes = root.child(CLASSES)
    first = classes.child(0) if isinstance(classes, YamlSequence) else None
    return first if isinstance(first, YamlScalar) and isinstance(first.value, str) else None


def field_error(root: YamlNode, field: str, message: str, hint: str = "") -> SpecError:
    """Return an error at a field that contradicts other fields."""
    return SpecError(f"{field}: {message}", root.span_of((field,)), hint or None)


def exact_quotient(root: YamlNode, whole: str, width: int, part: str, count: int) -> int:
    """Return ``width / count``, which must be a whole number.

    Parameters
    ----------
    root : YamlNode
        Configuration, for the place of an error.
    whole, part : str
        Fields that hold ``width`` and ``count``.
    width, count : int
        Number of elements, and number of equal parts.

    Raises
    ------
    SpecError
        ``count`` does not divide ``width``; the message names both fields.
    """
    if width % count:
        raise field_error(root, part, f"{count} does not divide {whole}, {width}")
    return width // count


def patches_of(root: YamlNode, image: int, patch: int) -> int:
    """Return the number of square patches in a square image, with both sides in pixels.

    Raises
    ------
    SpecError
        Patches do not divide the image, or their number exceeds the largest size; points at
        ``image_size``.
    """
    patches = exact_quotient(root, "image_size", image, "patch_size", patch) ** 2
    # The class takes one more token.
    if patches >= LARGEST_COUNT:
        text = f"{image} pixels a side are {patches:.3g} patches of {patch}, more than 1e15"
        raise field_error(root, "image_size", text)
    return patches


def auto_or_size(root: YamlNode, field: str, value: Any) -> int | None:
    """Return a whole number above zero, or None for ``"auto"``.

    Raises
    ------
    SpecError
        The value is neither.
    """
    if value == "auto":
        return None
    try:
        return _whole_number(value)
    except PydanticCustomError as wrong:
        raise field_error(root, field, f"{wrong.message()}, or 'auto'") from None


def check_per_layer(root: YamlNode, field: str, listed: Sequence[Any], layers: int) -> None:
    """Raise an error if a list does not have one entry per layer."""
    if len(listed) != layers:
        raise field_error(root, field, f"expected one entry for each of {layers} layers", "")


def check_layer_indices(root: YamlNode, field: str, listed: Iterable[int], layers: int) -> None:
    """Raise an error if a list contains an index for which the model has no layer."""
    if (last := max(listed, default=0)) >= layers:
        raise field_error(root, field, f"the layers are 0 to {layers - 1}, got {last}")
