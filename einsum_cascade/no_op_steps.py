"""Proof that a loop step has no effect if masks leave it without points.

A reduction of no elements gives its identity. The step may be skipped if the identity leaves every
running value unchanged (``max(RM, -inf) = RM``, ``exp(RM - RM) = 1``, ``0 + RD * 1 = RD``) and no
other value of the step is read later.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import ir
from .algebra.sympy_bridge import Bridge, constant
from .operations import identity_of

_ABSENT = object()
"""Marker for a tensor that has no elements in the step."""


def no_op_obstacle(
    program: ir.Program, masked: Collection[str], stepping: Collection[str]
) -> str | None:
    """Return the reason why a step without points of the ``masked`` Einsums still has an effect.

    The result is None if the step has no effect.

    Parameters
    ----------
    program : Program
    masked : collection of str
        Einsums that have no points in the step.
    stepping : collection of str
        Rank variables of the loops whose iteration is the step.

    Returns
    -------
    str or None
        Reason that names an Einsum; None if the step leaves everything unchanged.

    >>> from einsum_cascade import Cascade
    >>> causal = Cascade.load("attention-causal-1pass").program
    >>> masked = [e.name for e in causal.einsums if e.where is not None]
    >>> no_op_obstacle(causal, masked, ["m1"]) is None
    True
    >>> no_op_obstacle(causal, [], ["m1"])
    'RM changes even so'
    """
    return next(iter(program.memo(_effects, frozenset(masked), frozenset(stepping)).values()), None)


def active_einsums(
    program: ir.Program, masked: Collection[str], stepping: Collection[str]
) -> frozenset[str]:
    """Return the Einsums with an effect in a step without points of the ``masked`` ones.

    The result also holds if other Einsums move to another loop nest. Then less is known of the
    values that those write, and the values they read are needed after the step.

    Parameters
    ----------
    program, masked, stepping
        As in ``no_op_obstacle``, which names the first of these Einsums.

    Returns
    -------
    frozenset of str
        Names of Einsums that have all variables of ``stepping``.

    >>> from einsum_cascade import Cascade
    >>> causal = Cascade.load("attention-causal-1pass").program
    >>> sorted(active_einsums(causal, [], ["m1"]))
    ['RD', 'RM', 'RNV']
    """
    return frozenset(program.memo(_effects, frozenset(masked), frozenset(stepping)))


def _effects(
    program: ir.Program, masked: frozenset[str], stepping: frozenset[str]
) -> dict[str, str]:
    """Return the Einsums that have an effect in a step, each with the reason.

    ``Program.memo`` keeps the result.
    """
    inside = [e for e in program.einsums if stepping <= {*e.variables}]

    def changed(rules: PlainValues | SympyValues) -> dict[str, str]:
        step = _EmptyStep(program, masked, stepping, rules)
        return {e.name: why for e in inside if (why := step.add(e))}

    # Try the cheap rules first; sympy decides only if they fail.
    found = changed(PlainValues(program))
    if found:
        found = {name: why for name, why in changed(SympyValues(program)).items() if name in found}
    for einsum in inside:
        if why := _later_use(program, einsum, inside, stepping):
            found.setdefault(einsum.name, why)
    return found


def _later_use(
    program: ir.Program, einsum: ir.Einsum, inside: list[ir.Einsum], stepping: frozenset[str]
) -> str | None:
    """Return a text that says who first uses an Einsum's result outside the step, or None."""
    # ``add`` has shown that running values are unchanged; a sum over the steps adds its identity; a
    # masked element without a sum is absent for every reader.
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
        # A reader outside the loops may read elements of other steps: U[p, m].
        if not all(_reads_this_step(program, einsum.target, a, stepping) for a in reads):
            return f"{reader.name} reads {einsum.name} of other steps"
    return None


def _reads_this_step(
    program: ir.Program, written: ir.Access, read: ir.Access, stepping: frozenset[str]
) -> bool:
    """Return whether the step writes the very element that it reads."""
    pairs = zip(written.indices, read.indices, strict=True)
    return all(
        _moves(program, mine, stepping) == _moves(program, theirs, stepping)
        for mine, theirs in pairs
        if stepping.intersection(mine.variables)
    )


def _moves(program: ir.Program, index: ir.Index, stepping: frozenset[str]) -> object:
    """Return a key that is equal for indices that move alike and cover as much within a step."""
    if not isinstance(index, ir.Affine):
        return index
    # P0 and ranks declared like P0 have equal shapes. Shapes of other ranks are unknown, and a
    # longer window would reach into other steps.
    like = {r.name: r.like for r in program.ranks if r.like is not None}

    def key(term: ir.AffineTerm) -> object:
        name, shapes = term.variable, tuple(like.get(s, s) for s in term.shapes)
        if name is not None and name not in stepping:
            name = like.get(name.upper(), name.upper())
        return term.coefficient, shapes, name

    return Counter(key(term) for term in index.terms)


def _iterative(program: ir.Program, einsum: ir.Einsum) -> set[str]:
    return {
        v
        for rank in program.iterative.get(einsum.name, ())
        for v, name in program.rank_of_variable.items()
        if name == rank
    }


@dataclass
class _EmptyStep:
    """Step without points, and the values that its Einsums have there, computed in order."""

    program: ir.Program
    masked: frozenset[str]
    stepping: frozenset[str]
    algebra: PlainValues | SympyValues
    values: dict[ir.Access, Any] = field(default_factory=dict)
    """Known value of each access that an Einsum of the step writes."""

    def add(self, einsum: ir.Einsum) -> str | None:
        """Evaluate one Einsum; return the reason if it has an effect in the step, else None."""
        if einsum.select is not None:
            return f"{einsum.name} selects"
        running = _iterative(self.program, einsum) & self.stepping
        value = _ABSENT if einsum.name in self.masked else self._value(einsum)
        if running:
            before = self.algebra.symbol(_before(einsum.target, running))
            if value is not _ABSENT and value != before:
                return f"{einsum.name} changes even so"
            # Readers of the new state in this step see the old state.
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
        """Return the identity if only identities or no elements are reduced; None if unknown."""
        identity = self.algebra.constant(identity_of(self.program, einsum.reduction))
        return identity if value is _ABSENT or value == identity else None

    def _value(self, einsum: ir.Einsum) -> Any:
        """Return the value of an Einsum at one point, computed from the known values."""
        known = {a: self.values[a] for a in einsum.reads if a in self.values}
        if any(v is _ABSENT for v in known.values()):
            return _ABSENT
        return self.algebra.evaluate(einsum.expression, known)


def _before(access: ir.Access, running: set[str]) -> ir.Access:
    """Return the access to the state one step earlier: ``RM[m1, p]`` for ``RM[m1+1, p]``."""
    indices = tuple(
        replace(i, terms=tuple(t for t in i.terms if t.variable or t.shapes))
        if isinstance(i, ir.Affine) and {*i.variables} & running
        else i
        for i in access.indices
    )
    return replace(access, indices=indices)


class PlainValues:
    """Algebra on expressions of the language, which are simplified by a few rules."""

    def __init__(self, program: ir.Program) -> None:
        self._own = {f.name for f in program.functions}

    def symbol(self, access: ir.Access) -> ir.Expression:
        """Return the access itself, as an unknown."""
        return access

    def constant(self, number: int | float) -> ir.Expression:
        """Return a number as a literal."""
        return ir.Number(number)

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> ir.Expression:
        """Return an expression with known values in place, simplified as far as the rules go."""
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
    """Return an expression that no rule simplifies.

    If it reads a known access, a name that equals nothing else stands for its value.
    """
    inside = [n for n in ir.walk(expression) if isinstance(n, ir.Access) and n in known]
    # A unique name equals itself only.
    return ir.Call(f"unknown {id(expression)}", ()) if inside else expression


def _number(value: ir.Expression) -> float | None:
    return value.value if isinstance(value, ir.Number) else None


def _finite(value: ir.Expression) -> bool:
    """Return whether an expression contains no infinity."""
    return not any(isinstance(n, ir.Number) and math.isinf(n.value) for n in ir.walk(value))


def _binary(operator: Any, left: ir.Expression, right: ir.Expression) -> ir.Expression:
    a, b = _number(left), _number(right)
    match operator:
        case "+" if a == 0:
            return right
        case "+" | "-" if b == 0:
            return left
        # Accesses count as finite, like sympy's real symbols; inf - inf would be NaN.
        case "-" if left == right and _finite(left):
            return ir.Number(0)
        case "*" if (a == 0 and _finite(right)) or (b == 0 and _finite(left)):
            return ir.Number(0)
        case "*" if a == 1:
            return right
        case "*" | "/" if b == 1:
            return left
        case _:
            return ir.Binary(operator, left, right)


def _call(function: str, values: tuple[ir.Expression, ...]) -> ir.Expression:
    match function:
        case "max" | "min":
            empty = -math.inf if function == "max" else math.inf
            # max(x, -inf, x) is x: drop the identity and repeated operands.
            left = [v for v in dict.fromkeys(values) if _number(v) != empty]
            if len(left) == 1:
                return left[0]
            return ir.Call(function, tuple(left)) if left else values[0]
        case "exp" if _number(values[0]) == 0:
            return ir.Number(1)
        case _:
            return ir.Call(function, values)


class SympyValues:
    """Algebra on sympy expressions."""

    def __init__(self, program: ir.Program) -> None:
        self._bridge = Bridge(program)

    def symbol(self, access: ir.Access) -> Any:
        """Return a real sympy symbol for an access."""
        return self._bridge.symbol(access)

    def constant(self, number: int | float) -> Any:
        """Return an exact sympy number."""
        return constant(number)

    def evaluate(self, expression: ir.Expression, known: Mapping[ir.Access, Any]) -> Any:
        """Return an expression with known values in place, in sympy's normal form."""
        value = self._bridge.to_sympy(expression)
        put = {self._bridge.symbol(access): found for access, found in known.items()}
        return value.subs(put, simultaneous=True)
