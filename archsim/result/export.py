"""Conversion of a result to JSON and back, and to rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from einsum_cascade.errors import InputError

from .record import (
    SCHEMA_VERSION,
    ArrayRoof,
    ArrayUse,
    Bounds,
    EinsumUse,
    Floor,
    Folds,
    LevelBuffer,
    LevelTraffic,
    MemoryRoof,
    PartUse,
    RequestUse,
    Roofs,
    RunRecord,
    ScheduleReport,
)

if TYPE_CHECKING:
    from pandas import DataFrame
R = TypeVar("R", bound=RunRecord)
"""Class of the result to build: the record, or the public class derived from it."""


def result_to_dict(result: RunRecord) -> dict[str, Any]:
    """Return a result as a JSON object, which ``result_from_dict`` reads."""
    charges: dict[str, dict[str, float]] = {}
    for einsum, component, energy in result.charges:
        charges.setdefault(einsum, {})[component] = energy
    return {
        "schema_version": SCHEMA_VERSION,
        "workload": result.workload,
        "architecture": result.architecture,
        "mapping": result.mapping,
        "engine": result.engine,
        "shape": dict(result.shape),
        "latency_s": result.latency_s,
        "cycles": result.cycles,
        "bound_by": result.bound_by,
        **_of_tokens(result),
        **({"request": asdict(result.request)} if result.request else {}),
        "utilization": result.utilization,
        "busy_cycles": {a.array: a.busy_cycles for a in result.arrays},
        "occupied_cycles": {a.array: a.occupied_cycles for a in result.arrays},
        "traffic_bytes": _traffic(result.traffic),
        "buffer_bytes": {
            b.level: {"required": b.required_bytes, "capacity": b.capacity_bytes}
            for b in result.buffers
        },
        "energy_pj": {
            "total": result.energy_pj,
            "by_component": dict(result.energy_by_component),
            "by_einsum": dict(result.energy_by_einsum),
        },
        "area_um2": {"total": result.area_um2, "by_component": dict(result.area_by_component)},
        "bounds": asdict(result.bounds),
        "floor": asdict(result.floor),
        "einsums": [_einsum(e) for e in result.einsums],
        "schedule": asdict(result.schedule),
        "tiles": dict(result.tiles),
        "notes": list(result.notes),
        "charges_pj": charges,
        "roofs": asdict(result.roofs),
        "folds": [asdict(f) | {"skew": dict(f.skew), "cycles": f.cycles} for f in result.folds],
        "einsum_traffic_bytes": {e.name: _traffic(e.traffic) for e in result.einsums},
        "parts": [
            {"name": p.name, "times": p.times, "result": result_to_dict(p.result)}
            | ({"stage": p.stage} if p.stage else {})
            for p in result.parts
        ],
    }


def _of_tokens(result: RunRecord) -> dict[str, float | None]:
    """Return numbers per token if a whole model runs; otherwise nothing."""
    if result.tokens is None:
        return {}
    return {
        "tokens": result.tokens,
        "tokens_per_s": result.tokens_per_s,
        "joules_per_token": result.joules_per_token,
    }


def _traffic(levels: tuple[LevelTraffic, ...]) -> dict[str, dict[str, float]]:
    return {
        t.level: {"read": t.read_bytes, "write": t.write_bytes, "total": t.total_bytes}
        | ({"links": True} if t.links else {})
        for t in levels
    }


def _einsum(einsum: EinsumUse) -> dict[str, Any]:
    return {
        "name": einsum.name,
        "array": einsum.array,
        "cycles": einsum.cycles,
        "operations": dict(einsum.operations),
        "utilization": einsum.utilization,
        **({"formats": _formats(einsum)} if einsum.formats else {}),
    }


def _formats(einsum: EinsumUse) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, fmt in einsum.formats:
        found.setdefault(kind, []).append(fmt)
    return found


def result_from_dict(data: Mapping[str, Any], make: type[R]) -> R:
    """Return the result that ``result_to_dict`` turned into a given JSON object.

    Raises
    ------
    InputError
        The data is no such object, or has another schema version.
    """
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"expected the JSON object of a result with schema_version {SCHEMA_VERSION}, "
            f"got {'version ' + repr(version) if version is not None else 'something else'}"
        )
    try:
        return _read(data, make)
    except KeyError as missing:
        raise InputError(f"the JSON object of a result has no {missing}") from None
    except (AttributeError, TypeError, ValueError) as wrong:
        raise InputError(f"the JSON object of a result is wrong: {wrong}") from None


def _read(data: Mapping[str, Any], make: type[R]) -> R:
    energy = data["energy_pj"]
    schedule = data["schedule"]
    return make(
        **{k: data[k] for k in ("workload", "architecture", "mapping", "engine")},
        **{k: data[k] for k in ("latency_s", "cycles", "bound_by")},
        shape=tuple(data["shape"].items()),
        arrays=_read_arrays(data),
        traffic=_read_traffic(data["traffic_bytes"]),
        buffers=tuple(
            LevelBuffer(level=k, required_bytes=b["required"], capacity_bytes=b["capacity"])
            for k, b in data["buffer_bytes"].items()
        ),
        energy_by_component=tuple(energy["by_component"].items()),
        energy_by_einsum=tuple(energy["by_einsum"].items()),
        area_by_component=tuple(data["area_um2"]["by_component"].items()),
        bounds=Bounds(**data["bounds"]),
        einsums=tuple(_read_einsum(e, data["einsum_traffic_bytes"]) for e in data["einsums"]),
        schedule=ScheduleReport(**{**schedule, "critical": tuple(schedule["critical"])}),
        tiles=tuple(data["tiles"].items()),
        notes=tuple(data["notes"]),
        charges=tuple(
            (einsum, component, pj)
            for einsum, found in data["charges_pj"].items()
            for component, pj in found.items()
        ),
        folds=tuple(_read_folds(f) for f in data.get("folds", ())),
        roofs=_read_roofs(data.get("roofs", {})),
        floor=Floor(**data.get("floor", {})),
        parts=tuple(
            PartUse(
                name=p["name"],
                times=p["times"],
                result=result_from_dict(p["result"], make),
                stage=p.get("stage", ""),
            )
            for p in data.get("parts", ())
        ),
        tokens=data.get("tokens"),
        request=RequestUse(**data["request"]) if "request" in data else None,
    )


def _read_roofs(data: Mapping[str, Any]) -> Roofs:
    arrays = (a | {"untimed": tuple(a["untimed"])} for a in data.get("arrays", ()))
    return Roofs(
        arrays=tuple(ArrayRoof(**a) for a in arrays),
        memories=tuple(MemoryRoof(**m) for m in data.get("memories", ())),
    )


def _read_folds(data: Mapping[str, Any]) -> Folds:
    fields = {k: v for k, v in data.items() if k != "cycles"}
    return Folds(**fields | {"skew": tuple(data["skew"].items())})


def _read_arrays(data: Mapping[str, Any]) -> tuple[ArrayUse, ...]:
    return tuple(
        ArrayUse(
            array=name,
            occupied_cycles=data["occupied_cycles"][name],
            busy_cycles=data["busy_cycles"][name],
            utilization=utilization,
        )
        for name, utilization in data["utilization"].items()
    )


def _read_traffic(levels: Mapping[str, Any]) -> tuple[LevelTraffic, ...]:
    return tuple(
        LevelTraffic(
            level=k,
            read_bytes=t["read"],
            write_bytes=t["write"],
            links=bool(t.get("links", False)),
        )
        for k, t in levels.items()
    )


def _read_einsum(data: Mapping[str, Any], traffic: Mapping[str, Any]) -> EinsumUse:
    return EinsumUse(
        name=data["name"],
        array=data["array"],
        cycles=data["cycles"],
        operations=tuple(data["operations"].items()),
        utilization=data["utilization"],
        traffic=_read_traffic(traffic[data["name"]]),
        formats=tuple((k, fmt) for k, fmts in data.get("formats", {}).items() for fmt in fmts),
    )


Cell = str | float

_UNITS = (
    ("cycles", "cycles"),
    ("time_s", "s"),
    ("energy_pj", "pJ"),
    ("utilization", "1"),
    ("traffic_bytes", "B"),
)
"""Units by the beginning of a column's name."""


def result_row(result: RunRecord) -> dict[str, Cell]:
    """Return names and totals of a run, keyed as the columns of a sweep.

    Returns
    -------
    dict
        ``workload``, ``architecture``, ``mapping``, ``latency_s``, ``floor_latency_s``,
        ``cycles``, ``energy_pj``, ``area_um2``, of each memory ``traffic_bytes.LEVEL`` and
        ``buffer_bytes.LEVEL``, of each array ``utilization.ARRAY``, of each component
        ``energy_pj.COMPONENT`` (they add up to ``energy_pj``), and ``bound_by``.
    """
    return {
        "workload": result.workload,
        "architecture": result.architecture,
        "mapping": result.mapping,
        "latency_s": float(result.latency_s),
        "floor_latency_s": float(result.floor.latency_s),
        "cycles": float(result.cycles),
        "energy_pj": float(result.energy_pj),
        "area_um2": float(result.area_um2),
        **{f"traffic_bytes.{t.level}": float(t.total_bytes) for t in result.traffic},
        **{f"utilization.{a.array}": float(a.utilization) for a in result.arrays},
        **{f"buffer_bytes.{b.level}": float(b.required_bytes) for b in result.buffers},
        **{f"energy_pj.{name}": float(energy) for name, energy in result.energy_by_component},
        "bound_by": result.bound_by,
    }


def result_frame(result: RunRecord) -> DataFrame:
    """Return a data frame with a row for every Einsum; a part's rows cover all of its runs.

    Returns
    -------
    pandas.DataFrame
        ``part`` (empty for a result without parts) and ``times``, ``einsum``, ``array``, ``cycles``
        and ``time_s`` (time on its array, which may overlap with other arrays), ``utilization``
        (share of the whole run), ``operations``, ``energy_pj``, ``traffic_bytes.LEVEL``.
        ``attrs["units"]`` has the units.
    """
    # Pandas takes longer to import than most commands take to run.
    from pandas import DataFrame

    pieces = [(p.name, p.times, p.result) for p in result.parts] or [("", 1, result)]
    clock = result.clock_hz
    rows: list[dict[str, Cell]] = []
    for name, times, part in pieces:
        energy = dict(part.energy_by_einsum)
        for e in part.einsums:
            cycles = times * float(e.cycles)
            share = times * part.cycles / result.cycles if result.cycles else 0.0
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
                    **{f"traffic_bytes.{t.level}": times * float(t.total_bytes) for t in e.traffic},
                }
            )
    frame = DataFrame(rows)
    frame.attrs["units"] = {
        c: unit for c in frame.columns for stem, unit in _UNITS if c.partition(".")[0] == stem
    }
    return frame
