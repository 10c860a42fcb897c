"""What kinds of layers are called: by what they differ in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .layers import Experts, Layer, ModelConfig
from .mixers import SoftmaxAttention


def _window(layer: Layer) -> str:
    mixer = layer.mixer
    if not isinstance(mixer, SoftmaxAttention) or (mixer.window or mixer.chunk) is None:
        return "full"
    return f"window-{mixer.window}" if mixer.window is not None else f"chunk-{mixer.chunk}"


def _kind(layer: Layer) -> str:
    return layer.mixer.kind


def _feed_forward(layer: Layer) -> str:
    if layer.ffn is None:
        return "alone"
    return "sparse" if isinstance(layer.ffn, Experts) else "dense"


_ASPECTS: tuple[Callable[[Layer], str], ...] = (
    lambda layer: "encoder" if layer.cross is None else "decoder",
    _kind,
    _window,
    _feed_forward,
)


def part_prefixes(layers: Sequence[Layer]) -> list[str]:
    """What to put before the names of parts: in what layers differ; nothing if there is one.

    Parameters
    ----------
    layers : sequence of Layer
        Kinds, each once.
    """
    if len(layers) == 1:
        return [""]
    return [f"{name}." for name in _names(layers)]


def kinds_of_layers(model: ModelConfig) -> dict[str, int]:
    """How many layers a model has of each kind, the most frequent first.

    Examples
    --------
    >>> from workloads import load
    >>> kinds_of_layers(load("gemma-2-9b").model)
    {'GQA-window-4096': 21, 'GQA-full': 21}
    """
    kinds = model.kinds()
    names = _names([run.layer for run in kinds], always=(_kind,))
    return {name: run.count for name, run in zip(names, kinds, strict=True)}


def _names(layers: Sequence[Layer], always: tuple[Callable[[Layer], str], ...] = ()) -> list[str]:
    """By aspects in which layers differ, and those that are always said; numbered if none does."""
    aspects = [(a, [a(layer) for layer in layers]) for a in _ASPECTS]
    telling = [words for a, words in aspects if a in always or len(set(words)) > 1]
    names = ["-".join(words) for words in zip(*telling, strict=True)] or ["layer"] * len(layers)
    return [
        f"{name}-{names[: at + 1].count(name)}" if names.count(name) > 1 else name
        for at, name in enumerate(names)
    ]
