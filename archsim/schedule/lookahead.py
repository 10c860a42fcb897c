"""How many tiles are in flight: as many as the schedule says, or as registers hold."""

from __future__ import annotations

from einsum_cascade.errors import MappingError, Problem

from ..bound.record import Bound
from ..spec.mapping import FIT
from ..steps.group import FusionGroup


def settled_lookahead(bound: Bound, group: FusionGroup) -> int:
    """Tiles in flight of a pipelined schedule, ``fit`` worked out.

    Raises
    ------
    MappingError
        More than the registers hold.
    """
    wanted = bound.mapping.schedule.lookahead
    most = fitted_lookahead(bound, group)
    lookahead = most if wanted == FIT else int(wanted)
    if lookahead > most:
        text = f"{lookahead} tiles in flight do not fit into the registers: they hold {most}"
        hint = "write fewer, or 'lookahead: fit'"
        raise MappingError(Problem(text, bound.mapping.schedule.span, hint))
    return lookahead


def fitted_lookahead(bound: Bound, group: FusionGroup) -> int:
    """The most tiles whose waiting values the registers of every array hold at once.

    A value waits where its consumer also needs something that another array makes of it:
    scores stay in the 2D array while the 1D array turns their maximum into the running
    one. Each tile in flight takes one register for each of them; every other value is used
    as it comes, and streaming operands pass through latches of their own.
    """
    operands: dict[str, set[str]] = {p.e.name: set() for p in group.parts}
    for read in group.reads:
        if not read.shifts:
            operands[read.consumer].add(read.producer)
    where = {p.e.name: p.e.array.name for p in group.parts}
    depths = {p.e.array.name: p.e.array.registers.depth for p in group.parts}
    return max(
        1,
        min(
            # 10 registers, two values of each tile that wait: 5 tiles.
            depth // max(1, len(_waiting(bound, array, operands, where)))
            for array, depth in depths.items()
        ),
    )


def _waiting(
    bound: Bound, array: str, operands: dict[str, set[str]], where: dict[str, str]
) -> set[str]:
    """Values in an array's registers that wait for what another array makes of them."""
    found: set[str] = set()
    for value in operands:
        if array not in bound.residency.registers(value):
            continue
        abroad = _made_abroad(value, operands, where)
        consumers = [n for n, needs in operands.items() if value in needs and where[n] == array]
        if any(operands[n] & abroad for n in consumers):
            found.add(value)
    return found


def _made_abroad(value: str, operands: dict[str, set[str]], where: dict[str, str]) -> set[str]:
    """Einsums of the same step that follow from a value by way of another array."""
    home = where[value]
    reached: set[tuple[str, bool]] = {(value, False)}
    pending = [(value, False)]
    while pending:
        name, left = pending.pop()
        for follower, needs in operands.items():
            state = (follower, left or where[follower] != home)
            if name in needs and state not in reached:
                reached.add(state)
                pending.append(state)
    return {name for name, left in reached if left}
