"""How large an error rounding explains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import prod
from types import MappingProxyType

from einsum_cascade import ir
from einsum_cascade.numeric.dtypes import Precision, dtype_of, unit_roundoff
from einsum_cascade.numeric.reference import IterativeLoop, einsums_of, schedule

LAMBDA = 4.0
"""How many deviations of the rounding error are allowed; see ``tolerance``."""

_ROUNDINGS_PER_POINT = 3
_UNIT_ROUNDOFF: Mapping[str, float] = MappingProxyType(
    {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
)


def tolerance(program: ir.Program, shapes: Mapping[str, int], dtype: str) -> float:
    """How large a relative error rounding explains.

    Every Einsum rounds its result once to ``dtype`` (unit roundoff u_s); before that it
    makes, in its working type (u_w), one rounding per reduced element and about three for
    its map. An Einsum in a recurrence does so at every step. Roundings are independent
    and as often up as down, so the errors of n of them grow as sqrt(n) (Higham and Mary,
    SIAM J. Sci. Comput. 41(5), 2019, where the factor in front is about 4, too). A tensor in a
    format of its own has that format's roundoff, and so has an input::

        LAMBDA * (u_s * sqrt(results) + u_w * sqrt(roundings inside))

    Parameters
    ----------
    program : Program
        The cascade; each of its Einsums is counted once, or once a step of a recurrence.
    shapes : mapping of str to int
        Elements by rank.
    dtype : str
        The type that tensors are stored in, one of ``ir.DTYPES``.

    Examples
    --------
    A product over four features in float16 rounds once to 11 bits (and in float32 before):

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("linear-layer").program
    >>> f"{tolerance(program, {'N': 4, 'D': 4, 'J': 4}, 'float16'):.6f}, {4 * 2**-11:.6f}"
    '0.001954, 0.001953'
    """
    precision = Precision(dtype_of(dtype), program.accumulate, program.formats)
    rank = program.rank_of_variable
    inputs = (program.formats.of(t.name) for t in program.inputs)
    stored = sum(unit_roundoff(fmt) ** 2 for fmt in inputs if fmt.name)
    inside = 0.0
    for step in schedule(program):
        for einsum in einsums_of(step):
            steps = shapes[rank[step.variable]] if isinstance(step, IterativeLoop) else 1
            narrow = precision.accumulator(einsum.name)
            working = narrow or precision.working(einsum.name)
            reduced = prod(shapes[rank[v]] for v in einsum.over)
            fmt = program.formats.of(einsum.name)
            stored += steps * (unit_roundoff(fmt) if fmt.name else _UNIT_ROUNDOFF[dtype]) ** 2
            inside += steps * (_ROUNDINGS_PER_POINT + reduced) * _UNIT_ROUNDOFF[working.name] ** 2
    return LAMBDA * (math.sqrt(stored) + math.sqrt(inside))
