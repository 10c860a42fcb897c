"""Flat arrays in named tuples, as Numba receives them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class FlatMeasures(NamedTuple):
    """Measures as arrays; ``first_*`` are the offsets of each measure's rows, and their end.

    Rows of ``loops`` are ``OpenLoop``; rows of ``terms`` are (coefficient, axis), with digits from
    ``first_digit`` on; rows of ``digits`` are (stride, distinguished, inner tuples). The parts of a
    size are ranges of terms.
    """

    extents: Ints
    first_extent: Ints
    loops: Ints
    first_loop: Ints
    parts: Ints
    first_part: Ints
    terms: Ints
    first_digit: Ints
    digits: Ints
