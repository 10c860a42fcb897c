"""The loops that Einsums share: their iterations, and how many steps they make."""

from __future__ import annotations

from ..space.iteration import Axis, Loop, count_points, iterations
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .record import SharedLoop
from .tiling import Tiling


def shared_loops(
    mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> tuple[SharedLoop, ...]:
    """The shared nest of a mapping, outermost first, with the iterations of the first tile.

    Parameters
    ----------
    mapping : Mapping
    architecture : Architecture
    tiling : Tiling
        The cascade's ranks, cut by the mapping.

    Returns
    -------
    tuple of SharedLoop
        Bounds inside one iteration of the outer loops over the same rank.
    """
    levels = {m.name: i for i, m in enumerate(architecture.memories)}
    left = dict(tiling.shapes)
    found: list[SharedLoop] = []
    for level in mapping.nest:
        for name in level.loops:
            member = tiling.members[name]
            count = iterations(left[member.rank], member.stride)
            left[member.rank] = min(left[member.rank], member.stride)
            found.append(
                SharedLoop(member=name, rank=member.rank, level=levels[level.level], bound=count)
            )
    return tuple(found)


def nest_space(
    tiling: Tiling, nest: tuple[SharedLoop, ...]
) -> tuple[tuple[Axis, ...], tuple[Loop, ...]]:
    """Axes that shared loops go along, and the loops on them.

    Parameters
    ----------
    tiling : Tiling
        The cascade's ranks, cut.
    nest : tuple of SharedLoop
        Loops of the shared nest, outermost first.
    """
    axes = tiling.axes(tuple(dict.fromkeys(loop.rank.lower() for loop in nest)))
    places = {v: (number, unit) for number, a in enumerate(axes) for v, unit in a.variables}
    loops: list[Loop] = []
    for loop in nest:
        variable = loop.rank.lower()
        axis, unit = places[variable]
        # A tile larger than its rank is the whole rank.
        size = min(tiling.members[loop.member].stride, tiling.shapes[loop.rank])
        loops.append(
            Loop(
                member=loop.member,
                axis=axis,
                stride=size * unit,
                level=loop.level,
                variable=variable,
            )
        )
    return axes, tuple(loops)


def step_count(tiling: Tiling, nest: tuple[SharedLoop, ...]) -> int:
    """Iterations of the shared nest, ragged edges exact.

    Parameters
    ----------
    tiling, nest
        As of ``nest_space``.
    """
    axes, loops = nest_space(tiling, nest)
    # Iterations are as many in any order; outer tiles first is the order to count in.
    outer_first = tuple(sorted(loops, key=lambda loop: -loop.stride))
    return count_points(outer_first, tuple(a.extent for a in axes))
