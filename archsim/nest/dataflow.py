"""Dataflow of a cascade: the producer of each operand, and accesses to the same elements.

These are facts of the cascade alone: no loop and no machine changes them. They are worked out
once, when a mapping is bound, and carried by every Einsum (``BoundEinsum.operands``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from einsum_cascade.ir import Access, Affine, AffineTerm, Einsum, Index, Program


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
    constants = [_summed_constants(x) for x in (only_left, only_right)]
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


def _summed_constants(terms: list[AffineTerm]) -> int | None:
    """The sum of the constants among some terms, if it depends on no shape."""
    constants = [t for t in terms if not t.variable]
    return None if any(t.shapes for t in constants) else sum(t.coefficient for t in constants)


def _as_long(program: Program, one: str, other: str) -> bool:
    """Whether two ranks are declared to have as many coordinates."""
    return one == other or not _declared_like(program, one).isdisjoint(
        _declared_like(program, other)
    )


def _declared_like(program: Program, rank: str) -> frozenset[str]:
    """A rank, and those that it is declared like, one after the other."""
    found: list[str] = []
    name: str | None = rank
    while name is not None and name not in found:
        found.append(name)
        declared = program.rank_of.get(name)
        name = declared.like if declared is not None else None
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplacedIndex:
    """An index that is read at another place than the one that is written.

    ``RM[m1, p]`` of a tensor written as ``RM[m1+1, p]`` is read one iteration ``before``:
    ``m1``. An index that is ``fixed`` is the start or the end of the rank, as in ``RM[M1, p]``.
    An index that is neither reads beyond the tile that a loop has left.
    """

    variables: frozenset[str]
    """Those of both places: a loop over none of them leaves the two in one tile."""
    written: frozenset[str]
    """Those of where it is written: tiles that no loop over them brings hold all of its places."""
    before: str | None = None
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One access on the right of an Einsum and, unless it is an input, who writes it.

    ``RM[m1, p]`` on the right, of what is written as ``RM[m1+1, p]``, is read ``earlier``,
    with ``shifts`` ``(("m1", 1),)``; ``RD[M1, p]`` is read at the end of ``m1``.
    """

    access: Access
    producer: str | None = None
    """The Einsum that writes it; None for an input."""
    earlier: bool = False
    """Whether it is a running value from before this iteration."""
    ends: frozenset[str] = frozenset()
    """Ranks' variables along which a running value is read after the rank is done."""
    last: frozenset[str] = frozenset()
    """Variables along which a running value is taken at its start or its end."""
    shifts: tuple[tuple[str, int], ...] = ()
    """By how many iterations of which variable an element was written before."""
    ahead: tuple[frozenset[str], ...] = ()
    """Variables of each index at which a later iteration may write what is read now."""
    displaced: tuple[DisplacedIndex, ...] = ()
    """Indices that are read at another place than they are written."""
    initial: bool = False
    """Whether it reads what ``init`` wrote, and nothing else."""
    initial_if_single: tuple[str, ...] = ()
    """Variables of which one iteration makes it read what ``init`` wrote, and nothing else."""
    readers: tuple[str, ...] = ()
    """All Einsums that read just this, itself included, in the order of the cascade."""
    same: tuple[SameElements, ...] = ()
    """Accesses that touch the same elements, as far as ranks lie inside of what a memory holds."""


def operands_of(program: Program) -> dict[str, tuple[Operand, ...]]:
    """What every Einsum of a cascade reads, by the Einsum's name, in the order of its reads.

    The running maximum of one-pass attention is read as it was a tile of keys before, and its
    denominator at the end:

    >>> from einsum_cascade import Cascade
    >>> found = operands_of(Cascade.load("attention-1pass").program)
    >>> [(o.access.tensor, o.earlier, o.shifts) for o in found["RM"]]
    [('RM', True, (('m1', 1),)), ('LM', False, ())]
    >>> [(o.access.tensor, sorted(o.ends)) for o in found["AV"]]
    [('RNV', ['m1']), ('RD', ['m1'])]
    """
    readers: dict[str, list[tuple[Access, str]]] = {}
    for e in program.einsums:
        for access in e.reads:
            readers.setdefault(access.tensor, []).append((access, e.name))
    return {
        e.name: tuple(
            _operand(
                program,
                access,
                tuple(name for other, name in readers[access.tensor] if other == access),
            )
            for access in e.reads
        )
        for e in program.einsums
    }


def _operand(program: Program, access: Access, readers: tuple[str, ...]) -> Operand:
    producer = program.einsum_of.get(access.tensor)
    same = same_elements(program, access)
    if producer is None:
        return Operand(access=access, readers=readers, same=same)
    target = producer.target
    pairs = tuple(zip(target.indices, access.indices, strict=True))
    initial = [(w, r) for w, r in pairs if isinstance(w, Affine) and w.offset == 1]
    return Operand(
        access=access,
        producer=producer.name,
        earlier=_is_earlier(target, access),
        ends=frozenset(_ends(program, producer, access)),
        last=frozenset(w.variables[0] for w, r in initial if not r.variables),
        shifts=tuple(_shifts(target, access)),
        ahead=tuple(frozenset(w.variables) for w, r in pairs if not _written_by_now(w, r)),
        displaced=tuple(_displaced(w, r) for w, r in pairs if w != r),
        initial=any(isinstance(r, Affine) and not r.terms for _, r in initial),
        initial_if_single=tuple(
            w.variables[0] for w, r in initial if isinstance(r, Affine) and r.offset == 0
        ),
        readers=readers,
        same=same,
    )


def _is_earlier(target: Access, access: Access) -> bool:
    """Whether what is written at ``m1 + 1`` of some rank is read at ``m1``."""
    return any(
        isinstance(wrote, Affine)
        and isinstance(read, Affine)
        and wrote.offset == 1
        and read.offset == 0
        and read.variables == wrote.variables
        for wrote, read in zip(target.indices, access.indices, strict=True)
    )


def _ends(program: Program, producer: Einsum, access: Access) -> Iterator[str]:
    """Variables of running ranks that an access is past the end of (``RD[M1, p]``)."""
    for rank in program.iterative.get(access.tensor, ()):
        variable = rank.lower()
        for wrote, read in zip(producer.target.indices, access.indices, strict=True):
            if variable in wrote.variables and isinstance(read, Affine):
                if variable not in read.variables:
                    yield variable
                break


def _shifts(target: Access, access: Access) -> Iterator[tuple[str, int]]:
    for wrote, read in zip(target.indices, access.indices, strict=True):
        if not isinstance(wrote, Affine) or not isinstance(read, Affine):
            continue
        if wrote.offset is None or read.offset is None or read.variables != wrote.variables:
            continue
        if wrote.offset > read.offset:
            yield wrote.variables[0], wrote.offset - read.offset


def _written_by_now(wrote: Index, read: Index) -> bool:
    """Whether a read stays at the coordinate just written, or behind it."""
    if read == wrote:
        return True
    if not isinstance(wrote, Affine) or not isinstance(read, Affine):
        return False
    if not read.variables:
        # The start of a rank is written first; what lies beyond the end is another matter.
        return not read.terms or wrote.offset == 1
    if wrote.offset is None or read.offset is None:
        return False
    return read.variables == wrote.variables and read.offset <= wrote.offset


def _displaced(wrote: Index, read: Index) -> DisplacedIndex:
    written = frozenset(wrote.variables)
    variables = written | {*read.variables}
    if not isinstance(wrote, Affine) or not isinstance(read, Affine) or wrote.offset != 1:
        return DisplacedIndex(variables=variables, written=written)
    if not read.variables:
        return DisplacedIndex(variables=variables, written=written, fixed=True)
    before = read.variables == wrote.variables and read.offset == 0
    return DisplacedIndex(
        variables=variables,
        written=written,
        before=wrote.variables[0] if before else None,
    )
