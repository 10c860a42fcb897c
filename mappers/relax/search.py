"""Best-mapping query, and the family of relaxations of any machine.

A machine with a memory tree has chain relaxations: it is searched as if its memories were in a
line. Loops pass the memories in the order in which a machine lists them, in a tree as in a line. A
mapping of the line becomes one of the tree once each tensor moves to the memories of its own
branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from time import monotonic

from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping, NestLevel
from einsum_cascade.errors import InputError

from ..construct.memory_trees import chains_of, lifted_from_chain, with_place
from ..exact.branch_and_bound import exhaustive
from ..exact.policy import BRIEF, USUAL, Effort
from ..problem.certificate import INTERRUPTED, Certificate, Searched
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.objectives import LATENCY
from ..problem.protocol import Progress, SearchProblem
from ..problem.search_log import SearchLog
from ..space.mapspace import Mapspace
from . import policy
from .multi_core import core_family
from .relaxation import (
    Family,
    FamilyMember,
    Query,
    Relaxation,
    answer,
    first_incumbent,
    infeasible_relaxations,
    projected_constraints,
    relaxed_certificate,
)


def family_of(space: Mapspace, memory: str = "") -> Family:
    """Return the relaxations that are searched for a machine; none if its mapspace is enumerated.

    Parameters
    ----------
    memory : str
        Memory that every relaxation must contain, for a query about its capacity.
    """
    machine = space.architecture
    if machine.has_instances:
        return core_family(space, memory)
    return Family() if machine.tree.is_line else chain_family(space, memory)


def chain_family(space: Mapspace, memory: str = "") -> Family:
    """Return the chain relaxations of a machine with a memory tree.

    Parameters
    ----------
    memory : str
        Memory that every chain must contain; empty if any chain will do.
    """
    chains = (c for c in chains_of(space.architecture) if not memory or c.memory(memory))
    return Family(
        members=tuple(FamilyMember(make=partial(chain_relaxation, space, c)) for c in chains),
        label=", with memories in a line",
        good_enough=policy.GOOD_ENOUGH_FOR_A_CHAIN,
        # The best mapping of a line proves nothing about the tree.
        is_brief=True,
    )


def chain_relaxation(whole: Mapspace, chain: Architecture) -> Relaxation:
    """Return the relaxation of a mapspace to one chain of memories. Raises as ``Mapspace.of``."""
    projected = projected_constraints(whole, chain, whole.given)
    space = Mapspace.of(whole.program, chain, whole.given, projected, slow=whole.slow)
    return Relaxation(space=space, lift=partial(lifted_from_chain, whole.mapping_problem, chain))


def improve_residency(
    architecture: Architecture, mapping: Mapping, is_better: Callable[[Mapping], bool]
) -> Mapping:
    """Move tensors between memories one by one while this improves the mapping; return the best.

    Parameters
    ----------
    mapping : Mapping
        Mapping of one nest that names memories by their names.
    is_better : callable
        Runs a mapping, and returns whether it is better than all earlier ones. Returns False for
        every mapping once time is up.
    """
    tensors = tuple(dict.fromkeys(t for k in mapping.keep for t in k.tensors))
    for _ in range(policy.RESIDENCY_ROUNDS):
        before = mapping
        for tensor in tensors:
            for memory in architecture.memories:
                changed = with_place(mapping, tensor, memory.name)
                if is_better(changed):
                    mapping = changed
        if mapping is before:
            break
    return mapping


def with_loops_outside(architecture: Architecture, mapping: Mapping) -> Mapping:
    """Return a mapping with all shared loops at the outermost memory, in the same order.

    Any memory inside the outermost one may then hold tiles of these loops.

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
    """Yield a mapping with its loops moved outside, then the mapping itself.

    Nothing is yielded for a mapping of several nests or one that names roles.
    """
    named = {m.name for m in architecture.memories} | {a.name for a in architecture.arrays}
    if mapping.nests or not mapping.keep or any(k.level not in named for k in mapping.keep):
        return
    outside = with_loops_outside(architecture, mapping)
    if outside != mapping:
        yield outside
    yield mapping


def best_mapping(effort: Effort, problem: SearchProblem, progress: Progress) -> Searched:
    """Search for the best mapping of a mapspace, by itself or through its relaxations.

    Returns
    -------
    Searched
        The certificate of relaxations counts their mappings; its gap is against the floor.

    Raises
    ------
    NoLegalMappingError, MappingError
        As ``exhaustive``.
    """
    return answer(BestMapping(effort, problem, progress, family_of(problem.space)))


class BestMapping(Query[Searched]):
    """Query for the mapping with the lowest objective."""

    def __init__(
        self, effort: Effort, problem: SearchProblem, progress: Progress, family: Family
    ) -> None:
        super().__init__(problem.space, family)
        self.is_shortened = family.is_brief and effort == USUAL
        self.effort = BRIEF if self.is_shortened else effort
        self.problem, self.progress = problem, progress
        self.best = problem.known
        self.log = SearchLog(problem.known, problem.others)
        self.runs = 0
        self.searched: list[tuple[Certificate, Relaxation]] = []

    def enumerated(self) -> Searched:
        """Search the mapspace itself, and return the outcome."""
        return exhaustive(self.problem, self.effort, self.progress)

    def is_done(self) -> bool:
        """Return whether time is up, or no relaxation can improve the best mapping by much."""
        best = self.best
        if best is None:
            return False
        if self.ended or self._is_near_floor(best) or self.problem.is_over():
            return True
        limit = self.family.good_enough
        return any(best.value <= limit * certificate.value for certificate, _ in self.searched)

    def is_hopeless(self, member: FamilyMember) -> bool:
        """Return whether input traffic alone takes longer than the best mapping."""
        best = self.best
        if best is None or self.problem.objective.code != LATENCY:
            return False
        return member.is_slower is not None and member.is_slower(best.value)

    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search a relaxation, and run its promising mappings on the machine itself."""
        del left
        known = first_incumbent(relaxation.space, self.problem)
        if relaxation.bounds_cores and self._is_beaten(relaxation.space, known):
            return
        problem = replace(self.problem, space=relaxation.space, known=known, others=())
        found = best_mapping(self.effort, problem, self.progress)
        self.searched.append((found.certificate, relaxation))
        self.ended = found.certificate.ended or self.ended
        for mapping in relaxation.lift(found.mapping):
            self._run(mapping)
        for ran in found.ran:
            # A mapping that is no better on the relaxation is hardly better on the machine.
            if self._exceeds_best(ran.value) or self.problem.is_over():
                return
            if ran.mapping != found.mapping:
                for mapping in relaxation.lift(ran.mapping):
                    self._run(mapping)

    def answer(self) -> Searched:
        """Return the best mapping, after a longer search and small changes if these may help.

        Raises
        ------
        NoLegalMappingError
            No mapping is known, and no lifted one is legal.
        """
        if self.is_shortened and self.searched and self._is_far_from_floor():
            # Energy in a line says little about energy in the tree: the fastest line is searched.
            self.effort = replace(USUAL, again=0)
            _, promising = min(self.searched, key=lambda s: s[0].value)
            try:
                self.search(promising, 1)
            except InputError as wrong:
                self.refused.append(wrong)
        self._improve()
        if self.best is None:
            raise infeasible_relaxations(self.space, self.refused)
        certificate = relaxed_certificate(
            self.problem,
            self.best.result,
            [certificate for certificate, _ in self.searched],
            where=self.family.label,
            runs=self.runs,
            ended=self.ended,
        )
        self.log.note(self.runs, self.best.value, certificate.bound)
        return Searched(
            mapping=self.best.mapping,
            result=self.best.result,
            certificate=certificate,
            runner_up=self.log.runner_up(self.space, self.best.mapping),
            history=self.log.end(self.runs),
        )

    def _run(self, mapping: Mapping) -> EngineRun | None:
        """Run a mapping on the machine and keep it if it is better; return None if illegal."""
        self.runs += 1
        try:
            run = run_mapping(self.space, mapping, self.problem.objective)
        except InputError as wrong:
            self.refused.append(wrong)
            return None
        self.legal += 1
        self.log.ran(run)
        if self.best is None or self._is_better(run, self.best):
            self.best = run
            self.log.note(self.runs, run.value, self.problem.objective.floor(run.result))
        return run

    def _improve(self) -> None:
        """Improve the best mapping's residency, for a short time past the time limit too.

        Another start is the same mapping with its loops moved outside.
        """
        best = self.best
        if not self.family.is_brief or best is None or self.ended == INTERRUPTED:
            return
        if self._is_near_floor(best):
            return
        end = monotonic() + policy.RESIDENCY_SECONDS
        for start in starts_of(self.space.architecture, best.mapping):
            self._improve_from(start, end)

    def _improve_from(self, start: Mapping, end: float) -> None:
        # A change has to beat the mapping it starts from, which may be worse than the best.
        accepted: list[EngineRun] = []

        def is_better(mapping: Mapping) -> bool:
            late = self.problem.is_over() and monotonic() >= end
            run = None if late else self._run(mapping)
            if run is None or (accepted and not self._is_better(run, accepted[-1])):
                return False
            accepted.append(run)
            return True

        if is_better(start):
            improve_residency(self.space.architecture, start, is_better)

    def _is_far_from_floor(self) -> bool:
        best = self.best
        if best is None:
            return True
        if self.ended or self._is_near_floor(best) or self.problem.is_over():
            return False
        floor = self.problem.objective.floor(best.result)
        return best.value > policy.FLOOR_RATIO_FOR_LONGER_SEARCH * floor

    def _is_near_floor(self, best: EngineRun) -> bool:
        floor = self.problem.objective.floor(best.result)
        return best.value * (1 - self.problem.tolerance) <= floor

    def _exceeds_best(self, value: float) -> bool:
        return self.best is not None and value >= self.best.value * (1 - self.problem.tolerance)

    def _is_beaten(self, core: Mapspace, known: EngineRun | None) -> bool:
        """Return whether no mapping of a core's share of the work can beat the best mapping."""
        best, problem = self.best, self.problem
        if best is None or problem.objective.code != LATENCY:
            return False
        floor = 0.0 if known is None else problem.objective.floor(known.result)
        if floor > policy.HOPELESS_CORE_FLOOR * best.value:
            return True
        promising = core.regions(1)
        return bool(promising) and self._exceeds_best(promising[0].bound)

    def _is_better(self, run: EngineRun, best: EngineRun) -> bool:
        """Return whether a run is better than another; ties go to the run with less energy."""
        if run.value < best.value * (1 - self.problem.tolerance):
            return True
        return run.value <= best.value and run.result.energy_pj < best.result.energy_pj
