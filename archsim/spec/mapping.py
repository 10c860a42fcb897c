"""The mapping as written: loop order, partition, binding, residency and schedule.

A mapping names ranks and array dimensions; sizes come only when it is bound to a cascade,
shapes and a machine (``archsim.nest.record``). Arrays and memories are named as the machine
names them, or by the role they play on any machine (``archsim.spec.roles``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Final, Literal

from einsum_cascade.source import Span

from ..document import Document, Fact, first_names, to_html
from .reading import read

if TYPE_CHECKING:
    from .overrides import Overriding

EINSUM_BY_EINSUM: Final = "einsum-by-einsum"
"""Name of the unfused mapping that ``mappers.construct.einsum_by_einsum`` makes."""
BLOCK_BY_BLOCK: Final = "block-by-block"
"""The name of every mapping whose memories hold blocks (``mappers.construct.block_by_block``)."""
FUSED: Final = "fused"
"""Name of the mapping whose Einsums share loops (``mappers.construct.fused``)."""
NEST_BY_NEST: Final = "nest-by-nest"
"""The name of every mapping whose nests are made each by itself (``jobs.nest_by_nest``)."""
MADE: Final = (EINSUM_BY_EINSUM, FUSED)
"""Names of mappings that are made from their cascade."""
AUTO: Final = "auto"
"""What stands in a mapping's place where one is to be searched."""
FIT: Final = "fit"
"""A tile size (or lookahead) written ``fit``: the largest that fits."""
WHOLE: Final = "whole"
"""A tile size written ``whole``: one tile is the whole rank."""
WHOLE_OR_ONE: Final = "whole or one"
"""A tile size written ``whole or one``: the whole rank where that fits, else one."""
EVEN: Final = "even"
"""A tile size written ``even``: as few tiles as fit, as equal as they can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionRef:
    """``array_2d.rows``, or ``matrix.rows`` by role: the size of an array's axis."""

    array: str
    dimension: str

    def __str__(self) -> str:
        return f"{self.array}.{self.dimension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumSize:
    """``min(matrix.columns, vector.lanes)``: what fits the narrowest of some axes."""

    sizes: tuple[int | DimensionRef, ...]

    def __str__(self) -> str:
        return f"min({', '.join(map(str, self.sizes))})"


REST: Final = "rest"
"""Parts of a rank written ``rest``: as many as there are instances left."""
BALANCED: Final = "balanced"
"""Parts of a rank written ``balanced`` or ``4 balanced``: as large as lets all do as much."""
FITTED: Final = (FIT, WHOLE_OR_ONE, EVEN)
"""Sizes that depend on what fits."""
TileSize = int | DimensionRef | MinimumSize | Literal["fit", "whole", "whole or one", "even"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One member of a partitioned rank and its size: ``P: {P0: matrix.columns}``.

    The outermost member is implied: with ``P0`` and ``P1`` given, ``P2`` counts the tiles.
    """

    rank: str
    member: str
    size: TileSize
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadRank:
    """A rank of which each instance below a memory has a part: ``spatial: {cores: H}``."""

    instances: str
    """What the instances are called."""
    rank: str
    parts: int | None = None
    """As many as there are instances left, where no number is given."""
    balanced: bool = False
    """Whether parts are as large as lets all do as much under a mask, instead of alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestLevel:
    """Temporal loops whose iterations exchange tiles with ``level``, outermost first."""

    level: str
    loops: tuple[str, ...]
    spatial: tuple[SpreadRank, ...] = ()
    """Ranks spread over the instances that the level feeds."""
    ring: tuple[str, ...] = ()
    """Ranks of which each instance holds a part of what all need, and passes it on in a ring."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumMapping:
    """Where and how one Einsum runs inside the shared nest."""

    einsum: str
    array: str
    spatial: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of an array dimension and the ranks laid out along it; no name where the array
    that has a role lacks the dimension (``archsim.nest.roles``)."""
    nest: tuple[NestLevel, ...] = ()
    """The Einsum's own temporal loops, outermost first, below the shared nest. Loops
    given as a plain list belong to the innermost memory."""
    outside: tuple[str, ...] = ()
    """Shared loops this Einsum does not run in: it runs before or after all of them."""
    bypass: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of a level and the tensors that this Einsum passes by it."""
    span: Span | None = field(default=None, compare=False, repr=False)


ScheduleName = Literal[
    "sequential",
    "phases",
    "pipelined",
]
"""Kinds of schedules as mapping files write them; ``archsim.schedule.kinds`` has what each does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTask:
    """``RD@-1`` in a phase: the Einsum, on the tile ``shift`` steps away."""

    einsum: str
    shift: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How tasks of neighbouring tiles may overlap."""

    kind: ScheduleName = "pipelined"
    lookahead: int | Literal["fit"] = "fit"
    """Pipelined: tiles in flight on an array at once."""
    groups: tuple[tuple[PhaseTask, ...], ...] = ()
    """Phases: groups with a barrier between them. Sequential: Einsums that share loops
    and overlap; without groups each is its own."""
    exposes: tuple[str, ...] | None = None
    """Phases: Einsums whose reduction latency the next barrier waits for; None: all."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Tensors a level (a memory, or an array's registers) holds."""

    level: str
    tensors: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


Factors = tuple[str | int, ...]
"""A number of elements as a product of tile members (their bounds) and numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """A level that may be asked to hold more than it can: what does not fit goes outwards."""

    level: str
    copies: tuple[tuple[str, int], ...] = ()
    """How often a kept tensor's tile is held: 2 double-buffered, 0 in another's place."""
    staged: tuple[tuple[str, Factors], ...] = ()
    """Elements held of a tensor that only passes by the level."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceObjective:
    """What open choices minimise: a roofline of some Einsums, in cycles.

    The longest of the arrays' busy cycles (after the first tiles have come) and of the
    memories' transfers, and cycles to start each of an Einsum's runs.
    """

    latency_of: tuple[str, ...] = ()
    start_cycles: tuple[tuple[str, int], ...] = ()
    """Per Einsum, cycles each iteration of its loops at the outermost memory costs."""
    first_tiles: tuple[tuple[str, Factors], ...] = ()
    """Per tensor, elements that cross the outermost memory's port before work begins."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A named open decision and its alternatives, the preferred ones first."""

    name: str
    alternatives: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumPatch:
    """Fields of one Einsum's mapping: those named in ``given`` replace the others."""

    mapping: EinsumMapping
    given: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a mapping gains or replaces when certain alternatives are chosen."""

    when: tuple[tuple[str, tuple[str, ...]], ...]
    tiles: tuple[Tile, ...] = ()
    nest: tuple[NestLevel, ...] = ()
    einsums: tuple[EinsumPatch, ...] = ()
    keep: tuple[Keep, ...] = ()
    spill: Spill | None = None
    objective: ChoiceObjective | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A whole mapping file."""

    name: str
    cascade: str
    machine: str = ""
    """The only architecture that it is for; empty: any that has its parts."""
    tiles: tuple[Tile, ...] = ()
    nest: tuple[NestLevel, ...] = ()
    einsums: tuple[EinsumMapping, ...] = ()
    keep: tuple[Keep, ...] = ()
    schedule: Schedule = Schedule()
    spill: Spill | None = None
    choices: tuple[Choice, ...] = ()
    """Open decisions, the one that changes slowest first; binding resolves them."""
    cases: tuple[Case, ...] = ()
    objective: ChoiceObjective | None = None
    chosen: tuple[tuple[str, str], ...] = ()
    """What binding chose."""
    moved: tuple[str, ...] = ()
    """Which Einsums a machine runs on another array than in their role, and why, in sentences."""
    nests: tuple[Mapping, ...] = ()
    """Fused nests that run one after the other, each with some of the Einsums, its own loops and
    tiles; all that says how Einsums run is in them then (``archsim.nest.sequence``)."""
    source: str = field(default="", compare=False)

    @classmethod
    def load(cls, name: str | PathLike[str], overrides: Overriding = ()) -> Mapping:
        """The built-in mapping of a name, or the one in a file.

        Parameters
        ----------
        name : str or path
            A built-in name; anything with a slash or ending in ``.yaml`` is a file.
        overrides : iterable of str
            Settings such as ``schedule.lookahead=3``.

        Raises
        ------
        SpecError
            There is none, or it is wrong.

        Examples
        --------
        >>> mapping = Mapping.load("fusemax-binding", ["schedule.lookahead=3"])
        >>> [(t.rank, t.member, str(t.size)) for t in mapping.tiles if t.rank == "M"]
        [('M', 'M0', 'matrix.rows')]
        >>> mapping.schedule.lookahead
        3
        """
        return read(Mapping, name, overrides)

    def _repr_html_(self) -> str:
        return to_html(_card(self))

    def einsum(self, name: str) -> EinsumMapping | None:
        """How Einsum ``name`` is mapped, or None."""
        return next((e for e in self.einsums if e.einsum == name), None)

    @property
    def span(self) -> Span | None:
        """Where the mapping's Einsums begin, for what is missing there."""
        if self.nests:
            return self.nests[0].span
        return self.einsums[0].span if self.einsums else None


def _card(mapping: Mapping) -> Document:
    """Summarise a mapping: cascade, schedule, tiles, shared loops and Einsums by array."""
    arrays: dict[str, list[str]] = {}
    for e in mapping.einsums:
        arrays.setdefault(e.array, []).append(e.einsum)
    facts = [
        Fact("cascade", mapping.cascade),
        Fact("schedule", mapping.schedule.kind, f"lookahead {mapping.schedule.lookahead}")
        if mapping.schedule.kind == "pipelined"
        else Fact("schedule", mapping.schedule.kind),
    ]
    if mapping.tiles:
        facts.append(Fact("tiles", ", ".join(f"{t.member} = {t.size}" for t in mapping.tiles)))
    for level in mapping.nest:
        facts.append(Fact(f"loops at {level.level}", ", ".join(level.loops) or "none"))
    facts += [Fact(f"on {array}", first_names(einsums)) for array, einsums in arrays.items()]
    if mapping.choices:
        facts.append(Fact("open choices", ", ".join(c.name for c in mapping.choices)))
    return Document(title=f"mapping {mapping.name}", facts=tuple(facts))
