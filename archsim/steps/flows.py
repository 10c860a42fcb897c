"""Flows: the exact share of the traffic between two levels that each step moves, by Einsum.

A tile stays from its arrival until a loop that moves the tile advances. The tile's words are moved
in equal slices over the steps of this stay, because the next tile replaces it piece by piece. All
steps together move the counted words. The first fill before all steps and the last drain after all
steps are computed here too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, NamedTuple

from ..counts.accesses import EinsumCount, path_of
from ..iteration.access_map import AccessMap
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Extents, Loop, count_points, first_tile, inside, split
from ..nest.record import Bound, BoundEinsum
from ..nest.shared_tiles import size_for_all_cores

_UNSCALED = Fraction(1)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Tiles of one tensor that an Einsum reads or writes at one level.

    ``loops`` are the loops outside the level. Each iteration of the outer ``stepped`` loops is a
    step; the other loops run within a step. ``moving`` marks the loops that change the tile.
    """

    access_map: AccessMap
    loops: tuple[Loop, ...]
    moving: tuple[bool, ...]
    stepped: int
    steps: tuple[Loop, ...]
    """All loops whose iterations are steps, including loops inside the level."""

    def stays(self, depth: int, extents: Extents) -> bool:
        """Return whether only one tile arrives during one iteration of the first ``depth``
        loops."""
        left = [*extents]
        for loop, moves in zip(self.loops[depth:], self.moving[depth:], strict=True):
            if left[loop.axis] > loop.stride:
                if moves:
                    return False
                left[loop.axis] = loop.stride
        return True

    def slice(self, depth: int, extents: Extents, first: bool) -> StepShare:
        """Return one step's share of the tensor elements that arrive inside the first ``depth``
        loops.

        ``first`` is True if the outer loops that do not move the tile are at their first iteration.
        Then all arrivals are new, and no partial result comes back.

        Parameters
        ----------
        depth : int
            Number of outer loops; the tile stays during the loops inside.
        extents : Extents
            Extents that the outer loops leave.
        first : bool
            See above.

        Returns
        -------
        StepShare
            Elements in each step of the loops inside.
        """
        arrives, known = self._arriving(depth, extents)
        steps = count_points(self.steps[depth:], extents)
        share = Fraction(arrives, steps)
        return StepShare(share, Fraction(arrives - known, steps) if first and known else share)

    def _arriving(self, depth: int, extents: Extents) -> tuple[int, int]:
        """Return how many tensor elements arrive inside the first ``depth`` loops, and how many
        distinct ones."""
        if self.stays(depth, extents):
            arrives = self.access_map.size(first_tile(extents, self.loops[depth:]))
        else:
            loops, moving = self.loops[depth:], self.moving[depth:]
            nest = LoopNest(loops=loops, extents=extents)
            arrives = nest.delivered(moving, self.access_map.size)
        return arrives, self.access_map.size(extents)

    def total(self, extents: Extents, outer: int = 0, fresh: bool = True) -> StepShare:
        """Return the tensor elements that arrive in all steps inside the first ``outer`` loops.

        Parameters
        ----------
        extents : Extents
            Extents that the ``outer`` loops leave.
        outer : int
            Number of outer loops.
        fresh : bool
            As ``first`` in ``slice``.
        """
        # Number of visits of each extent, and of those in which all arrivals are new.
        arrives = again = 0
        now = {extents: (1, int(fresh))}
        for depth in range(outer, self.stepped + 1):
            inner: dict[Extents, tuple[int, int]] = {}
            for here, (times, new) in now.items():
                if depth == self.stepped or self.stays(depth, here):
                    size, known = self._arriving(depth, here)
                    arrives += times * size
                    again += times * size - new * known
                    continue
                loop, moves = self.loops[depth], self.moving[depth]
                for count, extent in split(here[loop.axis], loop.stride):
                    within = inside(here, loop, extent)
                    known_times, known_new = inner.get(within, (0, 0))
                    fresh_ones = new * count if moves else new
                    inner[within] = (known_times + times * count, known_new + fresh_ones)
                    # A loop that does not move the tile brings it once.
                    new = new if moves else 0
            now = inner
        return StepShare(arrives, again)


class StepShare(NamedTuple):
    """Number of tensor elements that arrive in a step, and how many of them arrived before."""

    arrives: Fraction | int
    again: Fraction | int

    @property
    def key(self) -> tuple[int, ...]:
        """Four whole numbers that identify the share; comparing them is faster than comparing
        fractions."""
        one, other = self.arrives, self.again
        return (one.numerator, one.denominator, other.numerator, other.denominator)

    def times(self, count: int | Fraction) -> StepShare:
        """Return the sum of ``count`` equal shares."""
        return StepShare(self.arrives * count, self.again * count)


Role = Literal["load", "drain"]


@dataclass(frozen=True, kw_only=True)
class Move:
    """Part of a memory's traffic: the arrivals (or only the repeated arrivals) of a flow, in
    words.

    ``flow`` is an index into the Einsum's flows. If it is None, every step moves the same amount.
    ``scale`` converts tensor elements to words.
    """

    memory: int
    role: Role
    flow: int | None
    again: bool
    scale: Fraction


@dataclass(frozen=True, kw_only=True)
class EinsumFlows:
    """Traffic of an Einsum through all memories, with limited or unlimited bandwidth."""

    flows: tuple[Flow, ...]
    moves: tuple[Move, ...]
    counted: tuple[Fraction, ...]
    """Words that all steps together move, for each memory."""


def einsum_flows(
    bound: Bound, e: BoundEinsum, count: EinsumCount, steps: tuple[Loop, ...]
) -> EinsumFlows:
    """Return the flows of an Einsum, scaled so that all steps together move its counted accesses.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
    count : EinsumCount
        Counts of the Einsum, whose accesses all steps together move.
    steps : tuple of Loop
        Loops whose iterations are steps, outermost first.
    """
    # Traffic round a ring depends on more than names.
    ring = bound.architecture.memories[0].ring
    plan = _planned(bound, e) if ring else bound.pattern_memo(_planned, e)
    flows = tuple([_flow(e, steps, *key) for key in plan.flows])
    return _scaled(bound, e, plan, flows, steps, count)


class _FlowPlan(NamedTuple):
    """Flows and moves of an Einsum before sizes are known; they follow from names and loop
    order."""

    flows: tuple[tuple[int, int], ...]
    """For each flow, the index of its access in ``access_maps`` and the level whose tiles arrive.
    """
    moves: tuple[tuple[Move, ...], ...]
    """Moves of each memory, before they are scaled to the counted accesses."""


def _planned(bound: Bound, e: BoundEinsum) -> _FlowPlan:
    flows: dict[tuple[int, int], int] = {}
    moves: list[Move] = []
    # An operand that is read twice arrives once.
    first = {id(access_map): n for n, access_map in reversed([*enumerate(e.access_maps)])}

    def move(role: Role, memory: int, to: int, *, again: bool, scale: Fraction) -> None:
        flow = flows.setdefault((first[id(access_map)], to), len(flows))
        moves.append(Move(memory=memory, role=role, flow=flow, again=again, scale=scale))

    for number, access_map in enumerate(e.access_maps):
        levels = [stop.level for stop in path_of(bound, e, number)]
        below = [*levels[1:], bound.register_level]
        result, tensor = access_map is e.write, access_map.access.tensor
        share = bound.words.of(tensor)
        scale = _UNSCALED if share == 1 else Fraction(share)
        # Memory 0 is the links between chips. Tiles of other cores arrive over a link, are written
        # to the core's memory, and are read there to be passed on.
        if levels[:1] == [0] and bound.architecture.memories[0].ring:
            home, ring = levels[1], bound.cores.ring
            for memory, times in ((0, 1), (home, 2)) if ring.rank(tensor) is not None else ():
                move("load", memory, home, again=False, scale=times * scale * ring.passed)
            levels, below = levels[1:], below[1:]
        for level, inner in zip(levels, below, strict=False):
            if level == bound.register_level:
                continue
            # A result leaves its level each time its tile is finished, and comes back for further
            # sums; an operand only arrives.
            if result:
                move("drain", level, inner, again=False, scale=scale)
            move("load", level, inner, again=result, scale=scale)
            if level != levels[0]:
                move("load", level, level, again=result, scale=scale)
    by_memory = tuple(
        tuple(m for m in moves if m.memory == n) for n in range(len(bound.architecture.memories))
    )
    return _FlowPlan(tuple(flows), by_memory)


def _flow(e: BoundEinsum, steps: tuple[Loop, ...], number: int, level: int) -> Flow:
    access_map = e.access_maps[number]
    loops, moving = e.nest(level).loops, e.moved_by(access_map, level)
    return Flow(
        access_map=access_map,
        loops=loops,
        moving=tuple([loop.variable in moving for loop in loops]),
        stepped=min(len(loops), len(steps)),
        steps=steps,
    )


def _scaled(
    bound: Bound,
    e: BoundEinsum,
    plan: _FlowPlan,
    flows: tuple[Flow, ...],
    steps: tuple[Loop, ...],
    count: EinsumCount,
) -> EinsumFlows:
    """Return moves scaled to each memory's counted accesses; the factor is nearly always one."""
    totals = [f.total(e.extents) for f in flows]
    words = bound.words
    moves: list[Move] = []
    every: list[Fraction] = []
    accessed: dict[str, int | Fraction] = {}
    for a in count.accesses:
        more = (a.reads + a.writes) * words.of(a.tensor)
        accessed[a.place] = accessed.get(a.place, 0) + more
    for index, (memory, here) in enumerate(
        zip(bound.architecture.memories, plan.moves, strict=True)
    ):
        counted = accessed.get(memory.name, 0)
        # Counts follow the rules of ``counts.accesses``: moves have to add up to them.
        found = sum([_amount(totals, m) for m in here])
        every.append(Fraction(counted))
        if found and found == counted:
            moves += here
        elif found:
            scale = Fraction(counted) / found
            moves += [replace(m, scale=m.scale * scale) for m in here]
        elif counted:
            share = Fraction(counted, count_points(steps, e.extents))
            moves.append(Move(memory=index, role="load", flow=None, again=False, scale=share))
    return EinsumFlows(flows=flows, moves=tuple(moves), counted=tuple(every))


def _amount(totals: list[StepShare], move: Move) -> Fraction | int:
    assert move.flow is not None
    total = totals[move.flow]
    amount = total.again if move.again else total.arrives
    return amount if move.scale is _UNSCALED else amount * move.scale


def first_fill(bound: Bound, inside: tuple[str, ...]) -> int | Fraction:
    """Return the words that must come from the outermost memory before the first step can begin.

    Parameters
    ----------
    inside : tuple of str
        Einsums that run at every step. The Einsums without a producer among them begin the step.
        They wait for the tiles of their operands; each tensor is fetched once.
    """
    needed: dict[str, int] = {}
    level = bound.architecture.home_level
    for e in bound.einsums:
        waits = any(a.tensor in inside for a in e.einsum.reads)
        if e.name in inside and not waits:
            tile = first_tile(e.extents, e.shared)
            for f in e.reads:
                if level in bound.residency.memories(f.access.tensor)[: level + 1]:
                    inner = (n for n in bound.memories(e, f.access.tensor) if n > level)
                    to = next(inner, bound.register_level)
                    size = size_for_all_cores(bound, e, f, level, tile, f.size(tile), to=to)
                    needed[f.access.tensor] = max(needed.get(f.access.tensor, 0), size)
    return sum(n * bound.words.of(tensor) for tensor, n in needed.items())


def last_drain(bound: Bound) -> int | Fraction:
    """Return the words that the last step's outputs move to the outermost memory after all steps.

    Parameters
    ----------
    bound : Bound
        The mapping.

    Returns
    -------
    int or Fraction
        Words of full tiles; a ragged last tile counts as a full one.
    """
    home = bound.architecture.home_level
    outputs = [e for e in bound.einsums if e.name in bound.program.outputs]
    # Cores share the port of the outermost memory.
    return sum(
        e.write.size(first_tile(e.extents, e.shared))
        * bound.cores.copies(e.write, home)
        * bound.words.of(e.name)
        for e in outputs
    )
