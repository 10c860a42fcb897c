"""What a workload runs: parts, each a cascade on shapes of its own, so and so often.

Attention alone is one part. A layer is its attention between projections, and a
feed-forward network; a model repeats its layers. A model whose layers differ (seven of
linear attention to one of softmax, experts) is several ``Block`` objects, each with the
number of times it occurs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Program
from einsum_cascade.source import Span

from .model_parts import gate_notes, layer_notes, model_blocks
from .omissions import Omission
from .shared_heads import GROUPS, SHARING, SharedHeads

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
    heads: SharedHeads = field(default=SharedHeads())
    """How query heads share keys and values."""
    notes: tuple[str, ...] = ()
    """What any cascade leaves out of the part, in sentences."""
    omissions: tuple[Omission, ...] = ()
    """What other cascades than its own may leave out."""
    stand_ins: tuple[str, ...] = ()
    """Cascades that compute the part on the same shapes, but for their omissions."""
    unless_given: tuple[tuple[str, int], ...] = ()
    """Parameters of other cascades than its own, in elements."""

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """The shapes of those ranks of a cascade that are given here.

        H are query heads and P query tokens. Where heads share keys and values and the
        cascade has no rank for it, they are rows of one head: see ``shared_heads``.

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
            if rank not in ranks and not (rank == "H" and {GROUPS, SHARING} <= {*ranks})
        ]
        if problems:
            raise SpecError(problems)
        shapes = self.heads.shapes(dict(self.unless_given) | dict(self.shapes), ranks)
        return {rank: size for rank, size in shapes.items() if rank in ranks}

    def folded_for(self, ranks: Collection[str]) -> int:
        """How many query heads become rows of one head in a cascade of those ranks."""
        return self.heads.folded(ranks)

    def notes_for(self, ranks: Collection[str]) -> tuple[str, ...]:
        """What is left out and how shared heads are computed, in sentences."""
        return (*self.notes, *self.heads.notes(dict(self.shapes), ranks))

    def left_out_by(self, program: Program) -> tuple[str, ...]:
        """What a cascade leaves out of this part, in sentences."""
        return tuple(o.note for o in self.omissions if o.in_program(program))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A layer of a model: attention with its projections, and a feed-forward network.

    ``attention`` has shapes of B sequences, H heads of width E (queries and keys) and F
    (values), P queries and M keys a sequence. Projections and feed-forward network are
    matrix multiplications over the tokens of all sequences together. Normalisations,
    biases and residual sums are left out.

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
    """Keys a sequence that are projected here, perhaps none; None: all. The others come from
    a cache."""
    ffn_up: str = LINEAR
    """The cascade that widens a token inside the feed-forward network, its activation
    function and gate included: a built-in name or a file; ranks as ``linear-layer``."""
    times: int = 1
    """How many such layers there are."""
    name: str = ""
    """Put before the names of its parts where a model has several kinds of layers."""

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
        parts = (
            self._linear("query-projection", queries, d, h * e),
            self._linear("key-projection", keys, d, groups * e),
            self._linear("value-projection", keys, d, groups * f),
            replace(self.attention, times=self.attention.times * self.times),
            self._linear("output-projection", queries, h * f, d),
            self._linear("ffn-up", queries, d, s, self.ffn_up),
            self._linear("ffn-down", queries, s, d),
        )
        return tuple(self._named(p) for p in parts if dict(p.shapes).get("N") != 0)

    def _linear(
        self, name: str, tokens: int, features: int, projected: int, cascade: str = LINEAR
    ) -> Part:
        shapes = (("D", features), ("J", projected), ("N", tokens))
        return Part(name=name, cascade=cascade, shapes=shapes, times=self.times)

    def _named(self, part: Part) -> Part:
        return replace(part, name=f"{self.name}.{part.name}") if self.name else part


def attention_part(work: Workload) -> Part:
    """The attention of a workload by itself."""
    return Part(
        name="attention",
        cascade=work.cascade,
        shapes=work.shapes,
        stated=work.stated,
        heads=work.heads,
        notes=(*layer_notes(work), *work.notes),
        omissions=work.omissions,
        stand_ins=work.stand_ins,
        unless_given=work.unless_given,
    )


def parts_of(work: Workload) -> tuple[Part, ...]:
    """What a workload runs, in order: attention alone, one layer, or all layers.

    Raises
    ------
    SpecError
        The scope needs a width, a number of layers or a shape that is not given.
    """
    attention = attention_part(work)
    if work.scope == "attention":
        return (attention,)
    if work.model is not None:
        blocks = model_blocks(work, attention, work.model)
        return tuple(part for block in blocks for part in block.parts())
    layers = 1 if work.scope == "block" else work.layers
    if work.model_width is None or work.ffn_width is None or layers is None:
        wanted = ("model_width", "ffn_width", *(("layers",) if layers is None else ()))
        absent = [name for name in wanted if getattr(work, name) is None]
        hint = f"add {absent[0]} to the workload, or --set {absent[0]}=..."
        text = f"{work.name}: scope '{work.scope}' needs {', '.join(absent)}"
        raise SpecError(Problem(text, hint=hint))
    return Block(
        attention=attention,
        model_width=work.model_width,
        ffn_width=work.ffn_width,
        ffn_up=work.ffn_up,
        times=layers,
    ).parts()


def left_out(work: Workload) -> tuple[str, ...]:
    """What the scope of a workload leaves out, in sentences."""
    if work.scope == "attention":
        return ()
    activation = ", activation functions" if work.ffn_up == LINEAR else ""
    found = [
        f"scope {work.scope}: linear layers and attention; normalisations, biases, "
        f"residual sums{activation} are not counted"
    ]
    if work.model is not None:
        own = (work.model.layer(work.layer or 0),)
        kinds = own if work.scope == "block" else (r.layer for r in work.model.kinds())
        found.extend(dict.fromkeys(note for layer in kinds for note in gate_notes(layer)))
        if work.scope == "model":
            found.append(
                f"all {work.model.layer_count} layers; embeddings and output head are not counted"
            )
        return tuple(found)
    if work.scope == "model":
        found.append(f"{work.layers} layers alike; embeddings and output head are not counted")
    queries, keys = work.shape("P"), work.shape("M")
    if queries is not None and keys is not None and queries != keys:
        found.append(
            f"keys and values are projected for all M = {keys:,} keys beside P = {queries:,} "
            "queries: none comes from a cache"
        )
    return tuple(found)
