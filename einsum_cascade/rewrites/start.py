"""The first step of a running value: nothing has been summed, nothing may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..algebra.terms import accesses_of, at_access, replace_accesses, substitute_variables
from ..algebra.view import RankView
from ..functions import ARITHMETIC, FUNCTIONS, of
from ..ir import Access, Binary, Call, Condition, Einsum, Expression, Name, Number, Unary
from ..operations import identity_of
from .corrections import NEW, OLD, Correction, acted

_NUMERIC: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        name: row.real if row.most is None else of(np, row.numpy)
        for name, row in FUNCTIONS.items()
        if row.sympy and row.algebra
    }
)
"""The functions that corrections are made of."""


def leaves_identity(view: RankView, einsum: Einsum, correction: Correction) -> bool:
    """Whether the first correction leaves the identity it acts on as it is.

    ``exp(-inf - x)`` times an empty sum is 0: good. ``d2 / d1`` with ``d1 = 0`` times an
    empty sum is not a number: the first correction must then be left out.

    Parameters
    ----------
    view : RankView
    einsum : Einsum
        The reduction whose running value is corrected.
    correction : Correction
    """
    identity = identity_of(view.program, einsum.reduction)
    with np.errstate(all="ignore"):
        factor = _evaluate(_at_start(view, correction.factor))
        left = np.float64(identity)
        value = acted(left, correction.operator, factor)
    # An infinite factor may happen to leave an infinite identity alone; it still is a
    # division by zero on a machine.
    sound = correction.operator == "+" or bool(np.isfinite(factor))
    return sound and bool(value == left)


def _at_start(view: RankView, factor: Expression) -> Expression:
    """The factor with what is final replaced by what it is before the first step."""

    def change(access: Access) -> Expression | None:
        name = access.tensor
        if name.endswith(NEW):
            return None
        bare = Access(tensor=name.removesuffix(OLD), indices=access.indices)
        if not name.endswith(OLD) and not view.is_final(bare):
            return None
        return _start_of(view, bare)

    return replace_accesses(factor, change)


def _start_of(view: RankView, access: Access) -> Expression | None:
    source = view.program.einsum_of[access.tensor]
    if view.is_iterative(access.tensor):
        first = next((i for i in view.program.init if i.name == access.tensor), None)
        return first.expression if first is not None else None
    if view.sweeps(source):
        return Number(value=identity_of(view.program, source.reduction))
    return _at_start(view, substitute_variables(source.expression, at_access(source, access)))


def _evaluate(expression: Expression) -> Any:
    """The expression in float64, anything still unknown standing for some finite number.

    Only infinities and zeros matter here, so unknowns are distinct numbers of ordinary
    size, and names stand for 1.5.
    """
    accesses = dict.fromkeys(accesses_of(expression))
    return _number(expression, {a: np.float64(1.25 + 0.5 * k) for k, a in enumerate(accesses)})


def _number(node: Expression | Condition, values: Mapping[Access, Any]) -> Any:
    match node:
        case Number(value=value):
            return np.float64(value)
        case Name():
            return np.float64(1.5)
        case Access():
            return values[node]
        case Unary(operand=operand):
            return -_number(operand, values)
        case Binary(operator=operator, left=left, right=right):
            return ARITHMETIC[operator].python(_number(left, values), _number(right, values))
        case Call(function=function, arguments=arguments) if function in _NUMERIC:
            return _NUMERIC[function](*(_number(a, values) for a in arguments))
    return np.float64("nan")
