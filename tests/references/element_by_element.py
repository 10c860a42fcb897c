"""A slow, obvious interpreter: one element at a time, on demand, in plain floats.

It shares no code with the numpy interpreter, so that a rewrite is not checked against the
tool it was proved with. A point that a condition removes, or at which an absent element is
read, does not take part; an element is absent when something removes its points that does not
depend on what it reduces. A step of an iterative tensor that is absent leaves the value as it
was. Absent elements of an output are 0. Arithmetic is IEEE.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from einsum_cascade import ir

_UNARY: dict[str, Callable[[float], float]] = {
    "exp": lambda x: float(np.exp(x)),
    "log": lambda x: float(np.log(x)),
    "sqrt": lambda x: float(np.sqrt(x)),
    "rsqrt": lambda x: float(1 / np.sqrt(np.float64(x))),
    "abs": abs,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "relu": lambda x: max(x, 0.0),
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
_BINARY: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: float(np.float64(a) / b),
    "**": lambda a, b: float(np.float64(a) ** b),
}
_IDENTITY = {"+": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}


def run(
    program: ir.Program,
    inputs: Mapping[str, Any],
    shapes: Mapping[str, int],
    parameters: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs of a program without ``parallel`` ranks, every rank's shape given."""
    with np.errstate(all="ignore"):
        return _Run(program, inputs, shapes, parameters or {}).outputs()


class _Absent(Exception):
    """What is not there was asked for; every reason as the variables it depends on."""

    def __init__(self, reasons: set[frozenset[str]]) -> None:
        super().__init__(reasons)
        self.reasons = reasons


def _places(target: ir.Access, reason: frozenset[str]) -> frozenset[int]:
    """Indices that depend on a reason, and those at which an iterative tensor steps."""
    found = set()
    for n, index in enumerate(target.indices):
        assert isinstance(index, ir.Affine)
        if reason & {*index.variables} or not index.variables or index.offset == 1:
            found.add(n)
    return frozenset(found)


_Gone = frozenset[frozenset[int]]
"""Why an element is not there: the places of the indices that each reason depends on."""


class _Run:
    def __init__(
        self,
        program: ir.Program,
        inputs: Mapping[str, Any],
        shapes: Mapping[str, int],
        parameters: Mapping[str, float],
    ) -> None:
        self.program, self.inputs, self.shapes = program, inputs, shapes
        self.parameters = {p.name: p.default for p in program.parameters} | dict(parameters)
        self.init = {e.name: e for e in program.init}
        self.memo: dict[tuple[str, tuple[int, ...]], float | _Gone] = {}

    def outputs(self) -> dict[str, np.ndarray[Any, Any]]:
        found = {}
        for name in self.program.outputs:
            ranks = self.program.tensor_ranks[name]
            array = np.empty(tuple(self.shapes[r] for r in ranks))
            for at in np.ndindex(array.shape):
                found_at = self.element(name, at)
                array[at] = 0.0 if isinstance(found_at, frozenset) else found_at
            found[name] = array
        return found

    def element(self, name: str, at: tuple[int, ...]) -> float | _Gone:
        """The value at a coordinate, or why it is absent."""
        if name in self.inputs:
            return float(self.inputs[name][at])
        key = (name, at)
        if key not in self.memo:
            self.memo[key] = self.computed(name, at)
        return self.memo[key]

    def computed(self, name: str, at: tuple[int, ...]) -> float | _Gone:
        einsum = self.program.einsum_of[name]
        where = self.solve(einsum.target.indices, at)
        if where is None:
            einsum = self.init[name]
            where = self.solve(einsum.target.indices, at)
            assert where is not None
            return self.reduced(einsum, where)
        found = self.reduced(einsum, where)
        if isinstance(found, frozenset) and name in self.program.iterative:
            steps = self.program.iterative[name]
            ranks = self.program.tensor_ranks[name]
            return self.element(
                name, tuple(a - (r in steps) for a, r in zip(at, ranks, strict=True))
            )
        return found

    def solve(self, indices: tuple[ir.Index, ...], at: tuple[int, ...]) -> dict[str, int] | None:
        """The variables at a coordinate, or None where the Einsum does not write."""
        found: dict[str, int] = {}
        for index, value in zip(indices, at, strict=True):
            assert isinstance(index, ir.Affine)
            if not index.variables:
                if value != 0:
                    return None
            elif index.offset is not None:
                found[index.variables[0]] = value - index.offset
                if value < index.offset:
                    return None
            else:
                for variable in reversed(index.variables):
                    value, found[variable] = divmod(value, self.size(variable))
        return found

    def size(self, variable: str) -> int:
        return self.shapes[self.program.rank_of_variable[variable]]

    def reduced(self, einsum: ir.Einsum, where: dict[str, int]) -> float | _Gone:
        operator = einsum.reduction
        user = {r.name: r for r in self.program.reductions}
        total = _IDENTITY[operator] if operator in _IDENTITY else user[operator].identity
        over = set(einsum.over)
        for point in itertools.product(*(range(self.size(v)) for v in einsum.over)):
            here = where | dict(zip(einsum.over, point, strict=True))
            try:
                (value,) = self.values([einsum.expression], here, conditions=[einsum.where])
            except _Absent as absent:
                if kept := {r for r in absent.reasons if not r & over}:
                    return frozenset(_places(einsum.target, r) for r in kept)
                continue
            total = self.merged(operator, total, value) if einsum.over else value
        return total

    def values(
        self,
        nodes: Any,
        where: Mapping[str, int],
        arguments: Mapping[str, float] | None = None,
        conditions: Any = (),
    ) -> list[float]:
        """Values of several nodes under conditions; all reasons where one is not there."""
        found: list[float] = []
        reasons: set[frozenset[str]] = set()
        for condition in conditions:
            try:
                self.restrict(condition, where)
            except _Absent as absent:
                reasons |= absent.reasons
        for node in nodes:
            try:
                found.append(self.value(node, where, arguments))
            except _Absent as absent:
                reasons |= absent.reasons
            except IndexError:
                if not reasons:  # what is not there may well read beyond a tensor
                    raise
        if reasons:
            raise _Absent(reasons)
        return found

    def restrict(self, condition: Any, where: Mapping[str, int]) -> None:
        """Raise where a condition does not hold."""
        parts = [condition] if condition is not None else []
        while any(isinstance(p, ir.Logical) and p.operator == "and" for p in parts):
            parts = [
                q
                for p in parts
                for q in (p.operands if isinstance(p, ir.Logical) and p.operator == "and" else (p,))
            ]
        reasons: set[frozenset[str]] = set()
        for part in parts:
            try:
                held = self.holds(part, where)
            except _Absent as absent:
                reasons |= absent.reasons
            else:
                reasons |= set() if held else {frozenset(ir.variables_of(part))}
        if reasons:
            raise _Absent(reasons)

    def merged(self, operator: str, a: float, b: float) -> float:
        match operator:
            case "+":
                return a + b
            case "prod":
                return a * b
            case "max":
                return max(a, b)
            case "min":
                return min(a, b)
        user = next(r for r in self.program.reductions if r.name == operator)
        return self.value(user.body, {}, dict(zip(user.arguments, (a, b), strict=True)))

    def value(
        self, node: Any, where: Mapping[str, int], arguments: Mapping[str, float] | None = None
    ) -> float:
        match node:
            case ir.Number(value=value):
                return float(value)
            case ir.Name(name=name, kind="variable"):
                return float(where[name])
            case ir.Name(name=name, kind="shape"):
                return float(self.shapes[name])
            case ir.Name(name=name, kind="argument"):
                assert arguments is not None
                return arguments[name]
            case ir.Name(name=name):
                return float(self.parameters[name])
            case ir.Access(tensor=tensor, indices=indices):
                found = self.element(tensor, tuple(self.index(i, where) for i in indices))
                if isinstance(found, frozenset):
                    deciding = [[indices[n].variables for n in places] for places in found]
                    raise _Absent({frozenset(v for vs in d for v in vs) for d in deciding})
                return found
            case ir.Unary(operand=operand):
                return -self.value(operand, where, arguments)
            case ir.Binary(operator=operator, left=left, right=right):
                return _BINARY[operator](*self.values((left, right), where, arguments))
            case ir.Call(function="where", arguments=(condition, yes, no)):
                chosen = yes if self.holds(condition, where) else no
                try:
                    return self.value(chosen, where, arguments)
                except _Absent as absent:
                    choice = frozenset(ir.variables_of(condition))
                    raise _Absent({r | choice for r in absent.reasons}) from None
            case ir.Call(function=function, arguments=parts):
                return self.called(function, self.values(parts, where, arguments))
        raise AssertionError(node)

    def called(self, function: str, values: list[float]) -> float:
        if function in ("max", "min"):
            return max(values) if function == "max" else min(values)
        if function in _UNARY:
            return _UNARY[function](*values)
        user = next(f for f in self.program.functions if f.name == function)
        return self.value(user.body, {}, dict(zip(user.arguments, values, strict=True)))

    def index(self, index: ir.Index, where: Mapping[str, int]) -> int:
        if isinstance(index, ir.Gather):
            factor = index.coefficient * math.prod(self.shapes[s] for s in index.shapes)
            return factor * int(self.value(index.access, where)) + self.index(index.offset, where)
        total = 0
        for term in index.terms:
            factor = term.coefficient * math.prod(self.shapes[s] for s in term.shapes)
            total += factor * (where[term.variable] if term.variable else 1)
        return total

    def holds(self, condition: Any, where: Mapping[str, int]) -> bool:
        if isinstance(condition, ir.Relational):
            sides = self.values((condition.left, condition.right), where)
            return _COMPARE[condition.operator](*sides)
        results = [self.holds(c, where) for c in condition.operands]
        match condition.operator:
            case "and":
                return all(results)
            case "or":
                return any(results)
        return not results[0]
