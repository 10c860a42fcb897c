"""Searching machines of many cores: the mappings of one core, spread over all of them.

What a core does is a smaller problem of the same cascade, on a smaller machine: its own memories
and arrays, below one memory that stands for all that several cores share, as slow as the slowest
of what comes through there. That problem is searched like any other, for each way to spread the
cascade. What is found is spread over the cores, and the engine prices it on the whole machine; so
does it where loops of the outermost memory are at the one that feeds the cores instead, which then
keeps more and is brought less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from math import prod
from typing import Final

from archsim.bound.part_masks import moved_masks, whole_lengths
from archsim.jobs.best_parts import Spreading
from archsim.jobs.inward import brought_inward
from archsim.jobs.served import least_moved, least_times
from archsim.jobs.spreading import (
    copying_spreadings,
    seen_by_one,
    spread_over,
    spreadings,
)
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Keep, Mapping
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program

from .around_ring import around_ring, with_room
from .branched import by_branches
from .carried import carried, kept_as_told
from .certificate import Searched
from .engine_run import EngineRun
from .line_search import line_search
from .objectives import LATENCY
from .one_core import alone, one_core, shapes_of_part
from .protocol import Mapper, Progress, SearchProblem
from .space.mapspace import Mapspace
from .stand_in import StandIn
from .transfer import Transfer, first_known

ONE_CORE: Final = ", of one core's part"
"""What is searched of such a machine, as certificates say it behind the strategy."""


def spread_search(strategy: Mapper, problem: SearchProblem, progress: Progress) -> Searched:
    """The best mapping that spreads the best ones of a core.

    Parameters
    ----------
    problem : SearchProblem
        Its space is that of the whole machine, whose own mappings are not enumerated.

    Returns
    -------
    Searched
        Its certificate counts the mappings of a core; the gap is against the floor of any mapping
        on the whole machine.

    Raises
    ------
    NoLegalMappingError
        No mapping is known, and none was found legal.
    """
    search = Transfer(strategy, problem, ONE_CORE)
    is_ring = problem.space.architecture.memories[0].ring
    for spreading in ways_of(problem.space):
        if search.best is None or not search.is_done:
            ran = search.ran
            _look_at(search, core_of, spreading, progress)
            if is_ring and search.ran == ran:
                # There is no room for copies of what all chips need: it may go round.
                _look_at(search, chip_of, spreading, progress)
    return search.found()


def ways_of(space: Mapspace) -> tuple[Spreading, ...]:
    """Ways to spread a cascade; on a single core only where there is no other.

    Where they leave cores idle, those in which all need what one of them makes come first: it takes
    that one as long as any would take for itself, as chips in a ring do.
    """
    program, machine = space.program, space.architecture
    usual = spreadings(program, machine, space.given)
    copying = copying_spreadings(program, machine, space.given)
    ways = tuple(way for way in (*copying, *usual) if way) or usual
    # Those that promise most first: what is found tells which of the others cannot be better.
    times = least_times(program, machine, space.given, ways)
    return tuple(way for _, way in sorted(zip(times, ways, strict=True), key=lambda p: p[0]))


def over_cores(space: Mapspace, memory: str = "") -> Iterator[Callable[[], StandIn]]:
    """What makes the problem of a core, for each way to spread a cascade. As ``core_of``."""
    return (partial(core_of, space, spreading, memory) for spreading in ways_of(space))


def core_of(whole: Mapspace, spreading: Spreading, memory: str = "") -> StandIn:
    """The problem of a core, and what brings its mappings to all of them.

    Parameters
    ----------
    memory : str
        One that the core has to see: of what it shares with others it has its share.

    Raises
    ------
    InputError
        A core cannot do its part.
    """
    shapes = shapes_of_part(spreading, whole.given, whole.program)
    machine = one_core(whole.program, whole.architecture, spreading, whole.given)
    share, sees_all = 1, _is_shared(whole.architecture, memory)
    if sees_all:
        machine, share = _seeing(whole.architecture, spreading, memory)
    program, obeyed = _of_middle_part(whole, spreading), carried(whole, machine, shapes)
    space = Mapspace.of(program, machine, shapes, obeyed, slow=whole.slow)

    def brought(mapping: Mapping) -> Iterator[Mapping]:
        if sees_all:
            # It says itself which loops are at the memory that cores share, and what that keeps.
            yield from _passed_on(whole, machine, mapping, spreading)
            return
        for placed in placements(mapping, spreading, whole.architecture, whole.program):
            yield kept_as_told(whole, machine, placed)

    return StandIn(space=space, brought=brought, share=share)


def _is_shared(architecture: Architecture, memory: str) -> bool:
    """Whether a memory feeds instances, or is outside of one that does."""
    names = [m.name for m in architecture.memories]
    return bool(memory) and any(m.instances for m in architecture.memories[names.index(memory) :])


def _seeing(
    architecture: Architecture, spreading: Spreading, memory: str
) -> tuple[Architecture, int]:
    """A core between the outermost memory and one that it shares, and how many share that: what is
    inside of it makes no difference to what is outside."""
    seen = {m.name: alone(m) for m in seen_by_one(architecture, spreading).memories}
    outer = replace(seen[architecture.home.name], inside=None)
    inner = replace(seen[memory], inside=None)
    arrays = tuple(replace(a, reads=(), writes=()) for a in architecture.arrays)
    machine = replace(architecture, memories=(outer, inner), arrays=arrays, mapping=None)
    names = [m.name for m in architecture.memories]
    fed = {m.name for m in architecture.memories[names.index(memory) :]}
    return machine, prod(s.parts or 1 for name, ranks in spreading if name in fed for s in ranks)


def _passed_on(
    whole: Mapspace, machine: Architecture, mapping: Mapping, spreading: Spreading
) -> Iterator[Mapping]:
    """The mapping of a core between two memories, spread over all cores: with all in those that it
    does not see, and with nothing; with all that comes from outside in what it shares, so that it
    comes once for all cores, and with what it keeps there itself."""
    outer, shared = (m.name for m in machine.memories)
    inside = whole.architecture.memories[whole.architecture.home_level :]
    unseen = [m.name for m in inside if m.name not in (outer, shared)]
    tensors = (*(t.name for t in whole.program.inputs), *(e.name for e in whole.program.einsums))
    everything = tuple(Keep(level=name, tensors=tensors) for name in unseen)
    held = {k.level: k.tensors for k in mapping.keep}
    at_once = dict.fromkeys((*held.get(outer, ()), *held.get(shared, ())))
    others = tuple(k for k in mapping.keep if k.level != shared)
    for more in dict.fromkeys((everything, ())):
        for here in dict.fromkeys((tuple(at_once), held.get(shared, ()))):
            keep = (*others, *([Keep(level=shared, tensors=here)] if here else []), *more)
            spread = spread_over(replace(mapping, keep=keep), spreading, whole.architecture)
            yield by_branches(whole.program, whole.architecture, replace(spread, keep=keep))


def chip_of(whole: Mapspace, spreading: Spreading) -> StandIn:
    """The problem of a chip in a ring that has a part of what all chips need, where ``core_of`` has
    a copy. Raises as that."""
    core = core_of(whole, spreading)
    machine = with_room(core.space.architecture, spreading, whole.program, core.space.given)

    def brought(mapping: Mapping) -> Iterator[Mapping]:
        for placed in around_ring(mapping, spreading, whole.program, whole.architecture):
            yield kept_as_told(whole, machine, placed)

    return StandIn(space=replace(core.space, architecture=machine), brought=brought)


def _look_at(
    search: Transfer,
    of_way: Callable[[Mapspace, Spreading], StandIn],
    spreading: Spreading,
    progress: Progress,
) -> None:
    """Search the problem of a core, and run what is found on all of them."""
    if _moves_more(search, spreading):
        return
    try:
        core = of_way(search.problem.space, spreading)
        known = first_known(core.space, search.problem)
        if _beaten(search, core.space, known):
            return
    except InputError as wrong:
        search.refused.append(wrong)
        return
    # A core whose memories are side by side is searched with them in a line.
    how = None if core.space.architecture.tree.is_line else line_search
    search.look_at(core.space, known, core.brought, progress, how)


def _of_middle_part(whole: Mapspace, spreading: Spreading) -> Program:
    """The cascade as a core has it: of a rank under a mask with balanced parts, whose sizes the
    mapping decides, it has one of their mean length from the middle, and so of their mean work."""
    program = whole.program
    for spread in chain.from_iterable(ranks for _, ranks in spreading):
        if spread.balanced:
            extent = whole.given[spread.rank]
            # ``extent // -n`` is minus the length of a part, rounded up: as much is before it as
            # behind.
            begin = (extent + extent // -(spread.parts or 1)) // 2
            lengths = whole_lengths(program, spread.rank, whole.given)
            program = program.memo(moved_masks, spread.rank, begin, lengths)
    return program


_FAR: Final = 2.0
"""How many times what the best takes a core may take at the least for its way to be worth a search:
the memory that stands for all that cores share may be slower than they are. Mamba-2 on ``h100-sxm``
takes 78 K cycles on a core at the least, by one way to spread it, and 48 K on all of them."""


_SLOWER: Final = 1.25
"""How many times what the best takes inputs have to take memories for a way to be worth no search:
they count whole, and picks read a part of them."""


def _moves_more(search: Transfer, spreading: Spreading) -> bool:
    """Whether inputs alone take memories clearly longer in a way than the best does in all."""
    best, space = search.best, search.problem.space
    if best is None or search.problem.objective.code != LATENCY:
        return False
    seconds = least_moved(space.program, space.architecture, space.given, spreading)
    return seconds * float(space.architecture.clock_hz) > _SLOWER * best.value


def _beaten(search: Transfer, one: Mapspace, known: EngineRun | None) -> bool:
    """Whether the parts of a way are so large, or need so much of what they share, that none of its
    mappings is better."""
    best, problem = search.best, search.problem
    if best is None or problem.objective.code != LATENCY:
        return False
    if known is not None and problem.objective.floor(known.result) > _FAR * best.value:
        return True
    promising = one.regions(1)
    return bool(promising) and promising[0].bound >= best.value * (1 - problem.tolerance)


def placements(
    mapping: Mapping, spreading: Spreading, architecture: Architecture, program: Program
) -> Iterator[Mapping]:
    """The mapping of a core spread over all: with its loops as they are, and with more and more of
    those of the outermost memory at the one that feeds the cores.

    Parameters
    ----------
    mapping : Mapping
        Of one core's part, which knows one memory in the place of all that cores share.
    spreading : Spreading
    architecture : Architecture
        The whole machine.
    program : Program

    Yields
    ------
    Mapping
        Of the whole machine; not all of them are legal.
    """
    yield spread_over(mapping, spreading, architecture, program)
    outer = architecture.home.name
    feeding = [m.name for m in architecture.memories if m.instances and m.name != outer]
    if not feeding or not spreading:
        return
    inner = feeding[-1]
    shared = next((level.loops for level in mapping.nest if level.level == outer), ())
    own = any(level.level == outer for e in mapping.einsums for level in e.nest)
    for number in range(0 if own else 1, len(shared) + 1):
        inward = brought_inward(mapping, outer, inner, number)
        yield spread_over(inward, spreading, architecture, program)
