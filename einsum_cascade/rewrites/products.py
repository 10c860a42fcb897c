"""Terms as products and sums: factors of an expression, and factors that can leave a sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from typing_extensions import override

from ..affine import Sign
from ..algebra.conditions import Masks
from ..algebra.sweeps import readable_map
from ..algebra.terms import number, variables_of
from ..ir import Access, Binary, Einsum, Expression, Name, Number, Program, Unary
from ..notation.printer import expression_text
from ..operations import einsum_operations
from ..yaml.library import builtin_names, builtin_source

_MINUS = Number(value=-1)

Free = Callable[[Expression], bool]


@dataclass(frozen=True)
class ProductPart:
    """``value ** count`` in a product, ``count * value`` in a sum."""

    value: Expression
    count: int = 1


def parts_of(
    program: Program, einsum: Einsum, free: Free, *, additive: bool
) -> tuple[ProductPart, ...]:
    """The parts of an Einsum's term; a map it reads is opened where a free part is inside.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    free : callable
        Whether a part is one that is looked for, such as one without a reduced variable.
    additive : bool
        Whether terms of a sum are asked for; else factors of a product.

    Returns
    -------
    tuple of ProductPart
        In the order in which they are written; ``a / b`` is a once and b ``-1`` times.
    """
    opener = _Opener(additive, program, einsum, free)
    return tuple(opener.parts(einsum.expression, 1))


def factors_of(expression: Expression) -> tuple[ProductPart, ...]:
    """The factors of a product as it is written, whatever it reads.

    >>> from ..ir import Name
    >>> a, b = (Name(name=n, kind="parameter") for n in "ab")
    >>> quotient = Binary(operator="/", left=a, right=b)
    >>> [(p.value.name, p.count) for p in factors_of(quotient)]
    [('a', 1), ('b', -1)]
    """
    return tuple(_Parts(additive=False).parts(expression, 1))


@dataclass(frozen=True)
class _Parts:
    """Takes products, or sums, apart."""

    additive: bool

    def parts(self, expression: Expression, count: int) -> list[ProductPart]:
        match expression:
            case Access():
                return self.read(expression, count)
            case Unary(operand=operand):
                if self.additive:
                    return self.parts(operand, -count)
                # (-x) ** count is (-1) ** count * x ** count.
                sign = [ProductPart(number(-1))] if count % 2 else []
                return [*sign, *self.parts(operand, count)]
            case Binary(operator=operator, left=left, right=right):
                return self._binary(expression, operator, left, right, count)
            case _:
                return [ProductPart(expression, count)]

    def _binary(
        self, whole: Expression, operator: str, left: Expression, right: Expression, count: int
    ) -> list[ProductPart]:
        joins, parts_ = ("+", "-") if self.additive else ("*", "/")
        if operator == joins:
            return [*self.parts(left, count), *self.parts(right, count)]
        if operator == parts_:
            return [*self.parts(left, count), *self.parts(right, -count)]
        is_power = isinstance(right, Number) and isinstance(right.value, int)
        if not self.additive and operator == "**" and is_power:
            assert isinstance(right, Number)
            return self.parts(left, count * int(right.value))
        return [ProductPart(whole, count)]

    def read(self, access: Access, count: int) -> list[ProductPart]:
        """The parts that an operand is."""
        return [ProductPart(access, count)]


@dataclass(frozen=True)
class _Opener(_Parts):
    """Opens what is read, too."""

    program: Program
    einsum: Einsum
    free: Free

    @override
    def read(self, access: Access, count: int) -> list[ProductPart]:
        """Those of the map it reads where a free one is inside."""
        if self.free(access):
            return [ProductPart(access, count)]
        body = readable_map(self.program, access, self.einsum)
        if body is not None:
            inner = self.parts(body, count)
            if any(self.free(p.value) for p in inner):
                return inner
        return [ProductPart(access, count)]


def is_worth_moving(part: Expression) -> bool:
    """Whether a factor costs an operation: a sign does not.

    >>> [is_worth_moving(number(n)) for n in (-1, 1, 0.5)]
    [False, False, True]
    """
    return not isinstance(part, Number) or abs(part.value) != 1


def product(parts: Iterable[ProductPart], first: Expression | None = None) -> Expression:
    """``first * a * b**2 / c``; an empty product is 1."""
    parts = tuple(parts)
    signs = sum(1 for p in parts if p.value == _MINUS)
    parts = tuple(p for p in parts if p.value != _MINUS)
    if signs % 2:
        return Unary(operator="-", operand=product(parts, first))
    total = first
    for part in parts:
        if part.count > 0:
            factor = _power(part.value, part.count)
            total = factor if total is None else Binary(operator="*", left=total, right=factor)
    below: Expression | None = None
    for part in parts:
        if part.count < 0:
            factor = _power(part.value, -part.count)
            below = factor if below is None else Binary(operator="*", left=below, right=factor)
    total = total if total is not None else number(1)
    return total if below is None else Binary(operator="/", left=total, right=below)


def total(parts: Iterable[ProductPart], first: Expression | None = None) -> Expression:
    """``first + a - b``; an empty sum is 0."""
    parts = tuple(parts)
    result = first
    for part in (*(p for p in parts if p.count > 0), *(p for p in parts if p.count < 0)):
        term = part.value
        if abs(part.count) != 1:
            term = Binary(operator="*", left=number(abs(part.count)), right=term)
        if result is None:
            result = term if part.count > 0 else Unary(operator="-", operand=term)
        else:
            operator: Sign = "+" if part.count > 0 else "-"
            result = Binary(operator=operator, left=result, right=term)
    return result if result is not None else number(0)


def size_of(program: Program, variables: Iterable[str]) -> Expression:
    """The number of points the variables run over, as a product of shapes."""
    names = [Name(name=program.rank_of_variable[v], kind="shape") for v in variables]
    families = [program.rank_of[n.name].family for n in names]
    if families and families[0] and len(set(families)) == 1:
        family = program.rank_of[families[0]]
        if set(family.partition) == {n.name for n in names}:
            return Name(name=family.name, kind="shape")
    return product(ProductPart(n) for n in names)


def _power(value: Expression, count: int) -> Expression:
    if count == 1:
        return value
    return Binary(operator="**", left=value, right=number(count))


@dataclass(frozen=True)
class Hoistable:
    """Factors of a sum that are free of what it sums over, as they are written."""

    einsum: str
    factors: tuple[Expression, ...]
    over: tuple[str, ...]

    def note(self, program: Program) -> str:
        """What is billed, and what to type so that it is not."""
        written, over = " and ".join(expression_text(f) for f in self.factors), ", ".join(self.over)
        stands, out = ("stands", "it") if len(self.factors) == 1 else ("stand", "them")
        where = f"{stands} inside the sum over {over} and {'is' if out == 'it' else 'are'}"
        return (
            f"{self.einsum}: {written} {where} billed at each {over}: "
            f"archsim rewrite {_cascade_title(program)} factor:{self.einsum} takes {out} out"
        )


def hoistable(program: Program) -> tuple[Hoistable, ...]:
    """Sums with factors that could leave them, so that less is computed.

    Only what is written in the sum itself counts: a factor inside a map that it reads is
    computed once as it is.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\\nranks: [M, P, E]\\ninputs: {Q: [P, E], K: [M, E]}\\noutput: QK\\n"
    >>> text = head + "einsums: 'QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)'\\n"
    >>> [h.einsum for h in hoistable(Cascade.parse(text).program)]
    ['QK']
    """
    masks = Masks(program)
    return tuple(h for e in program.einsums for h in _hoistable_factors(program, masks, e))


def _hoistable_factors(program: Program, masks: Masks, einsum: Einsum) -> Iterator[Hoistable]:
    if not einsum.over or einsum.select is not None or einsum.reduction != "+":
        return
    over = frozenset(einsum.over)
    parts = factors_of(einsum.expression)
    outside = [p for p in parts if not variables_of(p.value) & over and is_worth_moving(p.value)]
    inside = [p for p in parts if p not in outside]
    if not outside or not any(variables_of(p.value) & over for p in inside):
        return
    left = replace(einsum, expression=product(inside))
    times = [sum(n for _, n in einsum_operations(program, e)) for e in (einsum, left)]
    # A product of two sums one of them away: that is one operation a point, as before.
    if times[1] < times[0] and masks.keeps_points(einsum, left):
        yield Hoistable(einsum.name, tuple(p.value for p in outside), einsum.over)


def _cascade_title(program: Program) -> str:
    """What to type for a cascade: its name, or the file that it is in."""
    if program.span is None:
        return program.name
    built_in = program.name in builtin_names("cascades")
    own = program.span.source
    if built_in and builtin_source("cascades", program.name).name == own.name:
        return program.name
    return own.name
