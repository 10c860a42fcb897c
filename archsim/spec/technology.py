"""Technologies: energy of each action and area of each component, with sources."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..document import Document, Fact, first_names
from .reading import Specification


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Action of a functional unit, with its energy per use and the area of the unit."""

    name: str
    energy_pj: float
    area_um2: float
    source: str
    leakage_w: float = 0.0
    """Leakage power of one unit in watts, whether idle or busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SramPoint:
    """SRAM of one size as compiled by CACTI: energy per line access, area, or both."""

    rows: int
    width_bits: int
    area_um2: float | None = None
    read_pj: float | None = None
    write_pj: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAdder:
    """Address generator of a memory with ``2**bits`` rows; its costs are linear in ``bits``."""

    energy_fixed_pj: float
    energy_per_bit_pj: float
    area_per_bit_um2: float
    generators: int = 1
    """Number of generators in a memory, for its area; one access uses a single generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryClass:
    """Class of memories whose accesses are billed alike.

    ``kind`` is ``dram`` (energy per bit, no area on chip), ``sram`` (a table of compiled points and
    a model between them), ``registers`` (energy and area per entry and bit, never for less than
    ``least_depth`` entries of ``least_width_bits``) or ``link`` (energy per bit sent to a
    neighbour).
    """

    name: str
    kind: str
    source: str
    energy_per_bit_pj: float = 0.0
    """DRAM: energy in pJ of a bit read or written. Link: energy in pJ of a bit sent."""
    idle_w: float = 0.0
    """DRAM: power in watts of the whole memory, whether idle or busy."""
    leakage_w_per_bit: float = 0.0
    """SRAM and registers: leakage power in watts per stored bit."""
    points: tuple[SramPoint, ...] = ()
    adder: AddressAdder | None = None
    least_depth: int = 1
    least_width_bits: int = 1
    read_per_bit_pj: float = 0.0
    """Registers: energy in pJ of a read, per bit of width; ``write_per_bit_pj`` is for a write."""
    write_per_bit_pj: float = 0.0
    access_per_entry_pj: float = 0.0
    """Registers: energy in pJ of a read or a write, per entry of depth."""
    area_per_bit_um2: float = 0.0
    """Registers: area in um2 of one bit of one entry."""
    area_per_entry_um2: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology(Specification):
    """Technology: a named set of actions and memory classes with their costs.

    Examples
    --------
    >>> technology = Technology.load("accelergy-45nm", ["actions.exp.energy=90 pJ"])
    >>> technology.node_nm, technology.action("exp").energy_pj
    (45, 90.0)
    """

    name: str
    node_nm: int
    actions: tuple[Action, ...]
    memories: tuple[MemoryClass, ...]
    words_bits: tuple[int, ...] = ()
    """Word widths in bits for which the costs of the actions hold; empty: any width."""
    source: str = field(default="", compare=False)

    def action(self, name: str) -> Action | None:
        """Return the action called ``name``, or None."""
        return next((a for a in self.actions if a.name == name), None)

    def memory(self, name: str) -> MemoryClass | None:
        """Return the memory class called ``name``, or None."""
        return next((m for m in self.memories if m.name == name), None)

    def card(self) -> Document:
        """Summarise a technology: its node, and the actions and memory classes that it bills."""
        facts = (
            Fact("node", f"{self.node_nm} nm"),
            Fact("actions", str(len(self.actions)), first_names(a.name for a in self.actions)),
            Fact("memories", str(len(self.memories)), first_names(m.name for m in self.memories)),
        )
        return Document(title=f"technology {self.name}", facts=facts)
