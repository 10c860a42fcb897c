"""Compulsory traffic: elements of inputs that every execution reads, and outputs written once.

A gather reads the gathered elements only, and their positions are data. A selection gathers as many
different positions as it selects. Entries of an index tensor differ if the cascade declares them
``distinct``. All other gathered positions may coincide. Under a mask, the bound comes from the
point where the mask removes least, usually the last query.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

from .. import ir
from ..affine import digits, linear
from ..algebra.conditions import Masks, is_implied_by
from ..algebra.terms import rebuild
from ..algebra.terms import variable as plain_index
from ..libraries import sympy
from ..masks import conjuncts, depends_on_data, inequalities
from .footprint import tensor_size
from .points import size_of
from .policy import MAX_CORNER_VARIABLES


def compulsory_traffic(program: ir.Program) -> Any:
    r"""Return the number of input and output elements that are touched whatever the data are.

    Masks do not reduce an input: it counts whole even if no kept point reads some elements.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\nranks: [M, J, E]\ninputs: {S: [M], K: [M, E]}\noutput: C\n"
    >>> lines = "einsums: |\n  I[j] << topk(S[m], j)\n  C[j, e] = K[I[j], e]\n"
    >>> compulsory_traffic(Cascade.parse(head + lines).program)  # S, J rows of K, and C
    2*E*J + M
    """
    inputs = (_guaranteed_size(program, t.name) for t in program.inputs)
    return sympy.Add(*inputs, *(_written(program, t) for t in program.outputs))


def _written(program: ir.Program, tensor: str) -> Any:
    """Return the number of an output's elements that are written whatever the data are."""
    einsum = program.einsum_of.get(tensor)
    if einsum is None or not einsum.scattered:
        return tensor_size(program, tensor)
    # A mask of the Einsum, or of a selection that gives positions, may leave elements unwritten.
    sources = (program.einsum_of.get(i.access.tensor) for i in einsum.scattered)
    if any(Masks(program).skipped(e) for e in (einsum, *sources) if e is not None):
        return sympy.Integer(0)
    # Each scattered element is written once.
    ranks = (program.rank_of_variable[v] for v in einsum.target.variables)
    return size_of(program, [*program.parallel, *ranks])


def gathered_inputs(program: ir.Program) -> tuple[str, ...]:
    """Return the names of the inputs that only gathers read."""
    names = (t.name for t in program.inputs)
    return tuple(n for n in names if all(_gathers(a) for _, a in _reads(program, n)))


def guaranteed_access(program: ir.Program, einsum: ir.Einsum, access: ir.Access) -> ir.Access:
    r"""Return an access without gathers that touches no more elements than the given one surely
    does.

    Parameters
    ----------
    einsum : Einsum
        Einsum that reads.
    access : Access
        Access to an input. A gathered index becomes the variables along which positions differ, or
        is left out.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\nranks: [M, J, E]\ninputs: {S: [M], K: [M, E]}\noutput: C\n"
    >>> lines = "einsums: |\n  I[j] << topk(S[m], j)\n  C[j, e] = K[I[j], e]\n"
    >>> program = Cascade.parse(head + lines).program
    >>> reader = program.einsum_of["C"]
    >>> guaranteed_access(program, reader, reader.reads[0]).variables
    ('e', 'j')
    """
    return replace(access, indices=tuple(i for i, _ in _certain(program, einsum, access)))


def _certain(
    program: ir.Program, einsum: ir.Einsum, access: ir.Access
) -> list[tuple[ir.Affine, list[str]]]:
    """Return indices without gathers, each with ranks whose shapes multiply to its positions."""
    kept: list[tuple[ir.Affine, list[str]]] = []
    for index, rank in zip(access.indices, program.tensor_ranks[access.tensor], strict=True):
        if isinstance(index, ir.Affine):
            kept.append((index, [_along(program, index, rank)]))
        elif _reads_neighbours(program, einsum, index):
            kept.append((index.offset, _neighbour_ranks(program, index)))
    used = {*_masked_variables(program, einsum), *(v for i, _ in kept for v in i.variables)}
    distinct = [v for g in _gathers(access) for v in _distinct_variables(program, g, used)]
    return [*kept, *((plain_index(v), [program.rank_of_variable[v]]) for v in distinct)]


def _reads(program: ir.Program, tensor: str) -> tuple[tuple[ir.Einsum, ir.Access], ...]:
    """Return every access to a tensor, paired with the Einsum that makes it."""
    einsums = program.statements
    return tuple((e, a) for e in einsums for a in e.reads if a.tensor == tensor)


def _mask_conditions(program: ir.Program, einsum: ir.Einsum) -> Iterable[ir.Condition]:
    """Yield the conditions that remove points of an Einsum, from its own mask and its operands'
    masks.

    Conditions that test whether a selection has an entry are left out: ``_distinct_variables``
    examines the selection itself.
    """
    own = {*conjuncts(einsum.where)}
    for condition in program.memo(Masks).skipped(einsum):
        if condition in own or not _tests_a_selection(program, condition):
            yield condition


def _tests_a_selection(program: ir.Program, condition: ir.Condition) -> bool:
    """Return whether a condition tests that a selection's entry is a position (``0 <= entry``)."""
    match condition:  # in the spelling of conjuncts
        case ir.Relational(operator="<=", left=ir.Number(value=0), right=ir.Access(tensor=name)):
            source = program.einsum_of.get(name)
            return source is not None and source.select is not None
    return False


def _masked_variables(program: ir.Program, einsum: ir.Einsum) -> set[str]:
    """Return the variables of the conditions that remove points of an Einsum.

    A mask may keep a position at one value of these variables and remove it at another. Gathers
    along these variables therefore need not differ.
    """
    return {v for c in _mask_conditions(program, einsum) for v in ir.variables_of(c)}


def _reads_neighbours(program: ir.Program, einsum: ir.Einsum, gather: ir.Gather) -> bool:
    """Return whether every gathered position also touches its neighbours (``I[j]*T + t``).

    A data-dependent mask may keep only some neighbours, and so may the end of a rank with a partial
    last block. An offset variable that also indexes the gathered position guarantees no neighbours.
    """
    offset = gather.offset
    by_data = any(depends_on_data(c) for c in _mask_conditions(program, einsum))
    if by_data or not offset.variables:
        return False
    if not {*offset.variables}.isdisjoint(gather.access.variables):
        return False
    ranks = (program.rank_of[program.rank_of_variable[v]] for v in offset.variables)
    return _family(program, offset) is not None or all(r.family is None for r in ranks)


def _family(program: ir.Program, offset: ir.Affine) -> str | None:
    """Return the partitioned rank whose members make up the whole offset, or None."""
    family = program.rank_of[program.rank_of_variable[offset.variables[0]]].family
    members = program.rank_of[family].partition if family else ()
    return family if linear(offset).terms == digits(members).terms else None


def _gathers(access: ir.Access) -> tuple[ir.Gather, ...]:
    return tuple(i for i in access.indices if isinstance(i, ir.Gather))


def _guaranteed_size(program: ir.Program, tensor: str) -> Any:
    """Return the number of a tensor's elements surely touched by the access that touches most."""
    whole = tensor_size(program, tensor)
    found = dict.fromkeys(
        _accessed_size(program, e, access) for e, access in _reads(program, tensor)
    )
    return whole if whole in found or not found else sympy.Max(*found)


def _accessed_size(program: ir.Program, einsum: ir.Einsum, access: ir.Access) -> Any:
    used: set[str] = set()
    found: list[str] = list(program.parallel)
    for index, ranks in _certain(program, einsum, access):
        # A constant is one position, and a diagonal X[a, a] has as many elements as a.
        if index.variables and used.isdisjoint(index.variables):
            found += ranks
        used.update(index.variables)
    return size_of(program, found)


def _along(program: ir.Program, index: ir.Affine, rank: str) -> str:
    """Return the rank whose shape is the number of positions that an index takes."""
    # 2*e, or e*E0, touches one position per value of e; a sum such as e + r touches all of the
    # rank.
    if len(index.variables) == 1 and any(abs(t.coefficient) != 1 or t.shapes for t in index.terms):
        return program.rank_of_variable[index.variables[0]]
    return rank


def _neighbour_ranks(program: ir.Program, gather: ir.Gather) -> list[str]:
    """Return ranks whose shapes multiply to at most the positions touched around a gathered one."""
    offset = gather.offset
    if (family := _family(program, offset)) is not None:
        return [family]
    every = [program.rank_of_variable[v] for v in offset.variables]
    return every if _digits(program, offset) else every[:1]


def _digits(program: ir.Program, offset: ir.Affine) -> bool:
    """Return whether an offset such as ``r*T + t`` takes every value from zero on exactly once."""
    ranks = tuple(program.rank_of_variable[v] for v in offset.variables)
    return linear(offset).terms == digits(ranks).terms


def _neighbours_are_disjoint(program: ir.Program, gather: ir.Gather) -> bool:
    """Return whether the neighbourhoods of two different gathered positions never overlap."""
    ranks = sorted(program.rank_of_variable[v] for v in gather.offset.variables)
    return not ranks or (_digits(program, gather.offset) and sorted(gather.shapes) == ranks)


def _distinct_variables(program: ir.Program, gather: ir.Gather, used: set[str]) -> Iterable[str]:
    """Yield the variables along which gathered positions surely differ; add them to ``used``."""
    positions = gather.access
    if not _neighbours_are_disjoint(program, gather):
        return
    source = program.einsum_of.get(positions.tensor)
    for name in distinct_along(program, positions):
        if name in used:
            continue
        others = {v for v in positions.variables if v != name}
        masks = program.memo(Masks)
        # One fiber of a masked selection may see all candidates, and the next one none.
        if (
            source is None
            or not masks.skipped(source)
            or (masks.sees_every_candidate(source) and used.isdisjoint(others))
        ):
            used.add(name)
            yield name


_POSITION = "a gathered position"
"""Name of the gathered position in a condition; no rank variable has this name."""

_Weights = dict[str, int]
"""Integer weights of a sum's variables, by variable; the key '' holds the constant."""


@dataclass(frozen=True, slots=True)
class GuaranteedElements:
    """Tensor elements of an input that a gather surely touches."""

    access: ir.Access
    """Access without a gather that touches as many elements, or a few more.

    Variables along which gathered positions differ replace the gathered index.
    """
    share: Fraction
    """Share of the elements of ``access`` that is certain.

    The share is below 1 if neighbourhoods may extend past the end of the input.
    """


def distinct_along(program: ir.Program, access: ir.Access) -> tuple[str, ...]:
    """Return the variables along which an index tensor's entries differ if all others are fixed.

    Parameters
    ----------
    program : Program
    access : Access
        Access to the index tensor of a gather.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("paged-attention-decode").program
    >>> pages = program.einsum_of["BQK"].reads[2]
    >>> pages.tensor, distinct_along(program, pages)
    ('TABLE', ('b', 'm1', 'n'))
    """
    source = program.einsum_of.get(access.tensor)
    if source is not None and source.select is not None:
        from_ = {*ir.variables_of(source.expression)}
        differing = [from_.isdisjoint(i.variables) for i in source.target.indices]
    else:
        along = {r for d in program.distinct if d.name == access.tensor for r in d.ranks}
        differing = [r in along for r in program.tensor_ranks.get(access.tensor, ())]
    pairs = tuple(zip(access.indices, differing, strict=True))
    # A variable that also moves another index reaches entries without a guarantee.
    others = {v for index, differs in pairs if not differs for v in index.variables}
    moving = (linear(i) for i, differs in pairs if differs and isinstance(i, ir.Affine))
    alone = (f.variables[0] for f in moving if sum(t.variable is not None for t in f.terms) == 1)
    return tuple(dict.fromkeys(v for v in alone if v not in others))


def guaranteed_elements(
    program: ir.Program, einsum: ir.Einsum, access: ir.Access, shapes: Mapping[str, int]
) -> GuaranteedElements | None:
    """Return the input elements that a gather must touch where the masks hide nothing.

    Ranks on which masks depend are fixed at such a coordinate.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum that reads.
    access : Access
        One of its accesses, to an input.
    shapes : mapping of str to int
        Shape of every rank, in elements.

    Returns
    -------
    GuaranteedElements or None
        None if gathered positions may all coincide, or if several indices are gathered.
    """
    gathers = _gathers(access)
    if len(gathers) != 1:
        return None
    return _GatherBound(program, einsum, access, gathers[0], shapes).elements()


@dataclass(frozen=True, slots=True)
class _GatherBound:
    """Access with exactly one gathered index, and the bounds that follow from it."""

    program: ir.Program
    einsum: ir.Einsum
    access: ir.Access
    gather: ir.Gather
    shapes: Mapping[str, int]

    def elements(self) -> GuaranteedElements | None:
        gather = self.gather
        others = tuple(i for i in self.access.indices if i is not gather)
        plain = {v for i in others for v in i.variables}
        own = plain | {*gather.offset.variables}
        distinct = [v for v in distinct_along(self.program, gather.access) if v not in own]
        if not distinct or not self._sees_every_candidate({*distinct} | own):
            return None
        share = self._share_within_input(distinct, plain)
        if share is None:
            return None
        kept = (*others, *((gather.offset,) if gather.offset.variables else ()))
        indices = (*kept, *map(plain_index, distinct))
        return GuaranteedElements(replace(self.access, indices=indices), share)

    # ----------------------------------------------------------------- around a position

    @property
    def _step(self) -> int:
        return self.gather.factor(self.shapes)

    def _share_within_input(self, distinct: list[str], plain: set[str]) -> Fraction | None:
        """Return the share of the gathered elements that surely lies within the input.

        The result is None if neighbourhoods of different positions overlap, or if the share is
        unknown.
        """
        step, length = self._step, self.shapes[self._rank]
        offset = self.gather.offset.weights(self.shapes)
        low = -self._maximum({v: -n for v, n in offset.items()}, {})
        high = self._maximum(offset, {})
        if step <= high - low:
            return None
        last = self._last
        count = prod(self._size(v) for v in distinct)
        if last is None or (low >= 0 and last * step + high < length and count <= last + 1):
            return Fraction(1)
        wide = high + 1 - low
        cut = any(self._family_of(v) for v in distinct)
        # The offsets cover the neighbourhood of a position without a gap, and no other index
        # distinguishes some of them.
        whole = prod(self._size(v) for v in offset if v) == wide
        shared = plain.intersection(offset)
        if low < 0 or cut or not whole or shared:
            return None
        # A selection may ask for more entries than there are candidates.
        there = min(count, last + 1)
        beyond = (last + 1 - n for n in range(1, there + 1))
        lost = sum(min(wide, max(0, n * step + high + 1 - length)) for n in beyond)
        return Fraction(there * wide - lost, count * wide)

    @property
    def _rank(self) -> str:
        """Rank of the input that the gathered positions index."""
        place = self.access.indices.index(self.gather)
        return self.program.tensor_ranks[self.access.tensor][place]

    @property
    def _last(self) -> int | None:
        """Largest entry of the index tensor, or None if entries are unbounded.

        If they are unbounded, every entry that is read is a valid position.
        """
        tensor = self.gather.access.tensor
        source, domain = self.program.einsum_of.get(tensor), self.program.domain(tensor)
        if source is not None:
            return prod(self._size(v) for v in source.over) - 1
        if domain is None or not domain.whole or domain.low < 0:
            return None
        return int(domain.high) + (self.shapes[domain.rank] if domain.rank else 0)

    # --------------------------------------------------------------------------- masks

    def _sees_every_candidate(self, moving: set[str]) -> bool:
        """Return whether some values of the other variables leave all gathered elements unmasked.

        Only the first and the last value of each of these variables are tried.
        """
        sums = [*self._of_reader(), *self._of_selection()]
        known = [found for found in sums if found is not None]
        if len(known) < len(sums):
            return False
        # Positions of gathered elements are data, so their rank cannot be fixed at an end.
        fixed = {*moving, _POSITION, self._rank.lower()}
        free = sorted({v for ways in known for way in ways for v in way if v} - fixed)
        if len(free) > MAX_CORNER_VARIABLES or not all(self._whole(v) for v in free):
            return False
        for ends in itertools.product((False, True), repeat=len(free)):
            at = {v: (self._size(v) - 1) * end for v, end in zip(free, ends, strict=True)}
            if all(any(self._maximum(way, at) <= 0 for way in ways) for ways in known):
                return True
        return False

    def _whole(self, variable: str) -> bool:
        """Return whether a variable's rank has no short last tile.

        Then each value is valid with any values of the other members of the rank.
        """
        family = self._family_of(variable)
        members = self.program.rank_of[family].partition if family else ()
        return not family or prod(self.shapes[m] for m in members) == self.shapes[family]

    def _of_reader(self) -> Iterable[list[_Weights] | None]:
        """Yield alternative sums for each condition in the reader's mask.

        The condition holds where one of its sums is at most zero. None stands for a condition of
        another form.
        """

        def named(node: ir.Node) -> ir.Node:
            position = ir.Name(_POSITION, "variable")
            return position if node == self.gather.access else node

        for condition in self.program.memo(Masks).skipped(self.einsum):
            for sums in self._sums(rebuild(condition, named)):
                yield None if sums is None else self._alternatives(sums)

    def _alternatives(self, sums: _Weights) -> list[_Weights] | None:
        """Return a sum that names a gathered position, and if possible one that names the rank
        instead.

        The result is None if the index tensor's entries are unbounded.
        """
        weight = sums.get(_POSITION, 0)
        if not weight:
            return [sums]
        if self._last is None:
            return None
        found = [sums]
        if weight % self._step == 0 and self._rank.lower() not in sums:
            # I*T + t <= p becomes a bound on the position in the rank, which stands for I*T + t.
            position = {**sums, self._rank.lower(): weight // self._step}
            del position[_POSITION]
            for v, n in self.gather.offset.weights(self.shapes).items():
                position[v] = position.get(v, 0) - n * (weight // self._step)
            found.append({v: n for v, n in position.items() if n})
        return found

    def _of_selection(self) -> Iterable[list[_Weights] | None]:
        """Yield sums in the reader's variables for each condition on a selection's candidates.

        A candidate meets the condition where its sum is at most zero. None stands for a condition
        of another form.
        """
        source = self.program.einsum_of.get(self.gather.access.tensor)
        if source is None:
            return
        pairs = zip(source.target.indices, self.gather.access.indices, strict=True)
        read = {w.variables[0]: r for w, r in pairs if isinstance(w, ir.Affine) and w.as_variable}
        for condition in self.program.memo(Masks).skipped(source):
            for sums in self._sums(condition):
                yield None if sums is None else self._in_reader_variables(sums, source, read)

    def _in_reader_variables(
        self, sums: _Weights, source: ir.Einsum, read: Mapping[str, ir.Index]
    ) -> list[_Weights] | None:
        """Return a sum over a selection's variables, rewritten in the variables of its reader."""
        found: _Weights = {}
        for variable, weight in sums.items():
            index = read.get(variable)
            if not variable or variable in source.over:
                # For any candidate: the least certain one.
                found[""] = found.get("", 0) + self._maximum({variable: weight}, {})
            elif isinstance(index, ir.Affine):
                for v, n in index.weights(self.shapes).items():
                    found[v] = found.get(v, 0) + n * weight
            else:
                return None
        return [{v: n for v, n in found.items() if n or not v}]

    def _sums(self, condition: ir.Condition) -> Iterable[_Weights | None]:
        """Return sums that are at most zero wherever a condition holds.

        The result contains None if the condition has another form.
        """
        parts = inequalities(condition, self.shapes)
        if depends_on_data(condition) or not is_implied_by(condition, parts):
            return [None]
        return [p.weights(self.shapes) if isinstance(p, ir.Affine) else None for p in parts]

    # ------------------------------------------------------------------------- numbers

    def _maximum(self, sums: _Weights, at: Mapping[str, int]) -> int:
        """Return the largest value of a sum if ``at`` fixes some of its variables."""
        found = 0
        for variable, weight in sums.items():
            if not variable:
                found += weight
            elif variable in at:
                found += weight * at[variable]
            elif variable == _POSITION:
                found += max(0, weight * (self._last or 0))
            else:
                found += max(0, weight * (self._size(variable) - 1))
        return found

    def _family_of(self, variable: str) -> str | None:
        return self.program.family_of(self.program.rank_of_variable[variable])

    def _size(self, variable: str) -> int:
        return self.shapes[self.program.rank_of_variable[variable]]
