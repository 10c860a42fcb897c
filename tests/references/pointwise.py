"""What a cascade means, point by point, in plain Python: the oracle of the language.

``element(tensor, coordinates)`` finds the equation that defines an element, walks every
point of its reduction, and asks for the elements read there in the same way. There is no
order of execution, no array arithmetic and no loop over iterative ranks: an element is
what its equation says. Nothing here is shared with ``einsum_cascade.numeric.reference``.

A point carries its *causes*: why it is not part of the iteration space, each as the set of
rank variables that decide it. An element is absent when a cause does not depend on the
reduced variables; whoever reads it has the cause in the variables of its own indices there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from real_numbers import BINARY, COMPARE, FUNCTIONS, REDUCE

from einsum_cascade import ir

Environment = dict[str, int]
Element = tuple[str, tuple[int, ...]]


class Refused(Exception):
    """The cascade has no value: a read beyond a tensor, or what is not a number."""


@dataclass(frozen=True)
class NoElement:
    """An element without a value: beyond the tensor, or absent for some causes.

    A cause is the places of the indices that decide.
    """

    causes: tuple[frozenset[int], ...] = ()


BEYOND = NoElement()


@dataclass(frozen=True)
class Value:
    """A number, or None where the point is excluded or reads beyond a tensor."""

    number: float | None
    causes: tuple[frozenset[str], ...] = ()
    beyond: bool = False


def combined(parts: Sequence[Value], function: Callable[..., float]) -> Value:
    """``function`` of the numbers, if all are there."""
    causes = tuple(c for p in parts for c in p.causes)
    beyond = any(p.beyond for p in parts)
    if any(p.number is None for p in parts):
        return Value(None, causes, beyond)
    return Value(function(*(p.number for p in parts)), causes, beyond)


# --------------------------------------------------------------------- elements


@dataclass
class Pointwise:
    """A cascade with inputs (without parallel ranks), shapes and parameters."""

    program: ir.Program
    inputs: Mapping[str, np.ndarray[Any, Any]]
    shapes: Mapping[str, int]
    parameters: Mapping[str, float] = field(default_factory=dict)
    known: dict[Element, float | NoElement] = field(default_factory=dict)
    asked: set[Element] = field(default_factory=set)

    def size(self, variable: str) -> int:
        """How many values a rank variable takes."""
        return self.shapes[variable.upper()]

    def element(self, tensor: str, at: tuple[int, ...]) -> float | NoElement:
        """An element of a tensor, or why there is none."""
        key = (tensor, at)
        if key not in self.known:
            if key in self.asked:
                raise Refused(f"{key} depends on itself")
            self.asked.add(key)
            self.known[key] = self._element(tensor, at)
        return self.known[key]

    def _element(self, tensor: str, at: tuple[int, ...]) -> float | NoElement:
        if tensor in self.inputs:
            array = self.inputs[tensor]
            inside = all(0 <= x < size for x, size in zip(at, array.shape, strict=True))
            return float(array[at]) if inside else BEYOND
        einsum = next(e for e in self.program.einsums if e.name == tensor)
        point = self._matched(einsum.target, at)
        if point is not None:
            value = self._evaluated(einsum, point)
            if isinstance(value, NoElement):
                before = self._step_before(einsum, at)
                return value if before is None else self.element(tensor, before)
            return value
        for statement in reversed(self.program.init):
            if statement.name == tensor:
                point = self._matched(statement.target, at)
                if point is not None:
                    return self._evaluated(statement, point)
        return BEYOND

    def _matched(self, target: ir.Access, at: tuple[int, ...]) -> Environment | None:
        """The values of the target's variables at which it writes ``at``, found by trying."""
        variables = target.variables
        for values in itertools.product(*(range(self.size(v)) for v in variables)):
            point = dict(zip(variables, values, strict=True))
            written = tuple(self.affine(i, point) for i in target.indices)
            if written == at and self._within(target, point):
                return point
        return None

    def _within(self, target: ir.Access, point: Environment) -> bool:
        """An index over several members of a family writes inside the family only."""
        for index in target.indices:
            if len(index.variables) > 1:
                rank = next(r for r in self.program.ranks if r.variable == index.variables[0])
                if self.affine(index, point) >= self.shapes[str(rank.family)]:
                    return False
        return True

    def _step_before(self, einsum: ir.Einsum, at: tuple[int, ...]) -> tuple[int, ...] | None:
        """The coordinates one iteration earlier, for a tensor iterative along one rank."""
        steps = [i for i, index in enumerate(einsum.target.indices) if _offset(index) == 1]
        if len(steps) != 1:
            return None
        return tuple(x - (i == steps[0]) for i, x in enumerate(at))

    def affine(self, index: ir.Index, point: Environment) -> int:
        """The value of an affine index."""
        assert isinstance(index, ir.Affine)
        total = 0
        for term in index.terms:
            value = term.coefficient
            for shape in term.shapes:
                value *= self.shapes[shape]
            total += value * (point[term.variable] if term.variable else 1)
        return total

    def moved(self, index: ir.Gather, position: float, point: Environment) -> int:
        """Where a gathered position leads: scaled, and with what is added."""
        factor = index.coefficient
        for shape in index.shapes:
            factor *= self.shapes[shape]
        return factor * int(position) + self.affine(index.offset, point)

    # ----------------------------------------------------------------- equations

    def _evaluated(self, einsum: ir.Einsum, point: Environment) -> float | NoElement:
        if einsum.select:
            return self._selected(einsum, point)
        identity, operator = self._operator(einsum.reduction)
        total = identity
        causes: list[frozenset[str]] = []
        for inner in self._reduced_points(einsum, point):
            value = self.at(einsum, inner)
            causes += value.causes
            if value.number is not None and not value.causes:
                total = operator(total, value.number) if einsum.over else value.number
        if (missing := _missing(einsum, causes)) is not None:
            return missing
        if math.isnan(total):
            raise Refused(f"{einsum.name} is not a number at {point}")
        return total

    def _reduced_points(self, einsum: ir.Einsum, point: Environment) -> Iterator[Environment]:
        for values in itertools.product(*(range(self.size(v)) for v in einsum.over)):
            yield {**point, **dict(zip(einsum.over, values, strict=True))}

    def at(self, einsum: ir.Einsum, point: Environment) -> Value:
        """The map at one point; refused where it reads beyond and nothing excludes it."""
        causes = tuple(self._beyond_the_end(einsum, point))
        beyond = False
        for part in _conjuncts(einsum.where):
            held = self.condition(part, point)
            causes += held.causes
            beyond |= held.beyond
            if held.number == 0:
                causes += (frozenset(ir.variables_of(part)),)
        value = self.value(einsum.expression, point)
        causes += value.causes
        if (beyond or value.beyond) and not causes:
            raise Refused(f"{einsum.name} reads beyond a tensor at {point}")
        return Value(value.number, causes)

    def _beyond_the_end(self, einsum: ir.Einsum, point: Environment) -> Iterator[frozenset[str]]:
        for rank in self.program.ranks:
            for names in (einsum.target.variables, einsum.variables):
                at, members = 0, set()
                for position, member in enumerate(rank.partition):
                    if member.lower() in names:
                        stride = math.prod(self.shapes[m] for m in rank.partition[position + 1 :])
                        at += stride * point[member.lower()]
                        members.add(member.lower())
                if members and at >= self.shapes[rank.name]:
                    yield frozenset(members)

    def _operator(self, name: str) -> tuple[float, Callable[[float, float], float]]:
        if name in REDUCE:
            return REDUCE[name]
        declared = next(r for r in self.program.reductions if r.name == name)

        def apply(a: float, b: float) -> float:
            bound = dict(zip(declared.arguments, (a, b), strict=True))
            number = self.value(declared.body, {}, bound).number
            assert number is not None
            return number

        return float(declared.identity), apply

    def _selected(self, einsum: ir.Einsum, point: Environment) -> float | NoElement:
        position = next(
            v for v in einsum.target.variables if v not in ir.variables_of(einsum.expression)
        )
        found: list[tuple[float, int]] = []
        for inner in self._reduced_points(einsum, point):
            value = self.at(einsum, inner)
            if (missing := _missing(einsum, value.causes)) is not None:
                return missing
            if value.number is not None and not value.causes:
                found.append((-value.number, inner[einsum.over[0]]))
        found.sort()
        rank = point[position]
        if rank < len(found):
            return float(found[rank][1])
        return NoElement((frozenset(range(len(einsum.target.indices))),))

    # ----------------------------------------------------------------- expressions

    def value(
        self,
        node: ir.Expression | ir.Condition,
        point: Environment,
        bound: Mapping[str, float] | None = None,
    ) -> Value:
        """The value of an expression at a point."""
        match node:
            case ir.Number(value=value):
                return Value(float(value))
            case ir.Name():
                return Value(float(self._named(node, point, bound or {})))
            case ir.Access():
                return self._access(node, point)
            case ir.Unary(operand=operand):
                return combined([self.value(operand, point, bound)], lambda x: -x)
            case ir.Binary(operator=operator, left=left, right=right):
                sides = [self.value(left, point, bound), self.value(right, point, bound)]
                return combined(sides, BINARY[operator])
            case ir.Call(function="where", arguments=(condition, yes, no)):
                return self._chosen(condition, yes, no, point, bound)
            case ir.Call(function=function, arguments=arguments):
                parts = [self.value(a, point, bound) for a in arguments]
                return combined(parts, self._function(function))
            case _:
                raise AssertionError(node)

    def _named(self, node: ir.Name, point: Environment, bound: Mapping[str, float]) -> float:
        pools: dict[str, Mapping[str, float]] = {
            "variable": point,
            "shape": self.shapes,
            "parameter": self.parameters,
            "argument": bound,
        }
        return pools[node.kind][node.name]

    def _function(self, name: str) -> Callable[..., float]:
        declared = {f.name: f for f in self.program.functions}
        if name not in declared:
            return FUNCTIONS[name]
        arguments, body = declared[name].arguments, declared[name].body

        def apply(*values: float) -> float:
            number = self.value(body, {}, dict(zip(arguments, values, strict=True))).number
            assert number is not None
            return number

        return apply

    def _access(self, access: ir.Access, point: Environment) -> Value:
        at: list[int] = []
        causes: tuple[frozenset[str], ...] = ()
        beyond = False
        for index in access.indices:
            if isinstance(index, ir.Gather):
                inner = self._access(index.access, point)
                causes += inner.causes
                beyond |= inner.beyond
                at.append(-1 if inner.number is None else self.moved(index, inner.number, point))
            else:
                at.append(self.affine(index, point))
        if causes or beyond:
            return Value(None, causes, beyond)
        found = self.element(access.tensor, tuple(at))
        if isinstance(found, float):
            return Value(found)
        for places in found.causes:
            causes += (frozenset(v for n in places for v in access.indices[n].variables),)
        return Value(None, causes, beyond=not causes)

    def _chosen(self, condition: Any, yes: Any, no: Any, point: Environment, bound: Any) -> Value:
        held = self.condition(condition, point, bound)
        if held.number is None:
            return held
        mine = frozenset(ir.variables_of(condition))
        chosen = self.value(yes if held.number else no, point, bound)
        causes = held.causes + tuple(c | mine for c in chosen.causes)
        return Value(chosen.number, causes, held.beyond or chosen.beyond)

    def condition(
        self, node: Any, point: Environment, bound: Mapping[str, float] | None = None
    ) -> Value:
        """1 where a condition holds, 0 where it does not."""
        match node:
            case ir.Relational(operator=operator, left=left, right=right):
                sides = [self.value(left, point, bound), self.value(right, point, bound)]
                return combined(sides, lambda a, b: float(COMPARE[operator](a, b)))
            case ir.Logical(operator="not", operands=(operand,)):
                return combined([self.condition(operand, point, bound)], lambda x: 1.0 - x)
            case ir.Logical(operator=operator, operands=operands):
                return self._chain(operator, operands, point, bound)
            case _:
                raise AssertionError(node)

    def _chain(self, operator: str, operands: Any, point: Environment, bound: Any) -> Value:
        """``and``/``or``: the first operand that decides, or has no value, ends it."""
        before: frozenset[str] = frozenset()
        for operand in operands:
            held = self.condition(operand, point, bound)
            if held.number is None:
                return Value(None, tuple(c | before for c in held.causes), held.beyond)
            if held.number == (operator == "or"):
                return held
            before |= frozenset(ir.variables_of(operand))
        return held


def _missing(einsum: ir.Einsum, causes: Sequence[frozenset[str]]) -> NoElement | None:
    """What an Einsum writes where some causes do not depend on what it reduces."""
    kept = dict.fromkeys(c for c in causes if not c & {*einsum.over})
    if not kept:
        return None
    indices = [*enumerate(einsum.target.indices)]
    # The places of an iterative rank are told apart: at another step the state may be there.
    steps = {n for n, i in indices if not i.variables or _offset(i) == 1}
    return NoElement(
        tuple(frozenset(steps | {n for n, i in indices if c & {*i.variables}}) for c in kept)
    )


def _offset(index: ir.Index) -> int | None:
    return index.offset if isinstance(index, ir.Affine) else None


def _conjuncts(condition: ir.Condition | None) -> tuple[ir.Condition, ...]:
    if isinstance(condition, ir.Logical) and condition.operator == "and":
        return tuple(p for o in condition.operands for p in _conjuncts(o))
    return () if condition is None else (condition,)


# --------------------------------------------------------------------- whole tensors


def tensor_shape(program: ir.Program, tensor: str, shapes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a tensor an Einsum writes."""
    einsum = next(e for e in program.einsums if e.name == tensor)
    found = []
    for index in einsum.target.indices:
        rank = next(r for r in program.ranks if r.variable == index.variables[0])
        if len(index.variables) > 1:
            found.append(shapes[str(rank.family)])
        else:
            found.append(shapes[rank.name] + (_offset(index) == 1))
    return tuple(found)


def evaluate_pointwise(
    program: ir.Program,
    inputs: Mapping[str, Any],
    shapes: Mapping[str, int],
    parameters: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor of a cascade; absent elements, and those nothing sets, are 0.

    ``inputs`` carry the parallel ranks if ``shapes`` has them. ``parameters`` are complete.
    """
    leading = tuple(shapes[r] for r in program.parallel if r in shapes)
    arrays = {n: np.asarray(a) for n, a in inputs.items()}
    results = {
        e.name: np.zeros(leading + tensor_shape(program, e.name, shapes)) for e in program.einsums
    }
    for outer in itertools.product(*(range(size) for size in leading)):
        inner = {n: a[outer] if outer else a for n, a in arrays.items()}
        oracle = Pointwise(program, inner, shapes, parameters or {})
        for name, result in results.items():
            for at in itertools.product(*(range(s) for s in result.shape[len(leading) :])):
                found = oracle.element(name, at)
                result[(*outer, *at)] = found if isinstance(found, float) else 0.0
    return results
