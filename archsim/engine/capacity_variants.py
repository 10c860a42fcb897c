"""Results on machines that differ in memory capacities alone, repriced from one known result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Final

from einsum_cascade.memo import Cache, Identity

from ..bounds.floor import LeastWork, floor_of
from ..counts.accesses import EinsumCount
from ..energy.charges import PricedAmounts, leakage_charges, leakage_w, priced_lines
from ..energy.estimators import AccessEnergy, memory_access, memory_area, memory_rows
from ..legality.footprint import requirements
from ..nest.record import Bound
from ..result.record import Floor
from ..result.result import Result
from ..spec.arch import Architecture, Memory
from .assemble import buffers_of, energy_by
from .policy import MAX_CACHED_PRICES

_CAPACITIES: Final = ("capacity_bytes", "billed_bytes")

_but_capacities = attrgetter(*(f.name for f in fields(Memory) if f.name not in _CAPACITIES))
_but_memories = attrgetter(
    *(f.name for f in fields(Architecture) if f.compare and f.name != "memories")
)


def differ_in_capacities(one: Architecture, other: Architecture) -> bool:
    """Return whether two machines differ in memory capacities alone."""
    return (
        _but_memories(one) == _but_memories(other)
        and len(one.memories) == len(other.memories)
        and all(
            a is b or _but_capacities(a) == _but_capacities(b)
            for a, b in zip(one.memories, other.memories, strict=True)
        )
    )


@dataclass(frozen=True, slots=True)
class _MemoryPrice:
    """Energy of a memory's line, and area of the memory; 0 if the memory is off chip."""

    line: AccessEnergy
    area_um2: float


class MemoryPrices:
    """Prices of memories, cached: neighbouring machines of a sweep share most of them."""

    def __init__(self) -> None:
        self._known = Cache[_MemoryPrice](MAX_CACHED_PRICES)

    def of(self, machine: Architecture, memory: Memory) -> _MemoryPrice:
        """Return the price of one of a machine's memories. Raises SpecError as ``areas``."""
        technology, copies = Identity(machine.technology), machine.copies(memory.name)
        key = (technology, memory.name, memory.energy, memory.line_bits, memory_rows(memory))
        return self._known.get(
            (*key, copies),
            lambda: _MemoryPrice(
                memory_access(machine, memory), memory_area(machine, memory) or 0.0
            ),
        )


class CapacityVariants:
    """Result on one machine, from which results on machines with other capacities follow.

    Parameters
    ----------
    known : Result
        Result of a mapping on its machine, without spills and without several cores.
    bound : Bound
        Mapping on the machine.
    counts, least
        As in ``assemble``; equal on all of the machines.
    prices : MemoryPrices
        Cache of the prices of memories.
    """

    def __init__(
        self,
        known: Result,
        bound: Bound,
        counts: tuple[EinsumCount, ...],
        least: LeastWork,
        prices: MemoryPrices,
    ) -> None:
        self.machine = bound.architecture
        self._known = known
        self._bound = bound
        self._counts = counts
        self._least = least
        self._prices = prices
        self._needed = tuple(r.required_bytes for r in requirements(bound))
        leaking = len(leakage_w(self.machine))
        kinds = self.machine.technology.memories
        self._leaks = leaking > 0 or any(kind.leakage_w_per_bit for kind in kinds)
        # Leakage is charged last (``assemble``), with a line for each component.
        self._charges = known.charges[: len(known.charges) - leaking]
        self._lines: dict[tuple[str, str], tuple[PricedAmounts, ...]] = {}

    def on(self, machine: Architecture) -> Result | None:
        """Return the result on another machine; None if not all tiles fit.

        Raises
        ------
        SpecError
            The technology cannot price a memory.
        """
        if any(
            m.capacity_bytes is not None and needed > m.capacity_bytes
            for m, needed in zip(machine.memories, self._needed, strict=True)
        ):
            return None
        prices = {
            memory.name: self._prices.of(machine, memory)
            for memory, there in zip(machine.memories, self.machine.memories, strict=True)
            if memory != there
        }
        charges = tuple(self._charges_at(prices))
        if self._leaks:
            leaked = leakage_charges(machine, self._known.latency_s)
            charges += tuple((c.einsum, c.component, c.energy_pj) for c in leaked)
        energy = energy_by(machine, charges)
        return replace(
            self._known,
            buffers=buffers_of(machine, self._needed),
            energy_by_component=energy.by_component,
            energy_by_einsum=energy.by_einsum,
            area_by_component=tuple(
                (name, found.area_um2 if (found := prices.get(name)) else area)
                for name, area in self._known.area_by_component
            ),
            floor=self._floor(machine),
            charges=charges,
        )

    def _charges_at(self, prices: dict[str, _MemoryPrice]) -> Iterator[tuple[str, str, float]]:
        """Yield the charges without leakage, with some memories at other prices."""
        for charge in self._charges:
            einsum, component, _ = charge
            price = prices.get(component)
            if price is None:
                yield charge
            else:
                lines = self._lines_of(einsum, component)
                yield einsum, component, sum((x.pj(price.line) for x in lines), 0.0)

    def _lines_of(self, einsum: str, memory: str) -> tuple[PricedAmounts, ...]:
        key = (einsum, memory)
        if key not in self._lines:
            count = next(c for c in self._counts if c.einsum == einsum)
            self._lines[key] = priced_lines(self.machine, count, self._bound.words, memory)
        return self._lines[key]

    def _floor(self, machine: Architecture) -> Floor:
        """Return the floor, which depends on leakage and on the outermost memory."""
        if machine.home == self.machine.home and not self._leaks:
            return self._known.floor
        return floor_of(self._bound.on(machine), self._counts, self._least)
