"""Energy of a run: counts times what the technology charges per action."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from einsum_cascade.operations import Operations

from ..spec.arch import Architecture, ProcessingArray
from .accesses import AccessCount, EinsumCount
from .estimators import AccessEnergy, action_pj, memory_access, register_access


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
    places = dict.fromkeys(a.place for c in counts for a in (*c.accesses, c.registers))
    prices = {place: _price_of(architecture, place) for place in places}
    return tuple(
        Charge(einsum=count.einsum, component=component, energy_pj=energy)
        for count in counts
        for component, energy in _of_einsum(architecture, prices, count).items()
    )


def _of_einsum(
    architecture: Architecture, prices: dict[str, _PlacePrice], count: EinsumCount
) -> dict[str, float]:
    found: dict[str, float] = {}
    array = architecture.array(count.array)
    assert array is not None, "arrays are checked when a mapping is bound"
    # The published evaluation bills the registers of one element of each array.
    own = count.registers_of_one if array.registers.billed == "one" else count.registers
    charged = [prices[access.place].of(access) for access in (*count.accesses, own)]
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
    return _price_of(architecture, access.place).of(access)


@dataclass(frozen=True, slots=True)
class _PlacePrice:
    """What is charged at one place: a component, and its energy for some of its words."""

    component: str
    words: Fraction
    """Of what is priced: a line of a memory, a value in registers."""
    energy: AccessEnergy

    def of(self, access: AccessCount) -> tuple[str, float]:
        """What is charged for some accesses: the component, and its energy in pJ."""
        part, whole = self.words.numerator, self.words.denominator
        energy = access.reads * part / whole * self.energy.read_pj
        return self.component, energy + access.writes * part / whole * self.energy.write_pj


def _price_of(architecture: Architecture, place: str) -> _PlacePrice:
    """The price of a place: a memory, or an array whose registers it is."""
    memory = architecture.memory(place)
    if memory is None:
        array = architecture.array(place)
        assert array is not None, "places are checked when a mapping is bound"
        return _PlacePrice(
            f"{array.name}.registers", Fraction(1), register_access(architecture, array)
        )
    # A memory is priced by the line; a part of a line costs its part.
    words = Fraction(architecture.word_bits, memory.line_bits)
    return _PlacePrice(memory.name, words, memory_access(architecture, memory))


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
            # As exact as the fraction, which costs more than the price does.
            done = times * uses.numerator / uses.denominator
            yield done * action_pj(architecture.technology, action)
