"""Record of a run: frozen, exact where counting is exact, with its bounds and floor.

Units are in the field names: cycles of the machine's clock, seconds, bytes, picojoules, square
micrometres. ``Result.to_dict`` is the JSON of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from einsum_cascade.memo import lazy_field

SCHEMA_VERSION = 1

ResultPicture = Literal["roofline", "waterfall", "breakdown", "capacity"]
"""Pictures of a result that come in any width."""

Named = tuple[tuple[str, float], ...]
"""Pairs of a component's or Einsum's name and a number."""


def in_machine_order(
    components: Iterable[tuple[str, float]], levels: Iterable[str], arrays: Iterable[str]
) -> Named:
    """Components as every table and picture has them.

    Memories outermost first, then each array after its registers, then what else there is.

    Parameters
    ----------
    components : iterable of (str, float)
        Names with numbers of any unit.
    levels, arrays : iterable of str
        Of the machine, in its order.

    Examples
    --------
    >>> found = [("array_2d", 1.0), ("array_2d.registers", 2.0), ("DRAM", 9.0)]
    >>> [name for name, _ in in_machine_order(found, ["DRAM"], ["array_2d"])]
    ['DRAM', 'array_2d.registers', 'array_2d']
    """
    order = [*levels, *(part for array in arrays for part in (f"{array}.registers", array))]
    place = {name: at for at, name in enumerate(order)}
    return tuple(sorted(components, key=lambda found: place.get(found[0], len(place))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTraffic:
    """Bytes read from and written to one memory level over the whole run."""

    level: str
    read_bytes: float
    write_bytes: float
    links: bool = False
    """Whether it is a ring of links, all of them together: it holds nothing."""

    @property
    def total_bytes(self) -> float:
        """Reads and writes together."""
        return self.read_bytes + self.write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelBuffer:
    """Bytes of live tiles a level must hold, and what it has (None: unlimited)."""

    level: str
    required_bytes: float
    capacity_bytes: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """What skew costs one Einsum on a systolic array, over the whole run.

    A fold is what runs between two fillings of the array. Every fold pays the skew and
    every load its cycles; the first alone where fill and drain overlap with work.
    """

    einsum: str
    array: str
    folds: int
    skew: tuple[tuple[str, int], ...]
    """Axes along which values hop, and the cycles of it: elements less one."""
    loads: int
    """How often operands are loaded that every element has its own of."""
    load_cycles: int
    overlap: bool
    stall: int = 0
    """Cycles by which a load is longer than the work that it hides behind."""
    drain: int = 0
    """Cycles that a load waits until what streamed before has left the array."""
    runs: int = 1
    """How often all of this happens: the times a part of a workload runs."""

    @property
    def cycles(self) -> int:
        """Cycles beyond the work itself, of all runs.

        Where loads overlap with work, the first has none to hide behind, and each other one
        that of a fold: 256 loads of 256 cycles behind a cycle of work each take 65,536.

        Examples
        --------
        >>> loads = Folds(einsum="Z", array="a", folds=256, skew=(), loads=256, load_cycles=256,
        ...               overlap=True, stall=255)
        >>> loads.cycles + 256 * 1
        65537
        """
        skew = sum(n for _, n in self.skew)
        if not self.overlap:
            # Every fold waits for the last value to have hopped through; every load for itself.
            load = self.drain + self.load_cycles
            return self.runs * (self.folds * skew + self.loads * load)
        waits = max(self.loads - 1, 0) * self.stall
        return self.runs * (
            min(1, self.folds) * skew + min(1, self.loads) * self.load_cycles + waits
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayUse:
    """How long one array works.

    ``occupied_cycles`` counts cycles in which the array is taken, fill and drain of a
    systolic one included; ``busy_cycles`` weighs those in which it computes by the share of
    elements at work; ``utilization`` is busy over elapsed.
    """

    array: str
    occupied_cycles: float
    busy_cycles: float
    utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumUse:
    """One Einsum over the whole run: cycles on its array, operations, utilization."""

    name: str
    array: str
    cycles: float
    operations: tuple[tuple[str, int], ...]
    utilization: float
    traffic: tuple[LevelTraffic, ...] = ()
    formats: tuple[tuple[str, str], ...] = ()
    """Pairs of an operation kind and the format it is asked for in, where formats are stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRoof:
    """What an array does at the most, in operations a second."""

    array: str
    peak_ops_per_s: float
    """Every element does its fastest operation all the time (a mac is one operation)."""
    untimed: tuple[str, ...] = ()
    """Kinds of operation that take no cycles on it, and so have no roof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRoof:
    """What a memory moves at the most, in bytes a second; None: no limit is given."""

    level: str
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofs:
    """The machine's limits, for a roofline."""

    arrays: tuple[ArrayRoof, ...] = ()
    memories: tuple[MemoryRoof, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What no schedule of this mapping on this machine can beat."""

    compute_s: float
    bandwidth_s: float
    traffic_bytes: float
    """Each input read once, each output written once, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """What no mapping of this work on this machine can beat (``evaluate.floor``).

    Zeros where nobody worked it out: nothing is below that either.
    """

    latency_s: float = 0.0
    """The larger of the two below; of parts that run one after the other, their sum."""
    energy_pj: lazy_field[float] = lazy_field(0.0)
    """Given as a number, or as what works it out: most who ask for a latency need it not."""
    compute_s: float = 0.0
    """Every operation on an array that does it, all elements at work, arrays side by side."""
    bandwidth_s: float = 0.0
    """Each input read once and each output written once, at the outermost memory's bandwidth."""

    def __getstate__(self) -> dict[str, float]:
        """The numbers: what works one out stays where it is."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReport:
    """How the latency came about: ``steps * period + fill and drain``."""

    kind: str
    steps: int
    period_cycles: float
    """Maximum cycle mean of the event graph: cycles per step in the steady state."""
    fill_drain_cycles: float
    critical: tuple[str, ...]
    """The critical cycle, task by task, or the binding phase or transfer."""
    lookahead: int | None = None
    simulated_events: int | None = None
    """Task events that were fired to know it."""
    timed_by: Literal["steps", "average"] = "steps"
    """Whether the real steps were run; else they are too many, or too unlike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartUse:
    """One part of a workload: a simulation of its own, and how often it runs.

    ``result`` is of a single run; the other figures are of all ``times`` runs together.
    """

    name: str
    times: int
    result: RunRecord
    stage: str = ""
    """Of a request: ``prefill`` or ``decode``."""

    @property
    def latency_s(self) -> float:
        """Seconds of all runs."""
        return self.times * self.result.latency_s

    @property
    def cycles(self) -> float:
        """Cycles of all runs."""
        return self.times * self.result.cycles

    @property
    def traffic_bytes(self) -> float:
        """Bytes to and from the outermost memory in all runs."""
        return self.times * self.result.traffic_bytes

    @property
    def energy_pj(self) -> float:
        """Picojoules of all runs."""
        return self.times * self.result.energy_pj


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestUse:
    """What a whole request takes, for all its sequences together.

    The first token of an answer comes out of the prompt; the further ones are decoded.
    """

    prompt_len: int
    answer_len: int
    time_to_first_token_s: float
    time_per_output_token_s: float | None
    """Of the further ones, on average; None where there are none."""
    first_token_j: float
    """Energy until the first token is there, in joules."""
    output_token_j: float | None
    """Energy of a further one of every sequence, on average; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything a simulation found out; ``Result`` is this, and shows itself."""

    workload: str
    architecture: str
    mapping: str
    engine: str
    shape: tuple[tuple[str, int], ...]
    latency_s: float
    cycles: float
    bound_by: str
    arrays: tuple[ArrayUse, ...]
    traffic: tuple[LevelTraffic, ...]
    buffers: tuple[LevelBuffer, ...]
    energy_by_component: Named
    energy_by_einsum: Named
    area_by_component: Named
    bounds: Bounds
    einsums: tuple[EinsumUse, ...]
    schedule: ScheduleReport
    tiles: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What was billed and what was not, in sentences."""
    charges: tuple[tuple[str, str, float], ...] = ()
    """Energy by (Einsum, component) in picojoules."""
    folds: tuple[Folds, ...] = ()
    """Skew of every Einsum that pays it, on systolic arrays."""
    roofs: Roofs = Roofs()
    """What the arrays and the memories do at the most."""
    floor: Floor = Floor()
    """What no mapping beats; ``bounds`` are of this one."""
    parts: tuple[PartUse, ...] = ()
    """What ran one after the other, where that is more than one cascade once."""
    tokens: int | None = None
    """Tokens of all sequences that it computes, where a whole model runs; of a request those
    of its answers."""
    request: RequestUse | None = None
    """The stages of a request; ``latency_s`` and energies are of all of it."""

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens of all sequences in a second, where a whole model runs."""
        return None if self.tokens is None else self.tokens / self.latency_s

    @property
    def joules_per_token(self) -> float | None:
        """Energy of each of them in joules."""
        return None if self.tokens is None else self.energy_pj / 1e12 / self.tokens

    @property
    def utilization(self) -> dict[str, float]:
        """Busy over elapsed cycles, per array."""
        return {a.array: a.utilization for a in self.arrays}

    @property
    def energy_pj(self) -> float:
        """Total energy in picojoules."""
        return sum(v for _, v in self.energy_by_component)

    @property
    def area_um2(self) -> float:
        """Total area in square micrometres."""
        return sum(v for _, v in self.area_by_component)

    @property
    def traffic_bytes(self) -> float:
        """Bytes to and from the outermost memory."""
        return next(t.total_bytes for t in self.traffic if not t.links)

    @property
    def over_floor(self) -> float:
        """Latency over the floor's, which is 1 or more; 1 where no floor is known."""
        return self.latency_s / self.floor.latency_s if self.floor.latency_s else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An array that computes or a memory that moves data, and for how long."""

    name: str
    kind: Literal["compute", "bandwidth"]
    seconds: float
    """How long it takes for all its work, whatever it waits for."""
    share: float
    """Of the latency; what bounds a run is near 1."""

    def to_dict(self) -> dict[str, Any]:
        """What ``archsim map --json`` says."""
        return {"name": self.name, "kind": self.kind, "seconds": self.seconds, "share": self.share}


def limits(result: RunRecord) -> tuple[Limit, ...]:
    """Arrays and memories of a run, the one that works longest first.

    Parameters
    ----------
    result : RunRecord
        Of the engine; memories without a bandwidth bound nothing and are left out.

    Examples
    --------
    >>> from archsim import simulate
    >>> [(x.name, x.kind, round(x.share, 2)) for x in limits(simulate("bert-base"))[:2]]
    [('array_1d', 'compute', 1.0), ('array_2d', 'compute', 0.96)]
    >>> [(x.name, x.kind, round(x.share, 2)) for x in limits(simulate("bert-base"))[2:]]
    [('global_buffer', 'bandwidth', 0.15), ('DRAM', 'bandwidth', 0.13)]
    """
    whole = result.latency_s
    if not whole:
        return ()
    cycle = whole / result.cycles if result.cycles else 0.0
    moved = {t.level: t.total_bytes for t in result.traffic}
    found = [
        Limit(name=a.array, kind="compute", seconds=s, share=s / whole)
        for a in result.arrays
        for s in (a.occupied_cycles * cycle,)
    ]
    found += [
        Limit(name=m.level, kind="bandwidth", seconds=s, share=s / whole)
        for m in result.roofs.memories
        if m.bytes_per_s
        for s in (moved.get(m.level, 0.0) / m.bytes_per_s,)
    ]
    return tuple(sorted(found, key=lambda x: -x.seconds))
