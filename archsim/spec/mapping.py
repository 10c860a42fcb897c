"""Mappings as written: loop order, partition, binding, residency and schedule.

A mapping names ranks and array dimensions. Binding adds the sizes from a cascade, shapes and a
machine (``archsim.nest.record``). A mapping refers to arrays and memories by their names on the
machine, or by their role (``archsim.spec.roles``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from einsum_cascade.source import Span

from ..document import Document, Fact, first_names
from .reading import Specification

EINSUM_BY_EINSUM: Final = "einsum-by-einsum"
"""Name of the unfused mapping that ``mappers.construct.einsum_by_einsum`` makes."""
FUSED: Final = "fused"
"""Name of the mapping whose Einsums share loops (``mappers.construct.fused``)."""
BEAM: Final = "beam"
"""Name of the mapping that a beam search finds (``mappers.construct.beam``)."""
NEST_BY_NEST: Final = "nest-by-nest"
"""Name of every mapping whose nests were generated one by one (``archsim.plan``)."""
MADE: Final = (EINSUM_BY_EINSUM, FUSED, BEAM)
"""Names of the mappings that are generated from their cascade."""
AUTO: Final = "auto"
"""Name that asks for a search instead of a mapping."""
FIT: Final = "fit"
"""Tile size (or lookahead) ``fit``: the largest one that fits."""
WHOLE: Final = "whole"
"""Tile size ``whole``: one tile is the whole rank."""
WHOLE_OR_ONE: Final = "whole or one"
"""Tile size ``whole or one``: the whole rank where that fits, else one."""
EVEN: Final = "even"
"""Tile size ``even``: the fewest tiles that fit, with sizes as equal as possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionRef:
    """Size of an array axis, written ``array_2d.rows``, or ``matrix.rows`` by role."""

    array: str
    dimension: str

    def __str__(self) -> str:
        return f"{self.array}.{self.dimension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumSize:
    """Minimum of several sizes, written ``min(matrix.columns, vector.lanes)``."""

    sizes: tuple[int | DimensionRef, ...]

    def __str__(self) -> str:
        return f"min({', '.join(map(str, self.sizes))})"


REST: Final = "rest"
"""Number of parts ``rest``: one part for each core that other ranks leave."""
BALANCED: Final = "balanced"
"""Number of parts ``balanced`` or ``4 balanced``: the parts get sizes that give equal work."""
TileSize = int | DimensionRef | MinimumSize | Literal["fit", "whole", "whole or one", "even"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Size of one tile of a rank (a partitioned rank, or member), written ``P: {P0:
    matrix.columns}``.

    The outermost member is implied: with ``P0`` and ``P1`` given, ``P2`` counts the tiles.
    """

    rank: str
    member: str
    size: TileSize
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialRank:
    """Partition of a rank over the cores below a memory, written ``spatial: {cores: H}``."""

    instances: str
    """Name of the cores, such as ``cores``, that the machine gives them."""
    rank: str
    parts: int | None = None
    """Number of parts; None: one for each core that other ranks leave."""
    balanced: bool = False
    """True if parts have equal work under a mask instead of equal sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestLevel:
    """Temporal loops at ``level``, outermost first; their iterations bring other tiles there."""

    level: str
    loops: tuple[str, ...]
    spatial: tuple[SpatialRank, ...] = ()
    """Ranks partitioned over the cores that the level feeds."""
    ring: tuple[str, ...] = ()
    """Ranks whose parts travel in a ring: each core holds one part of data that all cores need."""
    span: Span | None = field(default=None, compare=False, repr=False)

    @classmethod
    def nest(cls, loops_at: Iterable[tuple[str, Iterable[str]]]) -> tuple[NestLevel, ...]:
        """Return a nest from pairs of a level and its loops; levels without loops are left out."""
        nest = (cls(level=level, loops=tuple(loops)) for level, loops in loops_at)
        return tuple(level for level in nest if level.loops)


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumMapping:
    """Placement of one Einsum inside the shared nest."""

    einsum: str
    array: str
    spatial: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of an array dimension and the ranks laid out along it.

    The dimension's name is empty if the array in a role lacks it (``archsim.nest.roles``).
    """
    nest: tuple[NestLevel, ...] = ()
    """Temporal loops of this Einsum alone, outermost first, inside the shared nest.

    Loops written as a plain list belong to the innermost memory.
    """
    outside: tuple[str, ...] = ()
    """Shared loops inside of which this Einsum does not run: it runs before or after them."""
    bypass: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of a level and tensors: this Einsum bypasses the level with these tensors."""
    span: Span | None = field(default=None, compare=False, repr=False)


ScheduleName = Literal[
    "sequential",  # one Einsum after the other
    "phases",  # groups of Einsums, one group after the other
    "pipelined",  # steps of shared loops overlap
]
"""Kind of schedule, as mapping files write it (see ``archsim.schedule.kinds``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTask:
    """Task of a phase: an Einsum on the tile ``shift`` steps away, written ``RD@-1``."""

    einsum: str
    shift: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Schedule of a mapping: how tasks of neighbouring tiles overlap."""

    kind: ScheduleName = "pipelined"
    lookahead: int | Literal["fit"] = "fit"
    """Pipelined: number of tiles that are in flight on an array at once."""
    groups: tuple[tuple[PhaseTask, ...], ...] = ()
    """Groups of Einsums. Phases: barriers separate the groups. Sequential: Einsums of a group
    share loops and overlap; without groups each Einsum is a group."""
    exposes: tuple[str, ...] | None = None
    """Phases: Einsums for whose reduction latency the next barrier waits; None: all Einsums."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Tensors that a level keeps; the level is a memory, or an array's registers."""

    level: str
    tensors: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


Factors = tuple[str | int, ...]
"""Number of elements as a product of numbers and partitioned ranks (members), each of which stands
for its iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """Level whose footprint may exceed its capacity; the excess spills outwards."""

    level: str
    copies: tuple[tuple[str, int], ...] = ()
    """Pairs of a kept tensor and its number of tiles: 2 if double-buffered, 0 if it takes the
    place of another tensor."""
    staged: tuple[tuple[str, Factors], ...] = ()
    """Pairs of a tensor that only passes through the level and the number of its elements held
    there."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceObjective:
    """Objective that decides open choices: the roofline of some Einsums, in cycles.

    The roofline is the maximum of the busy cycles of each array (after its first tiles arrive) and
    of the transfers of each memory, plus the start cycles of each run of an Einsum.
    """

    latency_of: tuple[str, ...] = ()
    start_cycles: tuple[tuple[str, int], ...] = ()
    """Pairs of an Einsum and the cycles to start one iteration of its loops at the outermost
    memory."""
    first_tiles: tuple[tuple[str, Factors], ...] = ()
    """Pairs of a tensor and the number of its elements that the outermost memory must deliver
    before work begins."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Open decision with its alternatives, preferred ones first."""

    name: str
    alternatives: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumPatch:
    """Changes to one Einsum's mapping; only fields named in ``given`` are replaced."""

    mapping: EinsumMapping
    given: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Additions and replacements in a mapping that apply when certain alternatives are chosen."""

    when: tuple[tuple[str, tuple[str, ...]], ...]
    tiles: tuple[Tile, ...] = ()
    nest: tuple[NestLevel, ...] = ()
    einsums: tuple[EinsumPatch, ...] = ()
    keep: tuple[Keep, ...] = ()
    spill: Spill | None = None
    objective: ChoiceObjective | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping(Specification):
    """Mapping as its file states it.

    Examples
    --------
    >>> mapping = Mapping.load("fusemax-binding", ["schedule.lookahead=3"])
    >>> [(t.rank, t.member, str(t.size)) for t in mapping.tiles if t.rank == "M"]
    [('M', 'M0', 'matrix.rows')]
    >>> mapping.schedule.lookahead
    3
    """

    name: str
    cascade: str
    machine: str = ""
    """Only machine that the mapping is for; empty: any with the named memories and arrays."""
    tiles: tuple[Tile, ...] = ()
    nest: tuple[NestLevel, ...] = ()
    einsums: tuple[EinsumMapping, ...] = ()
    keep: tuple[Keep, ...] = ()
    schedule: Schedule = Schedule()
    spill: Spill | None = None
    choices: tuple[Choice, ...] = ()
    """Open decisions, which binding resolves; the slowest-changing one comes first."""
    cases: tuple[Case, ...] = ()
    objective: ChoiceObjective | None = None
    chosen: tuple[tuple[str, str], ...] = ()
    """Pairs of a choice and the alternative that binding chose."""
    moved: tuple[str, ...] = ()
    """Sentences that say which Einsums do not run on the array in their role, and why."""
    nests: tuple[Mapping, ...] = ()
    """Nests that run one after the other, each with some Einsums, its own loops and its own tiles.

    A mapping of several nests has no loops and Einsums of its own (``archsim.nest.sequence``).
    """
    source: str = field(default="", compare=False)

    def einsum(self, name: str) -> EinsumMapping | None:
        """Return the mapping of Einsum ``name``, or None."""
        return next((e for e in self.einsums if e.einsum == name), None)

    @property
    def span(self) -> Span | None:
        """Place of the Einsums in the mapping's file, at which missing fields are reported."""
        if self.nests:
            return self.nests[0].span
        return self.einsums[0].span if self.einsums else None

    def card(self) -> Document:
        """Summarise a mapping: cascade, schedule, tiles, shared loops and Einsums by array."""
        arrays: dict[str, list[str]] = {}
        for e in self.einsums:
            arrays.setdefault(e.array, []).append(e.einsum)
        facts = [
            Fact("cascade", self.cascade),
            Fact("schedule", self.schedule.kind, f"lookahead {self.schedule.lookahead}")
            if self.schedule.kind == "pipelined"
            else Fact("schedule", self.schedule.kind),
        ]
        if self.tiles:
            facts.append(Fact("tiles", ", ".join(f"{t.member} = {t.size}" for t in self.tiles)))
        for level in self.nest:
            facts.append(Fact(f"loops at {level.level}", ", ".join(level.loops) or "none"))
        facts += [Fact(f"on {array}", first_names(einsums)) for array, einsums in arrays.items()]
        if self.choices:
            facts.append(Fact("open choices", ", ".join(c.name for c in self.choices)))
        return Document(title=f"mapping {self.name}", facts=tuple(facts))
