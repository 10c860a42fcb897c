"""What a workload runs: parts, each a cascade on shapes of its own, so and so often.

Attention alone is one part. A layer is its attention between projections, and a
feed-forward network; a model repeats its layers. A model whose layers differ (seven of
linear attention to one of softmax, experts) is several ``Layer`` objects, each with the
number of times it occurs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.source import Span

if TYPE_CHECKING:
    from .config import Workload

LINEAR = "linear-layer"
"""The cascade of a projection: ranks N tokens, D features, J projected features."""

_ATTENTION_RANKS = ("B", "H", "E", "F", "P", "M")

Shapes = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A cascade, its shapes in elements by rank, and how often it runs."""

    name: str
    cascade: str
    """A built-in name or a file."""
    shapes: Shapes
    times: int = 1
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks given for this cascade, and where: it must have them."""

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """The shapes of those ranks of a cascade that are given here.

        Raises
        ------
        SpecError
            A rank that was given for the cascade is none of ``ranks``.
        """
        problems = [
            Problem(
                f"cascade '{self.cascade}' has no rank '{rank}'", span, did_you_mean(rank, ranks)
            )
            for rank, span in self.stated
            if rank not in ranks
        ]
        if problems:
            raise SpecError(problems)
        return {rank: size for rank, size in self.shapes if rank in ranks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a model: attention with its projections, and a feed-forward network.

    ``attention`` has shapes of B sequences, H heads of width E (queries and keys) and F
    (values), P queries and M keys a sequence. Projections and feed-forward network are
    matrix multiplications over the tokens of all sequences together. Normalisations,
    biases, residual sums and activation functions are left out.

    Raises
    ------
    SpecError
        Attention has no shape of a rank that the projections need.
    """

    attention: Part
    model_width: int
    """Width of the residual stream, D."""
    ffn_width: int
    """Width inside the feed-forward network, S."""
    key_heads: int | None = None
    """Heads of keys and values; None: as many as of queries. Fewer share them (GQA, MQA)."""
    new_keys: int | None = None
    """Keys a sequence that are projected here; None: all. The others come from a cache."""
    gated: bool = False
    """Whether a third matrix multiplication gates the feed-forward network."""
    times: int = 1
    """How many such layers there are."""

    def __post_init__(self) -> None:
        given = dict(self.attention.shapes)
        if missing := [rank for rank in _ATTENTION_RANKS if rank not in given]:
            what = f"the shape{'s' * (len(missing) > 1)} of {', '.join(missing)}"
            raise SpecError(f"projections and feed-forward layers need {what}")

    def parts(self) -> tuple[Part, ...]:
        """The parts of the layer in the order they run."""
        b, h, e, f, p, m = (dict(self.attention.shapes)[rank] for rank in _ATTENTION_RANKS)
        queries = b * p
        keys = b * (m if self.new_keys is None else self.new_keys)
        groups = h if self.key_heads is None else self.key_heads
        d, s = self.model_width, self.ffn_width
        gate = (self._linear("ffn-gate", queries, d, s),) if self.gated else ()
        return (
            self._linear("query-projection", queries, d, h * e),
            self._linear("key-projection", keys, d, groups * e),
            self._linear("value-projection", keys, d, groups * f),
            replace(self.attention, times=self.attention.times * self.times),
            self._linear("output-projection", queries, h * f, d),
            *gate,
            self._linear("ffn-up", queries, d, s),
            self._linear("ffn-down", queries, s, d),
        )

    def _linear(self, name: str, tokens: int, features: int, projected: int) -> Part:
        shapes = (("D", features), ("J", projected), ("N", tokens))
        return Part(name=name, cascade=LINEAR, shapes=shapes, times=self.times)


def attention_of(work: Workload) -> Part:
    """The attention of a workload by itself."""
    return Part(name="attention", cascade=work.cascade, shapes=work.shapes, stated=work.stated)


def parts_of(work: Workload) -> tuple[Part, ...]:
    """What a workload runs, in order: attention alone, one layer, or all layers.

    Raises
    ------
    SpecError
        The scope needs a width, a number of layers or a shape that is not given.
    """
    attention = attention_of(work)
    if work.scope == "attention":
        return (attention,)
    layers = 1 if work.scope == "block" else work.layers
    if work.model_width is None or work.ffn_width is None or layers is None:
        wanted = ("model_width", "ffn_width", *(("layers",) if layers is None else ()))
        absent = [name for name in wanted if getattr(work, name) is None]
        hint = f"add {absent[0]} to the workload, or --set {absent[0]}=..."
        text = f"{work.name}: scope '{work.scope}' needs {' and '.join(absent)}"
        raise SpecError(Problem(text, hint=hint))
    return Layer(
        attention=attention,
        model_width=work.model_width,
        ffn_width=work.ffn_width,
        times=layers,
    ).parts()


def left_out(work: Workload) -> tuple[str, ...]:
    """What the scope of a workload leaves out, in sentences."""
    if work.scope == "attention":
        return ()
    found = [
        f"scope {work.scope}: matrix multiplications and attention; normalisations, biases, "
        "residual sums and activation functions are not counted"
    ]
    if work.scope == "model":
        found.append(f"{work.layers} layers alike; embeddings and output head are not counted")
    queries, keys = work.shape("P"), work.shape("M")
    if queries is not None and keys is not None and queries != keys:
        found.append(
            f"keys and values are projected for all M = {keys:,} keys beside P = {queries:,} "
            "queries: none comes from a cache"
        )
    return tuple(found)
