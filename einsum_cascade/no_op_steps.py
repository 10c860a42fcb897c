"""Proof that a loop step has no effect if masks leave it without points.

A reduction of no elements gives its identity. The step may be skipped if the identity leaves every
running value unchanged (``max(RM, -inf) = RM``, ``exp(RM - RM) = 1``, ``0 + RD * 1 = RD``) and no
other value of the step is read later.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from . import ir
from .algebra.reduction_laws import value_of
from .algebra.sympy_bridge import Bridge
from .algebra.terms import rebuild
from .operations import identity_of

_TOLERANCE = 1e-6
"""Relative difference above which two floating-point values are not of equal expressions."""

Equality = Callable[[ir.Expression, ir.Expression], bool]
"""Predicate on two expressions: whether they have one value."""


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
    active = program.memo(active_einsums, frozenset(masked), frozenset(stepping))
    return next(iter(active.values()), None)


def active_einsums(
    program: ir.Program, masked: frozenset[str], stepping: frozenset[str]
) -> dict[str, str]:
    """Return the Einsums with an effect in a step, each with the reason (for ``Program.memo``).

    The result also holds if other Einsums move to another loop nest. Then less is known of the
    values that those write, and the values they read are needed after the step.

    Parameters
    ----------
    program, masked, stepping
        As in ``no_op_obstacle``, which names the first of these Einsums.

    Returns
    -------
    dict of str to str
        Reasons by Einsum; the Einsums have all variables of ``stepping``.

    >>> from einsum_cascade import Cascade
    >>> causal = Cascade.load("attention-causal-1pass").program
    >>> sorted(active_einsums(causal, frozenset(), frozenset(["m1"])))
    ['RD', 'RM', 'RNV']
    """
    inside = [e for e in program.einsums if stepping <= {*e.variables}]

    def changed(is_equal: Equality) -> dict[str, str]:
        step = _EmptyStep(program, masked, stepping, is_equal)
        return {e.name: why for e in inside if (why := step.add(e))}

    # Try the cheap rules first; sympy decides only if they fail.
    found = changed(operator.eq)
    if found:
        convert = Bridge(program).to_sympy
        exact = changed(
            lambda one, other: not _differ(program, one, other) and convert(one) == convert(other)
        )
        found = {name: why for name, why in exact.items() if name in found}
    for einsum in inside:
        if why := _later_use(program, einsum, inside, stepping):
            found.setdefault(einsum.name, why)
    return found


def _differ(program: ir.Program, one: ir.Expression, other: ir.Expression) -> bool:
    """Return whether two expressions certainly differ, as their values at a sample show.

    Most expressions that differ do so at the first sample, and loading sympy takes a second.
    """
    names = [p.name for p in program.parameters]
    names += [name for r in program.ranks for name in (r.name, r.variable)]
    sample = {name: _sample(n) for n, name in enumerate(names)}
    elements: dict[ir.Access, ir.Number] = {}

    def with_elements(node: ir.Node) -> ir.Node:
        if not isinstance(node, ir.Access):
            return node
        return elements.setdefault(node, ir.Number(_sample(len(names) + len(elements))))

    try:
        a, b = (value_of(rebuild(x, with_elements), sample, program) for x in (one, other))
    except (ArithmeticError, ValueError, TypeError, KeyError):
        return False
    return abs(a - b) > _TOLERANCE * (abs(a) + abs(b))


def _sample(number: int) -> float:
    """Return a positive value that no simple formula relates to those of other numbers."""
    return 1 + math.sin(number + 1) / 2


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
    return {program.rank_of[rank].variable for rank in program.iterative.get(einsum.name, ())}


@dataclass
class _EmptyStep:
    """Step without points, and the values that its Einsums have there, computed in order."""

    program: ir.Program
    masked: frozenset[str]
    stepping: frozenset[str]
    is_equal: Equality
    values: dict[ir.Access, ir.Expression | None] = field(default_factory=dict)
    """Known value of each access that an Einsum of the step writes; None without elements."""

    def add(self, einsum: ir.Einsum) -> str | None:
        """Evaluate one Einsum; return the reason if it has an effect in the step, else None."""
        if einsum.select is not None:
            return f"{einsum.name} selects"
        running = _iterative(self.program, einsum) & self.stepping
        value = None if einsum.name in self.masked else self._value(einsum)
        if running:
            before = _before(einsum.target, running)
            if value is not None and not self.is_equal(value, before):
                return f"{einsum.name} changes even so"
            # Readers of the new state in this step see the old state.
            value = before
        elif einsum.over:
            identity = ir.Number(identity_of(self.program, einsum.reduction))
            if value is not None and not self.is_equal(value, identity):
                adds = {*einsum.over} & self.stepping
                return f"{einsum.name} adds something even so" if adds else None
            value = identity
        self.values[einsum.target] = value
        return None

    def _value(self, einsum: ir.Einsum) -> ir.Expression | None:
        """Return the value of an Einsum at one point; None if an operand has no elements."""
        known = {a: self.values[a] for a in einsum.reads if a in self.values}
        present = {a: value for a, value in known.items() if value is not None}
        return simplified(einsum.expression, present) if len(present) == len(known) else None


def _before(access: ir.Access, running: set[str]) -> ir.Access:
    """Return the access to the state one step earlier: ``RM[m1, p]`` for ``RM[m1+1, p]``."""
    indices = tuple(
        replace(i, terms=tuple(t for t in i.terms if t.variable or t.shapes))
        if isinstance(i, ir.Affine) and {*i.variables} & running
        else i
        for i in access.indices
    )
    return replace(access, indices=indices)


def simplified(
    expression: ir.Expression, known: Mapping[ir.Access, ir.Expression]
) -> ir.Expression:
    """Return an expression with known values in place, simplified as far as a few rules go."""

    def change(node: ir.Node) -> ir.Node:
        match node:
            case ir.Access():
                return known.get(node, node)
            case ir.Binary():
                return _binary(node)
            case ir.Call(function="max" | "min"):
                return _extremum(node)
            case ir.Call(function="exp", arguments=(ir.Number(value=0),)):
                return ir.Number(1)
        return node

    return rebuild(expression, change)


def _finite(value: ir.Expression) -> bool:
    """Return whether an expression contains no infinity."""
    return not any(isinstance(n, ir.Number) and math.isinf(n.value) for n in ir.walk(value))


def _binary(node: ir.Binary) -> ir.Expression:
    left, right = node.left, node.right
    zero, one = ir.Number(0), ir.Number(1)
    match node.operator:
        case "+" if left == zero:
            return right
        case "+" | "-" if right == zero:
            return left
        # Accesses count as finite, like sympy's real symbols; inf - inf would be NaN.
        case "-" if left == right and _finite(left):
            return zero
        case "*" if (left == zero and _finite(right)) or (right == zero and _finite(left)):
            return zero
        case "*" if left == one:
            return right
        case "*" | "/" if right == one:
            return left
    return node


def _extremum(node: ir.Call) -> ir.Node:
    """Return a maximum or minimum without repeated operands and its identity: max(x, -inf) is x."""
    identity = ir.Number(-math.inf if node.function == "max" else math.inf)
    left = tuple(a for a in dict.fromkeys(node.arguments) if a != identity)
    return left[0] if len(left) == 1 else replace(node, arguments=left) if left else identity
