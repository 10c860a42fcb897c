"""Tables of whole numbers that Python and the compiled kernel read and write alike.

They are views of plain memory: a run that is done in Python imports no numpy, which takes longer
than most runs do.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from math import prod
from typing import Final, cast

_INT64: Final = "q"


def filled(number: int, *shape: int) -> memoryview[int]:
    """A table of some shape with one number everywhere.

    >>> filled(-1, 2, 3).tolist()
    [[-1, -1, -1], [-1, -1, -1]]
    """
    return _shaped(array(_INT64, (number,)) * prod(shape), shape)


def row(numbers: Iterable[int]) -> memoryview[int]:
    """A table of one axis."""
    return memoryview(array(_INT64, numbers))


def table(rows: Sequence[Sequence[int]]) -> memoryview[int]:
    """A table of two axes, its rows as long as one another.

    >>> table([(1, 2), (3, 4), (5, 6)])[2, 0]
    5
    """
    shape = (len(rows), len(rows[0]))
    return _shaped(array(_INT64, chain.from_iterable(rows)), shape)


def rows_of(table: memoryview[int]) -> list[list[int]]:
    """The numbers of a table of two axes."""
    return cast("list[list[int]]", table.tolist())


def _shaped(numbers: array[int], shape: tuple[int, ...]) -> memoryview[int]:
    return memoryview(numbers).cast("B").cast(_INT64, shape)
