"""Record of a run: its exact counts, its times and energies, lower bounds, and its JSON.

Units are in the field names: cycles of the machine's clock, seconds, bytes, picojoules, square
micrometres. ``Result.to_dict`` is the JSON of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, StrictBool

from einsum_cascade.memo import lazy_field

from ..quantities import ratio
from ..spec.files.fields import PAIRS, ROWS, Label, Positive, Real, Signed, Whole
from .note import Note

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1

ResultPicture = Literal["roofline", "waterfall", "breakdown", "capacity"]
"""Names of the pictures of a result that can be drawn in any width."""

Key = TypeVar("Key", str, tuple[str, str])
Amount = TypeVar("Amount", int, float, Fraction)

Named = Annotated[tuple[tuple[Label, Real], ...], PAIRS]
"""Pairs of a name and a number; the name is of a component or an Einsum."""

Sizes = Annotated[tuple[tuple[Label, Whole], ...], PAIRS]
"""Pairs of a name and a whole number; the name is of a rank, an axis or a kind of operation."""

Texts = Annotated[tuple[tuple[Label, str], ...], PAIRS]
"""Pairs of a name and a text."""


def added(pairs: Iterable[tuple[Key, Amount]]) -> dict[Key, Amount]:
    """Return the sum of the values of each key, in the order of first occurrence.

    >>> added([("DRAM", 1), ("links", 2), ("DRAM", 3)])
    {'DRAM': 4, 'links': 2}
    """
    found: dict[Key, Amount] = {}
    for key, value in pairs:
        found[key] = found[key] + value if key in found else value
    return found


def in_machine_order(
    components: Iterable[tuple[str, float]], levels: Iterable[str], arrays: Iterable[str]
) -> Named:
    """Return components in the order that every table and picture shows.

    Memories come first, from the outermost one. Then follows each array after its registers, then
    all other components.

    Parameters
    ----------
    components : iterable of (str, float)
        Names with numbers of any unit.
    levels, arrays : iterable of str
        Names of the machine's levels and arrays, in its order.

    Examples
    --------
    >>> found = [("array_2d", 1.0), ("array_2d.registers", 2.0), ("DRAM", 9.0)]
    >>> [name for name, _ in in_machine_order(found, ["DRAM"], ["array_2d"])]
    ['DRAM', 'array_2d.registers', 'array_2d']
    """
    order = [*levels, *(part for array in arrays for part in (f"{array}.registers", array))]
    place = {name: at for at, name in enumerate(order)}
    return tuple(sorted(components, key=lambda found: place.get(found[0], len(place))))


_MIN_GROWTH_NOTED = 0.001
"""Relative growth by a rewrite below which no note tells of it: less than the digits shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes that a whole workload needs of a memory, and bytes that it has (None: unknown)."""

    memory: Label
    needed_bytes: Real
    available_bytes: Positive | None

    @property
    def fits(self) -> bool:
        """False if the memory is known to be too small."""
        return self.available_bytes is None or self.needed_bytes <= self.available_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the need."""
        return asdict(self) | {"fits": self.fits}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Latency, traffic of the outermost memory and energy of a run."""

    latency_s: Positive
    traffic_bytes: Real
    energy_pj: Real


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Seconds that a run takes longer on the machine as built than as designed, by cause."""

    name: Label
    """Rate or bandwidth that is not sustained, with its array or memory (``HBM bandwidth``); or
    ``launch``, ``fill``, ``overlap`` or ``clock``."""
    seconds: Real


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedLosses:
    """Losses that were measured on another machine, which the machine of a run extends."""

    origin: Annotated[Label, Field(alias="from")]
    """Name of the other machine."""
    losses: tuple[Label, ...]
    """Paths of the losses below ``measured`` in the machine's file, such as ``sustained.HBM``."""

    def __str__(self) -> str:
        return f"{', '.join(self.losses)} inherited from {self.origin}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AsBuilt:
    """Latency, energy and power of a run on the machine as built, with measured losses."""

    latency_s: Real
    energy_pj: Real
    average_power_w: Real
    losses: tuple[Loss, ...] = ()
    """Causes of the difference to the latency as designed."""
    inherited: InheritedLosses | None = None
    """Losses that were measured on another machine; None if all are of this machine."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object; without inherited losses it says nothing of them."""
        found = asdict(self)
        if (inherited := found.pop("inherited")) is None:
            return found
        return found | {"inherited": {"from": inherited["origin"], "losses": inherited["losses"]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTraffic:
    """Bytes read from and written to one memory level over the whole run."""

    level: Label
    read_bytes: Annotated[Real, Field(alias="read")]
    write_bytes: Annotated[Real, Field(alias="write")]
    links: StrictBool = False
    """True if the level stands for all links of a ring, which hold no data."""

    @property
    def total_bytes(self) -> float:
        """Sum of the bytes read and the bytes written."""
        return self.read_bytes + self.write_bytes

    def of_runs(self, times: int) -> LevelTraffic:
        """Return the traffic of a number of equal runs."""
        return replace(
            self, read_bytes=times * self.read_bytes, write_bytes=times * self.write_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelBuffer:
    """Footprint of live tiles in a memory level, in bytes, and its capacity (None: unlimited)."""

    level: Label
    required_bytes: Annotated[Real, Field(alias="required")]
    capacity_bytes: Annotated[Positive | None, Field(alias="capacity")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """Cycles that an Einsum pays for skew and loads on a systolic array, over the whole run.

    A fold is the work between two fillings of the array. Every fold pays the skew, and every load
    pays its cycles. If fill and drain overlap with work, only the first fold and the first load
    pay.
    """

    einsum: Label
    array: Label
    folds: Whole
    skew: Sizes
    """Axes along which values hop, and the cycles of each hop chain: its processing elements less
    one."""
    loads: Whole
    """Number of times that stationary operands are loaded."""
    load_cycles: Whole
    overlap: StrictBool
    stall: Whole = 0
    """Cycles by which a load takes longer than the work that hides the load."""
    drain: Whole = 0
    """Cycles that a load waits until the last streamed value has left the array."""
    runs: Whole = 1
    """Number of times that the part of the workload runs."""

    @property
    def cycles(self) -> int:
        """Return the cycles beyond the work itself, over all runs.

        Where loads overlap with work, the first load is exposed, and every other load hides behind
        the work of one fold: 256 loads of 256 cycles, each behind one cycle of work, take 65,536
        cycles.

        Examples
        --------
        >>> loads = Folds(einsum="Z", array="a", folds=256, skew=(), loads=256, load_cycles=256,
        ...               overlap=True, stall=255)
        >>> loads.cycles + 256 * 1
        65537
        """
        skew = sum(n for _, n in self.skew)
        if not self.overlap:
            # Every fold waits until its last value has hopped through, and every load is exposed.
            load = self.drain + self.load_cycles
            return self.runs * (self.folds * skew + self.loads * load)
        waits = max(self.loads - 1, 0) * self.stall
        return self.runs * (
            min(1, self.folds) * skew + min(1, self.loads) * self.load_cycles + waits
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayUse:
    """Cycles in which one array works, and its utilization.

    ``occupied_cycles`` counts cycles in which the array is occupied, with fill and drain of a
    systolic array. ``busy_cycles`` weighs each computing cycle by the share of processing elements
    at work. ``utilization`` is busy over elapsed cycles.
    """

    array: Label
    occupied_cycles: Real
    busy_cycles: Real
    utilization: Real


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumUse:
    """Use of the machine by one Einsum over the whole run: cycles on its array, operations,
    utilization."""

    name: Label
    array: Label
    cycles: Real
    operations: Sizes
    utilization: Real
    traffic: tuple[LevelTraffic, ...] = ()
    formats: Annotated[tuple[tuple[str, str], ...], ROWS] = ()
    """Pairs of an operation kind and the number format requested for it; empty if none is
    requested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRoof:
    """Peak performance of an array, in operations per second."""

    array: Label
    peak_ops_per_s: Positive
    """Operations per second if every element does its fastest operation all the time (a mac is
    one)."""
    untimed: tuple[str, ...] = ()
    """Kinds of operation that take no cycles on the array; the roof does not apply to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRoof:
    """Peak bandwidth of a memory in bytes per second; None if it is unlimited."""

    level: Label
    bytes_per_s: Positive | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofs:
    """Limits of the machine for a roofline: peak performance of arrays, peak bandwidth of
    memories."""

    arrays: tuple[ArrayRoof, ...] = ()
    memories: tuple[MemoryRoof, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Lower bounds of any schedule of this mapping on this machine."""

    compute_s: Real
    bandwidth_s: Real
    traffic_bytes: Real
    """Traffic in bytes if each input is read once and each output is written once."""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Lower bounds of any mapping of this work on this machine (``bounds.floor``).

    Each is a number, or a function that computes it when it is first read: many callers need no
    floor, or its latency alone. Zeros stand for a floor that was not computed.
    """

    latency_s: lazy_field[Real] = lazy_field(0.0)
    """Maximum of the two bounds below; for parts in sequence, the sum of their maxima."""
    energy_pj: lazy_field[Real] = lazy_field(0.0)
    """Least energy in pJ."""
    compute_s: lazy_field[Real] = lazy_field(0.0)
    """Time if every operation runs on a capable array, with all elements and arrays at work."""
    bandwidth_s: lazy_field[Real] = lazy_field(0.0)
    """Time to read each input once and write each output once at the outermost memory's
    bandwidth."""

    def __getstate__(self) -> dict[str, float]:
        """Return the state to pickle: numbers alone, without functions."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleReport:
    """Composition of the latency: ``steps * period + fill and drain``."""

    kind: str
    steps: Whole
    period_cycles: Real
    """Maximum cycle mean of the event graph: cycles per step in the steady state."""
    fill_drain_cycles: Signed
    critical: tuple[str, ...]
    """Tasks of the critical cycle in order, or the phase or transfer that bounds the run."""
    lookahead: Whole | None = None
    simulated_events: Whole | None = None
    """Number of task events that the engine simulated."""
    timed_by: Literal["steps", "average"] = "steps"
    """Method of timing: ``steps`` if the real steps ran, ``average`` if these are too many or too
    varied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartUse:
    """Part of a workload with its own simulation, and the number of times it runs.

    ``result`` describes a single run; the other numbers cover all ``times`` runs.
    """

    name: Label
    times: Whole
    result: RunRecord
    stage: str = ""
    """Stage of a request that the part belongs to: ``prefill`` or ``decode``."""
    together: Whole = 1
    """Number of runs that start as one kernel."""

    @property
    def latency_s(self) -> float:
        """Latency of all runs in seconds."""
        return self.times * self.result.latency_s

    @property
    def cycles(self) -> float:
        """Cycles of all runs."""
        return self.times * self.result.cycles

    @property
    def traffic_bytes(self) -> float:
        """Bytes moved to and from the outermost memory in all runs."""
        return self.times * self.result.traffic_bytes

    @property
    def energy_pj(self) -> float:
        """Picojoules of all runs."""
        return self.times * self.result.energy_pj


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestUse:
    """Time and energy of a whole request, for all its sequences together.

    Prefill gives the first token of an answer; each further token is decoded.
    """

    prompt_len: Whole
    answer_len: Whole
    time_to_first_token_s: Real
    time_per_output_token_s: Real | None
    """Mean time per decoded token, which is each token after the first; None if there is none."""
    first_token_j: Real
    """Energy up to the first token, in joules."""
    output_token_j: Real | None
    """Mean energy per decoded token of all sequences, in joules; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Record of a simulation; ``Result`` adds methods that show it."""

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
    core_tile: tuple[tuple[str, int], ...] = ()
    """Shapes of the tile of one core, by rank; empty if one core does all of the work."""
    notes: tuple[Note, ...] = field(default=())
    """Sentences about costs that are included in the result, and costs that are not."""
    resident_bytes: float = 0.0
    """Bytes of the run's tensors in the outermost memory that stores data, in each copy of it."""
    capacity: tuple[MemoryNeed, ...] = ()
    """Memory that the whole workload needs; empty for a part of it."""
    charges: tuple[tuple[str, str, float], ...] = ()
    """Energy in picojoules of each pair of an Einsum and a component."""
    folds: tuple[Folds, ...] = ()
    """Cycles for skew and loads of each Einsum on a systolic array."""
    roofs: Roofs = Roofs()
    """Peak performance of arrays and memories."""
    floor: Floor = Floor()
    """Lower bounds of any mapping; ``bounds`` hold for this mapping."""
    parts: tuple[PartUse, ...] = ()
    """Parts that ran in sequence; empty if a single cascade ran once."""
    tokens: int | None = None
    """Number of tokens that a whole model computes over all sequences; for a request, tokens of
    answers."""
    formats: Texts = ()
    """Number formats of the weights and of the caches of a model, those of most values first."""
    request: RequestUse | None = None
    """Times and energies of the stages of a request; ``latency_s`` and energies of the run cover
    all."""

    as_built: AsBuilt | None = None
    """Latency and power with the losses of the built machine; None if none are measured."""

    before_rewrite: Totals | None = None
    """Totals of the best default of the same workload before its cascade was rewritten."""

    @property
    def totals(self) -> Totals:
        """Latency, traffic and energy of the run."""
        return Totals(
            latency_s=self.latency_s, traffic_bytes=self.traffic_bytes, energy_pj=self.energy_pj
        )

    def after_rewrite(self, before: Totals) -> Self:
        """Return the record with the totals before a rewrite, and a note if one has grown."""
        pairs = zip(asdict(before).items(), asdict(self.totals).values(), strict=True)
        more = [
            f"{name.rpartition('_')[0]} {ratio(now / earlier)}"
            for (name, earlier), now in pairs
            if now > (1 + _MIN_GROWTH_NOTED) * earlier > 0
        ]
        text = f"the rewrite costs: {', '.join(more)} of the best default before it"
        notes = (Note(text, "rewrite"), *self.notes) if more else self.notes
        return replace(self, before_rewrite=before, notes=notes)

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second over all sequences, if a whole model runs."""
        return None if self.tokens is None else self.tokens / self.latency_s

    @property
    def joules_per_token(self) -> float | None:
        """Energy per token in joules, if a whole model runs."""
        return None if self.tokens is None else self.energy_pj / 1e12 / self.tokens

    @property
    def utilization(self) -> dict[str, float]:
        """Busy cycles over elapsed cycles, by array."""
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
        """Bytes moved to and from the outermost memory."""
        return next(t.total_bytes for t in self.traffic if not t.links)

    @property
    def fits(self) -> bool:
        """False if a memory is known to be too small for the whole workload."""
        return all(need.fits for need in self.capacity)

    @property
    def clock_hz(self) -> float:
        """Clock of the machine; 0 for an empty run."""
        return self.cycles / self.latency_s if self.latency_s else 0.0

    @property
    def power_w(self) -> float:
        """Average power in watts; 0 for an empty run."""
        return self.energy_pj / 1e12 / self.latency_s if self.latency_s else 0.0

    @property
    def over_floor(self) -> float:
        """Ratio of the latency to the lower bound of any mapping, at least 1; 1 if no bound is
        known."""
        return self.latency_s / self.floor.latency_s if self.floor.latency_s else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``simulate --json``; ``from_dict`` reads it."""
        charges: dict[str, dict[str, float]] = {}
        for einsum, component, energy in self.charges:
            charges.setdefault(einsum, {})[component] = energy
        tokens = ("tokens", "tokens_per_s", "joules_per_token") if self.tokens is not None else ()
        return {
            "schema_version": SCHEMA_VERSION,
            "workload": self.workload,
            "architecture": self.architecture,
            "mapping": self.mapping,
            "engine": self.engine,
            "shape": dict(self.shape),
            **({"core_tile": dict(self.core_tile)} if self.core_tile else {}),
            "latency_s": self.latency_s,
            "cycles": self.cycles,
            "bound_by": self.bound_by,
            **{name: getattr(self, name) for name in tokens},
            **({"formats": dict(self.formats)} if self.formats else {}),
            **({"request": asdict(self.request)} if self.request else {}),
            **({"before_rewrite": asdict(self.before_rewrite)} if self.before_rewrite else {}),
            **({"as_built": self.as_built.to_dict()} if self.as_built else {}),
            "utilization": self.utilization,
            "busy_cycles": {a.array: a.busy_cycles for a in self.arrays},
            "occupied_cycles": {a.array: a.occupied_cycles for a in self.arrays},
            "traffic_bytes": _traffic(self.traffic),
            "buffer_bytes": {
                b.level: {"required": b.required_bytes, "capacity": b.capacity_bytes}
                for b in self.buffers
            },
            "energy_pj": {
                "total": self.energy_pj,
                "by_component": dict(self.energy_by_component),
                "by_einsum": dict(self.energy_by_einsum),
            },
            "area_um2": {"total": self.area_um2, "by_component": dict(self.area_by_component)},
            "bounds": asdict(self.bounds),
            "floor": asdict(self.floor),
            "einsums": [_einsum(e) for e in self.einsums],
            "schedule": asdict(self.schedule),
            "tiles": dict(self.tiles),
            "resident_bytes": self.resident_bytes,
            "capacity": [need.to_dict() for need in self.capacity],
            "notes": [note.to_dict() for note in self.notes],
            "charges_pj": charges,
            "roofs": asdict(self.roofs),
            "folds": [asdict(f) | {"skew": dict(f.skew), "cycles": f.cycles} for f in self.folds],
            "einsum_traffic_bytes": {e.name: _traffic(e.traffic) for e in self.einsums},
            "parts": [
                {"name": p.name, "times": p.times, "result": p.result.to_dict()}
                | ({"stage": p.stage} if p.stage else {})
                | ({"together": p.together} if p.together > 1 else {})
                for p in self.parts
            ],
        }

    def to_row(self) -> dict[str, str | float]:
        """Return names and totals of the run, keyed as the columns of a sweep.

        Returns
        -------
        dict
            ``workload``, ``architecture``, ``mapping``, ``latency_s``, ``floor_latency_s``,
            ``cycles``, ``energy_pj``, ``area_um2``, of a machine that states losses
            ``as_built_latency_s``, ``as_built_energy_pj`` and ``as_built_average_power_w``, if
            losses are inherited ``as_built_inherited``,
            ``fits``, of the outermost memory that stores data ``needed_bytes.MEMORY``, of each
            memory ``traffic_bytes.LEVEL`` and ``buffer_bytes.LEVEL``, of each array
            ``utilization.ARRAY``, of each component ``energy_pj.COMPONENT`` (they add up to
            ``energy_pj``), and ``bound_by``.
        """
        names = ("latency_s", "energy_pj", "average_power_w") if self.as_built else ()
        inherited = self.as_built.inherited if self.as_built else None
        return {
            "workload": self.workload,
            "architecture": self.architecture,
            "mapping": self.mapping,
            "latency_s": float(self.latency_s),
            "floor_latency_s": float(self.floor.latency_s),
            "cycles": float(self.cycles),
            "energy_pj": float(self.energy_pj),
            "area_um2": float(self.area_um2),
            **{f"as_built_{name}": float(getattr(self.as_built, name)) for name in names},
            **({"as_built_inherited": str(inherited)} if inherited else {}),
            "fits": self.fits,
            **{f"needed_bytes.{n.memory}": float(n.needed_bytes) for n in self.capacity},
            **{f"traffic_bytes.{t.level}": float(t.total_bytes) for t in self.traffic},
            **{f"utilization.{a.array}": float(a.utilization) for a in self.arrays},
            **{f"buffer_bytes.{b.level}": float(b.required_bytes) for b in self.buffers},
            **{f"energy_pj.{name}": float(energy) for name, energy in self.energy_by_component},
            "bound_by": self.bound_by,
        }

    def to_frame(self) -> DataFrame:
        """Return a pandas data frame with a row for every Einsum; a part's rows cover all of its
        runs.

        Returns
        -------
        pandas.DataFrame
            ``part`` (empty for a result without parts) and ``times``, ``einsum``, ``array``,
            ``cycles`` and ``time_s`` (time on its array, which may overlap with other arrays),
            ``utilization`` (share of the whole run), ``operations``, ``energy_pj``,
            ``traffic_bytes.LEVEL``. ``attrs["units"]`` has the units.
        """
        # Pandas takes longer to import than most commands take to run.
        from pandas import DataFrame

        pieces = [(p.name, p.times, p.result) for p in self.parts] or [("", 1, self)]
        clock = self.clock_hz
        rows: list[dict[str, str | float]] = []
        for name, times, part in pieces:
            energy = dict(part.energy_by_einsum)
            for e in part.einsums:
                cycles = times * float(e.cycles)
                share = times * part.cycles / self.cycles if self.cycles else 0.0
                traffic = {f"traffic_bytes.{t.level}": float(t.total_bytes) for t in e.traffic}
                rows.append(
                    {
                        "part": name,
                        "times": times,
                        "einsum": e.name,
                        "array": e.array,
                        "cycles": cycles,
                        "time_s": cycles / clock if clock else 0.0,
                        "utilization": float(e.utilization * share),
                        "operations": times * sum(n for _, n in e.operations),
                        "energy_pj": times * float(energy.get(e.name, 0.0)),
                        **{level: times * moved for level, moved in traffic.items()},
                    }
                )
        frame = DataFrame(rows)
        stems = {c: c.partition(".")[0] for c in frame.columns}
        frame.attrs["units"] = {c: _UNITS[stem] for c, stem in stems.items() if stem in _UNITS}
        return frame


_UNITS = {
    "cycles": "cycles",
    "time_s": "s",
    "energy_pj": "pJ",
    "utilization": "1",
    "traffic_bytes": "B",
}
"""Units by the beginning of a column's name."""


def _traffic(levels: tuple[LevelTraffic, ...]) -> dict[str, dict[str, float]]:
    return {
        t.level: {"read": t.read_bytes, "write": t.write_bytes, "total": t.total_bytes}
        | ({"links": True} if t.links else {})
        for t in levels
    }


def _einsum(einsum: EinsumUse) -> dict[str, Any]:
    formats: dict[str, list[str]] = {}
    for kind, fmt in einsum.formats:
        formats.setdefault(kind, []).append(fmt)
    return {
        "name": einsum.name,
        "array": einsum.array,
        "cycles": einsum.cycles,
        "operations": dict(einsum.operations),
        "utilization": einsum.utilization,
        **({"formats": formats} if formats else {}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Array or memory that may bound a run, and the time that its work takes."""

    name: str
    kind: Literal["compute", "bandwidth"]
    seconds: float
    """Time in seconds that the resource needs for all its work, without waits."""
    share: float
    """Share of the run's latency; near 1 for the resource that bounds the run."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``archsim map --json``."""
        return asdict(self)


def limits(result: RunRecord) -> tuple[Limit, ...]:
    """Return the arrays and memories of a run; those with the longest work come first.

    Parameters
    ----------
    result : RunRecord
        The run; memories without a bandwidth limit are left out.

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
    times: dict[tuple[str, Literal["compute", "bandwidth"]], float] = {
        (a.array, "compute"): a.occupied_cycles * cycle for a in result.arrays
    }
    for m in result.roofs.memories:
        if m.bytes_per_s:
            times[m.level, "bandwidth"] = moved.get(m.level, 0.0) / m.bytes_per_s
    return tuple(
        Limit(name=name, kind=kind, seconds=seconds, share=seconds / whole)
        for (name, kind), seconds in sorted(times.items(), key=lambda found: -found[1])
    )
