"""Default mappings: the fastest known mapping of a part for which the user gives none.

A machine that was designed for a mapping runs that mapping if it is legal. Otherwise the planner
evaluates known mappings and takes the fastest. First come mappings that an earlier search found for
the same problem, and built-in mappings of the cascade. Then come generated mappings, with fused
loops or one Einsum after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import inf

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError, Problem, SpecError

from ..result.note import Note, noted
from ..result.result import Result
from ..spec.index import mapping_entries
from ..spec.mapping import BEAM, EINSUM_BY_EINSUM, FUSED, NEST_BY_NEST, Mapping
from . import policy
from .job import EvaluatedJob, EvaluateWithin, Job, Refusal, SlowerError
from .nest_cuts import NestedMapping, cuts_of, gathered_inputs, nest_by_nest
from .partition_factors import Partitioning
from .partitioning import idle_factor, number_to_search, partitionings_by_bound
from .parts import PartProblem, job_of, stands_in
from .selection import (
    derived_mapping,
    machines_own,
    partitioned_mapping,
    partitioned_mappings,
    recalled_mapping,
    split_reductions,
)

_SEARCHED = "an earlier search for the same problem found the mapping"


def default_job(problem: PartProblem, name: str, evaluate: EvaluateWithin) -> EvaluatedJob:
    """Return the job of a part under its best known mapping, with the result.

    Parameters
    ----------
    name : str
        Name of the result.
    evaluate : callable
        Evaluates a job, and may give up on a job that exceeds a limit.

    Raises
    ------
    SpecError
        Shapes of the part are missing or contradict one another.
    MappingError
        No mapping is legal; gives the reason of each. ``NoLegalMappingError`` if each lacks
        capacity only.
    """
    best: EvaluatedJob | None = None
    errors: dict[str, InputError] = {}
    refused: tuple[Refusal, ...] = ()
    not_generated: InputError | None = None
    for candidate in known_mappings(problem):
        known = candidate.refined(None if best is None else best.job.mapping)
        if (best is not None and not known.may_be_faster(best.result)) or not known.there():
            continue
        try:
            made = known.make()
        except InputError as wrong:
            # A traceback would keep all stack frames in memory.
            errors[known.name] = not_generated = wrong.with_traceback(None)
            continue
        try:
            job = _job_of_known(known, made, problem, name)
            result = evaluate(job, None if best is None else _limit(job, best))
        except SlowerError:
            continue
        except InputError as wrong:
            errors[known.name] = wrong.with_traceback(None)
            continue
        if (
            best is None
            or result.latency_s < policy.MAX_LATENCY_RATIO_TO_REPLACE * best.result.latency_s
        ):
            best = EvaluatedJob(job, result)
            refused = tuple(Refusal(m, _reason(why)) for m, why in errors.items())
        if result.over_floor <= policy.ACCEPTED_FLOOR_RATIO or known.designed:
            break
    if best is None:
        raise _none_is_legal(problem, errors, not_generated)
    reasons = (_refusal_text(r, best.job.mapping) for r in refused)
    notes = (*best.job.notes, *noted("mapping", reasons))
    job = replace(best.job, refused=refused, notes=notes)
    return replace(best, job=job)


def _refusal_text(refusal: Refusal, runs: Mapping) -> str:
    """Return a sentence on a mapping that was refused, with the one that runs instead."""
    if refusal.mapping in {runs.name, *(nest.name for nest in runs.nests)}:
        what, instead = "one partitioning of", "another one"
    else:
        what, instead = "mapping", f"'{runs.name}'"
    return f"{what} '{refusal.mapping}' is not legal here, {instead} runs: {refusal.reason}"


def _job_of_known(
    known: KnownMapping, made: Mapping | NestedMapping, problem: PartProblem, name: str
) -> Job:
    """Return the job that runs a part under a known mapping. Raises SpecError."""
    mapping, nests = (made, ()) if isinstance(made, Mapping) else (made.mapping, made.nests)
    job = job_of(problem, mapping, name)
    notes = (*job.notes, Note(_SEARCHED, "mapping")) if known.searched else job.notes
    return replace(job, searched=known.searched, notes=notes, bound_nests=nests)


def _limit(job: Job, best: EvaluatedJob) -> float | None:
    """Return the latency in seconds above which a job cannot replace the best one.

    The limit is None if the two jobs run different cascades, whose lower bounds differ.
    """
    if job.mapping.cascade != best.job.mapping.cascade:
        return None
    return max(
        policy.MAX_LATENCY_RATIO_TO_REPLACE * best.result.latency_s,
        policy.ACCEPTED_FLOOR_RATIO * best.result.floor.latency_s,
    )


@dataclass(frozen=True, slots=True)
class KnownMapping:
    """Named candidate for the default mapping; it is read or generated on use."""

    name: str
    make: Callable[[], Mapping | NestedMapping]
    designed: bool = False
    """True if the machine was designed for the mapping, and runs it even if another one is faster.
    """
    searched: bool = False
    """True if an earlier search for the same problem found the mapping."""
    beyond: float = 0
    """Lower-bound ratio: the mapping is tried only if the best of the earlier ones exceeds it."""
    idle: float = 1
    """Number of the machine's cores divided by the number that the mapping uses."""
    there: Callable[[], bool] = lambda: True
    """Function that returns whether the mapping exists. It may take long, and is called last."""
    refining: Callable[[Mapping], KnownMapping] | None = None
    """Function that returns the candidate for the best mapping so far, if it depends on that
    one."""

    def refined(self, best: Mapping | None) -> KnownMapping:
        """Return the candidate to try after the best mapping so far; ``None`` stands for none."""
        return self if best is None or self.refining is None else self.refining(best)

    def may_be_faster(self, best: Result) -> bool:
        """Return whether the mapping may be faster than the best mapping tried so far."""
        return best.over_floor > self.beyond and best.latency_s > best.floor.compute_s * self.idle

    def __call__(self) -> Mapping:
        """Return the mapping. Raises SpecError or MappingError if it cannot be read or made."""
        made = self.make()
        return made if isinstance(made, Mapping) else made.mapping


def known_mappings(problem: PartProblem) -> Iterator[KnownMapping]:
    """Yield the known mappings that compute a part, in the order in which they are tried."""
    own = machines_own(problem.part, problem.architecture)
    if own is not None:
        problem = problem.computed_by(own.cascade)
    written: list[KnownMapping] = []
    if own is not None:
        written.append(KnownMapping(own.name, lambda: own, designed=True))
    else:
        recalled = recalled_mapping(problem)
        if recalled is not None:
            written.append(KnownMapping(recalled.name, lambda: recalled, searched=True))
    entries = mapping_entries(problem.cascade)
    written += (KnownMapping(e.name, e.load) for e in entries if own is None or e.name != own.name)
    for known in written:
        yield from _in_all_partitionings(known, problem)
    for known, partitioning in product(written, problem.replicating_partitionings):
        yield replace(
            known,
            make=partial(_partitioned, known, partitioning, problem),
            beyond=policy.FLOOR_RATIO_TO_TRY_SLOW_GENERATORS,
            idle=idle_factor(problem.architecture, partitioning),
        )
    yield from _generated(problem)
    yield from _split(problem)


def _generated(problem: PartProblem) -> Iterator[KnownMapping]:
    """Yield generated mappings: fused, one Einsum after the other, and in several nests."""
    architecture = problem.architecture
    nests = KnownMapping(
        NEST_BY_NEST,
        partial(nest_by_nest, problem),
        beyond=policy.FLOOR_RATIO_TO_TRY_BEAM
        if architecture.has_instances
        # On one core all nests have the same partitioning, so that a cut gains less.
        else policy.FLOOR_RATIO_TO_TRY_SLOW_GENERATORS,
    )
    cuts = partial(cuts_of, problem)
    gathers = architecture.has_instances and gathered_inputs(problem.program)
    in_nests = bool(gathers) and cuts().at_gathers
    partitionings = partitionings_by_bound(problem.of_machine)
    if in_nests:
        yield nests

    def derived(name: str, partitioning: Partitioning, beyond: float) -> KnownMapping:
        return KnownMapping(
            name,
            partial(derived_mapping, problem, partitioning, name),
            beyond=beyond,
            idle=idle_factor(architecture, partitioning),
        )

    beyond: float = policy.FLOOR_RATIO_TO_TRY_BEAM
    if architecture.has_instances:
        beyond = policy.FLOOR_RATIO_TO_TRY_BEAM_ON_CORES
    # Where several nests gather, one nest for all of them is the last resort.
    searched = [
        derived(BEAM, p, inf if in_nests else beyond)
        for p in partitionings[: problem.of_machine.memo(number_to_search)]
    ]
    cut = replace(nests, there=lambda: cuts().any)
    if architecture.has_instances and not in_nests:
        searched.append(cut)
    # Those that leave few cores idle come first: they may make the others pointless.
    yield from sorted(searched, key=lambda known: max(known.idle, policy.MAX_IDLE_RATIO))
    for partitioning in partitionings:
        yield derived(EINSUM_BY_EINSUM, partitioning, 0)
    if not architecture.has_instances:
        yield from (_fused(problem), cut)


def _fused(problem: PartProblem) -> KnownMapping:
    """Return the fused mapping for a single core, which is tried sooner after a beam search.

    A written mapping for which the beam was not tried stays.
    """
    first = KnownMapping(
        FUSED, partial(derived_mapping, problem, (), FUSED), beyond=policy.FLOOR_RATIO_TO_TRY_BEAM
    )
    sooner = replace(first, beyond=policy.FLOOR_RATIO_TO_TRY_FUSED)
    return replace(first, refining=lambda best: sooner if best.name == BEAM else first)


def _split(problem: PartProblem) -> Iterator[KnownMapping]:
    """Yield generated mappings of equivalent cascades that split sums over the cores."""
    for other, partitioning in split_reductions(problem):
        for name in (FUSED, EINSUM_BY_EINSUM):
            make = partial(derived_mapping, other, partitioning, name)
            yield KnownMapping(name, make, beyond=policy.ACCEPTED_FLOOR_RATIO)


def _in_all_partitionings(known: KnownMapping, problem: PartProblem) -> Iterator[KnownMapping]:
    """Yield one candidate for each usual partitioning of a written mapping over the cores."""
    if not problem.architecture.has_instances:
        yield known
        return
    try:
        mappings = partitioned_mappings(known(), problem)
    except InputError:
        yield known  # Its use raises the error again.
        return
    for mapping in mappings:
        yield replace(known, make=partial(_itself, mapping))


def _partitioned(known: KnownMapping, partitioning: Partitioning, problem: PartProblem) -> Mapping:
    mapping = known()
    return partitioned_mapping(mapping, partitioning, problem.computed_by(mapping.cascade))


def _itself(mapping: Mapping) -> Mapping:
    return mapping


def _reason(error: InputError) -> str:
    return error.problems[0].message


def _none_is_legal(
    problem: PartProblem, errors: dict[str, InputError], not_generated: InputError | None
) -> InputError:
    """Return one error with the reason why each mapping is illegal; a common reason is given once.

    An error in the shapes affects all mappings, and the generated mapping explains it best. If no
    mapping can be generated (no array supports an Einsum), a search would find none either.
    """
    found = list(errors.values())
    if isinstance(found[-1], SpecError) or len({str(e) for e in found}) == 1:
        return found[-1]
    # The unfused mapping has no tiles to fit, so that it never lacks capacity alone.
    tiled = (e for name, e in errors.items() if name != EINSUM_BY_EINSUM)
    short = all(isinstance(e, NoLegalMappingError) for e in tiled)
    lines = [f"no mapping that is known is legal on {problem.architecture.name}:"]
    lines += [f"    {name}: {_reason(e)}" for name, e in errors.items()]
    hint = "write one for this machine, or search with --mapping auto"
    if not_generated is not None:
        hint = not_generated.problems[0].hint or hint
    problems = [Problem("\n".join(lines), hint=hint), *_advice(problem)]
    return (NoLegalMappingError if short else MappingError)(problems)


def _advice(problem: PartProblem) -> Iterator[Problem]:
    """Yield advice to run the mapping that the machine was designed for, and the features it
    omits."""
    part, architecture = problem.part, problem.architecture
    if architecture.mapping is None:
        return
    own = Mapping.load(architecture.mapping)
    if not stands_in(part, own.cascade):
        return
    lacking = part.left_out_by(Cascade.load(own.cascade).program)
    if lacking:
        text = f"{architecture.name} was designed for mapping '{own.name}'; with it "
        yield Problem(text + "; ".join(lacking), hint=f"--mapping {own.name} --approximate")
