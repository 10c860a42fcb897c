"""Scaling of a machine to another machine's area: by all its arrays, or by one memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from einsum_cascade.errors import InputError, Problem, did_you_mean

from ..energy import areas, memory_rows
from ..quantities import area as show_area
from ..spec.arch import Architecture, Dimension, Memory, ProcessingArray
from ..spec.files.fields import Real, Whole

ARRAYS = "arrays"
"""Word for scaling all axes of all arrays together; any other word is the name of a memory."""

COPIES = "copies"
"""Word for no scaling: several copies of the machine are compared, each with its own sequences."""

_MAX_AREA_ERROR = 0.05
"""Largest relative error of the area at which machines count as equally large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change of one size in a machine: its values before and after scaling."""

    field: str
    before: Whole
    after: Whole
    unit: Literal["elements", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Scaling of a machine to a target area: the changes, and areas in um^2."""

    scaled: str
    """Scaled part: ``arrays``, or the name of the memory whose capacity changed."""
    changes: tuple[Change, ...]
    target_um2: Real
    before_um2: Real
    after_um2: Real

    @property
    def residual(self) -> float:
        """Relative difference between the reached area and the target."""
        return self.after_um2 / self.target_um2 - 1


def total_area(machine: Architecture) -> float:
    """Return the area of all components on the chip, in um^2."""
    return sum(size for _, size in areas(machine))


def scale_to_area(
    machine: Architecture, target_um2: float, scaled: str = ARRAYS
) -> tuple[Architecture, Scaling]:
    """Return the scaled machine whose area is closest to a target, and the changes.

    Parameters
    ----------
    machine : Architecture
        Its other parts stay as they are.
    target_um2 : float
        The area to come close to.
    scaled : str
        ``"arrays"``: every axis of every array by one factor, rounded to whole elements, so
        that axes of one size stay of one size, and a reduction latency that is the size of
        an axis follows it. Else a memory, whose capacity changes by whole lines.

    Raises
    ------
    InputError
        The machine cannot come within 5 %, a component has no area, or the memory does not exist.
    """
    check_areas(machine)
    if scaled == ARRAYS:
        make, now = _with_arrays(machine), _largest_size(machine)
    else:
        memory = _sized_memory(machine, scaled)
        make, now = _with_memory(machine, memory), memory_rows(memory) or 1
    closest = _closest(make, now, target_um2)
    # An unchanged machine is kept: to make it anew would round capacities up to whole lines.
    result = make(closest) if closest != now else machine
    scaling = Scaling(
        scaled=scaled,
        changes=_changes(machine, result),
        target_um2=target_um2,
        before_um2=total_area(machine),
        after_um2=total_area(result),
    )
    if abs(scaling.residual) > _MAX_AREA_ERROR:
        raise InputError(_too_far(machine, scaling))
    return result, scaling


def check_areas(machine: Architecture, label: str = "") -> None:
    """Raise an error if a machine has a component without an area.

    Raises
    ------
    InputError
        Naming the components, and the machine by its label if it has one.
    """
    missing = [name for name, size in areas(machine) if size <= 0]
    if missing:
        raise InputError(
            f"{label or machine.name}: technology '{machine.technology.name}' gives no area "
            f"for {', '.join(missing)}, so machines of equal area cannot be made",
            hint="give its actions and memories an 'area'",
        )


def _largest_size(machine: Architecture) -> int:
    return max(d.size for a in machine.arrays for d in a.dimensions)


def _with_arrays(machine: Architecture) -> Callable[[int], Architecture]:
    """Return a function that makes a machine from the size of its longest array axis.

    All other axes keep their ratio to the longest.
    """
    largest = _largest_size(machine)

    def resized(size: int, n: int) -> int:
        # Round size * n / longest to the nearest whole number, halves up; no axis disappears.
        return max(1, (2 * size * n + largest) // (2 * largest))

    def array(a: ProcessingArray, n: int) -> ProcessingArray:
        sizes = {d.name: resized(d.size, n) for d in a.dimensions}
        return replace(a, dimensions=tuple(_resized(d, sizes) for d in a.dimensions))

    return lambda n: replace(machine, arrays=tuple(array(a, n) for a in machine.arrays))


def _resized(dimension: Dimension, sizes: dict[str, int]) -> Dimension:
    along = dimension.reduction_latency_axis
    late = dimension.reduction_latency_cycles if along is None else sizes[along]
    return replace(dimension, size=sizes[dimension.name], reduction_latency_cycles=late)


def _sized_memory(machine: Architecture, name: str) -> Memory:
    """Return the memory with a name, after a check that its area depends on its capacity."""
    sized = [m.name for m in machine.memories if m.name in dict(areas(machine))]
    memory = machine.memory(name)
    if memory is None or name not in sized:
        what = "has no memory" if memory is None else "has no area on chip for"
        hint = did_you_mean(name, [ARRAYS, COPIES, *sized])
        raise InputError(f"--scale: {machine.name} {what} '{name}'", hint=hint)
    return memory


def _with_memory(machine: Architecture, memory: Memory) -> Callable[[int], Architecture]:
    """Return a function that makes a machine with one memory resized, from a number of lines.

    A memory whose area is billed for another capacity stays billed in proportion.
    """
    rows_now = memory_rows(memory) or 1

    def lines(size: int | None, rows: int) -> int | None:
        if size is None:
            return None
        here = -(-8 * size // memory.line_bits)
        return max(1, here * rows // rows_now) * memory.line_bits // 8

    def resized(rows: int) -> Architecture:
        capacity, billed = lines(memory.capacity_bytes, rows), lines(memory.billed_bytes, rows)
        made = replace(memory, capacity_bytes=capacity, billed_bytes=billed)
        return replace(
            machine, memories=tuple(made if m is memory else m for m in machine.memories)
        )

    return resized


def _closest(make: Callable[[int], Architecture], now: int, target: float) -> int:
    """Return the size whose area is closest to the target, by bisection: areas grow with size."""
    # Doubling ends with a size that is too large.
    high = max(2, now)
    while total_area(make(high)) <= target:
        high *= 2
    below = bisect_right(range(1, high), target, key=lambda n: total_area(make(n)))
    sizes = (max(1, below), max(2, below + 1))
    return min(sizes, key=lambda n: abs(total_area(make(n)) - target))


def _changes(before: Architecture, after: Architecture) -> tuple[Change, ...]:
    found: list[Change] = []
    for old, new in zip(before.arrays, after.arrays, strict=True):
        for a, b in zip(old.dimensions, new.dimensions, strict=True):
            field = f"{old.name}.{a.name}"
            found.append(Change(field=field, before=a.size, after=b.size, unit="elements"))
    for was, now in zip(before.memories, after.memories, strict=True):
        if was.capacity_bytes is not None and now.capacity_bytes is not None:
            field, sizes = f"{was.name}.capacity", (was.capacity_bytes, now.capacity_bytes)
            found.append(Change(field=field, before=sizes[0], after=sizes[1], unit="bytes"))
    return tuple(c for c in found if c.before != c.after)


def _too_far(machine: Architecture, scaling: Scaling) -> Problem:
    """Return an error that explains why no size comes close to the target.

    Either other components are too large, or steps are too coarse.
    """
    own = {a.name for a in machine.arrays} if scaling.scaled == ARRAYS else {scaling.scaled}
    others = [name for name, _ in areas(machine) if name not in own]
    rest = sum(size for name, size in areas(machine) if name not in own)
    steps = "elements" if scaling.scaled == ARRAYS else "lines"
    parts = (ARRAYS, *(n for n in others if machine.memory(n) is not None))
    hints = [f"--scale {w}" for w in parts if w != scaling.scaled]
    return Problem(
        f"{machine.name} cannot be scaled to {show_area(scaling.target_um2)} by its "
        f"{scaling.scaled}: in whole {steps} it comes no closer than "
        f"{show_area(scaling.after_um2)} ({100 * scaling.residual:+.1f} %); what it keeps "
        f"({', '.join(others) or 'nothing'}) has {show_area(rest)}",
        hint=f"try {' or '.join(hints)}" if hints else None,
    )
