"""A mapping of several nests, each made and spread over a machine's instances by itself.

Where Einsums pick what others have chosen, or go again over what others made, one nest has one way
to be spread for all of them, and tiles of the same sizes. In nests by themselves those that score
keep to their loops, and those that read what was picked to theirs. What crosses from one to the
other is written to the outermost memory and read there: a stage is cut where that takes less.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod

from einsum_cascade.algebra.excerpt import excerpt, sizes_of_excerpt
from einsum_cascade.errors import InputError, NoLegalMappingError, Problem
from einsum_cascade.ir import Program
from einsum_cascade.shapes import complete_shapes

from ..engine.early_exit import takes_longer
from ..engine.evaluate import result_of_nest
from ..legality.binding import bind, with_parameters
from ..nest.record import Bound
from ..nest.sequence import BoundNest, join_nests, nest_name, remembered_nests
from ..result.record import Result
from ..spec.arch import Architecture
from ..spec.mapping import NEST_BY_NEST, Mapping
from ..spec.tensor_words import words_of
from .best_parts import Spreading
from .job import Generators, MakeBlocks, MakeMapping
from .partial_results import extent_of, whole_rank_of
from .programs import program_of
from .spreading import (
    copying_spreadings,
    idle_times,
    part_of,
    seen_by_one,
    spread_over,
    spreadings,
    with_shared_room,
)
from .stages import Names, handed_at, picked_inputs, stages_by_passes, stages_by_picks
from .workload import PartLike

_NEAR = 1.1
"""How many times its floor a nest may take without a look at other ways to map it."""

_FAR = 1.5
"""How many times its floor a nest may take without a look at it in pieces."""

_VERY_FAR = 2
"""How many times its floor a nest may take without a look at one Einsum after the other."""

_WAYS = 3
"""Ways to spread a nest that are tried, those that promise most."""

_MOST = 0.5
"""The share of what comes in and goes out that what is picked from is most of."""

_NOTHING = 0.03
"""The share of what comes in and goes out that pieces may hand on to be cut apart unasked."""

_WORTH = 0.5
"""The share of what is to be won that handing on may take."""

_HANDED = 2
"""What is handed on is written and read."""

_FASTER = 0.98
"""The share of another's latency that what is more pieces has to stay below."""


@dataclass(frozen=True, slots=True)
class NestCuts:
    """What is known of a cascade's places to be cut before any nest is made."""

    any: bool
    """Whether there are any: where what is picked is known, where a pass begins, or where next to
    nothing is handed on."""
    among_picks: bool = False
    """Whether it picks, and is cut where that is known or where a pass begins: in one nest
    instances share little then, and it takes long to make."""


def cuts_of(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> NestCuts:
    """Whether a part's cascade can be cut for ``nest_by_nest``.

    Of chips in a ring nothing is cut, as what nests hand on would change chips. Nor is a single
    pass over what is picked from inputs that are most of what there is: its floor is far below all
    mappings, as picks may be the same.

    Parameters
    ----------
    part, architecture, generators, cascade
        As of ``nest_by_nest``.
    """
    if architecture.memories[0].ring:
        return NestCuts(any=False)
    cut = _cut_cascade(part, architecture, generators, cascade)
    picked = picked_inputs(cut.program)
    if len(_stages(cut.program, cut.given)) > 1:
        return NestCuts(any=True, among_picks=bool(picked))
    size = partial(cut.bytes_of, cut.program)
    if sum(map(size, picked)) >= _MOST * cut.outside(cut.program):
        return NestCuts(any=False)
    return NestCuts(any=len([*cut.cut_for_nothing(cut.names)]) > 1)


def nest_by_nest(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> Mapping:
    """The mapping made for a part, cut where that is faster.

    Parameters
    ----------
    part : PartLike
    architecture : Architecture
        Without links in a ring: what nests hand on would change chips.
    generators : Generators
        What makes mappings.
    cascade : str
        The part's own, or one that computes the same.

    Raises
    ------
    MappingError
        A nest cannot be mapped, or nothing is cut.
    """
    cut = _cut_cascade(part, architecture, generators, cascade)
    runs = cut.pieces(cut.names)
    if len(runs) < 2:
        raise NoLegalMappingError(Problem("there is no place to cut it into nests"))
    found = join_nests(cut.whole, tuple(run.mapping for run in runs))
    for nest, run in zip(found.nests, runs, strict=True):
        known = run.program.memo(remembered_nests)
        known.keep(BoundNest(run.given, run.bound), nest, architecture)
    return found


def _cut_cascade(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str
) -> _CutCascade:
    program = program_of(part, architecture, cascade)
    usual, _ = complete_shapes(program, part.shapes_for(program.settable))
    program, given = with_parameters(program, dict(usual))
    whole = Mapping(name=NEST_BY_NEST, cascade=cascade)
    return _CutCascade(program, architecture, generators, given, whole)


@dataclass(frozen=True, slots=True)
class _MadeNest:
    """A nest's mapping, and what it takes."""

    program: Program
    mapping: Mapping
    given: Sizes[str, int]
    bound: Bound
    result: Result


@dataclass(frozen=True, slots=True)
class _CutCascade:
    """A cascade, and where its nests run."""

    program: Program
    architecture: Architecture
    generators: Generators
    given: Sizes[str, int]
    whole: Mapping
    """The mapping of all nests, yet without any."""

    @property
    def names(self) -> Names:
        """All of its Einsums."""
        return tuple(e.name for e in self.program.einsums)

    def best(self, names: Names) -> tuple[_MadeNest, ...]:
        """Some of the Einsums in one nest, or in several, where one takes far longer than it might
        and several are faster. Raises InputError where there is no legal mapping of them."""
        program, given = self._excerpt(names)
        # Einsums that had better be apart are not asked about in all ways together.
        most = 1 if len(_stages(program, given)) > 1 else _WAYS
        one = self._fastest(program, given, None, (self.generators.fuse,), most)
        if one is not None and one.result.over_floor <= _FAR:
            return (one,)
        worth = None if one is None else one.result.latency_s - one.result.floor.latency_s
        try:
            several = self.pieces(names, worth)
        except InputError:
            several = ()
        if several and (one is None or _sum(several) < _FASTER * one.result.latency_s):
            return several
        if one is None or one.result.over_floor > _VERY_FAR:
            others = (self.generators.make_blocks, self.generators.make)
            one = self._fastest(program, given, one, others, _WAYS)
        if one is None:
            raise NoLegalMappingError(Problem(f"no mapping of {names[0]} to {names[-1]} is legal"))
        return (one,)

    def pieces(self, names: Names, worth_s: float | None = None) -> tuple[_MadeNest, ...]:
        """Some of the Einsums in several nests; none where there is no place to cut them, or what
        they hand on alone takes about as long as is to be won."""
        program, given = self._excerpt(names)
        stages = _stages(program, given)
        if len(stages) < 2:
            stages = self._least_handed(program, given, worth_s)
        if len(stages) < 2:
            return ()
        apart = (piece for stage in stages for piece in self.cut_for_nothing(stage))
        return tuple(run for piece in apart for run in self.best(piece))

    def _least_handed(
        self, program: Program, given: dict[str, int], worth_s: float | None
    ) -> tuple[Names, ...]:
        """Two pieces with the least to hand on between them."""
        places = handed_at(program, given, partial(self.bytes_of, program))
        names = tuple(e.name for e in program.einsums)
        if not places:
            return (names,)
        handed, before = min(places, key=lambda place: place[0])
        speed = self.architecture.home.bandwidth_bytes_per_s
        if speed and worth_s is not None and _HANDED * handed / float(speed) > _WORTH * worth_s:
            return (names,)
        return before, names[len(before) :]

    def cut_for_nothing(self, names: Names) -> Iterator[Names]:
        """Pieces that hand on next to nothing, beside what comes in and goes out."""
        program, given = self._excerpt(names)
        size = partial(self.bytes_of, program)
        least = self.outside(program)
        begun = 0
        for handed, before in handed_at(program, given, size):
            if _HANDED * handed <= _NOTHING * least:
                yield names[begun : len(before)]
                begun = len(before)
        yield names[begun:]

    def outside(self, program: Program) -> float:
        """Bytes that come in and go out."""
        tensors = (*(t.name for t in program.inputs), *program.outputs)
        return sum(self.bytes_of(program, tensor) for tensor in tensors)

    def bytes_of(self, program: Program, tensor: str) -> float:
        words = program.memo(words_of, self.architecture.word_bits).of(tensor)
        ranks = dict.fromkeys((*program.parallel, *program.tensor_ranks[tensor]))
        elements = prod(self._length(program, rank) for rank in ranks)
        return float(elements * words * self.architecture.word_bytes)

    def _length(self, program: Program, rank: str) -> int:
        """Coordinates of a rank; of the outermost part of one that the cascade cuts, how many parts
        there are."""
        if rank in self.given:
            return self.given[rank]
        whole = whole_rank_of(program, rank)
        parts = program.rank_of[whole].partition if whole in program.rank_of else ()
        inner = prod(self.given.get(m, 1) for m in parts[1:] if rank != whole)
        return -(-extent_of(program, whole, self.given) // inner)

    def _excerpt(self, names: Names) -> tuple[Program, dict[str, int]]:
        program = self.program.memo(excerpt, names)
        return program, sizes_of_excerpt(self.program, program, self.given)

    def _fastest(
        self,
        program: Program,
        given: dict[str, int],
        best: _MadeNest | None,
        makers: tuple[MakeMapping | MakeBlocks, ...],
        most: int,
    ) -> _MadeNest | None:
        """The fastest mapping that is made in one of the ways to spread a nest, of so many at the
        ``most``, or the best before; None if none is legal."""
        for make, way in product(makers, self._ways(program, given)[:most]):
            if best is not None:
                least = best.result.floor.compute_s * idle_times(self.architecture, way)
                if best.result.latency_s <= least or best.result.over_floor <= _NEAR:
                    continue
            run = self._run(program, given, make, way, best)
            if run is not None and (
                best is None or run.result.latency_s < _FASTER * best.result.latency_s
            ):
                best = run
        return best

    def _run(
        self,
        program: Program,
        given: dict[str, int],
        make: MakeMapping | MakeBlocks,
        way: Spreading,
        best: _MadeNest | None,
    ) -> _MadeNest | None:
        """The mapping made for a nest spread in one way, with most room of those that fit; None if
        none is legal, or it takes longer than the best before."""
        for seen in (
            *with_shared_room(self.architecture, way),
            seen_by_one(self.architecture, way),
        ):
            try:
                made = _spread(program, self.architecture, make, way, given, seen)
                (mapping,) = join_nests(self.whole, (made,)).nests
                bound = bind(program, mapping, self.architecture, given)
                if best is not None and takes_longer(bound, _FASTER * best.result.latency_s):
                    return None
                name = nest_name(tuple(e.name for e in program.einsums))
                result = bound.memo(result_of_nest, name, "analytical")
                return _MadeNest(program, mapping, given, bound, result)
            except InputError:
                continue
        return None

    def _ways(self, program: Program, given: dict[str, int]) -> list[Spreading]:
        """Ways to spread a nest, those first that take least at the best."""
        machine = self.architecture
        if not machine.has_instances:
            return [()]
        # Not above: it takes numpy, without which one core is simulated.
        from .served import least_times

        usual = spreadings(program, machine, given)
        ways = (*usual, *copying_spreadings(program, machine, given))
        times = least_times(program, machine, given, ways)
        order = zip(ways, times, strict=True)
        return [way for way, _ in sorted(order, key=lambda x: (x[1], idle_times(machine, x[0])))]


def _stages(program: Program, given: Sizes[str, int]) -> tuple[Names, ...]:
    """Where picks are known, or else where passes begin."""
    stages = stages_by_picks(program, given)
    return stages if len(stages) > 1 else stages_by_passes(program, given)


def _sum(runs: tuple[_MadeNest, ...]) -> float:
    return sum(run.result.latency_s for run in runs)


def _spread(
    program: Program,
    architecture: Architecture,
    make: MakeMapping | MakeBlocks,
    way: Spreading,
    given: dict[str, int],
    seen: Architecture,
) -> Mapping:
    made = make(program, seen, part_of(way, given, program))
    if made is None:
        raise NoLegalMappingError(Problem("there are no blocks"))
    return spread_over(made, way, architecture, program)
