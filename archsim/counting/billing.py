"""Energy of a run: counts times what the technology charges per action."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ..arch import Architecture
from .counts import Amount, EinsumCount
from .estimators import action_pj, memory_access, register_access


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Energy of one Einsum at one component."""

    einsum: str
    component: str
    energy_pj: float


def charges(architecture: Architecture, counts: tuple[EinsumCount, ...]) -> tuple[Charge, ...]:
    """Every picojoule of a run, by Einsum and component.

    Components are memories, ``<array>`` (its functional units) and ``<array>.registers``.
    """
    return tuple(
        Charge(einsum=count.einsum, component=component, energy_pj=energy)
        for count in counts
        for component, energy in _of_einsum(architecture, count).items()
    )


def _of_einsum(architecture: Architecture, count: EinsumCount) -> dict[str, float]:
    found: dict[str, float] = {}

    def add(component: str, energy: float) -> None:
        found[component] = found.get(component, 0.0) + energy

    for access in count.accesses:
        memory = architecture.memory(access.place)
        if memory is not None:
            price = memory_access(architecture, memory)
            lines = Fraction(architecture.word_bits, memory.line_bits)
            energy = float(access.reads * lines) * price.read_pj
            add(memory.name, energy + float(access.writes * lines) * price.write_pj)
        else:
            add(*_registers(architecture, access.place, access.reads, access.writes))
    array = architecture.array(count.array)
    assert array is not None, "arrays are checked when lowering"
    own = count.registers_of_one if array.registers.billed == "one" else count.registers
    add(*_registers(architecture, array.name, own.reads, own.writes))
    for kind, times in count.operations:
        operation = array.operation(kind)
        assert operation is not None, "operations are checked when lowering"
        for action, uses in operation.bill:
            add(array.name, float(times * uses) * action_pj(architecture.technology, action))
    return found


def _registers(
    architecture: Architecture, array: str, reads: Amount, writes: Amount
) -> tuple[str, float]:
    where = architecture.array(array)
    assert where is not None, "places are checked when lowering"
    price = register_access(architecture, where)
    return f"{array}.registers", float(reads) * price.read_pj + float(writes) * price.write_pj
