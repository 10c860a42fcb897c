"""Dataflow of a cascade: the producer of each operand, and accesses to equal tensor elements.

The cascade alone decides these facts; loops and machines do not change them. Binding derives them
once, and every bound Einsum carries its own (``BoundEinsum.operands``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from einsum_cascade.ir import Access, Affine, AffineTerm, Einsum, Index, Program


@dataclass(frozen=True, slots=True, kw_only=True)
class SameElements:
    """Access that reads at least the elements of another access, if it iterates over all of some
    ranks."""

    einsum: str
    number: int
    """Position of the access among the Einsum's reads."""
    whole: frozenset[str]
    """Variables of the ranks over which it must iterate in full."""


def same_elements(program: Program, access: Access) -> tuple[SameElements, ...]:
    """Return the cascade's accesses to the elements that ``access`` reads.

    They differ from ``access`` only in variables, each of which runs over a whole rank.

    Parameters
    ----------
    program : Program
    access : Access
        Access that an Einsum reads.

    Returns
    -------
    tuple of SameElements
        Accesses in the order of the cascade, without equal ones.
    """
    found: list[SameElements] = []
    for e in program.einsums:
        for number, other in enumerate(e.reads):
            if other.tensor != access.tensor or other == access:
                continue
            whole = _renamed(program, other, access)
            if whole is not None:
                found.append(SameElements(einsum=e.name, number=number, whole=whole))
    return tuple(found)


def _renamed(program: Program, there: Access, here: Access) -> frozenset[str] | None:
    """Return the variables of ``there`` that must run over whole ranks so that both accesses touch
    equal elements. Return None if they never do.

    A variable that occurs in several indices ties these indices together, and is never returned.
    """
    once_there, once_here = _occurring_once(there), _occurring_once(here)
    found: set[str] = set()
    for one, other in zip(there.indices, here.indices, strict=True):
        if one == other:
            continue
        if not isinstance(one, Affine) or not isinstance(other, Affine):
            return None
        pair = _same_values(program, one, other)
        if pair is None or pair[0] not in once_there or pair[1] not in once_here:
            return None
        found.add(pair[0])
    return frozenset(found)


def _occurring_once(access: Access) -> frozenset[str]:
    counts = Counter[str]()
    for index in access.indices:
        if isinstance(index, Affine):
            counts.update(t.variable for t in index.terms if t.variable)
        else:
            # Variables inside a gather count as tied: two occurrences suffice.
            counts.update((*index.variables, *index.variables))
    return frozenset(v for v, n in counts.items() if n == 1)


def _same_values(program: Program, one: Affine, other: Affine) -> tuple[str, str] | None:
    """Return the two variables by which two indices differ, one of each index.

    The result is None unless both indices reach equal elements over all values of these."""
    left = Counter(one.terms)
    right = Counter(other.terms)
    only_left, only_right = [*(left - right).elements()], [*(right - left).elements()]
    moved_left, moved_right = ([t for t in x if t.variable] for x in (only_left, only_right))
    if len(moved_left) != 1 or len(moved_right) != 1:
        return None
    (a,), (b,) = moved_left, moved_right
    if a.variable is None or b.variable is None or a.shapes != b.shapes:
        return None
    as_long = (_declared_like(program, v.upper()) for v in (a.variable, b.variable))
    if frozenset.isdisjoint(*as_long):
        return None
    mine, theirs = (program.family_of(v.upper()) for v in (a.variable, b.variable))
    # The last tile of a rank may be short: ``K[p1*P0 + p0]`` has nothing beyond the end of the
    # rank; ``KD[p1, m0]`` may.
    if one.as_variable and mine is not None and theirs is None:
        return None
    constants = [_summed_constants(x) for x in (only_left, only_right)]
    if constants[0] is None or constants[1] is None:
        return None
    between = constants[1] - constants[0]
    if a.coefficient == b.coefficient:
        return None if between else (a.variable, b.variable)
    # 1 - d for d in 0, 1 gives 1, 0: it ends where the other begins.
    rank = program.rank_of.get(a.variable.upper())
    length = None if rank is None or a.shapes else rank.shape
    if a.coefficient != -b.coefficient or length is None:
        return None
    turned = between == a.coefficient * (length - 1)
    return (a.variable, b.variable) if turned else None


def _summed_constants(terms: list[AffineTerm]) -> int | None:
    """Return the sum of the constant terms; None if one of them is a shape."""
    constants = [t for t in terms if not t.variable]
    return None if any(t.shapes for t in constants) else sum(t.coefficient for t in constants)


def _declared_like(program: Program, rank: str) -> frozenset[str]:
    """Return a rank and all ranks that it is declared to be as long as, directly or indirectly."""
    found: list[str] = []
    name: str | None = rank
    while name is not None and name not in found:
        found.append(name)
        declared = program.rank_of.get(name)
        name = declared.like if declared is not None else None
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplacedIndex:
    """Index that a read has at another position than the write of the tensor.

    ``RM[m1, p]`` of a tensor written as ``RM[m1+1, p]`` is read one iteration ``before``: ``m1``. A
    ``fixed`` index is the start or the end of the rank, as in ``RM[M1, p]``. Any other displaced
    index reads beyond the tile that a loop has left.
    """

    variables: frozenset[str]
    """Variables of the read and the written position. A loop over any other variable leaves both
    positions in one tile."""
    written: frozenset[str]
    """Variables of the written position. If no loop over them changes a tile, the tile holds all
    positions."""
    before: str | None = None
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """Operand of an Einsum: an access that the Einsum reads, with the producer of the tensor.

    ``RM[m1, p]`` of a tensor written as ``RM[m1+1, p]`` is read ``earlier``, with ``shifts``
    ``(("m1", 1),)``; ``RD[M1, p]`` is read at the end of ``m1``.
    """

    access: Access
    producer: str | None = None
    """Einsum that writes the operand; None for an input."""
    earlier: bool = False
    """True if the operand is a running value of the previous iteration."""
    ends: frozenset[str] = frozenset()
    """Variables of iterative ranks after whose end the operand, a running value, is read."""
    last: frozenset[str] = frozenset()
    """Variables of iterative ranks at whose start or end the operand, a running value, is read."""
    shifts: tuple[tuple[str, int], ...] = ()
    """Pairs of a variable and how many of its iterations ago the element was written."""
    ahead: tuple[frozenset[str], ...] = ()
    """Variables of each index at which the element may be written only in a later iteration."""
    displaced: tuple[DisplacedIndex, ...] = ()
    """Indices at which the read and the write of the tensor differ."""
    initial: bool = False
    """True if the access reads only what ``init`` wrote."""
    initial_if_single: tuple[str, ...] = ()
    """Variables with this property: if it has one iteration, the access reads only what ``init``
    wrote."""
    readers: tuple[str, ...] = ()
    """Einsums that read the same access, this one included, in the order of the cascade."""
    same: tuple[SameElements, ...] = ()
    """Other accesses that read equal elements, if a memory holds the ranks in which they differ."""


def operands_of(program: Program) -> dict[str, tuple[Operand, ...]]:
    """Return the operands of every Einsum of a cascade, by name, in the order of its reads.

    One-pass attention reads its running maximum of the tile of keys before, and its
    denominator at the end:

    >>> from einsum_cascade import Cascade
    >>> found = operands_of(Cascade.load("attention-1pass").program)
    >>> [(o.access.tensor, o.earlier, o.shifts) for o in found["RM"]]
    [('RM', True, (('m1', 1),)), ('LM', False, ())]
    >>> [(o.access.tensor, sorted(o.ends)) for o in found["AV"]]
    [('RNV', ['m1']), ('RD', ['m1'])]
    """
    readers: dict[Access, list[str]] = {}
    for e in program.einsums:
        for access in e.reads:
            readers.setdefault(access, []).append(e.name)
    return {
        e.name: tuple(_operand(program, access, tuple(readers[access])) for access in e.reads)
        for e in program.einsums
    }


def _operand(program: Program, access: Access, readers: tuple[str, ...]) -> Operand:
    producer = program.einsum_of.get(access.tensor)
    same = same_elements(program, access)
    if producer is None:
        return Operand(access=access, readers=readers, same=same)
    pairs = tuple(zip(producer.target.indices, access.indices, strict=True))
    initial = [(w, r) for w, r in pairs if isinstance(w, Affine) and w.offset == 1]
    lags = [(w, lag) for w, r in pairs if (lag := _lag(w, r)) is not None]
    return Operand(
        access=access,
        producer=producer.name,
        earlier=any(w.offset == lag == 1 for w, lag in lags),
        ends=frozenset(_ends(program, producer, access)),
        last=frozenset(w.variables[0] for w, r in initial if not r.variables),
        shifts=tuple((w.variables[0], lag) for w, lag in lags if lag > 0),
        ahead=tuple(frozenset(w.variables) for w, r in pairs if not _written_by_now(w, r)),
        displaced=tuple(_displaced(w, r) for w, r in pairs if w != r),
        initial=any(isinstance(r, Affine) and not r.terms for _, r in initial),
        initial_if_single=tuple(
            w.variables[0] for w, r in initial if isinstance(r, Affine) and r.offset == 0
        ),
        readers=readers,
        same=same,
    )


def _lag(wrote: Index, read: Index) -> int | None:
    """Return the iterations between writing an element and reading it at an index.

    The result is None unless both indices have the same variables, and differ only by a constant.
    """
    if not isinstance(wrote, Affine) or not isinstance(read, Affine):
        return None
    if wrote.offset is None or read.offset is None or read.variables != wrote.variables:
        return None
    return wrote.offset - read.offset


def _ends(program: Program, producer: Einsum, access: Access) -> Iterator[str]:
    """Yield the variables of iterative ranks past whose end an access reads (``RD[M1, p]``)."""
    for rank in program.iterative.get(access.tensor, ()):
        variable = rank.lower()
        for wrote, read in zip(producer.target.indices, access.indices, strict=True):
            if variable in wrote.variables and isinstance(read, Affine):
                if variable not in read.variables:
                    yield variable
                break


def _written_by_now(wrote: Index, read: Index) -> bool:
    """Return whether the element read is already written: the read is at the written coordinate or
    behind it."""
    if read == wrote:
        return True
    if isinstance(wrote, Affine) and isinstance(read, Affine) and not read.variables:
        # The start of a rank is written first; ``ends`` covers reads beyond its end.
        return not read.terms or wrote.offset == 1
    lag = _lag(wrote, read)
    return lag is not None and lag >= 0


def _displaced(wrote: Index, read: Index) -> DisplacedIndex:
    written = frozenset(wrote.variables)
    iterative = isinstance(wrote, Affine) and isinstance(read, Affine) and wrote.offset == 1
    return DisplacedIndex(
        variables=written | {*read.variables},
        written=written,
        before=wrote.variables[0] if iterative and _lag(wrote, read) == 1 else None,
        fixed=iterative and not read.variables,
    )
