"""Unfused baseline: Einsums run one after the other, and every tensor goes through memory."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice, pairwise, permutations
from math import inf, prod

from archsim.legality.binding import bind
from archsim.spec.arch import Architecture, Memory
from archsim.spec.mapping import (
    EINSUM_BY_EINSUM,
    EinsumMapping,
    Keep,
    Mapping,
    NestLevel,
    PhaseTask,
    Schedule,
    Tile,
)
from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Access, Einsum, Program

from ..space.array_tiles import family_tiles, outer_parts_first
from . import policy
from .context import LoopPart, MappingContext
from .memory_trees import by_branches
from .spatial_factorisation import ArrayLayout, fitted, least_cycles, soonest_fed
from .traffic_estimate import LevelLoops, enlarged, moved_bytes, passed_by


def einsum_by_einsum(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> Mapping:
    """Return the mapping that runs the Einsums of a cascade one after the other.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank. Tiles that the cascade itself names are chosen if absent. Names
        that are no rank of the cascade are ignored.

    Returns
    -------
    Mapping
        Named ``einsum-by-einsum``, sequential, with every tensor kept in every memory. Tensors that
        an Einsum uses once bypass memories that are too small for the array's operands. Where that
        does not suffice, parts of the arrays stay idle.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    MappingError
        No array of the machine can do all operations of an Einsum.
    """
    mapping, has_room = _made(program, architecture, given)
    if has_room:
        return mapping
    try:
        bind(program, mapping, architecture, dict(given))
    except MappingError:
        machine = architecture
        for _ in range(policy.MAX_ARRAY_HALVINGS):
            machine = _narrower(machine)
            narrow, has_room = _made(program, machine, given)
            if has_room:
                return narrow
    return mapping


def _narrower(architecture: Architecture) -> Architecture:
    """Return the machine with both sides of every array halved."""
    arrays = (
        replace(a, dimensions=tuple(replace(d, size=-(-d.size // 2)) for d in a.dimensions))
        for a in architecture.arrays
    )
    return replace(architecture, arrays=tuple(arrays))


def _made(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> tuple[Mapping, bool]:
    """Build the mapping; return it, and whether each memory has room for its operands."""
    tiles, shapes = family_tiles(program, architecture, given)
    # A tile that is given longer than its rank has no more elements than the rank.
    held = {m: min(shapes[m], shapes[r.name]) for r in program.ranks for m in r.partition}
    longer = {m: shapes[m] for m, size in held.items() if size < shapes[m]}
    shapes |= held
    context = MappingContext(
        program=program, architecture=architecture, shapes=shapes, longer=longer
    )
    # Layouts must fit for everything that a longer tile might hold.
    context, made = _best_cut(context, may_cut=not longer)
    groups = (tuple(PhaseTask(einsum=n) for n in group) for group in context.groups)
    past, has_room = _bypasses(context, made)
    mapping = Mapping(
        name=EINSUM_BY_EINSUM,
        cascade=program.name,
        tiles=(*tiles, *cut_tiles(context)),
        nest=context.nest,
        einsums=tuple(replace(x.mapped, bypass=tuple(past.get(x.mapped.einsum, ()))) for x in made),
        keep=tuple(Keep(level=m.name, tensors=program.tensors) for m in architecture.memories),
        schedule=Schedule(kind="sequential", groups=tuple(groups)),
    )
    return by_branches(program, architecture, mapping), has_room


def cut_tiles(context: MappingContext) -> Iterator[Tile]:
    """Yield the tile sizes at which a context cuts its ranks."""
    used = dict.fromkeys(r for e in context.program.einsums for r in context.ranks(e))
    for rank in used:
        for outer, inner in pairwise(context.parts(rank)):
            yield Tile(rank=rank, member=inner.name, size=outer.stride // inner.stride)


Slow = tuple[Fraction, Fraction, Fraction]
"""Estimated cost of an Einsum, compared in this order. First come the seconds of its slowest
memory or array, then the seconds of its slowest memory, then the bytes moved."""


@dataclass(frozen=True, slots=True)
class _MappedEinsum:
    """An Einsum with its array, its layout there, and its fastest loop order."""

    mapped: EinsumMapping
    layout: ArrayLayout
    slow: Slow


def _best_cut(
    context: MappingContext, *, may_cut: bool
) -> tuple[MappingContext, list[_MappedEinsum]]:
    """Map all Einsums with ranks cut at array sides, or each rank cut by itself if that is faster.

    Return the context with the chosen cuts, and the mapped Einsums.
    """
    made = [_einsum(context, e) for e in context.program.einsums]
    if not may_cut:
        return context, made
    least = [
        max(x.slow[1], least_cycles(context, e) / context.architecture.clock_hz)
        for x, e in zip(made, context.program.einsums, strict=True)
    ]
    enough = policy.MIN_REFITTING_GAIN * sum(x.slow[0] for x in made)
    if sum(least) < enough:
        other = fitted(context, {x.mapped.einsum: x.layout.cycles for x in made})
        again = [_einsum(other, e) for e in context.program.einsums]
        if sum(x.slow[0] for x in again) < enough:
            return other, again
    return context, made


def _einsum(context: MappingContext, e: Einsum) -> _MappedEinsum:
    found = [(layout, *nest_of(context, e, layout)) for layout in soonest_fed(context, e)]
    layout, levels, slow = min(found, key=lambda x: x[2])
    shared = context.shared(e.name)
    # The nest has loops of other components, which this Einsum stays out of.
    mine = {p.name for r in shared for p in context.parts(r)}
    everyones = [name for level in context.nest for name in level.loops]
    outside = tuple(name for name in everyones if name not in mine)
    mapped = replace(mapped_einsum(e, layout, levels), outside=outside)
    return _MappedEinsum(mapped, layout, slow)


def _bypasses(
    context: MappingContext, made: Iterable[_MappedEinsum]
) -> tuple[dict[str, list[tuple[str, tuple[str, ...]]]], bool]:
    """Return the tensors of each Einsum that bypass memories, and whether all other tensors fit.

    A memory may be too small for the operands that a component's arrays take at a time. Then the
    largest tensors whose elements an Einsum uses once bypass it. This costs no extra traffic.
    """
    layouts = {x.mapped.einsum: x.layout for x in made}
    passing: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    has_room = True
    for group in context.groups:
        for memory in context.architecture.memories[1:]:
            capacity = inf if memory.capacity_bytes is None else 8 * memory.capacity_bytes
            taken = {name: _operand_bits(context, name, layouts[name], memory) for name in group}
            sizes: dict[str, Fraction | int] = {}
            for tensor, bits in (pair for own in taken.values() for pair in own.items()):
                sizes[tensor] = max(bits, sizes.get(tensor, 0))
            again = {t for name in group for t in taken[name] if not _uses_once(context, name, t)}
            past = tuple(_largest(sizes, again, capacity))
            left = sum(bits for tensor, bits in sizes.items() if tensor not in past)
            has_room &= left <= capacity
            for name in group:
                if mine := tuple(t for t in past if t in taken[name]):
                    passing.setdefault(name, []).append((memory.name, mine))
    return passing, has_room


def _operand_bits(
    context: MappingContext, name: str, layout: ArrayLayout, memory: Memory
) -> dict[str, Fraction | int]:
    """Return, for each tensor, the bits that an Einsum's array takes at a time through a memory."""
    e, array = context.program.einsum_of[name], layout.array.name
    inside = context.laid_tile(e, layout.names)
    feeding = context.memories(array)
    taken: dict[str, Fraction | int] = {}
    for a in context.accesses(e):
        if memory in (feeding[n] for n in context.held(array, e, a)):
            words = prod(inside[r] for r in context.ranks_of(a)) * context.words.of(a.tensor)
            bits = words * context.architecture.word_bits
            taken[a.tensor] = max(bits, taken.get(a.tensor, 0))
    return taken


def _uses_once(context: MappingContext, name: str, tensor: str) -> bool:
    """Return whether an Einsum uses each element of a tensor at only one point."""
    e = context.program.einsum_of[name]
    accesses = [a for a in (*e.reads, e.target) if a.tensor == tensor]
    return len(accesses) == 1 and context.ranks_of(accesses[0]) == {*context.ranks(e)}


def _largest(
    sizes: Sizes[str, Fraction | int], again: Container[str], capacity: float
) -> Iterator[str]:
    """Yield the largest tensors until the rest fits a capacity; skip tensors used ``again``."""
    left = sum(sizes.values())
    for tensor in sorted(sizes, key=lambda t: -sizes[t]):
        if left <= capacity:
            return
        if tensor not in again:
            yield tensor
            left -= sizes[tensor]


def mapped_einsum(e: Einsum, layout: ArrayLayout, levels: Iterable[LevelLoops]) -> EinsumMapping:
    """Return the mapping of an Einsum from its layout on an array and its loops at each memory.

    Parameters
    ----------
    e : Einsum
    layout : ArrayLayout
    levels : iterable of LevelLoops
        As for ``nest_of``; levels without loops are left out.
    """
    nest = NestLevel.nest((at.memory.name, (p.name for p in at.loops)) for at in levels)
    name, array = e.name, layout.array.name
    return EinsumMapping(einsum=name, array=array, spatial=layout.along, nest=nest)


def nest_of(
    context: MappingContext, e: Einsum, layout: ArrayLayout
) -> tuple[list[LevelLoops], Slow]:
    """Return an Einsum's own loops in the fastest order by the estimates of memories and array.

    The estimate favours orders that keep the operand that a systolic array has loaded. Ties go to
    the least time of the slowest memory, then to the fewest bytes moved. Then ranks of the result
    are outside of reduced ranks. A linear layer with eight tokens reads its weights eight times in
    the written order. It reads the weights once with the tokens inside.

    Parameters
    ----------
    context : MappingContext
    e : Einsum
    layout : ArrayLayout

    Returns
    -------
    list of LevelLoops
        Loops of the memories that feed its array, outermost first.
    Slow
        Seconds and bytes of one run of all these loops.
    """
    laid = layout.names
    shared = context.shared(e.name)
    together = [p for r in shared for p in context.parts(r)]
    results = context.ranks_of(e.target)
    own = sorted((r for r in context.ranks(e) if r not in shared), key=lambda r: r not in results)
    inside = context.laid_tile(e, laid)
    outermost, held = _inner_memories(context, e, layout.array.name)
    passed = passed_by(context, e, layout.array.name, 1 + len(held))

    def nested(ranks: Iterable[str]) -> list[LevelLoops]:
        ordered = outer_parts_first(context.program, ranks)
        loops = [p for r in ordered for p in context.parts(r) if p.name not in laid]
        return _levels(context, outermost, held, loops, inside)

    # Ranks of every tensor belong outside, in any order. Ranks that move gathered indices alone do
    # not count: a gathered tile may stay. Loops of one iteration do not matter.
    common = frozenset.intersection(
        *(context.moving(a, context.shapes) for a in (*e.reads, e.target))
    )
    outer = [r for r in own if r in common]
    moving = [r for r in own if any(p.name not in laid and p.count > 1 for p in context.parts(r))]
    free = [r for r in moving if r not in common]
    still = [r for r in own if r not in common and r not in moving]
    orders = islice(permutations(free), policy.MAX_LOOP_ORDERS)
    # Inside of a reduction, a loop of one iteration would seem to move the sum each time.
    nests = (nested((*outer, *still, *order)) for order in orders)

    def slow(nest: list[LevelLoops]) -> Slow:
        slowest, moved = moved_bytes(context, passed, nest, inside)
        loops = (*together, *(p for level in nest for p in level.loops))
        ranks = dict.fromkeys(p.rank for p in loops)
        busy = layout.laid.cycles([(r, layout.rounds[r]) for r in ranks])
        return max(slowest, busy / context.architecture.clock_hz), slowest, moved

    best, least = min(((nest, slow(nest)) for nest in nests), key=lambda found: found[1])
    for finer in _finer(context, e, best):
        if (found := slow(finer)) <= least:
            best, least = finer, found
    return best, least


def _finer(
    context: MappingContext, e: Einsum, nest: list[LevelLoops]
) -> Iterator[list[LevelLoops]]:
    """Yield loop nests with more and more loops moved from inner memories to outer ones.

    Tiles become smaller, so that the first and last tiles take less time. A loop stays if it would
    be the first outer loop over some tensor. This tensor then remains for later Einsums.
    """
    levels = [*nest]
    accesses = [context.ranks_of(a) for a in (*e.reads, e.target)]
    for number in range(1, len(levels)):
        while levels[number].loops:
            part, *inner = levels[number].loops
            outside = {p.rank for level in levels[:number] for p in level.loops if p.count > 1}
            if any(part.rank in ranks and not ranks & outside for ranks in accesses):
                break
            before = levels[number - 1]
            levels[number - 1] = LevelLoops(before.memory, (*before.loops, part))
            levels[number] = LevelLoops(levels[number].memory, tuple(inner))
            yield [*levels]


@dataclass(frozen=True, slots=True)
class _InnerMemory:
    """An inner memory, and the tensors of an Einsum that it holds."""

    context: MappingContext
    memory: Memory
    held: tuple[Access, ...]
    """Accesses whose tiles the memory holds."""
    words: Fraction | float
    """Machine words of the memory for these tiles; infinite without a limit."""
    ranks: tuple[str, ...]
    """Ranks along which any of these tensors varies."""
    known: dict[tuple[int, ...], bool] = field(default_factory=dict, compare=False, repr=False)
    """Memo of ``fits``, keyed by the tile's size along ``ranks``."""

    def fits(self, tile: dict[str, int]) -> bool:
        """Return whether the memory holds a tile of each tensor."""
        key = tuple([tile[r] for r in self.ranks])
        found = self.known.get(key)
        if found is None:
            words = sum([self.context.kept_words(a, tile) for a in self.held])
            found = self.known[key] = words <= self.words
        return found


def _inner_memories(
    context: MappingContext, e: Einsum, array: str
) -> tuple[Memory, list[_InnerMemory]]:
    """Return an array's outermost memory, and for each inner memory the tensors it holds.

    Half of each memory is left to other tiles. All Einsums of a strongly connected component share
    the other half.
    """
    share = Fraction(1, 2 * context.sharing_einsums(e.name) * context.architecture.word_bits)
    outermost, *inner = context.memories(array)
    found = []
    for number, memory in enumerate(inner, 1):
        held = tuple(a for a in context.accesses(e) if number in context.held(array, e, a))
        words = share * context.capacity_bits(number, memory)
        ranks = {r for a in held for r in context.ranks_of(a)}
        found.append(_InnerMemory(context, memory, held, words, tuple(ranks)))
    return outermost, found


def _levels(
    context: MappingContext,
    outermost: Memory,
    inner: list[_InnerMemory],
    loops: list[LoopPart],
    inside: dict[str, int],
) -> list[LevelLoops]:
    """Distribute loops over memories: each memory gets as many loops as its capacity allows."""
    levels: list[LevelLoops] = []
    end = len(loops)
    # From the inside out: a loop at an inner memory enlarges the tiles of outer ones.
    for number, held in reversed([*enumerate(inner)]):
        start = end
        while start:
            part = loops[start - 1]
            larger = inside | {part.rank: enlarged(context, inside, part)}
            # The memory and all outside of it hold the tiles that pass them.
            if not all(x.fits(larger) for x in inner[: number + 1]):
                break
            inside, start = larger, start - 1
        levels.append(LevelLoops(held.memory, tuple(loops[start:end])))
        end = start
    levels.append(LevelLoops(outermost, tuple(loops[:end])))
    return levels[::-1]
