"""Local search: small changes of the best mapping, as long as one improves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import combinations, pairwise, permutations, product
from time import monotonic

from archsim.nest.record import Bound
from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Mapping, Tile
from einsum_cascade.errors import InputError

from ..construct.memory_trees import toggled, with_place
from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Searched
from ..problem.engine_run import EngineRun, bound_nests, run_mapping, run_to_beat
from ..problem.protocol import SearchProblem
from ..problem.search_log import with_better
from . import policy

Move = Callable[[Mapping], Mapping]
"""Function that returns a changed mapping, or the same mapping if there is nothing to change."""


def moves_of(
    architecture: Architecture, mapping: Mapping, sizes: dict[str, int], fixed: Sequence[str] = ()
) -> Iterator[Move]:
    """Yield all small changes of a mapping; those likely to matter most come first.

    Parameters
    ----------
    mapping : Mapping
        Mapping of one nest that names memories and arrays by their names.
    sizes : dict of str to int
        Tile sizes by rank member, in coordinates, of tiles that are not written as numbers.
    fixed : sequence of str
        Rank members whose tile sizes stay as they are.
    """
    for tile in mapping.tiles:
        if tile.member not in fixed and (tile.member in sizes or isinstance(tile.size, int)):
            for times in policy.TILE_RATIOS:
                yield partial(with_tile, member=tile.member, times=times, sizes=sizes)
    tensors = tuple(dict.fromkeys(t for k in mapping.keep for t in k.tensors))
    memories = [m.name for m in architecture.memories]
    for tensor, place in product(tensors, (*memories, *(a.name for a in architecture.arrays))):
        yield partial(with_place, tensor=tensor, place=place)
    for how in mapping.einsums:
        for one, other in combinations(range(len(how.spatial)), 2):
            yield partial(transposed, einsum=how.einsum, one=one, other=other)
    shared = [loop for level in mapping.nest for loop in level.loops]
    for loop, memory in product(shared, memories):
        yield partial(with_loop_at, loop=loop, memory=memory)
    for loop, before in permutations(shared, 2):
        yield partial(with_loop_before, loop=loop, before=before)
    for how in mapping.einsums:
        for level in how.nest:
            for loop, before in permutations(level.loops, 2):
                yield partial(with_own_loop_before, einsum=how.einsum, loop=loop, before=before)
        for loop in shared:
            yield partial(with_outside, einsum=how.einsum, loop=loop)


def with_tile(mapping: Mapping, member: str, times: Fraction, sizes: dict[str, int]) -> Mapping:
    """Scale a rank member's tile size, to at least one coordinate.

    Examples
    --------
    >>> cut = Mapping(name="m", cascade="c", tiles=(Tile(rank="P", member="P0", size=48),))
    >>> with_tile(cut, "P0", Fraction(3, 2), {}).tiles[0].size
    72
    """

    def changed(tile: Tile) -> Tile:
        size = tile.size if isinstance(tile.size, int) else sizes[tile.member]
        return replace(tile, size=max(1, int(size * times)))

    tiles = tuple(changed(t) if t.member == member else t for t in mapping.tiles)
    return replace(mapping, tiles=tiles)


def transposed(mapping: Mapping, einsum: str, one: int, other: int) -> Mapping:
    """Swap the ranks along two dimensions of the array that an Einsum runs on."""

    def changed(how: EinsumMapping) -> EinsumMapping:
        spatial = list(how.spatial)
        (first, its), (second, others) = spatial[one], spatial[other]
        spatial[one], spatial[other] = (first, others), (second, its)
        return replace(how, spatial=tuple(spatial))

    return _with_einsum(mapping, einsum, changed)


def with_outside(mapping: Mapping, einsum: str, loop: str) -> Mapping:
    """Move an Einsum outside of a shared loop, or back inside of it."""

    def changed(how: EinsumMapping) -> EinsumMapping:
        return replace(how, outside=toggled(how.outside, loop))

    return _with_einsum(mapping, einsum, changed)


def with_own_loop_before(mapping: Mapping, einsum: str, loop: str, before: str) -> Mapping:
    """Move one of an Einsum's own loops directly outside of another loop at the same memory."""

    def changed(how: EinsumMapping) -> EinsumMapping:
        nest = tuple(
            replace(level, loops=_moved(level.loops, loop, before))
            if {loop, before} <= {*level.loops}
            else level
            for level in how.nest
        )
        return replace(how, nest=nest)

    return _with_einsum(mapping, einsum, changed)


def with_loop_before(mapping: Mapping, loop: str, before: str) -> Mapping:
    """Move a shared loop directly outside of another loop, to the memory of that loop.

    Examples
    --------
    >>> from archsim.spec.mapping import NestLevel
    >>> levels = (NestLevel(level="DRAM", loops=("H", "P")), NestLevel(level="SRAM", loops=("M",)))
    >>> moved = with_loop_before(Mapping(name="m", cascade="c", nest=levels), "P", "M")
    >>> [(level.level, level.loops) for level in moved.nest]
    [('DRAM', ('H',)), ('SRAM', ('P', 'M'))]
    """
    nest = (replace(n, loops=_moved(n.loops, loop, before)) for n in mapping.nest)
    return replace(mapping, nest=tuple(nest))


def with_loop_at(mapping: Mapping, loop: str, memory: str) -> Mapping:
    """Move a shared loop to another memory that already has loops.

    A loop moved outwards becomes the innermost loop there, and a loop moved inwards the outermost.
    """
    levels = [level.level for level in mapping.nest]
    here = next(n for n, level in enumerate(mapping.nest) if loop in level.loops)
    if memory not in levels or levels[here] == memory:
        return mapping
    nest = list(mapping.nest)
    nest[here] = replace(nest[here], loops=tuple(x for x in nest[here].loops if x != loop))
    there = levels.index(memory)
    loops = nest[there].loops
    nest[there] = replace(nest[there], loops=(*loops, loop) if there < here else (loop, *loops))
    return replace(mapping, nest=tuple(nest))


def _moved(loops: tuple[str, ...], loop: str, before: str) -> tuple[str, ...]:
    """Return loops with one of them directly outside of another, or without it if the other is
    elsewhere."""
    others = [name for name in loops if name != loop]
    if before in others:
        others.insert(others.index(before), loop)
    return tuple(others)


def _with_einsum(
    mapping: Mapping, einsum: str, changed: Callable[[EinsumMapping], EinsumMapping]
) -> Mapping:
    einsums = tuple(changed(how) if how.einsum == einsum else how for how in mapping.einsums)
    return replace(mapping, einsums=einsums)


def improve_locally(problem: SearchProblem, found: Searched, began: float) -> Searched:
    """Return a better mapping found by small changes, or the given one if there is none.

    Parameters
    ----------
    problem : SearchProblem
        Problem that was searched.
    began : float
        Start of the search, in seconds of ``time.monotonic``.

    Returns
    -------
    Searched
        Its certificate keeps the lower bound of the search: a change may leave the mapspace.
    """
    certificate = found.certificate
    if certificate.ended == INTERRUPTED or certificate.gap <= policy.MIN_GAP_TO_IMPROVE:
        return found
    begun, best = monotonic(), found
    end = begun + max(policy.MIN_SECONDS, policy.MAX_TIME_SHARE * (begun - began))
    for start in _starts(problem, found):
        climb = _Climb(problem, start, end)
        climb.go()
        best = _better_of(problem, best, climb, begun)
        begun = monotonic()
        if climb.ended:
            break
    return best


def _starts(problem: SearchProblem, found: Searched) -> Iterator[EngineRun]:
    """Yield the runs to start from: the best, then the runner-up if it is not much worse."""
    best = EngineRun.of(problem.objective, found.mapping, found.result)
    yield best
    if (second := found.runner_up) is not None:
        run = EngineRun.of(problem.objective, second.mapping, second.result)
        if run.value <= policy.HOPELESS_RUNNER_UP * best.value:
            yield run


@dataclass
class _Climb:
    """Climb from one mapping to better mappings by small changes."""

    problem: SearchProblem
    best: EngineRun
    end: float
    runs: int = 0
    left: int = field(default_factory=lambda: policy.MAX_CHANGES)
    ended: str = ""
    tried: set[Mapping] = field(default_factory=set)

    def go(self) -> None:
        """Try all changes one after the other, each applied to the best mapping so far."""
        before = None
        try:
            moves = self._moves()
            while self.best is not before and not self._over():
                before = self.best
                for move in moves:
                    # A change that improves the mapping may improve it again.
                    while self._try(move(self.best.mapping)):
                        pass
        except KeyboardInterrupt:
            self.ended = INTERRUPTED

    def _over(self) -> bool:
        if self.left <= 0 or monotonic() >= self.end:
            return True
        # A longer search might find more, so the result is not remembered.
        if self.problem.is_late():
            self.ended = TIME_LIMIT
        return bool(self.ended)

    def _moves(self) -> tuple[Move, ...]:
        """Return the possible changes of each nest; none for a mapping of another cascade."""
        space, mapping = self.problem.space, self.best.mapping
        try:
            bounds = [bound for _, bound in bound_nests(space, mapping)]
            run = run_mapping(space, mapping, self.problem.objective)
        except InputError:
            return ()
        if run.value != self.best.value:
            return ()  # another cascade with Einsums of the same names
        if not mapping.nests:
            # From here on, roles are resolved to parts of this machine.
            mapping = bounds[0].mapping
            self.best = replace(self.best, mapping=mapping)
        found: list[Move] = []
        for number, bound in enumerate(bounds):
            nest = mapping.nests[number] if mapping.nests else mapping
            moves = moves_of(space.architecture, nest, _sizes(bound), tuple(space.given))
            found += (partial(_in_nest, number, m) for m in moves) if mapping.nests else moves
        return tuple(found)

    def _try(self, mapping: Mapping) -> bool:
        """Run a mapping; if it is better than the best, keep it as the best and return True."""
        if mapping in self.tried or self._over():
            return False
        self.tried.add(mapping)
        self.runs += 1
        self.left -= 1
        try:
            space, objective = self.problem.space, self.problem.objective
            run = run_to_beat(space, mapping, objective, self.best)
        except InputError:
            return False
        if run is None or not _is_better(self.problem, run, self.best):
            return False
        if run.value < self.best.value * (1 - policy.BIG_GAIN):
            self.left = max(self.left, policy.MAX_CHANGES)
        self.best = run
        return True


def _is_better(problem: SearchProblem, run: EngineRun, best: EngineRun) -> bool:
    """Return whether a run is better than the best; ties are decided by the second objective."""
    tie = problem.objective.tie
    if run.value != best.value:
        return run.value < best.value * (1 - policy.MIN_GAIN)
    return tie(run.result) < tie(best.result) * (1 - policy.MIN_GAIN)


def _better_of(problem: SearchProblem, found: Searched, climb: _Climb, begun: float) -> Searched:
    """Return the search's outcome, with the mapping that a climb reached if this is better."""
    before = found.certificate
    certificate = replace(before, runs=before.runs + climb.runs, ended=climb.ended or before.ended)
    start = EngineRun.of(problem.objective, found.mapping, found.result)
    if not _is_better(problem, climb.best, start):
        return replace(found, certificate=certificate)
    return with_better(problem, found, climb.best, certificate, begun)


def _sizes(bound: Bound) -> dict[str, int]:
    """Return the tile size of each rank member in coordinates."""
    cuts = (members for _, members in bound.tiling.cuts)
    pairs = (pair for members in cuts for pair in pairwise(members))
    return {inner.name: outer.stride for outer, inner in pairs}


def _in_nest(number: int, move: Move, mapping: Mapping) -> Mapping:
    nests = list(mapping.nests)
    nests[number] = move(nests[number])
    return replace(mapping, nests=tuple(nests))
