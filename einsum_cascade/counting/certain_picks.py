"""How many different elements a gather is certain to touch, whatever the data are.

The picks of one selection differ, and so do the entries of an input that the cascade says differ
(``distinct``). What is touched for all points together is at least what is touched for some of
them: of a masked selection there may be a query for which the mask leaves out nothing, the last
one mostly, and all that it picks counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from .. import ir
from ..affine import Form, linear
from ..algebra.conditions import Masks, says_all
from ..algebra.terms import rebuild
from ..masks import AtMostZero, depends_on_data, inequalities

_PICK = "a pick"
"""Stands for the picked position in a condition: no rank variable is called so."""

_MOST_CORNERS = 6
"""Variables of which each is tried at both ends."""

_Weights = dict[str, int]
"""A sum of variables, each with its weight; the constant is that of ''."""


@dataclass(frozen=True, slots=True)
class CertainPicks:
    """Elements of an input that a gather is certain to touch."""

    access: ir.Access
    """Touches as many, or a few more, without a gather: picks are variables along which they
    differ."""
    share: Fraction
    """Of its elements those that are certain: what is picked at the end of the input may go
    beyond it."""


def apart_along(program: ir.Program, access: ir.Access) -> tuple[str, ...]:
    """Variables along which the entries of an index tensor differ, all others being the same.

    Parameters
    ----------
    program : Program
    access : Access
        Of the tensor by which something is gathered.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("paged-attention-decode").program
    >>> pages = program.einsum_of["BQK"].reads[2]
    >>> pages.tensor, apart_along(program, pages)
    ('TABLE', ('b', 'm1', 'n'))
    """
    source = program.einsum_of.get(access.tensor)
    if source is not None and source.select is not None:
        from_ = {*ir.variables_of(source.expression)}
        apart = [from_.isdisjoint(i.variables) for i in source.target.indices]
    else:
        along = {r for d in program.distinct if d.name == access.tensor for r in d.ranks}
        apart = [r in along for r in program.tensor_ranks.get(access.tensor, ())]
    pairs = tuple(zip(access.indices, apart, strict=True))
    # What moves another index, too, goes on to entries that nothing is said of.
    others = {v for index, differs in pairs if not differs for v in index.variables}
    moving = (linear(i) for i, differs in pairs if differs and isinstance(i, ir.Affine))
    alone = (f.variables[0] for f in moving if sum(t.variable is not None for t in f.terms) == 1)
    return tuple(dict.fromkeys(v for v in alone if v not in others))


def certain_picks(
    program: ir.Program, einsum: ir.Einsum, access: ir.Access, shapes: Mapping[str, int]
) -> CertainPicks | None:
    """What is certain to be touched for some point of the ranks that masks look at.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        The one that reads.
    access : Access
        One of its reads, of an input.
    shapes : mapping of str to int
        Of every rank, in elements.

    Returns
    -------
    CertainPicks or None
        None where no picks are certain to differ, or several indices are picked.
    """
    gathers = [n for n, i in enumerate(access.indices) if isinstance(i, ir.Gather)]
    if len(gathers) != 1:
        return None
    return _Fiber(program, einsum, access, gathers[0], shapes).picks()


@dataclass(frozen=True, slots=True)
class _Fiber:
    """An access that gathers along one index."""

    program: ir.Program
    einsum: ir.Einsum
    access: ir.Access
    place: int
    shapes: Mapping[str, int]

    @property
    def _gather(self) -> ir.Gather:
        index = self.access.indices[self.place]
        assert isinstance(index, ir.Gather)
        return index

    @property
    def _others(self) -> tuple[ir.Index, ...]:
        return (*self.access.indices[: self.place], *self.access.indices[self.place + 1 :])

    def picks(self) -> CertainPicks | None:
        gather = self._gather
        plain = {v for i in self._others for v in i.variables}
        beside = {*gather.offset.variables}
        picks = [v for v in apart_along(self.program, gather.access) if v not in plain | beside]
        if not picks or not self._apart() or not self._all_shown({*picks} | plain | beside):
            return None
        share = self._within(picks, plain)
        if share is None:
            return None
        kept = (*self._others, *((gather.offset,) if gather.offset.variables else ()))
        terms = (ir.AffineTerm(variable=v) for v in picks)
        indices = (*kept, *(ir.Affine(terms=(term,)) for term in terms))
        return CertainPicks(replace(self.access, indices=indices), share)

    # ----------------------------------------------------------------- around a position

    @property
    def _step(self) -> int:
        gather = self._gather
        return gather.coefficient * prod(self.shapes[s] for s in gather.shapes)

    def _ends(self, weights: _Weights) -> tuple[int, int]:
        """The least and the largest value of a sum."""
        low = high = weights.get("", 0)
        for variable, weight in weights.items():
            if variable:
                reach = weight * (self._size(variable) - 1)
                low, high = low + min(0, reach), high + max(0, reach)
        return low, high

    def _apart(self) -> bool:
        """Whether what is touched around one position is never touched around another."""
        low, high = self._ends(self._weights(linear(self._gather.offset)))
        return self._step > high - low

    def _within(self, picks: list[str], plain: set[str]) -> Fraction | None:
        """The share of what picks touch that lies within the input, whichever are picked."""
        step, length = self._step, self.shapes[self._rank]
        offset = self._weights(linear(self._gather.offset))
        low, high = self._ends(offset)
        last = self._last
        count = prod(self._size(v) for v in picks)
        if last is None or (low >= 0 and last * step + high < length and count <= last + 1):
            return Fraction(1)
        wide = high + 1 - low
        cut = any(self._rank_of(v).family for v in picks)
        # As many beside one position as there are combinations, without a gap, and no other
        # index that tells some of them apart.
        whole = prod(self._size(v) for v in offset if v) == wide
        shared = plain.intersection(offset)
        if low < 0 or cut or not whole or shared:
            return None
        there = min(count, last + 1)  # more may be asked for than there is to pick from
        beyond = (last + 1 - n for n in range(1, there + 1))
        lost = sum(min(wide, max(0, n * step + high + 1 - length)) for n in beyond)
        return Fraction(there * wide - lost, count * wide)

    @property
    def _rank(self) -> str:
        """The rank of which positions are picked."""
        return self.program.tensor_ranks[self.access.tensor][self.place]

    @property
    def _last(self) -> int | None:
        """The largest entry of the index tensor; None where nothing bounds it, and every entry
        that is read is a position that there is."""
        tensor = self._gather.access.tensor
        source, domain = self.program.einsum_of.get(tensor), self.program.domain(tensor)
        if source is not None:
            return prod(self._size(v) for v in source.over) - 1
        if domain is None or not domain.whole or domain.low < 0:
            return None
        return int(domain.high) + (self.shapes[domain.rank] if domain.rank else 0)

    # --------------------------------------------------------------------------- masks

    def _all_shown(self, moving: set[str]) -> bool:
        """Whether some point of the ranks that do not move the access is shown all it picks.

        Looked for at the ends of these ranks.
        """
        sums = [*self._of_reader(), *self._of_selection()]
        told = [found for found in sums if found is not None]
        if len(told) < len(sums):
            return False
        # Where a pick lies is the data's to say: no end of the rank may be chosen for it.
        fixed = {*moving, _PICK, self._rank.lower()}
        free = sorted({v for ways in told for way in ways for v in way if v} - fixed)
        if len(free) > _MOST_CORNERS or not all(self._whole(v) for v in free):
            return False
        for ends in itertools.product((False, True), repeat=len(free)):
            at = {v: (self._size(v) - 1) * end for v, end in zip(free, ends, strict=True)}
            if all(any(self._most(way, at) <= 0 for way in ways) for ways in told):
                return True
        return False

    def _whole(self, variable: str) -> bool:
        """Whether any value of a variable goes with any of the rest of what it is a part of."""
        family = self._rank_of(variable).family
        if family is None:
            return True
        members = self.program.rank_of[family].partition
        return prod(self.shapes[m] for m in members) == self.shapes[family]

    def _of_reader(self) -> Iterable[list[_Weights] | None]:
        """What is at most zero where the reader's mask holds, each in all ways to say it."""

        def named(node: ir.Node) -> ir.Node:
            pick = ir.Name(name=_PICK, kind="variable")
            return pick if node == self._gather.access else node

        for condition in self.program.once(Masks).skipped(self.einsum):
            for sums in self._sums(rebuild(condition, named)):
                yield None if sums is None else self._ways(sums)

    def _ways(self, sums: _Weights) -> list[_Weights] | None:
        """A sum with a pick in it, of a pick or of what lies around it within the input."""
        weight = sums.get(_PICK, 0)
        if not weight:
            return [sums]
        if self._last is None:
            return None
        found = [sums]
        if weight % self._step == 0 and self._rank.lower() not in sums:
            # Of I*T + t <= p the position, which lies within the rank, in the place of I*T + t.
            position = {**sums, self._rank.lower(): weight // self._step}
            del position[_PICK]
            for v, n in self._weights(linear(self._gather.offset)).items():
                position[v] = position.get(v, 0) - n * (weight // self._step)
            found.append({v: n for v, n in position.items() if n})
        return found

    def _of_selection(self) -> Iterable[list[_Weights] | None]:
        """What is at most zero where a candidate is one, told of what the reader goes over."""
        source = self.program.einsum_of.get(self._gather.access.tensor)
        if source is None:
            return
        pairs = zip(source.target.indices, self._gather.access.indices, strict=True)
        read = {w.variables[0]: r for w, r in pairs if isinstance(w, ir.Affine) and w.as_variable}
        for condition in self.program.once(Masks).skipped(source):
            for sums in self._sums(condition):
                yield None if sums is None else self._told(sums, source, read)

    def _told(
        self, sums: _Weights, source: ir.Einsum, read: Mapping[str, ir.Index]
    ) -> list[_Weights] | None:
        """A sum of what a selection goes over as one of what its reader does."""
        found: _Weights = {}
        for variable, weight in sums.items():
            index = read.get(variable)
            if not variable or variable in source.over:
                # Any candidate: what is least certain of them.
                most = weight * (self._size(variable) - 1) if variable else weight
                found[""] = found.get("", 0) + (max(0, most) if variable else most)
            elif isinstance(index, ir.Affine):
                for v, n in self._weights(linear(index)).items():
                    found[v] = found.get(v, 0) + n * weight
            else:
                return None
        return [{v: n for v, n in found.items() if n or not v}]

    def _sums(self, condition: ir.Condition) -> Iterable[_Weights | None]:
        """Sums that are at most zero wherever a condition holds; None where it is no such thing."""
        parts = inequalities(condition, self.shapes)
        forms = tuple(p.form for p in parts if isinstance(p, AtMostZero))
        if depends_on_data(condition) or len(forms) < len(parts) or not says_all(condition, forms):
            return [None]
        return [self._weights(form) for form in forms]

    # ------------------------------------------------------------------------- numbers

    def _most(self, sums: _Weights, at: Mapping[str, int]) -> int:
        """The largest value of a sum where some variables have values."""
        found = sums.get("", 0)
        for variable, weight in sums.items():
            if variable in at:
                found += weight * at[variable]
            elif variable:
                found += max(0, weight * self._largest(variable))
        return found

    def _largest(self, variable: str) -> int:
        if variable == _PICK:
            return self._last or 0
        return self._size(variable) - 1

    def _rank_of(self, variable: str) -> ir.Rank:
        return self.program.rank_of[self.program.rank_of_variable[variable]]

    def _size(self, variable: str) -> int:
        return self.shapes[self.program.rank_of_variable[variable]]

    def _weights(self, form: Form) -> _Weights:
        found: _Weights = {}
        for t in form.terms:
            weight = t.coefficient * prod(self.shapes[s] for s in t.shapes)
            found[t.variable or ""] = found.get(t.variable or "", 0) + weight
        return found
