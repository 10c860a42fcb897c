"""Operand-delivery bound: least energy of bringing operands to the elements of an array.

An element of an array holds one value of each tensor, and the innermost loop that iterates brings
another value of every tensor that it moves. Elements that share a value read it once, but at most
as many elements as the array has can share it, and those that share one operand each need another
value of the next operand.
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

from ..energy.estimators import memory_access, register_access
from ..iteration.access_map import AccessMap, Digits
from ..iteration.loops import Axis
from ..spec.arch import Architecture, ProcessingArray
from ..spec.tensor_words import ONE_WORD, TensorWords
from .policy import LANE_STEPS_PER_DOUBLING, MAX_CACHED_ARRAYS, MAX_CACHED_POINTS

_ROUNDING_MARGIN = 1 - 1e-12
"""There are mappings that do no more than this; sums of theirs are rounded otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivingOperand:
    """A tensor of which an Einsum needs another value whenever certain loops go on."""

    tensor: str
    moving: frozenset[str]
    """Rank variables whose loops bring another value."""
    sharing: frozenset[str]
    """All others: elements side by side along these share one."""
    most: int
    """Points that need one value, at the most: no more elements can share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperandDelivery:
    """What an Einsum takes in, and what it hands out in parts."""

    points: int
    """At the least."""
    inputs: tuple[ArrivingOperand, ...] = ()
    """Of the cascade: no array has them by itself."""
    result: ArrivingOperand | None = None
    """Where each is summed in as many points as ``most`` says; None: it may stay."""
    crossing: Fraction = Fraction(0)
    """Words of the inputs that cross the outermost memory in any case."""
    innermost: tuple[str, ...] = ()
    """Rank variables over which the innermost loop may go."""

    def energy_pj(self, machine: Architecture, array: ProcessingArray, words: TensorWords) -> float:
        """The least that deliveries cost on an array, beside what operations read and write.

        Iterations of which the innermost loop that goes round is over some variable bring as many
        values as they have points, over the elements that share one. So the mean of a point is no
        less than that of the cheapest variable, but for a result: it first arrives for nothing.

        Parameters
        ----------
        machine : Architecture
        array : ProcessingArray
            One that can do the Einsum.
        words : TensorWords
            Of a value of each tensor.
        """
        if not self.innermost or not (self.inputs or self.result):
            return 0.0
        home = memory_access(machine, machine.home)
        # Of what comes from the outermost memory itself a part is what crosses it in any case.
        crossed = float(self.crossing * machine.word_bits / machine.home.line_bits)
        prices, registers = _prices_of(machine, array, words)
        found = self._mean(prices) * self.points
        found -= crossed * min(home.read_pj, home.write_pj)
        kept = self._mean(registers) * self.points
        return max(found, kept) * _ROUNDING_MARGIN

    def _mean(self, prices: _ArrivalPrices) -> float:
        """The least cost of a point."""
        result = self.result
        stay, parts = prices.cheapest.get(self._key(prices), lambda: self._cheapest(prices))
        least = stay
        if result is not None:
            for most, goes in parts:
                least = min([least, *self._in_parts(prices, result, goes, most, stay)])
        return least

    def _key(self, prices: _ArrivalPrices) -> Hashable:
        """What ``_cheapest`` depends on: not how many points share a value where these are more
        than the elements that could."""
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
        # Of variables that bring values of the same inputs one tells what all do.
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
        """The mean cost of a point where results leave again and again, summed over so many
        elements at the most, in a share of all points (each for ``goes``), and stay in the
        others."""
        # What arrives first is no partial result. It is one for each instance that has a part.
        free = min(1.0, most * prices.copies / result.most)
        if staying < inf:
            yield (1 - free) * staying + free * goes
        yield goes + max(0.0, 1 / most - prices.copies / result.most) * prices.back(result.tensor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArrivalLine:
    """What a value costs in a memory."""

    read: float
    write: float
    arrays: float
    """How many arrays of the kind an instance of the memory feeds."""


_CheapestPoints = tuple[float, tuple[tuple[float, float], ...]]
"""The least that arrives for a point whose result stays; and for one whose result leaves, by the
number of elements that add it up at the most."""


class _ArrivalPrices:
    """What values cost that arrive at the elements of an array, in pJ.

    Parameters
    ----------
    machine, array, words
        As of ``OperandDelivery.energy_pj``.
    free : bool, optional
        Whether inputs come from wherever they are for nothing.
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
        self._lines: dict[str, tuple[_ArrivalLine, ...]] = {}
        self._feeding: dict[str, tuple[_ArrivalLine, ...]] = {}
        self._written: dict[str, float] = {}
        self._back: dict[str, float] = {}
        self.cheapest = Cache[_CheapestPoints](MAX_CACHED_POINTS)
        """Cheapest points by ``OperandDelivery``'s key, which rarely depends on a length."""
        self.elements = array.elements
        self.copies = machine.copies(array.name)
        together = max((self.copies / machine.copies(m.name) for m in machine.memories), default=1)
        self.reach = ceil(self.elements * max(1.0, together))
        """Elements among which a memory may share out a value, at the most."""
        alone = array.registers.billed == "one"
        # Where one element alone is billed, it has no less to do than an equal part of all.
        self._billed = 1 / (self.copies * array.elements) if alone else 1.0

    def lanes(self, most: float) -> Iterator[tuple[float, float]]:
        """Numbers of elements that may add up one result: from, and up to."""
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
        """The least for a point that needs a value of each, where so many elements of those side
        by side are along variables that are ``taken``."""
        kept = sum(self._kept(i.tensor) for i in inputs)
        if self._free:
            return kept
        single = [self._least((i,), self._room(i, lanes, taken)) for i in inputs]
        alone = {i.tensor: least for i, least in zip(inputs, single, strict=True)}
        apart = sum(single)
        best = apart
        for one, other in combinations(inputs, 2):
            # Elements that share the one each have their own of the other.
            if one.sharing.isdisjoint(other.sharing):
                room = max(self._room(one, lanes, taken), self._room(other, lanes, taken))
                pair = self._least((one, other), room)
                best = max(best, apart - alone[one.tensor] - alone[other.tensor] + pair)
        return kept + best

    def back(self, tensor: str) -> float:
        """A partial result that is written to a memory and comes back once more."""
        if tensor not in self._back:
            there = min(line.read + line.write for line in self._of_all(tensor))
            self._back[tensor] = there + self._kept(tensor)
        return self._back[tensor]

    def _room(self, arriving: ArrivingOperand, lanes: float, taken: Collection[str]) -> float:
        """Elements of one array that can share a value."""
        return self.elements / (lanes if arriving.sharing.isdisjoint(taken) else 1.0)

    def _least(self, inputs: tuple[ArrivingOperand, ...], room: float) -> float:
        """The least that memories read for a point, of one input or of two that share out the
        elements; a memory that feeds several instances may read once for all of them."""
        found = inf
        for chosen in product(*(self._cheap(i.tensor) for i in inputs)):
            among = room * max(line.arrays for line in chosen)
            ends = [(x.read, float(i.most)) for x, i in zip(chosen, inputs, strict=True)]
            found = min(found, _shared_out(ends, among))
        return found

    def _cheap(self, tensor: str) -> tuple[_ArrivalLine, ...]:
        """Memories without those that cost more to read than another that feeds as many arrays."""
        if tensor not in self._feeding:
            found: list[_ArrivalLine] = []
            for line in sorted(self._of_all(tensor), key=lambda x: (x.read, -x.arrays)):
                if all(line.arrays > other.arrays for other in found):
                    found.append(line)
            self._feeding[tensor] = tuple(found)
        return self._feeding[tensor]

    def _of_all(self, tensor: str) -> tuple[_ArrivalLine, ...]:
        if tensor not in self._lines:
            machine, words = self._machine, self._words.of(tensor)
            self._lines[tensor] = tuple(
                _ArrivalLine(
                    read=float(price.read_pj * machine.word_bits * words / memory.line_bits),
                    write=float(price.write_pj * machine.word_bits * words / memory.line_bits),
                    arrays=max(1.0, self.copies / machine.copies(memory.name)),
                )
                for memory in machine.memories
                for price in (memory_access(machine, memory),)
            )
        return self._lines[tensor]

    def _kept(self, tensor: str) -> float:
        """A value that is written to the registers of an element."""
        if tensor not in self._written:
            bits = self._machine.word_bits * self._words.of(tensor)
            price = register_access(self._machine, self._array, bits)
            self._written[tensor] = price.write_pj * self._billed
        return self._written[tensor]


_PRICES = Cache[tuple[_ArrivalPrices, _ArrivalPrices]](MAX_CACHED_ARRAYS)


def _prices_of(
    machine: Architecture, array: ProcessingArray, words: TensorWords
) -> tuple[_ArrivalPrices, _ArrivalPrices]:
    """What values cost that arrive at an array from memories, and from nowhere."""
    # Of cascades whose values are all words prices are the same.
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
    """The least of what values cost, each over the elements that share it.

    Parameters
    ----------
    inputs : list of tuple
        Of one input or two: what a value costs, and how many elements can share one at the most.
    elements : float
        All that there are: what shares one value and what shares the other are no more together.

    Examples
    --------
    Of 16 x 16 elements 16 share a row's value, and 16 a column's; a row of its own is 4 long:

    >>> [_shared_out([(1, 64), (1, most)], 256) for most in (64, 4)]
    [0.125, 0.265625]
    """
    (price, most), *others = inputs
    if not others:
        return price / min(most, elements)
    ((other, apart),) = others
    fewest = max(1.0, elements / apart)
    at_most = min(most, elements)
    if fewest >= at_most:
        return price / at_most + other / min(apart, elements)
    # Of two terms whose denominators have a product that is known, both are equal at the best.
    best = sqrt(elements * price / other) if other > 0 else at_most
    share = min(max(best, fewest), at_most)
    return price / share + other * share / elements


class EinsumAccesses(NamedTuple):
    """Of an Einsum what decides what arrives for it: no loops, which need more room."""

    name: str
    axes: tuple[Axis, ...]
    operations: Operations
    reads: tuple[AccessMap, ...]
    write: AccessMap
    begins: bool
    """Whether it begins with what inputs hold."""

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
    """What an Einsum takes in and hands out, whatever its mapping is.

    Parameters
    ----------
    e : Addressed
    points : int
        That any mapping runs of it, at the least.
    crossing : mapping
        Words of the cascade's inputs that cross the outermost memory in any case, by name. What an
        Einsum makes may wait where it is used.
    chosen : collection of str
        Rank variables whose extents are for a mapping to choose.
    settled : bool
        Whether each result is summed at all points that the extents say: it is no running value.
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
    """Whether what moves it always brings other elements: no sums of variables, and no picks."""
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
