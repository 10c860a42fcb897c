"""What Einsums hand on tile by tile over a loop they share: the rest of it is never there.

A level holds what is inside the loops of the levels outside it. Where the Einsums that touch an
intermediate go round a shared loop of the level's own together, each tile of that loop is used
up before the loop comes to others, so that only as many are there as are in flight.
"""

from __future__ import annotations

from itertools import takewhile

from einsum_cascade.ir import Affine

from ..space.iteration import Loop
from ..spec.mapping import FIT
from .record import Bound, BoundEinsum

DOUBLE = 2
"""Tiles in flight where a schedule says nothing of them: one used, one on its way."""


def stream_of(bound: Bound, e: BoundEinsum, tensor: str, level: int) -> tuple[Loop, ...]:
    """The loop over which what a level holds of a tensor streams by an Einsum, one iteration of
    it for all the tiles that are in flight. Empty: nothing streams.

    Its first iteration is what the level holds at once. Of 10 tiles of 4 rows, with 3 in flight,
    these are 12 rows; of 2 tiles, 8. What a level that may spill is asked for is whole tiles, of
    which a share is there.

    Parameters
    ----------
    bound : Bound
        The mapping.
    e : BoundEinsum
        One of its Einsums, which touches the tensor.
    tensor : str
        What the level keeps.
    level : int
        Index of a memory, or the register level.
    """
    spill = bound.mapping.spill
    if spill is not None and spill.level in [
        m.name for m in bound.architecture.memories[level:][:1]
    ]:
        return ()
    member = bound.once_of_any_size(streams_over, tensor, level)
    flying = in_flight(bound)
    if member is None or flying is None:
        return ()
    return tuple(x._replace(stride=x.stride * flying) for x in e.shared if x.member == member)


def in_flight(bound: Bound) -> int | None:
    """Tiles of a step between the first that is made and the last that is used, at the most.

    With ``lookahead: fit`` no array is further ahead than registers are deep. None: the kind of
    schedule says nothing of it.
    """
    schedule = bound.mapping.schedule
    # Of the names that there are, and of one that is yet to come.
    kind: str = schedule.kind
    if kind == "sequential":
        return DOUBLE
    if kind == "phases":
        # The tile of a step ``shift`` away, from the one furthest ahead to the last behind.
        shifts = [task.shift for group in schedule.groups for task in group]
        return max(shifts, default=0) - min(shifts, default=0) + 1
    if kind != "pipelined":
        return None
    if schedule.lookahead == FIT:
        return max(1, *(a.registers.depth for a in bound.architecture.arrays))
    return int(schedule.lookahead)


def streams_over(bound: Bound, tensor: str, level: int) -> str | None:
    """The shared loop that an intermediate streams over at a level, the outermost that is not
    outside of it. None: all of the level's tile is there at once.

    Every Einsum that touches the tensor runs at every step of its group, each of the loops down
    to this one brings other elements, and all are read as they are written. Then an element
    belongs to one iteration of the loop, for whoever makes or uses it. A running value is left
    aside, and so are inputs and what nobody reads: these come and go a level's tile at a time.
    An Einsum that stays outside a loop may be put off for longer than tiles are in flight.

    Parameters
    ----------
    bound, tensor, level
        As of ``stream_of``.
    """
    writer = bound.by_name.get(tensor)
    if writer is None or not any(x.level >= level and x.bound > 1 for x in bound.nest):
        return None
    readers = [(e, o) for e in bound.einsums for o in e.operands if o.producer == tensor]
    own_places = all(isinstance(i, Affine) and i.as_variable for i in writer.einsum.target.indices)
    if not readers or not own_places or tensor in bound.program.iterative:
        return None
    if any(bound.apart(tensor, e.name) or o.displaced for e, o in readers):
        return None
    if any(a.access.tensor == tensor for e in bound.einsums for s in e.initial for a in s.reads):
        return None
    group = [e for e in bound.einsums if not bound.apart(tensor, e.name)]
    steps = {x.member for e in group for x in _turning(e)}
    if any({x.member for x in _turning(e)} != steps for e in (writer, *(e for e, _ in readers))):
        return None
    loops = _turning(writer)
    outside = [*takewhile(lambda x: x.level < level, loops)]
    down = loops[: len(outside) + 1]
    streams = len(down) > len(outside) and all(x.variable in writer.write.moving for x in down)
    return down[-1].member if streams else None


def _turning(e: BoundEinsum) -> list[Loop]:
    """Shared loops of more than one iteration, outermost first."""
    return [x for x in e.shared if e.widths[x.member] > 1]
