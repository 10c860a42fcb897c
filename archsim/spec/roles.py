"""Roles: names by which a mapping refers to the arrays and memories of any machine.

``matrix`` is the first array of more than one axis whose elements multiply and accumulate;
``vector`` is the first other array. On a machine with only one sort of array, both are the first
array. ``outer`` is the outermost memory (but never a ring of links), ``nearest`` the innermost.

Axes have roles, too. ``matrix.columns`` and ``matrix.rows`` are the axes with these names, else the
first and the second axis. ``vector.lanes`` is the axis with that name, else the first.

Names come before roles: an array or memory that has such a name is meant by it.
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
    """Return the array in a role. Return None if the word is no role of arrays, or is an array's
    name.

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
    return len(array.dimensions) > 1 and any(o.kind == "mac" for o in array.operations)


def memory_in_role(architecture: Architecture, role: str) -> str | None:
    """Return the memory in a role. Return None if the word is no role of memories, or is a memory's
    name.

    Examples
    --------
    >>> machine = Architecture.load("fusemax")
    >>> memory_in_role(machine, "outer"), memory_in_role(machine, "nearest")
    ('DRAM', 'global_buffer')
    """
    if role not in (OUTER, NEAREST) or architecture.memory(role) is not None:
        return None
    return (architecture.home if role == OUTER else architecture.memories[-1]).name


def memory_called(architecture: Architecture, name: str) -> str:
    """Return the memory that a mapping refers to by a name or a role."""
    return memory_in_role(architecture, name) or name


def axis_in_role(array: ProcessingArray, role: str, axis: str) -> str | None:
    """Return the name of the array's axis that takes the place of an axis of a role.

    Parameters
    ----------
    array : ProcessingArray
        Array in the role, or its replacement.
    role : str
        ``matrix`` or ``vector``.
    axis : str
        Such as ``rows``.

    Returns
    -------
    str or None
        ``axis`` itself if the role has no such axis: the name may be the array's own. None
        if the array has fewer axes than the role: no rank can lie along that axis.

    Examples
    --------
    On a vector array that replaces a matrix array, columns lie along its only axis.

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
