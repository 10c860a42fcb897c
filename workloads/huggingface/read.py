"""A Hugging Face ``config.json`` as a model: its ``model_type`` selects who reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from types import MappingProxyType

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten

from ..models import Experts, ModelConfig, WeightFormats
from .fields import CLASSES, class_of, omitted_parts
from .quantization import FIELD, check_unconverted, weight_formats, without_quantization

Reader = Callable[[YamlNode], ModelConfig]

TYPE = "model_type"


READERS: Mapping[str, str] = MappingProxyType(
    {
        "bamba": "mamba2_hybrids.bamba",
        "bert": "encoders.bert",
        "bloom": "alibi.bloom",
        "cohere": "decoders.cohere",
        "cohere2": "decoders.cohere2",
        "deepseek_v2": "latent.deepseek_v2",
        "deepseek_v3": "latent.deepseek_v3",
        "deepseek_v32": "latent.deepseek_v32",
        "distilbert": "encoders.distilbert",
        "ernie4_5": "decoders.ernie4_5",
        "ernie4_5_moe": "mixtures.ernie4_5_moe",
        "exaone4": "decoders.exaone4",
        "falcon": "alibi.falcon",
        "falcon_mamba": "recurrent.falcon_mamba",
        "gemma": "gemmas.gemma",
        "gemma2": "gemmas.gemma2",
        "gemma3": "gemmas.gemma3_multimodal",
        "gemma3_text": "gemmas.gemma3",
        "glm4": "decoders.glm4",
        "glm4_moe": "mixtures.glm4_moe",
        "glm4_moe_lite": "latent.glm4_moe_lite",
        "glm_moe_dsa": "latent.glm_moe_dsa",
        "gpt2": "decoders.gpt2",
        "gpt_neox": "decoders.gpt_neox",
        "gpt_oss": "decoders.gpt_oss",
        "granite": "decoders.granite",
        "granitemoe": "mixtures.granitemoe",
        "granitemoehybrid": "mamba2_hybrids.granitemoehybrid",
        "jamba": "hybrids.jamba",
        "kimi_k2": "latent.kimi_k2",
        "kimi_linear": "hybrids.kimi_linear",
        "lfm2": "hybrids.lfm2",
        "lfm2_moe": "hybrids.lfm2_moe",
        "llama": "decoders.llama",
        "llama4": "mixtures.llama4",
        "llama4_text": "mixtures.llama4_text",
        "mamba": "recurrent.mamba",
        "mamba2": "recurrent.mamba2",
        "minimax": "latent.minimax",
        "minimax_m1": "latent.minimax_text_01",
        "minimax_m2": "mixtures.minimax_m2",
        "minimax_text_01": "latent.minimax_text_01",
        "ministral3": "decoders.ministral3",
        "mistral": "decoders.mistral",
        "mistral3": "decoders.mistral3",
        "mixtral": "decoders.mixtral",
        "modernbert": "encoders.modernbert",
        "mpt": "alibi.mpt",
        "nemotron_h": "mamba2_hybrids.nemotron_h",
        "olmo2": "decoders.olmo2",
        "olmo3": "decoders.olmo3",
        "olmoe": "mixtures.olmoe",
        "phi": "decoders.phi",
        "phi3": "decoders.phi3",
        "qwen2": "decoders.qwen2",
        "qwen2_moe": "mixtures.qwen2_moe",
        "qwen3": "decoders.qwen3",
        "qwen3_5": "hybrids.qwen3_5",
        "qwen3_5_moe": "hybrids.qwen3_5_moe",
        "qwen3_5_moe_text": "hybrids.qwen3_5_moe_text",
        "qwen3_5_text": "hybrids.qwen3_5_text",
        "qwen3_moe": "decoders.qwen3_moe",
        "qwen3_next": "hybrids.qwen3_next",
        "qwen3_vl": "decoders.qwen3_vl",
        "qwen3_vl_moe": "decoders.qwen3_vl_moe",
        "qwen3_vl_moe_text": "decoders.qwen3_vl_moe_text",
        "qwen3_vl_text": "decoders.qwen3",
        "recurrent_gemma": "hybrids.recurrent_gemma",
        "retnet": "recurrent.retnet",
        "roberta": "encoders.roberta",
        "rwkv7": "recurrent.rwkv7",
        "seed_oss": "decoders.seed_oss",
        "smollm3": "decoders.smollm3",
        "starcoder2": "decoders.starcoder2",
        "t5": "encoders.t5",
        "transnormer": "recurrent.transnormer",
        "vit": "encoders.vit",
        "whisper": "encoders.whisper",
    }
)
"""By ``model_type``, the module and function that read it; imported when one is read."""

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
"""Families near ones that are read: what is not there, and what to use."""

_CLASS = re.compile(r"For[A-Z]\w*|(LMHead|Double\w*)?Model")
_HEADLESS = re.compile(
    r"\w*(?<!LMHead)(?<!DoubleHeads)Model"
    r"|\w*For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)"
)
"""Classes that do not predict words: the stack by itself, or with a head of few classes."""


def is_config(node: YamlNode) -> bool:
    """Whether a file is such a configuration, by its keys.

    Parameters
    ----------
    node : YamlNode
        The root of a file, JSON or YAML. No workload of ours has either key.
    """
    return isinstance(node, YamlMapping) and (TYPE in node.keys or CLASSES in node.keys)


def read_config(root: YamlNode) -> ModelConfig:
    """The model of a configuration.

    Parameters
    ----------
    root : YamlNode
        The fields of a ``config.json``, from a file or below ``config:`` of a workload.

    Raises
    ------
    SpecError
        The family is not known (says the nearest), fields are missing or wrong (names all
        of them), or one does not go with another.
    """
    family, where = _family(root)
    reader = READERS.get(family)
    if family in _REFUSED:
        why, instead = _REFUSED[family]
        raise SpecError(
            Problem(f"models of type '{family}' are not read: {why}", where.span, instead)
        )
    if reader is None:
        text = f"models of type '{shorten(family)}' are not read"
        known = f"known: {', '.join(sorted(READERS))}"
        meant = next((f"did you mean '{name}'? " for name in _similar_names(family)), "")
        hint = f"{meant}{known}"
        raise SpecError(Problem(text, where.span, hint))
    source = root.child("source")
    text = source.text if isinstance(source, YamlScalar) else ""
    weights = weight_formats(root)
    model = _function(reader)(without_quantization(root))
    _check_experts(weights, root, model)
    check_unconverted(root, weights, model)
    named = class_of(root)
    predicts = named is None or _HEADLESS.fullmatch(named.text) is None
    beside = omitted_parts(root)
    return replace(model, source=text, weights=weights, predicts=predicts, beside=beside)


def _check_experts(found: WeightFormats, root: YamlNode, model: ModelConfig) -> None:
    """Refuse a format of experts where there are none."""
    sparse = any(isinstance(run.layer.ffn, Experts) for run in model.runs)
    if found.experts and not found.projections and not sparse:
        node = root.child(FIELD)
        text = f"{FIELD}: {found.experts} is for experts, and the model has none"
        raise SpecError(Problem(text, node.span if node is not None else None))


def _similar_names(family: str) -> Iterator[str]:
    """Families whose name differs from a word in case, marks between, and doubled letters alone.

    One letter may make another family: ``jamba`` is no misspelt ``mamba``, and ``qwen3_moe``
    has experts that ``qwen3`` lacks.
    """
    return (name for name in READERS if _bare_letters(name) == _bare_letters(family))


def _bare_letters(name: str) -> str:
    bare = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"([a-z])\1+", r"\1", bare)


def _function(place: str) -> Reader:
    module, _, name = place.partition(".")
    found: Reader = getattr(import_module(f".{module}", __package__), name)
    return found


def _family(root: YamlNode) -> tuple[str, YamlNode]:
    """The ``model_type``, or the one that the class in ``architectures`` means."""
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
