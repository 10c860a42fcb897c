"""Access maps: elements of a tensor that an access touches inside given extents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Access, Affine, AffineTerm, Gather, Index
from einsum_cascade.memo import cached_property
from einsum_cascade.source import Span

from .loops import Axis, Extents, count_digits, iterations
from .policy import MAX_ENUMERATED_POINTS

_Name = tuple[int, int]
"""A rank variable: its axis, and its place among the variables of the axis."""


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The variables of one axis that an access tells apart: ``m1*M0 + m0``, or ``m1``.

    The variables of an axis are the digits of one mixed-radix number that runs over the
    extent. ``strides`` holds every variable's stride, outermost first, and whether it is
    told apart.
    """

    axis: int
    strides: tuple[tuple[int, bool], ...]

    @cached_property
    def _complete(self) -> bool:
        """Whether every element has digits of its own."""
        return self.strides[-1][0] == 1 and all(kept for _, kept in self.strides)

    def size(self, extents: Extents) -> int:
        """Distinct tuples of the digits told apart.

        Of 10 elements cut into tiles of 4 there are 10 pairs of a tile and a place in it, 3
        tiles, and 4 places:

        >>> kept = ((True, True), (True, False), (False, True))
        >>> [Digits(axis=0, strides=((4, m1), (1, m0))).size((10,)) for m1, m0 in kept]
        [10, 3, 4]
        """
        if self._complete:
            return extents[self.axis]
        return count_digits(extents[self.axis], self.strides)

    def tuples(self, extents: Extents) -> Iterator[tuple[int, ...]]:
        """The distinct tuples themselves."""
        return _tuples(extents[self.axis], self.strides)


def _tuples(extent: int, strides: tuple[tuple[int, bool], ...]) -> Iterator[tuple[int, ...]]:
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
    """An index that adds several axes (``p + r``): terms of (coefficient, digits).

    Each term's digits run over neighbouring variables, so that it takes the values
    ``0, c, 2c, ...``.
    """

    terms: tuple[tuple[int, Digits], ...]
    span: Span | None

    def size(self, extents: Extents) -> int:
        """Distinct values of the sum.

        A filter of 3 taps over 5 outputs (``X[p + r]``) touches 7 inputs, over every other
        output (``X[2*p + r]``) 11:

        >>> p, r = (Digits(axis=n, strides=((1, True),)) for n in (0, 1))
        >>> [Sum(terms=((c, p), (1, r)), span=None).size((5, 3)) for c in (1, 2)]
        [7, 11]
        """
        terms = sorted((abs(c), d.size(extents)) for c, d in self.terms)
        terms = [(c, n) for c, n in terms if c and n > 1]
        if not terms:
            return 1
        # The values so far are ``run`` neighbouring multiples of ``unit``. Another term goes
        # on from there without a gap if its step is a multiple too and no longer than they are.
        unit, run = terms[0]
        for coefficient, extent in terms[1:]:
            if coefficient % unit or coefficient // unit > run:
                return self._enumerate(terms)
            run += coefficient // unit * (extent - 1)
        return run

    def _enumerate(self, terms: list[tuple[int, int]]) -> int:
        _check_size((n for _, n in terms), self.span)
        ranges = [range(0, c * n, c) for c, n in terms]
        return len({sum(values) for values in product(*ranges)})


@dataclass(frozen=True, slots=True, kw_only=True)
class CoupledIndices:
    """Indices that share axes (``X[p + r, p + s]``): counted by enumeration.

    ``sums`` weigh the digits of all ``axes`` in turn; a digit told apart by itself is a
    sum of one.
    """

    axes: tuple[Digits, ...]
    sums: tuple[tuple[int, ...], ...]
    span: Span | None

    def size(self, extents: Extents) -> int:
        """Distinct tuples of the sums' values."""
        _check_size((d.size(extents) for d in self.axes), self.span)
        found: set[tuple[int, ...]] = set()
        for parts in product(*(tuple(d.tuples(extents)) for d in self.axes)):
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
    """Elements at positions that data says: as many as there are picks, or as positions."""

    picks: _Parts
    positions: int
    beside: _Parts = ()
    """What is touched at each position that is picked: of K[I[j]*T + t] the t."""
    elements: int | None = None
    """Of the tensor along the index, where they may be fewer than positions and what is beside."""
    by: frozenset[str] = frozenset()
    """Rank variables that move the picks, and nothing else of the access."""

    def holds_all_positions(self, extents: Extents) -> bool:
        """Whether a tile has as many picks as there are positions: it is of all of them then."""
        return prod(p.size(extents) for p in self.picks) >= self.positions

    def size(self, extents: Extents) -> int:
        """Distinct elements at the most.

        Four queries that pick 3 of 10 keys each may touch all 10:

        >>> p, j = (Digits(axis=n, strides=((1, True),)) for n in (0, 1))
        >>> [GatheredIndex(picks=(p, j), positions=10).size((n, 3)) for n in (2, 4)]
        [6, 10]
        """
        picked = min(self.positions, prod(p.size(extents) for p in self.picks))
        found = picked * prod(p.size(extents) for p in self.beside)
        return found if self.elements is None else min(self.elements, found)


Part = Digits | Sum | CoupledIndices | GatheredIndex
_Parts = tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessMap:
    """What an access addresses: a product of independent parts.

    ``one_copy`` leaves out the ranks along which the tensor is kept in one copy only.
    """

    access: Access
    parts: _Parts
    one_copy: _Parts
    moving: frozenset[str]
    """Rank variables whose loops bring other elements, if not all are there (``moving_in``)."""

    def size(self, extents: Extents) -> int:
        """Distinct elements touched inside ``extents``."""
        return prod([p.size(extents) for p in self.parts])

    def moving_in(self, extents: Extents) -> frozenset[str]:
        """Rank variables whose loops bring other elements to what holds a tile of ``extents``.

        Where a tile is of all positions it stays while others pick: they find theirs there.
        """
        stay = [
            p.by
            for p in self.parts
            if isinstance(p, GatheredIndex) and p.by and p.holds_all_positions(extents)
        ]
        return self.moving.difference(*stay) if stay else self.moving

    @property
    def running(self) -> bool:
        """Whether the tensor is kept in one copy along some rank."""
        return self.one_copy is not self.parts

    def live(self, extents: Extents) -> int:
        """Elements that must be held at once: one copy along iterative ranks."""
        return prod([p.size(extents) for p in self.one_copy])


def coefficient(term: AffineTerm, shapes: Mapping[str, int]) -> int:
    """The number a term multiplies its variable by.

    Parameters
    ----------
    term : AffineTerm
        A term of an index, such as ``m1*M0``.
    shapes : mapping of str to int
        Numbers of the shapes that the term names, here of ``M0``.
    """
    return term.coefficient * prod(shapes[s] for s in term.shapes)


@dataclass(frozen=True, slots=True)
class _Weights:
    """An index as a weighted sum of variables."""

    by_name: tuple[tuple[_Name, int], ...]
    span: Span | None


def _unwound(indices: Iterable[Index]) -> Iterator[Affine]:
    """Indices with gathers replaced by their own: which element one addresses depends on
    data, so it is taken for a different one at each element of the inner access."""
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
    """Works out what accesses address on the axes of one iteration space.

    Parameters
    ----------
    axes : tuple of Axis
        Axes of the Einsum's iteration space.
    shapes : mapping
        Resolved shapes, for coefficients such as ``M0``.
    carried : tuple of str
        Variables of the parallel ranks, which every tensor carries.
    """

    def __init__(
        self, axes: tuple[Axis, ...], shapes: Mapping[str, int], carried: tuple[str, ...] = ()
    ) -> None:
        self.axes = axes
        self.shapes = shapes
        self.names: dict[str, _Name] = {
            variable: (number, place)
            for number, axis in enumerate(axes)
            for place, (variable, _) in enumerate(axis.variables)
        }
        self.carried = carried
        self._known: dict[tuple[int, frozenset[int]], Digits] = {}

    def map(
        self,
        access: Access,
        iterative: frozenset[str] = frozenset(),
        lengths: tuple[int, ...] = (),
    ) -> AccessMap:
        """What an access addresses.

        Parameters
        ----------
        access : Access
            The access, without the cascade's parallel ranks.
        lengths : tuple of int
            Elements of the tensor along each index, where they are known.
        iterative : frozenset of str
            Rank variables along which this tensor is iterative.

        Raises
        ------
        MappingError
            When its size is asked for: an index is too irregular to be counted.
        """
        parts = self._gathered(access.indices, lengths) or self.parts(access.indices)
        lasting = [i for i in access.indices if not i.variables or not iterative >= {*i.variables}]
        return AccessMap(
            access=access,
            parts=parts,
            one_copy=parts if len(lasting) == len(access.indices) else self.parts(lasting),
            moving=frozenset((*access.variables, *self.carried)),
        )

    def _gathered(self, indices: tuple[Index, ...], lengths: tuple[int, ...]) -> _Parts:
        """Parts of an access that picks more often along one index than there are positions.
        Empty: it does not, or its other indices move what is picked.

        A variable that is an index of its own moves the picks as a whole: of ``K[b, I[b, j]]``
        each b has its own.
        """
        gathered = [n for n, index in enumerate(indices) if isinstance(index, Gather)]
        if len(gathered) != 1 or len(lengths) != len(indices):
            return ()
        others = [index for n, index in enumerate(indices) if n not in gathered]
        plain = (index.as_variable for index in others if isinstance(index, Affine))
        apart = {*self.carried, *(v for v in plain if v)}
        index, length = indices[gathered[0]], lengths[gathered[0]]
        picks = [i for i in _unwound([index]) if (i.as_variable or "") not in apart]
        moved = (*self.carried, *(v for other in others for v in other.variables))
        axes = {self.names[v][0] for v in moved}
        if any(self.names[v][0] in axes for i in picks for v in i.variables):
            return ()
        picked = self._in_tiles(index, length, picks)
        picked = replace(picked, by=picked.by.difference(moved))
        whole = tuple(axis.extent for axis in self.axes)
        if prod(p.size(whole) for p in (*picked.picks, *picked.beside)) <= length and (
            prod(p.size(whole) for p in picked.picks) <= picked.positions
        ):
            return ()
        return (*self.parts(others), picked)

    def _in_tiles(self, index: Index, length: int, picks: list[Affine]) -> GatheredIndex:
        """What an index picks: positions one by one or, of ``K[I[j]*T + t]``, tiles of T, of which
        as much as the t go over is touched in each."""
        together = GatheredIndex(picks=self._parts(picks), positions=length, by=_variables(picks))
        if not isinstance(index, Gather) or not index.offset.variables:
            return together
        step = index.coefficient * prod(self.shapes[s] for s in index.shapes)
        beside = [i for i in picks if i == index.offset]
        others = [i for i in picks if i != index.offset]
        mine, theirs = (
            {self.names[v][0] for i in x for v in i.variables} for x in (beside, others)
        )
        if step <= 1 or mine & theirs or any(t.coefficient < 0 for t in index.offset.terms):
            return together
        return GatheredIndex(
            picks=self._parts(others),
            positions=-(-length // step),
            beside=self._parts(beside),
            elements=length,
            by=_variables(others),
        )

    def parts(self, indices: Iterable[Index]) -> _Parts:
        """Independent parts whose sizes multiply to the number of distinct elements."""
        return self._parts(indices, self.carried)

    def _parts(self, indices: Iterable[Index], carried: tuple[str, ...] = ()) -> _Parts:
        apart = {self.names[v] for v in carried}
        sums: list[_Weights] = []
        for index in _unwound(indices):
            if (variable := index.as_variable) is not None:
                apart.add(self.names[variable])
                continue
            weights = self._weights(index)
            alone = self._told_apart(weights)
            if alone is None:
                sums.append(weights)
            else:
                apart |= alone
        if not sums:
            return self._factorised(apart, frozenset())
        # What is told apart by itself only moves a sum as a whole.
        rest = [self._without(s, apart) for s in sums]
        rest = [s for s in rest if s.by_name]
        found: list[Digits | Sum | CoupledIndices] = []
        tied: set[int] = set()
        for group in self._groups(rest):
            axes = {axis for s in group for (axis, _), _ in s.by_name}
            # A digit told apart on an axis of the sum bounds the sum's others at the ragged
            # edge, so the two sizes do not multiply.
            plain = len(group) == 1 and not axes & {axis for axis, _ in apart}
            simple = self._sum(group[0]) if plain else None
            found.append(simple or self._coupled(group, apart, axes))
            tied |= axes
        return (*self._factorised(apart, tied), *found)

    def _factorised(self, apart: set[_Name], tied: Set[int]) -> _Parts:
        """Digits of the axes that are not tied to others by a sum."""
        places: dict[int, set[int]] = {}
        for axis, place in apart:
            if axis not in tied:
                places.setdefault(axis, set()).add(place)
        return tuple(self._kept(axis, frozenset(places[axis])) for axis in sorted(places))

    def _weights(self, index: Affine) -> _Weights:
        found: dict[_Name, int] = {}
        for term in index.terms:
            if term.variable:
                name = self.names[term.variable]
                found[name] = found.get(name, 0) + coefficient(term, self.shapes)
        return _Weights(tuple((n, c) for n, c in found.items() if c), index.span)

    def _told_apart(self, weights: _Weights) -> set[_Name] | None:
        """Variables of an index whose values are as many as its variables' tuples."""
        names = [name for name, _ in weights.by_name]
        if len(names) <= 1:
            return set(names)
        if len({axis for axis, _ in names}) > 1:
            return None
        # A coefficient is to a stride as every other is to its own: the index is a multiple of
        # the number whose digits the variables are, so no two tuples give one value.
        # (m1*M0 + m0: 256 is to 256 as 1 is to 1. Also twice as much, 512 and 2; not m1 + m0.)
        ratios = {(c, self._stride(n)) for n, c in weights.by_name}
        first = next(iter(ratios))
        return set(names) if all(c * first[1] == first[0] * s for c, s in ratios) else None

    def _stride(self, name: _Name) -> int:
        return self.axes[name[0]].variables[name[1]][1]

    def _without(self, weights: _Weights, apart: set[_Name]) -> _Weights:
        kept = tuple((n, c) for n, c in weights.by_name if n not in apart)
        return _Weights(kept, weights.span)

    def _groups(self, sums: list[_Weights]) -> list[list[_Weights]]:
        """Sums that share an axis belong together."""
        groups: list[tuple[set[int], list[_Weights]]] = []
        for s in sums:
            axes = {axis for (axis, _), _ in s.by_name}
            members = [s]
            apart = []
            # One sum may tie together groups that nothing tied before.
            for other, theirs in groups:
                if other & axes:
                    axes |= other
                    members = [*theirs, *members]
                else:
                    apart.append((other, theirs))
            groups = [*apart, (axes, members)]
        return [members for _, members in groups]

    def _digits(self, axis: int, names: Iterable[_Name]) -> Digits:
        return self._kept(axis, frozenset(place for number, place in names if number == axis))

    def _kept(self, axis: int, kept: frozenset[int]) -> Digits:
        key = (axis, kept)
        if key not in self._known:
            strides = enumerate(self.axes[axis].variables)
            self._known[key] = Digits(
                axis=axis, strides=tuple((s, i in kept) for i, (_, s) in strides)
            )
        return self._known[key]

    def _sum(self, weights: _Weights) -> Sum | None:
        """A sum whose terms on each axis are one run of digits, or None."""
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

    def _coupled(self, group: list[_Weights], apart: set[_Name], axes: set[int]) -> CoupledIndices:
        alone = [n for n in sorted(apart) if n[0] in axes]
        names = sorted({*alone, *(n for s in group for n, _ in s.by_name)})
        rows = [{n: 1} for n in alone] + [dict(s.by_name) for s in group]
        return CoupledIndices(
            axes=tuple(self._digits(axis, names) for axis in sorted(axes)),
            sums=tuple(tuple(row.get(n, 0) for n in names) for row in rows),
            span=group[0].span,
        )
