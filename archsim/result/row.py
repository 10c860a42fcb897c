"""A result as one row of a table, and its pieces as a pandas frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

    from .record import Result

Cell = str | float

_UNITS = (
    ("cycles", "cycles"),
    ("time_s", "s"),
    ("energy_pj", "pJ"),
    ("utilization", "1"),
    ("traffic_bytes", "B"),
)
"""Of what columns begin with."""


def result_row(result: Result) -> dict[str, Cell]:
    """What ran, and its totals, under the names that columns of a sweep have.

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


def result_frame(result: Result) -> DataFrame:
    """A row for every Einsum; of a workload in parts, of each part's, all of its runs together.

    Returns
    -------
    pandas.DataFrame
        ``part`` (empty where there are none) and ``times``, ``einsum``, ``array``, ``cycles``
        and ``time_s`` (of its array, which may work beside others), ``utilization`` (of the
        array over the whole run), ``operations``, ``energy_pj``, ``traffic_bytes.LEVEL``.
        ``attrs["units"]`` has the units.
    """
    # Not above: it takes longer to import than most commands take to run.
    from pandas import DataFrame

    pieces = [(p.name, p.times, p.result) for p in result.parts] or [("", 1, result)]
    clock = result.cycles / result.latency_s if result.latency_s else 0.0
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
