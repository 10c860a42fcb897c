"""Core relaxation: one core's share of the work is searched, and partitioned over all cores.

One memory stands for all memories that several cores share. Its bandwidth is that of the slowest.
Each partitioning of the cascade gives one relaxation. For chips in a ring, each partitioning gives
a second one, in which inputs go round the links.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from math import prod

from archsim.nest.partition import shift_masks, whole_lengths
from archsim.plan.bandwidth_bound import bandwidth_bounds, input_bandwidth_bound
from archsim.plan.partition_factors import Partitioning
from archsim.plan.partitioning import (
    critical_core_shapes,
    machine_of_one_core,
    partition_mapping,
    replicating_partitionings,
    usual_partitionings,
)
from archsim.spec.arch import Architecture, Memory
from archsim.spec.mapping import Keep, Mapping, NestLevel
from archsim.spec.roles import memory_called
from archsim.spec.tensor_words import words_of
from einsum_cascade.ir import Program

from ..construct.memory_trees import by_branches
from ..space.mapspace import Mapspace
from . import policy
from .relaxation import (
    Family,
    FamilyMember,
    Relaxation,
    projected_constraints,
    with_constrained_places,
)


def core_family(space: Mapspace, memory: str = "") -> Family:
    """Return the core relaxations of a machine with many cores, one for each partitioning.

    Parameters
    ----------
    memory : str
        Memory that every relaxation must contain. If empty, a core has its own memories only.
    """
    is_ring = bool(space.architecture.memories[0].ring)

    def member(partitioning: Partitioning) -> FamilyMember:
        # Without capacity for a copy of shared inputs in each chip, these may go round the ring.
        ring = partial(ring_relaxation, space, partitioning) if is_ring and not memory else None
        make = partial(core_relaxation, space, partitioning, memory)
        is_slower = partial(_moves_more, space, partitioning)
        return FamilyMember(make=make, otherwise=ring, is_slower=is_slower)

    return Family(members=tuple(map(member, partitionings_of(space))), label=", of one core's part")


def shapes_of_part(
    partitioning: Partitioning, given: Sizes[str, int], program: Program
) -> dict[str, int]:
    """Return the sizes of one core's share of the work, in coordinates by rank.

    Sizes of tiles that the cascade itself cuts are kept unless such a rank is partitioned.

    Parameters
    ----------
    given : mapping
        Shapes of the whole work in elements by rank.
    """
    partitioned = (program.rank_of.get(s.rank) for _, ranks in partitioning for s in ranks)
    of_cut = any(declared is not None and declared.family for declared in partitioned)
    return critical_core_shapes(partitioning, given, program if of_cut else None)


@dataclass(frozen=True, slots=True)
class _CompulsoryTensor:
    """Input or output of one core's share of the work; it is moved at least once."""

    bits: Fraction
    ranks: frozenset[str]
    users: frozenset[str]
    """Ranks of all Einsums that read or write the tensor. If the tensor lacks one of these ranks,
    every core along this rank needs the tensor."""
    result: bool


def core_view(
    program: Program, architecture: Architecture, partitioning: Partitioning, given: Sizes[str, int]
) -> Architecture:
    """Return the machine that one core sees, with one memory in place of all shared memories.

    This memory is as fast as one core's share of the slowest shared memory, if each tensor is moved
    once. A shared memory delivers a tensor once for all cores. A memory without multicast that
    feeds the cores delivers the tensor once for each core, and also takes the tensor in.

    Parameters
    ----------
    given : mapping
        Shapes of the whole work in elements by rank.

    Examples
    --------
    Of 108 cores, those of a row share X, and those of a column share W. L2 gives each core both, so
    that a core has little more than a 120th of its bandwidth:

    >>> from archsim.spec.mapping import SpatialRank
    >>> from einsum_cascade import Cascade
    >>> machine = Architecture.load("a100-80gb")
    >>> ranks = [SpatialRank(instances="sms", rank=r, parts=n) for r, n in (("N", 12), ("J", 9))]
    >>> layer = Cascade.load("linear-layer").program
    >>> shapes = {"N": 1200, "D": 1000, "J": 900}
    >>> core = core_view(layer, machine, (("L2", tuple(ranks)),), shapes)
    >>> [m.name for m in core.memories]
    ['HBM', 'L1']
    >>> round(7219.2e9 / core.memories[0].bandwidth_bytes_per_s)
    118
    """
    if architecture.memories[0].ring:
        # A chip owns its part of the work: it is a machine by itself, or has cores of its own.
        chip = _inside_of(architecture, 0, architecture.memories[1])
        return core_view(program, chip, partitioning, given)
    feeding = [n for n, m in enumerate(architecture.memories) if m.instances]
    last = max(feeding, default=0)
    if last and last == len(architecture.memories) - 1:
        # Only arrays are inside of this memory: it is the core's own memory, divided among the
        # cores.
        seen = machine_of_one_core(architecture, partitioning)
        return replace(seen, memories=tuple(map(without_instances, seen.memories)))
    partitioned = [
        (n, s.rank, s.parts or 1)
        for n, m in enumerate(architecture.memories)
        for name, ranks in partitioning
        if name == m.name
        for s in ranks
    ]
    shapes = shapes_of_part(partitioning, given, program)
    moved = _compulsory(program, architecture, shapes)
    speeds = [
        m.bandwidth_bytes_per_s * _share(n, m, moved, partitioned)
        for n, m in enumerate(architecture.memories[: last + 1])
        if m.bandwidth_bytes_per_s is not None
    ]
    outermost = replace(
        without_instances(architecture.memories[0]), bandwidth_bytes_per_s=min(speeds, default=None)
    )
    return _inside_of(architecture, last, outermost)


def _inside_of(architecture: Architecture, last: int, outermost: Memory) -> Architecture:
    """Return the machine inside of a memory; another memory replaces everything outside."""
    gone = {m.name for m in architecture.memories[: last + 1]} | {outermost.name}
    inner = (m for m in architecture.memories[last + 1 :] if m.name != outermost.name)
    memories = (replace(m, inside=outermost.name) if m.inside in gone else m for m in inner)
    whole = (replace(outermost, inside=None), *memories)
    return replace(architecture, memories=whole, mapping=None)


def without_instances(memory: Memory) -> Memory:
    return replace(memory, instances=(), multicast=False, reduces=False)


def _compulsory(
    program: Program, architecture: Architecture, shapes: Sizes[str, int]
) -> tuple[_CompulsoryTensor, ...]:
    """Return the inputs and outputs of a core's share of the work."""
    bits = words_of(program, architecture.word_bits)
    found = [(t.name, (*program.parallel, *t.ranks), False) for t in program.inputs]
    for name in program.outputs:
        named = (v.upper() for v in program.einsum_of[name].target.variables)
        ranks = dict.fromkeys(program.whole_rank(rank) for rank in named)
        found.append((name, (*program.parallel, *ranks), True))
    return tuple(
        _CompulsoryTensor(
            bits=Fraction(prod(shapes.get(r, 1) for r in ranks)) * bits.of(name),
            ranks=_with_parts(program, ranks),
            users=_users(program, name),
            result=result,
        )
        for name, ranks, result in found
    )


def _users(program: Program, tensor: str) -> frozenset[str]:
    """Return the ranks of all Einsums that read or write a tensor."""
    using = (e for e in program.einsums if tensor in (e.name, *(a.tensor for a in e.reads)))
    named = {program.whole_rank(v.upper()) for e in using for v in e.variables}
    return _with_parts(program, (*program.parallel, *named))


def _with_parts(program: Program, ranks: Collection[str]) -> frozenset[str]:
    """Return the given ranks, and their members if the cascade partitions them."""
    declared = (program.rank_of.get(rank) for rank in ranks)
    return frozenset(chain(ranks, *(d.partition for d in declared if d is not None)))


def _share(
    number: int,
    memory: Memory,
    moved: Sequence[_CompulsoryTensor],
    partitioned: Sequence[tuple[int, str, int]],
) -> Fraction:
    """Return one core's share of a memory's bandwidth while all cores do the same work."""

    # A rank that is partitioned outside of the memory distinguishes copies of it, each with the
    # full bandwidth.
    splits = [(level, rank, parts) for level, rank, parts in partitioned if level >= number]

    def served(tensor: _CompulsoryTensor) -> int:
        once = memory.reduces if tensor.result else memory.multicast
        all_of = (
            parts
            for level, rank, parts in splits
            if rank in tensor.ranks or (level == number and not once and rank in tensor.users)
        )
        return prod(all_of)

    def filled(tensor: _CompulsoryTensor) -> int:
        """Return how many copies of an operand enter the memory from outside."""
        if tensor.result or not number:
            return 0
        return prod(parts for _, rank, parts in splits if rank in tensor.ranks)

    one = sum((t.bits for t in moved), start=Fraction(0))
    every = sum(t.bits * (served(t) + filled(t)) for t in moved)
    return one / every if every else Fraction(1)


def with_ring_capacity(
    chip: Architecture, partitioning: Partitioning, program: Program, shapes: Sizes[str, int]
) -> Architecture:
    """Return a chip with enough capacity for whole copies of the inputs that go round the ring.

    The chip itself holds one share of each such input, and a second share that passes by.

    Parameters
    ----------
    shapes : mapping
        Shapes of a chip's part of the work, in elements by rank.
    """
    outer, *inner = chip.memories
    if outer.capacity_bytes is None:
        return chip
    words = words_of(program, chip.word_bits)
    partitioned = [s for _, ranks in partitioning for s in ranks]
    parts = prod(s.parts or 1 for s in partitioned)
    going_round = sum(
        words.of(t.name) * prod(shapes.get(r, 1) for r in (*program.parallel, *t.ranks))
        for t in program.inputs
        if not {s.rank for s in partitioned} & {*t.ranks}
    )
    held = Fraction(2, parts) if parts > 2 else Fraction(1, 2)
    more = int(going_round * chip.word_bits * (1 - held) / 8)
    room = replace(outer, capacity_bytes=outer.capacity_bytes + more)
    return replace(chip, memories=(room, *inner))


def lifted_around_ring(
    mapping: Mapping, partitioning: Partitioning, program: Program, architecture: Architecture
) -> Iterator[Mapping]:
    """Yield mappings of a ring of chips in which shared inputs go round along one rank.

    The engine decides which of these mappings are legal.

    Parameters
    ----------
    architecture : Architecture
        Machine whose outermost memory is a ring of links.
    """
    links = architecture.memories[0].name
    partitioned = {s.rank for name, ranks in partitioning if name == links for s in ranks}
    needed = (t.ranks for t in program.inputs if not partitioned & {*t.ranks})
    ranks = dict.fromkeys(rank for ranks in needed for rank in ranks)
    for tiled in _at_links(mapping, architecture):
        moved = partition_mapping(tiled, partitioning, architecture)
        for rank in ranks:
            nest = (
                replace(level, ring=(rank,)) if level.level == links else level
                for level in moved.nest
            )
            yield replace(moved, nest=tuple(nest))


def _at_links(mapping: Mapping, architecture: Architecture) -> Iterator[Mapping]:
    """Yield mappings whose loops at the home memory are moved to the links.

    Each further mapping also moves one more shared loop of inner memories, so that tiles are
    smaller.
    """
    links, home = architecture.memories[0].name, architecture.home.name

    def at_links(nest: tuple[NestLevel, ...]) -> tuple[NestLevel, ...]:
        return tuple(
            replace(n, level=links) if memory_called(architecture, n.level) == home else n
            for n in nest
        )

    einsums = tuple(replace(e, nest=at_links(e.nest)) for e in mapping.einsums)
    nest = at_links(mapping.nest)
    first = nest[0].loops if nest and nest[0].level == links else ()
    inner = nest[1:] if nest and nest[0].level == links else nest
    for number in range(sum(len(n.loops) for n in inner) + 1):
        left, levels = number, []
        loops = list(first)
        for level in inner:
            loops += level.loops[:left]
            levels.append(replace(level, loops=level.loops[left:]))
            left = max(0, left - len(level.loops))
        outermost = NestLevel(level=links, loops=tuple(loops))
        kept = (level for level in levels if level.loops or level.spatial)
        yield replace(mapping, nest=(outermost, *kept), einsums=einsums)


def partitionings_of(space: Mapspace) -> tuple[Partitioning, ...]:
    """Return the partitionings of a cascade, most promising first.

    Work stays on one core only if there is no other partitioning. If cores would be idle,
    partitionings that replicate an Einsum on every core are included.
    """
    problem = space.mapping_problem
    usual = problem.memo(usual_partitionings)
    copying = replicating_partitionings(problem)
    partitionings = tuple(way for way in (*copying, *usual) if way) or usual
    # The incumbent of a promising partitioning shows which others cannot be better.
    times = bandwidth_bounds(problem, partitionings)
    return tuple(
        way for _, way in sorted(zip(times, partitionings, strict=True), key=lambda p: p[0])
    )


def core_relaxation(whole: Mapspace, partitioning: Partitioning, memory: str = "") -> Relaxation:
    """Return the relaxation to one core's share of the work under a partitioning.

    Parameters
    ----------
    memory : str
        Memory that the core must see; of a shared memory it sees its share.

    Raises
    ------
    InputError
        A core cannot do its share of the work.
    """
    shapes = shapes_of_part(partitioning, whole.given, whole.program)
    machine = core_view(whole.program, whole.architecture, partitioning, whole.given)
    sharers, sees_shared = 1, _is_shared(whole.architecture, memory)
    if sees_shared:
        machine, sharers = _view_of_shared(whole.architecture, partitioning, memory)
    program = _program_of_middle_part(whole, partitioning)
    projected = projected_constraints(whole, machine, shapes)
    space = Mapspace.of(program, machine, shapes, projected, slow=whole.slow)

    def lift(mapping: Mapping) -> Iterator[Mapping]:
        if sees_shared:
            # The core's mapping already says which loops and tensors the shared memory has.
            yield from _lifted_from_shared(whole, machine, mapping, partitioning)
            return
        for placed in placements(mapping, partitioning, whole.architecture, whole.program):
            yield with_constrained_places(whole, machine, placed)

    return Relaxation(space=space, lift=lift, sharers=sharers, bounds_cores=True)


def _is_shared(architecture: Architecture, memory: str) -> bool:
    """Return whether a memory is shared: it feeds cores, or is outside of a memory that does."""
    names = [m.name for m in architecture.memories]
    return bool(memory) and any(m.instances for m in architecture.memories[names.index(memory) :])


def _view_of_shared(
    architecture: Architecture, partitioning: Partitioning, memory: str
) -> tuple[Architecture, int]:
    """Return a core that sees the outermost and one shared memory, and the number of sharing cores.

    Memories inside of the shared one do not change the traffic outside of it.
    """
    seen = {
        m.name: without_instances(m)
        for m in machine_of_one_core(architecture, partitioning).memories
    }
    outer = replace(seen[architecture.home.name], inside=None)
    inner = replace(seen[memory], inside=None)
    arrays = tuple(replace(a, reads=(), writes=()) for a in architecture.arrays)
    machine = replace(architecture, memories=(outer, inner), arrays=arrays, mapping=None)
    names = [m.name for m in architecture.memories]
    fed = {m.name for m in architecture.memories[names.index(memory) :]}
    return machine, prod(s.parts or 1 for name, ranks in partitioning if name in fed for s in ranks)


def _lifted_from_shared(
    whole: Mapspace, machine: Architecture, mapping: Mapping, partitioning: Partitioning
) -> Iterator[Mapping]:
    """Yield mappings of all cores for a mapping of one core that sees two memories.

    Memories that the core does not see keep every tensor, or none. The shared memory keeps every
    tensor that comes from outside, so that each is fetched once for all cores. Alternatively it
    keeps only the tensors that the core keeps there.
    """
    outer, shared = (m.name for m in machine.memories)
    inside = whole.architecture.memories[whole.architecture.home_level :]
    unseen = [m.name for m in inside if m.name not in (outer, shared)]
    everything = tuple(Keep(level=name, tensors=whole.program.tensors) for name in unseen)
    held = {k.level: k.tensors for k in mapping.keep}
    at_once = dict.fromkeys((*held.get(outer, ()), *held.get(shared, ())))
    others = tuple(k for k in mapping.keep if k.level != shared)
    for more in dict.fromkeys((everything, ())):
        for here in dict.fromkeys((tuple(at_once), held.get(shared, ()))):
            keep = (*others, *([Keep(level=shared, tensors=here)] if here else []), *more)
            partitioned = partition_mapping(
                replace(mapping, keep=keep), partitioning, whole.architecture
            )
            yield by_branches(whole.program, whole.architecture, replace(partitioned, keep=keep))


def ring_relaxation(whole: Mapspace, partitioning: Partitioning) -> Relaxation:
    """Return the relaxation to one chip that passes its share of common inputs around a ring."""
    core = core_relaxation(whole, partitioning)
    machine = with_ring_capacity(
        core.space.architecture, partitioning, whole.program, core.space.given
    )

    def lift(mapping: Mapping) -> Iterator[Mapping]:
        for placed in lifted_around_ring(mapping, partitioning, whole.program, whole.architecture):
            yield with_constrained_places(whole, machine, placed)

    return replace(core, space=replace(core.space, architecture=machine), lift=lift)


def _program_of_middle_part(whole: Mapspace, partitioning: Partitioning) -> Program:
    """Return the cascade of an average core, for a masked rank that is partitioned in equal work.

    The mapping decides the lengths of the cores' shares. The average core gets a share of mean
    length from the middle of the rank, which has the mean work.
    """
    program = whole.program
    for partitioned in chain.from_iterable(ranks for _, ranks in partitioning):
        if partitioned.balanced:
            extent = whole.given[partitioned.rank]
            # ``extent // -n`` is minus the length of a part, rounded up: as much is before the part
            # as behind it.
            begin = (extent + extent // -(partitioned.parts or 1)) // 2
            lengths = whole_lengths(program, partitioned.rank, whole.given)
            program = program.memo(shift_masks, partitioned.rank, begin, lengths)
    return program


def _moves_more(space: Mapspace, partitioning: Partitioning, cycles: float) -> bool:
    """Return whether input traffic alone takes clearly more than a number of cycles."""
    seconds = input_bandwidth_bound(space.mapping_problem, partitioning)
    clock_hz = float(space.architecture.clock_hz)
    return seconds * clock_hz > policy.HOPELESS_INPUT_TRAFFIC * cycles


def placements(
    mapping: Mapping, partitioning: Partitioning, architecture: Architecture, program: Program
) -> Iterator[Mapping]:
    """Yield mappings of all cores for a mapping of one core; some of them are illegal.

    The first mapping keeps the loops as they are. Each further mapping moves one more loop from the
    outermost memory to the memory that feeds the cores.

    Parameters
    ----------
    mapping : Mapping
        Mapping of one core's share, which sees one memory in place of all shared memories.
    architecture : Architecture
        Whole machine.
    """
    yield partition_mapping(mapping, partitioning, architecture, program)
    outer = architecture.home.name
    feeding = [m.name for m in architecture.memories if m.instances and m.name != outer]
    if not feeding or not partitioning:
        return
    inner = feeding[-1]
    shared = next((level.loops for level in mapping.nest if level.level == outer), ())
    own = any(level.level == outer for e in mapping.einsums for level in e.nest)
    for number in range(0 if own else 1, len(shared) + 1):
        inward = _sink_loops(mapping, outer, inner, number)
        yield partition_mapping(inward, partitioning, architecture, program)


def _sink_loops(mapping: Mapping, outer: str, inner: str, number: int) -> Mapping:
    """Return a mapping with some loops of an outer memory moved to an inner memory.

    The moved loops are the innermost shared ones, and the Einsums' own loops at the outer memory.

    Parameters
    ----------
    mapping : Mapping
    outer, inner : str
        The memories, as the mapping names them.
    number : int
        Number of shared loops to move.
    """
    nest: list[NestLevel] = []
    for level in mapping.nest:
        if level.level != outer:
            nest.append(level)
            continue
        stay = len(level.loops) - number
        nest.append(replace(level, loops=level.loops[:stay]))
        nest.append(replace(level, level=inner, loops=level.loops[stay:]))

    def moved(nest: tuple[NestLevel, ...]) -> tuple[NestLevel, ...]:
        return tuple(replace(x, level=inner) if x.level == outer else x for x in nest)

    einsums = (replace(e, nest=moved(e.nest)) for e in mapping.einsums)
    return replace(
        mapping, nest=tuple(level for level in nest if level.loops), einsums=tuple(einsums)
    )
