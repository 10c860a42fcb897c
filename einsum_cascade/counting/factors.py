"""Common factors of sums in front of them, as sympy has them, without what takes it long.

``sympy.factor_terms`` compares each product that it takes apart with one, as a dictionary, which
it turns into an expression for that: this is half of its time, and it is the half of an analysis.
"""

from __future__ import annotations

from math import gcd, lcm
from typing import Any, NamedTuple

import sympy
from sympy.core.mul import _keep_coeff


def factor_terms(expression: Any) -> Any:
    """``sympy.factor_terms``, of a part of an expression as of a whole.

    >>> M, P = sympy.symbols("M P", integer=True, positive=True)
    >>> factor_terms(4 * M * P + 2 * P * sympy.Max(M * P - M, P))
    2*P*(2*M + Max(P, M*(P - 1)))
    """
    if expression.is_Atom:
        return expression
    if expression.is_Pow or isinstance(expression, _FUNCTIONS):
        arguments = tuple([factor_terms(a) for a in expression.args])
        return expression if arguments == expression.args else expression.func(*arguments)
    if isinstance(expression, sympy.Sum):
        return _of_sum(expression)
    if not (expression.is_Add or expression.is_Mul):
        return sympy.factor_terms(expression)
    content, rest = expression.as_content_primitive(radical=False, clear=False)
    if rest.is_Add:
        products = [_Monomial.of(factor_terms(term)) for term in rest.args]
        known = [p for p in products if p is not None]
        if len(known) < len(products):
            return sympy.factor_terms(expression)
        if all(p.times < 0 for p in known):
            content, known = -content, [_Monomial(-p.times, p.powers) for p in known]
        rest = _in_front(known)
    elif rest.args:
        rest = rest.func(*[factor_terms(a) for a in rest.args])
    return _keep_coeff(content, rest, clear=False, sign=True)


_FUNCTIONS = (sympy.Min, sympy.Max, sympy.floor, sympy.ceiling)
"""Functions whose arguments are taken apart each by itself."""


def _of_sum(expression: Any) -> Any:
    """What does not depend on the variables of a sum, in front of it."""
    found = factor_terms(expression.function)
    if found.is_Add:
        return sympy.factor_terms(expression)
    apart, inside = found.as_independent(*(limit[0] for limit in expression.limits))
    return apart * expression.func(inside, *expression.limits)


class _Monomial(NamedTuple):
    """A number times whole powers."""

    times: Any
    powers: dict[Any, int]

    @classmethod
    def of(cls, term: Any) -> _Monomial | None:
        """A term of a sum; None where there is anything else in it."""
        times, factors = term.as_coeff_mul()
        powers: dict[Any, int] = {}
        for factor in factors:
            base, power = factor.as_base_exp()
            if not (power.is_Integer and power > 0) or base.is_Pow or base.is_number:
                return None
            if base.is_Add:
                content, base = base.primitive()
                times *= content**power
            powers[base] = powers.get(base, 0) + int(power)
        return cls(times, powers) if times.is_Rational else None

    @property
    def expression(self) -> Any:
        """As sympy puts it together: a number times a sum is multiplied out."""
        return self.times * sympy.Mul(*(b**n for b, n in self.powers.items()))


def _in_front(products: list[_Monomial]) -> Any:
    """A sum of products with what they have in common in front."""
    # Of 1/2 and 2/3 it is 1/6: each is so often a whole number.
    times = sympy.Rational(gcd(*(p.times.p for p in products)), lcm(*(p.times.q for p in products)))
    common = {
        base: least
        for base in products[0].powers
        if (least := min(p.powers.get(base, 0) for p in products))
    }
    rest = [
        _Monomial(
            p.times / times,
            {b: left for b, n in p.powers.items() if (left := n - common.get(b, 0))},
        )
        for p in products
    ]
    number, powers = _Monomial(times, common).expression.as_coeff_Mul()
    total = sympy.Add(*(p.expression for p in rest))
    if number.q > 1 and total.is_Add:
        # No denominator in front of what some terms can do without.
        divided = total / number.q
        if any(term.as_coeff_Mul()[0].is_Integer for term in divided.args):
            number, total = sympy.Integer(number.p), divided
    return _keep_coeff(number, powers * total, clear=False)
