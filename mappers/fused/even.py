"""Einsums shared out over the arrays of a machine so that no array is busy long after the others.

Each Einsum goes to the array that is soonest done with it. Where arrays are about as fast as one
another that may be the same one for all, and the others are idle.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


def shared_out(
    work: Mapping[str, Mapping[str, Fraction]], arrays: Mapping[str, str]
) -> dict[str, str]:
    """The array of each Einsum, after all moves and exchanges that leave the busiest less to do.

    Parameters
    ----------
    work : mapping
        Cycles of each Einsum on the arrays that can do it.
    arrays : mapping
        The array of each Einsum to begin with.

    Examples
    --------
    Two products and an exponential, all as soon done on one array as on the other:

    >>> cycles = {"QK": Fraction(64), "SN": Fraction(6), "AV": Fraction(64)}
    >>> alike = {name: dict.fromkeys("ab", n) for name, n in cycles.items()}
    >>> shared_out(alike, dict.fromkeys(alike, "a"))
    {'QK': 'b', 'SN': 'a', 'AV': 'a'}
    """
    found = dict(arrays)
    # Each time the busiest array has less to do, and there are finitely many ways: it ends.
    while (better := _better(work, found)) is not None:
        found = better
    return found


def _better(
    work: Mapping[str, Mapping[str, Fraction]], arrays: dict[str, str]
) -> dict[str, str] | None:
    """With one Einsum moved, or two exchanged, so that the busiest array is least busy."""
    names = dict.fromkeys(array for able in work.values() for array in able)
    loads = {
        a: sum((work[n][a] for n, on in arrays.items() if on == a), Fraction(0)) for a in names
    }
    busiest = max(loads, key=lambda a: loads[a])
    least, best = loads[busiest], None
    for name in (n for n, on in arrays.items() if on == busiest):
        for other in work[name]:
            if other == busiest:
                continue
            there = (n for n, on in arrays.items() if on == other and busiest in work[n])
            for back in (None, *there):
                moved = loads | {
                    busiest: loads[busiest] - work[name][busiest],
                    other: loads[other] + work[name][other],
                }
                if back is not None:
                    moved[busiest] += work[back][busiest]
                    moved[other] -= work[back][other]
                if max(moved.values()) < least:
                    least = max(moved.values())
                    best = arrays | {name: other} | ({} if back is None else {back: busiest})
    return best
