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

from einsum_cascade.ir import Access, Einsum

from ..space.access_map import AccessMap, map_access
from ..space.iteration import Axis, Loop
from .record import Bound, BoundEinsum


def initial_einsums(bound: Bound, e: BoundEinsum) -> tuple[BoundEinsum, ...]:
    """Statements of ``init`` that bring inputs into what an Einsum writes, as Einsums.

    They are named as the Einsum is. What they compute is neither timed nor billed, as ``init``
    is counted nowhere; what they move is.
    """
    if e.starts:
        return ()
    return tuple(
        _initial(bound, e, statement)
        for statement in bound.program.init
        if statement.name == e.name and statement.reads
    )


def with_starts(bound: Bound) -> Iterator[BoundEinsum]:
    """All Einsums of a mapping, each with the statements of ``init`` that it starts from."""
    for e in bound.einsums:
        yield e
        yield from initial_einsums(bound, e)


def _initial(bound: Bound, e: BoundEinsum, statement: Einsum) -> BoundEinsum:
    carried = tuple(r.lower() for r in bound.program.parallel)
    variables = tuple(dict.fromkeys((*carried, *statement.variables)))
    looped = {x.variable for x in (*e.temporal, *e.spatial)}
    axes = bound.tiling.axes(tuple(v for v in variables if v in looped))
    alone = tuple(a for v in variables if v not in looped for a in bound.tiling.axes((v,)))
    innermost = len(bound.architecture.memories) - 1
    summed = (
        Loop(member=a.name, axis=i, stride=1, level=innermost, variable=a.variables[0][0])
        for i, a in enumerate(alone, len(axes))
    )

    def addressed(access: Access) -> AccessMap:
        running = bound.program.iterative.get(access.tensor, ())
        along = frozenset(r.lower() for r in running)
        return map_access(access, (*axes, *alone), bound.tiling.shapes, along, carried)

    return replace(
        e,
        einsum=statement,
        axes=(*axes, *alone),
        shared=tuple(_kept(e, e.shared, axes)),
        own=(*_kept(e, e.own, axes), *summed),
        spatial=tuple(_kept(e, e.spatial, axes)),
        operations=(),
        reads=tuple(addressed(a) for a in statement.reads),
        write=addressed(statement.target),
        window=None,
        starts=True,
    )


def _kept(e: BoundEinsum, loops: tuple[Loop, ...], axes: tuple[Axis, ...]) -> Iterator[Loop]:
    """Loops over variables that the axes have, on these axes."""
    before = {v: s for axis in e.axes for v, s in axis.variables}
    after = {v: (i, s) for i, axis in enumerate(axes) for v, s in axis.variables}
    for loop in loops:
        if loop.variable in after:
            axis, stride = after[loop.variable]
            yield replace(loop, axis=axis, stride=loop.stride // before[loop.variable] * stride)
