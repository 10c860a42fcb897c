"""Operand-delivery bound: least energy of bringing operands to the elements of an array.

An element of an array holds one value of each tensor. The innermost loop that iterates brings
another value of every tensor that it moves. Elements that share a value read it once, but no more
than the array's elements can share it. Elements that share one operand each need their own value of
the next operand.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from math import ceil, inf, prod, sqrt
from typing import NamedTuple

from einsum_cascade.memo import Cache, Identity
from einsum_cascade.operations import Operations

from ..energy import memory_access, register_access
from ..iteration.access_map import AccessMap, Digits
from ..iteration.loops import Axis
from ..spec.arch import Architecture, ProcessingArray
from ..spec.tensor_words import ONE_WORD, TensorWords
from .policy import LANE_STEPS_PER_DOUBLING, MAX_CACHED_ARRAYS, MAX_CACHED_POINTS

_ROUNDING_MARGIN = 1 - 1e-12
"""Factor below one that covers the rounding of sums: some mappings attain the bound exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivingOperand:
    """Operand, or result, with the loops that bring another value of it."""

    tensor: str
    moving: frozenset[str]
    """Rank variables whose loops bring another value."""
    sharing: frozenset[str]
    """All other rank variables: elements side by side along these share one value."""
    most: int
    """Largest number of points that need one value; no more elements can share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandDelivery:
    """Operands that arrive for an Einsum, and the result that leaves in parts."""

    points: int
    """Least number of points."""
    inputs: tuple[ArrivingOperand, ...] = ()
    """Inputs of the cascade, which no array makes by itself."""
    result: ArrivingOperand | None = None
    """Result that is summed over at most ``most`` points; None if it may stay."""
    crossing: Fraction = Fraction(0)
    """Words of the inputs that cross the outermost memory in any case."""
    innermost: tuple[str, ...] = ()
    """Rank variables over which the innermost loop may go."""

    def energy_pj(self, machine: Architecture, array: ProcessingArray, words: TensorWords) -> float:
        """Return the least energy of deliveries on an array, beside operands and results of
        operations.

        If the innermost loop that iterates goes over some variable, its iterations bring as many
        values as they have points, over the elements that share one value. The mean cost of a point
        is therefore at least that of the cheapest variable. Results cost less, because the first
        arrival is free.

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
        prices, registers = _prices_of(machine, array, words)
        found = self._mean(prices) * self.points
        found -= crossed * min(home.read_pj, home.write_pj)
        kept = self._mean(registers) * self.points
        return max(found, kept) * _ROUNDING_MARGIN

    def _mean(self, prices: _ArrivalPrices) -> float:
        """Return the least mean cost of a point."""
        result = self.result
        stay, parts = prices.cheapest.get(self._key(prices), lambda: self._cheapest(prices))
        least = stay
        if result is not None:
            for most, goes in parts:
                least = min([least, *self._in_parts(prices, result, goes, most, stay)])
        return least

    def _key(self, prices: _ArrivalPrices) -> Hashable:
        """Return the key of ``_cheapest``; the number of sharing points counts up to the
        elements."""
        inputs = tuple(
            [(i.tensor, i.moving, i.sharing, min(i.most, prices.reach)) for i in self.inputs]
        )
        if self.result is None:
            return inputs, self.innermost, None
        r = self.result
        return inputs, self.innermost, (r.moving, r.sharing, min(r.most, prices.elements))

    def _cheapest(self, prices: _ArrivalPrices) -> _CheapestPoints:
        result = self.result
        moves = result.moving if result is not None else frozenset[str]()
        # Variables that bring values of the same inputs cost the same: one of them is enough.
        stays = dict.fromkeys(self._moved_by(v) for v in self.innermost if v not in moves)
        stay = min((prices.of(i, 1.0, frozenset()) for i in stays), default=inf)
        leaves = dict.fromkeys(self._moved_by(v) for v in self.innermost if v in moves)
        if result is None or not leaves:
            return stay, ()
        return stay, tuple(
            (most, min(prices.of(i, fewest, result.sharing) for i in leaves))
            for fewest, most in prices.lanes(result.most)
        )

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
        """Yield the mean cost of a point if results leave again and again.

        In a share of all points, results are summed over at most ``most`` elements before they
        leave (each for ``goes``); in the others they stay.
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
    """Cost of a value in a memory."""

    read: float
    write: float
    arrays: float
    """Number of arrays of one kind that a copy of the memory feeds."""


class _TensorPrices(NamedTuple):
    """Prices of the values of a tensor."""

    feeding: tuple[_ArrivalLine, ...]
    """Memories, without those that cost more than another that feeds as many arrays."""
    kept: float
    """Cost of writing a value to the registers of an element."""
    back: float
    """Cost of a partial result that is written to a memory and comes back once."""


_CheapestPoints = tuple[float, tuple[tuple[float, float], ...]]
"""Least cost of arrivals for a point whose result stays, and for points whose result leaves, by
the largest number of elements that sum it."""


class _ArrivalPrices:
    """Prices in pJ of values that arrive at the elements of an array.

    Parameters
    ----------
    machine, array, words
        As in ``OperandDelivery.energy_pj``.
    free : bool, optional
        True if reads of memories are free.
    """

    def __init__(
        self,
        machine: Architecture,
        array: ProcessingArray,
        words: TensorWords,
        *,
        free: bool = False,
    ) -> None:
        self._machine, self._array, self._words, self._free = machine, array, words, free
        self._tensors: dict[str, _TensorPrices] = {}
        self.cheapest = Cache[_CheapestPoints](MAX_CACHED_POINTS)
        """Cheapest points by ``OperandDelivery``'s key, which rarely depends on a length."""
        self.elements = array.elements
        self.copies = machine.copies(array.name)
        most_fed = max((self.copies / machine.copies(m.name) for m in machine.memories), default=1)
        self.reach = ceil(self.elements * max(1.0, most_fed))
        """Largest number of elements among which a memory may share a value."""
        alone = array.registers.billed == "one"
        # If one element alone is billed, it has at least an equal part of all accesses.
        self._billed = 1 / (self.copies * array.elements) if alone else 1.0

    def lanes(self, most: float) -> Iterator[tuple[float, float]]:
        """Yield ranges of the number of elements that sum one result."""
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

        Of the elements side by side, ``lanes`` are along variables that are ``taken``.
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
        """Return the number of elements of one array that can share a value."""
        return self.elements / (lanes if arriving.sharing.isdisjoint(taken) else 1.0)

    def _least(self, inputs: tuple[ArrivingOperand, ...], room: float) -> float:
        """Return the least cost of reads for a point, for one input or two inputs that divide
        the elements.

        A memory that feeds several cores may read once for all of them.
        """
        found = inf
        for chosen in product(*(self.tensor(i.tensor).feeding for i in inputs)):
            among = room * max(line.arrays for line in chosen)
            ends = [(x.read, float(i.most)) for x, i in zip(chosen, inputs, strict=True)]
            found = min(found, _shared_out(ends, among))
        return found

    def tensor(self, tensor: str) -> _TensorPrices:
        """Return the prices of the values of a tensor."""
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


_PRICES = Cache[tuple[_ArrivalPrices, _ArrivalPrices]](MAX_CACHED_ARRAYS)


def _prices_of(
    machine: Architecture, array: ProcessingArray, words: TensorWords
) -> tuple[_ArrivalPrices, _ArrivalPrices]:
    """Return the prices of values that arrive from memories, and of values that arrive for free."""
    # Cascades whose values are all one word share their prices.
    words = ONE_WORD if words.alike else words
    key = (Identity(machine), Identity(array), Identity(words))
    return _PRICES.get(
        key,
        lambda: (
            _ArrivalPrices(machine, array, words),
            _ArrivalPrices(machine, array, words, free=True),
        ),
    )


def _shared_out(inputs: list[tuple[float, float]], elements: float) -> float:
    """Return the least cost of values, each divided by the elements that share it.

    Parameters
    ----------
    inputs : list of tuple
        One input or two: the cost of a value, and the largest number of elements that can share it.
    elements : float
        All elements: the product of the numbers that share each of two values.

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
    """Properties of an Einsum that decide its deliveries; its loops would take more memory."""

    name: str
    axes: tuple[Axis, ...]
    operations: Operations
    reads: tuple[AccessMap, ...]
    write: AccessMap
    begins: bool
    """True if its result starts from inputs."""

    @property
    def variables(self) -> frozenset[str]:
        """Rank variables of its iteration space."""
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
        Intermediates may wait where they are used.
    chosen : collection of str
        Rank variables whose extents mappings choose.
    settled : bool
        True if each result is summed over all points of the extents, and is no running value.
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
    """Return whether every step of a moving loop brings other elements: no index sums, and no
    gathers."""
    return all(isinstance(part, Digits) for part in access_map.parts)


def _arriving(e: EinsumAccesses, access_map: AccessMap) -> ArrivingOperand:
    sharing = frozenset(e.variables - access_map.moving)
    extents = (a.extent for a in e.axes if not sharing.isdisjoint(v for v, _ in a.variables))
    return ArrivingOperand(
        tensor=access_map.access.tensor,
        moving=access_map.moving,
        sharing=sharing,
        most=prod(extents),
    )
