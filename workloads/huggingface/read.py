"""Reader of a Hugging Face ``config.json``: its ``model_type`` selects the family's reader."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import Experts, ModelConfig, WeightFormats
from .fields import CLASSES, Reader, class_of, omitted_parts
from .quantization import FIELD, check_unconverted, weight_formats, without_quantization

TYPE = "model_type"


_FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "alibi": ("falcon", "mpt"),
        "decoders": (
            *("bloom", "cohere", "cohere2", "ernie4_5", "ernie4_5_moe", "exaone4", "gemma"),
            *("gemma2", "gemma3", "gemma3_text", "glm4", "glm4_moe", "gpt2", "gpt_neox", "gpt_oss"),
            *("granite", "granitemoe", "llama", "llama4", "llama4_text", "minimax_m2"),
            *("ministral3", "mistral", "mistral3", "mixtral", "olmo2", "olmo3", "olmoe", "phi"),
            *("phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_vl", "qwen3_vl_moe"),
            *("qwen3_vl_moe_text", "qwen3_vl_text", "seed_oss", "smollm3", "starcoder2"),
        ),
        "encoders": ("bert", "distilbert", "modernbert", "roberta", "t5", "vit", "whisper"),
        "hybrids": (
            *("jamba", "kimi_linear", "lfm2", "lfm2_moe", "qwen3_5", "qwen3_5_moe"),
            *("qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "recurrent_gemma"),
        ),
        "latent": (
            *("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"),
            *("kimi_k2", "minimax", "minimax_m1", "minimax_text_01"),
        ),
        "mamba2_hybrids": ("bamba", "granitemoehybrid", "nemotron_h"),
        "recurrent": ("falcon_mamba", "mamba", "mamba2", "retnet", "rwkv7", "transnormer"),
    }
)
"""Families by the module whose ``FAMILIES`` has their readers."""
READERS: Mapping[str, str] = MappingProxyType(
    dict(sorted((kind, module) for module, kinds in _FAMILIES.items() for kind in kinds))
)
"""Module with the reader of each ``model_type``; a module is imported when it is needed."""

_REFUSED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "falcon_h1": (
            "Falcon-H1 adds up softmax and Mamba-2 side by side in each layer, and a layer here has"
            " one of them",
            "where they take turns they are read: 'bamba', 'granitemoehybrid', 'nemotron_h'",
        ),
        "rwkv": (
            "RWKV-4 carries running sums of one channel each, of which there is no cascade here,"
            " and lets a receptance gate what its channels mix",
            "RWKV-7 is read (model_type 'rwkv7'), as in workload 'rwkv-7-2.9b'",
        ),
        "rwkv5": (
            "RWKV-5 lets a receptance gate what its channels mix, and there is no cascade of its"
            " time mixing here",
            "RWKV-7 is read (model_type 'rwkv7'), as in workload 'rwkv-7-2.9b'",
        ),
        "rwkv6": (
            "RWKV-6 lets a receptance gate what its channels mix, and there is no cascade here of"
            " a token from its state",
            "its time mixing by itself is workload 'rwkv-6'; RWKV-7 is read (model_type 'rwkv7')",
        ),
    }
)
"""Families that are refused, with the reason and an alternative."""

_CLASS = re.compile(r"For[A-Z]\w*|(LMHead|Double\w*)?Model")
_HEADLESS = re.compile(
    r"\w*(?<!LMHead)(?<!DoubleHeads)Model"
    r"|\w*For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)"
)
"""Pattern of classes that predict no words: the stack alone, or with a head of few classes."""


def is_config(node: YamlNode) -> bool:
    """Return whether a file is such a configuration, by its keys.

    Parameters
    ----------
    node : YamlNode
        Root of a file, JSON or YAML. No workload file has either key.
    """
    return isinstance(node, YamlMapping) and (TYPE in node.keys or CLASSES in node.keys)


def read_config(root: YamlNode) -> ModelConfig:
    """Return the model of a configuration.

    Parameters
    ----------
    root : YamlNode
        Fields of a ``config.json``, from a file or below ``config:`` of a workload.

    Raises
    ------
    SpecError
        The family is unknown (the hint names similar ones), fields are missing or wrong (all
        are named), or fields contradict one another.
    """
    family, where = _family(root)
    if family in _REFUSED:
        why, instead = _REFUSED[family]
        raise SpecError(
            Problem(f"models of type '{family}' are not read: {why}", where.span, instead)
        )
    if family not in READERS:
        text = f"models of type '{shorten(family)}' are not read"
        known = f"known: {', '.join(sorted(READERS))}"
        meant = next((f"did you mean '{name}'? " for name in _similar_names(family)), "")
        hint = f"{meant}{known}"
        raise SpecError(Problem(text, where.span, hint))
    source = root.child("source")
    text = source.text if isinstance(source, YamlScalar) else ""
    weights = weight_formats(root)
    model = _reader(family)(without_quantization(root))
    _check_experts(weights, root, model)
    check_unconverted(root, weights, model)
    named = class_of(root)
    predicts = named is None or _HEADLESS.fullmatch(named.text) is None
    beside = omitted_parts(root)
    return replace(model, source=text, weights=weights, predicts=predicts, beside=beside)


def _check_experts(found: WeightFormats, root: YamlNode, model: ModelConfig) -> None:
    """Raise an error for a format of experts in a model without experts."""
    sparse = any(isinstance(run.layer.ffn, Experts) for run in model.runs)
    if found.experts and not found.projections and not sparse:
        node = root.child(FIELD)
        text = f"{FIELD}: {found.experts} is for experts, and the model has none"
        raise SpecError(Problem(text, node.span if node is not None else None))


def _similar_names(family: str) -> Iterator[str]:
    """Yield families whose name differs only in case, separators and doubled letters.

    One letter may change the family: ``jamba`` is no misspelt ``mamba``, and ``qwen3_moe`` has
    experts that ``qwen3`` lacks.
    """
    return (name for name in READERS if _bare_letters(name) == _bare_letters(family))


def _bare_letters(name: str) -> str:
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"([a-z])\1+", r"\1", bare)


def _reader(family: str) -> Reader:
    families: Mapping[str, Reader] = import_module(f".{READERS[family]}", __package__).FAMILIES
    return families[family]


def _family(root: YamlNode) -> tuple[str, YamlNode]:
    """Return the ``model_type``, or the family of the class in ``architectures``, and its place."""
    if not isinstance(root, YamlMapping):
        raise SpecError(Problem(f"expected a model's fields, got {root.kind}", root.span))
    named = root.child(TYPE)
    if isinstance(named, YamlScalar) and isinstance(named.value, str):
        return named.text, named
    if named is not None:
        raise SpecError(Problem(f"{TYPE}: expected a text, got {named.kind}", named.span))
    if (first := class_of(root)) is not None:
        bare = _CLASS.sub("", first.text).lower()
        plain = {name.replace("_", ""): name for name in READERS}
        return plain.get(bare, first.text), first
    text = f"the field '{TYPE}' is missing: it says how the others are read"
    raise SpecError(Problem(text, root.span, f"known: {', '.join(sorted(READERS))}"))
