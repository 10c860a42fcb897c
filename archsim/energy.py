"""Energy and area: prices of a machine's actions from its technology, and the charges of a run.

Charges are counts times prices. Leakage is charged for the duration of the run.

``docs/energy.md`` derives every formula and states how well it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import dist, exp, log
from typing import NamedTuple

from einsum_cascade.errors import SpecError, did_you_mean
from einsum_cascade.memo import Cache, Identity
from einsum_cascade.operations import Operations

from .counts.accesses import AccessCount, EinsumCount
from .spec.arch import Architecture, Memory, ProcessingArray
from .spec.technology import Action, AddressAdder, MemoryClass, SramPoint, Technology
from .spec.tensor_words import ONE_WORD, TensorWords

Named = tuple[tuple[str, float], ...]

MAX_CACHED_MACHINES = 8
"""Number of machines whose prices are cached: all runs of a machine share them."""

_AREA_BITS_EXPONENT = 1.05
_AREA_WIDTH_EXPONENT = 3.5
_AREA_CORRELATION = 1.0
"""Distance over which the correction at a compiled SRAM point fades by a factor e.

It is measured between the natural logarithms of rows and width.
"""


class AccessEnergy(NamedTuple):
    """Energy of reading and of writing one line of a memory, or one register value."""

    read_pj: float
    write_pj: float


def address_bits(rows: int) -> int:
    """Return the number of address bits for ``rows`` rows: the binary logarithm, rounded up."""
    return (rows - 1).bit_length()


def memory_rows(memory: Memory) -> int | None:
    """Return the number of lines by which a memory is priced; None if its capacity is unlimited.

    A last, partial line counts as a whole line.

    Parameters
    ----------
    memory : Memory
        Memory; its ``billed_bytes``, if given, replace the capacity.
    """
    capacity = memory.billed_bytes or memory.capacity_bytes
    if capacity is None:
        return None
    return -(-8 * capacity // memory.line_bits)


def memory_access(architecture: Architecture, memory: Memory) -> AccessEnergy:
    """Return the energy of reading and writing one line of ``memory``.

    Raises
    ------
    SpecError
        The technology has no such memory class, or the class needs a capacity.
    """
    kind = _memory_class(architecture.technology, memory.energy, memory.name)
    bits = memory.line_bits
    if kind.kind in ("dram", "link"):
        energy = kind.energy_per_bit_pj * bits
        return AccessEnergy(energy, energy)
    rows = _rows(memory, kind)
    address = _adder_energy(kind.adder, rows)
    read = _sram_energy(kind, rows, bits, lambda p: p.read_pj)
    write = _sram_energy(kind, rows, bits, lambda p: p.write_pj)
    return AccessEnergy(read + address, write + address)


def register_access(
    architecture: Architecture, array: ProcessingArray, value_bits: Fraction | int | None = None
) -> AccessEnergy:
    """Return the energy of reading and writing one value in the registers of one processing
    element.

    Parameters
    ----------
    value_bits : Fraction or int, optional
        Width of the value; by default a machine word. If the machine gives a register width, a
        narrower value costs that full width.

    Raises
    ------
    SpecError
        The technology has no such memory class.
    """
    registers = array.registers
    kind = _memory_class(architecture.technology, registers.energy, array.name)
    value = value_bits or registers.width_bits or architecture.word_bits
    bits = value if registers.width_bits is None else max(registers.width_bits, value)
    width = float(max(bits, kind.least_width_bits))
    entries = kind.access_per_entry_pj * max(registers.depth, kind.least_depth)
    shared = entries + _adder_energy(kind.adder, registers.depth)
    read = kind.read_per_bit_pj * width + shared
    return AccessEnergy(read, kind.write_per_bit_pj * width + shared)


def unlike_word(architecture: Architecture) -> tuple[str, ...]:
    """Return a note if the technology's numbers do not hold for the machine's word width.

    Examples
    --------
    >>> [unlike_word(Architecture.load("fusemax", [f"word={n} bit"])) != () for n in (8, 16)]
    [True, False]
    """
    technology, word = architecture.technology, architecture.word_bits
    if not technology.words_bits or word in technology.words_bits:
        return ()
    widths = " or ".join(str(bits) for bits in technology.words_bits)
    return (
        f"words are of {word} bit, but energy and area of operations are those of numbers of"
        f" {widths} bit ({technology.name})",
    )


def areas(architecture: Architecture) -> Named:
    """Return the area in um^2 of every on-chip component, summed over all its copies.

    The memories come first, from the outermost inwards.

    Raises
    ------
    SpecError
        The technology cannot size a component.
    """
    memories = ((m.name, memory_area(architecture, m)) for m in architecture.memories)
    arrays = ((a.name, _array_area(architecture, a)) for a in architecture.arrays)
    return (*((name, area) for name, area in memories if area is not None), *arrays)


def memory_area(architecture: Architecture, memory: Memory) -> float | None:
    """Return the area in um^2 of all copies of a memory; None if the memory is off chip.

    Raises
    ------
    SpecError
        As ``areas``.
    """
    kind = _memory_class(architecture.technology, memory.energy, memory.name)
    if kind.kind != "sram":
        return None
    rows = _rows(memory, kind)
    area = sram_area(kind.points, rows, memory.line_bits) + _adder_area(kind.adder, rows)
    return architecture.copies(memory.name) * area


def functional_units(array: ProcessingArray) -> tuple[str, ...]:
    """Return the actions for which each processing element has a functional unit.

    These are the declared units, or else all actions that the array's operations can bill.
    """
    billed = (action for operation in array.operations for action, _ in operation.bill)
    return array.units or tuple(dict.fromkeys(billed))


def sram_area(points: tuple[SramPoint, ...], rows: int, width_bits: int) -> float:
    """Return the area in um^2 of an SRAM of ``rows`` lines of ``width_bits``.

    The area is ``a * bits**1.05 + b * width**3.5``, fitted to the compiled ``points`` (relative
    least squares, neither coefficient negative). A correction factor makes it exact at every point
    and fades with the distance from the points: an exponential kernel in the logarithms.

    Parameters
    ----------
    points : tuple of SramPoint
        Compiled points; points without an area are ignored.
    rows, width_bits : int
        Number of lines, and bits per line.

    Returns
    -------
    float
        Area; at a compiled point, exactly the compiled area.
    """
    known = {(p.rows, p.width_bits): p.area_um2 for p in points if p.area_um2 is not None}
    if (rows, width_bits) in known:
        return known[rows, width_bits]
    return _area_fit(points)(rows, width_bits)


@lru_cache(maxsize=16)
def _area_fit(points: tuple[SramPoint, ...]) -> Callable[[int, int], float]:
    """Return the area function of ``sram_area``, fitted to the compiled points."""
    import numpy as np

    known = {(p.rows, p.width_bits): p.area_um2 for p in points if p.area_um2 is not None}
    base = _area_base(known)
    places = [(log(r), log(w)) for r, w in known]
    # Weights with which the correction at each known point equals the error of the base form there.
    misses = [log(area / base(r, w)) for (r, w), area in known.items()]
    kernel = [[_nearness(a, b) for b in places] for a in places]
    weights = [float(w) for w in np.linalg.solve(np.array(kernel), np.array(misses))]

    def area_um2(rows: int, width: int) -> float:
        here = (log(rows), log(width))
        near = (w * _nearness(here, place) for w, place in zip(weights, places, strict=True))
        return base(rows, width) * exp(sum(near))

    return area_um2


def _area_base(known: Mapping[tuple[int, int], float]) -> Callable[[int, int], float]:
    """Return the two-term area function of rows and width, fitted to known areas."""

    def terms(rows: int, width: int) -> tuple[float, float]:
        return (float(rows * width) ** _AREA_BITS_EXPONENT, float(width) ** _AREA_WIDTH_EXPONENT)

    # Least squares of a * x + b * y = 1, with x and y as shares of each point's area: the normal
    # equations by Cramer's rule.
    relative = [tuple(t / area for t in terms(*place)) for place, area in known.items()]
    xx = sum(x * x for x, _ in relative)
    xy = sum(x * y for x, y in relative)
    yy = sum(y * y for _, y in relative)
    x, y = sum(x for x, _ in relative), sum(y for _, y in relative)
    determinant = xx * yy - xy * xy
    # A single point, or points too similar, cannot separate two terms: the first term carries all.
    a, b = x / xx, 0.0
    if determinant > 1e-9 * xx * yy:
        both = (x * yy - y * xy) / determinant, (y * xx - x * xy) / determinant
        if both[0] > 0 and both[1] >= 0:
            a, b = both

    def base(rows: int, width: int) -> float:
        bits, across = terms(rows, width)
        return a * bits + b * across

    return base


def _nearness(a: tuple[float, float], b: tuple[float, float]) -> float:
    return exp(-dist(a, b) / _AREA_CORRELATION)


def _sram_energy(
    kind: MemoryClass, rows: int, width: int, energy: Callable[[SramPoint], float | None]
) -> float:
    """Return the energy per line of an SRAM: proportional to its width, piecewise linear in rows.

    Beyond the compiled points, the line through the nearest two points continues. Below the first
    point, it is never lower than in proportion to the rows. A single point is scaled in proportion.
    """
    known = [(p, e) for p in kind.points if (e := energy(p)) is not None]
    for point, value in known:
        if (point.rows, point.width_bits) == (rows, width):
            return value
    grouped: dict[int, list[float]] = {}
    for point, value in known:
        grouped.setdefault(point.rows, []).append(value / point.width_bits)
    per_bit = [(r, sum(v) / len(v)) for r, v in sorted(grouped.items())]
    return width * _along(per_bit, rows)


def _along(points: list[tuple[int, float]], x: int) -> float:
    """Return the value at ``x > 0`` of a piecewise linear function through ``points``.

    The function continues beyond the first and last point.
    """
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    below = x < points[0][0]
    at, value = points[0] if below else points[-1]
    if len(points) == 1:
        return value * x / at
    (x0, y0), (x1, y1) = points[:2] if below else points[-2:]
    slope = (y1 - y0) / (x1 - x0)
    # A line through the first two points may meet zero before zero rows do.
    if below:
        slope = min(slope, value / at)
    return max(value + slope * (x - at), 0.0)


def _array_area(architecture: Architecture, array: ProcessingArray) -> float:
    technology = architecture.technology
    units = sum(action_of(technology, name).area_um2 for name in functional_units(array))
    registers = array.registers
    kind = _memory_class(technology, registers.energy, array.name)
    width = max(registers.width_bits or architecture.word_bits, kind.least_width_bits)
    entry = width * kind.area_per_bit_um2 + kind.area_per_entry_um2
    file = max(registers.depth, kind.least_depth) * entry
    element = units + file + _adder_area(kind.adder, registers.depth)
    area = array.elements * element + array.overhead_area_um2
    return architecture.copies(array.name) * area


def _adder_energy(adder: AddressAdder | None, rows: int) -> float:
    if adder is None:
        return 0.0
    return adder.energy_fixed_pj + adder.energy_per_bit_pj * address_bits(rows)


def _adder_area(adder: AddressAdder | None, rows: int) -> float:
    if adder is None:
        return 0.0
    return adder.generators * adder.area_per_bit_um2 * address_bits(rows)


def _rows(memory: Memory, kind: MemoryClass) -> int:
    rows = memory_rows(memory)
    if rows is None:
        raise SpecError(f"memory '{memory.name}' needs a capacity to be a '{kind.name}'")
    return rows


def action_of(technology: Technology, name: str) -> Action:
    """Return an action of a technology.

    Raises
    ------
    SpecError
        The technology has no such action; the message names the nearest.
    """
    action = technology.action(name)
    if action is None:
        known = did_you_mean(name, [a.name for a in technology.actions])
        raise SpecError(f"technology '{technology.name}' has no action '{name}'; {known}")
    return action


def _memory_class(technology: Technology, name: str, owner: str) -> MemoryClass:
    kind = technology.memory(name)
    if kind is None:
        known = did_you_mean(name, [m.name for m in technology.memories])
        raise SpecError(
            f"'{owner}': technology '{technology.name}' has no memory class '{name}'; {known}"
        )
    return kind


class Charge(NamedTuple):
    """Energy in pJ that one Einsum spends at one component."""

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
        Number of machine words that a value of each tensor takes.

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
    own = _own_registers(count, array, prices.words)
    charged = [prices.of(access) for access in (*count.accesses, *own)]
    charged += [
        (array.name, energy) for energy in operations_pj(architecture, array, count.operations)
    ]
    for component, energy in charged:
        found[component] = found.get(component, 0.0) + energy
    return found


def _own_registers(
    count: EinsumCount, array: ProcessingArray, words: TensorWords
) -> Iterator[AccessCount]:
    """Yield the accesses to the registers of an Einsum's own array, one for each width of
    values.
    """
    of_one = array.registers.billed == "one"
    if words.alike:
        yield count.registers_of_one if of_one else count.registers
        return
    for tensor, uses in count.registers_by_tensor:
        reads, writes = uses.of_one if of_one else uses.of_all
        yield AccessCount(count.einsum, tensor, array.name, reads, writes)


class PriceList:
    """Prices of a machine's memories and registers, by the width of values."""

    def __init__(self, architecture: Architecture, words: TensorWords) -> None:
        self._architecture = architecture
        self.words = words
        self._known: dict[tuple[str, Fraction | int], PlacePrice] = {}

    def of(self, access: AccessCount) -> tuple[str, float]:
        """Return the component that is charged for an access, and the energy in pJ."""
        return self.at(access.place, access.tensor).of(access)

    def at(self, place: str, tensor: str) -> PlacePrice:
        """Return the price of a tensor's values in a memory, or in an array's registers."""
        key = (place, self.words.of(tensor))
        if key not in self._known:
            self._known[key] = _price_of(self._architecture, *key)
        return self._known[key]


_PRICES = Cache[PriceList](MAX_CACHED_MACHINES)


def prices_of(architecture: Architecture, words: TensorWords) -> PriceList:
    """Return the price list of a machine, which all runs on the machine share."""
    key = (Identity(architecture), Identity(words))
    return _PRICES.get(key, lambda: PriceList(architecture, words))


@dataclass(frozen=True, slots=True)
class PlacePrice:
    """Price of values in a memory or in registers, and the component that is charged."""

    component: str
    share: Fraction
    """Share of a priced unit (a memory's line or a register value) that one tensor value takes."""
    energy: AccessEnergy

    def of(self, access: AccessCount) -> tuple[str, float]:
        """Return the component that is charged for an access, and the energy in pJ."""
        part, whole = self.share.numerator, self.share.denominator
        reads, writes = access.reads * part / whole, access.writes * part / whole
        return self.component, reads * self.energy.read_pj + writes * self.energy.write_pj


def _price_of(architecture: Architecture, place: str, words: Fraction | int) -> PlacePrice:
    """Return the price of values that take ``words`` machine words, in a memory or in registers."""
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
    """Yield the energy in pJ of each action that some operations take on an array.

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
            yield done * action_of(architecture.technology, action).energy_pj


LEAKAGE = "leakage"
"""Name that stands in place of an Einsum in charges for leakage, which all Einsums share."""


def leakage_w(architecture: Architecture) -> Named:
    """Return the power in W of each component that leaks, over all cores.

    Functional units leak according to their actions, registers and on-chip memories by the bit, and
    a DRAM idles as a whole.

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
    return tuple((name, watts) for name, watts in _components(architecture) if watts)


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
        registers = array.registers
        kind = technology.memory(registers.energy)
        bits = registers.depth * (registers.width_bits or architecture.word_bits)
        per_bit = 0.0 if kind is None else kind.leakage_w_per_bit
        yield f"{array.name}.registers", copies * (array.elements * bits * per_bit)
        units = (technology.action(name) for name in functional_units(array))
        leaking = sum(u.leakage_w for u in units if u is not None)
        yield array.name, copies * array.elements * leaking


def leakage_charges(architecture: Architecture, seconds: float) -> tuple[Charge, ...]:
    """Return the energy of leakage of each component over a given time.

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
