"""What a bound mapping promises to take, without a schedule."""

from __future__ import annotations

from fractions import Fraction
from math import prod

from archsim.bound.record import Bound
from archsim.cost.occupancy import busy_cycles, reduction_latency
from archsim.cost.spill import count_mapping

from ..components import strongly_connected_components


def price(bound: Bound) -> tuple[Fraction, Fraction]:
    """Cycles of the slowest, and of all together.

    The slowest of arrays, memories, and Einsums that need one another from step to step: these
    take turns, and wait for sums that come late. Masks are left aside.

    Parameters
    ----------
    bound : Bound
        A mapping with all of its loops.

    Returns
    -------
    tuple of Fraction
        To compare mappings of one cascade with one another: the engine has the last word.
    """
    machine = bound.architecture
    busy: dict[str, Fraction] = {}
    times = {e.name: busy_cycles(bound, e) for e in bound.einsums}
    for e in bound.einsums:
        busy[e.array.name] = busy.get(e.array.name, Fraction(0)) + times[e.name]
    words: dict[str, Fraction] = {}
    for count in count_mapping(bound):
        for access in count.accesses:
            moved = (access.reads + access.writes) * bound.words.of(access.tensor)
            words[access.place] = words.get(access.place, Fraction(0)) + moved
    per_word = machine.word_bytes * machine.clock_hz
    found = [*busy.values(), *_turns(bound, times)]
    for memory in machine.memories:
        if memory.bandwidth_bytes_per_s is not None:
            moved = words.get(memory.name, Fraction(0))
            found.append(moved * per_word / memory.bandwidth_bytes_per_s)
    return max(found), sum(found, Fraction(0))


def _turns(bound: Bound, times: dict[str, Fraction]) -> list[Fraction]:
    """Cycles of Einsums that take turns, for each group of them."""
    found = []
    for group in strongly_connected_components(bound.program):
        if len(group) > 1:
            late = sum(reduction_latency(bound.by_name[n]) * _runs(bound, n) for n in group)
            found.append(sum((times[n] for n in group), Fraction(late)))
    return found


def _runs(bound: Bound, name: str) -> int:
    """How often an Einsum starts."""
    e = bound.by_name[name]
    return prod(e.widths[loop.member] for loop in e.shared)
