"""Proof that a step does nothing where masks let no point through.

A reduction of no elements gives its identity. If with it every running value stays as it
was (``max(RM, -inf) = RM``, ``exp(RM - RM) = 1``, ``0 + RD * 1 = RD``), and no other value of
the step is read later, the step may be left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from . import ir
from .operations import identity_of

_ABSENT = object()
"""The value of what has no element in such a step."""


def no_op_obstacle(
    program: ir.Program, masked: Collection[str], stepping: Collection[str]
) -> str | None:
    """Why a step in which the ``masked`` Einsums have no points does something after all.

    Parameters
    ----------
    program : Program
    masked : collection of str
        Einsums whose masks let nothing through in the step.
    stepping : collection of str
        Rank variables of the loops whose iteration is the step.

    Returns
    -------
    str or None
        The reason, naming an Einsum; None where the step leaves everything as it was.

    >>> from einsum_cascade import Cascade
    >>> causal = Cascade.load("attention-causal-1pass").program
    >>> masked = [e.name for e in causal.einsums if e.where is not None]
    >>> no_op_obstacle(causal, masked, ["m1"]) is None
    True
    >>> no_op_obstacle(causal, [], ["m1"])
    'RM changes even so'
    """
    inside = [e for e in program.einsums if set(stepping) <= {*e.variables}]
    sets = frozenset(masked), frozenset(stepping)
    # What the plain rules prove is proved; what they do not is for sympy to say.
    plain = _EmptyStep(program, *sets, PlainValues(program))
    problem = _first_problem(plain, inside)
    if problem is not None:
        problem = _first_problem(_EmptyStep(program, *sets, SympyValues(program)), inside)
    return problem or _first_later_use(program, inside, frozenset(stepping))


def active_einsums(
    program: ir.Program, masked: Collection[str], stepping: Collection[str]
) -> frozenset[str]:
    """Einsums that do something in a step without points of the ``masked`` ones, whichever of the
    others run beside them.

    An Einsum is no less busy where others are taken away (into another nest): of what they write
    less is known, and what it hands to them is wanted then.

    Parameters
    ----------
    program, masked, stepping
        As of ``no_op_obstacle``, which names the first of them.

    Returns
    -------
    frozenset of str
        Among those that have all variables of ``stepping``.

    >>> from einsum_cascade import Cascade
    >>> causal = Cascade.load("attention-causal-1pass").program
    >>> sorted(active_einsums(causal, [], ["m1"]))
    ['RD', 'RM', 'RNV']
    """
    inside = [e for e in program.einsums if set(stepping) <= {*e.variables}]
    sets = frozenset(masked), frozenset(stepping)
    busy = _changed_einsums(_EmptyStep(program, *sets, PlainValues(program)), inside)
    if busy:
        busy &= _changed_einsums(_EmptyStep(program, *sets, SympyValues(program)), inside)
    return busy | {e.name for e in inside if _later_use(program, e, inside, frozenset(stepping))}


def _changed_einsums(proof: _EmptyStep, inside: list[ir.Einsum]) -> frozenset[str]:
    return frozenset(e.name for e in inside if proof.add(e))


def _first_problem(proof: _EmptyStep, inside: list[ir.Einsum]) -> str | None:
    return next((p for e in inside if (p := proof.add(e))), None)


def _first_later_use(
    program: ir.Program, inside: list[ir.Einsum], stepping: frozenset[str]
) -> str | None:
    """A value of one step that something outside the step wants to have."""
    return next((why for e in inside if (why := _later_use(program, e, inside, stepping))), None)


def _later_use(
    program: ir.Program, einsum: ir.Einsum, inside: list[ir.Einsum], stepping: frozenset[str]
) -> str | None:
    """Who outside of a step wants what an Einsum writes in it, in words."""
    # A running value is what it was, as ``add`` has shown; a sum over the steps gained its
    # identity; what a mask removes without a sum is absent for every reader.
    running = _iterative(program, einsum) & stepping
    summed = {*einsum.over} & stepping
    certain = einsum.where is not None and not einsum.over
    if running or summed or certain:
        return None
    if einsum.name in program.outputs:
        return f"{einsum.name} is an output"
    names = {e.name for e in inside}
    for reader in program.einsums:
        reads = [a for a in reader.reads if a.tensor == einsum.name]
        if reads and reader.name not in names:
            return f"{reader.name} reads {einsum.name} later"
        # A reader that stays out of the loops may ask for what other steps write: U[p, m].
        if not all(_reads_this_step(program, einsum.target, a, stepping) for a in reads):
            return f"{reader.name} reads {einsum.name} of other steps"
    return None


def _reads_this_step(
    program: ir.Program, written: ir.Access, read: ir.Access, stepping: frozenset[str]
) -> bool:
    """Whether what is read at the point of a step is written in that step."""
    pairs = zip(written.indices, read.indices, strict=True)
    return all(
        _moves(program, mine, stepping) == _moves(program, theirs, stepping)
        for mine, theirs in pairs
        if stepping.intersection(mine.variables)
    )


def _moves(program: ir.Program, index: ir.Index, stepping: frozenset[str]) -> object:
    """How an index moves with steps, and what it goes over inside of them."""
    if not isinstance(index, ir.Affine):
        return index
    # P0 and what is declared to be like it are as long; of others that is not known, and a longer
    # window would reach into other steps.
    like = {r.name: r.like for r in program.ranks if r.like is not None}

    def alike(term: ir.AffineTerm) -> object:
        name, shapes = term.variable, tuple(like.get(s, s) for s in term.shapes)
        if name is not None and name not in stepping:
            name = like.get(name.upper(), name.upper())
        return term.coefficient, shapes, name

    return Counter(alike(term) for term in index.terms)


def _iterative(program: ir.Program, einsum: ir.Einsum) -> set[str]:
    return {
        v
        for rank in program.iterative.get(einsum.name, ())
        for v, name in program.rank_of_variable.items()
        if name == rank
    }


@dataclass
class _EmptyStep:
    """Values of the Einsums of an empty step, one after the other."""

    program: ir.Program
    masked: frozenset[str]
    stepping: frozenset[str]
    algebra: ValueRules
    values: dict[ir.Access, Any] = field(default_factory=dict)
    """By the access that names what an Einsum writes."""

    def add(self, einsum: ir.Einsum) -> str | None:
        """Work out one Einsum; the reason why the step is not idle, if it is not."""
        if einsum.select is not None:
            return f"{einsum.name} selects"
        running = _iterative(self.program, einsum) & self.stepping
        value = _ABSENT if einsum.name in self.masked else self._value(einsum)
        if running:
            before = self.algebra.symbol(_before(einsum.target, running))
            if value is not _ABSENT and value != before:
                return f"{einsum.name} changes even so"
            # Whoever reads the new state in this step sees the old one.
            self.values[einsum.target] = before
            return None
        if einsum.over:
            value = self._reduced(einsum, value)
            if {*einsum.over} & self.stepping and value is None:
                return f"{einsum.name} adds something even so"
        if value is not None:
            self.values[einsum.target] = value
        return None

    def _reduced(self, einsum: ir.Einsum, value: Any) -> Any:
        """The identity, for a reduction of nothing or of identities; None: who knows."""
        identity = self.algebra.constant(identity_of(self.program, einsum.reduction))
        return identity if value is _ABSENT or value == identity else None

    def _value(self, einsum: ir.Einsum) -> Any:
        """What an Einsum computes at one point, with what is known of the step put in."""
        known = {a: self.values[a] for a in einsum.reads if a in self.values}
        if any(v is _ABSENT for v in known.values()):
            return _ABSENT
        return self.algebra.evaluate(einsum.expression, known)


def _before(access: ir.Access, running: set[str]) -> ir.Access:
    """The access one step earlier: ``RM[m1, p]`` for ``RM[m1+1, p]``."""
    indices = tuple(
        replace(i, terms=tuple(t for t in i.terms if t.variable or t.shapes))
        if isinstance(i, ir.Affine) and {*i.variables} & running
        else i
        for i in access.indices
    )
    return replace(access, indices=indices)


class ValueRules(Protocol):
    """How values are written down, so that equal ones are seen to be equal."""

    def symbol(self, access: ir.Access) -> Any:
        """The value that an access has, whatever it is."""
        ...

    def constant(self, number: int | float) -> Any:
        """A number."""
        ...

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> Any:
        """An expression with what is known of its accesses put in."""
        ...


class PlainValues:
    """Values as expressions, simplified by rules."""

    def __init__(self, program: ir.Program) -> None:
        self._own = {f.name for f in program.functions}

    def symbol(self, access: ir.Access) -> ir.Expression:
        """The access itself."""
        return access

    def constant(self, number: int | float) -> ir.Expression:
        """A literal."""
        return ir.Number(value=number)

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> ir.Expression:
        """The expression, as short as the rules make it."""
        match expression:
            case ir.Access():
                found: ir.Expression = known.get(expression, expression)
                return found
            case ir.Binary(operator=operator, left=left, right=right):
                return _binary(operator, self.evaluate(left, known), self.evaluate(right, known))
            case ir.Call(function=function) if function not in self._own and function != "where":
                values = tuple(
                    self.evaluate(a, known)
                    for a in expression.arguments
                    if not isinstance(a, ir.Relational | ir.Logical)
                )
                return _call(function, values)
            case ir.Number() | ir.Name():
                return expression
            case _:
                return _opaque(expression, known)


def _opaque(expression: ir.Expression, known: Mapping[ir.Access, Any]) -> ir.Expression:
    """What no rule is about: itself, unless something known stands in it."""
    inside = [n for n in ir.walk(expression) if isinstance(n, ir.Access) and n in known]
    # A name that nothing else has: it equals itself alone.
    return ir.Call(function=f"unknown {id(expression)}", arguments=()) if inside else expression


def _number(value: ir.Expression) -> float | None:
    return value.value if isinstance(value, ir.Number) else None


def _finite(value: ir.Expression) -> bool:
    """Whether no infinity is written into it."""
    return not any(isinstance(n, ir.Number) and math.isinf(n.value) for n in ir.walk(value))


def _binary(operator: Any, left: ir.Expression, right: ir.Expression) -> ir.Expression:
    a, b = _number(left), _number(right)
    match operator:
        case "+" if a == 0:
            return right
        case "+" | "-" if b == 0:
            return left
        # Accesses count as finite, as sympy's real symbols do; inf - inf would be no number.
        case "-" if left == right and _finite(left):
            return ir.Number(value=0)
        case "*" if (a == 0 and _finite(right)) or (b == 0 and _finite(left)):
            return ir.Number(value=0)
        case "*" if a == 1:
            return right
        case "*" | "/" if b == 1:
            return left
        case _:
            return ir.Binary(operator=operator, left=left, right=right)


def _call(function: str, values: tuple[ir.Expression, ...]) -> ir.Expression:
    match function:
        case "max" | "min":
            empty = -math.inf if function == "max" else math.inf
            # max(x, -inf, x) is x: the identity says nothing, and what stands twice counts once.
            left = [v for v in dict.fromkeys(values) if _number(v) != empty]
            if len(left) == 1:
                return left[0]
            return ir.Call(function=function, arguments=tuple(left)) if left else values[0]
        case "exp" if _number(values[0]) == 0:
            return ir.Number(value=1)
        case _:
            return ir.Call(function=function, arguments=values)


class SympyValues:
    """Values as sympy's expressions."""

    def __init__(self, program: ir.Program) -> None:
        from .algebra.sympy_bridge import Bridge

        self._bridge = Bridge(program)

    def symbol(self, access: ir.Access) -> Any:
        """A real symbol."""
        return self._bridge.symbol(access)

    def constant(self, number: int | float) -> Any:
        """An exact number."""
        from .algebra.sympy_bridge import constant

        return constant(number)

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> Any:
        """The expression in sympy's normal form."""
        value = self._bridge.to_sympy(expression)
        put = {self._bridge.symbol(access): found for access, found in known.items()}
        return value.subs(put, simultaneous=True)
