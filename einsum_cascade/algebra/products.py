"""Terms as products and sums: factors of an expression, and factors that can leave a sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..affine import Sign, product_of
from ..ir import Access, Binary, Einsum, Expression, Name, Number, Program, Unary
from ..notation import expression_text
from ..operations import einsum_operations
from ..yaml.library import builtin_names, builtin_source
from .conditions import Masks
from .sweeps import readable_map
from .terms import variables_of

_MINUS = Number(-1)

Opens = Callable[[Access, Sequence["ProductPart"]], bool]


@dataclass(frozen=True)
class ProductPart:
    """Part ``value ** count`` of a product, or ``count * value`` of a sum."""

    value: Expression
    count: int = 1


def parts_of(
    program: Program, einsum: Einsum, opens: Opens, *, additive: bool = False
) -> tuple[ProductPart, ...]:
    """Return the parts of an Einsum's term; maps that it reads may give their own parts.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    opens : callable
        Predicate on the read of a map and the parts of the map: whether to take the parts.
    additive : bool
        Whether to return terms of a sum instead of factors of a product.

    Returns
    -------
    tuple of ProductPart
        Parts in written order; ``a / b`` gives a with count 1 and b with count -1.
    """

    def opened(access: Access, count: int) -> list[ProductPart]:
        body = readable_map(program, access, einsum)
        inner = [] if body is None else _parts(body, count, additive, opened)
        return inner if inner and opens(access, inner) else [ProductPart(access, count)]

    return tuple(_parts(einsum.expression, 1, additive, opened))


def factors_of(expression: Expression) -> tuple[ProductPart, ...]:
    """Return the factors of a product as it is written, without opening operands.

    >>> from ..ir import Name
    >>> a, b = (Name(name=n, kind="parameter") for n in "ab")
    >>> quotient = Binary(operator="/", left=a, right=b)
    >>> [(p.value.name, p.count) for p in factors_of(quotient)]
    [('a', 1), ('b', -1)]
    """
    return tuple(_parts(expression, 1, additive=False))


def summands_of(expression: Expression) -> tuple[ProductPart, ...]:
    """Return the terms of a sum as it is written, each with its sign as count."""
    return tuple(_parts(expression, 1, additive=True))


def _parts(
    expression: Expression,
    count: int,
    additive: bool,
    read: Callable[[Access, int], list[ProductPart]] | None = None,
) -> list[ProductPart]:
    """Return the factors of a product or the summands of a sum; ``read`` may open operands."""

    def parts(inner: Expression, times: int) -> list[ProductPart]:
        return _parts(inner, times, additive, read)

    match expression:
        case Access() if read is not None:
            return read(expression, count)
        case Unary(operand=operand) if additive:
            return parts(operand, -count)
        case Unary(operand=operand):
            # (-x) ** count is (-1) ** count * x ** count.
            sign = [ProductPart(Number(-1))] if count % 2 else []
            return [*sign, *parts(operand, count)]
        case Binary(operator="+" | "*" as operator, left=left, right=right):
            if additive == (operator == "+"):
                return [*parts(left, count), *parts(right, count)]
        case Binary(operator="-" | "/" as operator, left=left, right=right):
            if additive == (operator == "-"):
                return [*parts(left, count), *parts(right, -count)]
        case Binary(operator="**", left=left, right=Number(value=int(power))) if not additive:
            return parts(left, count * power)
    return [ProductPart(expression, count)]


def is_worth_moving(part: Expression) -> bool:
    """Return whether a factor costs an operation; a sign costs none.

    >>> [is_worth_moving(Number(n)) for n in (-1, 1, 0.5)]
    [False, False, True]
    """
    return not isinstance(part, Number) or abs(part.value) != 1


def product(parts: Iterable[ProductPart], first: Expression | None = None) -> Expression:
    """Return the product of parts, ``first * a * b**2 / c``; the product of no parts is 1."""
    parts = tuple(parts)
    signs = sum(1 for p in parts if p.value == _MINUS)
    parts = tuple(p for p in parts if p.value != _MINUS)
    if signs % 2:
        return Unary("-", product(parts, first))
    above = [] if first is None else [first]
    above += [_power(p.value, p.count) for p in parts if p.count > 0]
    below = [_power(p.value, -p.count) for p in parts if p.count < 0]
    whole = product_of(above or [Number(1)])
    return Binary("/", whole, product_of(below)) if below else whole


def total(parts: Iterable[ProductPart], first: Expression | None = None) -> Expression:
    """Return the sum of parts, ``first + a - b``; the sum of no parts is 0."""
    result = first
    for part in sorted(parts, key=lambda p: p.count < 0):
        times = abs(part.count)
        term = part.value if times == 1 else Binary("*", Number(times), part.value)
        if result is None:
            result = term if part.count > 0 else Unary("-", term)
        else:
            operator: Sign = "+" if part.count > 0 else "-"
            result = Binary(operator, result, term)
    return result or Number(0)


def size_of(program: Program, variables: Iterable[str]) -> Expression:
    """Return the number of points that some variables span, as a product of shapes."""
    names = [Name(program.rank_of_variable[v], "shape") for v in variables]
    families = [program.rank_of[n.name].family for n in names]
    if families and families[0] and len(set(families)) == 1:
        family = program.rank_of[families[0]]
        if set(family.partition) == {n.name for n in names}:
            return Name(family.name, "shape")
    return product(ProductPart(n) for n in names)


def _power(value: Expression, count: int) -> Expression:
    if count == 1:
        return value
    return Binary("**", value, Number(count))


@dataclass(frozen=True)
class Hoistable:
    """Factors written inside a sum although they have none of its reduced variables."""

    einsum: str
    factors: tuple[Expression, ...]
    over: tuple[str, ...]

    def note(self, program: Program) -> str:
        """Return a note that these factors are computed repeatedly.

        The note gives the command that avoids it.
        """
        written, over = " and ".join(expression_text(f) for f in self.factors), ", ".join(self.over)
        stands, out = ("stands", "it") if len(self.factors) == 1 else ("stand", "them")
        where = f"{stands} inside the sum over {over} and {'is' if out == 'it' else 'are'}"
        return (
            f"{self.einsum}: {written} {where} billed at each {over}: "
            f"archsim rewrite {_cascade_title(program)} factor:{self.einsum} takes {out} out"
        )


def hoistable(program: Program) -> tuple[Hoistable, ...]:
    r"""Return the sums with factors whose removal from the sum would save operations.

    Only factors written in the sum itself count: a factor inside a map that it reads is computed
    once already.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\nranks: [M, P, E]\ninputs: {Q: [P, E], K: [M, E]}\noutput: QK\n"
    >>> text = head + "einsums: 'QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)'\n"
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
    # A product of two needs one operation per point for its sum, as before.
    if times[1] < times[0] and masks.keeps_points(einsum, left):
        yield Hoistable(einsum.name, tuple(p.value for p in outside), einsum.over)


def _cascade_title(program: Program) -> str:
    """Return the text that names a cascade on the command line: its name, or its file."""
    if program.span is None:
        return program.name
    built_in = program.name in builtin_names("cascades")
    own = program.span.source
    if built_in and builtin_source("cascades", program.name).name == own.name:
        return program.name
    return own.name
