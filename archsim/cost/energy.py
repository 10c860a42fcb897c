"""Energy of a run: counts times what the technology charges per action."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from einsum_cascade.operations import Operations

from ..spec.arch import Architecture, ProcessingArray
from .accesses import AccessCount, EinsumCount
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
    array = architecture.array(count.array)
    assert array is not None, "arrays are checked when a mapping is bound"
    own = count.registers_of_one if array.registers.billed == "one" else count.registers
    charged = [access_pj(architecture, access) for access in (*count.accesses, own)]
    charged += [
        (array.name, energy) for energy in operations_pj(architecture, array, count.operations)
    ]
    for component, energy in charged:
        found[component] = found.get(component, 0.0) + energy
    return found


def access_pj(architecture: Architecture, access: AccessCount) -> tuple[str, float]:
    """What is charged for the accesses to one place: a component, and its energy in pJ."""
    memory = architecture.memory(access.place)
    if memory is None:
        array = architecture.array(access.place)
        assert array is not None, "places are checked when a mapping is bound"
        price = register_access(architecture, array)
        component, words = f"{array.name}.registers", Fraction(1)
    else:
        price = memory_access(architecture, memory)
        component, words = memory.name, Fraction(architecture.word_bits, memory.line_bits)
    energy = access.reads * words * price.read_pj
    return component, energy + access.writes * words * price.write_pj


def operations_pj(
    architecture: Architecture, array: ProcessingArray, operations: Operations
) -> Iterator[float]:
    """What is charged for so many operations on an array in pJ, action by action."""
    for kind, times in operations:
        operation = array.operation(kind)
        assert operation is not None, "operations are checked when a mapping is bound"
        for action, uses in operation.bill:
            yield float(times * uses) * action_pj(architecture.technology, action)
