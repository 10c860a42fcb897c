"""Losses of a built machine beside its design, as measured on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Number that was measured, or fitted to measured rows."""

    value: float
    source: str
    rows: tuple[str, ...] = ()
    """Tables with the measured rows to which the number was fitted; empty: it was published."""


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
