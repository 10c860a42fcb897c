"""Open choices of a mapping: every combination is priced, the cheapest legal one is bound.

A choice has named alternatives, and cases say what the mapping gains when some of them are
chosen. Combinations are tried in the order in which they are written, the first choice
changing slowest; of equally cheap ones the first is taken. The price is the objective's: a
roofline of some Einsums, which needs no schedule.

Combinations wait in order of what they cost at the least, and are priced when it is their
turn. Most differ in little: loops are lowered once for all that share them, and what
an Einsum does with a tensor is counted once for all that keep the tensor in the same places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import product
from typing import TypeVar

from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.source import Span

from .arch import Architecture, Memory
from .counts import AccessCount, Amount, accesses_of
from .footprint import requirement, tile_size
from .lower import Lowered, LoweredEinsum
from .mapping import (
    FIT,
    Case,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Mapping,
    Objective,
    Spill,
)
from .residency import residency
from .spill import share_of, spilled_accesses
from .spill_checks import einsum_problems, factor_problems, tensor_problems
from .tasks import busy_cycles

Binder = Callable[[Mapping], Lowered]
"""Lowers a mapping without choices. Raises ``MappingError`` where it is not legal."""

_MOST = 20_000
"""Combinations that are tried at most."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One combination of alternatives, and the mapping it makes."""

    chosen: tuple[tuple[str, str], ...]
    active: tuple[int, ...]
    """Positions of the cases that apply."""
    mapping: Mapping


def candidates(mapping: Mapping) -> tuple[Candidate, ...]:
    """Combinations that make different mappings, in order."""
    return _candidates(mapping, mapping.choices[0].span)


@lru_cache(maxsize=8)
def _candidates(mapping: Mapping, _: Span | None) -> tuple[Candidate, ...]:
    """As ``candidates``; mappings alike of two files are told apart by a place in them."""
    return tuple(_combinations(mapping))


def _combinations(mapping: Mapping) -> Iterator[Candidate]:
    names = [c.name for c in mapping.choices]
    seen: set[tuple[int, ...]] = set()
    for picked in product(*(c.alternatives for c in mapping.choices)):
        chosen = dict(zip(names, picked, strict=True))
        active = tuple(
            number
            for number, case in enumerate(mapping.cases)
            if all(chosen.get(name) in wanted for name, wanted in case.when)
        )
        if active not in seen:
            seen.add(active)
            # What no case that applies asks about makes no difference.
            asked = {name for number in active for name, _ in mapping.cases[number].when}
            picks = tuple((n, a) for n, a in chosen.items() if n in asked)
            yield Candidate(chosen=picks, active=active, mapping=_patched(mapping, picks, active))


def choose(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    lower: Binder,
    bind: Binder,
) -> Lowered:
    """The cheapest legal combination of a mapping's open choices, bound.

    Parameters
    ----------
    lower : Binder
        Binds without asking whether the result is legal (no tile may be ``fit``).
    bind : Binder
        Binds and refuses what is not legal.

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
    prices = _Prices(program, architecture, lower, bind)
    waiting: list[tuple[Fraction, int, bool, Candidate]] = []
    refused: list[MappingError] = []
    for number, candidate in enumerate(candidates(mapping)):
        try:
            waiting.append((prices.least(mapping, candidate), number, False, candidate))
        except MappingError as error:
            refused.append(error)
    heapify(waiting)
    while waiting:
        _, number, priced, candidate = heappop(waiting)
        try:
            if priced:
                return bind(candidate.mapping)
            heappush(waiting, (prices.price(mapping, candidate), number, True, candidate))
        except MappingError as error:
            refused.append(error)
    raise NoLegalMappingError(refused[0].problems)


@dataclass(frozen=True, kw_only=True)
class _Loops:
    """What candidates with the same loops have in common."""

    lowered: Lowered
    busy: dict[str, Fraction]
    """Cycles of each Einsum on its array."""
    runs: dict[str, int]
    accesses: dict[tuple[object, ...], tuple[AccessCount, ...]] = field(default_factory=dict)
    """By Einsum, position of the access, and where the tensor is kept."""
    tiles: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """Elements of a tile by Einsum, position of the access, and level."""

    @classmethod
    def of(cls, lowered: Lowered) -> _Loops:
        return cls(
            lowered=lowered,
            busy={e.name: busy_cycles(lowered, e) for e in lowered.einsums},
            runs={e.name: _runs(lowered, e) for e in lowered.einsums},
        )


class _Prices:
    """What candidates cost, with what they have in common worked out once."""

    def __init__(
        self, program: Program, architecture: Architecture, lower: Binder, bind: Binder
    ) -> None:
        self.program = program
        self.architecture = architecture
        self.lower = lower
        self.bind = bind
        self.levels = {m.name: i for i, m in enumerate(architecture.memories)}
        self.loops: dict[tuple[int, ...], _Loops] = {}

    def price(self, mapping: Mapping, candidate: Candidate) -> Fraction:
        """The objective of a candidate, in cycles."""
        objective = _objective(candidate)
        loops = self._loops(mapping, candidate)
        lowered = self._kept(loops.lowered, candidate.mapping)
        share = self._spilled_share(loops, lowered)
        moved: dict[str, Amount] = {}
        for e in _priced(objective, lowered):
            for access in _of_einsum(loops, lowered, e, share):
                before = moved.get(access.place, 0)
                moved[access.place] = before + access.reads + access.writes
        transfers = [self._cycles(m, moved.get(m.name, 0)) for m in self.architecture.memories]
        work, started = self._work(objective, loops)
        return max(work, *transfers) + started

    def least(self, mapping: Mapping, candidate: Candidate) -> Fraction:
        """What a candidate costs even if its transfers cost nothing."""
        objective = _objective(candidate)
        loops = self._loops(mapping, candidate)
        _check(objective, self.program, loops.lowered)
        work, started = self._work(objective, loops)
        return work + started

    def _work(self, objective: Objective, loops: _Loops) -> tuple[Fraction, Fraction]:
        """Cycles of the busiest array from the first transfer on, and of all starts."""
        start_cycles = dict(objective.start_cycles)
        work: dict[str, Fraction] = {}
        started = Fraction(0)
        for e in _priced(objective, loops.lowered):
            work[e.array.name] = work.get(e.array.name, Fraction(0)) + loops.busy[e.name]
            started += start_cycles.get(e.name, 0) * loops.runs[e.name]
        tiling = loops.lowered.tiling
        first = sum(tiling.elements(factors) for _, factors in objective.first_tiles)
        fill = self._cycles(self.architecture.memories[0], first)
        return max(work.values()) + fill, started

    def _cycles(self, memory: Memory, amount: Amount) -> Fraction:
        """Cycles a memory takes to move some elements."""
        if memory.bandwidth_bytes_per_s is None:
            return Fraction(0)
        per_element = self.architecture.word_bytes * self.architecture.clock_hz
        return amount * (per_element / memory.bandwidth_bytes_per_s)

    def _loops(self, mapping: Mapping, candidate: Candidate) -> _Loops:
        fitted = any(t.size == FIT for t in candidate.mapping.tiles)
        key = tuple(n for n in candidate.active if fitted or _shapes_loops(mapping.cases[n]))
        if key not in self.loops:
            lowered = (self.bind if fitted else self.lower)(candidate.mapping)
            self.loops[key] = _Loops.of(lowered)
        return self.loops[key]

    def _kept(self, lowered: Lowered, mapping: Mapping) -> Lowered:
        """The same loops with a candidate's tensors on its levels."""
        problems: list[Problem] = []
        places = residency(self.program, mapping, self.architecture, problems)
        if problems:
            raise MappingError(problems)
        return replace(lowered, mapping=mapping, residency=places)

    def _spilled_share(self, loops: _Loops, lowered: Lowered) -> Fraction:
        spill = lowered.mapping.spill
        if spill is None:
            return Fraction(0)

        def tile(e: LoweredEinsum, number: int, level: int) -> int:
            key = (e.name, number, level)
            if key not in loops.tiles:
                loops.tiles[key] = tile_size(lowered, e, number, level)
            return loops.tiles[key]

        return share_of(requirement(lowered, self.levels[spill.level], tile))


def _objective(candidate: Candidate) -> Objective:
    objective = candidate.mapping.objective
    assert objective is not None, "a mapping with choices has an objective"
    return objective


def _priced(objective: Objective, lowered: Lowered) -> Iterator[LoweredEinsum]:
    """Einsums that the objective is about."""
    wanted = objective.latency_of
    return (e for e in lowered.einsums if not wanted or e.name in wanted)


def _of_einsum(
    loops: _Loops, lowered: Lowered, e: LoweredEinsum, share: Fraction
) -> Iterator[AccessCount]:
    """Accesses of one Einsum, tensor by tensor."""
    by_tensor: dict[str, tuple[AccessCount, ...]] = {}
    for number, footing in enumerate(e.touches):
        tensor = footing.access.tensor
        key = (e.name, number, lowered.residency.of(tensor))
        if key not in loops.accesses:
            loops.accesses[key] = tuple(accesses_of(lowered, e, footing))
        by_tensor[tensor] = (*by_tensor.get(tensor, ()), *loops.accesses[key])
    for accesses in by_tensor.values():
        yield from spilled_accesses(lowered, accesses, share) if share else accesses


def _runs(lowered: Lowered, e: LoweredEinsum) -> int:
    """Iterations of an Einsum's shared loops at the outermost memory."""
    found = 1
    mine = {x.member for x in e.shared if x.level == 0}
    for loop in lowered.nest:
        if loop.member in mine:
            found *= loop.bound
    return found


def _check(objective: Objective, program: Program, lowered: Lowered) -> None:
    """Names in an objective that exist nowhere."""
    named = (*objective.latency_of, *(n for n, _ in objective.start_cycles))
    wrong = [
        *einsum_problems(program, objective.span, named),
        *tensor_problems(program, objective.span, (t for t, _ in objective.first_tiles)),
        *factor_problems(lowered.tiling, objective.span, objective.first_tiles),
    ]
    if wrong:
        raise SpecError(wrong)


# ------------------------------------------------------------------ patching


def _shapes_loops(case: Case) -> bool:
    return bool(case.tiles or case.nest or case.einsums)


def _patched(
    mapping: Mapping, chosen: tuple[tuple[str, str], ...], active: tuple[int, ...]
) -> Mapping:
    """The mapping with the cases that apply, one after the other."""
    cases = [mapping.cases[n] for n in active]
    nests = [c.nest for c in cases if c.nest]
    spill, objective = mapping.spill, mapping.objective
    for case in cases:
        spill = _with_spill(spill, case.spill)
        objective = _with_objective(objective, case.objective)
    tiles = {(t.rank, t.member): t for t in mapping.tiles}
    tiles |= {(t.rank, t.member): t for case in cases for t in case.tiles}
    return replace(
        mapping,
        tiles=tuple(tiles.values()),
        nest=nests[-1] if nests else mapping.nest,
        einsums=_with_einsums(mapping.einsums, tuple(p for c in cases for p in c.einsums)),
        keep=_with_keep(mapping.keep, tuple(k for c in cases for k in c.keep)),
        spill=spill,
        objective=objective,
        choices=(),
        cases=(),
        chosen=chosen,
    )


def _with_einsums(
    einsums: tuple[EinsumMapping, ...], patches: tuple[EinsumPatch, ...]
) -> tuple[EinsumMapping, ...]:
    found = {e.einsum: e for e in einsums}
    for patch in patches:
        name = patch.mapping.einsum
        if name not in found:
            found[name] = patch.mapping
            continue
        changes = {
            field: getattr(patch.mapping, "nest" if field == "loops" else field)
            for field in patch.given
        }
        if "loops" in changes:
            changes["nest"] = changes.pop("loops")
        found[name] = replace(found[name], **changes)
    return tuple(found.values())


def _with_keep(keep: tuple[Keep, ...], more: tuple[Keep, ...]) -> tuple[Keep, ...]:
    found = {k.level: k for k in keep}
    for k in more:
        before = found.get(k.level, replace(k, tensors=()))
        tensors = tuple(dict.fromkeys((*before.tensors, *k.tensors)))
        found[k.level] = replace(before, tensors=tensors)
    return tuple(found.values())


def _with_spill(spill: Spill | None, more: Spill | None) -> Spill | None:
    if spill is None or more is None:
        return more or spill
    return replace(
        spill,
        level=more.level or spill.level,
        copies=_merged(spill.copies, more.copies),
        staged=_merged(spill.staged, more.staged),
    )


def _with_objective(objective: Objective | None, more: Objective | None) -> Objective | None:
    if objective is None or more is None:
        return more or objective
    return replace(
        objective,
        latency_of=more.latency_of or objective.latency_of,
        start_cycles=_merged(objective.start_cycles, more.start_cycles),
        first_tiles=_merged(objective.first_tiles, more.first_tiles),
    )


_V = TypeVar("_V")


def _merged(
    before: tuple[tuple[str, _V], ...], more: tuple[tuple[str, _V], ...]
) -> tuple[tuple[str, _V], ...]:
    return tuple({**dict(before), **dict(more)}.items())
