"""Access maps: the tensor elements that an access touches inside given extents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Access, Affine, Gather, Index
from einsum_cascade.memo import cached_property
from einsum_cascade.source import Span

from .loops import Axis, Extents, count_digits, iterations
from .policy import MAX_ENUMERATED_POINTS

_Name = tuple[int, int]
"""Rank variable, given by its axis and its position among the variables of that axis."""


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Variables of one axis on whose values the accessed element depends: ``m1*M0 + m0``, or
    ``m1``.

    The variables of an axis are the digits of one mixed-radix number, which counts positions along
    the axis. ``strides`` pairs the stride of every variable, outermost first, with True if the
    access distinguishes the variable's values.
    """

    axis: int
    strides: tuple[tuple[int, bool], ...]

    @cached_property
    def _complete(self) -> bool:
        """True if the access distinguishes every position along the axis."""
        return self.strides[-1][0] == 1 and all(kept for _, kept in self.strides)

    def size(self, extents: Extents) -> int:
        """Count the distinct combinations of the variables that the access distinguishes.

        10 positions in tiles of 4 have 10 pairs of a tile and a place in it, 3 tiles, and 4 places:

        >>> kept = ((True, True), (True, False), (False, True))
        >>> [Digits(axis=0, strides=((4, m1), (1, m0))).size((10,)) for m1, m0 in kept]
        [10, 3, 4]
        """
        if self._complete:
            return extents[self.axis]
        return count_digits(extents[self.axis], self.strides)


def _tuples(extent: int, strides: tuple[tuple[int, bool], ...]) -> Iterator[tuple[int, ...]]:
    """Yield the distinct combinations of the distinguished digits of positions below an extent."""
    if not any(kept for _, kept in strides):
        yield ()
        return
    (stride, kept), rest = strides[0], strides[1:]
    if not kept:
        yield from _tuples(min(extent, stride), rest)
        return
    for digit in range(iterations(extent, stride)):
        for below in _tuples(min(stride, extent - digit * stride), rest):
            yield (digit, *below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Index that adds several axes (``p + r``), as terms of (coefficient, digits).

    The digits of each term belong to neighbouring variables, so that the term takes the values ``0,
    c, 2c, ...``.
    """

    terms: tuple[tuple[int, Digits], ...]
    span: Span | None

    def size(self, extents: Extents) -> int:
        """Count the distinct values of the sum.

        A filter of 3 taps over 5 outputs (``X[p + r]``) touches 7 inputs; over every other output
        (``X[2*p + r]``) 11:

        >>> p, r = (Digits(axis=n, strides=((1, True),)) for n in (0, 1))
        >>> [Sum(terms=((c, p), (1, r)), span=None).size((5, 3)) for c in (1, 2)]
        [7, 11]
        """
        terms = sorted((abs(c), d.size(extents)) for c, d in self.terms)
        terms = [(c, n) for c, n in terms if c and n > 1]
        if not terms:
            return 1
        # The values so far are ``run`` consecutive multiples of ``unit``. A further term extends
        # them without a gap if its step is a multiple, too, and no longer than the run.
        unit, run = terms[0]
        for coefficient, extent in terms[1:]:
            if coefficient % unit or coefficient // unit > run:
                _check_size((n for _, n in terms), self.span)
                ranges = [range(0, c * n, c) for c, n in terms]
                return len({sum(values) for values in product(*ranges)})
            run += coefficient // unit * (extent - 1)
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class CoupledIndices:
    """Indices that share axes (``X[p + r, p + s]``); their elements are counted by enumeration.

    Each of ``sums`` has a weight for every digit of all ``axes``. A digit that is an index by
    itself is a sum of one digit.
    """

    axes: tuple[Digits, ...]
    sums: tuple[tuple[int, ...], ...]
    span: Span | None

    def size(self, extents: Extents) -> int:
        """Count the distinct combinations of values that the sums take."""
        _check_size((d.size(extents) for d in self.axes), self.span)
        found: set[tuple[int, ...]] = set()
        for parts in product(*(tuple(_tuples(extents[d.axis], d.strides)) for d in self.axes)):
            digits = [digit for part in parts for digit in part]
            found.add(tuple(sum(map(int.__mul__, s, digits)) for s in self.sums))
        return len(found)


def _check_size(sizes: Iterable[int], span: Span | None) -> None:
    if prod(sizes) > MAX_ENUMERATED_POINTS:
        raise MappingError(
            Problem("this index is too irregular to count its elements exactly", span)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredIndex:
    """Index whose positions data decides: each gathered index and each position counts at most
    once."""

    gathers: _Parts
    positions: int
    offsets: _Parts = ()
    """Index parts that vary inside each gathered position, such as ``t`` of ``K[I[j]*T + t]``."""
    elements: int | None = None
    """Length of the tensor along the index, if less than positions times ``offsets``."""
    by: frozenset[str] = frozenset()
    """Rank variables that change only the gathered indices of the access."""

    def holds_all_positions(self, extents: Extents) -> bool:
        """Return whether a tile has at least as many gathered indices as positions, and so may
        need all positions."""
        return prod(p.size(extents) for p in self.gathers) >= self.positions

    def size(self, extents: Extents) -> int:
        """Return the largest possible number of distinct elements.

        Four queries that gather 3 of 10 keys each may touch all 10:

        >>> p, j = (Digits(axis=n, strides=((1, True),)) for n in (0, 1))
        >>> [GatheredIndex(gathers=(p, j), positions=10).size((n, 3)) for n in (2, 4)]
        [6, 10]
        """
        gathered = min(self.positions, prod(p.size(extents) for p in self.gathers))
        found = gathered * prod(p.size(extents) for p in self.offsets)
        return found if self.elements is None else min(self.elements, found)


Part = Digits | Sum | CoupledIndices | GatheredIndex
_Parts = tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessMap:
    """Elements that an access addresses, as a product of independent groups of indices (``parts``).

    ``one_copy`` leaves out the ranks along which only one copy of the tensor is kept.
    """

    access: Access
    parts: _Parts
    one_copy: _Parts
    moving: frozenset[str]
    """Rank variables whose loops bring other elements; ``moving_in`` excepts tiles that hold all.
    """

    def size(self, extents: Extents) -> int:
        """Count the distinct elements touched inside ``extents``."""
        return prod([p.size(extents) for p in self.parts])

    def moving_in(self, extents: Extents) -> frozenset[str]:
        """Return the rank variables whose loops bring other elements to a tile of ``extents``.

        A tile with all positions of a gathered index stays while loops change the gathered indices:
        all elements are there.
        """
        stay = [
            p.by
            for p in self.parts
            if isinstance(p, GatheredIndex) and p.by and p.holds_all_positions(extents)
        ]
        return self.moving.difference(*stay) if stay else self.moving

    @property
    def running(self) -> bool:
        """True if the tensor is a running value: only one copy is kept along some rank."""
        return self.one_copy is not self.parts

    def live(self, extents: Extents) -> int:
        """Count the elements that must be held at once, with one copy along iterative ranks."""
        return prod([p.size(extents) for p in self.one_copy])


@dataclass(frozen=True, slots=True)
class _Weights:
    """Index as a weighted sum of variables."""

    by_name: tuple[tuple[_Name, int], ...]
    span: Span | None

    @property
    def axes(self) -> set[int]:
        """Axes to which the variables belong."""
        return {axis for (axis, _), _ in self.by_name}

    def without(self, names: Set[_Name]) -> _Weights:
        """Return the sum with the named variables left out."""
        return _Weights(tuple((n, c) for n, c in self.by_name if n not in names), self.span)


def _unwound(indices: Iterable[Index]) -> Iterator[Affine]:
    """Yield the affine indices of an access; a gather is replaced by the indices inside of it.

    Data decides which element a gather addresses, so each element of the inner access counts as a
    different one.
    """
    for index in indices:
        if isinstance(index, Gather):
            yield from _unwound(index.access.indices)
            if index.offset.variables:
                yield index.offset
        else:
            yield index


def _variables(indices: Iterable[Affine]) -> frozenset[str]:
    return frozenset(v for index in indices for v in index.variables)


class AccessMapper:
    """Builder of access maps on the axes of one iteration space.

    Parameters
    ----------
    axes : tuple of Axis
        Axes of the Einsum's iteration space.
    shapes : mapping
        Resolved shapes, for coefficients such as ``M0``.
    parallel : tuple of str
        Variables of the parallel ranks, which index every tensor.
    """

    def __init__(
        self, axes: tuple[Axis, ...], shapes: Mapping[str, int], parallel: tuple[str, ...] = ()
    ) -> None:
        self.axes = axes
        self.shapes = shapes
        self.names: dict[str, _Name] = {
            variable: (number, place)
            for number, axis in enumerate(axes)
            for place, (variable, _) in enumerate(axis.variables)
        }
        self.parallel = parallel

    def map(
        self, access: Access, iterative: frozenset[str] = frozenset(), lengths: tuple[int, ...] = ()
    ) -> AccessMap:
        """Return the access map of an access.

        Parameters
        ----------
        access : Access
            Access without the cascade's parallel ranks.
        lengths : tuple of int
            Elements of the tensor along each index; empty if unknown.
        iterative : frozenset of str
            Rank variables along which this tensor is iterative.

        Raises
        ------
        MappingError
            On a later count, if an index is too irregular.
        """
        parts = self._gathered(access.indices, lengths) or self.parts(access.indices)
        lasting = [i for i in access.indices if not i.variables or not iterative >= {*i.variables}]
        return AccessMap(
            access=access,
            parts=parts,
            one_copy=parts if len(lasting) == len(access.indices) else self.parts(lasting),
            moving=frozenset((*access.variables, *self.parallel)),
        )

    def _gathered(self, indices: tuple[Index, ...], lengths: tuple[int, ...]) -> _Parts:
        """Return the parts of an access that gathers more often than there are positions along the
        index.

        The result is empty if it gathers less often, or if the other indices change the gathered
        ones. A variable that is an index by itself changes all gathered indices: in ``K[b, I[b,
        j]]`` each b has its own.
        """
        numbers = [n for n, index in enumerate(indices) if isinstance(index, Gather)]
        if len(numbers) != 1 or len(lengths) != len(indices):
            return ()
        others = [index for n, index in enumerate(indices) if n not in numbers]
        plain = (index.as_variable for index in others if isinstance(index, Affine))
        distinguished = {*self.parallel, *(v for v in plain if v)}
        index, length = indices[numbers[0]], lengths[numbers[0]]
        gathers = [i for i in _unwound([index]) if (i.as_variable or "") not in distinguished]
        moved = (*self.parallel, *(v for other in others for v in other.variables))
        axes = {self.names[v][0] for v in moved}
        if any(self.names[v][0] in axes for i in gathers for v in i.variables):
            return ()
        gathered = self._in_tiles(index, length, gathers)
        gathered = replace(gathered, by=gathered.by.difference(moved))
        whole = tuple(axis.extent for axis in self.axes)
        if prod(p.size(whole) for p in (*gathered.gathers, *gathered.offsets)) <= length and (
            prod(p.size(whole) for p in gathered.gathers) <= gathered.positions
        ):
            return ()
        return (*self.parts(others), gathered)

    def _in_tiles(self, index: Index, length: int, gathers: list[Affine]) -> GatheredIndex:
        """Return a gathered index: its positions are single elements or, for ``K[I[j]*T + t]``,
        tiles of T.

        In each such tile as many elements are touched as ``t`` has values.
        """
        plain = GatheredIndex(
            gathers=self._parts(gathers), positions=length, by=_variables(gathers)
        )
        if not isinstance(index, Gather) or not index.offset.variables:
            return plain
        step = index.factor(self.shapes)
        offsets = [i for i in gathers if i == index.offset]
        others = [i for i in gathers if i != index.offset]
        mine, theirs = (
            {self.names[v][0] for i in x for v in i.variables} for x in (offsets, others)
        )
        if step <= 1 or mine & theirs or any(t.coefficient < 0 for t in index.offset.terms):
            return plain
        gathered, apart = self._parts(others), self._parts(offsets)
        many, by = -(-length // step), _variables(others)
        return GatheredIndex(
            gathers=gathered, positions=many, offsets=apart, elements=length, by=by
        )

    def parts(self, indices: Iterable[Index]) -> _Parts:
        """Return the indices in independent groups: the product of the groups' sizes is the number
        of distinct elements."""
        return self._parts(indices, self.parallel)

    def _parts(self, indices: Iterable[Index], parallel: tuple[str, ...] = ()) -> _Parts:
        distinguished = {self.names[v] for v in parallel}
        sums: list[_Weights] = []
        for index in _unwound(indices):
            if (variable := index.as_variable) is not None:
                distinguished.add(self.names[variable])
                continue
            weights = self._weights(index)
            alone = self._distinguished(weights)
            if alone is None:
                sums.append(weights)
            else:
                distinguished |= alone
        if not sums:
            return self._factorised(distinguished, frozenset())
        # A digit that is distinguished by itself only moves a sum as a whole.
        rest = [s.without(distinguished) for s in sums]
        rest = [s for s in rest if s.by_name]
        found: list[Digits | Sum | CoupledIndices] = []
        tied: set[int] = set()
        for group in self._groups(rest):
            axes = {axis for s in group for axis in s.axes}
            # A digit that an axis of the sum distinguishes limits the sum's other digits at the
            # ragged edge. The two sizes therefore do not multiply.
            plain = len(group) == 1 and not axes & {axis for axis, _ in distinguished}
            simple = self._sum(group[0]) if plain else None
            found.append(simple or self._coupled(group, distinguished, axes))
            tied |= axes
        return (*self._factorised(distinguished, tied), *found)

    def _factorised(self, distinguished: set[_Name], tied: Set[int]) -> _Parts:
        """Return the digits of each axis that no sum ties to another axis."""
        axes = sorted({axis for axis, _ in distinguished} - tied)
        return tuple(self._digits(axis, distinguished) for axis in axes)

    def _weights(self, index: Affine) -> _Weights:
        weights = index.weights(self.shapes).items()
        return _Weights(tuple((self.names[v], c) for v, c in weights if v and c), index.span)

    def _distinguished(self, weights: _Weights) -> set[_Name] | None:
        """Return the variables of an index if each combination of their values gives another index
        value. Return None otherwise."""
        names = {name for name, _ in weights.by_name}
        if len(names) <= 1:
            return names
        if len(weights.axes) > 1:
            return None
        # All coefficients have the same ratio to their strides. The index is then a multiple of the
        # number whose digits are the variables, so no two tuples give one value. For example, m1*M0
        # + m0 has ratios 256/256 and 1/1. Coefficients 512 and 2 do as well; m1 + m0 does not.
        ratios = {(c, self._stride(n)) for n, c in weights.by_name}
        first = next(iter(ratios))
        return names if all(c * first[1] == first[0] * s for c, s in ratios) else None

    def _stride(self, name: _Name) -> int:
        return self.axes[name[0]].variables[name[1]][1]

    def _groups(self, sums: list[_Weights]) -> list[list[_Weights]]:
        """Group the sums, so that sums of different groups share no axis."""
        groups: list[tuple[set[int], list[_Weights]]] = []
        for s in sums:
            axes = s.axes
            members = [s]
            others = []
            # One sum may tie groups together that were separate before.
            for other, theirs in groups:
                if other & axes:
                    axes |= other
                    members = [*theirs, *members]
                else:
                    others.append((other, theirs))
            groups = [*others, (axes, members)]
        return [members for _, members in groups]

    def _digits(self, axis: int, names: Iterable[_Name]) -> Digits:
        places = {place for number, place in names if number == axis}
        variables = enumerate(self.axes[axis].variables)
        strides = [(stride, place in places) for place, (_, stride) in variables]
        return Digits(axis=axis, strides=tuple(strides))

    def _sum(self, weights: _Weights) -> Sum | None:
        """Return the index as a sum with one run of neighbouring digits on each axis; None if it
        is none."""
        terms: list[tuple[int, Digits]] = []
        for axis in dict.fromkeys(n[0] for n, _ in weights.by_name):
            mine = sorted((n, c) for n, c in weights.by_name if n[0] == axis)
            places = [place for (_, place), _ in mine]
            (last, unit) = mine[-1]
            even = all(c * self._stride(last) == unit * self._stride(n) for n, c in mine)
            if not even or places != list(range(places[0], places[-1] + 1)):
                return None
            terms.append((unit, self._digits(axis, [n for n, _ in mine])))
        return Sum(terms=tuple(terms), span=weights.span)

    def _coupled(
        self, group: list[_Weights], distinguished: set[_Name], axes: set[int]
    ) -> CoupledIndices:
        alone = [n for n in sorted(distinguished) if n[0] in axes]
        names = sorted({*alone, *(n for s in group for n, _ in s.by_name)})
        rows = [{n: 1} for n in alone] + [dict(s.by_name) for s in group]
        return CoupledIndices(
            axes=tuple(self._digits(axis, names) for axis in sorted(axes)),
            sums=tuple(tuple(row.get(n, 0) for n in names) for row in rows),
            span=group[0].span,
        )
