"""What could bound a run: how long each array and each memory has to work for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .record import Result


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


def limits(result: Result) -> tuple[Limit, ...]:
    """Arrays and memories of a run, the one that works longest first.

    Parameters
    ----------
    result : Result
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
