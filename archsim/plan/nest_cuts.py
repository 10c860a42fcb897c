"""Cuts of a cascade into nests (groups of Einsums), each of which is mapped by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product

from einsum_cascade.algebra.excerpt import (
    crossing,
    cut_blocks,
    excerpt,
    inseparable,
    sizes_of_excerpt,
    tiled_families,
)
from einsum_cascade.errors import InputError, NoLegalMappingError
from einsum_cascade.ir import Einsum, Gather, Program
from einsum_cascade.passes.analysis import analyze_passes

from ..engine.evaluate import result_of_nest, takes_longer
from ..legality.binding import bind, with_parameters
from ..nest.record import Bound
from ..nest.sequence import BoundNest, join_nests, nest_name
from ..result.result import Result
from ..spec.mapping import NEST_BY_NEST, Mapping
from . import policy
from .job import Generators, MakeMapping
from .partition_factors import Partitioning
from .partitioning import (
    critical_core_shapes,
    idle_factor,
    machine_of_one_core,
    number_to_search,
    partition_mapping,
    partitionings_by_bound,
)
from .parts import PartProblem
from .problem import MappingProblem

Names = tuple[str, ...]
"""Names of the Einsums of a nest, in the order of the cascade."""


def gathered_inputs(program: Program) -> frozenset[str]:
    """Return the names of the inputs from which some Einsum gathers."""
    return frozenset(
        a.tensor
        for e in program.einsums
        for a in e.reads
        if a.tensor not in program.einsum_of and any(isinstance(i, Gather) for i in a.indices)
    )


def stages_by_gathers(program: Program, given: Collection[str]) -> tuple[Names, ...]:
    """Return groups of Einsums, cut where gathered indices are complete.

    The first group makes gathered indices; Einsums that gather by them are in a later group. Each
    group includes the Einsums that feed it alone. Without a cut there is a single group.

    Parameters
    ----------
    program : Program
    given : collection of str
        Ranks with given sizes. Tensors with other tiles of cut ranks do not cross between groups,
        since nests would choose different tile sizes.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("mixture-of-block-attention").program
    >>> stages_by_gathers(program, ("U",))
    (('KS', 'KC', 'GT', 'GS', 'IX'), ('X', 'GM', 'SN', 'SD', 'NV', 'O'))
    """
    made = program.einsum_of
    after = {
        (index.access.tensor, e.name)
        for e in program.einsums
        for a in e.reads
        for index in a.indices
        if isinstance(index, Gather) and index.access.tensor in made
    }
    return _stages(program, given, after)


def stages_by_passes(program: Program, given: Collection[str]) -> tuple[Names, ...]:
    """Return the groups of Einsums that make one pass each, with the Einsums that feed only that
    pass.

    Parameters
    ----------
    program, given
        As of ``stages_by_gathers``.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> stages_by_passes(Cascade.load("attention-3pass").program, ())
    (('QK', 'GM'), ('SN', 'SD'), ('A', 'AV'))
    """
    made, after = program.einsum_of, set[tuple[str, str]]()
    with suppress(InputError):  # Operations that are not associative have no passes.
        # Tiles of a rank are passed over again inside one pass over the rank.
        for rank in (r for r in program.memo(analyze_passes).ranks if r.grain != "member"):
            for barrier in rank.barriers:
                if {*barrier.revisits} & made.keys():
                    reads = made[barrier.einsum].reads
                    after |= {(a.tensor, barrier.einsum) for a in reads}
    return _stages(program, given, after)


def _stages(
    program: Program, given: Collection[str], after: Collection[tuple[str, str]]
) -> tuple[Names, ...]:
    """Return connected groups of Einsums; each pair in ``after`` puts a reader in a later group.

    A pair consists of a tensor and the Einsum that reads it.
    """
    made, together_with = program.einsum_of, program.memo(inseparable)
    level = dict.fromkeys(made, 0)
    # Einsums that exchange a value along an iterative rank are on one level. A cycle across an edge
    # would raise levels without end, so that there are no more levels than edges.
    for _ in range(len(made)):
        before = dict(level)
        for e in program.einsums:
            needs = [level[t] + ((t, e.name) in after) for t in _needs(program, e)]
            for name in together_with[e.name]:
                level[name] = max(level[name], min(max(needs, default=0), len(after)))
        if level == before:
            break
    # An Einsum that reads inputs alone needs no earlier group: its first reader makes its values.
    for e in program.einsums:
        readers = [level[r.name] for r in program.einsums if e.name in _needs(program, r)]
        if readers and not _needs(program, e) and together_with[e.name] <= {e.name}:
            level[e.name] = min(readers)
    return tuple(_in_order(program, _connected(program, given, level)))


def _needs(program: Program, e: Einsum) -> list[str]:
    """Return the Einsums whose results a given Einsum reads."""
    return [t for t in dict.fromkeys(a.tensor for a in e.reads) if t in program.einsum_of]


def _connected(program: Program, given: Collection[str], level: dict[str, int]) -> dict[str, str]:
    """Return the name of the first Einsum in each Einsum's group.

    Two Einsums that exchange a tensor are in one group if they are on the same level. So are
    Einsums that exchange tiles of a rank that the cascade cuts, since nests would have to cut the
    rank alike.
    """
    first = {name: name for name in level}
    for e in program.einsums:
        partners = {*program.memo(inseparable)[e.name]}
        partners |= {
            t
            for t in _needs(program, e)
            if level[t] == level[e.name] or _is_cut_by_nests(program, t, given)
        }
        groups = {first[n] for n in partners}
        lead = next(n for n in first if n in groups)
        first = {n: lead if g in groups else g for n, g in first.items()}
    return first


def _is_cut_by_nests(program: Program, tensor: str, given: Collection[str]) -> bool:
    families = (program.rank_of[r].partition for r in tiled_families(program, tensor))
    return any(member not in given for members in families for member in members[1:])


def _in_order(program: Program, first: dict[str, str]) -> Iterator[Names]:
    """Yield the groups in an order in which each reads only from earlier groups.

    Groups that need one another become one group.
    """
    left: dict[str, set[str]] = {}
    for name, lead in first.items():
        left.setdefault(lead, set()).add(name)
    while left:
        ready = []
        for lead, group in left.items():
            needed = (first[t] for n in group for t in _needs(program, program.einsum_of[n]))
            if all(other == lead or other not in left for other in needed):
                ready.append(lead)
        group = left.pop(ready[0]) if ready else set().union(*left.values())
        yield tuple(name for name in first if name in group)
        if not ready:
            return


@dataclass(frozen=True, slots=True)
class NestCuts:
    """Answer to the question whether a cascade can be cut, before any nest is generated."""

    any: bool
    """True if there is a cut: at gathered indices, at a pass, or at a cheap transfer."""
    at_gathers: bool = False
    """True if the cascade gathers, and is cut at gathered indices or passes.

    A single nest of such a cascade shares little between cores, and takes long to generate.
    """


def cuts_of(problem: PartProblem) -> NestCuts:
    """Return whether a cascade can be cut into nests, and whether it is cut at gathers.

    Chips in a ring allow no cut, since tensors between nests would move from chip to chip. A single
    pass over gathered inputs that are most of the traffic is not cut: its lower bound is far below
    all mappings, since gathered indices may coincide.
    """
    if problem.architecture.memories[0].ring:
        return NestCuts(any=False)
    cut = _cut_cascade(problem)
    whole, names = cut.problem, _names(cut.problem.program)
    gathered = gathered_inputs(whole.program)
    if len(_stages_of_cascade(whole)) > 1:
        return NestCuts(any=True, at_gathers=bool(gathered))
    gathered_bytes = sum(cut.bytes_of(whole, tensor) for tensor in gathered)
    if gathered_bytes >= policy.MAIN_TRAFFIC_SHARE * cut.outside(whole):
        return NestCuts(any=False)
    cheap = cut.negligible_cuts(names, policy.MAX_HANDOFF_SHARE_TO_CUT)
    return NestCuts(any=len([*cheap]) > 1)


@dataclass(frozen=True, slots=True)
class NestedMapping:
    """Mapping of several nests, with each nest as it was bound during generation."""

    mapping: Mapping
    nests: tuple[BoundNest, ...]


def nest_by_nest(problem: PartProblem) -> NestedMapping:
    """Generate a mapping of several nests, with cuts only where they make the cascade faster.

    Parameters
    ----------
    problem : PartProblem
        Its machine has no ring: tensors between nests would move from chip to chip.

    Raises
    ------
    MappingError
        A nest cannot be mapped, or the cascade cannot be cut.
    """
    cut = _cut_cascade(problem)
    runs = cut.pieces(_names(cut.problem.program))
    if len(runs) < 2:
        raise NoLegalMappingError("there is no place to cut it into nests")
    return NestedMapping(
        mapping=join_nests(cut.whole, tuple(run.mapping for run in runs)),
        nests=tuple(BoundNest(run.problem.shapes, run.bind()) for run in runs),
    )


def _cut_cascade(problem: PartProblem) -> _CutCascade:
    program, shapes = with_parameters(problem.program, problem.shapes)
    whole = Mapping(name=NEST_BY_NEST, cascade=problem.cascade)
    cut = MappingProblem(program, problem.architecture, shapes)
    return _CutCascade(cut, problem.generators, whole)


@dataclass(frozen=True, slots=True)
class _MadeNest:
    """Generated nest with its mapping and its result."""

    problem: MappingProblem
    mapping: Mapping
    result: Result
    """Result in which one core stands for all cores with other parts of a masked rank."""

    def bind(self) -> Bound:
        """Bind the nest with all parts of its ranks. Raises MappingError if one is not legal."""
        machine = self.problem.architecture
        return bind(self.problem.program, self.mapping, machine, self.problem.shapes)


@dataclass(frozen=True, slots=True)
class _CutCascade:
    """Cascade to cut into nests, with the machine that runs the nests."""

    problem: MappingProblem
    generators: Generators
    whole: Mapping
    """Mapping to which the nests are added; it has no nest yet."""

    def best(self, names: Names) -> tuple[_MadeNest, ...]:
        """Return the mapped nests of some Einsums: one nest, or several if these are faster.

        Raises InputError if the Einsums have no legal mapping.
        """
        return self._no_slower(names, self._one(names))

    def _one(self, names: Names) -> _MadeNest | None:
        """Return some Einsums mapped as one fused nest; None if none is legal."""
        nest = self._excerpt(names)
        # Einsums that are better apart are not tried together with every partitioning.
        most = 1 if len(_stages_of_cascade(nest)) > 1 else nest.memo(number_to_search)
        return self._fastest(nest, None, (self.generators.construct,), most)

    def _no_slower(self, names: Names, one: _MadeNest | None) -> tuple[_MadeNest, ...]:
        """Return one mapped nest, or several that are faster. Raises as ``best``."""
        if one is not None and one.result.over_floor <= policy.FLOOR_RATIO_TO_TRY_CUTS:
            return (one,)
        several = self._several(names, one)
        if several and (one is None or _are_faster(several, one)):
            return several
        if one is None or one.result.over_floor > policy.FLOOR_RATIO_TO_TRY_UNFUSED:
            others = (partial(_mapping_of_one_core, self.generators.make),)
            nest = self._excerpt(names)
            one = self._fastest(nest, one, others, nest.memo(number_to_search))
        if one is None:
            raise NoLegalMappingError(f"no mapping of {names[0]} to {names[-1]} is legal")
        return (one,)

    def _several(self, names: Names, one: _MadeNest | None) -> tuple[_MadeNest, ...]:
        """Return the mapped nests of some Einsums after a cut; none if a cut does not pay.

        Pieces are cut further only if they are already faster than all Einsums together.
        """
        worth = None if one is None else one.result.latency_s - one.result.floor.latency_s
        pieces = self._cut(names, worth)
        made = [self._one(piece) for piece in pieces]
        known = [run for run in made if run is not None]
        if one is not None and len(known) == len(made) and not _are_faster(known, one):
            return ()
        try:
            pairs = zip(pieces, made, strict=True)
            return tuple(run for piece, nest in pairs for run in self._no_slower(piece, nest))
        except InputError:
            return ()

    def pieces(self, names: Names) -> tuple[_MadeNest, ...]:
        """Return the mapped nests of some Einsums, after at least one cut; none if there is no
        cut."""
        return tuple(run for piece in self._cut(names, None) for run in self.best(piece))

    def _cut(self, names: Names, worth_s: float | None) -> tuple[Names, ...]:
        """Return groups of Einsums after a cut.

        There is none if there is no place to cut, or if the transfer at the cut takes most of the
        possible gain.
        """
        nest = self._excerpt(names)
        stages = _stages_of_cascade(nest)
        if len(stages) < 2 and worth_s is None and len([*self.negligible_cuts(names)]) < 2:
            cheap = tuple(self.negligible_cuts(names, policy.MAX_HANDOFF_SHARE_TO_CUT))
            # The gain is not known yet: all pieces are mapped at once, not cut one after the other.
            if len(cheap) > 1:
                return cheap
        if len(stages) < 2:
            stages = self._cheapest_cut(nest, worth_s)
        if len(stages) < 2:
            return ()
        return tuple(piece for stage in stages for piece in self.negligible_cuts(stage))

    def _cheapest_cut(self, nest: MappingProblem, worth_s: float | None) -> tuple[Names, ...]:
        """Return two groups of Einsums, cut where the transfer between them is smallest.

        The result is one group if there is no cut, or if the transfer takes too long for the
        possible gain.
        """
        places = self._traffic_at_cuts(nest)
        names = _names(nest.program)
        if not places:
            return (names,)
        handed, before = min(places, key=lambda place: place[0])
        speed = nest.architecture.home.bandwidth_bytes_per_s
        if (
            speed
            and worth_s is not None
            and policy.HANDOFF_ACCESSES * handed / float(speed)
            > policy.MAX_HANDOFF_SHARE_OF_GAIN * worth_s
        ):
            return (names,)
        return before, names[len(before) :]

    def negligible_cuts(
        self, names: Names, share: float = policy.NEGLIGIBLE_HANDOFF_SHARE
    ) -> Iterator[Names]:
        """Yield groups of Einsums, cut where the transfer is at most a share of the compulsory
        traffic."""
        nest = self._excerpt(names)
        least = self.outside(nest)
        start = 0
        for handed, before in self._traffic_at_cuts(nest):
            if policy.HANDOFF_ACCESSES * handed <= share * least:
                yield names[start : len(before)]
                start = len(before)
        yield names[start:]

    def _traffic_at_cuts(self, nest: MappingProblem) -> list[tuple[float, Names]]:
        """Return possible cuts: the bytes of the tensors that cross the cut, and the Einsums
        before it.

        There is no cut where a tensor that crosses it has tiles that both nests would have to
        choose alike.
        """
        found: list[tuple[float, Names]] = []
        before: Names = ()
        for block in nest.program.memo(cut_blocks)[:-1]:
            before = (*before, *block)
            handed = crossing(nest.program, before)
            if not any(_is_cut_by_nests(nest.program, tensor, nest.shapes) for tensor in handed):
                found.append((sum(self.bytes_of(nest, tensor) for tensor in handed), before))
        return found

    def outside(self, nest: MappingProblem) -> float:
        """Return the bytes of all inputs and outputs of a nest."""
        tensors = (*(t.name for t in nest.program.inputs), *nest.program.outputs)
        return sum(self.bytes_of(nest, tensor) for tensor in tensors)

    def bytes_of(self, nest: MappingProblem, tensor: str) -> float:
        """Return the bytes of a tensor, in the whole cascade or in the Einsums of a nest."""
        return nest.tensor_bytes(tensor, nest.elements(nest.program.tensor_ranks[tensor]))

    def _excerpt(self, names: Names) -> MappingProblem:
        whole = self.problem
        program = whole.program.memo(excerpt, names)
        shapes = sizes_of_excerpt(whole.program, program, whole.shapes)
        return MappingProblem(program, whole.architecture, shapes)

    def _fastest(
        self,
        nest: MappingProblem,
        best: _MadeNest | None,
        makers: tuple[FindPartitioned, ...],
        most: int,
    ) -> _MadeNest | None:
        """Return the fastest mapped nest among generated ones and ``best``.

        The first ``most`` partitionings are tried, and if none of them has a legal mapping, the
        others on several cores until one has. The result is None if no mapping is legal.
        """
        partitionings = nest.memo(partitionings_by_bound)
        able = [p for n, p in enumerate(partitionings) if n < most or p]
        for make, (number, partitioning) in product(makers, enumerate(able)):
            if best is not None:
                if number >= most:
                    continue
                least = best.result.floor.compute_s * idle_factor(nest.architecture, partitioning)
                if (
                    best.result.latency_s <= least
                    or best.result.over_floor <= policy.FLOOR_RATIO_TO_TRY_CUTS
                ):
                    continue
            run = self._run(nest, make, partitioning, best)
            if run is not None and (
                best is None
                or run.result.latency_s
                < policy.MAX_LATENCY_RATIO_TO_REPLACE * best.result.latency_s
            ):
                best = run
        return best

    def _run(
        self,
        nest: MappingProblem,
        make: FindPartitioned,
        partitioning: Partitioning,
        best: _MadeNest | None,
    ) -> _MadeNest | None:
        """Return a nest mapped with one partitioning.

        The result is None if no mapping is legal, or if it takes longer than ``best``.
        """
        program, machine, shapes = nest.program, nest.architecture, nest.shapes
        with suppress(InputError):
            partitioned = make(nest, partitioning)
            if partitioned is None:
                return None
            (mapping,) = join_nests(self.whole, (partitioned,)).nests
            bound = bind(program, mapping, machine, shapes, alike=True)
            if best is not None and takes_longer(
                bound, policy.MAX_LATENCY_RATIO_TO_REPLACE * best.result.latency_s
            ):
                return None
            result = bound.memo(result_of_nest, nest_name(_names(program)), "analytical")
            return _MadeNest(nest, mapping, result)
        return None


def _are_faster(several: Sequence[_MadeNest], one: _MadeNest) -> bool:
    """Return whether several nests, one after the other, are clearly faster than one nest."""
    latency_s = sum(run.result.latency_s for run in several)
    return latency_s < policy.MAX_LATENCY_RATIO_TO_REPLACE * one.result.latency_s


FindPartitioned = Callable[[MappingProblem, Partitioning], Mapping | None]
"""Function that generates a mapping of a nest, partitioned over cores; None if there is none."""


def _mapping_of_one_core(
    make: MakeMapping, nest: MappingProblem, partitioning: Partitioning
) -> Mapping:
    """Return a mapping of a nest that is generated for one core with its share of the machine."""
    program, machine = nest.program, nest.architecture
    core = machine_of_one_core(machine, partitioning)
    made = make(program, core, critical_core_shapes(partitioning, nest.shapes, program))
    return partition_mapping(made, partitioning, machine, program)


def _stages_of_cascade(problem: MappingProblem) -> tuple[Names, ...]:
    """Return groups of Einsums, cut at gathered indices if possible, or else at passes."""
    stages = stages_by_gathers(problem.program, problem.shapes)
    return stages if len(stages) > 1 else stages_by_passes(problem.program, problem.shapes)


def _names(program: Program) -> Names:
    return tuple(e.name for e in program.einsums)
