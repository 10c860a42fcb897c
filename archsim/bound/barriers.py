"""Pipeline barriers: who needs the end of a loop that values stream through.

An Einsum takes what another streams value by value, unless something that it needs is
complete only when the loop is over. It then stands behind a barrier, and what has streamed
by is gone.
"""

from __future__ import annotations

from ..space.iteration import Loop
from .record import Bound, BoundEinsum


def behind_barrier(
    bound: Bound, source: BoundEinsum, last: BoundEinsum, loop: Loop
) -> dict[str, str]:
    """Einsums up to ``last`` that need the end of a loop that ``source`` streams in.

    Returns
    -------
    dict
        For each of them, by name, the tensor that is complete only then.
    """
    fed = {source.name}
    after: dict[str, str] = {}
    between = bound.einsums[bound.position[source.name] + 1 : bound.position[last.name] + 1]
    for e in between:
        for operand in e.operands:
            tensor = operand.access.tensor
            if tensor not in fed or operand.earlier:
                continue
            fed.add(e.name)
            ends = loop.variable in operand.ends
            summed = loop.variable in bound.by_name[tensor].einsum.over
            if tensor in after or ends or summed:
                after[e.name] = tensor
    return after


def streaming(source: BoundEinsum, loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """Loops of its own in which an Einsum hands on value after value."""
    return tuple(x for x in loops if x in source.own and x.variable not in source.einsum.over)
