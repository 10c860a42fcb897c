"""Groups of Einsums that run together: step loops, flows between them, and average steps."""

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
    """Einsum of a group: ``loops`` are its view of the group's loops, None for loops it is
    outside of."""

    e: BoundEinsum
    loops: tuple[Loop | None, ...]
    own: tuple[Loop, ...]
    occupied: Fraction
    """Cycles in which the Einsum occupies its array over the whole run."""
    depth: int | None
    """Outermost loop of several iterations that the Einsum stays outside of."""
    early: bool
    """True if it runs at the first iteration of the loops that it stays outside of."""
    bound: Bound = field(repr=False)
    count: EinsumCount = field(repr=False)

    @cached_property
    def busy(self) -> Fraction:
        """Cycles of one temporal iteration."""
        return self.occupied / max(self.e.iterations, 1)  # a mask may let nothing through

    @cached_property
    def steps(self) -> tuple[Loop, ...]:
        """Loops that make steps and contain the Einsum."""
        return tuple(loop for loop in self.loops if loop is not None)

    @cached_property
    def flows(self) -> EinsumFlows:
        """Flows of the Einsum by step; only a walk of the real steps needs them."""
        return einsum_flows(self.bound, self.e, self.count, self.steps)


@dataclass(frozen=True, kw_only=True)
class FusionGroup:
    """Einsums that run together, step by step."""

    name: str
    nest: StepNest
    parts: tuple[GroupPart, ...]
    memories: int
    reads: tuple[StepRead, ...]
    """Operands that Einsums of the group make for one another."""

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops whose iterations are steps."""
        return self.nest.loops

    def indices(self, step: int) -> tuple[tuple[str, int], ...]:
        """Return the position of a step: the iteration of every loop, by member."""
        return self.nest.indices(step)

    @cached_property
    def outside(self) -> tuple[str, ...]:
        """Einsums that do not run at every step."""
        return tuple(p.e.name for p in self.parts if p.depth is not None)

    @cached_property
    def inside(self) -> tuple[str, ...]:
        """Einsums that run at every step."""
        return tuple(p.e.name for p in self.parts if p.depth is None)

    def round(self, part: GroupPart) -> int:
        """Return the steps of the loops from the first that an Einsum stays outside of, inwards."""
        if part.depth is None:
            return 1
        extents = first_tile(self.nest.extents, self.loops[: part.depth])
        return count_points(self.loops[part.depth :], extents)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClass:
    """Work of a step, by Einsum and memory.

    ``loads`` and ``drains`` are words by Einsum and memory; ``back`` holds, by loop, the steps
    since its previous iteration (None at its first).
    """

    runs: tuple[bool, ...]
    busy: tuple[Fraction, ...]
    loads: tuple[tuple[Fraction, ...], ...]
    drains: tuple[tuple[Fraction, ...], ...]
    back: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Run of a group: its steps as run lengths, and the work of each class of steps."""

    group: FusionGroup
    run_lengths: RunLengths
    classes: tuple[StepClass, ...]
    once: tuple[tuple[str, Fraction], ...] = ()
    """Einsums with one run outside the steps, and the duration of that run."""

    @cached_property
    def steps_by_class(self) -> dict[int, int]:
        """Number of steps of each class."""
        return steps_by_class(self.run_lengths)


def fused_group(
    bound: Bound, counts: tuple[EinsumCount, ...], einsums: tuple[BoundEinsum, ...]
) -> FusionGroup:
    """Return the group of some Einsums in the loops of the shared nest; a step is one iteration.

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
    first_outside = [_first_loop_outside(nest, v) for v in views]
    reads = step_reads(bound, einsums, frozenset(members))
    outside = {e.name: out for e, out in zip(einsums, first_outside, strict=True)}
    needed = _needed(reads, outside, members)
    parts = tuple(
        _part(bound, counts, e, (view, e.own), out, e.name in needed)
        for e, view, out in zip(einsums, views, first_outside, strict=True)
    )
    return FusionGroup(
        name=" ".join(e.name for e in einsums),
        nest=nest,
        parts=parts,
        memories=len(bound.architecture.memories),
        reads=reads,
    )


def _needed(
    reads: tuple[StepRead, ...], outside: dict[str, int | None], members: list[str]
) -> set[str]:
    """Return the Einsums outside loops that must run at the loops' first iteration.

    An Einsum inside the loops needs its operands, and the producers of these. A value from an
    earlier iteration of an outer loop was finished there, so that its producer may run last. A
    value from an earlier iteration of an inner loop was not.

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
    return FusionGroup(
        name=e.name,
        nest=StepNest(axes=e.axes, loops=e.temporal, window=window),
        parts=(_part(bound, counts, e, (e.temporal, ()), None, False),),
        memories=len(bound.architecture.memories),
        reads=step_reads(bound, (e,), frozenset(x.member for x in e.temporal)),
    )


def _part(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    e: BoundEinsum,
    loops: tuple[tuple[Loop | None, ...], tuple[Loop, ...]],
    depth: int | None,
    needed: bool,
) -> GroupPart:
    """Return an Einsum with its own and shared loops."""
    return GroupPart(
        e=e,
        loops=loops[0],
        own=loops[1],
        occupied=busy_cycles(bound, e),
        depth=depth,
        early=depth is not None and needed,
        bound=bound,
        count=next(c for c in counts if c.einsum == e.name),
    )


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
    """Return the first loop of several iterations that an Einsum stays outside of."""
    extents = nest.extents
    for depth, (loop, own) in enumerate(zip(nest.loops, view, strict=True)):
        if own is None and extents[loop.axis] > loop.stride:
            return depth
        extents = inside(extents, loop, min(extents[loop.axis], loop.stride))
    return None


@dataclass(frozen=True, kw_only=True)
class StepNest:
    """Loops over axes; with a ``window``, only iterations that hold a point are steps."""

    axes: tuple[Axis, ...]
    loops: tuple[Loop, ...]
    window: Window | None = None

    @property
    def extents(self) -> Extents:
        """The whole iteration space."""
        return tuple(a.extent for a in self.axes)

    @property
    def band(self) -> Band | None:
        """Band outside all loops; None if no iteration is left out."""
        if self.window is None or self.window.band.full:
            return None
        return self.window.band.trimmed()

    def ramps(self, depth: int, extents: Extents, band: Band | None) -> tuple[BandProgression, ...]:
        """Return the iterations of a loop inside the loops around it, in as few ramps as
        possible."""
        return progressions(*self._cut(depth, extents, band))

    def turns(self, depth: int, extents: Extents, band: Band | None) -> tuple[BandProgression, ...]:
        """Return the iterations of a loop inside the loops around it, in groups of equal ones."""
        return runs(*self._cut(depth, extents, band))

    def _cut(
        self, depth: int, extents: Extents, band: Band | None
    ) -> tuple[int, int, Band | None, tuple[bool, int] | None]:
        """Return the arguments of ``ramps`` for a loop."""
        loop = self.loops[depth]
        if self.window is None or depth >= self.window.governed:
            return extents[loop.axis], loop.stride, None, None
        return extents[loop.axis], loop.stride, band, self.window.side(loop.axis)

    def steps(self, depth: int, extents: Extents, band: Band | None) -> int:
        """Return the steps inside the first ``depth`` loops."""
        loops = self.loops[depth:]
        if self.window is None or band is None:
            return count_points(loops, extents)
        governed = max(0, self.window.governed - depth)
        window = replace(self.window, band=band, governed=governed)
        return LoopNest(loops=loops, extents=extents, window=window).delivered(
            (True,) * len(loops), one
        )

    def settled(self, depth: int) -> bool:
        """Return whether the first ``depth`` loops go along every rank of the window.

        What remains of the window then depends on the distance between the two ranks' tiles, not on
        their positions, and is often equal.
        """
        if self.window is None:
            return True
        entered = {loop.axis for loop in self.loops[:depth]}
        ranks = {a for a in (self.window.plus, self.window.minus) if a is not None}
        return ranks <= entered

    def indices(self, step: int) -> tuple[tuple[str, int], ...]:
        """Return the position of a step: the iteration of every loop, by member.

        Parameters
        ----------
        step : int
            Number of the step from 0, in the order of the nest.

        Returns
        -------
        tuple of (str, int)
            Iterations from 0, counting those without a point, which are no steps.
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
    bound: Bound,
    axes: tuple[Axis, ...],
    loops: tuple[Loop, ...],
    einsums: tuple[BoundEinsum, ...],
) -> Window | None:
    """Return the window of the steps that some Einsums share; None if every step runs.

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
"""Iterations of shared loops between writing and reading, by the loop's member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRead:
    """Operand of an Einsum that another Einsum of the group makes."""

    producer: str
    consumer: str
    shifts: Shifts
    """Shifts of the read; empty if the operand is made in the same step."""


def step_reads(
    bound: Bound, einsums: tuple[BoundEinsum, ...], members: frozenset[str]
) -> tuple[StepRead, ...]:
    """Return the operands that Einsums in the loops ``members`` make for one another.

    An Einsum that goes along the whole rank within one step passes its running value on by itself;
    no step waits for it.

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
    """Return the iterations of shared loops since an element was written; None if no step wrote
    it."""
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
    """Return the steps of the shared nest, each with the work of an average one.

    It is a ``Walk`` like the exact one, with a single class, so that one lowering of the schedule
    serves both. It walks no loops, knows no edges, and exists where the exact walk is refused. Its
    distances are nominal: as many steps back as the loops have iterations.

    Work before the first step or after the last is left out: the first fill and the last drain of
    the outermost memory, and one run of each Einsum outside a loop (the first run of a producer,
    the last run of a consumer), which no step hides.

    Operands from a memory count as loads and results as drains, whatever way the tiles go; the walk
    of the real steps is exact there.

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
    """Return all work of a group as one step.

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
    """Return the cycles of one run of an Einsum that stays outside inner loops."""
    runs = prod(loop.bound for loop in bound.nest if loop.member not in part.e.outside)
    return part.occupied / runs


def _average_class(
    bound: Bound, group: FusionGroup, steps: int, ends: Amount, once: dict[str, Fraction]
) -> StepClass:
    """Return an average step: without ``ends``, words of the outermost memory, and ``once``, cycles
    by Einsum."""
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
