"""What a cascade decides on numbers: selections, and comparisons that become 0 or 1.

A result is not continuous in such a decision. Where rounding alone turns one over (two
scores that nearly tie), the run in a narrow type is right about its own numbers and cannot
be compared with a wide one; validation draws other inputs then, and says how often. Formats may
decide, for that is what they cost: there it says what was decided otherwise, and what lies beyond
a format's largest value, where an error is more than rounding explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from einsum_cascade import Cascade, ir
from einsum_cascade.errors import NotANumberError
from einsum_cascade.numeric.dtypes import largest


def decisions(program: ir.Program) -> tuple[str, ...]:
    """Tensors that hold positions or flags: ``<<``, and ``where(X > Y, 1, 0)`` of tensors."""
    return tuple(e.name for e in program.einsums if e.select is not None or _is_flag(e))


def _is_flag(einsum: ir.Einsum) -> bool:
    match einsum.expression:
        case ir.Call(function="where", arguments=(condition, ir.Number(), ir.Number())):
            return not einsum.over and any(isinstance(n, ir.Access) for n in ir.walk(condition))
        case _:
            return False


def decides_otherwise(
    cascade: Cascade, inputs: Mapping[str, Any], dtype: str, numbers: Mapping[str, Any]
) -> bool:
    """Whether a run in ``dtype`` decides anything otherwise than one in float64.

    Parameters
    ----------
    cascade : Cascade
        What is run.
    inputs, numbers : mapping
        Arrays, rounded to ``dtype`` already; sizes and parameters.
    dtype : str
        One of ``ir.DTYPES``.
    """
    names = decisions(cascade.program)
    if not names or dtype == "float64":
        return False
    wide = {n: a if a.dtype.kind == "i" else a.astype(float) for n, a in inputs.items()}
    try:
        narrow = cascade.evaluate(inputs, dtype=dtype, keep="all", **numbers)
    except NotANumberError:
        return False  # to be reported, not drawn again
    exact = cascade.evaluate(wide, dtype="float64", keep="all", **numbers)
    return any(not np.array_equal(narrow[n].astype(float), exact[n]) for n in names)


def beyond_rounding(
    cascade: Cascade, rounding: Cascade, inputs: Mapping[str, Any], numbers: Mapping[str, Any]
) -> tuple[str, ...]:
    """What formats change in a run that no rounding of its results explains, in words.

    Parameters
    ----------
    cascade, rounding : Cascade
        What is run in float64, and the same with formats.
    inputs, numbers : mapping
        Arrays as drawn; sizes and parameters.

    Returns
    -------
    tuple of str
        Selections and flags that come out otherwise, and tensors that would be larger than the
        largest value of their format, at which they stay.
    """
    wide = {n: a if a.dtype.kind == "i" else a.astype(float) for n, a in inputs.items()}
    exact = cascade.evaluate(wide, dtype="float64", keep="all", **numbers)
    narrow = rounding.evaluate(inputs, dtype="float32", keep="all", **numbers)
    found = [
        f"{name} is decided otherwise by scores that are rounded"
        for name in decisions(cascade.program)
        if not np.array_equal(np.asarray(narrow[name], dtype=float), exact[name])
    ]
    for name, values in (wide | exact).items():
        fmt = rounding.program.formats.of(name)
        if not fmt.name or values.dtype.kind != "f":
            continue
        most = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
        if most > largest(fmt):
            found.append(f"{name} comes to {most:.3g}, and {fmt.name} ends at {largest(fmt):.3g}")
    return tuple(found)
