"""Spill: the share of tiles beyond a level's capacity lives in the next memory outwards.

With ``p = 1 - min(1, capacity / required)``, a share ``p`` of the level's reads and updates goes to
the memory outside. Loads and stores between the two levels shrink to a share ``1 - p``. Tensors
that bypass the level do not change. The level's own accesses stay, because spilled tiles pass
through it. Counts become exact fractions.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..legality.footprint import requirement
from ..nest.record import Bound
from ..quantities import byte_size
from ..spec.mapping import Spill
from .accesses import AccessCount, Amount, EinsumCount, count_einsum


def count_mapping(bound: Bound) -> tuple[EinsumCount, ...]:
    """Return the counts of every Einsum, including the effect of spills.

    Returns
    -------
    tuple of EinsumCount
        Counts in execution order; accesses in elements, whole unless a level spills.

    Raises
    ------
    MappingError
        A mask needs a parameter that has no value, or an index is too irregular to be counted.
    """
    counts = tuple(bound.memo(count_of, e.name) for e in bound.einsums)
    return spilled(bound, counts, spilled_share(bound))


def count_of(bound: Bound, name: str) -> EinsumCount[int]:
    """Return the counts of one Einsum without spills, as ``Bound.memo`` calls it.

    Raises the same errors as ``count_mapping``.
    """
    return count_einsum(bound, bound.by_name[name])


def spilled_share(bound: Bound) -> Fraction:
    """Return the share of the tiles that does not fit into the spilling level; 0 if no level may
    spill.

    Returns
    -------
    Fraction
        ``p = 1 - min(1, capacity / required)``, of live tiles in as many copies as declared.
    """
    spill = bound.mapping.spill
    if spill is None:
        return Fraction(0)
    required = bound.memo(requirement, _level_of(bound, spill))
    capacity, needed = required.capacity_bytes, required.required_bytes
    if capacity is None or needed <= capacity:
        return Fraction(0)
    return 1 - Fraction(capacity) / needed


def spilled(
    bound: Bound, counts: tuple[EinsumCount, ...], share: Fraction
) -> tuple[EinsumCount, ...]:
    """Return counts with a share of the spilling level's accesses moved to the memory outside.

    Parameters
    ----------
    bound : Bound
        Mapping, which names a level under ``spill`` if the share is not 0.
    counts : tuple of EinsumCount
        Counts without spills.
    share : Fraction
        Share as ``spilled_share`` returns it.

    Returns
    -------
    tuple of EinsumCount
        The given counts if the share is 0; else accesses are fractions.
    """
    if not share:
        return counts
    found: list[EinsumCount] = []
    for count in counts:
        accesses: list[AccessCount] = []
        for tensor in dict.fromkeys(a.tensor for a in count.accesses):
            its = tuple(a for a in count.accesses if a.tensor == tensor)
            accesses += spilled_accesses(bound, its, share)
        found.append(replace(count, accesses=tuple(accesses)))
    return tuple(found)


def spilled_accesses(
    bound: Bound, accesses: tuple[AccessCount, ...], share: Fraction
) -> tuple[AccessCount, ...]:
    """Return the accesses of one Einsum to one tensor if a share of a level spills.

    Parameters
    ----------
    bound : Bound
        The mapping, which names a level under ``spill``.
    accesses : tuple of AccessCount
        Accesses in elements without spills.
    share : Fraction
        Share as ``spilled_share`` returns it.

    Returns
    -------
    tuple of AccessCount
        Given accesses; accesses at the memory outside are replaced and come last.
    """
    spill = bound.mapping.spill
    assert spill is not None, "something spills"
    level = _level_of(bound, spill)
    here = [a for a in accesses if a.place == spill.level]
    if not here:
        return accesses
    e = bound.by_name[here[0].einsum]
    outside = [i for i in bound.memories(e, here[0].tensor) if i < level]
    home = bound.architecture.memories[outside[-1] if outside else _outside(bound, level)].name
    beyond = [a for a in accesses if a.place == home]
    # Arrivals from outside are written here too, but are no updates from below: all of an operand
    # (in whole lines if gathered), and the part of a result that was read back.
    result = here[0].tensor == e.name
    updates = share * sum(a.writes for a in here) if result else Fraction(0)
    updates -= share * sum(a.reads for a in beyond) if result else 0
    reads = share * sum(a.reads for a in here) + (1 - share) * sum(a.reads for a in beyond)
    writes = updates + (1 - share) * sum(a.writes for a in beyond)
    moved = AccessCount(here[0].einsum, here[0].tensor, home, _whole(reads), _whole(writes))
    return (*(a for a in accesses if a.place != home), moved)


def _level_of(bound: Bound, spill: Spill) -> int:
    """Return the index of the memory that spills."""
    return [m.name for m in bound.architecture.memories].index(spill.level)


def _outside(bound: Bound, level: int) -> int:
    """Return the memory outside the level that spills."""
    outside = bound.architecture.tree.outside(level)
    assert outside is not None, "the outermost memory spills nothing"
    return outside


def _whole(amount: Fraction) -> Amount:
    return int(amount) if amount.denominator == 1 else amount


def spill_note(bound: Bound) -> str:
    """Return a note that names the spilling level and its spilled share.

    Returns
    -------
    str
        Note for the result; empty without spills.
    """
    spill = bound.mapping.spill
    share = spilled_share(bound)
    if spill is None or not share:
        return ""
    level = _level_of(bound, spill)
    required = bound.memo(requirement, level)
    kept = [t for t, _ in bound.residency.places if level in bound.residency.memories(t)]
    home = bound.architecture.memories[_outside(bound, level)].name
    return (
        f"{spill.level}: {float(share):.3%} of what it keeps ({', '.join(kept)}) spills to "
        f"{home}: it needs {byte_size(float(required.required_bytes))} and has "
        f"{byte_size(float(required.capacity_bytes or 0))}"
    )
