"""How many elements of a tensor an access touches inside given extents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Access, Affine, AffineTerm, Gather
from einsum_cascade.source import Span

from .lattice import Axis, Extents, iterations

_LARGEST_SET = 200_000
"""Irregular index images are enumerated up to this many points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A group of variables that address one run of an axis: ``m1*M0 + m0``, or ``p``.

    Covers the variables ``first .. last`` of the axis (both included).
    """

    axis: int
    above: int | None
    """Stride of the variable just outside the run; None when the run starts the axis."""
    stride: int
    """Stride of the innermost variable of the run."""

    def size(self, extents: Extents) -> int:
        """Distinct coordinates of the run."""
        extent = extents[self.axis]
        return iterations(extent if self.above is None else min(extent, self.above), self.stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An index that adds several axes (``p + r``): terms of (coefficient, block)."""

    terms: tuple[tuple[int, Block], ...]
    span: Span | None

    def size(self, extents: Extents) -> int:
        """Distinct values of the sum."""
        terms = sorted((abs(c), b.size(extents)) for c, b in self.terms)
        unit = terms[0][0]
        run = terms[0][1]
        for coefficient, extent in terms[1:]:
            if coefficient % unit or coefficient // unit > run:
                return self._enumerate(terms)
            run += coefficient // unit * (extent - 1)
        return run

    def _enumerate(self, terms: list[tuple[int, int]]) -> int:
        if prod(n for _, n in terms) > _LARGEST_SET:
            raise MappingError(
                Problem("this index is too irregular to count its elements exactly", self.span)
            )
        ranges = [range(0, c * n, c) for c, n in terms]
        return len({sum(values) for values in product(*ranges)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What an access addresses: a product of independent parts.

    ``iterative`` are blocks of ranks along which the tensor is kept in one copy only.
    """

    access: Access
    parts: tuple[Block | Image, ...]
    iterative: tuple[Block, ...] = ()

    def size(self, extents: Extents) -> int:
        """Distinct elements touched inside ``extents``."""
        return prod(p.size(extents) for p in self.parts)

    def live(self, extents: Extents) -> int:
        """Elements that must be held at once: one copy along iterative ranks."""
        return prod(p.size(extents) for p in self.parts if p not in self.iterative)


def footing(
    access: Access,
    axes: tuple[Axis, ...],
    shapes: Mapping[str, int],
    iterative: frozenset[str],
    carried: tuple[str, ...] = (),
) -> Footing:
    """Work out what ``access`` addresses on ``axes``.

    Parameters
    ----------
    access : Access
        The access, without the cascade's parallel ranks.
    axes : tuple of Axis
        Axes of the Einsum's iteration space.
    shapes : mapping
        Resolved shapes, for coefficients such as ``M0``.
    iterative : frozenset of str
        Rank variables along which this tensor is iterative.
    carried : tuple of str
        Variables of the parallel ranks, which every tensor carries.
    """
    runs: set[str] = set(carried)
    images: list[Image] = []
    for index in access.indices:
        simple = _positional(index, axes, shapes)
        if simple is None:
            images.append(_image(index, axes, shapes))
        else:
            runs.update(simple)
    blocks = _blocks(runs, axes)
    once = _blocks(runs & iterative, axes)
    return Footing(access=access, parts=(*blocks, *images), iterative=once)


def coefficient(term: AffineTerm, shapes: Mapping[str, int]) -> int:
    """The number a term multiplies its variable by."""
    return term.coefficient * prod(shapes[s] for s in term.shapes)


def _positional(
    index: Affine | Gather, axes: tuple[Axis, ...], shapes: Mapping[str, int]
) -> tuple[str, ...] | None:
    """Variables of an index whose distinct values are its variables' distinct tuples."""
    if isinstance(index, Gather):
        return index.variables
    moving = [t for t in index.terms if t.variable]
    if len(moving) <= 1:
        return index.variables
    for axis in axes:
        strides = dict(axis.variables)
        if all(t.variable in strides for t in moving):
            ratios = {coefficient(t, shapes) / strides[t.variable] for t in moving if t.variable}
            return index.variables if len(ratios) == 1 else None
    return None


def _blocks(names: set[str] | frozenset[str], axes: tuple[Axis, ...]) -> tuple[Block, ...]:
    """Maximal runs of neighbouring variables on each axis."""
    found: list[Block] = []
    for number, axis in enumerate(axes):
        above: int | None = None
        last: int | None = None
        for variable, stride in axis.variables:
            if variable in names:
                last = stride
                continue
            if last is not None:
                found.append(Block(axis=number, above=above, stride=last))
                last = None
            above = stride
        if last is not None:
            found.append(Block(axis=number, above=above, stride=last))
    return tuple(found)


def _image(index: Affine | Gather, axes: tuple[Axis, ...], shapes: Mapping[str, int]) -> Image:
    assert isinstance(index, Affine)
    terms: list[tuple[int, Block]] = []
    for term in index.terms:
        if term.variable:
            (block,) = _blocks({term.variable}, axes)
            terms.append((coefficient(term, shapes), block))
    return Image(terms=tuple(terms), span=index.span)
