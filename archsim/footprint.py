"""What each level must hold at once, and whether it can."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .counts import largest_tile
from .handover import width
from .lower import Lowered, LoweredEinsum
from .quantities import byte_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Bytes of live tiles at one memory level, tensor by tensor."""

    level: str
    tensors: tuple[tuple[str, Fraction], ...]
    capacity_bytes: int | None

    @property
    def required_bytes(self) -> Fraction:
        """All live tiles together."""
        return sum((size for _, size in self.tensors), Fraction(0))

    @property
    def fits(self) -> bool:
        """Whether the level can hold what it must."""
        return self.capacity_bytes is None or self.required_bytes <= self.capacity_bytes

    def __str__(self) -> str:
        largest = sorted(self.tensors, key=lambda t: -t[1])[:4]
        parts = ", ".join(f"{name} {byte_size(float(size))}" for name, size in largest)
        capacity = "" if self.capacity_bytes is None else byte_size(float(self.capacity_bytes))
        return (
            f"{self.level} needs {byte_size(float(self.required_bytes))} ({parts}), has {capacity}"
        )


def requirements(lowered: Lowered) -> tuple[Requirement, ...]:
    """Live tiles per memory, one copy each (double buffering is not charged).

    Einsums that share a nest hold their tiles together. Where groups run one after the
    other, a level holds the tiles of one group at a time, beside intermediates that wait
    there for a later one.
    """
    return tuple(_requirement(lowered, i) for i in range(len(lowered.architecture.memories)))


def all_fits(lowered: Lowered) -> bool:
    """Whether every memory holds what it must."""
    limited = (
        i for i, m in enumerate(lowered.architecture.memories) if m.capacity_bytes is not None
    )
    return all(_requirement(lowered, i).fits for i in limited)


def _requirement(lowered: Lowered, level: int) -> Requirement:
    memory = lowered.architecture.memories[level]
    sizes = [_tiles(lowered, e, level) for e in lowered.einsums]
    live = _largest_moment(lowered, sizes, level)
    tensors = tuple((t, n * lowered.architecture.word_bytes) for t, n in live.items())
    return Requirement(level=memory.name, tensors=tensors, capacity_bytes=memory.capacity_bytes)


def _tiles(lowered: Lowered, e: LoweredEinsum, level: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for footing in (*e.reads, e.write):
        tensor = footing.access.tensor
        if level in lowered.memories(e, tensor):
            one_copy = _in_step(lowered, tensor, level)
            size = largest_tile(e, footing, level, one_copy=one_copy)
            found[tensor] = max(found.get(tensor, 0), size)
    return found


def _in_step(lowered: Lowered, tensor: str, level: int) -> bool:
    """Whether all who touch a running value go along its rank together.

    One copy is enough then; else whoever comes later finds only the last value.
    """
    ranks = {r.lower() for r in lowered.program.iterative.get(tensor, ())}
    writer = next((e for e in lowered.einsums if e.name == tensor), None)
    if writer is None or not ranks:
        return True
    readers = [
        e
        for e in lowered.einsums
        if e is not writer
        and any(a.tensor == tensor and ranks & {*a.variables} for a in e.einsum.reads)
    ]
    if any(lowered.apart(e.name, tensor) for e in readers):
        return False
    apart = [
        loop
        for e in (writer, *readers)
        for loop in (*e.own, *e.spatial)
        if loop.variable in ranks and loop.level >= level and width(e, loop) > 1
    ]
    return not readers or not apart


def _together(sizes: list[dict[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tiles in sizes:
        for tensor, size in tiles.items():
            found[tensor] = max(found.get(tensor, 0), size)
    return found


def _largest_moment(lowered: Lowered, sizes: list[dict[str, int]], level: int) -> dict[str, int]:
    """The largest of the moments at which one group runs."""
    names = [e.name for e in lowered.einsums]
    tiles = dict(zip(names, sizes, strict=True))
    number = {name: i for i, group in enumerate(lowered.groups) for name in group}
    last_use = {f.access.tensor: number[e.name] for e in lowered.einsums for f in e.reads}
    worst: dict[str, int] = {}
    for now, group in enumerate(lowered.groups):
        moment = _together([tiles[name] for name in group])
        for name in names:
            homes = lowered.residency.memories(name)
            waits = number[name] < now < last_use.get(name, -1)
            if waits and homes and level == homes[0]:
                moment[name] = max(moment.get(name, 0), tiles[name][name])
        if sum(moment.values()) > sum(worst.values()):
            worst = moment
    return worst
