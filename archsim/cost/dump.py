"""Counts of a bound mapping as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from ..counts.accesses import AccessCount, Amount, EinsumCount
from ..counts.occupancy import busy_cycles, folds_of
from ..nest.record import Bound


def counts_text(bound: Bound, counts: Iterable[EinsumCount]) -> str:
    """Per Einsum its points, operations and busy cycles, and what it moves where.

    Parameters
    ----------
    counts : iterable of EinsumCount
        One for each Einsum of ``bound``, as ``count_mapping`` gives them.

    Returns
    -------
    str
        Lines without a newline at the end. Accesses are in elements.
    """
    return "\n".join(line for count in counts for line in _einsum(bound, count))


def _einsum(bound: Bound, count: EinsumCount) -> Iterator[str]:
    e = bound.by_name[count.einsum]
    masked = "" if count.allowed == count.points else f", {count.allowed:,} of them let through"
    yield f"{count.einsum} on {count.array}"
    yield f"  {count.points:,} points{masked}, {_number(count.iterations)} iterations"
    yield f"  {_number(busy_cycles(bound, e))} busy cycles"
    for kind, times in count.operations:
        yield f"  {times:,} {kind}"
    folds = folds_of(bound, e)
    if folds is not None:
        skew = ", ".join(f"{cycles:,} along {axis}" for axis, cycles in folds.skew) or "none"
        overlap = "overlapped" if folds.overlap else "one after the other"
        drained = f", each after {folds.drain:,} to drain" if folds.drain else ""
        yield f"  {folds.folds:,} folds, {overlap}: skew {skew}; {folds.loads:,} loads{drained}"
    own = f"{count.array}.registers"
    for access in count.accesses:
        yield _access(access.tensor, access.place, access)
    yield _access("all", own, count.registers)
    yield _access("all", f"{own} of one element", count.registers_of_one)


def _access(tensor: str, place: str, access: AccessCount) -> str:
    return f"  {tensor} @ {place}: {_number(access.reads)} read, {_number(access.writes)} written"


def _number(amount: Amount) -> str:
    """A whole number with thousands marked, or a fraction as it is."""
    value = Fraction(amount)
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):,.6g}"
