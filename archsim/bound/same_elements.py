"""Accesses that are written otherwise and touch the same elements of a tensor.

Keys of a chunk are read pair by pair as ``K[p1*P0 + m0]`` and one by one as ``K[p1*P0 + p0]``. Of
a memory that holds all of a chunk either leaves what the other comes for, as m0 and p0 go over the
same places. So do ``CT[i, d]`` and ``CT[i, 1 - d]`` where d is 0 and 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from einsum_cascade.ir import Access, Affine, AffineTerm, Program


@dataclass(frozen=True, slots=True, kw_only=True)
class SameElements:
    """A reader of the same elements, or of more, as long as it goes over all of some ranks."""

    einsum: str
    number: int
    """The access's place among what that Einsum reads."""
    whole: frozenset[str]
    """Their variables."""


def same_elements(program: Program, access: Access) -> tuple[SameElements, ...]:
    """Accesses that touch what one does, where inner variables go over all of their ranks.

    Parameters
    ----------
    program : Program
    access : Access
        One that is read.

    Returns
    -------
    tuple of SameElements
        In the order of the cascade; none that is written the same.
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
    """Variables of one access over all of which it touches what another does over all of its own;
    None if they do not touch the same.

    A variable of several indices ties them to one another: it is none of these.
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
    counts = Counter(_occurrences(access))
    return frozenset(v for v, n in counts.items() if n == 1)


def _occurrences(access: Access) -> Iterator[str]:
    for index in access.indices:
        if isinstance(index, Affine):
            yield from (t.variable for t in index.terms if t.variable)
        else:
            # What a gather looks up counts as tied: twice is enough.
            yield from (*index.variables, *index.variables)


def _same_values(program: Program, one: Affine, other: Affine) -> tuple[str, str] | None:
    """The only variables in which two indices differ, if all of their values give the same."""
    left = Counter(one.terms)
    right = Counter(other.terms)
    only_left, only_right = [*(left - right).elements()], [*(right - left).elements()]
    moved_left, moved_right = ([t for t in x if t.variable] for x in (only_left, only_right))
    if len(moved_left) != 1 or len(moved_right) != 1:
        return None
    (a,), (b,) = moved_left, moved_right
    if a.variable is None or b.variable is None or a.shapes != b.shapes:
        return None
    if not _as_long(program, a.variable.upper(), b.variable.upper()):
        return None
    if one.as_variable and _ends_sooner(program, a.variable, b.variable):
        return None
    constants = [_number(x) for x in (only_left, only_right)]
    if constants[0] is None or constants[1] is None:
        return None
    between = constants[1] - constants[0]
    if a.coefficient == b.coefficient:
        return None if between else (a.variable, b.variable)
    # 1 - d of d in 0, 1 is 1, 0: it ends where the other begins.
    rank = program.rank_of.get(a.variable.upper())
    length = None if rank is None or a.shapes else rank.shape
    if a.coefficient != -b.coefficient or length is None:
        return None
    turned = between == a.coefficient * (length - 1)
    return (a.variable, b.variable) if turned else None


def _ends_sooner(program: Program, one: str, other: str) -> bool:
    """Whether the last part of a rank may be short for one variable, where it is not for another.

    Of ``K[p1*P0 + p0]`` there is nothing beyond it; of ``KD[p1, m0]`` there may be.
    """
    mine, theirs = (program.rank_of.get(v.upper()) for v in (one, other))
    families = [None if rank is None else rank.family for rank in (mine, theirs)]
    return families[0] is not None and families[1] is None


def _number(terms: list[AffineTerm]) -> int | None:
    """The sum of the constants among some terms, if it depends on no shape."""
    constants = [t for t in terms if not t.variable]
    return None if any(t.shapes for t in constants) else sum(t.coefficient for t in constants)


def _as_long(program: Program, one: str, other: str) -> bool:
    """Whether two ranks are declared to have as many coordinates."""
    return one == other or not _like(program, one).isdisjoint(_like(program, other))


def _like(program: Program, rank: str) -> frozenset[str]:
    """A rank, and those that it is declared like, one after the other."""
    found: list[str] = []
    name: str | None = rank
    while name is not None and name not in found:
        found.append(name)
        declared = program.rank_of.get(name)
        name = declared.like if declared is not None else None
    return frozenset(found)
