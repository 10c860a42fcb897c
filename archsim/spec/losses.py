"""Losses of a built machine beside its design, as measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Number that was measured, or fitted to measured rows."""

    value: float
    source: str
    rows: tuple[str, ...] = ()
    """Tables with the measured rows to which the number was fitted; empty: it was published."""
    inherited_from: str = ""
    """Machine that the number was measured on, if it is another than the one that has it."""


_SINGLE = ("launch", "fill", "exposed")
_NAMED = ("sustained", "power")
"""Fields of losses with one number, and with one for each of several names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Losses of a built machine; what is not stated is as designed."""

    launch: Measurement | None = None
    """Seconds to start a kernel, which runs one nest."""
    fill: Measurement | None = None
    """Seconds until an Einsum of a nest has values of the one before it."""
    exposed: Measurement | None = None
    """Share of the time of all arrays but the busiest that does not hide behind it."""
    sustained: tuple[tuple[str, Measurement], ...] = ()
    """Shares of their rates that memories and arrays sustain, by name."""
    power: tuple[tuple[str, Measurement], ...] = ()
    """Watts drawn at any load, by name: leakage, clock, network, memory interface."""

    def items(self) -> Iterator[tuple[str, Measurement]]:
        """Yield each stated loss with its path below ``measured``, such as ``sustained.HBM``."""
        for name in _SINGLE:
            if (found := getattr(self, name)) is not None:
                yield name, found
        for group in _NAMED:
            yield from ((f"{group}.{name}", found) for name, found in getattr(self, group))

    def where(self, keep: Callable[[str, Measurement], bool]) -> Losses | None:
        """Return the losses whose path and number meet a condition; None if there are none."""
        kept = {path for path, found in self.items() if keep(path, found)}
        found: dict[str, Any] = {name: getattr(self, name) for name in _SINGLE if name in kept}
        for group in _NAMED:
            found[group] = tuple(x for x in getattr(self, group) if f"{group}.{x[0]}" in kept)
        return Losses(**found) if kept else None

    @property
    def constant_w(self) -> float:
        """Watts drawn at any load."""
        return sum(x.value for _, x in self.power)

    @property
    def launch_s(self) -> float:
        """Seconds to start a kernel."""
        return self.launch.value if self.launch else 0.0

    @property
    def fill_s(self) -> float:
        """Seconds until an Einsum of a nest has values of the one before it."""
        return self.fill.value if self.fill else 0.0

    @property
    def exposed_share(self) -> float:
        """Share of the time of all arrays but the busiest that does not hide behind it."""
        return self.exposed.value if self.exposed else 0.0

    def share(self, name: str) -> float:
        """Return the share of its rate that a memory or an array sustains."""
        found = dict(self.sustained).get(name)
        return found.value if found else 1.0
