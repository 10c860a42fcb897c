"""Operand-delivery bound: least energy of bringing operands to an array's processing elements.

A processing element holds one value of each tensor. The innermost loop with several iterations
brings another value of every tensor that it indexes. Processing elements that share a value read it
once, but no more than the array's elements can share it. Elements that share one operand each need
a separate value of the next operand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from math import inf, prod, sqrt
from typing import NamedTuple

from einsum_cascade.operations import Operations

from ..energy import memory_access, register_access
from ..iteration.access_map import AccessMap, Digits
from ..iteration.loops import Axis
from ..spec.arch import Architecture, ProcessingArray
from ..spec.tensor_words import TensorWords
from .policy import LANE_STEPS_PER_DOUBLING

_ROUNDING_MARGIN = 1 - 1e-12
"""Factor below one that covers the rounding of sums: some mappings attain the bound exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivingOperand:
    """Operand or result of an Einsum, with the loops that bring another value of it."""

    tensor: str
    moving: frozenset[str]
    """Rank variables whose loops bring another value of the tensor."""
    sharing: frozenset[str]
    """All other rank variables: processing elements side by side along these share one value."""
    most: int
    """Largest number of points that need one value; no more processing elements can share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandDelivery:
    """Operands that arrive for an Einsum, and the result that may leave as partial sums."""

    points: int
    """Least number of points of the Einsum."""
    inputs: tuple[ArrivingOperand, ...] = ()
    """Operands that are inputs of the cascade; no array can produce them."""
    result: ArrivingOperand | None = None
    """Result that is summed over at most ``most`` points; None if the bound charges no results."""
    crossing: Fraction = Fraction(0)
    """Machine words of the inputs that cross the outermost memory in any case."""
    innermost: tuple[str, ...] = ()
    """Rank variables that the innermost loop may iterate over."""

    def energy_pj(self, machine: Architecture, array: ProcessingArray, words: TensorWords) -> float:
        """Return the least energy in pJ of deliveries to an array.

        The operations' own register reads and writes are not included.

        If the innermost loop goes over some variable, its iterations bring one value per point. The
        cost of a value is divided by the processing elements that share it. The mean cost of a
        point is therefore at least that of the cheapest variable. Results cost less, because the
        first arrival is free.

        Parameters
        ----------
        machine : Architecture
        array : ProcessingArray
            Array that can run the Einsum.
        words : TensorWords
            Words of a value of each tensor.
        """
        if not self.innermost or not (self.inputs or self.result):
            return 0.0
        home = memory_access(machine, machine.home)
        # Part of the values from the outermost memory is the compulsory traffic.
        crossed = float(self.crossing * machine.word_bits / machine.home.line_bits)
        prices, registers = (
            _ArrivalPrices(machine, array, words, free=free) for free in (False, True)
        )
        found = self._mean(prices) * self.points
        found -= crossed * min(home.read_pj, home.write_pj)
        kept = self._mean(registers) * self.points
        return max(found, kept) * _ROUNDING_MARGIN

    def _mean(self, prices: _ArrivalPrices) -> float:
        """Return the least mean cost of a point in pJ."""
        result = self.result
        moves = result.moving if result is not None else frozenset[str]()
        # Variables that bring values of the same inputs cost the same: one of them is enough.
        stays = dict.fromkeys(self._moved_by(v) for v in self.innermost if v not in moves)
        stay = min((prices.of(i, 1.0, frozenset()) for i in stays), default=inf)
        leaves = dict.fromkeys(self._moved_by(v) for v in self.innermost if v in moves)
        if result is None or not leaves:
            return stay
        least = stay
        for fewest, most in prices.lanes(result.most):
            goes = min(prices.of(i, fewest, result.sharing) for i in leaves)
            least = min([least, *self._in_parts(prices, result, goes, most, stay)])
        return least

    def _moved_by(self, variable: str) -> tuple[ArrivingOperand, ...]:
        return tuple(i for i in self.inputs if variable in i.moving)

    def _in_parts(
        self,
        prices: _ArrivalPrices,
        result: ArrivingOperand,
        goes: float,
        most: float,
        staying: float,
    ) -> Iterator[float]:
        """Yield mean costs of a point if results leave as partial sums.

        For a share of all points, results are summed over at most ``most`` processing elements
        before they leave; these points cost ``goes``. For all other points the results stay.
        """
        # The first arrival of a result is no partial result; each core with a part has its own.
        free = min(1.0, most * prices.copies / result.most)
        if staying < inf:
            yield (1 - free) * staying + free * goes
        yield (
            goes
            + max(0.0, 1 / most - prices.copies / result.most) * prices.tensor(result.tensor).back
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArrivalLine:
    """Cost in pJ of a value that is read from or written to a memory."""

    read: float
    write: float
    arrays: float
    """Number of arrays of one kind that each copy of the memory feeds."""


class _TensorPrices(NamedTuple):
    """Prices in pJ of the values of one tensor."""

    feeding: tuple[_ArrivalLine, ...]
    """Memories that may feed the array cheapest.

    A memory is left out if a cheaper one feeds as many arrays.
    """
    kept: float
    """Cost of writing a value to the registers of a processing element."""
    back: float
    """Cost of a partial result that is written to a memory and later comes back, once each."""


class _ArrivalPrices:
    """Calculator of prices in pJ for values that arrive at the processing elements of an array.

    Parameters
    ----------
    machine, array, words
        As in ``OperandDelivery.energy_pj``.
    free : bool
        True if reads of memories are free.
    """

    def __init__(
        self, machine: Architecture, array: ProcessingArray, words: TensorWords, *, free: bool
    ) -> None:
        self._machine, self._array, self._words, self._free = machine, array, words, free
        self._tensors: dict[str, _TensorPrices] = {}
        self.elements = array.elements
        self.copies = machine.copies(array.name)
        alone = array.registers.billed == "one"
        # If one element alone is billed, it has at least an equal part of all accesses.
        self._billed = 1 / (self.copies * array.elements) if alone else 1.0

    def lanes(self, most: float) -> Iterator[tuple[float, float]]:
        """Yield ranges that cover the possible numbers of processing elements that sum one
        result.
        """
        bound, at = min(most, float(self.elements)), 1.0
        while True:
            after = min(bound, at * 2 ** (1 / LANE_STEPS_PER_DOUBLING))
            yield at, after
            if after >= bound:
                return
            at = after

    def of(
        self, inputs: tuple[ArrivingOperand, ...], lanes: float, taken: Collection[str]
    ) -> float:
        """Return the least cost of a point that needs a value of each input.

        ``lanes`` processing elements lie side by side along the variables in ``taken``.
        """
        kept = sum(self.tensor(i.tensor).kept for i in inputs)
        if self._free:
            return kept
        single = [self._least((i,), self._room(i, lanes, taken)) for i in inputs]
        alone = {i.tensor: least for i, least in zip(inputs, single, strict=True)}
        separate = sum(single)
        best = separate
        for one, other in combinations(inputs, 2):
            # Elements that share one input each have their own value of the other.
            if one.sharing.isdisjoint(other.sharing):
                room = max(self._room(one, lanes, taken), self._room(other, lanes, taken))
                pair = self._least((one, other), room)
                best = max(best, separate - alone[one.tensor] - alone[other.tensor] + pair)
        return kept + best

    def _room(self, arriving: ArrivingOperand, lanes: float, taken: Collection[str]) -> float:
        """Return the number of processing elements of one array that can share a value of an
        operand."""
        return self.elements / (lanes if arriving.sharing.isdisjoint(taken) else 1.0)

    def _least(self, inputs: tuple[ArrivingOperand, ...], room: float) -> float:
        """Return the least cost of reads for a point, for one input or for two.

        Two inputs divide the processing elements between them. A memory that feeds several cores
        may read once for all of them.
        """
        found = inf
        for chosen in product(*(self.tensor(i.tensor).feeding for i in inputs)):
            among = room * max(line.arrays for line in chosen)
            ends = [(x.read, float(i.most)) for x, i in zip(chosen, inputs, strict=True)]
            found = min(found, _shared_out(ends, among))
        return found

    def tensor(self, tensor: str) -> _TensorPrices:
        """Return the prices of a tensor's values."""
        if tensor not in self._tensors:
            self._tensors[tensor] = self._priced(self._words.of(tensor))
        return self._tensors[tensor]

    def _priced(self, words: Fraction | int) -> _TensorPrices:
        machine = self._machine
        lines = [
            _ArrivalLine(
                read=float(price.read_pj * machine.word_bits * words / memory.line_bits),
                write=float(price.write_pj * machine.word_bits * words / memory.line_bits),
                arrays=max(1.0, self.copies / machine.copies(memory.name)),
            )
            for memory in machine.memories
            for price in (memory_access(machine, memory),)
        ]
        feeding: list[_ArrivalLine] = []
        for line in sorted(lines, key=lambda x: (x.read, -x.arrays)):
            if all(line.arrays > other.arrays for other in feeding):
                feeding.append(line)
        register = register_access(machine, self._array, machine.word_bits * words)
        kept = register.write_pj * self._billed
        back = min(line.read + line.write for line in lines) + kept
        return _TensorPrices(tuple(feeding), kept, back)


def _shared_out(inputs: list[tuple[float, float]], elements: float) -> float:
    """Return the least cost of one or two values, each divided by the elements that share it.

    Parameters
    ----------
    inputs : list of tuple
        One input or two: the cost of a value, and the largest number of processing elements that
        can share it.
    elements : float
        Number of all processing elements. For two values, it is the product of the numbers of
        elements that share each.

    Examples
    --------
    Among 16 x 16 elements, 16 share a row's value and 16 a column's; the second row is 4 long:

    >>> [_shared_out([(1, 64), (1, most)], 256) for most in (64, 4)]
    [0.125, 0.265625]
    """
    (price, most), *others = inputs
    if not others:
        return price / min(most, elements)
    ((other, other_most),) = others
    fewest = max(1.0, elements / other_most)
    at_most = min(most, elements)
    if fewest >= at_most:
        return price / at_most + other / min(other_most, elements)
    # Of two terms whose denominators have a fixed product, both are equal at the optimum.
    best = sqrt(elements * price / other) if other > 0 else at_most
    share = min(max(best, fewest), at_most)
    return price / share + other * share / elements


class EinsumAccesses(NamedTuple):
    """Properties of an Einsum that decide its operand deliveries, without its loops to save
    memory.
    """

    name: str
    axes: tuple[Axis, ...]
    operations: Operations
    reads: tuple[AccessMap, ...]
    write: AccessMap
    begins: bool
    """True if the Einsum's result starts from initial values in a memory."""

    @property
    def variables(self) -> frozenset[str]:
        """Rank variables of the Einsum's iteration space."""
        return frozenset(v for axis in self.axes for v, _ in axis.variables)


def operand_delivery_of(
    e: EinsumAccesses,
    points: int,
    crossing: Mapping[str, Fraction],
    chosen: Collection[str],
    settled: bool,
) -> OperandDelivery:
    """Return the operand delivery of an Einsum under any mapping.

    Parameters
    ----------
    e : EinsumAccesses
    points : int
        Least number of points of the Einsum in any mapping.
    crossing : mapping
        Words of the cascade's inputs that cross the outermost memory in any case, by name.
        Intermediates are left out, because they may already be where they are used.
    chosen : collection of str
        Rank variables whose extents mappings choose.
    settled : bool
        True if each result is a sum over all points of the extents and not a running value.
    """
    extents = {v: a.extent for a in e.axes for v, _ in a.variables if v not in chosen}
    summed = e.variables - e.write.moving
    whole = settled and summed and summed <= extents.keys() and _is_plain(e.write)
    inputs = [m for m in e.reads if m.access.tensor in crossing and _is_plain(m)]
    return OperandDelivery(
        points=points,
        inputs=tuple(_arriving(e, m) for m in inputs),
        result=_arriving(e, e.write) if whole else None,
        crossing=sum((crossing[t] for t in {m.access.tensor for m in inputs}), Fraction(0)),
        innermost=tuple(sorted(v for v in e.variables if extents.get(v) != 1)),
    )


def _is_plain(access_map: AccessMap) -> bool:
    """Return whether each iteration of a loop that indexes the tensor brings other elements.

    This holds without sums of indices and without gathers.
    """
    return all(isinstance(part, Digits) for part in access_map.parts)


def _arriving(e: EinsumAccesses, access_map: AccessMap) -> ArrivingOperand:
    tensor, moving = access_map.access.tensor, access_map.moving
    sharing = frozenset(e.variables - moving)
    extents = (a.extent for a in e.axes if not sharing.isdisjoint(v for v, _ in a.variables))
    return ArrivingOperand(tensor=tensor, moving=moving, sharing=sharing, most=prod(extents))
