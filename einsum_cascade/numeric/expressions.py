"""Evaluation of expressions and conditions on aligned arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType

import numpy as np

from .. import ir
from ..functions import ARITHMETIC, COMPARISONS, FUNCTIONS, Arithmetic, Function, Relation, of
from .aligned import AlignedArray, AlignedSpace, Store, merged, read
from .dtypes import Array, DType, cast


def _on_arrays(
    rows: Mapping[str, Function] | Mapping[str, Arithmetic] | Mapping[str, Relation],
) -> Mapping[str, Callable[..., Array]]:
    return MappingProxyType({name: of(np, row.numpy) for name, row in rows.items()})


CALLS = _on_arrays(FUNCTIONS)
"""Functions on arrays; one without limit on its arguments takes two."""

BINARY = _on_arrays(ARITHMETIC)
"""Arithmetic operators on arrays."""

COMPARE = _on_arrays(COMPARISONS)
"""Comparisons of conditions on arrays."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluator of expressions in one iteration space.

    Expressions of rank variables, shapes and parameters alone are computed in float64, so that
    coordinates stay exact; they are rounded to ``working`` where they meet a tensor. All arguments
    of a user function are evaluated before its body.
    """

    program: ir.Program
    space: AlignedSpace
    store: Store
    parameters: Mapping[str, float]
    working: DType
    arguments: Mapping[str, Array] = field(default_factory=dict)

    def value(self, node: ir.Expression | ir.Condition) -> AlignedArray:
        """Return the value of an expression."""
        match node:
            case ir.Number(value=value):
                return AlignedArray(self.space.scalar(float(value)))
            case ir.Name():
                return self._name(node)
            case ir.Access():
                lane = read(self.space, self.store, node)
                return lane.with_values(cast(lane.values, self.working))
            case ir.Unary(operand=operand):
                lane = self.value(operand)
                return lane.with_values(-lane.values)
            case ir.Binary(operator=operator, left=left, right=right):
                return self._apply((self.value(left), self.value(right)), BINARY[operator])
            case ir.Call(function="where"):
                return self._where(node)
            case ir.Call():
                return self._call(node)
            case _:
                return self.condition(node)

    def _name(self, node: ir.Name) -> AlignedArray:
        match node.kind:
            case "variable":
                return AlignedArray(self.space.values(node.name).astype(np.float64))
            case "shape":
                return AlignedArray(self.space.scalar(float(self.space.shapes[node.name])))
            case "parameter":
                return AlignedArray(self.space.scalar(self.parameters[node.name]))
            case _:
                return AlignedArray(self.arguments[node.name])

    def _apply(self, lanes: tuple[AlignedArray, ...], function: object) -> AlignedArray:
        assert callable(function)
        return merged(lanes, np.asarray(reduce(function, self._alike(lanes))))

    def _alike(self, lanes: tuple[AlignedArray, ...]) -> list[Array]:
        """Return the operands in one number type."""
        if len({lane.values.dtype for lane in lanes}) == 1:
            return [lane.values for lane in lanes]
        return [cast(lane.values, self.working) for lane in lanes]

    def _call(self, node: ir.Call) -> AlignedArray:
        lanes = tuple(self.value(a) for a in node.arguments)
        for declared in self.program.functions:
            if declared.name == node.function:
                inner = dict(zip(declared.arguments, (lane.values for lane in lanes), strict=True))
                body = replace(self, arguments=inner).value(declared.body)
                return merged(lanes, body.values)
        function = CALLS[node.function]
        if len(lanes) > 1:
            return self._apply(lanes, function)
        return lanes[0].with_values(np.asarray(function(lanes[0].values)))

    def _where(self, node: ir.Call) -> AlignedArray:
        """Evaluate ``where(c, a, b)``: the branch not chosen excludes nothing and is not read."""
        condition, yes, no = node.arguments
        chooser = self.condition(condition)
        known = _known(chooser)
        variables = frozenset(ir.variables_of(condition))
        chosen = (
            self.value(yes).only_where(chooser.values & known, variables),
            self.value(no).only_where(~chooser.values & known, variables),
        )
        first, second = self._alike(chosen)
        return merged((chooser, *chosen), np.where(chooser.values, first, second))

    def condition(self, node: ir.Expression | ir.Condition) -> AlignedArray:
        """Return the truth of a condition; ``and`` and ``or`` stop at the first decisive
        operand."""
        match node:
            case ir.Relational(operator=operator, left=left, right=right):
                return self._apply((self.value(left), self.value(right)), COMPARE[operator])
            case ir.Logical(operator="not", operands=(operand,)):
                lane = self.condition(operand)
                return lane.with_values(~lane.values)
            case ir.Logical(operator=operator, operands=operands):
                return self._chain(operands, until=operator == "or")
            case _:
                raise TypeError(f"not a condition: {node!r}")

    def _chain(self, operands: tuple[ir.Condition, ...], until: bool) -> AlignedArray:
        found = self.condition(operands[0])
        variables = frozenset(ir.variables_of(operands[0]))
        for operand in operands[1:]:
            undecided = (~found.values if until else found.values) & _known(found)
            lane = self.condition(operand).only_where(undecided, variables)
            variables |= frozenset(ir.variables_of(operand))
            values = (found.values | lane.values) if until else (found.values & lane.values)
            found = merged((found, lane), values)
        return found


def _known(lane: AlignedArray) -> Array:
    """Return where a lane has a defined value."""
    found = np.ones((1,) * lane.values.ndim, bool)
    for flags in lane.unknown:
        found = found & ~flags
    return found
