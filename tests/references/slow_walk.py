"""The walk over steps as it is easiest to follow: every state by itself, nothing numbered.

What ``archsim.steps.walk`` finds fast, this finds one state after the other, with shares
of tiles as fractions all along. Both must have the same classes and the same runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from archsim.iteration.bands import Band, BandProgression
from archsim.iteration.loops import Extents, Loop, count_points, inside, iterations, split
from archsim.steps.flows import Move, Role, StepShare
from archsim.steps.group import FusionGroup, GroupPart, StepClass, Walk
from archsim.steps.run_length import (
    OneStep,
    RunLengths,
    StepsError,
    repeat,
    sequence,
    steps_by_class,
)
from einsum_cascade.errors import Problem


@dataclass(frozen=True, slots=True)
class _At:
    """Where a step is in one loop, as far as anybody asks."""

    first: bool
    last: bool
    back: int | None


@dataclass(frozen=True, slots=True)
class _State:
    """What the rest of a walk depends on, inside the loops walked so far.

    ``extents`` is None for an Einsum whose iterations are not the nest's here; ``slices``
    holds a flow's share once its tile stays to the end of the walk, ``fresh`` whether the
    loops that do not move it were at their first iteration.
    """

    nest: Extents
    band: Band | None
    extents: tuple[Extents | None, ...]
    at: tuple[_At, ...]
    slices: tuple[tuple[StepShare | None, ...], ...]
    fresh: tuple[tuple[bool, ...], ...]


def slow_walk(group: FusionGroup, wanted: frozenset[str] = frozenset()) -> Walk:
    """Class all steps of a group.

    Parameters
    ----------
    wanted : frozenset of str
        Members of loops whose previous iteration running values come from.

    Raises
    ------
    StepsError
        An Einsum's tiles do not go along with the nest's.
    """
    walker = _Walker(group, wanted)
    runs = walker.visit(0, walker.start())
    found = Walk(group=group, run_lengths=runs, classes=tuple(walker.classes))
    masked = any(p.e.window is not None for p in group.parts)
    return fitted(found) if masked else found


class _Walker:
    def __init__(self, group: FusionGroup, wanted: frozenset[str]) -> None:
        self.group = group
        self.wanted = wanted
        self.classes: dict[StepClass, int] = {}
        self.memo: dict[tuple[int, _State], RunLengths] = {}
        self.steps = group.nest.steps(0, group.nest.extents, group.nest.band)
        depths = range(len(group.loops))
        out = [[p for p in group.parts if p.loops[d] is None] for d in depths]
        asked = {x.variable for x in group.loops if x.member in wanted}
        self.ask_first = [
            any(p.early for p in ps) or x.variable in asked
            for x, ps in zip(group.loops, out, strict=True)
        ]
        self.ask_last = [any(not p.early for p in ps) for ps in out]
        # How many loops of an Einsum's own are among the first of the group's.
        self.place = [
            [sum(x is not None for x in p.loops[:d]) for d in range(len(group.loops) + 1)]
            for p in group.parts
        ]
        self.apart = [p.depth for p in group.parts]
        self.ask_fresh = [frozenset(m.flow for m in p.flows.moves if m.again) for p in group.parts]

    def start(self) -> _State:
        """Outside all loops."""
        parts = self.group.parts
        state = _State(
            nest=self.group.nest.extents,
            band=self.group.nest.band,
            extents=tuple(p.e.extents for p in parts),
            at=(),
            slices=tuple((None,) * len(p.flows.flows) for p in parts),
            fresh=tuple((True,) * len(p.flows.flows) for p in parts),
        )
        return self.sliced(0, state)

    def visit(self, depth: int, state: _State) -> RunLengths:
        """The runs of what is inside the first ``depth`` loops."""
        key = (depth, state)
        if key not in self.memo:
            last = depth == len(self.group.loops)
            self.memo[key] = self.leaf(state) if last else self.loop(depth, state)
        return self.memo[key]

    def loop(self, depth: int, state: _State) -> RunLengths:
        """All iterations of a loop: the first, those in the middle, the last."""
        loop = self.group.loops[depth]
        turns = list(_ends_apart(self.group.nest.turns(depth, state.nest, state.band)))
        words: list[RunLengths] = []
        for number, run in enumerate(turns):
            first, last = number == 0, number == len(turns) - 1
            inner = inside(state.nest, loop, run.extent)
            asked = loop.member in self.wanted
            at = _At(
                first=first and self.ask_first[depth],
                last=last and self.ask_last[depth],
                back=self.back(depth, state, first, run, inner) if asked else None,
            )
            runs = self.visit(depth + 1, self.enter(depth, state, at, first, run))
            words.append(repeat(run.count, runs))
        return sequence(words)

    def back(
        self, depth: int, state: _State, first: bool, run: BandProgression, inner: Extents
    ) -> int | None:
        """Steps since a rank's previous coordinate, at the least; None at its first.

        Where an outer loop over the rank has moved on, the previous coordinate was in the
        last iteration of this one, as long ago as one iteration takes or longer.
        """
        loop = self.group.loops[depth]
        outer = zip(self.group.loops[:depth], state.at, strict=True)
        if first and all(a.first for x, a in outer if x.variable == loop.variable):
            return None
        if run.band is None:
            inner = _within(state.nest, loop, False)
        return self.group.nest.steps(depth + 1, inner, run.band)

    def enter(
        self, depth: int, state: _State, at: _At, first: bool, run: BandProgression
    ) -> _State:
        """The state inside an iteration of a loop."""
        loop = self.group.loops[depth]
        total = iterations(state.nest[loop.axis], loop.stride)
        edge = run.first + run.count == total
        extents: list[Extents | None] = []
        fresh: list[tuple[bool, ...]] = []
        for number, p in enumerate(self.group.parts):
            own, now, new = p.loops[depth], state.extents[number], state.fresh[number]
            if own is not None and now is not None:
                alike = iterations(now[own.axis], own.stride) == total
                now = _within(now, own, edge) if alike else None
                if not first:
                    new = self.seen(number, depth, new)
            extents.append(now)
            fresh.append(new)
        inner = _State(
            nest=inside(state.nest, loop, run.extent),
            band=run.band,
            extents=tuple(extents),
            at=(*state.at, at),
            slices=state.slices,
            fresh=tuple(fresh),
        )
        return self.sliced(depth + 1, inner)

    def seen(self, number: int, depth: int, fresh: tuple[bool, ...]) -> tuple[bool, ...]:
        """What is fresh after the first iteration: tiles that the loop moves."""
        flows, place = self.group.parts[number].flows.flows, self.place[number][depth]
        return tuple(
            f
            and (place >= len(flow.loops) or flow.moving[place] or i not in self.ask_fresh[number])
            for i, (f, flow) in enumerate(zip(fresh, flows, strict=True))
        )

    def sliced(self, depth: int, state: _State) -> _State:
        """The state with the shares of tiles that stay to the end of the walk."""
        slices: list[tuple[StepShare | None, ...]] = []
        for number, p in enumerate(self.group.parts):
            now, place = state.extents[number], self.place[number][depth]
            known = list(state.slices[number])
            out = self.apart[number]
            for i, flow in enumerate(p.flows.flows):
                if now is None or (out is not None and depth > out):
                    continue
                fresh = state.fresh[number][i]
                if known[i] is None and (place >= flow.stepped or flow.stays(place, now)):
                    known[i] = flow.slice(place, now, fresh).times(self.fuller(depth, state))
                if depth == out:
                    known[i] = self.spread(depth, state, number, i)
            slices.append(tuple(known))
        return replace(state, slices=tuple(slices))

    def spread(self, depth: int, state: _State, number: int, flow: int) -> StepShare:
        """A step's share of what an Einsum moves that stays out of some loop from here on."""
        p, now, place = self.group.parts[number], state.extents[number], self.place[number][depth]
        assert now is not None, "shares are of tiles that go along with the nest"
        known = state.slices[number][flow]
        if known is not None:
            total = known.times(count_points(p.steps[place:], now))
        else:
            total = p.flows.flows[flow].total(now, place, state.fresh[number][flow])
        nest = self.group.nest
        steps = nest.steps(depth, state.nest, state.band if nest.settled(depth) else None)
        return total.times(Fraction(1, steps))

    def fuller(self, depth: int, state: _State) -> Fraction:
        """How much more a step takes of a tile's stay where other steps are left out.

        Outside the loops that settle which are, an average is as good (``fitted``).
        """
        nest = self.group.nest
        if state.band is None or not nest.settled(depth):
            return Fraction(1)
        return Fraction(
            nest.steps(depth, state.nest, None), nest.steps(depth, state.nest, state.band)
        )

    def leaf(self, state: _State) -> RunLengths:
        """One step."""
        runs = tuple(self.runs(p, state) for p in self.group.parts)
        for p, runs_here, extents in zip(self.group.parts, runs, state.extents, strict=True):
            if runs_here and extents is None:
                text = (
                    f"{p.e.name}'s edge tiles do not go along with those of the Einsums beside it"
                )
                hint = "use tiles that divide the shapes"
                raise StepsError(Problem(text, None, hint))
        found = StepClass(
            runs=runs,
            busy=tuple(
                p.busy * count_points(p.own, x) if r and x is not None else Fraction(0)
                for p, r, x in zip(self.group.parts, runs, state.extents, strict=True)
            ),
            loads=self.moved(state, runs, "load"),
            drains=self.moved(state, runs, "drain"),
            back=tuple(a.back for a in state.at),
        )
        return OneStep(self.classes.setdefault(found, len(self.classes)))

    def runs(self, p: GroupPart, state: _State) -> bool:
        """Whether an Einsum runs at a step."""
        return all(x is not None or self.alone(d, state, p.early) for d, x in enumerate(p.loops))

    def alone(self, depth: int, state: _State, early: bool) -> bool:
        """Whether a step is where an Einsum outside a loop runs."""
        return state.at[depth].first if early else state.at[depth].last

    def moved(
        self, state: _State, runs: tuple[bool, ...], role: Role
    ) -> tuple[tuple[Fraction, ...], ...]:
        """Elements by Einsum and memory."""
        found: list[tuple[Fraction, ...]] = []
        for number, p in enumerate(self.group.parts):
            sums = [Fraction(0)] * len(p.bound.architecture.memories)
            even = self.apart[number] is not None
            for m in p.flows.moves if runs[number] or even else ():
                if m.role == role:
                    sums[m.memory] += m.scale * self.share(number, m, state)
            found.append(tuple(sums))
        return tuple(found)

    def share(self, number: int, move: Move, state: _State) -> Fraction:
        """A step's share of a move, before it is scaled."""
        depth = self.apart[number]
        if move.flow is not None:
            share = state.slices[number][move.flow]
            if share is None:
                return Fraction(0)
            return share.again if move.again else share.arrives
        if depth is None:
            return Fraction(1)
        steps = self.group.parts[number].steps
        return Fraction(count_points(steps, self.group.parts[number].e.extents), self.steps)


def _ends_apart(groups: tuple[BandProgression, ...]) -> Iterator[BandProgression]:
    """Groups of iterations with the very first and the very last on their own."""
    for number, run in enumerate(groups):
        count, first = run.count, run.first
        if number == 0 and count > 1:
            yield replace(run, count=1)
            count, first = count - 1, first + 1
        if number == len(groups) - 1 and count > 1:
            yield replace(run, count=count - 1, first=first)
            count, first = 1, first + count - 1
        yield replace(run, count=count, first=first)


def _within(extents: Extents, loop: Loop, last: bool) -> Extents:
    """Extents inside the last iteration of a loop, or inside one before it."""
    parts = split(extents[loop.axis], loop.stride)
    return inside(extents, loop, parts[-1 if last else 0][1])


# ------------------------------------------------------------------ scaled to what is counted


def fitted(walk: Walk) -> Walk:
    """A walk over masked tiles, its shares scaled so that they add up to what is counted.

    Where iterations inside a step are left out, or an Einsum outside a loop runs at the
    loop's end for all tiles at once, a class by itself does not say how much is done.
    """
    turns = steps_by_class(walk.run_lengths)
    classes = list(walk.classes)
    for number, part in enumerate(walk.group.parts):
        busy = sum((n * classes[k].busy[number] for k, n in turns.items()), Fraction(0))
        work = _Scale(number, None, part.busy * part.e.iterations, busy)
        scales = [work]
        for memory, counted in enumerate(part.flows.counted):
            moved = sum(
                (
                    n * (classes[k].loads[number][memory] + classes[k].drains[number][memory])
                    for k, n in turns.items()
                ),
                Fraction(0),
            )
            scales.append(_Scale(number, memory, counted, moved))
        classes = [_scaled(c, scales) for c in classes]
    return replace(walk, classes=tuple(classes))


@dataclass(frozen=True, slots=True)
class _Scale:
    """What an Einsum should do in all steps (``memory`` None: work), and what it does."""

    part: int
    memory: int | None
    wanted: Fraction
    found: Fraction

    @property
    def factor(self) -> Fraction:
        return self.wanted / self.found if self.found else Fraction(0)


def _scaled(step: StepClass, scales: list[_Scale]) -> StepClass:
    busy, loads, drains = list(step.busy), list(step.loads), list(step.drains)
    for scale in scales:
        if scale.memory is None:
            busy[scale.part] *= scale.factor
        else:
            for moved in (loads, drains):
                row = list(moved[scale.part])
                row[scale.memory] *= scale.factor
                moved[scale.part] = tuple(row)
    return replace(step, busy=tuple(busy), loads=tuple(loads), drains=tuple(drains))
