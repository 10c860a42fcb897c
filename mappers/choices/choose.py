"""Open choices of a mapping: every combination is priced, the cheapest legal one is bound.

A choice has named alternatives, and cases say what the mapping gains when some of them are
chosen. Combinations are tried in the order in which they are written, the first choice
changing slowest; of equally cheap ones the first is taken. The price is the objective's: a
roofline of some Einsums, which needs no schedule.

Combinations wait in order of what they cost at the least, and are priced when it is their
turn. Most differ in little: loops are bound once for all that share them, and what
an Einsum does with a tensor is counted once for all that keep the tensor in the same places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from heapq import heapify, heappop, heappush

from archsim.bound.footprint import largest_tile_size, requirement
from archsim.bound.initial import initial_einsums
from archsim.bound.layout import rebind
from archsim.bound.record import Bound, BoundEinsum
from archsim.bound.residency import residency
from archsim.bound.spill_checks import (
    einsum_problems,
    factor_problems,
    spill_problems,
    tensor_problems,
)
from archsim.bound.tiling import tile_size
from archsim.cost.accesses import AccessCount, Amount, accesses_of
from archsim.cost.occupancy import busy_cycles
from archsim.cost.spill import share_of, spilled_accesses
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Case, ChoiceObjective, Factors, Mapping
from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem, SpecError
from einsum_cascade.ir import Program

from .combinations import Candidate, candidates

Binder = Callable[[Mapping], Bound]
"""Lowers a mapping without choices. Raises ``MappingError`` where it is not legal."""

_MOST = 20_000
"""Combinations that are tried at most."""


def choose(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    lower: Binder,
    bind: Binder,
    known: Known | None = None,
) -> Bound:
    """The cheapest legal combination of a mapping's open choices, bound.

    Parameters
    ----------
    lower : Binder
        Binds without asking whether the result is legal (no tile may be ``fit``).
    bind : Binder
        Binds and refuses what is not legal.
    known : Known, optional
        Remembers from one machine to the next of the same layout.

    Raises
    ------
    SpecError
        Choices, cases or the objective name something that does not exist.
    MappingError
        No combination is legal; says why the cheapest is not.
    """
    size = reduce(lambda n, c: n * len(c.alternatives), mapping.choices, 1)
    if size > _MOST:
        text = f"{size} combinations of choices are more than the {_MOST} that are tried"
        raise SpecError(Problem(text, mapping.choices[0].span, "pin some of them"))
    _check(program, mapping)
    prices = _Prices(program, mapping, architecture, lower, bind, known or Known())
    waiting: list[tuple[Fraction, int, bool, Candidate]] = []
    refused: list[MappingError] = []
    for number, candidate in enumerate(candidates(mapping)):
        try:
            waiting.append((prices.least(candidate), number, False, candidate))
        except MappingError as error:
            refused.append(error)
    heapify(waiting)
    while waiting:
        _, number, priced, candidate = heappop(waiting)
        try:
            if priced:
                return bind(candidate.mapping)
            heappush(waiting, (prices.price(candidate), number, True, candidate))
        except MappingError as error:
            refused.append(error)
    raise NoLegalMappingError(refused[0].problems)


_Moved = tuple[str, int, int]
"""Elements a level moves: if nothing spills, and if everything does."""


@dataclass(frozen=True, kw_only=True)
class _Loops:
    """What candidates with the same loops have in common."""

    bound: Bound
    busy: dict[str, Fraction]
    """Cycles of each Einsum on its array."""
    runs: dict[str, int]
    accesses: dict[tuple[object, ...], tuple[AccessCount, ...]] = field(default_factory=dict)
    """By Einsum, position of its start, of the access, and where the tensor is kept."""
    tiles: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """Elements of a tile by Einsum, position of the access, and level."""
    moved: dict[tuple[object, ...], tuple[_Moved, ...]] = field(default_factory=dict)
    """By Einsum, tensor, and where that is kept."""
    products: dict[Factors, int] = field(default_factory=dict)
    works: dict[tuple[object, ...], tuple[Fraction, int]] = field(default_factory=dict)

    def elements(self, objective: ChoiceObjective, factors: Factors) -> int:
        """A product of an objective's factors. Raises ``SpecError`` where one is unknown."""
        if factors not in self.products:
            tiling = self.bound.tiling
            wrong = [*factor_problems(tiling, objective.span, [("", factors)])]
            if wrong:
                raise SpecError(wrong)
            self.products[factors] = tiling.elements(factors)
        return self.products[factors]

    def work(self, objective: ChoiceObjective) -> tuple[Fraction, int]:
        """Busy cycles of the busiest array, and of all starts."""
        key = (objective.latency_of, objective.start_cycles)
        if key not in self.works:
            start_cycles = dict(objective.start_cycles)
            work: dict[str, Fraction] = {}
            started = 0
            for e in _priced(objective, self.bound):
                work[e.array.name] = work.get(e.array.name, Fraction(0)) + self.busy[e.name]
                started += start_cycles.get(e.name, 0) * self.runs[e.name]
            self.works[key] = (max(work.values()), started)
        return self.works[key]

    @classmethod
    def of(cls, bound: Bound) -> _Loops:
        return cls(
            bound=bound,
            busy={e.name: busy_cycles(bound, e) for e in bound.einsums},
            runs={e.name: _runs(bound, e) for e in bound.einsums},
        )

    def on(self, architecture: Architecture) -> _Loops:
        """The same on another machine of the same layout."""
        bound = rebind(self.bound, architecture)
        busy = {e.name: busy_cycles(bound, e) for e in bound.einsums}
        return replace(self, bound=bound, busy=busy, works={})


_Active = tuple[int, ...]
"""Positions of the cases that apply."""


@dataclass(frozen=True, slots=True)
class Known:
    """What candidates do on every machine of one layout, whatever its speeds."""

    loops: dict[_Active, _Loops] = field(default_factory=dict)
    elements: dict[_Active, tuple[tuple[str, Amount], ...]] = field(default_factory=dict)
    """What each memory moves for the Einsums of the objective."""


class _Prices:
    """What candidates cost, with what they have in common worked out once."""

    def __init__(
        self,
        program: Program,
        mapping: Mapping,
        architecture: Architecture,
        lower: Binder,
        bind: Binder,
        known: Known,
    ) -> None:
        self.program = program
        tiles = (*mapping.tiles, *(t for case in mapping.cases for t in case.tiles))
        self.fitted = any(tile_size(t, architecture) is None for t in tiles)
        shaping = [n for n, case in enumerate(mapping.cases) if _shapes_loops(case)]
        self.shaping = frozenset(range(len(mapping.cases)) if self.fitted else shaping)
        self.architecture = architecture
        cycles = architecture.word_bytes * architecture.clock_hz
        self.per_element = {
            m.name: cycles / m.bandwidth_bytes_per_s if m.bandwidth_bytes_per_s else Fraction(0)
            for m in architecture.memories
        }
        """Cycles to move an element, by memory."""
        self.lower = lower
        self.bind = bind
        self.levels = {m.name: i for i, m in enumerate(architecture.memories)}
        self.loops: dict[_Active, _Loops] = {}
        self.known = known

    def price(self, candidate: Candidate) -> Fraction:
        """The objective of a candidate, in cycles."""
        active = candidate.active
        if active not in self.known.elements:
            self.known.elements[active] = tuple(self._elements(candidate))
        transfers = [self._cycles(m, amount) for m, amount in self.known.elements[active]]
        work, started = self._work(candidate.objective, self._loops(candidate))
        return max(work, *transfers) + started

    def _elements(self, candidate: Candidate) -> Iterator[tuple[str, Amount]]:
        """What each memory moves for the Einsums of a candidate's objective."""
        loops = self._loops(candidate)
        bound = self._kept(loops.bound, candidate.mapping)
        share = self._spilled_share(loops, bound)
        memories = [m.name for m in self.architecture.memories]
        kept, spilled = dict.fromkeys(memories, 0), dict.fromkeys(memories, 0)
        for e in _priced(candidate.objective, bound):
            for place, least, most in _moved(loops, bound, e):
                if place in kept:
                    kept[place] += least
                    spilled[place] += most
        # What a level moves is linear in the share that spills.
        return ((m, kept[m] + share * (spilled[m] - kept[m])) for m in memories)

    def least(self, candidate: Candidate) -> Fraction:
        """What a candidate costs even if its transfers cost nothing."""
        objective = candidate.objective
        loops = self._loops(candidate)
        work, started = self._work(objective, loops)
        return work + started

    def _work(self, objective: ChoiceObjective, loops: _Loops) -> tuple[Fraction, int]:
        """Cycles of the busiest array from the first transfer on, and of all starts."""
        busiest, started = loops.work(objective)
        first = sum(loops.elements(objective, factors) for _, factors in objective.first_tiles)
        return busiest + self._cycles(self.architecture.memories[0].name, first), started

    def _cycles(self, memory: str, amount: Amount) -> Fraction:
        """Cycles a memory takes to move some elements."""
        return amount * self.per_element[memory]

    def _loops(self, candidate: Candidate) -> _Loops:
        key = tuple(n for n in candidate.active if n in self.shaping)
        if key not in self.loops:
            if key in self.known.loops:
                self.loops[key] = self.known.loops[key].on(self.architecture)
            else:
                bound = (self.bind if self.fitted else self.lower)(candidate.mapping)
                self.loops[key] = self.known.loops[key] = _Loops.of(bound)
        return self.loops[key]

    def _kept(self, bound: Bound, mapping: Mapping) -> Bound:
        """The same loops with a candidate's tensors on its levels."""
        tiling = bound.tiling
        wrong = [*spill_problems(self.program, mapping, self.architecture, tiling)]
        if wrong:
            raise SpecError(wrong)
        problems: list[Problem] = []
        places = residency(self.program, mapping, self.architecture, problems)
        if problems:
            raise MappingError(problems)
        return replace(bound, mapping=mapping, residency=places)

    def _spilled_share(self, loops: _Loops, bound: Bound) -> Fraction:
        spill = bound.mapping.spill
        if spill is None:
            return Fraction(0)

        def tile(e: BoundEinsum, number: int, level: int) -> int:
            key = (e.name, number, level)
            if key not in loops.tiles:
                loops.tiles[key] = largest_tile_size(bound, e, number, level)
            return loops.tiles[key]

        return share_of(requirement(bound, self.levels[spill.level], tile))


def _priced(objective: ChoiceObjective, bound: Bound) -> Iterator[BoundEinsum]:
    """Einsums that the objective is about."""
    wanted = objective.latency_of
    return (e for e in bound.einsums if not wanted or e.name in wanted)


def _moved(loops: _Loops, bound: Bound, e: BoundEinsum) -> Iterator[_Moved]:
    """What one Einsum makes levels move, tensor by tensor."""
    spill = bound.mapping.spill
    parts = (e, *initial_einsums(bound, e))
    for tensor in dict.fromkeys(f.access.tensor for part in parts for f in part.touches):
        key = (e.name, tensor, bound.residency.of(tensor), spill and spill.level)
        if key not in loops.moved:
            accesses = tuple(
                a
                for place, part in enumerate(parts)
                for a in _accesses(loops, bound, part, place, tensor)
            )
            spilled = spilled_accesses(bound, accesses, Fraction(1)) if spill else accesses
            loops.moved[key] = (
                *((a.place, _whole(a), 0) for a in accesses),
                *((a.place, 0, _whole(a)) for a in spilled),
            )
        yield from loops.moved[key]


def _whole(access: AccessCount) -> int:
    """Elements read and written, where nothing spills or everything does."""
    amount = access.reads + access.writes
    assert amount == int(amount), "shares come in later"
    return int(amount)


def _accesses(
    loops: _Loops, bound: Bound, e: BoundEinsum, place: int, tensor: str
) -> Iterator[AccessCount]:
    """Accesses of one Einsum (0) or one of those it starts with to one tensor, without spill."""
    for number, access_map in enumerate(e.touches):
        if access_map.access.tensor == tensor:
            key = (e.name, place, number, bound.residency.of(tensor))
            if key not in loops.accesses:
                loops.accesses[key] = tuple(accesses_of(bound, e, access_map))
            yield from loops.accesses[key]


def _runs(bound: Bound, e: BoundEinsum) -> int:
    """Iterations of an Einsum's shared loops at the outermost memory."""
    found = 1
    mine = {x.member for x in e.shared if x.level == 0}
    for loop in bound.nest:
        if loop.member in mine:
            found *= loop.bound
    return found


def _check(program: Program, mapping: Mapping) -> None:
    """Names in an objective, or a part of one, that exist nowhere."""
    wrong: list[Problem] = []
    for part in (mapping.objective, *(case.objective for case in mapping.cases)):
        if part is not None:
            named = (*part.latency_of, *(n for n, _ in part.start_cycles))
            wrong += einsum_problems(program, part.span, named)
            wrong += tensor_problems(program, part.span, (t for t, _ in part.first_tiles))
    if wrong:
        raise SpecError(wrong)


def _shapes_loops(case: Case) -> bool:
    return bool(case.tiles or case.nest or case.einsums)
