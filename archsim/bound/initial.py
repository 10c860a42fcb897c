"""Where a running value begins with what an input holds: statements of ``init`` as Einsums.

A statement that writes a constant moves nothing. One that reads inputs (a sink's logit, the
state that an earlier call left behind) brings them from where they live to where the running
value lives. It does so as an Einsum would, on the array and in the loops of the Einsum that
carries the value on, less the loops over ranks that the statement does not have: those along
which the value runs, and those that are summed over. So a nest that begins anew for every tile
brings the tile's part once for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from einsum_cascade.ir import Einsum, Program

from ..space.iteration import Axis, Loop
from .addressing import Addressing
from .dataflow import Operand
from .record import Bound, BoundEinsum
from .tiling import Tiling


def initial_einsums(
    program: Program, tiling: Tiling, e: BoundEinsum, innermost: int
) -> tuple[BoundEinsum, ...]:
    """Statements of ``init`` that bring inputs into what an Einsum writes, as Einsums.

    They are named as the Einsum is. What they compute is neither timed nor billed, as ``init``
    is counted nowhere; what they move is.

    Parameters
    ----------
    innermost : int
        The level of the innermost memory, where loops over ranks of their own go.
    """
    return tuple(
        _initial(program, tiling, e, statement, innermost)
        for statement in program.init
        if statement.name == e.name and statement.reads
    )


def with_initial(bound: Bound) -> Iterator[BoundEinsum]:
    """All Einsums of a mapping, each with the statements of ``init`` that it starts from.

    Parameters
    ----------
    bound : Bound
        The mapping.

    Returns
    -------
    iterator of BoundEinsum
        In the order in which they run, an Einsum before its statements, which have its name.
    """
    for e in bound.einsums:
        yield e
        yield from e.initial


def _initial(
    program: Program, tiling: Tiling, e: BoundEinsum, statement: Einsum, innermost: int
) -> BoundEinsum:
    carried = tuple(r.lower() for r in program.parallel)
    variables = tuple(dict.fromkeys((*carried, *statement.variables)))
    looped = {x.variable for x in (*e.temporal, *e.spatial)}
    axes = tiling.axes(tuple(v for v in variables if v in looped))
    alone = tuple(a for v in variables if v not in looped for a in tiling.axes((v,)))
    summed = (
        Loop(member=a.name, axis=i, stride=1, level=innermost, variable=a.variables[0][0])
        for i, a in enumerate(alone, len(axes))
    )
    addressing = Addressing(program, tiling, (*axes, *alone))
    return replace(
        e,
        einsum=statement,
        axes=(*axes, *alone),
        shared=tuple(_kept(e, e.shared, axes)),
        own=(*_kept(e, e.own, axes), *summed),
        spatial=tuple(_kept(e, e.spatial, axes)),
        operations=(),
        operands=tuple(
            Operand(access=a, producer=a.tensor if a.tensor in program.einsum_of else None)
            for a in statement.reads
        ),
        reads=tuple(addressing.of(a) for a in statement.reads),
        write=addressing.of(statement.target),
        initial=(),
        is_initial=True,
    )


def _kept(e: BoundEinsum, loops: tuple[Loop, ...], axes: tuple[Axis, ...]) -> Iterator[Loop]:
    """Loops over variables that the axes have, on these axes."""
    before = {v: s for axis in e.axes for v, s in axis.variables}
    after = {v: (i, s) for i, axis in enumerate(axes) for v, s in axis.variables}
    for loop in loops:
        if loop.variable in after:
            # Where a statement has fewer members of a family, the axis counts in other units.
            axis, stride = after[loop.variable]
            yield loop._replace(axis=axis, stride=loop.stride // before[loop.variable] * stride)
