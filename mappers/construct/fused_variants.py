"""Variants of a fused mapping (level bypass, operands in registers) and their estimated cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as Sizes
from dataclasses import replace
from fractions import Fraction
from math import prod

from archsim.counts.accesses import accesses_of
from archsim.counts.cores import counts_at_ports
from archsim.counts.meter import EXACT
from archsim.counts.occupancy import busy_cycles, reduction_latency
from archsim.counts.spill import count_mapping
from archsim.engine.latency import time_bound
from archsim.iteration.bands import coverage
from archsim.iteration.loops import first_tile
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities, loses_tensors
from archsim.legality.footprint import all_fits
from archsim.nest.binder import bind_loops
from archsim.nest.masks import skip_masked_tiles
from archsim.nest.problems import EinsumProblem
from archsim.nest.record import Bound, BoundEinsum
from archsim.nest.residency import residency
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Keep, Mapping, NestLevel
from einsum_cascade.errors import MappingError

from ..space.factorisation import strongly_connected_components
from . import policy


def without_second(architecture: Architecture) -> Architecture | None:
    """Return the machine without its second memory; None where it has to stay."""
    first, *inner = architecture.memories
    if len(inner) < 2 or not architecture.tree.is_line:
        return None
    return replace(architecture, memories=(first, *inner[1:]))


def with_second(bound: Bound, architecture: Architecture) -> Bound | None:
    """Return a mapping of the machine without its second memory, on the whole machine.

    The second memory holds what comes from the outermost one, under as few loops as fit.

    Parameters
    ----------
    bound : Bound
        A legal mapping that fits.
    architecture : Architecture
        The whole machine.

    Returns
    -------
    Bound or None
        None where it fits under no loops.
    """
    return next((x for x in _moved_in(bound, architecture) if all_fits(x)), None)


def _moved_in(bound: Bound, architecture: Architecture) -> Iterator[Bound]:
    first, second, *_ = (m.name for m in architecture.memories)
    mapping = bound.mapping
    outside = next((n.loops for n in mapping.nest if n.level == first), ())
    inside = tuple(n for n in mapping.nest if n.level != first)
    held = next(k.tensors for k in mapping.keep if k.level == first)
    keep = (*(k for k in mapping.keep if k.level != second), Keep(level=second, tensors=held))
    # From no loop outside of the second memory, which needs most room, to all of them.
    for split in range(len(outside) + 1):
        levels = ((first, outside[:split]), (second, outside[split:]))
        nest = tuple(NestLevel(level=level, loops=loops) for level, loops in levels if loops)
        moved = replace(mapping, nest=(*nest, *inside), keep=keep)
        try:
            found = bind_loops(bound.program, moved, architecture, bound.tiling)
        except MappingError:
            return
        if not illegalities(found):
            yield found


def in_registers(bound: Bound) -> Bound:
    """Return a mapping with intermediates in registers of their array, as far as that is legal."""
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
    """Return a mapping that keeps a tensor in one level only."""
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
    """Return estimated cycles of the slowest part, and of all parts together.

    The parts are arrays, memories, and groups of Einsums that need one another from step to step,
    which take turns and wait for late sums. A mask scales an Einsum by the share of iterations that
    it leaves.

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
            moved = words.get(memory.name, Fraction(0))
            found.append(moved * per_word / memory.bandwidth_bytes_per_s)
    return max(found), sum(found, Fraction(0))


def array_cycles(bound: Bound) -> Fraction:
    """Return the cycles of the busiest array, a lower bound of ``price``."""
    shares = _shares(bound)
    return max(_by_array(bound, {e.name: e.cycles * shares[e.name] for e in bound.einsums}))


def _by_array(bound: Bound, times: Sizes[str, Fraction]) -> Collection[Fraction]:
    """Return the sums of Einsums' cycles on each array."""
    busy: dict[str, Fraction] = {}
    for e in bound.einsums:
        busy[e.array.name] = busy.get(e.array.name, Fraction(0)) + times[e.name]
    return busy.values()


def soonest_of(found: Sequence[tuple[Bound, Sizes[str, int]]]) -> Bound:
    """Return the most promising mapping; the engine decides among those with similar estimates.

    Parameters
    ----------
    found : sequence of tuple
        Mappings, each with the shapes that it is bound to.
    """
    promised = [price(bound)[0] for bound, _ in found]
    near = [
        x
        for x, cycles in zip(found, promised, strict=True)
        if cycles <= policy.MAX_ESTIMATE_RATIO * min(promised)
    ]
    return near[0][0] if len(near) == 1 else min(near, key=lambda x: run_cycles(*x))[0]


def run_cycles(made: Bound, shapes: Sizes[str, int]) -> Fraction:
    """Return the cycles of a mapping by the engine, for given shapes."""
    # Bound as in a run: tiles that masks leave empty are skipped.
    bound = bind(made.program, made.mapping, made.architecture, dict(shapes))
    counts = count_mapping(bound)
    return time_bound(bound, counts_at_ports(bound, counts), "analytical").cycles


def _shares(bound: Bound) -> dict[str, Fraction]:
    """Return the share of each Einsum's iterations that masks leave."""
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
    """Return the words that each memory and register file moves."""
    found: dict[str, Fraction] = {}
    for e in bound.einsums:
        for part in (e, *e.initial):
            for number in range(len(part.access_maps)):
                for access in accesses_of(bound, part, number, EXACT):
                    moved = (access.reads + access.writes) * bound.words.of(access.tensor)
                    before = found.get(access.place, Fraction(0))
                    found[access.place] = before + moved * shares[e.name]
    return found


def _turns(bound: Bound, times: dict[str, Fraction], shares: dict[str, Fraction]) -> list[Fraction]:
    """Return the cycles of each group of Einsums that take turns."""
    found = []
    for group in strongly_connected_components(bound.program):
        if len(group) > 1:
            late = (
                reduction_latency(bound.by_name[n]) * _runs(bound, n) * shares[n] for n in group
            )
            found.append(sum((times[n] for n in group), sum(late, Fraction(0))))
    return found


def _runs(bound: Bound, name: str) -> int:
    """Return the number of starts of an Einsum."""
    e = bound.by_name[name]
    return prod(e.trip_counts[loop.member] for loop in e.shared)
