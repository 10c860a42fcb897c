"""The columns of the atlas: what is measured, and how each number is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from einsum_cascade.analysis_report import RankPasses
from einsum_cascade.counting.symbolic import Analysis

from ..quantities import byte_size, energy, engineering, seconds
from ..result.record import Result

Shown = tuple[str, float | str | None, str]
"""A text, the value to sort by (None: there is none), and a remark to hover over."""


def _operations(analysis: Analysis) -> Shown:
    value = float(analysis.total_operations)
    return engineering(value, ""), value, "a multiply-accumulate is one"


def _traffic(analysis: Analysis) -> Shown:
    value = float(analysis.traffic_min)
    return engineering(value, ""), value, "inputs and outputs once"


def _state(analysis: Analysis) -> Shown:
    """The largest of what later passes over a rank come back to."""
    needs: list[tuple[float, str]] = [
        (float(f.needed), f.rank) for f in analysis.footprint if _is_number(f.needed)
    ]
    value, rank = max(needs, default=(0.0, ""))
    if not value:
        return "none", 0.0, "no pass comes back to what an earlier one has seen"
    return engineering(value, ""), value, f"held over {rank} for later passes"


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or bool(getattr(value, "is_number", False))


SIZES: Final[tuple[tuple[str, str, Callable[[Analysis], Shown]], ...]] = (
    ("operations", "operations", _operations),
    ("least", "least traffic (elements)", _traffic),
    ("state", "held for later passes (elements)", _state),
)
"""What the analysis says with a workload's shapes: field, heading, measure."""

MEASURES: Final[tuple[tuple[str, str, Callable[[Result], Shown]], ...]] = (
    ("latency", "latency", lambda r: (seconds(r.latency_s), r.latency_s, f"bound by {r.bound_by}")),
    ("traffic", "traffic", lambda r: (byte_size(r.traffic_bytes), r.traffic_bytes, "")),
    ("energy", "energy", lambda r: (energy(r.energy_pj), r.energy_pj, "")),
)
"""What the simulation says: field, heading, measure."""

LEGEND: Final = (
    "Passes: traversals of a whole fiber that no mapping can avoid; those inside a tile of a "
    "partitioned rank are told below, cascade by cascade. Held for later passes: "
    "elements per fiber that cost traffic when the buffer cannot hold them. The mapping shown is "
    "the fastest built-in one that is legal; hover over a number for what bounds it. Cascades that "
    "no mapping is written for run one Einsum after the other, every tensor through memory: they "
    "stand and are sorted apart, as their latency says little of the algorithm."
)


def most_passes(ranks: Sequence[RankPasses]) -> tuple[str, str]:
    """The largest number of passes as text, and the ranks that need as many.

    Where no whole fiber needs a second pass, the members of a partition that do are told.
    """
    whole = [r for r in ranks if r.grain != "member"]
    most = max((r.count for r in whole), default=0)
    often = [r for r in whole if r.count == most]
    told = min(often, key=lambda r: r.at_most).counted if often else "0"
    if most > 1:
        return told, " ".join(r.rank for r in often)
    members = ", ".join(f"{r.rank} {r.counted}" for r in ranks if r.count > 1)
    return told, f"every whole rank; members: {members}" if members else "every rank"


def utilization(array: str) -> str:
    """The field of an array's utilization."""
    return f"use:{array}"
