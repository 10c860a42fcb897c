"""Open choices of a mapping file: their combinations, and the cheapest legal one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import product
from math import prod
from typing import TypeVar

from archsim.counts.accesses import AccessCount, Amount, accesses_of
from archsim.counts.meter import EXACT
from archsim.counts.occupancy import busy_cycles
from archsim.counts.spill import spilled_accesses, spilled_share
from archsim.legality.binding import BindClosed
from archsim.legality.binding_key import rebind
from archsim.nest.binder import einsum_problems, factor_problems, spill_problems, tensor_problems
from archsim.nest.problems import EinsumProblem
from archsim.nest.record import Bound, BoundEinsum
from archsim.nest.residency import residency
from archsim.nest.tiling import tile_size
from archsim.spec.arch import Architecture
from archsim.spec.mapping import (
    Case,
    ChoiceObjective,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Mapping,
    Spill,
    Tile,
)
from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from einsum_cascade.source import Span

from . import policy


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One combination of the alternatives in a mapping file, and the mapping that it makes."""

    open: Mapping
    """Mapping as written, with its choices still open."""
    chosen: tuple[tuple[str, str], ...]
    active: tuple[int, ...]
    """Indices, in the file, of the cases that apply to this combination."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """Cases of the file that apply to this combination."""
        return tuple(self.open.cases[n] for n in self.active)

    @cached_property
    def shaping(self) -> tuple[int, ...]:
        """Indices of the applicable cases that change loops; all other cases only change
        residency."""
        cases = zip(self.active, self.cases, strict=True)
        return tuple(n for n, case in cases if case.tiles or case.nest or case.einsums)

    @cached_property
    def mapping(self) -> Mapping:
        """Mapping after all applicable cases are applied in file order."""
        return _patched(self.open, self.chosen, self.cases)

    @cached_property
    def objective(self) -> ChoiceObjective:
        """Objective by which this combination is priced."""
        found = _with_objectives(self.open.objective, self.cases)
        assert found is not None, "a mapping with choices has an objective"
        return found


def candidates(mapping: Mapping) -> tuple[Candidate, ...]:
    """Return the combinations of a mapping's choices, in file order, without duplicate mappings."""
    return _candidates(mapping, mapping.choices[0].span if mapping.choices else None)


@lru_cache(maxsize=8)
def _candidates(mapping: Mapping, _: Span | None) -> tuple[Candidate, ...]:
    """Return the candidates of a mapping; results are cached.

    The unused span is part of the cache key: it distinguishes equal mappings of two files.
    """
    names = [c.name for c in mapping.choices]
    found: dict[_Active, Candidate] = {}
    # Each alternative has the cases that it does not rule out.
    allowed = {
        (c.name, alternative): frozenset(
            n
            for n, case in enumerate(mapping.cases)
            if alternative in dict(case.when).get(c.name, (alternative,))
        )
        for c in mapping.choices
        for alternative in c.alternatives
    }
    for selected in product(*(c.alternatives for c in mapping.choices)):
        chosen = dict(zip(names, selected, strict=True))
        active = tuple(sorted(frozenset.intersection(*(allowed[p] for p in chosen.items()))))
        if active not in found:
            # Choices that no applicable case depends on make no difference.
            asked = {name for number in active for name, _ in mapping.cases[number].when}
            relevant = tuple((n, a) for n, a in chosen.items() if n in asked)
            found[active] = Candidate(open=mapping, chosen=relevant, active=active)
    return tuple(found.values())


def _patched(
    mapping: Mapping, chosen: tuple[tuple[str, str], ...], cases: tuple[Case, ...]
) -> Mapping:
    nests = [c.nest for c in cases if c.nest]
    return replace(
        mapping,
        tiles=_with_tiles(mapping.tiles, (t for case in cases for t in case.tiles)),
        nest=nests[-1] if nests else mapping.nest,
        einsums=_with_einsums(mapping.einsums, tuple(p for c in cases for p in c.einsums)),
        keep=_with_keep(mapping.keep, tuple(k for c in cases for k in c.keep)),
        spill=_with_spills(mapping.spill, cases),
        objective=None,
        choices=(),
        cases=(),
        chosen=chosen,
    )


def _with_tiles(tiles: Iterable[Tile], more: Iterable[Tile]) -> tuple[Tile, ...]:
    """Merge two lists of tiles: tiles of one rank become adjacent, later sizes replace earlier
    ones."""
    found: dict[str, dict[str, Tile]] = {}
    for tile in (*tiles, *more):
        found.setdefault(tile.rank, {})[tile.member] = tile
    return tuple(tile for members in found.values() for tile in members.values())


def _with_einsums(
    einsums: tuple[EinsumMapping, ...], patches: tuple[EinsumPatch, ...]
) -> tuple[EinsumMapping, ...]:
    found = {e.einsum: e for e in einsums}
    for patch in patches:
        name = patch.mapping.einsum
        if name not in found:
            found[name] = patch.mapping
            continue
        # A file says "loops" where the record says "nest".
        given = ("nest" if field == "loops" else field for field in patch.given)
        changes = {field: getattr(patch.mapping, field) for field in given}
        found[name] = replace(found[name], **changes)
    return tuple(found.values())


def _with_keep(keep: tuple[Keep, ...], more: tuple[Keep, ...]) -> tuple[Keep, ...]:
    found = {k.level: k for k in keep}
    for k in more:
        before = found.get(k.level, replace(k, tensors=()))
        tensors = tuple(dict.fromkeys((*before.tensors, *k.tensors)))
        found[k.level] = replace(before, tensors=tensors)
    return tuple(found.values())


def _with_spills(spill: Spill | None, cases: tuple[Case, ...]) -> Spill | None:
    given = [s for s in (spill, *(c.spill for c in cases)) if s is not None]
    if not given:
        return None
    return Spill(
        level=next((s.level for s in reversed(given) if s.level), ""),
        copies=_merged(s.copies for s in given),
        staged=_merged(s.staged for s in given),
        span=given[0].span,
    )


def _with_objectives(
    objective: ChoiceObjective | None, cases: tuple[Case, ...]
) -> ChoiceObjective | None:
    given = [o for o in (objective, *(c.objective for c in cases)) if o is not None]
    if not given:
        return None
    return ChoiceObjective(
        latency_of=next((o.latency_of for o in reversed(given) if o.latency_of), ()),
        start_cycles=_merged(o.start_cycles for o in given),
        first_tiles=_merged(o.first_tiles for o in given),
        span=given[0].span,
    )


_V = TypeVar("_V")


def _merged(parts: Iterable[tuple[tuple[str, _V], ...]]) -> tuple[tuple[str, _V], ...]:
    """Merge lists of (name, value) pairs; later values replace earlier ones of the same name."""
    return tuple({name: value for part in parts for name, value in part}.items())


def choose(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    lower: BindClosed,
    bind: BindClosed,
    memory: ChoiceMemory | None = None,
) -> Bound:
    """Choose the cheapest legal combination of a mapping's open choices, and return it bound.

    Parameters
    ----------
    lower : callable
        Binds without a check of legality (no tile may be ``fit``).
    bind : callable
        Binds and refuses illegal mappings.
    memory : ChoiceMemory, optional
        Facts that machines with the same parts share, whatever their speeds.

    Raises
    ------
    SpecError
        Choices, cases or the objective name something that does not exist.
    MappingError
        No combination is legal; the error says why the first one is not.
    """
    size = prod(len(c.alternatives) for c in mapping.choices)
    if size > policy.MAX_COMBINATIONS:
        most = policy.MAX_COMBINATIONS
        text = f"{size} combinations of choices are more than the {most} that are tried"
        raise SpecError(text, mapping.choices[0].span, "pin some of them")
    _check(program, mapping)
    tiles = (*mapping.tiles, *(t for case in mapping.cases for t in case.tiles))
    fitted = any(tile_size(t, architecture) is None for t in tiles)
    prices = _Prices(architecture, bind if fitted else lower, memory or ChoiceMemory(), fitted)
    # Each candidate waits with its cost, a lower bound until it is priced, and with its number.
    waiting: list[tuple[Fraction, int, bool, Candidate]] = []
    refused: list[MappingError] = []
    for number, candidate in enumerate(candidates(mapping)):
        try:
            waiting.append((prices.least(candidate), number, False, candidate))
        except MappingError as error:
            refused.append(error)
    heapify(waiting)
    while waiting:
        cost, number, priced, candidate = heappop(waiting)
        try:
            # All waiting candidates cost at least this much, priced or not.
            if priced:
                return bind(candidate.mapping)
            heappush(waiting, (prices.price(candidate, cost), number, True, candidate))
        except MappingError as error:
            refused.append(error)
    raise NoLegalMappingError(refused[0].problems)


_Moved = tuple[str, Amount, Amount]
"""A memory level, and the machine words it moves for one tensor of one Einsum.

The first number holds if no tensor spills, the second if every tensor spills.
"""


@dataclass(frozen=True, kw_only=True)
class _Loops:
    """Results shared by all candidates that have the same loops."""

    bound: Bound
    moved: dict[tuple[object, ...], tuple[_Moved, ...]] = field(default_factory=dict)
    """Machine words moved, by Einsum, tensor, levels that keep the tensor, and level that spills.
    """


_Active = tuple[int, ...]
"""Indices, in the file, of the cases that apply."""


@dataclass(frozen=True, slots=True)
class ChoiceMemory:
    """Memo of counts that depend on the machine's structure but not on its speeds.

    Machines that differ in speed alone share one memo.
    """

    loops: dict[_Active, _Loops] = field(default_factory=dict)
    moved: dict[_Active, tuple[tuple[str, Amount], ...]] = field(default_factory=dict)
    """Machine words that each memory moves for all Einsums of the objective."""


class _Prices:
    """Cost of candidates; results that several candidates share are computed once.

    If some tile size is fitted to the memories, all choices affect it. Then each candidate has its
    own loops.
    """

    def __init__(
        self, architecture: Architecture, bind: BindClosed, memory: ChoiceMemory, fitted: bool
    ) -> None:
        self.architecture = architecture
        self.bind = bind
        self.memory = memory
        self.fitted = fitted
        cycles = architecture.word_bytes * architecture.clock_hz
        self.per_word = {
            m.name: cycles / m.bandwidth_bytes_per_s if m.bandwidth_bytes_per_s else Fraction(0)
            for m in architecture.memories
        }
        """Cycles to move one machine word, by memory."""
        self.busy: dict[_Active, dict[str, Fraction]] = {}
        """Busy cycles of each Einsum on its array, keyed by the cases that change loops."""

    def least(self, candidate: Candidate) -> Fraction:
        """Return a lower bound of a candidate's cost in cycles, without traffic after the first
        tiles.

        The bound adds three times: loading the first tiles, the work of the busiest array, and all
        start-up cycles.
        """
        objective, loops, busy = candidate.objective, self._loops(candidate), self._busy(candidate)
        tiling = loops.bound.tiling
        wrong = [*factor_problems(tiling, objective.span, objective.first_tiles)]
        if wrong:
            raise SpecError(wrong)
        work: dict[str, Fraction] = {}
        for e in _priced(objective, loops.bound):
            work[e.array.name] = work.get(e.array.name, Fraction(0)) + busy[e.name]
        words = loops.bound.words
        tiles = objective.first_tiles
        first = sum(tiling.elements(factors) * words.of(tensor) for tensor, factors in tiles)
        outermost = self.architecture.home.name
        return max(work.values()) + first * self.per_word[outermost] + _starts(objective, loops)

    def price(self, candidate: Candidate, least: Fraction) -> Fraction:
        """Return the objective of a candidate, in cycles."""
        moved = self.memory.moved.get(candidate.active)
        if moved is None:
            moved = tuple(self._elements(candidate))
            self.memory.moved[candidate.active] = moved
        started = _starts(candidate.objective, self._loops(candidate))
        return max(least, *(n * self.per_word[m] + started for m, n in moved))

    def _elements(self, candidate: Candidate) -> Iterator[tuple[str, Amount]]:
        """Return pairs of a memory and the machine words it moves for the objective's Einsums."""
        loops = self._loops(candidate)
        # The loops were bound for another machine, perhaps; its speeds do not change the traffic.
        bound = _kept(loops.bound, candidate.mapping)
        share = spilled_share(bound)
        kept: dict[str, Amount] = dict.fromkeys((m.name for m in self.architecture.memories), 0)
        spilled = dict(kept)
        for e in _priced(candidate.objective, bound):
            for level, words, spilling in _moved(loops, bound, e):
                if level in kept:
                    kept[level] += words
                    spilled[level] += spilling
        # The traffic of a level is linear in the share that spills.
        return ((m, kept[m] + share * (spilled[m] - kept[m])) for m in kept)

    def _shaping(self, candidate: Candidate) -> _Active:
        return candidate.active if self.fitted else candidate.shaping

    def _loops(self, candidate: Candidate) -> _Loops:
        key = self._shaping(candidate)
        if key not in self.memory.loops:
            self.memory.loops[key] = _Loops(bound=self.bind(candidate.mapping))
        return self.memory.loops[key]

    def _busy(self, candidate: Candidate) -> dict[str, Fraction]:
        key = self._shaping(candidate)
        if key not in self.busy:
            bound = rebind(self._loops(candidate).bound, self.architecture)
            self.busy[key] = {e.name: busy_cycles(bound, e) for e in bound.einsums}
        return self.busy[key]


def _kept(bound: Bound, mapping: Mapping) -> Bound:
    """Return bound loops with the tensor residency that a candidate's mapping asks for."""
    program, machine = bound.program, bound.architecture
    wrong = [*spill_problems(program, mapping, machine, bound.tiling)]
    if wrong:
        raise SpecError(wrong)
    complaints: list[EinsumProblem] = []
    places = residency(program, mapping, machine, complaints)
    if complaints:
        raise MappingError([c.problem for c in complaints])
    return replace(bound, mapping=mapping, residency=places)


def _priced(objective: ChoiceObjective, bound: Bound) -> Iterator[BoundEinsum]:
    """Return the Einsums whose latency the objective counts; all of them if it names none."""
    wanted = objective.latency_of
    return (e for e in bound.einsums if not wanted or e.name in wanted)


def _moved(loops: _Loops, bound: Bound, e: BoundEinsum) -> Iterator[_Moved]:
    """Yield the machine words that each level moves for one Einsum, tensor by tensor."""
    spill = bound.mapping.spill
    parts = (e, *e.initial)
    for tensor in dict.fromkeys(f.access.tensor for part in parts for f in part.access_maps):
        # Among candidates with these loops, nothing else decides the traffic.
        key = (e.name, tensor, bound.residency.of(tensor), spill and spill.level)
        if key not in loops.moved:
            accesses = tuple(
                a
                for part in parts
                for number, access_map in enumerate(part.access_maps)
                if access_map.access.tensor == tensor
                for a in accesses_of(bound, part, number, EXACT)
            )
            spilled = spilled_accesses(bound, accesses, Fraction(1)) if spill else accesses
            levels = dict.fromkeys(a.place for a in (*accesses, *spilled))
            words = bound.words.of(tensor)
            loops.moved[key] = tuple(
                (level, _elements_at(level, accesses) * words, _elements_at(level, spilled) * words)
                for level in levels
            )
        yield from loops.moved[key]


def _elements_at(level: str, accesses: tuple[AccessCount, ...]) -> int:
    """Return the number of tensor elements read and written at one level."""
    amount = sum(a.reads + a.writes for a in accesses if a.place == level)
    assert amount == int(amount), "shares come in later"
    return int(amount)


def _starts(objective: ChoiceObjective, loops: _Loops) -> int:
    """Return the start-up cycles of all Einsums that the objective prices."""
    cycles = dict(objective.start_cycles)
    priced = (e.name for e in _priced(objective, loops.bound))
    return sum(cycles[name] * loops.bound.memo(_runs, name) for name in priced if name in cycles)


def _runs(bound: Bound, name: str) -> int:
    """Return how often an Einsum starts: the iterations of its shared loops at the outermost
    memory."""
    mine = {x.member for x in bound.by_name[name].shared if x.level == 0}
    return prod(loop.bound for loop in bound.nest if loop.member in mine)


def _check(program: Program, mapping: Mapping) -> None:
    """Raise ``SpecError`` if an objective names an Einsum or a tensor that does not exist."""
    wrong: list[Problem] = []
    for part in (mapping.objective, *(case.objective for case in mapping.cases)):
        if part is not None:
            named = (*part.latency_of, *(n for n, _ in part.start_cycles))
            wrong += einsum_problems(program, part.span, named)
            wrong += tensor_problems(program, part.span, (t for t, _ in part.first_tiles))
    if wrong:
        raise SpecError(wrong)
