"""Relaxations: simpler machines searched instead, and their mappings lifted to the real one.

Constraints are projected onto the simpler machine, what is found is lifted in a few ways, and the
engine prices it on the machine itself. The lower bound is that of the machine itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from time import monotonic

from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.index import mapping_entries
from archsim.spec.mapping import Keep, Mapping, NestLevel
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import InputError, NoLegalMappingError, Problem

from ..construct.block_by_block import block_by_block
from ..construct.einsum_by_einsum import einsum_by_einsum
from ..local.local_search import with_place
from ..problem.certificate import INTERRUPTED, Certificate, Searched, added_reasons
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.protocol import Mapper, Progress, SearchProblem
from ..problem.search_log import SearchLog
from ..space.constraints import Constraints, HasTiles, IsKept, IsOutside, MappingConstraint
from ..space.infeasibility import no_legal_mapping
from ..space.mapspace import Mapspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """What one core has to do, or a machine with its memories in a line."""

    space: Mapspace
    lifted: Callable[[Mapping], Iterator[Mapping]]
    """Mappings of the machine itself from one of this space."""
    share: int = 1
    """How many of these share what the machine has of a memory that they all see."""


def projected_constraints(
    whole: Mapspace, other: Architecture, shapes: Sizes[str, int]
) -> Constraints:
    """The constraints of a space on those of another machine.

    Parameters
    ----------
    whole : Mapspace
        Of the machine itself.
    other : Architecture
        Some of its memories and all of its arrays, by their names. Of memories that are not there
        those outside of all that are have its outermost one in their place.
    shapes : mapping
        Of the work on the other machine, in elements by rank.

    Examples
    --------
    What must not be kept in L2 says nothing of a core that sees HBM and L1 alone; no order at L2
    is one that loops at HBM have there, as they may be at either:

    >>> from archsim import Architecture
    >>> from einsum_cascade import Cascade
    >>> machine = Architecture.load("a100-80gb")
    >>> hbm, l2, l1 = machine.memories
    >>> core = replace(machine, memories=(hbm, replace(l1, inside="HBM")))
    >>> told = (IsKept("X", "L2"), IsKept("X", "L1"), IsOutside("L2", "N", "J"))
    >>> them = Constraints(tuple(MappingConstraint(statement=s, must=False) for s in told))
    >>> shapes = {"N": 16, "D": 16, "J": 16}
    >>> layer = Mapspace.of(Cascade.load("linear-layer").program, machine, shapes, them)
    >>> [c.text for c in projected_constraints(layer, core, shapes).all]
    ['X must not be kept in L1', 'N must not be looped over outside of J at HBM']
    """
    found = (_said(c, whole.architecture, other, shapes) for c in whole.constraints.all)
    return Constraints(tuple(c for c in found if c is not None))


def _said(
    c: MappingConstraint, whole: Architecture, other: Architecture, shapes: Sizes[str, int]
) -> MappingConstraint | None:
    """A constraint as another machine says it; None where it cannot."""
    known = [m.name for m in other.memories]
    outer = known[0] if memories_represented(whole, other) else None
    match c.statement:
        case IsOutside(memory=memory) as s if memory not in known:
            at = outer if memory in memories_represented(whole, other) else None
            return None if at is None else replace(c, statement=replace(s, memory=at))
        case IsKept(level=level) if level not in (*known, *(a.name for a in other.arrays)):
            return None
        case HasTiles(memory=memory) as s if memory not in known:
            if memory not in memories_represented(whole, other) or len(known) == 1:
                return None
            if s.rank in shapes and s.holds([shapes[s.rank]]) is c.must:
                return None  # with all loops inside of it, it holds all of the part
            # With the loops outside of it, it holds what the next one does.
            return replace(c, statement=replace(s, memory=known[1]))
    return c


def memories_represented(whole: Architecture, other: Architecture) -> tuple[str, ...]:
    """Memories of a machine that the outermost of another stands for, beside its own."""
    known = {m.name for m in other.memories[1:]}
    names = [m.name for m in whole.memories]
    first = next((n for n, name in enumerate(names) if name in known), len(names))
    return tuple(name for name in names[:first] if name != other.memories[0].name)


def with_constrained_places(whole: Mapspace, other: Architecture, mapping: Mapping) -> Mapping:
    """A mapping that keeps what constraints ask for, and nothing that they forbid, in memories of
    which the other machine knew nothing.

    Parameters
    ----------
    whole : Mapspace
        Of the machine itself, with its constraints.
    other : Architecture
        The machine that was searched in its place.
    mapping : Mapping
        On the machine itself.
    """
    levels = memories_represented(whole.architecture, other)
    for c in whole.constraints.all:
        if isinstance(s := c.statement, IsKept) and s.level in levels:
            mapping = replace(mapping, keep=(*_kept(mapping, whole.architecture, s, c.must),))
    return mapping


def _kept(mapping: Mapping, machine: Architecture, told: IsKept, must: bool) -> Iterator[Keep]:
    """What levels keep, with a tensor in one of them or without."""
    there = False
    for keep in mapping.keep:
        if (memory_in_role(machine, keep.level) or keep.level) != told.level:
            yield keep
            continue
        there = True
        others = tuple(t for t in keep.tensors if t != told.tensor)
        tensors = (*others, told.tensor) if must else others
        if tensors:
            yield keep if {*tensors} == {*keep.tensors} else replace(keep, tensors=tensors)
    if must and not there:
        yield Keep(level=told.level, tensors=(told.tensor,))


_ROUNDS = 2
"""How often all places are gone through, as long as one was better in the last round."""


def improve_residency(
    architecture: Architecture, mapping: Mapping, better: Callable[[Mapping], bool]
) -> Mapping:
    """A mapping with tensors in better places, each change tried on what was best before.

    Parameters
    ----------
    mapping : Mapping
        Of one nest, which names memories by their names.
    better : callable
        Whether a mapping is legal, and better than all that it was asked about before. Once there
        is no time it says no to all.
    """
    tensors = tuple(dict.fromkeys(t for k in mapping.keep for t in k.tensors))
    for _ in range(_ROUNDS):
        before = mapping
        for tensor in tensors:
            for memory in architecture.memories:
                changed = with_place(mapping, tensor, memory.name)
                if better(changed):
                    mapping = changed
        if mapping is before:
            break
    return mapping


def with_loops_outside(architecture: Architecture, mapping: Mapping) -> Mapping:
    """The same loops in the same order, all shared ones at the outermost memory: tiles of them may
    be in any memory inside of it.

    Examples
    --------
    >>> machine = Architecture.load("fsa")
    >>> levels = (NestLevel(level="DRAM", loops=("H",)), NestLevel(level="latches", loops=("M1",)))
    >>> moved = with_loops_outside(machine, Mapping(name="m", cascade="c", nest=levels))
    >>> [(level.level, level.loops) for level in moved.nest]
    [('DRAM', ('H', 'M1'))]
    """
    if any(level.spatial or level.ring for level in mapping.nest):
        return mapping
    loops = tuple(loop for level in mapping.nest for loop in level.loops)
    return replace(mapping, nest=(NestLevel(level=architecture.memories[0].name, loops=loops),))


def starts_of(architecture: Architecture, mapping: Mapping) -> Iterator[Mapping]:
    """A mapping as it is, and with its loops outside; none of several nests or of roles."""
    named = {m.name for m in architecture.memories} | {a.name for a in architecture.arrays}
    if mapping.nests or not mapping.keep or any(k.level not in named for k in mapping.keep):
        return
    outside = with_loops_outside(architecture, mapping)
    if outside != mapping:
        yield outside
    yield mapping


_SETTLING_S = 1.0
"""Seconds for better places of tensors, at the most, where time is up already."""


class RelaxedSearch:
    """The best so far, and how much was looked at for it.

    Parameters
    ----------
    problem : SearchProblem
        Its space is that of the machine itself, whose own mappings are not enumerated.
    where : str
        What of the machine is searched, as the certificate says it behind the strategy.
    """

    def __init__(self, strategy: Mapper, problem: SearchProblem, where: str) -> None:
        self.strategy, self.problem, self.where = strategy, problem, where
        self.best = problem.known
        self.log = SearchLog(problem.known, problem.others)
        self.certificates: list[Certificate] = []
        self.runs = 0
        self.ran = 0
        """Those of them that are legal."""
        self.refused: list[InputError] = []

    @property
    def ended(self) -> str:
        """Why the search of another machine was over before it was through."""
        return next((c.ended for c in self.certificates if c.ended), "")

    @property
    def is_done(self) -> bool:
        """Whether nothing can be better by enough to matter, or time is up."""
        best, problem = self.best, self.problem
        if best is None:
            return bool(self.ended)
        return bool(self.ended) or self._is_near(best) or problem.is_over()

    def look_at(
        self,
        other: Mapspace,
        known: EngineRun | None,
        lifted: Callable[[Mapping], Iterable[Mapping]],
        progress: Progress,
        how: Callable[[Mapper, SearchProblem, Progress], Searched] | None = None,
    ) -> None:
        """Search the space of another machine, and run what is found on this one.

        Parameters
        ----------
        known : EngineRun or None
            What the search begins with there.
        brought : callable
            Mappings of this machine from one of the other.
        how : callable, optional
            Searches the other by the strategy, where that does not do so itself.
        """
        asked = replace(self.problem, space=other, known=known, others=())
        try:
            if how is None:
                found = self.strategy.search(asked, progress)
            else:
                found = how(self.strategy, asked, progress)
        except InputError as wrong:
            self.refused.append(wrong)
            return
        self.certificates.append(found.certificate)
        for mapping in lifted(found.mapping):
            self._run(mapping)
        for ran in found.ran:
            # What is no better there can hardly be better here.
            if self._beaten(ran.value) or self.problem.is_over():
                return
            if ran.mapping != found.mapping:
                for mapping in lifted(ran.mapping):
                    self._run(mapping)

    def _run(self, mapping: Mapping) -> EngineRun | None:
        """Take a mapping if it is better; of those as good, if it takes less energy. None where it
        is not legal."""
        self.runs += 1
        try:
            run = run_mapping(self.problem.space, mapping, self.problem.objective)
        except InputError as wrong:
            self.refused.append(wrong)
            return None
        self.ran += 1
        self.log.ran(run)
        if self.best is None or self._is_better(run, self.best):
            self.best = run
            floor = self.problem.objective.floor(run.result)
            self.log.note(self.runs, run.value, floor)
        return run

    def settle(self) -> None:
        """Put tensors of the best in better places, where the machine's memories are a tree. That
        takes little time, and some of it where time is up: much is better afterwards."""
        problem, best = self.problem, self.best
        if best is None or self.ended == INTERRUPTED or self._is_near(best):
            return
        end = monotonic() + _SETTLING_S
        for start in starts_of(problem.space.architecture, best.mapping):
            # What is better than its start need not be better than the best yet.
            known: list[EngineRun] = []

            def better(mapping: Mapping, known: list[EngineRun] = known) -> bool:
                late = problem.is_over() and monotonic() >= end
                run = None if late else self._run(mapping)
                if run is None or (known and not self._is_better(run, known[-1])):
                    return False
                known.append(run)
                return True

            if better(start):
                improve_residency(problem.space.architecture, start, better)

    def _is_near(self, best: EngineRun) -> bool:
        floor = self.problem.objective.floor(best.result)
        return best.value * (1 - self.problem.tolerance) <= floor

    def _beaten(self, value: float) -> bool:
        return self.best is not None and value >= self.best.value * (1 - self.problem.tolerance)

    def _is_better(self, run: EngineRun, best: EngineRun) -> bool:
        if run.value < best.value * (1 - self.problem.tolerance):
            return True
        return run.value <= best.value and run.result.energy_pj < best.result.energy_pj

    def found(self) -> Searched:
        """The best, and what was looked at; its gap is against the floor of any mapping.

        Raises
        ------
        NoLegalMappingError
            No mapping is known, and none was found legal.
        """
        best, all_of = self.best, self.certificates
        if best is None:
            raise infeasible_relaxations(self.problem.space, self.refused)
        certificate = relaxed_certificate(
            self.problem,
            best.result,
            all_of,
            where=self.where,
            runs=self.runs,
            ended=self.ended,
        )
        self.log.note(self.runs, best.value, certificate.bound)
        return Searched(
            mapping=best.mapping,
            result=best.result,
            certificate=certificate,
            runner_up=self.log.runner_up(self.problem.space, best.mapping),
            history=self.log.end(self.runs),
        )


def relaxed_certificate(
    problem: SearchProblem,
    best: Result,
    all_of: Sequence[Certificate],
    *,
    where: str,
    runs: int,
    ended: str,
) -> Certificate:
    """How the spaces of other machines were covered; the gap is against the floor of any mapping.

    Parameters
    ----------
    best : Result
        The best that the engine ran on the machine itself.
    all_of : sequence of Certificate
        Of the other machines.
    where : str
        What of the machine was searched, as it is said behind the strategy.
    runs : int
        Mappings that the engine ran on the machine itself.
    """
    value, floor = problem.objective.of(best), problem.objective.floor(best)
    strategy = all_of[0].strategy if all_of else "exhaustive"
    return Certificate(
        strategy=strategy + where,
        objective=problem.objective.name,
        candidates=sum(c.candidates for c in all_of),
        evaluated=sum(c.evaluated for c in all_of),
        reasons=added_reasons(all_of),
        runs=runs + sum(c.runs for c in all_of),
        gap=max(0.0, 1 - floor / value) if value else 0.0,
        tolerance=problem.tolerance,
        value=value,
        floor=floor,
        ended=ended,
    )


def infeasible_relaxations(space: Mapspace, refused: Sequence[InputError]) -> InputError:
    """Why nothing that was brought over is legal.

    Parameters
    ----------
    space : Mapspace
        Of the machine itself.
    refused : sequence of InputError
        What was wrong with what was looked at.
    """
    if refused and not space.constraints:
        return refused[0]
    if refused:
        # Where constraints leave nothing anywhere, what was looked at first says so.
        nothing = (why for why in refused if isinstance(why, NoLegalMappingError))
        return next(nothing, None) or no_legal_mapping(space, refused[0].problems)
    return NoLegalMappingError(Problem(f"no mapping is legal on {space.architecture.name}"))


def first_incumbent(space: Mapspace, problem: SearchProblem) -> EngineRun | None:
    """The best of the mappings that a machine could run by where nobody searches.

    Parameters
    ----------
    space : Mapspace
        Of the other machine.
    """
    best: EngineRun | None = None
    for mapping in _unsearched(space):
        try:
            run = run_mapping(space, mapping, problem.objective)
        except InputError:
            continue
        if best is None or run.value < best.value:
            best = run
    return best


def _unsearched(space: Mapspace) -> Iterator[Mapping]:
    for entry in mapping_entries(space.program.name):
        mapping = entry.load()
        # Its loops are at memories by their roles: any machine has these.
        if not any(level.spatial for level in mapping.nest):
            yield mapping
    for make in (block_by_block, einsum_by_einsum):
        try:
            made = make(space.program, space.architecture, space.given)
        except InputError:
            continue
        if made is not None:
            yield made
