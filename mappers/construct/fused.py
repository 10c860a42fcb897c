"""Fused mapping for any cascade: intermediates stay in the inner memories."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, islice
from math import prod

from archsim.counts.accesses import accesses_of
from archsim.counts.cores import counts_at_ports
from archsim.counts.meter import EXACT
from archsim.counts.occupancy import busy_cycles, reduction_latency
from archsim.counts.spill import count_mapping
from archsim.engine.latency import time_bound
from archsim.iteration.bands import coverage
from archsim.iteration.loops import first_tile
from archsim.legality.binding import bind, with_parameters
from archsim.legality.dependences import crossed_passes, illegalities, loses_tensors, lost_results
from archsim.legality.footprint import all_fits
from archsim.nest.binder import bind_loops
from archsim.nest.masks import skip_masked_tiles
from archsim.nest.problems import EinsumProblem
from archsim.nest.record import Bound, BoundEinsum
from archsim.nest.residency import residency
from archsim.nest.tiling import build_tiling
from archsim.spec.arch import Architecture, ProcessingArray
from archsim.spec.mapping import FUSED, EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from einsum_cascade.errors import MappingError, NoLegalMappingError
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property

from ..space.factorisation import strongly_connected_components
from . import policy
from .context import MappingContext
from .einsum_by_einsum import cut_tiles
from .fused_loops import (
    EXTRAS,
    SharedLoops,
    Structure,
    blocks_for_gathers,
    carrying_plans,
    coarser_plans,
    heads_of,
    plans_of,
    plans_with_others_outside,
    steps_of,
    streamed_plans,
    unrolled_plans,
)
from .fused_tiles import (
    InnerContext,
    InnerQuestion,
    NarrowBand,
    cuts_for_band,
    cuts_of,
    exceeds_capacity,
    in_stretches,
    inner_cycles,
    inner_mapping,
    narrow_band,
    parts_in_widths,
    shared_out,
    underuses_arrays,
    unrolled_steps,
)
from .memory_trees import by_branches


def fused(program: Program, architecture: Architecture, given: Sizes[str, int]) -> Mapping:
    """Return the most promising mapping that keeps intermediates in inner memories.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank, as for ``einsum_by_einsum``.

    Returns
    -------
    Mapping
        Named ``fused``, pipelined.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    MappingError
        No array of the machine can do all operations of an Einsum.
    NoLegalMappingError
        No candidate is legal and fits.
    """
    found = [*_promising(program, architecture, given)]
    if not found:
        text = f"no tiles of fused loops fit the memories of {architecture.name}"
        raise NoLegalMappingError(text)
    promised = [price(bound)[0] for bound, _ in found]
    most = policy.MAX_ESTIMATE_RATIO * min(promised)
    near = [x for x, cycles in zip(found, promised, strict=True) if cycles <= most]
    # The engine decides among mappings whose estimates are close to the lowest one.
    soonest, _ = near[0] if len(near) == 1 else min(near, key=lambda x: run_cycles(*x))
    return soonest.mapping


def _promising(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> Iterator[tuple[Bound, dict[str, int]]]:
    """Yield the most promising mappings, each with the shapes that it is bound to.

    If possible, the second memory is left out of the machine too, and put back into the result.
    """
    for machine in (architecture, without_second(architecture)):
        if machine is None or len(machine.memories) < 2:
            continue
        for best in _best(program, machine, given):
            bound = _shared_out(best)
            whole = bound if machine is architecture else with_second(bound, architecture)
            if whole is not None:
                yield whole, best.fusion.given


def _shared_out(best: _Made) -> Bound:
    """Return a mapping; its Einsums are redistributed over the arrays if that is faster."""
    even = best.fusion.rebalanced(best)
    promised = policy.MIN_REBALANCING_GAIN * price(best.bound)[0]
    if even is None or price(even)[0] >= promised:
        return best.bound
    # Busy arrays wait for one another more often than the estimate says.
    shapes = best.fusion.given
    return even if run_cycles(even, shapes) < run_cycles(best.bound, shapes) else best.bound


_BestOfKind = dict[tuple[bool, ...], tuple[tuple[Fraction, Fraction], "_Made"]]
"""Best mapping of each kind, with its estimate (``price``)."""


def _best(program: Program, architecture: Architecture, given: Sizes[str, int]) -> list[_Made]:
    """Return the most promising mapping of each kind; ties go to the first one found.

    Three properties make a kind. Blocks are as long as the narrowest array is wide, or longer;
    masks skip more of short blocks. Several ranks lie along one array dimension, or only one rank
    does. States stay in arrays from step to step, or not.
    """
    best: _BestOfKind = {}
    fusions = [*_in_widths(*with_parameters(program, dict(given)), architecture)]
    for made in chain(_made(fusions), _unrolled(fusions, best)):
        # Cycles of arrays alone are quick to compute and rule out most candidates.
        kind = made.larger, made.fusion.context.stretched, made.plan.carrying
        least, _ = best.get(kind, (None, None))
        if least is not None and array_cycles(made.bound) > least[0]:
            continue
        if (bound := made.inward()) is None:
            continue
        found = replace(made, bound=in_registers(bound))
        promised = price(found.bound)
        if least is None or promised < least:
            best[kind] = promised, found
    return [made for _, made in best.values()]


def _made(fusions: list[tuple[int | None, _Fusion]]) -> Iterator[_Made]:
    """Yield legal mappings that fit the memories.

    If none fits, yield mappings in which some Einsums use the outermost memory by themselves.
    """
    found = False
    for made in _fits(fusions):
        found = True
        yield made
    for _, fusion in () if found else fusions:
        if fusion.context.program.iterative:
            yield from fusion.streaming()


def _fits(fusions: list[tuple[int | None, _Fusion]]) -> Iterator[_Made]:
    band: NarrowBand | None = None
    asked = False
    for width, fusion in fusions:
        if band is None:
            for made in fusion.of_width(width):
                if not asked:
                    band, asked = narrow_band(made.bound), True
                yield made
        if band is not None:
            for rank, blocks in cuts_for_band(fusion.context, band):
                for context in in_stretches(blocks):
                    yield from replace(fusion, context=context).sharing(rank)
        else:
            for filling in cuts_of(fusion.context):
                for context in in_stretches(filling):
                    yield from replace(fusion, context=context).all()
        yield from fusion.gathering()
        yield from fusion.carrying()


def _unrolled(fusions: list[tuple[int | None, _Fusion]], best: _BestOfKind) -> Iterator[_Made]:
    """Yield mappings that place several coordinates of a rank side by side on an array.

    These coordinates occupy processing elements that would be idle during steps. Nothing is yielded
    if the best estimates so far leave few of them idle.
    """
    contexts = [x.context for _, x in fusions]
    idle = underuses_arrays(contexts, [cycles for (cycles, _), _ in best.values()])
    for _, fusion in fusions if idle else ():
        for rank, unrolled in unrolled_steps(fusion.context):
            for context in in_stretches(unrolled):
                yield from replace(fusion, context=context).each(unrolled_plans(context, rank))


def _in_widths(
    program: Program, given: dict[str, int], architecture: Architecture
) -> Iterator[tuple[int | None, _Fusion]]:
    """Yield tile lengths for ranks that the cascade cuts, with the mappings for each length."""
    laid_out: dict[InnerQuestion, EinsumMapping] = {}
    refused: set[Structure] = set()
    for width, tiles, shapes in parts_in_widths(program, given, architecture):
        context = MappingContext(program=program, architecture=architecture, shapes=shapes)
        others = {r: n for r, n in given.items() if r not in {t.member for t in tiles}}
        yield (
            width,
            _Fusion(context=context, given=others, family=tiles, known=laid_out, refused=refused),
        )


@dataclass(frozen=True, kw_only=True)
class _Fusion:
    """All fused mappings of a cascade for one way of cutting its ranks into tiles."""

    context: MappingContext
    given: dict[str, int]
    family: tuple[Tile, ...]
    """Tiles of ranks that the cascade itself partitions."""
    known: dict[InnerQuestion, EinsumMapping]
    """Memo of Einsum mappings inside of shared loops."""
    moved: dict[str, ProcessingArray] = field(default_factory=dict)
    """Arrays of the Einsums that are not on their fastest array."""
    before: list[Bound] = field(default_factory=list)
    """Mapping that was bound last, if any; the next one reuses its accesses."""
    refused: set[Structure]
    """Structures of shared loops that are illegal for this cascade, whatever the tile sizes."""
    crossed: set[str] = field(default_factory=set)
    """Ranks whose loops cannot be shared, as a boundary between two passes crosses them."""

    def all(self) -> Iterator[_Made]:
        """Yield legal mappings that fit, one for each choice of shared loops."""
        # Cuts for the arrays are an additional way, not a last resort.
        found = self.context.fitted
        for extras, fine, apart in EXTRAS:
            if fine and not apart and not found:
                narrow = [*self._narrow()]
                found = bool(narrow)
                yield from narrow
            if found and (fine or apart or extras > 1):
                yield from () if apart else self.each(plans_with_others_outside(self.context))
                return  # Loops that fit are not made finer.
            if extras == 1 and not fine and not apart:
                larger = [*self._coarser()]
                found |= bool(larger)
                yield from larger
            for plan in dict.fromkeys(plans_of(self.context, extras, fine=fine, apart=apart)):
                made = None if self.crossed & {*plan.extra} else self._made(plan)
                if made is not None:
                    found = True
                    yield made

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """Tiles of all ranks."""
        return (*self.family, *cut_tiles(self.context))

    def each(self, plans: Iterable[SharedLoops]) -> Iterator[_Made]:
        """Yield the legal mappings that fit among those of some plans."""
        found = (self._made(plan) for plan in dict.fromkeys(plans))
        return (made for made in found if made is not None)

    def sharing(self, rank: str) -> Iterator[_Made]:
        """Yield mappings whose Einsums share loops over blocks of one optional rank."""
        plans = plans_of(self.context, 1)
        return self.each(plan for plan in plans if plan.extra == (rank,))

    def gathering(self) -> Iterator[_Made]:
        """Yield mappings cut into blocks of a rank along which gathered indices change.

        Block sizes that fit the memories are tried, the largest first.
        """
        for sizes in blocks_for_gathers(self.context):
            found = Counter[tuple[Structure, bool]]()
            most = policy.MAX_BLOCK_SIZES_PER_STRUCTURE
            left = policy.MAX_BLOCK_SIZES if heads_of(self.context)[0] else most
            for cuts in sizes:
                # Queries may fill one side of an array, and the width of a key half of the other.
                # The rest has room for as many queries again: each gathered row serves twice as
                # many.
                for context, plan in (
                    (x, plan)
                    for cut, plans in cuts
                    for x in (cut, replace(cut, stretched=True, fitted=True))
                    for plan in plans
                ):
                    kind = plan.structure, context.stretched
                    if found[kind] < most:
                        made = replace(self, context=context)._gathering(plan)
                        if made is not None:
                            found[kind] += 1
                            yield made
                left -= bool(found)
                if not left:
                    break

    def _gathering(self, plan: SharedLoops) -> _Made | None:
        """Return the mapping of a plan of shared loops, or None if nothing fits.

        If the plan does not fit, Einsums outside of its inner loops use the outermost memory.
        """
        made = self._made(plan)
        if made is None and plan.heads + (not plan.apart):
            made = self._made(replace(plan, streamed=True))
        return made

    def of_width(self, width: int | None) -> Iterator[_Made]:
        """Yield mappings to examine for one tile length of the ranks that the cascade cuts."""
        if width not in policy.SHORT_PART_WIDTHS:
            return self.all()
        if steps_of(self.context):
            return self.each(plans_of(self.context, 0))
        return self.all() if self.context.program.iterative else iter(())

    def carrying(self) -> Iterator[_Made]:
        """Yield mappings in which arrays may keep states from step to step."""
        return self.each(carrying_plans(self.context))

    def streaming(self) -> Iterator[_Made]:
        """Yield, for each rank of a state, the mapping in the largest blocks that fit."""
        for choices in streamed_plans(self.context):
            tried = (replace(self, context=context)._made(plan) for context, plan in choices)
            yield from islice((made for made in tried if made is not None), 1)

    def _coarser(self) -> Iterator[_Made]:
        """Yield, for each optional rank, the mapping in the largest blocks that fit.

        Block sizes are the widths of the machine's arrays.
        """
        for plans in coarser_plans(self.context):
            able = (p for p in plans if not self.crossed & {*p.extra})
            made = next((made for plan in able if (made := self._made(plan)) is not None), None)
            if made is not None:
                yield replace(made, larger=True)

    def _narrow(self) -> Iterator[_Made]:
        """Yield mappings in blocks of one rank that are narrower than the widest array.

        Blocks are a half, a quarter and so on of the array's width, until some mapping fits. Wide
        arrays alone thus do not prevent fusion.
        """
        ranks = dict.fromkeys(r for plan in plans_of(self.context, 1) for r in plan.extra)
        width, found = max(self.context.strides), False
        while not found and width % 2 == 0 and width > policy.MIN_BLOCK_WIDTH:
            width //= 2
            for rank in ranks:
                if rank in self.crossed or self.context.shapes[rank] <= width:
                    continue
                context = replace(self.context, blocks={rank: (width,)})
                for made in replace(self, context=context).sharing(rank):
                    found = True
                    yield made

    def _made(self, plan: SharedLoops) -> _Made | None:
        """Return the mapping of a plan, or None if it is illegal or does not fit.

        All shared loops are outside of the second memory if that is legal.
        """
        # Whether loops can be shared depends on the cascade, not on sizes. With Einsums moved to
        # other arrays it is checked again.
        if plan.extra and not self.moved and plan.structure in self.refused:
            return None
        if exceeds_capacity(self.context, plan):
            return None
        try:
            # An Einsum's inside does not depend on the memory of the shared loops.
            inside = tuple(self._einsum(plan, n) for n in range(len(self.context.program.einsums)))
        except MappingError:
            self.refused.add(plan.structure)
            return None
        bound, crossed = self._legal(plan, inside, len(plan.loops))
        # If the smallest tiles do not fit, none do; a crossed pass stays crossed at any memory.
        if crossed:
            self.refused.add(plan.structure)
        if crossed or (bound is not None and not all_fits(bound)):
            return None
        if bound is None and (bound := self.inward(plan, inside, None)) is None:
            return None
        return _Made(fusion=self, plan=plan, inside=inside, bound=bound)

    def inward(
        self, plan: SharedLoops, inside: tuple[EinsumMapping, ...], least: Bound | None
    ) -> Bound | None:
        """Return the mapping with as many shared loops inside of the second memory as fit.

        If no loop fits inside, return ``least``, the mapping with the smallest footprint. Return
        None if the loops cannot be shared.
        """
        for split in range(plan.heads, len(plan.loops)):
            bound, _ = self._legal(plan, inside, split)
            if bound is None:
                self.refused.add(plan.structure)
                return None
            if all_fits(bound):
                return bound
        if least is None:
            self.refused.add(plan.structure)
        return least

    def rebalanced(self, made: _Made) -> Bound | None:
        """Return a mapping with a more even load of the arrays, or None if there is none."""
        plan, arrays = made.plan, {e.name: e.array.name for e in made.bound.einsums}
        work = {e.name: self._cycles(plan, e) for e in self.context.program.einsums}
        even = shared_out(work, arrays)
        if even == arrays:
            return None
        able = {array.name: array for array in self.context.architecture.arrays}
        moved = {name: able[on] for name, on in even.items() if on != arrays[name]}
        other = replace(self, moved=moved)._made(plan)
        bound = None if other is None else other.inward()
        return None if bound is None else in_registers(bound)

    def _cycles(self, plan: SharedLoops, e: Einsum) -> dict[str, Fraction]:
        """Return the cycles of all runs of an Einsum on each array that can do it."""
        around = plan.around(self.context, e)
        runs = prod((p.mean for p in plan.loops if p.name in around), start=Fraction(1))
        once = inner_cycles(InnerContext.of(self.context, around), e)
        return {array: runs * cycles for array, cycles in once.items()}

    def _legal(
        self, plan: SharedLoops, inside: tuple[EinsumMapping, ...], split: int
    ) -> tuple[Bound | None, bool]:
        """Return a mapping that keeps every tensor until its last use, or None.

        The second result is True if a shared loop is illegal as it crosses the boundary between two
        passes.
        """
        program = self.context.program
        outer = {*(t.name for t in program.inputs), *program.outputs}
        while True:
            # Tensors that no inner memory can keep until their use go through the outermost one,
            # which may leave other tensors without a place. ``outer`` grows each time, so that the
            # loop ends.
            try:
                bound = self._loops(self._mapping(plan, inside, split, outer))
            except MappingError:
                return None, False
            if crossed_passes(bound):
                self.crossed.update(plan.extra if len(plan.extra) == 1 else ())
                return None, True
            lost = lost_results(bound)
            if outer.issuperset(lost):
                return (None if illegalities(bound) else bound), False
            outer.update(lost)

    def _mapping(
        self, plan: SharedLoops, inside: tuple[EinsumMapping, ...], split: int, outer: set[str]
    ) -> Mapping:
        program, (outermost, *inner) = self.context.program, self.context.architecture.memories
        names = tuple(p.name for p in plan.loops)
        nest = NestLevel.nest(((outermost.name, names[:split]), (inner[0].name, names[split:])))
        kept = Keep(level=outermost.name, tensors=tuple(t for t in program.tensors if t in outer))
        mapping = Mapping(
            name=FUSED,
            cascade=program.name,
            tiles=self.tiles,
            nest=nest,
            einsums=inside,
            keep=(kept, *(Keep(level=m.name, tensors=program.tensors) for m in inner)),
            schedule=Schedule(),
        )
        return by_branches(program, self.context.architecture, mapping)

    def _einsum(self, plan: SharedLoops, number: int) -> EinsumMapping:
        e = self.context.program.einsums[number]
        around = plan.around(self.context, e)
        inside = InnerContext.of(self.context, around, alone=plan.is_alone(around))
        on = self.moved.get(e.name)
        key = inside.question(e, on)
        if key not in self.known:
            self.known[key] = inner_mapping(inside, e, on)
        outside = tuple(p.name for p in plan.loops if p.name not in around)
        return replace(self.known[key], outside=outside)

    def _loops(self, mapping: Mapping) -> Bound:
        context = self.context
        sizes = {t.member: t.size for t in self.tiles if isinstance(t.size, int)}
        tiling = build_tiling(context.program, mapping, self.given, sizes)
        # Accesses of Einsums are the same in all loops over the same shapes.
        like = next(iter(self.before), None)
        bound = bind_loops(context.program, mapping, context.architecture, tiling, like)
        self.before[:] = [bound]
        return bound


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A legal mapping that fits the memories, and the decisions that led to it."""

    fusion: _Fusion
    plan: SharedLoops
    inside: tuple[EinsumMapping, ...]
    bound: Bound
    """Mapping with all shared loops outside of the second memory."""
    larger: bool = False
    """True if blocks are as long as an array wider than the narrowest one is wide."""

    def inward(self) -> Bound | None:
        """Return the mapping with as many shared loops inside of the second memory as fit."""
        return self.fusion.inward(self.plan, self.inside, self.bound)


def without_second(architecture: Architecture) -> Architecture | None:
    """Return the machine without its second memory, or None if the machine needs this memory.

    Machines with two memories or with branching memories need it.
    """
    first, *inner = architecture.memories
    if len(inner) < 2 or not architecture.tree.is_line:
        return None
    return replace(architecture, memories=(first, *inner[1:]))


def with_second(bound: Bound, architecture: Architecture) -> Bound | None:
    """Extend a mapping made without the second memory to the whole machine.

    The second memory keeps all tensors that the outermost memory keeps. As few loops as possible
    are outside of it.

    Parameters
    ----------
    bound : Bound
        A legal mapping that fits.
    architecture : Architecture
        The whole machine.

    Returns
    -------
    Bound or None
        None if these tensors do not fit the second memory, however many loops are outside.
    """
    first, second, *_ = (m.name for m in architecture.memories)
    mapping = bound.mapping
    outside = next((n.loops for n in mapping.nest if n.level == first), ())
    inside = tuple(n for n in mapping.nest if n.level != first)
    held = next(k.tensors for k in mapping.keep if k.level == first)
    keep = (*(k for k in mapping.keep if k.level != second), Keep(level=second, tensors=held))
    # From no loop outside of the second memory, which needs most room, to all of them.
    for split in range(len(outside) + 1):
        nest = NestLevel.nest(((first, outside[:split]), (second, outside[split:])))
        moved = replace(mapping, nest=(*nest, *inside), keep=keep)
        try:
            found = bind_loops(bound.program, moved, architecture, bound.tiling)
        except MappingError:
            return None
        if not illegalities(found) and all_fits(found):
            return found
    return None


def in_registers(bound: Bound) -> Bound:
    """Return a mapping that keeps intermediates in the registers of their array where legal."""
    kept = {*bound.mapping.keep[0].tensors}
    for e in bound.einsums:
        users = [x for x in bound.einsums if any(o.producer == e.name for o in x.operands)]
        if e.name in kept or any(x.array.name != e.array.name for x in users):
            continue
        mapping = _moved(bound.mapping, e.name, e.array.name)
        complaints: list[EinsumProblem] = []
        places = residency(bound.program, mapping, bound.architecture, complaints)
        tried = bound.with_residency(places, mapping)
        if not complaints and not loses_tensors(tried):
            bound = tried
    return bound


def _moved(mapping: Mapping, tensor: str, level: str) -> Mapping:
    """Return a mapping that keeps a tensor in one level only and drops it from all others."""
    keep = {k.level: tuple(t for t in k.tensors if t != tensor) for k in mapping.keep}
    keep[level] = (*keep.get(level, ()), tensor)
    # Einsums do not bypass a level that no longer has the tensor.
    einsums = tuple(
        replace(how, bypass=tuple((n, tuple(t for t in ts if t != tensor)) for n, ts in how.bypass))
        for how in mapping.einsums
    )
    kept = tuple(Keep(level=n, tensors=t) for n, t in keep.items())
    return replace(mapping, keep=kept, einsums=einsums)


def price(bound: Bound) -> tuple[Fraction, Fraction]:
    """Return the estimated cycles of the slowest component, and the sum over all components.

    A component is an array, a memory, or a group of Einsums that depend on one another from step to
    step. The Einsums of such a group run in turn and wait for sums that are late. A mask scales an
    Einsum by the share of iterations that the mask leaves.

    Parameters
    ----------
    bound : Bound
        A mapping with all of its loops.

    Returns
    -------
    tuple of Fraction
        Estimates to rank mappings of one cascade; the engine decides.
    """
    machine, shares = bound.architecture, _shares(bound)
    times = {e.name: busy_cycles(bound, e) * shares[e.name] for e in bound.einsums}
    words = _words(bound, shares)
    per_word = machine.word_bytes * machine.clock_hz
    found = [*_by_array(bound, times), *_turns(bound, times, shares)]
    for memory in machine.memories:
        if memory.bandwidth_bytes_per_s is not None:
            found.append(words[memory.name] * per_word / memory.bandwidth_bytes_per_s)
    return max(found), sum(found, Fraction(0))


def array_cycles(bound: Bound) -> Fraction:
    """Return the cycles of the busiest array: a lower bound of the first result of ``price``."""
    shares = _shares(bound)
    return max(_by_array(bound, {e.name: e.cycles * shares[e.name] for e in bound.einsums}))


def _by_array(bound: Bound, times: Sizes[str, Fraction]) -> Collection[Fraction]:
    """Return, for each array, the sum of the cycles of its Einsums."""
    busy = defaultdict[str, Fraction](Fraction)
    for e in bound.einsums:
        busy[e.array.name] += times[e.name]
    return busy.values()


def run_cycles(made: Bound, shapes: Sizes[str, int]) -> Fraction:
    """Run a mapping in the analytical engine for given shapes, and return its cycles."""
    # Bound as in a run: tiles that masks leave empty are skipped.
    return timed_cycles(bind(made.program, made.mapping, made.architecture, dict(shapes)))


def timed_cycles(bound: Bound) -> Fraction:
    """Return the cycles of a bound mapping in the analytical engine."""
    counts = count_mapping(bound)
    return time_bound(bound, counts_at_ports(bound, counts), "analytical").cycles


def _shares(bound: Bound) -> dict[str, Fraction]:
    """Return, for each Einsum, the share of iterations that masks do not skip."""
    return {e.name: _share(e) for e in skip_masked_tiles(bound).einsums}


def _share(e: BoundEinsum) -> Fraction:
    window = e.window
    if window is None:
        return Fraction(1)
    tile = first_tile(e.extents, e.temporal[: window.governed])
    x = window.band.columns if window.plus is None else tile[window.plus] * window.plus_scale
    y = window.band.rows if window.minus is None else tile[window.minus] * window.minus_scale
    return coverage(window.band, x, y, most_columns=policy.MAX_SAMPLED_TILE_ROWS)


def _words(bound: Bound, shares: dict[str, Fraction]) -> dict[str, Fraction]:
    """Return the machine words that each memory and each register file reads and writes."""
    found = defaultdict[str, Fraction](Fraction)
    for e in bound.einsums:
        for part in (e, *e.initial):
            for number in range(len(part.access_maps)):
                for access in accesses_of(bound, part, number, EXACT):
                    moved = (access.reads + access.writes) * bound.words.of(access.tensor)
                    found[access.place] += moved * shares[e.name]
    return found


def _turns(bound: Bound, times: dict[str, Fraction], shares: dict[str, Fraction]) -> list[Fraction]:
    """Return the cycles of each group of Einsums that depend on one another from step to step.

    The Einsums of a group run in turn, so that their cycles add up. The cycles by which sums are
    late are included.
    """

    def taken(name: str) -> Fraction:
        e = bound.by_name[name]
        starts = prod(e.trip_counts[loop.member] for loop in e.shared)
        return times[name] + reduction_latency(e) * starts * shares[name]

    groups = (g for g in strongly_connected_components(bound.program) if len(g) > 1)
    return [sum(map(taken, group), Fraction(0)) for group in groups]
