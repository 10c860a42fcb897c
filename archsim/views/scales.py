"""Scales of an axis: the unit prefix of its numbers, labels, and round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ..document import picture_text
from ..quantities import BINARY, LARGE, SMALL, byte_size, engineering

_WIDE = 12.0
"""Ratio of the largest to the smallest number above which an axis is logarithmic."""

_AREAS: Final = ((1e6, "mm²"), (1.0, "µm²"))
_BASES: Final = MappingProxyType(
    {"s": (1.0, "s"), "pJ": (1e-12, "J"), "Hz": (1.0, "Hz"), "W": (1.0, "W")}
)
"""Factor from a column's unit to the unit that takes prefixes, with this unit."""
_STEMS: Final = MappingProxyType(
    {
        "latency_s": "latency",
        "floor_latency_s": "lower bound of latency",
        "energy_pj": "energy",
        "area_um2": "area",
        "as_built_latency_s": "latency as built",
        "as_built_energy_pj": "energy as built",
        "as_built_average_power_w": "power as built",
        "bound_by": "bound by",
        "traffic_bytes": "traffic",
        "buffer_bytes": "needed",
    }
)


@dataclass(frozen=True, slots=True)
class PlotScale:
    """Scale of an axis: the divisor of its numbers, and the unit of the quotients."""

    factor: float
    unit: str
    log: bool = False
    binary: bool = False
    """True if ticks are powers of two."""

    def drawn(self, number: float) -> float:
        """Return a number divided by the scale's factor, as it is drawn."""
        return number / self.factor


def scale_of(numbers: Sequence[float], unit: str | None, *, log: bool | None = None) -> PlotScale:
    """Return a scale whose unit prefix suits the numbers.

    Parameters
    ----------
    numbers : sequence of float
        All that are drawn, in ``unit``.
    unit : str or None
        Unit as in ``frame.attrs["units"]``: ``s``, ``pJ``, ``um^2``, ``B``, ``B/s``, ``1``, ...
    log : bool, optional
        True for a logarithmic scale; by default if numbers are positive and far apart.

    Examples
    --------
    >>> scale_of([0.002, 0.003], "s")
    PlotScale(factor=0.001, unit='ms', log=False, binary=False)
    >>> scale_of([2**20, 2**26], "B").unit
    'MiB'
    """
    found = [abs(n) for n in numbers if math.isfinite(n) and n]
    low, high = (min(found), max(found)) if found else (1.0, 1.0)
    if log is None:
        log = high > _WIDE * low and all(n > 0 for n in numbers)
    middle = math.sqrt(low * high) if log else high
    if unit == "1":
        return PlotScale(0.01, "%", log)
    if unit == "um^2":
        factor, name = next((a for a in _AREAS if middle >= a[0] / 100), _AREAS[-1])
        return PlotScale(factor, name, log)
    if unit == "B":
        power = min(len(BINARY) - 1, max(0, int(math.log2(middle) // 10)))
        return PlotScale(1024.0**power, BINARY[power], log, binary=True)
    if unit is not None and unit in _BASES:
        base, name = _BASES[unit]
        power = _power(middle * base)
        prefix = LARGE[power] if power >= 0 else SMALL[-power]
        return PlotScale(1000.0**power / base, prefix + name, log)
    power = max(0, _power(middle)) if unit in ("B/s", "cycles") else 0
    return PlotScale(1000.0**power, LARGE[power] + (unit or ""), log)


def _power(number: float) -> int:
    """Return the power of 1000 by which a number is divided to lie between 1 and 1000."""
    power = math.floor(math.log10(number) / 3 + 1e-9) if number > 0 else 0
    return min(len(LARGE) - 1, max(1 - len(SMALL), power))


def label_of(column: str) -> str:
    """Return the name of a column in words.

    Parameters
    ----------
    column : str
        Column of a sweep's results; other names stay as they are.

    Examples
    --------
    >>> label_of("latency_s"), label_of("traffic_bytes.DRAM"), label_of("seq_len")
    ('latency', 'DRAM traffic', 'seq_len')
    """
    column = picture_text(column)
    stem, dot, member = column.partition(".")
    if dot and member:
        words = {
            "traffic_bytes": f"{member} traffic",
            "utilization": f"utilization of {member}",
            "buffer_bytes": f"needed of {member}",
            "energy_pj": f"energy of {member}",
        }
        return words.get(stem, column)
    return _STEMS.get(column, column)


def with_unit(label: str, unit: str) -> str:
    """Return a label with its unit, as in ``latency (ms)``; without a unit, the label alone."""
    return f"{label} ({unit})" if unit else label


def short(number: float, unit: str | None) -> str:
    """Return a number with its unit as text, in three digits."""
    if unit == "B":
        return byte_size(number, digits=3)
    if unit == "um^2":
        return f"{number / 1e6:,.{3 if number < 1e9 else 4}g} mm²"
    if unit == "pJ":
        return engineering(number * 1e-12, "J", digits=3)
    if unit == "1":
        return f"{100 * number:.3g} %"
    if unit in ("s", "B/s", "Hz", "W"):
        return engineering(number, unit, digits=3)
    return f"{number:,.10g} {unit or ''}".rstrip()
