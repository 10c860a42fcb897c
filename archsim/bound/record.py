"""What a mapping is once it is bound: loops with sizes, and what every access addresses.

Every model reads this record: per Einsum the axes of its iteration space, its loops
outermost first, and the array it runs on.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod

from einsum_cascade.ir import Einsum, Program
from einsum_cascade.operations import Operations

from ..space.access_map import AccessMap
from ..space.banded import one, windowed_points
from ..space.bands import Band, Window
from ..space.iteration import Axis, Extents, Loop, count_points
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from .residency import Residency
from .tiling import Tiling


@dataclass(frozen=True, kw_only=True)
class SharedLoop:
    """A temporal loop of the shared nest: ``bound`` iterations of the first tile."""

    member: str
    rank: str
    level: int
    bound: int


@dataclass(frozen=True, kw_only=True)
class BoundEinsum:
    """One Einsum with its loops: ``shared`` and ``own`` temporal, then ``spatial``."""

    einsum: Einsum
    array: ProcessingArray
    axes: tuple[Axis, ...]
    shared: tuple[Loop, ...]
    own: tuple[Loop, ...]
    spatial: tuple[Loop, ...]
    outside: tuple[str, ...]
    """Members of the shared nest the Einsum stays out of."""
    bypass: frozenset[tuple[str, str]]
    """Pairs of a level's name and a tensor that this Einsum passes by it."""
    operations: Operations
    reads: tuple[AccessMap, ...]
    write: AccessMap
    window: Window | None = None
    """What the Einsum leaves out because of a mask; None: nothing."""
    starts: bool = False
    """Whether it is a statement of ``init``, which runs before all Einsums of its tile."""

    @cached_property
    def name(self) -> str:
        """The tensor it writes."""
        return self.einsum.name

    @cached_property
    def touches(self) -> tuple[AccessMap, ...]:
        """All its accesses."""
        return (*self.reads, self.write)

    @cached_property
    def temporal(self) -> tuple[Loop, ...]:
        """All temporal loops, outermost first."""
        return (*self.shared, *self.own)

    @cached_property
    def extents(self) -> Extents:
        """The whole iteration space."""
        return tuple(a.extent for a in self.axes)

    @cached_property
    def widths(self) -> dict[int, int]:
        """Iterations of each loop, by its ``id``, inside the first tile of those around it."""
        found: dict[int, int] = {}
        rest = list(self.extents)
        for loop in self.temporal:
            found[id(loop)] = -(-rest[loop.axis] // loop.stride)
            rest[loop.axis] = min(rest[loop.axis], loop.stride)
        for loop in self.spatial:
            found[id(loop)] = -(-rest[loop.axis] // loop.stride)
        return found

    def outer(self, level: int) -> tuple[Loop, ...]:
        """Temporal loops outside the tiles that ``level`` holds."""
        return tuple(loop for loop in self.temporal if loop.level < level)

    @cached_property
    def points(self) -> int:
        """Points of the tiles that are run, those a mask takes out of a tile included."""
        if self.window is not None:
            return windowed_points(self.temporal, self.extents, self.window, prod)
        return prod(self.extents)

    @cached_property
    def cycles_of_point(self) -> Fraction:
        """Cycles in which an element of the array computes one point."""
        return self.array.cycles_of(self.operations)

    @cached_property
    def iterations(self) -> int:
        """Temporal iterations: what one processing element runs through."""
        if self.window is not None:
            return windowed_points(self.temporal, self.extents, self.window, one)
        return count_points(self.temporal, self.extents)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A mapping bound to everything it needs, structurally legal."""

    program: Program
    mapping: Mapping
    architecture: Architecture
    shapes: tuple[tuple[str, int], ...]
    tiling: Tiling
    nest: tuple[SharedLoop, ...]
    steps: int
    einsums: tuple[BoundEinsum, ...]
    """In the order in which they run."""
    groups: tuple[tuple[str, ...], ...]
    """Einsums that share loops; one group after another (a fused mapping has one)."""
    residency: Residency
    unskipped: tuple[str, ...] = ()
    """Why masked tiles are run all the same, where they are."""
    idle: Band | None = None
    """A band outside of which whole steps of the nest are left out."""

    def apart(self, one: str, other: str) -> bool:
        """Whether two Einsums run one after the other, over all their loops each."""
        return not any(one in group and other in group for group in self.groups)

    def memories(self, e: BoundEinsum, tensor: str) -> tuple[int, ...]:
        """Indices of the memories that hold a tensor for an Einsum, outermost first."""
        kept = self.residency.memories(tensor)
        if not e.bypass:
            return kept
        names = self.architecture.memories
        return tuple(i for i in kept if (names[i].name, tensor) not in e.bypass)

    def registers(self, e: BoundEinsum, tensor: str) -> tuple[str, ...]:
        """Arrays whose registers hold a tensor for an Einsum."""
        kept = self.residency.registers(tensor)
        return tuple(a for a in kept if (a, tensor) not in e.bypass)

    @property
    def register_level(self) -> int:
        """The level index of the arrays' registers: below every memory."""
        return len(self.architecture.memories)

    def inner_bound(self, member: str) -> int:
        """Steps between two neighbouring iterations of a shared loop."""
        names = [loop.member for loop in self.nest]
        return prod(loop.bound for loop in self.nest[names.index(member) + 1 :])
