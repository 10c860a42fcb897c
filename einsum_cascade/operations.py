"""Operations of an Einsum at one point of its iteration space, by kind.

A sum of products counts one ``mac`` per point (the last multiplication and the addition of the
reduction are one operation); every other operation counts under its own name. Subtraction is
``sub``, not ``add``, so that ``exp(x - m)`` is one ``sub`` and one ``exp``. An expression without
tensors and rank variables (``1 / N``) is a constant and costs nothing. A division by a constant
counts as a multiplication: a compiler forms the reciprocal once. Free, too, is arithmetic on
positions (``floor(p / U) == n``), which the loops do like that of masks and addresses; functions of
positions (``cos(p)``) count. An Einsum without any operation moves data and counts one ``copy``.
"""

from __future__ import annotations

from collections import Counter

from . import ir
from .functions import ARITHMETIC, FUNCTIONS, REDUCTIONS

Operations = tuple[tuple[str, int], ...]
"""Pairs of an operation kind and its count per point, sorted by kind.

If the cascade states formats, kinds carry their format (``in_format``).
"""


def einsum_operations(program: ir.Program, einsum: ir.Einsum) -> Operations:
    """Return the operations of ``einsum`` per point of its iteration space.

    Parameters
    ----------
    program : Program
        Program that declares the user functions and reductions.
    einsum : Einsum
        Einsum to count; it need not be part of the program.

    Returns
    -------
    Operations
        Pairs ``(kind, count)`` with positive counts, never empty.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-3pass").program
    >>> einsum_operations(program, program.einsum_of["QK"])
    (('mac', 1),)
    >>> einsum_operations(program, program.einsum_of["SN"])
    (('exp', 1), ('sub', 1))
    """
    if program.einsum_of.get(einsum.name) is einsum:
        return program.memo(operations_of)[einsum.name]
    return _counted(program, einsum)


def _counted(program: ir.Program, einsum: ir.Einsum) -> Operations:
    count = _expression(program, einsum.expression)
    merged: Counter[str] = Counter()
    is_product = _operator(einsum.expression) == "*"
    if einsum.select is not None:
        count["compare"] += 1
    elif einsum.over and einsum.reduction == "+" and is_product:
        count -= Counter({"mul": 1})
        count["mac"] += 1
    elif einsum.over:
        merged = _reduction(program, einsum.reduction)
    if not any(count.values()) and not any(merged.values()):
        count["copy"] = 1
    if not program.formats.stated:
        return _sorted(count + merged)
    computed, added = _formats(program, einsum)
    named = Counter({in_format(kind, computed): n for kind, n in count.items()})
    for kind, n in merged.items():
        named[in_format(kind, added)] += n
    return _sorted(named)


def _sorted(count: Counter[str]) -> Operations:
    return tuple(sorted((kind, n) for kind, n in count.items() if n > 0))


def _formats(program: ir.Program, einsum: ir.Einsum) -> tuple[str, str]:
    """Return the format in which an Einsum computes, and the format in which it accumulates.

    It computes in the widest format of its operands.
    """
    formats = program.formats
    operands = [access.tensor for access in einsum.reads] or [einsum.name]
    computed = formats.widest(operands).name
    # A maximum or minimum is one of its operands: nothing is accumulated.
    kept = einsum.reduction in ("max", "min")
    return computed, computed if kept else formats.accumulate or computed


def in_format(kind: str, fmt: str) -> str:
    """Return the name of an operation in a format, such as ``mac.fp8_e4m3``.

    Without a format, the name is the kind.
    """
    return f"{kind}.{fmt}" if fmt else kind


def kind_and_format(name: str) -> tuple[str, str]:
    """Return the kind of an operation, and its format or an empty string.

    >>> kind_and_format("mac.fp8_e4m3"), kind_and_format("exp")
    (('mac', 'fp8_e4m3'), ('exp', ''))
    """
    kind, _, fmt = name.partition(".")
    return kind, fmt


def operation_label(name: str) -> str:
    """Return the name of an operation as words: ``mac in fp8_e4m3``."""
    kind, fmt = kind_and_format(name)
    return f"{kind} in {fmt}" if fmt else kind


def operations_of(program: ir.Program) -> dict[str, Operations]:
    """Return the operations of every Einsum of a cascade, by name (for ``Program.memo``)."""
    return {e.name: _counted(program, e) for e in program.einsums}


_POSITION_FUNCTIONS = frozenset({"floor", "min", "max", "abs", "where"})
"""Functions that arithmetic on positions may use."""


def _is_free(program: ir.Program, node: ir.Node, of_positions: bool = False) -> bool:
    """Return whether an expression is a constant or arithmetic on positions.

    Parameters
    ----------
    of_positions : bool
        Whether arguments of the function with this body are positions.
    """
    if _is_constant(node):
        return True
    match node:
        case ir.Access():
            return False
        case ir.Name(kind=kind):
            return kind != "argument" or of_positions
        case ir.Binary(operator="**", left=left, right=right):
            # A power of a number with a whole exponent is a shift, any other one a function.
            parts = [n.operator for n in ir.walk(right) if isinstance(n, ir.Binary)]
            allowed = isinstance(left, ir.Number) and "/" not in parts
        case ir.Call(function=name):
            bodies = [f.body for f in program.functions if f.name == name]
            allowed = (
                all(_is_free(program, b, True) for b in bodies)
                if bodies
                else name in _POSITION_FUNCTIONS
            )
        case _:
            allowed = True
    return allowed and all(_is_free(program, o, of_positions) for o in ir.children(node))


def _is_constant(expression: ir.Node) -> bool:
    """Return whether an expression has no tensor, no rank variable and no argument."""
    return not any(
        isinstance(n, ir.Access) or (isinstance(n, ir.Name) and n.kind in ("variable", "argument"))
        for n in ir.walk(expression)
    )


def _operator(node: ir.Node) -> str:
    """Return the operator that an array applies: ``*`` by the reciprocal for ``/`` by a constant.

    It is empty if the expression is no arithmetic.
    """
    if not isinstance(node, ir.Binary):
        return ""
    return "*" if node.operator == "/" and _is_constant(node.right) else node.operator


def _reduction(program: ir.Program, operator: str) -> Counter[str]:
    if operator in REDUCTIONS:
        return Counter({REDUCTIONS[operator].merge.operation: 1})
    declared = {r.name: r for r in program.reductions}[operator]
    return _expression(program, declared.body)


def _expression(program: ir.Program, node: ir.Node) -> Counter[str]:
    """Return the operations of an expression; arguments of its function are tensor elements."""
    if _is_free(program, node):
        return Counter()
    operands = () if isinstance(node, ir.Access) else ir.children(node)
    inner = sum((_expression(program, o) for o in operands), Counter[str]())
    match node:
        case ir.Unary():
            return inner + Counter({"neg": 1})
        case ir.Binary(operator="**", right=ir.Number(value=2 | 3 as power)):
            return inner + Counter({"mul": int(power) - 1})
        case ir.Binary():
            return inner + Counter({ARITHMETIC[_operator(node)].operation: 1})
        case ir.Relational():
            return inner + Counter({"compare": 1})
        case ir.Call():
            return inner + _call(program, node)
    return inner


def _call(program: ir.Program, call: ir.Call) -> Counter[str]:
    """Return the operations of a call, without those of its arguments."""
    for declared in program.functions:
        if declared.name == call.function:
            return _expression(program, declared.body)
    row = FUNCTIONS[call.function]
    # With any number of arguments: one operation between every two neighbours.
    return Counter({row.operation: len(call.arguments) - 1 if row.max_arity is None else 1})


def identity_of(program: ir.Program, reduction: str) -> int | float:
    """Return the identity element of a reduction, which is the result of reducing no elements.

    Parameters
    ----------
    program : Program
        Program that declares the user reductions.
    reduction : str
        Operator such as ``+`` or ``max``, or the name of a user reduction.
    """
    if reduction in REDUCTIONS:
        return REDUCTIONS[reduction].identity
    return next(r.identity for r in program.reductions if r.name == reduction)
