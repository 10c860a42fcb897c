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

    Parameters
    ----------
    architecture : Architecture
        The machine, with the technology that prices its actions.
    counts : tuple of EinsumCount
        What every Einsum does, in elements, with what spills.

    Raises
    ------
    SpecError
        The technology lacks a memory class or an action that is billed.
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
    # The published evaluation bills the registers of one element of each array.
    own = count.registers_of_one if array.registers.billed == "one" else count.registers
    charged = [access_pj(architecture, access) for access in (*count.accesses, own)]
    charged += [
        (array.name, energy) for energy in operations_pj(architecture, array, count.operations)
    ]
    for component, energy in charged:
        found[component] = found.get(component, 0.0) + energy
    return found


def access_pj(architecture: Architecture, access: AccessCount) -> tuple[str, float]:
    """What is charged for the accesses to one place: a component, and its energy in pJ.

    Parameters
    ----------
    architecture : Architecture
        The machine, with the technology that prices its actions.
    access : AccessCount
        Elements read and written at a memory, or at an array: in its registers.

    Raises
    ------
    SpecError
        The technology lacks the memory class of the place.
    """
    memory = architecture.memory(access.place)
    if memory is None:
        array = architecture.array(access.place)
        assert array is not None, "places are checked when a mapping is bound"
        price = register_access(architecture, array)
        component, words = f"{array.name}.registers", Fraction(1)
    else:
        price = memory_access(architecture, memory)
        # A memory is priced by the line; a part of a line costs its part.
        component, words = memory.name, Fraction(architecture.word_bits, memory.line_bits)
    part, whole = words.numerator, words.denominator
    energy = access.reads * part / whole * price.read_pj
    return component, energy + access.writes * part / whole * price.write_pj


def operations_pj(
    architecture: Architecture, array: ProcessingArray, operations: Operations
) -> Iterator[float]:
    """What is charged for so many operations on an array in pJ, action by action.

    Parameters
    ----------
    architecture : Architecture
        The machine, for its technology.
    array : ProcessingArray
        The array that bills them: an operation may be several actions there.
    operations : tuple of (str, int)
        Kinds, and how many of each are computed.

    Raises
    ------
    SpecError
        The technology lacks an action of a bill.
    """
    for kind, times in operations:
        operation = array.operation(kind)
        assert operation is not None, "operations are checked when a mapping is bound"
        for action, uses in operation.bill:
            yield float(times * uses) * action_pj(architecture.technology, action)
