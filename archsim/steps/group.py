"""Groups of Einsums that run together step by step: their step loops, traffic and average steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod

from einsum_cascade.memo import cached_property

from ..counts.accesses import Amount, EinsumCount
from ..counts.occupancy import busy_cycles, reduction_latency
from ..iteration.bands import Band, BandProgression, Window, progressions, runs
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Axis, Extents, Loop, count_points, first_tile, inside
from ..iteration.windowed import one
from ..nest.dataflow import Operand
from ..nest.masks import window_over
from ..nest.record import Bound, BoundEinsum
from .flows import EinsumFlows, einsum_flows, first_fill, last_drain
from .run_length import OneStep, RunLengths, repeat, steps_by_class


@dataclass(frozen=True, kw_only=True)
class GroupPart:
    """One Einsum of a group, with its loops.

    ``loops`` has an entry for each loop of the group: the Einsum's own view of that loop, or None
    if the Einsum runs outside the loop.
    """

    e: BoundEinsum
    loops: tuple[Loop | None, ...]
    own: tuple[Loop, ...]
    occupied: Fraction
    """Cycles in which the Einsum occupies its array over the whole run."""
    depth: int | None
    """Position of the outermost loop of several iterations that does not contain the Einsum."""
    early: bool
    """True if the Einsum runs at the first iteration of the loops that do not contain it."""
    bound: Bound = field(repr=False)
    count: EinsumCount = field(repr=False)

    @cached_property
    def busy(self) -> Fraction:
        """Cycles that one temporal iteration of the Einsum occupies its array."""
        return self.occupied / max(self.e.iterations, 1)  # a mask may let nothing through

    @cached_property
    def steps(self) -> tuple[Loop, ...]:
        """Step loops of the group that contain the Einsum."""
        return tuple(loop for loop in self.loops if loop is not None)

    @cached_property
    def flows(self) -> EinsumFlows:
        """Traffic of the Einsum in each step; computed only if all steps are walked."""
        return einsum_flows(self.bound, self.e, self.count, self.steps)


@dataclass(frozen=True, kw_only=True)
class FusionGroup:
    """Einsums that run together: each iteration of their shared loops is a step."""

    name: str
    nest: StepNest
    parts: tuple[GroupPart, ...]
    reads: tuple[StepRead, ...]
    """Operands that one Einsum of the group reads from another."""

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Loops whose iterations are the group's steps."""
        return self.nest.loops

    @cached_property
    def outside(self) -> tuple[str, ...]:
        """Einsums that do not run at every step."""
        return tuple(p.e.name for p in self.parts if p.depth is not None)

    @cached_property
    def inside(self) -> tuple[str, ...]:
        """Einsums that run at every step."""
        return tuple(p.e.name for p in self.parts if p.depth is None)

    def round(self, part: GroupPart) -> int:
        """Return the number of steps in one run of the first loop that does not contain the
        Einsum."""
        if part.depth is None:
            return 1
        extents = first_tile(self.nest.extents, self.loops[: part.depth])
        return count_points(self.loops[part.depth :], extents)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClass:
    """Work that every step of one class does.

    ``loads`` and ``drains`` are words by Einsum and memory. ``busy`` are cycles by Einsum. ``back``
    holds, for each loop, the number of steps since its previous iteration (None at its first
    iteration).
    """

    runs: tuple[bool, ...]
    busy: tuple[Fraction, ...]
    loads: tuple[tuple[Fraction, ...], ...]
    drains: tuple[tuple[Fraction, ...], ...]
    back: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """All steps of a group's run: the class of each step as run lengths, and the work of each
    class."""

    group: FusionGroup
    run_lengths: RunLengths
    classes: tuple[StepClass, ...]
    once: tuple[tuple[str, Fraction], ...] = ()
    """Einsums that run once outside the steps, with the duration of that run in cycles."""

    @cached_property
    def steps_by_class(self) -> dict[int, int]:
        """Number of steps in each class of steps."""
        return steps_by_class(self.run_lengths)


def fused_group(
    bound: Bound, counts: tuple[EinsumCount, ...], einsums: tuple[BoundEinsum, ...]
) -> FusionGroup:
    """Return the group of Einsums that share loops; a step is one iteration of these loops.

    Parameters
    ----------
    bound : Bound
        The mapping.
    counts : tuple of EinsumCount
        Counts of at least these Einsums.
    einsums : tuple of BoundEinsum
        Einsums that run together, in order; shared loops without any of them are left out.
    """
    members = [s.member for s in bound.nest]
    inside_of = {x.member for e in einsums for x in e.shared}
    members = [m for m in members if m in inside_of]
    variables = tuple(dict.fromkeys(bound.tiling.members[m].rank.lower() for m in members))
    axes = bound.tiling.axes(variables)
    loops = tuple(_unit_loop(bound, axes, m) for m in members)
    own = [{x.member: x for x in e.shared} for e in einsums]
    views = [tuple([loops_of.get(m) for m in members]) for loops_of in own]
    nest = StepNest(axes=axes, loops=loops, window=nest_window(bound, axes, loops, einsums))
    every = [(view, e.own) for view, e in zip(views, einsums, strict=True)]
    return _group(bound, counts, einsums, nest, every)


def _group(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    einsums: tuple[BoundEinsum, ...],
    nest: StepNest,
    loops: list[tuple[tuple[Loop | None, ...], tuple[Loop, ...]]],
) -> FusionGroup:
    """Return the group of Einsums with the given steps; ``loops`` are the shared loops and own
    loops of each Einsum."""
    members = [loop.member for loop in nest.loops]
    reads = step_reads(bound, einsums, frozenset(members))
    outside = {
        e.name: _first_loop_outside(nest, view) for e, (view, _) in zip(einsums, loops, strict=True)
    }
    needed = _needed(reads, outside, members)
    count_of = {c.einsum: c for c in counts}
    parts = tuple(
        GroupPart(
            e=e,
            loops=view,
            own=own,
            occupied=busy_cycles(bound, e),
            depth=outside[e.name],
            early=e.name in needed,
            bound=bound,
            count=count_of[e.name],
        )
        for e, (view, own) in zip(einsums, loops, strict=True)
    )
    name = " ".join(e.name for e in einsums)
    return FusionGroup(name=name, nest=nest, parts=parts, reads=reads)


def _needed(
    reads: tuple[StepRead, ...], outside: dict[str, int | None], members: list[str]
) -> set[str]:
    """Return the Einsums outside a loop that must run at that loop's first iteration.

    An Einsum inside the loops needs its operands, and so do the producers of these operands. A
    value from an earlier iteration of an outer loop was finished in that iteration, so that its
    producer may run last. A value from an earlier iteration of an inner loop was not finished
    before.

    Parameters
    ----------
    outside : dict
        First loop that each Einsum stays outside of, by Einsum; None if it runs in all loops.
    members : list of str
        Loops, outermost first.
    """
    found: set[str] = set()
    while True:
        more = {
            read.producer
            for read in reads
            if outside[read.consumer] is None or read.consumer in found
            if (depth := outside[read.producer]) is not None
            if not any(members.index(member) < depth for member, _ in read.shifts)
        }
        if more <= found:
            return found
        found |= more


def single_group(bound: Bound, counts: tuple[EinsumCount, ...], e: BoundEinsum) -> FusionGroup:
    """Return the group of one Einsum; a step is one iteration of all its temporal loops.

    Parameters
    ----------
    bound : Bound
        The mapping.
    counts : tuple of EinsumCount
        Counts of at least this Einsum.
    e : BoundEinsum
        Einsum; iterations that its mask leaves out are no steps.
    """
    window = None if e.window is None or e.window.band.empty else e.window
    nest = StepNest(axes=e.axes, loops=e.temporal, window=window)
    return _group(bound, counts, (e,), nest, [(e.temporal, ())])


def _unit_loop(bound: Bound, axes: tuple[Axis, ...], name: str) -> Loop:
    member = bound.tiling.members[name]
    variable = member.rank.lower()
    for number, axis in enumerate(axes):
        stride = dict(axis.variables).get(variable)
        if stride is not None:
            # A tile longer than its rank has the rank's length. ``stride`` is in elements of the
            # axis: a tile of 2 m1, each of 256 keys, is 512 along the axis.
            size = min(member.stride, bound.tiling.shapes[member.rank])
            return Loop(member=name, axis=number, stride=size * stride, level=0, variable=variable)
    raise AssertionError(f"{name} is no axis of the nest")


def _first_loop_outside(nest: StepNest, view: tuple[Loop | None, ...]) -> int | None:
    """Return the position of the first loop of several iterations that does not contain an
    Einsum."""
    extents = nest.extents
    for depth, (loop, own) in enumerate(zip(nest.loops, view, strict=True)):
        if own is None and extents[loop.axis] > loop.stride:
            return depth
        extents = inside(extents, loop, min(extents[loop.axis], loop.stride))
    return None


@dataclass(frozen=True, kw_only=True)
class StepNest:
    """Loops over the axes of an iteration space, whose iterations are steps.

    With a ``window``, only iterations that contain a point the mask allows are steps.
    """

    axes: tuple[Axis, ...]
    loops: tuple[Loop, ...]
    window: Window | None = None

    @property
    def extents(self) -> Extents:
        """Extents of the whole iteration space, one for each axis."""
        return tuple(a.extent for a in self.axes)

    @property
    def band(self) -> Band | None:
        """Allowed band of the whole iteration space; None if every iteration is a step."""
        if self.window is None or self.window.band.full:
            return None
        return self.window.band.trimmed()

    def ramps(self, depth: int, extents: Extents, band: Band | None) -> tuple[BandProgression, ...]:
        """Return the iterations of the loop at ``depth`` as few ramps as possible.

        A ramp is a range of iterations along which the mask's band shifts evenly.
        """
        return progressions(*self._cut(depth, extents, band))

    def turns(self, depth: int, extents: Extents, band: Band | None) -> tuple[BandProgression, ...]:
        """Return the iterations of the loop at ``depth``, grouped into runs of equal iterations."""
        return runs(*self._cut(depth, extents, band))

    def _cut(
        self, depth: int, extents: Extents, band: Band | None
    ) -> tuple[int, int, Band | None, tuple[bool, int] | None]:
        """Return the arguments of ``progressions`` and ``runs`` for a loop: extent, stride, band
        and side."""
        loop = self.loops[depth]
        if self.window is None or depth >= self.window.governed:
            return extents[loop.axis], loop.stride, None, None
        return extents[loop.axis], loop.stride, band, self.window.side(loop.axis)

    def steps(self, depth: int, extents: Extents, band: Band | None) -> int:
        """Return the number of steps in one iteration of the first ``depth`` loops."""
        loops = self.loops[depth:]
        if self.window is None or band is None:
            return count_points(loops, extents)
        governed = max(0, self.window.governed - depth)
        window = replace(self.window, band=band, governed=governed)
        return LoopNest(loops=loops, extents=extents, window=window).delivered(
            (True,) * len(loops), one
        )

    def settled(self, depth: int) -> bool:
        """Return whether the first ``depth`` loops cover every rank of the window.

        Then the rest of the window depends on the distance between the two ranks' tiles, not on the
        tiles' positions. Many places have an equal rest.
        """
        if self.window is None:
            return True
        entered = {loop.axis for loop in self.loops[:depth]}
        ranks = {a for a in (self.window.plus, self.window.minus) if a is not None}
        return ranks <= entered

    def indices(self, step: int) -> tuple[tuple[str, int], ...]:
        """Return the position of a step: the name (member) of every loop, with its iteration.

        Parameters
        ----------
        step : int
            Number of the step from 0, in the order of the nest.

        Returns
        -------
        tuple of (str, int)
            Iterations from 0. Iterations that contain no allowed point are counted although they
            are not steps.
        """
        extents, band = self.extents, self.band
        found: list[tuple[str, int]] = []
        for depth, loop in enumerate(self.loops):
            for run in self.turns(depth, extents, band):
                within = inside(extents, loop, run.extent)
                body = self.steps(depth + 1, within, run.band)
                if step < run.count * body:
                    break
                step -= run.count * body
            index, step = divmod(step, body)
            found.append((loop.member, run.first + index))
            extents, band = within, run.band
        return tuple(found)


def nest_window(
    bound: Bound, axes: tuple[Axis, ...], loops: tuple[Loop, ...], einsums: tuple[BoundEinsum, ...]
) -> Window | None:
    """Return the mask window that a group of Einsums shares; None if every iteration is a step.

    Parameters
    ----------
    bound : Bound
    axes : tuple of Axis
        Axes of the loops.
    loops : tuple of Loop
        Loops whose iterations are steps.
    einsums : tuple of BoundEinsum
        Einsums inside the loops.
    """
    if bound.no_op_band is None:
        return None
    ranks = {axes[loop.axis].name for loop in loops}
    if not ranks & {bound.no_op_band.plus, bound.no_op_band.minus}:
        return None
    whole = [e for e in einsums if not e.outside]
    if any(e.window is None for e in whole):
        return None
    window = window_over(bound.tiling, axes, bound.no_op_band, len(loops))
    return None if window.band.empty else window


Shifts = tuple[tuple[str, int], ...]
"""For each shared loop, by name, the number of iterations between the write and the read of a
value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRead:
    """Operand of an Einsum that another Einsum of the same group produces."""

    producer: str
    consumer: str
    shifts: Shifts
    """Distance of the read in iterations, by loop; empty if the same step produces the operand."""


def step_reads(
    bound: Bound, einsums: tuple[BoundEinsum, ...], members: frozenset[str]
) -> tuple[StepRead, ...]:
    """Return the operands that Einsums in the loops ``members`` produce for one another.

    An Einsum that goes along a whole rank within one step passes its running value on by itself. No
    step waits for that value.

    Parameters
    ----------
    bound : Bound
    einsums : tuple of BoundEinsum
        Einsums that run together.
    members : frozenset of str
        Loops whose iterations are steps.
    """
    by_name = {e.name: e for e in einsums}
    found: list[StepRead] = []
    for e in einsums:
        for operand in e.operands:
            writer = by_name.get(operand.producer or "")
            shifts = None if writer is None else _shifts(bound, writer, e, operand)
            if writer is not None and shifts is not None and all(m in members for m, _ in shifts):
                found.append(StepRead(producer=writer.name, consumer=e.name, shifts=shifts))
    return tuple(found)


def _shifts(
    bound: Bound, writer: BoundEinsum, reader: BoundEinsum, operand: Operand
) -> Shifts | None:
    """Return how many iterations of the shared loops ago an element was written; None if no step
    wrote it."""
    found: list[tuple[str, int]] = []
    for variable, shift in operand.shifts:
        # An Einsum that goes along the rank inside a step sees the whole rank at once.
        within = any(
            x.variable == variable and e.trip_counts[x.member] > 1
            for e in (writer, reader)
            for x in (*e.own, *e.spatial)
        )
        if reader is writer or not within:
            inner = [loop.member for loop in bound.nest if loop.rank.lower() == variable][-1:]
            if not inner:
                return None
            found.append((inner[0], shift))
    return tuple(found)


def uniform_walk(bound: Bound, group: FusionGroup) -> Walk:
    """Return the steps of the shared loops, where every step does the average work.

    The result is a ``Walk`` like the exact one, but has a single class, so that one lowering of the
    schedule serves both. This function visits no iterations and ignores ragged edges. It therefore
    works for mappings that the exact walk refuses. Its distances are nominal: a previous iteration
    is as many steps back as the loops have iterations.

    Work before the first step or after the last step is left out. This is the first fill and the
    last drain of the outermost memory. It is also one run of each Einsum outside a loop, which no
    step hides: the first run of a producer, the last run of a consumer.

    Operands from a memory count as loads and results as drains, whatever their path. The exact walk
    distinguishes the paths.

    Parameters
    ----------
    bound : Bound
        The mapping.
    group : FusionGroup
        Einsums in the loops of the shared nest, as ``fused_group`` gives them.

    Returns
    -------
    Walk
        One class for all steps of the nest; times in cycles and traffic in words are fractions.
    """
    once = {p.e.name: _one_run(bound, p) for p in group.parts if p.depth is not None}
    ends = bound.memo(first_fill, group.inside) + bound.memo(last_drain)
    step = _average_class(bound, group, bound.steps, ends, once)
    back = tuple(bound.inner_bound(loop.member) for loop in group.loops)
    late = {p.e.name: reduction_latency(p.e) for p in group.parts}
    return Walk(
        group=group,
        run_lengths=repeat(bound.steps, OneStep(0)),
        classes=(replace(step, back=back),),
        once=tuple((name, cycles + late[name]) for name, cycles in once.items()),
    )


def whole_walk(bound: Bound, group: FusionGroup) -> Walk:
    """Return a walk of a single step that does all work of a group.

    Parameters
    ----------
    bound : Bound
        The mapping.
    group : FusionGroup
        Einsums of the mapping. The step has all their traffic, with first fill and last drain.
    """
    step = _average_class(bound, group, 1, 0, {})
    return Walk(group=group, run_lengths=OneStep(0), classes=(step,))


def _one_run(bound: Bound, part: GroupPart) -> Fraction:
    """Return the cycles of one run of an Einsum that does not run inside the inner loops."""
    runs = prod(loop.bound for loop in bound.nest if loop.member not in part.e.outside)
    return part.occupied / runs


def _average_class(
    bound: Bound, group: FusionGroup, steps: int, ends: Amount, once: dict[str, Fraction]
) -> StepClass:
    """Return the class of an average step.

    Without ``ends``, the words of the first fill and last drain are left out. The cycles in
    ``once``, by Einsum, are left out too.
    """
    names = [m.name for m in bound.architecture.memories]
    reads: list[list[Amount]] = [[0] * len(names) for _ in group.parts]
    writes: list[list[Amount]] = [[0] * len(names) for _ in group.parts]
    for number, part in enumerate(group.parts):
        for a in part.count.accesses:
            if a.place in names:
                place = names.index(a.place)
                reads[number][place] += a.reads * bound.words.of(a.tensor)
                writes[number][place] += a.writes * bound.words.of(a.tensor)
    # Traffic of the outermost memory (the first) before and after the steps is not in the steps.
    total = sum(row[0] for row in (*reads, *writes))
    outermost = Fraction(max(total - ends, 0)) / total if total else Fraction(0)
    shares = (outermost / steps, *(Fraction(1, steps) for _ in names[1:]))
    nothing = Fraction(0)
    loads, drains = (
        tuple(
            tuple(x * share if x else nothing for x, share in zip(row, shares, strict=True))
            for row in rows
        )
        for rows in (reads, writes)
    )
    return StepClass(
        runs=(True,) * len(group.parts),
        busy=tuple((p.occupied - once.get(p.e.name, 0)) / steps for p in group.parts),
        loads=loads,
        drains=drains,
        back=(None,) * len(group.loops),
    )
