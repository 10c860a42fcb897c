"""Energy of a run: counts times prices of the technology, and leakage while the run lasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from einsum_cascade.memo import Cache, Identity
from einsum_cascade.operations import Operations

from ..counts.accesses import AccessCount, EinsumCount
from ..spec.arch import Architecture, ProcessingArray
from ..spec.tensor_words import ONE_WORD, TensorWords
from .estimators import (
    MAX_CACHED_MACHINES,
    AccessEnergy,
    action_pj,
    functional_units,
    memory_access,
    register_access,
)


class Charge(NamedTuple):
    """Energy of one Einsum at one component."""

    einsum: str
    component: str
    energy_pj: float


def charges(
    architecture: Architecture, counts: tuple[EinsumCount, ...], words: TensorWords = ONE_WORD
) -> tuple[Charge, ...]:
    """Return the energy of a run by Einsum and component.

    Components are memories, ``<array>`` (its functional units) and ``<array>.registers``.

    Parameters
    ----------
    architecture : Architecture
        The machine, with the technology that prices its actions.
    counts : tuple of EinsumCount
        Counts of every Einsum in elements, with spills.
    words : TensorWords, optional
        Words of the machine that a value of each tensor takes.

    Raises
    ------
    SpecError
        The technology lacks a memory class or an action that is billed.
    """
    prices = prices_of(architecture, words)
    return tuple(
        Charge(einsum=count.einsum, component=component, energy_pj=energy)
        for count in counts
        for component, energy in _of_einsum(architecture, prices, count).items()
    )


def _of_einsum(
    architecture: Architecture, prices: PriceList, count: EinsumCount
) -> dict[str, float]:
    found: dict[str, float] = {}
    array = architecture.array(count.array)
    assert array is not None, "arrays are checked when a mapping is bound"
    # The published evaluation bills the registers of one element of each array.
    own = _own_registers(count, array)
    charged = [prices.of(access) for access in (*count.accesses, *own)]
    charged += [
        (array.name, energy) for energy in operations_pj(architecture, array, count.operations)
    ]
    for component, energy in charged:
        found[component] = found.get(component, 0.0) + energy
    return found


def _own_registers(count: EinsumCount, array: ProcessingArray) -> Iterator[AccessCount]:
    """Yield the accesses to an Einsum's own registers, one for each width of values."""
    of_one = array.registers.billed == "one"
    if not count.registers_by_tensor:
        yield count.registers_of_one if of_one else count.registers
    for tensor, uses in count.registers_by_tensor:
        found = uses.of_one if of_one else uses.of_all
        yield replace(count.registers, tensor=tensor, reads=found.reads, writes=found.writes)


def access_pj(
    architecture: Architecture, access: AccessCount, words: TensorWords = ONE_WORD
) -> tuple[str, float]:
    """Return the component that bills the accesses to one place, and the energy in pJ.

    Parameters
    ----------
    architecture : Architecture
        The machine, with the technology that prices its actions.
    access : AccessCount
        Elements read and written at a memory, or in an array's registers.
    words : TensorWords, optional
        Words of the machine that a value of each tensor takes.

    Raises
    ------
    SpecError
        The technology lacks the memory class of the place.
    """
    return prices_of(architecture, words).of(access)


class PriceList:
    """Prices of places, by width of values."""

    def __init__(self, architecture: Architecture, words: TensorWords) -> None:
        self._architecture = architecture
        self._words = words
        self._known: dict[tuple[str, Fraction | int], PlacePrice] = {}

    def of(self, access: AccessCount) -> tuple[str, float]:
        """Return the component that bills an access, and the energy in pJ."""
        return self.at(access.place, access.tensor).of(access)

    def at(self, place: str, tensor: str) -> PlacePrice:
        """Return the price of a tensor's values at a memory, or in an array's registers."""
        key = (place, self._words.of(tensor))
        if key not in self._known:
            self._known[key] = _price_of(self._architecture, *key)
        return self._known[key]


_PRICES = Cache[PriceList](MAX_CACHED_MACHINES)


def prices_of(architecture: Architecture, words: TensorWords) -> PriceList:
    """Return the prices of a machine, which are the same for each run on it."""
    key = (Identity(architecture), Identity(words))
    return _PRICES.get(key, lambda: PriceList(architecture, words))


class PricedAmounts(NamedTuple):
    """Lines of a memory, or values in registers, that are read and written at a price."""

    reads: float | Fraction
    writes: float | Fraction

    def pj(self, price: AccessEnergy) -> float:
        """Return the energy in pJ at a price per access."""
        return self.reads * price.read_pj + self.writes * price.write_pj


def priced_lines(
    architecture: Architecture, count: EinsumCount, words: TensorWords, memory: str
) -> tuple[PricedAmounts, ...]:
    """Return the lines of a memory that an Einsum pays for, access by access, as ``charges``
    bills them.

    Parameters
    ----------
    architecture, words
        As in ``charges``.
    count : EinsumCount
        Counts of the Einsum.
    memory : str
        Name of the memory.
    """
    return tuple(
        _price_of(architecture, memory, words.of(access.tensor)).priced(access)
        for access in count.accesses
        if access.place == memory
    )


@dataclass(frozen=True, slots=True)
class PlacePrice:
    """Price of a place: the component that bills, and the energy of each access."""

    component: str
    share: Fraction
    """Share of the priced unit that a value takes: of a memory's line, or of a register."""
    energy: AccessEnergy

    def priced(self, access: AccessCount) -> PricedAmounts:
        """Return the number of priced lines, or values, of an access."""
        part, whole = self.share.numerator, self.share.denominator
        return PricedAmounts(access.reads * part / whole, access.writes * part / whole)

    def of(self, access: AccessCount) -> tuple[str, float]:
        """Return the component that bills an access, and the energy in pJ."""
        return self.component, self.priced(access).pj(self.energy)


def _price_of(architecture: Architecture, place: str, words: Fraction | int) -> PlacePrice:
    """Return the price of values of some words at a memory, or in an array's registers."""
    bits = architecture.word_bits * words
    memory = architecture.memory(place)
    if memory is None:
        array = architecture.array(place)
        assert array is not None, "places are checked when a mapping is bound"
        energy = register_access(architecture, array, bits)
        return PlacePrice(f"{array.name}.registers", Fraction(1), energy)
    # A memory is priced by the line; a part of a line costs its part.
    line = memory_access(architecture, memory)
    return PlacePrice(memory.name, Fraction(bits) / memory.line_bits, line)


def operations_pj(
    architecture: Architecture, array: ProcessingArray, operations: Operations
) -> Iterator[float]:
    """Yield the energy in pJ of each action that operations take on an array.

    Parameters
    ----------
    architecture : Architecture
        Machine with the technology that prices actions.
    array : ProcessingArray
        Array that runs the operations; an operation may bill several actions.
    operations : tuple of (str, int)
        Kinds of operations, and the number of each.

    Raises
    ------
    SpecError
        The technology lacks an action of a bill.
    """
    for kind, times in operations:
        operation = array.operation(kind)
        assert operation is not None, "operations are checked when a mapping is bound"
        for action, uses in operation.bill:
            # This is as exact as a product with the fraction, which takes longer than the price.
            done = times * uses.numerator / uses.denominator
            yield done * action_pj(architecture.technology, action)


LEAKAGE = "leakage"
"""Name in place of an Einsum: all Einsums share the energy of leakage."""


def leakage_w(architecture: Architecture) -> tuple[tuple[str, float], ...]:
    """Return the power in W of each component that leaks, over all cores.

    Functional units leak by their actions, registers and on-chip memories by the bit, and a DRAM
    idles as a whole.

    Units of an array leak by the actions that they do, its registers and memories on the chip by
    the bit, and a DRAM idles as a whole.

    Parameters
    ----------
    architecture : Architecture
        The machine, with its technology.

    Examples
    --------
    No built-in technology leaks. 16 MiB at 10 pW a bit:

    >>> leakage_w(Architecture.load("fusemax"))
    ()
    >>> leakage_w(Architecture.load("fusemax", ["technology.memories.sram.leakage=10 pW/bit"]))
    (('global_buffer', 0.00134217728),)
    """
    return _LEAKAGE.get(
        Identity(architecture),
        lambda: tuple((name, watts) for name, watts in _components(architecture) if watts),
    )


_LEAKAGE = Cache[tuple[tuple[str, float], ...]](MAX_CACHED_MACHINES)
"""Leaking components of the machines used last."""


def _components(architecture: Architecture) -> Iterator[tuple[str, float]]:
    technology = architecture.technology
    for memory in architecture.memories:
        kind = technology.memory(memory.energy)
        if kind is not None and kind.kind == "dram":
            yield memory.name, architecture.copies(memory.name) * kind.idle_w
        elif kind is not None:
            held = memory.billed_bytes or memory.capacity_bytes or 0
            bits = 8 * held * architecture.copies(memory.name)
            yield memory.name, bits * kind.leakage_w_per_bit
    for array in architecture.arrays:
        copies = architecture.copies(array.name)
        yield f"{array.name}.registers", copies * _registers(architecture, array)
        units = (technology.action(name) for name in functional_units(array))
        leaking = sum(u.leakage_w for u in units if u is not None)
        yield array.name, copies * array.elements * leaking


def _registers(architecture: Architecture, array: ProcessingArray) -> float:
    kind = architecture.technology.memory(array.registers.energy)
    width = array.registers.width_bits or architecture.word_bits
    per_bit = 0.0 if kind is None else kind.leakage_w_per_bit
    return array.elements * array.registers.depth * width * per_bit


def leakage_charges(architecture: Architecture, seconds: float) -> tuple[Charge, ...]:
    """Return the energy of leakage over a time, by component.

    Parameters
    ----------
    architecture : Architecture
        The machine, with its technology.
    seconds : float
        Duration of the run.
    """
    return tuple(
        Charge(einsum=LEAKAGE, component=name, energy_pj=1e12 * watts * seconds)
        for name, watts in leakage_w(architecture)
    )
