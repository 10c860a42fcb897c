"""Functions and operators of the language, one table row each.

Evaluation, counting, printing and checking all read these rows, so a new function is one row (and
one line in every machine that supports it). This module imports neither numpy nor sympy: a row
holds a name in the library (``"exp"``) or a function whose first argument is the library (``lambda
np, x: ...``).

On arrays, ``-`` and ``/`` differ from IEEE arithmetic in two cases, so that a softmax row without
any key is empty and not NaN:

* ``(-inf) - (-inf) = -inf``. The maximum of no elements is ``-inf``; subtracting it
  subtracts nothing (as when such a maximum is replaced by 0), and ``exp`` gives 0.
* ``0 / 0 = 0``. Dividing touches no point where both sides are empty, which is the
  ``divide(<-)`` merge of the EDGE notation (Odemuyiwa et al., 2024) for an empty left side.

Everything else is IEEE: ``1 / 0`` and ``log(0)`` are infinite. A NaN result is rejected when it is
stored.

>>> FUNCTIONS["rsqrt"].real(4.0)
0.5
>>> ARITHMETIC["**"].python(2, 10), COMPARISONS["<="].opposite
(1024, '>')
>>> REDUCTIONS["prod"].identity, REDUCTIONS["prod"].merge.operation
(1, 'mul')
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

Lookup = str | Callable[..., Any]
"""Name in a library, or a function whose first argument is the library."""


def of(library: ModuleType, lookup: Lookup) -> Callable[..., Any]:
    """Return the callable that a row refers to in a library.

    Parameters
    ----------
    library : module
        ``math``, ``numpy`` or ``sympy``.
    lookup : str or callable
        A cell of a row, such as ``Function.numpy``.

    >>> of(math, "sqrt")(9.0), of(math, lambda m, x: m.sqrt(x) + 1)(9.0)
    (3.0, 4.0)
    """
    if isinstance(lookup, str):
        found: Callable[..., Any] = getattr(library, lookup)
        return found
    return partial(lookup, library)


class Strength(IntEnum):
    """Binding strength of a printed expression; weaker operands are put in parentheses."""

    SUM = 1
    PRODUCT = 2
    POWER = 3
    ATOM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Built-in function.

    Attributes
    ----------
    name : str
        Name in cascade files.
    min_arity, max_arity : int, int or None
        Smallest and largest number of arguments (None: no limit).
    operation : str
        Kind of operation to count: one, or one between every two of its arguments.
    real : callable
        Function on Python numbers; raises if there is no value.
    numpy : Lookup
        Function on arrays; takes two arrays if the number of arguments has no limit.
    sympy : Lookup or None
        Function on sympy expressions; None if sympy knows nothing of it.
    algebra : bool
        True if sympy can also simplify it, not only evaluate it.
    latex_name : str
        LaTeX command of the name, if there is one.
    latex, mathml : str
        Template of a call that is not printed as a name with arguments; ``{0}`` is the first one.
    strength : Strength
        Binding strength of that template.
    plus_one : Lookup or None
        Function on arrays plus one, if adding one to its values would cancel their digits.
    """

    name: str
    min_arity: int = 1
    max_arity: int | None = 1
    operation: str
    real: Callable[..., float]
    numpy: Lookup
    sympy: Lookup | None = None
    algebra: bool = True
    latex_name: str = ""
    latex: str = ""
    mathml: str = ""
    strength: Strength = Strength.ATOM
    plus_one: Lookup | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Arithmetic operator; ``python`` works on numbers and expressions, ``numpy`` on arrays."""

    name: str
    operation: str
    python: Callable[[Any, Any], Any]
    numpy: Lookup


@dataclass(frozen=True, slots=True)
class Relation:
    """Comparison operator in conditions; ``opposite`` is its negation."""

    name: str
    opposite: str
    python: Callable[[Any, Any], bool]
    numpy: Lookup
    latex: str
    mathml: str


@dataclass(frozen=True, slots=True)
class Reduction:
    """Built-in reduction operator.

    ``identity`` is the result of a reduction of no elements. ``merges_by`` is the operator or
    function that merges two elements.
    """

    name: str
    word: str
    identity: int | float
    merges_by: str
    latex: str
    mathml: str

    @property
    def merge(self) -> Arithmetic | Function:
        """Row of the operator or function that merges two elements."""
        return ARITHMETIC.get(self.merges_by) or FUNCTIONS[self.merges_by]


# --------------------------------------------------------------------------- on arrays


def _subtract(np: Any, a: Any, b: Any) -> Any:
    """Return ``a - b``, with ``(-inf) - (-inf) = -inf``."""
    result = np.asarray(a - b)
    broken = np.isnan(result)
    if broken.any():
        both = (a == -np.inf) & (b == -np.inf)
        return np.where(broken & both, -np.inf, result).astype(result.dtype)
    return result


def _divide(np: Any, a: Any, b: Any) -> Any:
    """Return ``a / b``, with ``0 / 0 = 0``."""
    result = np.asarray(a / b)
    broken = np.isnan(result)
    if broken.any():
        return np.where(broken & (a == 0) & (b == 0), 0, result).astype(result.dtype)
    return result


def _sigmoid(np: Any, x: Any) -> Any:
    # exp of non-positive numbers alone, so that neither side of zero overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


def _silu(np: Any, x: Any) -> Any:
    return np.where(x == -np.inf, 0, x * _sigmoid(np, x)).astype(x.dtype)


def _elementwise(np: Any, function: Callable[[float], float], x: Any) -> Any:
    """Return an array with a function of the math module applied to every element.

    The results are exact; an element takes 0.1 us.
    """
    values = np.fromiter(map(function, x.ravel().tolist()), np.float64, x.size)
    return values.reshape(x.shape)


def _erf(np: Any, x: Any) -> Any:
    return _elementwise(np, math.erf, x).astype(x.dtype)


def _gelu(np: Any, x: Any) -> Any:
    # erfc keeps the relative accuracy on the left, where 1 + erf cancels.
    wide = x.astype(np.float64)
    result = wide * _elementwise(np, math.erfc, -wide / math.sqrt(2)) / 2
    return np.where(x == -np.inf, 0, result).astype(x.dtype)


def _elu(np: Any, x: Any) -> Any:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0))).astype(x.dtype)


def _elu_plus_one(np: Any, x: Any) -> Any:
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))).astype(x.dtype)


def _softplus(np: Any, x: Any) -> Any:
    return np.asarray(np.logaddexp(np.zeros((), x.dtype), x))


def _relu(np: Any, x: Any) -> Any:
    return np.asarray(np.maximum(x, np.zeros((), x.dtype)))


def _rsqrt(np: Any, x: Any) -> Any:
    # Adding 0 makes -0 positive: the inverse root of zero is +inf.
    return np.asarray(1 / (np.sqrt(x) + 0))


# ---------------------------------------------------------------------------- the rows

_Row = TypeVar("_Row", Function, Arithmetic, Relation, Reduction)


def _table(*rows: _Row) -> Mapping[str, _Row]:
    return MappingProxyType({row.name: row for row in rows})


def _function(
    name: str, real: Callable[..., float], numpy: Lookup, operation: str = "", **more: Any
) -> Function:
    return Function(name=name, operation=operation or name, real=real, numpy=numpy, **more)


def _log(x: float) -> float:
    return -math.inf if x == 0 else math.log(x)


def _periodic(function: Callable[[float], float]) -> Callable[[float], float]:
    """Return a periodic function that gives NaN at infinities, as numpy does.

    Python raises an error there.
    """
    return lambda x: function(x) if math.isfinite(x) else math.nan


FUNCTIONS: Mapping[str, Function] = _table(
    _function(
        "exp",
        math.exp,
        "exp",
        sympy="exp",
        latex="e^{{{0}}}",
        mathml="<msup><mi>e</mi><mrow>{0}</mrow></msup>",
        strength=Strength.POWER,
    ),
    _function("log", _log, "log", sympy="log", latex_name=r"\log"),
    _function(
        "sqrt", math.sqrt, "sqrt", sympy="sqrt", latex=r"\sqrt{{{0}}}", mathml="<msqrt>{0}</msqrt>"
    ),
    _function("rsqrt", lambda x: 1 / math.sqrt(x), _rsqrt, sympy=lambda sp, x: 1 / sp.sqrt(x)),
    _function(
        "abs",
        abs,
        "abs",
        sympy="Abs",
        latex=r"\left|{0}\right|",
        mathml="<mrow><mo>|</mo>{0}<mo>|</mo></mrow>",
    ),
    _function("sign", lambda x: float((x > 0) - (x < 0)), "sign", sympy="sign"),
    _function("relu", lambda x: max(x, 0.0), _relu, sympy=lambda sp, x: sp.Max(0, x)),
    _function("elu", lambda x: x if x > 0 else math.expm1(x), _elu, plus_one=_elu_plus_one),
    _function("sigmoid", lambda x: 1 / (1 + math.exp(-x)), _sigmoid),
    _function("tanh", math.tanh, "tanh", latex_name=r"\tanh"),
    _function("sin", _periodic(math.sin), "sin", sympy="sin", latex_name=r"\sin"),
    _function("cos", _periodic(math.cos), "cos", sympy="cos", latex_name=r"\cos"),
    _function("silu", lambda x: x / (1 + math.exp(-x)), _silu),
    _function("gelu", lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2, _gelu),
    _function("softplus", lambda x: math.log1p(math.exp(x)), _softplus),
    _function("erf", math.erf, _erf),
    _function(
        "floor",
        math.floor,
        "floor",
        sympy="floor",
        algebra=False,
        latex=r"\left\lfloor {0} \right\rfloor",
        mathml="<mrow><mo>⌊</mo>{0}<mo>⌋</mo></mrow>",
    ),
    _function("max", max, "maximum", sympy="Max", latex_name=r"\max", min_arity=2, max_arity=None),
    _function("min", min, "minimum", sympy="Min", latex_name=r"\min", min_arity=2, max_arity=None),
    _function(
        "where",
        lambda condition, yes, no: yes if condition else no,
        "where",
        operation="select",
        min_arity=3,
        max_arity=3,
        latex=r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
        mathml=(
            "<mrow><mo>{{</mo><mtable><mtr><mtd>{1}</mtd><mtd>{0}</mtd></mtr>"
            "<mtr><mtd>{2}</mtd><mtd><mtext>otherwise</mtext></mtd></mtr></mtable></mrow>"
        ),
        strength=Strength.PRODUCT,
    ),
)
"""Built-in functions by name; ``gelu`` is the exact function (by erf)."""

ARITHMETIC: Mapping[str, Arithmetic] = _table(
    Arithmetic("+", "add", operator.add, "add"),
    Arithmetic("-", "sub", operator.sub, _subtract),
    Arithmetic("*", "mul", operator.mul, "multiply"),
    Arithmetic("/", "div", operator.truediv, _divide),
    Arithmetic("**", "pow", operator.pow, "power"),
)
"""Arithmetic operators by their symbol."""


COMPARISONS: Mapping[str, Relation] = _table(
    Relation("<", ">=", operator.lt, "less", "<", "<"),
    Relation("<=", ">", operator.le, "less_equal", r"\le", "≤"),
    Relation(">", "<=", operator.gt, "greater", ">", ">"),
    Relation(">=", "<", operator.ge, "greater_equal", r"\ge", "≥"),
    Relation("==", "!=", operator.eq, "equal", "=", "="),
    Relation("!=", "==", operator.ne, "not_equal", r"\ne", "≠"),
)
"""Comparison operators by their symbol."""


REDUCTIONS: Mapping[str, Reduction] = _table(
    Reduction("+", "sum", 0, "+", r"\sum", "∑"),
    Reduction("max", "max", -math.inf, "max", r"\max", ""),
    Reduction("min", "min", math.inf, "min", r"\min", ""),
    Reduction("prod", "product", 1, "*", r"\prod", "∏"),
)
"""Built-in reduction operators by name."""

SELECTIONS: tuple[str, ...] = ("topk",)
"""Names of the selections that may follow ``<<``."""

OPERATION_KINDS: tuple[str, ...] = (
    *("mac", "add", "sub", "mul", "div", "pow", "neg", "compare", "select", "copy"),
    *(f.operation for f in FUNCTIONS.values() if f.operation == f.name),
)
"""Names of all kinds of operation that an Einsum can count."""
