"""Who writes what an Einsum reads, and how far apart the two are: edges of the dataflow.

These are facts of the cascade alone: no loop and no machine changes them. They are worked
out once, when a mapping is bound, and carried by every Einsum (``BoundEinsum.operands``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from einsum_cascade.ir import Access, Affine, Einsum, Index, Program

from .same_elements import SameElements, same_elements


@dataclass(frozen=True, slots=True, kw_only=True)
class Displaced:
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
    displaced: tuple[Displaced, ...] = ()
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


def _displaced(wrote: Index, read: Index) -> Displaced:
    written = frozenset(wrote.variables)
    variables = written | {*read.variables}
    if not isinstance(wrote, Affine) or not isinstance(read, Affine) or wrote.offset != 1:
        return Displaced(variables=variables, written=written)
    if not read.variables:
        return Displaced(variables=variables, written=written, fixed=True)
    before = read.variables == wrote.variables and read.offset == 0
    return Displaced(
        variables=variables,
        written=written,
        before=wrote.variables[0] if before else None,
    )
