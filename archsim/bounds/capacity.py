"""Traffic of contractions: words that cross the outermost memory if all others hold S words.

A product of N x D x J points moves at least about ``2*N*D*J / sqrt(S)`` words (Hong and Kung 1981;
Irony, Toledo and Tiskin 2004; Christ et al. 2013 for any ranks). The proof cuts a run into phases.

An element of a result *begins* if its partial sum appears while none of it is inside the outermost
memory and none is read. It is written before it begins again, and at the end, so that reads and
begins are no more than what crosses. Each phase but the last has reads and begins of T words. A
point needs its operands and its partial sum inside: they were there when the phase began (S words),
or are among the T. By the inequality of Hoelder, Brascamp and Lieb, sets of n_a elements of each
access meet in at most ``prod(n_a**s_a)`` points if the exponents of the accesses that have a rank
add up to 1 or more, for each rank. Where ``sum(w_a*n_a) = X`` this is largest at
``w_a*n_a = X*s_a / sum(s)``. With the largest number of points of a phase, at least
``T * (points/largest - 1)`` words cross. Any T and any such exponents give a bound; the best of a
few is taken.

A result that other Einsums use may stay inside; phases then have T words that cross. Some of its
elements are complete within a phase: all operands of these are among the ``S + T`` words, which
limits the complete elements in the same way. The partial sums of all others were inside when the
phase began or ended, or are among the T.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import inf, prod

from einsum_cascade.ir import Gather, variables_of

from ..iteration.access_map import AccessMap, Digits
from ..nest.record import Bound, BoundEinsum
from ..spec.arch import Architecture
from .policy import CONTRACTION_EXPONENTS, PHASES_IN_CAPACITIES, ROUNDING


@dataclass(frozen=True, slots=True)
class ContractedTensor:
    """Operand or result of a contraction, which has one element for each position on its axes."""

    name: str
    words: float
    """Machine words of an element."""
    axes: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contraction:
    """Einsum that reads inputs of the cascade whose elements it may use at several points."""

    points: int
    """Least number of points in any mapping."""
    sizes: tuple[int, ...]
    """Positions on each axis."""
    inputs: tuple[ContractedTensor, ...]
    result: ContractedTensor | None
    """Result, if each of its elements is one position on some axes."""
    leaves: bool
    """True if the result is an output of the cascade."""
    complete: bool
    """True if a mask drops all or none of the points of an element of the result."""
    touched: Fraction
    """Words of the inputs and the output that cross in any case."""
    registers: float
    """Words of these tensors in one processing element: a value for each access of the cascade."""

    @property
    def tensors(self) -> frozenset[str]:
        """Names of the tensors whose words are counted."""
        return frozenset(t.name for t in (*self.inputs, self.result) if t is not None)

    def words(self, inside: float) -> float:
        """Return the least words of the tensors that cross the outermost memory.

        Parameters
        ----------
        inside : float
            Words that everything inside the outermost memory holds.
        """
        axes = frozenset(axis for axis, size in enumerate(self.sizes) if size > 1)
        result = () if self.result is None else (self.result,)
        inputs, everything = (_limits(x, axes) for x in (self.inputs, (*self.inputs, *result)))
        # The last element of a phase may exceed its words.
        last = max(t.words for t in (*self.inputs, *result))
        complete = self._complete(axes) if self.complete else {}
        found = -inf
        for phase in (inside * share for share in PHASES_IN_CAPACITIES):
            reach = inside + phase + last
            largest = _most(inputs, reach)
            if self.leaves:
                largest = min(largest, _most(everything, reach))
            elif self.complete:
                partial = _most(everything, reach + inside)
                largest = min(largest, _most(complete, reach) + partial)
            found = max(found, phase * (self.points / largest - 1))
        return found

    def _complete(self, axes: frozenset[int]) -> _Limits:
        """Return the limits of the points whose result is complete in a phase."""
        assert self.result is not None, "only a result can be complete"
        summed = axes - self.result.axes
        whole = [
            ContractedTensor(t.name, t.words * self._positions(t.axes & summed), t.axes - summed)
            for t in self.inputs
        ]
        each = self._positions(summed)
        return {power: each * factor for power, factor in _limits(whole, axes - summed).items()}

    def _positions(self, axes: Iterable[int]) -> int:
        return prod(self.sizes[axis] for axis in axes)


_Limits = dict[float, float]
"""Limits of the number of points: a factor by the power of the words that it multiplies."""


def _limits(tensors: Sequence[ContractedTensor], axes: frozenset[int]) -> _Limits:
    """Return the limits of the points at which elements of tensors meet, one for each power of
    their words."""
    found: _Limits = {}
    for exponents in product(CONTRACTION_EXPONENTS, repeat=len(tensors)):
        pairs = [(s, t) for s, t in zip(exponents, tensors, strict=True) if s]
        if all(sum(s for s, t in pairs if axis in t.axes) >= 1 for axis in axes):
            power = sum(exponents)
            factor = prod((s / (power * t.words)) ** s for s, t in pairs)
            found[power] = min(factor, found.get(power, inf))
    return found


def _most(limits: _Limits, words: float) -> float:
    """Return the most points that limits allow some words; infinity without limits."""
    return min((factor * words**power for power, factor in limits.items()), default=inf)


def contraction_of(
    bound: Bound, e: BoundEinsum, points: int, everywhere: bool, words: Mapping[str, Fraction]
) -> Contraction | None:
    """Return an Einsum as a contraction; None if nothing limits the points of a phase.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
    points : int
        Least number of points of the Einsum in any mapping.
    everywhere : bool
        True if only the Einsum's own mask drops points.
    words : mapping
        Words that cross the outermost memory in any case, by input and output.
    """
    program = bound.program
    if e.initial or e.name in program.iterative or e.einsum.select is not None:
        return None
    # Of two accesses to a tensor the first limits the points by itself.
    reads = {m.access.tensor: m for m in reversed(e.reads) if m.access.tensor in words}
    found = {
        name: ContractedTensor(name, float(bound.words.of(name)), axes)
        for name, access_map in (*reads.items(), (e.name, e.write))
        if (name == e.name or name not in program.einsum_of)
        and (axes := _axes_of(access_map)) is not None
    }
    result = found.pop(e.name, None)
    if not found or (result is None and len(found) == 1):
        return None
    masked = {*variables_of(e.einsum.where)}
    across = {n for n, a in enumerate(e.axes) if not masked.isdisjoint(v for v, _ in a.variables)}
    leaves = result is not None and e.name in words
    tensors = {*found, *((e.name,) if result is not None else ())}
    every = (y for x in bound.einsums for y in (x, *x.initial))
    used = (m.access.tensor for y in every for m in y.access_maps)
    return Contraction(
        points=points,
        sizes=e.extents,
        inputs=tuple(found.values()),
        result=result,
        leaves=leaves,
        complete=everywhere and result is not None and across <= result.axes,
        touched=sum((words[t] for t in tensors if t in words), Fraction(0)),
        registers=float(sum(bound.words.of(t) for t in used if t in tensors)),
    )


def _axes_of(access_map: AccessMap) -> frozenset[int] | None:
    """Return the axes whose positions an access tells apart; None if it sums or gathers indices,
    or tells apart only tiles of an axis or only places in a tile."""
    if any(isinstance(index, Gather) for index in access_map.access.indices):
        return None
    axes: list[int] = []
    for part in access_map.parts:
        if not isinstance(part, Digits) or not all(kept for _, kept in part.strides):
            return None
        axes.append(part.axis)
    return frozenset(axes)


def crossing_words(
    compulsory: Fraction, contractions: Iterable[Contraction], machine: Architecture
) -> Fraction:
    """Return the least words that cross the outermost memory of a machine.

    Only words of contractions without a common tensor add up. A memory without a limit may hold
    everything; so may the chips of a ring, which pass tensors to one another.

    Parameters
    ----------
    compulsory : Fraction
        Words of all inputs and outputs, each counted once.
    contractions : iterable of Contraction
        Contractions of the cascade.
    machine : Architecture
        Machine whose capacities limit the reuse of operands.
    """
    inner = [m for m in machine.memories if m is not machine.home]
    if any(m.capacity_bytes is None for m in inner):
        return compulsory
    held = sum((m.capacity_bytes or 0) * machine.copies(m.name) for m in inner) * 8
    holding = ((c, _inside(machine, held, c)) for c in contractions)
    more = [
        (c.words(inside) - float(c.touched), c.tensors)
        for c, inside in holding
        if c.touched > inside  # otherwise all of its tensors stay
    ]
    more.sort(key=lambda found: -found[0])
    counted: set[str] = set()
    found = compulsory
    for words, tensors in more:
        if words > 0 and counted.isdisjoint(tensors):
            counted |= tensors
            found += int(words * ROUNDING)
    return found


def _inside(machine: Architecture, held_bits: int, contraction: Contraction) -> float:
    """Return the words that memories of some bits and all registers hold of a contraction.

    Each access has one register of a processing element, even if these are fewer.
    """
    found = held_bits / machine.word_bits
    for array in machine.arrays:
        bits = array.registers.depth * (array.registers.width_bits or machine.word_bits)
        words = max(bits / machine.word_bits, contraction.registers)
        found += array.elements * machine.copies(array.name) * words
    return found
