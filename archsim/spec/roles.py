"""Roles: what a mapping calls the parts of a machine whose names it does not know.

``matrix`` is the first array of more than one axis whose elements multiply and accumulate,
``vector`` the first of the others; where a machine has arrays of one sort only, both are its
first. ``outer`` is the outermost memory (a ring of links is none), ``nearest`` the innermost.
Axes have roles, too: ``matrix.columns`` and ``matrix.rows`` are the axes of these names, else the
first and the second; ``vector.lanes`` is the axis of that name, else the first.

A part that is called so itself is that part: names come before roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .arch import Architecture, ProcessingArray

MATRIX = "matrix"
VECTOR = "vector"
OUTER = "outer"
NEAREST = "nearest"

ARRAY_ROLES = (MATRIX, VECTOR)
MEMORY_ROLES = (OUTER, NEAREST)
ROLES: tuple[str, ...] = (*ARRAY_ROLES, *MEMORY_ROLES)

_AXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {MATRIX: ("columns", "rows"), VECTOR: ("lanes",)}
)


def array_in_role(architecture: Architecture, role: str) -> ProcessingArray | None:
    """The array that has a role; None if the word is no array's role, or an array's name.

    Examples
    --------
    >>> machine = Architecture.load("fusemax")
    >>> [array.name for role in ("matrix", "vector") if (array := array_in_role(machine, role))]
    ['array_2d', 'array_1d']
    >>> array_in_role(machine, "array_1d") is None
    True
    """
    if role not in _AXES or architecture.array(role) is not None:
        return None
    able = [a for a in architecture.arrays if _is_matrix(a) == (role == MATRIX)]
    return (able or architecture.arrays)[0]


def _is_matrix(array: ProcessingArray) -> bool:
    return len(array.dimensions) > 1 and array.does("mac")


def memory_in_role(architecture: Architecture, role: str) -> str | None:
    """The memory that has a role; None if the word is no memory's role, or a memory's name.

    Examples
    --------
    >>> machine = Architecture.load("fusemax")
    >>> memory_in_role(machine, "outer"), memory_in_role(machine, "nearest")
    ('DRAM', 'global_buffer')
    """
    if role not in (OUTER, NEAREST) or architecture.memory(role) is not None:
        return None
    return (architecture.home if role == OUTER else architecture.memories[-1]).name


def axis_in_role(array: ProcessingArray, role: str, axis: str) -> str | None:
    """The axis of an array that plays the part of a role's axis.

    Parameters
    ----------
    array : ProcessingArray
        The one that has the role, or stands in for it.
    role : str
        ``matrix`` or ``vector``.
    axis : str
        Such as ``rows``.

    Returns
    -------
    str or None
        ``axis`` itself where the role has none of that name: it may be the array's own. None
        where the array has fewer axes than the role: what would lie along it cannot.

    Examples
    --------
    A vector array has one axis, along which columns lie where it does a matrix array's work.

    >>> vector = Architecture.load("fusemax").arrays[1]
    >>> axis_in_role(vector, "matrix", "columns"), axis_in_role(vector, "matrix", "rows")
    ('lanes', None)
    """
    wanted = _AXES.get(role, ())
    if axis not in wanted:
        return axis
    own = [d.name for d in array.dimensions]
    others = iter([name for name in own if name not in wanted])
    return {name: name if name in own else next(others, None) for name in wanted}[axis]
