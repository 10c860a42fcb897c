"""From a mapping, shapes and a machine to a result, by either engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem
from einsum_cascade.ir import Name, Parameter, Program, walk

from ..bound.initial import with_starts
from ..bound.legality import illegalities
from ..bound.lower import Bound, lower
from ..bound.masking import leave_out_masked
from ..bound.tiling import Tiling, build_tiling, tile_size
from ..cost.accesses import EinsumCount, touched
from ..cost.energy import charges
from ..cost.estimators import areas
from ..cost.folds import folds_of
from ..cost.footprint import Requirement, all_fits, requirements
from ..cost.occupancy import busy_cycles, work_cycles
from ..cost.spill import count_mapping, spill_note
from ..result.record import (
    ArrayUse,
    Bounds,
    EinsumUse,
    LevelBuffer,
    LevelTraffic,
    Result,
    ScheduleReport,
    in_machine_order,
)
from ..schedule.average import Timing
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EVEN, WHOLE_OR_ONE, Mapping, TileSize
from .roofs import roofs_of
from .steady_state import time_closely

if TYPE_CHECKING:
    from mappers.choices.choose import Known

_TRIED = 1 << 17
"""Primes below this are found by trial division."""


def bind(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    known: Known | None = None,
) -> Bound:
    """Lower a mapping with its tiles fitted, and refuse it if it is not legal.

    ``shapes`` may name parameters of the cascade, too: a mask that needs them takes those.
    ``known`` remembers what open choices do from one machine to the next of one layout.

    Raises
    ------
    SpecError
        The mapping or the shapes name something that does not exist.
    MappingError
        The mapping breaks a dependency, loses a tensor, or needs more than a level holds.
    NoLegalMappingError
        No size of a tile written ``fit``, ``even`` or ``whole or one`` makes the mapping fit,
        or no combination of open choices is legal.
    """
    program, shapes = with_parameters(program, shapes)
    if not mapping.choices:
        return _bind(program, mapping, architecture, shapes)
    from mappers.choices.choose import choose

    like: Bound | None = None

    def bound(candidate: Mapping) -> Bound:
        nonlocal like
        sizes, _ = _sizes(candidate, architecture)
        tiling = build_tiling(program, candidate, shapes, sizes)
        like = lower(program, candidate, architecture, tiling, like)
        return like

    def closed(candidate: Mapping) -> Bound:
        return _bind(program, candidate, architecture, shapes)

    return choose(program, mapping, architecture, bound, closed, known)


def _sizes(mapping: Mapping, architecture: Architecture) -> tuple[dict[str, int], list[str]]:
    """Sizes of all tiles, 1 for those to be fitted, and which ones these are."""
    sizes: dict[str, int] = {}
    open_tiles: list[str] = []
    for tile in mapping.tiles:
        size = tile_size(tile, architecture)
        sizes[tile.member] = 1 if size is None else size
        if size is None:
            open_tiles.append(tile.member)
    return sizes, open_tiles


def _bind(
    program: Program, mapping: Mapping, architecture: Architecture, shapes: dict[str, int]
) -> Bound:
    """Bind a mapping without open choices."""
    sizes, open_tiles = _sizes(mapping, architecture)
    bound = lower(program, mapping, architecture, build_tiling(program, mapping, shapes, sizes))
    problems = illegalities(bound)
    if problems:
        raise MappingError(problems)
    _check_capacity(bound, NoLegalMappingError if open_tiles else MappingError)
    for member in open_tiles:
        bound = _fit(bound, shapes, sizes, member)
    return leave_out_masked(bound)


def with_parameters(program: Program, given: dict[str, int]) -> tuple[Program, dict[str, int]]:
    """The program with the given parameters as defaults, and the shapes that are left."""
    names = {p.name for p in program.parameters}
    parameters = tuple(replace(p, default=given.get(p.name, p.default)) for p in program.parameters)
    shapes = {name: value for name, value in given.items() if name not in names}
    return replace(program, parameters=parameters), shapes


def _check_capacity(bound: Bound, error: type[MappingError]) -> None:
    if not all_fits(bound):
        short = [r for r in requirements(bound) if not r.fits]
        spans = {k.level: k.span for k in bound.mapping.keep}
        raise error([Problem(str(r), spans.get(r.level), "use smaller tiles") for r in short])


def _fit(bound: Bound, shapes: dict[str, int], sizes: dict[str, int], member: str) -> Bound:
    """The lowering with the largest size of a tile that is legal, by bisection.

    All of the rank is tried first: it often fits.
    A size divides the tile's count; one written ``even`` is that of so many tiles as equal
    as they can be; one written ``whole or one`` is all of it, or one.
    """
    tile = next(t for t in bound.mapping.tiles if t.member == member)
    outermost = bound.tiling.of_rank(tile.rank)[0]
    count = bound.tiling.bound(outermost)
    choices = _choices(tile.size, count)
    best = bound
    low, high = 1, len(choices) - 1
    middle = high
    while low <= high:
        trial = _with_tile(bound, shapes, {**sizes, member: choices[middle]})
        if trial is not None:
            best, low = trial, middle + 1
            sizes[member] = choices[middle]
        else:
            high = middle - 1
        middle = (low + high) // 2
    return best


def _choices(size: TileSize, count: int) -> Sequence[int]:
    """Sizes of a tile that is to be fitted, in ascending order."""
    if size == WHOLE_OR_ONE:
        return sorted({1, count})
    return _Even(count) if size == EVEN else divisors(count)


class _Even(Sequence[int]):
    """The sizes of the largest of 1, 2, ... ``count`` equal tiles, the smallest first."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        return -(-self._count // (self._count - index))


def _with_tile(bound: Bound, shapes: dict[str, int], sizes: dict[str, int]) -> Bound | None:
    """The mapping with other tile sizes, if that is legal."""
    tiling: Tiling = build_tiling(bound.program, bound.mapping, shapes, sizes)
    try:
        trial = lower(bound.program, bound.mapping, bound.architecture, tiling, bound)
    except MappingError:
        return None
    return trial if all_fits(trial) and not illegalities(trial) else None


def divisors(number: int) -> list[int]:
    """All divisors in ascending order.

    Trial division finds small primes sooner than sympy, which factors what is left of a
    number that has large ones, is imported.
    """
    found = [1]
    rest, prime = number, 2
    while prime * prime <= rest and prime < _TRIED:
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        found = [d * prime**k for d in found for k in range(power + 1)] if power else found
        prime += 1
    left = _divisors(rest) if prime * prime <= rest else {1, rest}
    return sorted(d * other for d in found for other in left)


def _divisors(number: int) -> tuple[int, ...]:
    """Divisors of a number without small primes."""
    import sympy

    return tuple(int(d) for d in sympy.divisors(number))


def evaluate_mapping(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    workload: str = "",
    engine: str = "analytical",
) -> Result:
    """Counts, latency, energy, area and bounds of a mapping. Raises as ``bind`` does."""
    bound = bind(program, mapping, architecture, shapes)
    return evaluate_bound(bound, workload=workload, engine=engine)


def evaluate_bound(
    bound: Bound,
    *,
    workload: str = "",
    engine: str = "analytical",
    counts: tuple[EinsumCount, ...] = (),
) -> Result:
    """Counts, latency, energy, area and bounds of a mapping that is bound.

    ``counts`` are those of ``count_mapping`` on a machine of the same layout, if known.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, nothing takes time, or the
        engine does not count something yet.
    """
    counts = counts or count_mapping(bound)
    if engine == "event":
        from ..events.engine import time_events

        timing = time_events(bound, counts).timing
    else:
        timing = time_closely(bound, counts)
    if not timing.cycles:
        text = "nothing takes time: every operation takes 0 cycles and no memory has a bandwidth"
        raise MappingError(Problem(text, bound.mapping.span))
    return _result(bound, counts, timing, workload, engine)


def _result(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    timing: Timing,
    workload: str,
    engine: str,
) -> Result:
    architecture = bound.architecture
    bill = charges(architecture, counts)
    cycles = float(timing.cycles)
    return Result(
        workload=workload,
        architecture=architecture.name,
        mapping=bound.mapping.name,
        engine=engine,
        shape=bound.shapes,
        latency_s=float(timing.cycles / architecture.clock_hz),
        cycles=cycles,
        bound_by=timing.bound_by,
        arrays=_arrays(bound, counts, timing),
        traffic=_traffic(bound, counts),
        buffers=_buffers(requirements(bound)),
        energy_by_component=in_machine_order(
            _summed((c.component, c.energy_pj) for c in bill),
            (m.name for m in architecture.memories),
            (a.name for a in architecture.arrays),
        ),
        energy_by_einsum=_summed((c.einsum, c.energy_pj) for c in bill),
        area_by_component=areas(architecture),
        bounds=_bounds(bound, counts),
        einsums=_einsums(bound, counts, timing),
        schedule=ScheduleReport(
            kind=bound.mapping.schedule.kind,
            steps=timing.steps,
            period_cycles=float(timing.period),
            fill_drain_cycles=float(timing.fill_drain),
            critical=timing.critical,
            lookahead=timing.lookahead,
            simulated_events=timing.simulated,
        ),
        tiles=tuple((m.name, bound.tiling.bound(m)) for m in bound.tiling.members.values()),
        notes=(*_notes(bound), *timing.notes),
        charges=tuple((c.einsum, c.component, c.energy_pj) for c in bill),
        roofs=roofs_of(bound),
        folds=tuple(f for e in bound.einsums if (f := folds_of(bound, e)) is not None),
    )


def _summed(pairs: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for name, value in pairs:
        found[name] = found.get(name, 0.0) + value
    return tuple(found.items())


def _busy_share(bound: Bound, count: EinsumCount) -> Fraction:
    """Points over what the array's elements could do in the iterations taken."""
    array = bound.architecture.array(count.array)
    assert array is not None, "arrays are checked when lowering"
    if not count.iterations:  # a mask that lets nothing through
        return Fraction(0)
    return Fraction(count.points, count.iterations * array.elements)


def _arrays(bound: Bound, counts: tuple[EinsumCount, ...], timing: Timing) -> tuple[ArrayUse, ...]:
    found: list[ArrayUse] = []
    for array in bound.architecture.arrays:
        occupied = busy = Fraction(0)
        for e, count in zip(bound.einsums, counts, strict=True):
            if e.array is array:
                cycles = busy_cycles(bound, e)
                occupied += cycles
                busy += work_cycles(e) * _busy_share(bound, count)
        found.append(
            ArrayUse(
                array=array.name,
                occupied_cycles=float(occupied),
                busy_cycles=float(busy),
                utilization=float(busy / timing.cycles),
            )
        )
    return tuple(found)


def _einsums(
    bound: Bound, counts: tuple[EinsumCount, ...], timing: Timing
) -> tuple[EinsumUse, ...]:
    found: list[EinsumUse] = []
    for e, count in zip(bound.einsums, counts, strict=True):
        cycles = busy_cycles(bound, e)
        found.append(
            EinsumUse(
                name=e.name,
                array=e.array.name,
                cycles=float(cycles),
                operations=count.operations,
                utilization=float(work_cycles(e) * _busy_share(bound, count) / timing.cycles),
                traffic=_traffic(bound, (count,)),
            )
        )
    return tuple(found)


def _traffic(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[LevelTraffic, ...]:
    word = bound.architecture.word_bytes
    found: list[LevelTraffic] = []
    for memory in bound.architecture.memories:
        here = [a for c in counts for a in c.accesses if a.place == memory.name]
        found.append(
            LevelTraffic(
                level=memory.name,
                read_bytes=_number(sum(a.reads for a in here) * word),
                write_bytes=_number(sum(a.writes for a in here) * word),
            )
        )
    return tuple(found)


def _number(value: Fraction) -> float:
    """An exact integer where the value is one, so that JSON shows it exactly."""
    return int(value) if value.denominator == 1 else float(value)


def _buffers(found: tuple[Requirement, ...]) -> tuple[LevelBuffer, ...]:
    return tuple(
        LevelBuffer(
            level=r.level,
            required_bytes=_number(r.required_bytes),
            capacity_bytes=r.capacity_bytes,
        )
        for r in found
        if r.capacity_bytes is not None
    )


def _bounds(bound: Bound, counts: tuple[EinsumCount, ...]) -> Bounds:
    """Array work alone, traffic alone at full bandwidth, and compulsory traffic."""
    architecture = bound.architecture
    work: dict[str, Fraction] = {}
    for e in bound.einsums:
        work[e.array.name] = work.get(e.array.name, Fraction(0)) + busy_cycles(bound, e)
    transfers = [Fraction(0)]
    for memory, traffic in zip(architecture.memories, _traffic(bound, counts), strict=True):
        if memory.bandwidth_bytes_per_s is not None:
            transfers.append(Fraction(traffic.total_bytes) / memory.bandwidth_bytes_per_s)
    return Bounds(
        compute_s=float(max(work.values()) / architecture.clock_hz),
        bandwidth_s=float(max(transfers)),
        traffic_bytes=_number(compulsory_elements(bound) * architecture.word_bytes),
    )


def compulsory_elements(bound: Bound) -> int:
    """Elements of all inputs and outputs that are touched: each moved once at the least."""
    sizes: dict[str, int] = {}
    ends = {*(t.name for t in bound.program.inputs), *bound.program.outputs}
    for e in with_starts(bound):
        for access_map in (*e.reads, e.write):
            name = access_map.access.tensor
            if name in ends:
                elements = touched(bound, e, access_map, bound.register_level)
                sizes[name] = max(sizes.get(name, 0), elements)
    return sum(sizes.values())


def _stand_ins(bound: Bound, array: ProcessingArray) -> str:
    """Which operations the array's table lacks, and what is done and billed instead."""
    needed = {kind for e in bound.einsums if e.array.name == array.name for kind, _ in e.operations}
    found: list[str] = []
    for kind in sorted(needed):
        if array.listed(kind) is None:
            operation = array.operation(kind)
            assert operation is not None, "operations are checked when lowering"
            how = "a cycle, unbilled" if kind == "copy" else f"done as {operation.kind}"
            found.append(f"{kind} is not listed ({how})")
    return "; ".join(found)


def _mask_parameters(bound: Bound) -> list[Parameter]:
    """Parameters on which masks, and so the counts, depend."""
    used = {
        node.name
        for e in bound.einsums
        if e.einsum.where is not None
        for node in walk(e.einsum.where)
        if isinstance(node, Name)
    }
    return [p for p in bound.program.parameters if p.name in used and p.default is not None]


def _notes(bound: Bound) -> tuple[str, ...]:
    """What the machine's data and the mapping leave unbilled, in sentences."""
    architecture = bound.architecture
    found: list[str] = []
    if bound.mapping.chosen:
        picked = ", ".join(f"{name} {what}" for name, what in bound.mapping.chosen)
        found.append(f"chosen by the mapping's objective: {picked}")
    if note := spill_note(bound):
        found.append(note)
    found.extend(bound.unskipped)
    found += [f"{p.name} = {p.default:g}" for p in _mask_parameters(bound)]
    masked = [e.name for e in bound.einsums if e.window is not None]
    if masked:
        found.append(
            f"{', '.join(masked)}: tiles that the mask leaves without a point are not run; the "
            "others are run whole"
        )
    for array in architecture.arrays:
        stood_in = _stand_ins(bound, array)
        if stood_in:
            found.append(f"{array.name}: {stood_in}")
        if array.registers.billed == "one":
            found.append(
                f"{array.name}: register accesses of its own Einsums are billed for one element "
                f"of {array.elements}"
            )
    for memory in architecture.memories:
        if memory.bandwidth_bytes_per_s is None:
            found.append(f"{memory.name}: bandwidth is taken as unlimited")
    found.append("leakage, clock and on-chip network energy are not billed")
    return tuple(found)
