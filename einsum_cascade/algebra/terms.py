"""Functions for rewrites that build, substitute, name and order terms and Einsums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from .. import ir
from ..affine import affine_value, gather_value, substituted
from ..functions import REDUCTIONS
from ..graphs import reachable

_N = TypeVar("_N", bound=ir.Node)

# ------------------------------------------------------------------------- building


def variable(name: str, offset: int = 0) -> ir.Affine:
    """Return the index ``name + offset`` of a rank variable."""
    terms = [ir.AffineTerm(variable=name)]
    if offset:
        terms.append(ir.AffineTerm(offset))
    return ir.Affine(tuple(terms))


# --------------------------------------------------------------------- substituting


def rebuild(node: _N, change: Callable[[ir.Node], ir.Node]) -> _N:
    """Return the tree after ``change`` is applied to every node, children before parents.

    The result has the kind of ``node``: ``change`` must map expressions to expressions, conditions
    to conditions and indices to indices.

    Parameters
    ----------
    node : Node
    change : callable
        Function from a node with changed children to its replacement.
    """
    return cast(_N, _rebuilt(node, change))


def _rebuilt(node: Any, change: Callable[[ir.Node], ir.Node]) -> Any:
    match node:
        case ir.Access(indices=indices):
            node = replace(node, indices=tuple(_rebuilt(i, change) for i in indices))
        case ir.Gather():
            return change(_rebuilt_gather(node, change))
        case ir.Unary(operand=operand):
            node = replace(node, operand=_rebuilt(operand, change))
        case ir.Binary(left=left, right=right) | ir.Relational(left=left, right=right):
            node = replace(node, left=_rebuilt(left, change), right=_rebuilt(right, change))
        case ir.Call(arguments=arguments):
            node = replace(node, arguments=tuple(_rebuilt(a, change) for a in arguments))
        case ir.Logical(operands=operands):
            node = replace(node, operands=tuple(_rebuilt(o, change) for o in operands))
        case _:
            pass
    return change(node)


def _rebuilt_gather(node: ir.Gather, change: Callable[[ir.Node], ir.Node]) -> ir.Gather:
    access, offset = _rebuilt(node.access, change), node.offset
    if offset.terms:
        offset = _rebuilt(offset, change)
        if isinstance(offset, ir.Gather):
            raise ValueError("an index gathers one position")
    return replace(node, access=access, offset=offset)


def substitute_variables(node: _N, values: Mapping[str, ir.Index]) -> _N:
    """Replace rank variables by indices, inside accesses and where a variable is used as a number.

    An index gathers at most one position: if two variables of one sum are replaced by gathers, a
    ``ValueError`` is raised.

    Parameters
    ----------
    node : Node
    values : mapping
        Replacement index by variable.

    >>> from ..notation import access_text
    >>> read = ir.Access(tensor="X", indices=(variable("m", 1), variable("p")))
    >>> access_text(substitute_variables(read, {"m": variable("t", 2)}))
    'X[t+3, p]'
    """

    def change(part: ir.Node) -> ir.Node:
        if isinstance(part, ir.Affine):
            return substituted(part, values)
        if isinstance(part, ir.Name) and part.kind == "variable" and part.name in values:
            value = values[part.name]
            return gather_value(value) if isinstance(value, ir.Gather) else affine_value(value)
        return part

    return rebuild(node, change)


def replace_accesses(node: _N, change: Callable[[ir.Access], ir.Expression | None]) -> _N:
    """Replace each access, also inside gathers, by the expression that ``change`` returns for it.

    Parameters
    ----------
    node : Node
    change : callable
        Function from an access to its replacement, or to None to keep it. The replacement is not
        searched again, so it may read the replaced tensor.
    """

    def step(part: ir.Node) -> ir.Node:
        if isinstance(part, ir.Access):
            return change(part) or part
        return part

    return rebuild(node, step)


def settled(einsum: ir.Einsum) -> ir.Einsum:
    """Return ``einsum`` with its reduced variables ``over`` determined anew.

    ``over`` holds the variables of the right side that the left side lacks, in order of appearance.
    If nothing is reduced, the operator is ``+``, because the verifier rejects any other.
    """
    kept = einsum.target.variables
    over = tuple(v for v in ir.variables_of(einsum.expression) if v not in kept)
    return replace(einsum, over=over, reduction=einsum.reduction if over else "+")


def map_einsum(
    einsum: ir.Einsum, change: Callable[[Any], Any], target: ir.Access | None = None
) -> ir.Einsum:
    """Return ``einsum`` with ``change`` applied to its expression and its condition.

    Parameters
    ----------
    einsum : Einsum
    change : callable
        Function from expression to expression and from condition to condition.
    target : Access, optional
        New target; the old one by default.

    Returns
    -------
    Einsum
        ``over`` is unchanged; see ``settled``.
    """
    where = change(einsum.where) if einsum.where is not None else None
    expression = change(einsum.expression)
    return replace(einsum, target=target or einsum.target, expression=expression, where=where)


def conjunction(*conditions: ir.Condition | None) -> ir.Condition | None:
    """Return the conjunction of all conditions, each once; None without any condition."""
    kept: list[ir.Condition] = []
    for condition in conditions:
        if isinstance(condition, ir.Logical) and condition.operator == "and":
            kept.extend(condition.operands)
        elif condition is not None:
            kept.append(condition)
    kept = list(dict.fromkeys(kept))
    if not kept:
        return None
    return kept[0] if len(kept) == 1 else ir.Logical("and", tuple(kept))


# -------------------------------------------------------------------------- reading


def variables_of(*nodes: ir.Node | None) -> frozenset[str]:
    """Return the rank variables below the nodes, used in indices or as numbers."""
    return frozenset(ir.variables_of(*nodes))


def readers(program: ir.Program, tensor: str) -> tuple[ir.Einsum, ...]:
    """Return the Einsums that read ``tensor``, except the one that writes it."""
    return tuple(
        e for e in program.einsums if e.name != tensor and any(a.tensor == tensor for a in e.reads)
    )


def sources(program: ir.Program, einsum: ir.Einsum) -> tuple[ir.Einsum, ...]:
    """Return the Einsums that an Einsum is computed from, directly or through others.

    The Einsum itself is among them only if it is part of a recurrence.
    """
    einsum_of = program.einsum_of

    def read(name: str) -> list[str]:
        return [a.tensor for a in einsum_of[name].reads if a.tensor in einsum_of]

    starts = (a.tensor for a in einsum.reads if a.tensor in einsum_of)
    return tuple(einsum_of[name] for name in reachable(starts, read))


def target_variables(einsum: ir.Einsum) -> tuple[str, ...] | None:
    """Return the variables of the target if every index is one bare variable, else None.

    The result is None for an iterative tensor (``v + 1``) and for a tensor written at ``m1*M0 +
    m0``.
    """
    names = [i.as_variable if isinstance(i, ir.Affine) else None for i in einsum.target.indices]
    plain = tuple(n for n in names if n is not None)
    return plain if len(plain) == len(names) else None


def bare(access: ir.Access) -> ir.Access:
    """Return an access whose indices are single variables: ``Y[m1, m0]`` for ``Y[m1*M0 + m0]``."""
    return replace(access, indices=tuple(variable(v) for v in access.variables))


def at_access(einsum: ir.Einsum, access: ir.Access) -> dict[str, ir.Index]:
    """Return the index that each target variable takes when the tensor is read by ``access``.

    Parameters
    ----------
    einsum : Einsum
        Writer of the tensor, at bare variables.
    access : Access
        Read of the tensor.

    >>> from einsum_cascade import Cascade
    >>> einsums = Cascade.load("attention-1pass").program.einsum_of
    >>> read = next(a for a in einsums["SLN"].reads if a.tensor == "BQK")
    >>> sorted(at_access(einsums["BQK"], read))
    ['m0', 'm1', 'p']
    """
    names = target_variables(einsum) or ()
    return dict(zip(names, access.indices, strict=True))


def combine(
    program: ir.Program, reduction: str, left: ir.Expression, right: ir.Expression
) -> ir.Expression:
    """Return the expression that merges ``left`` and ``right`` by a reduction operator.

    Parameters
    ----------
    program : Program
        Program that declares the user reductions.
    reduction : str
        Built-in or user operator.
    left, right : Expression
        Results to merge.
    """
    match REDUCTIONS[reduction].merges_by if reduction in REDUCTIONS else None:
        case "+" | "*" as operator:
            return ir.Binary(operator, left, right)
        case str(function):
            return ir.Call(function, (left, right))
    declared = next(r for r in program.reductions if r.name == reduction)
    return applied(declared, (left, right))


def applied(
    declared: ir.UserFunction | ir.UserReduction, operands: Iterable[ir.Expression | ir.Condition]
) -> ir.Expression:
    """Return the body of a declared function or reduction, applied to some operands."""
    values = dict(zip(declared.arguments, operands, strict=True))

    def change(part: ir.Node) -> ir.Node:
        is_argument = isinstance(part, ir.Name) and part.kind == "argument"
        return values[part.name] if is_argument and isinstance(part, ir.Name) else part

    return rebuild(declared.body, change)


# --------------------------------------------------------------------------- naming


class Names:
    """Generator of tensor names that nothing in the program uses yet."""

    def __init__(self, program: ir.Program) -> None:
        kinds = (program.inputs, program.statements, program.parameters, program.ranks)
        declared = (*kinds, program.functions, program.reductions)
        self._taken = {named.name for kind in declared for named in kind} | {*program.parallel}

    def fresh(self, base: str) -> str:
        """Return ``base`` if the name is free, else the first free ``base_2``, ``base_3`` ..."""
        name, count = base, 2
        while name in self._taken:
            name, count = f"{base}_{count}", count + 1
        self._taken.add(name)
        return name


def product_name(factors: Iterable[ir.Expression]) -> str | None:
    """Return the factors' names joined, ``SNV`` for ``SN * V``; None if too long to read.

    >>> factors = (ir.Access(tensor="SN"), ir.Access(tensor="V"))
    >>> product_name(factors)
    'SNV'
    """
    parts = []
    for factor in factors:
        if not isinstance(factor, ir.Access):
            return None
        parts.append(factor.tensor)
    text = "".join(parts)
    return text if len(parts) > 1 and len(text) <= 7 else None


# ------------------------------------------------------------------------- ordering


def read_by_outputs(program: ir.Program) -> dict[str, None]:
    """Return the outputs and all tensors that they depend on."""
    reads: dict[str, list[str]] = {}
    for einsum in program.statements:
        reads.setdefault(einsum.name, []).extend(a.tensor for a in einsum.reads)
    return reachable(program.outputs, lambda name: reads.get(name, ()))


def drop_unread(program: ir.Program) -> ir.Program:
    """Return the program without Einsums that no output depends on."""
    needed = read_by_outputs(program)
    return replace(
        program,
        einsums=tuple(e for e in program.einsums if e.name in needed),
        init=tuple(e for e in program.init if e.name in needed),
        accumulate=tuple(a for a in program.accumulate if a[0] in needed),
    )


def in_order(program: ir.Program, late: frozenset[str] = frozenset()) -> ir.Program:
    """Return the program with each Einsum after the Einsums it reads, otherwise in written order.

    An iterative tensor may be read before it is written (at its previous coordinate), so an Einsum
    that reads itself or a later iterative tensor stays in place. ``late`` Einsums wait for all
    others that can go first.

    Parameters
    ----------
    program : Program
    late : frozenset of str
        Tensors, such as corrections, to place after everything computed without them.
    """
    left = list(program.einsums)
    iterative = set(program.iterative)
    done: list[ir.Einsum] = []
    written: set[str] = set()
    own = {e.name for e in left}
    while left:
        # Inside a cycle that an iteration breaks, nothing is ready: keep the written order.
        ready = [e for e in left if _ready(e, own, written, iterative)] or left[:1]
        chosen = next((e for e in ready if e.name not in late), ready[0])
        left.remove(chosen)
        done.append(chosen)
        written.add(chosen.name)
    return replace(program, einsums=tuple(done))


def _ready(einsum: ir.Einsum, own: set[str], written: set[str], iterative: set[str]) -> bool:
    for access in ir.accesses_of(einsum.expression, einsum.where):
        name = access.tensor
        if name not in own or name in written or name == einsum.name:
            continue
        if name in iterative and not _is_shifted(access):
            continue
        return False
    return True


def _is_shifted(access: ir.Access) -> bool:
    """Return whether an iterative tensor is read at ``v + 1`` or at its last state."""
    return any(
        isinstance(i, ir.Affine) and (i.offset == 1 if i.variables else bool(i.shape_terms))
        for i in access.indices
    )


def stop_rank(index: ir.Index) -> str | None:
    """Return the rank whose shape is the index (``M1`` in ``RD[M1, p]``), or None."""
    if isinstance(index, ir.Affine) and len(index.terms) == 1:
        term = index.terms[0]
        if term.variable is None and term.coefficient == 1 and len(term.shapes) == 1:
            return term.shapes[0]
    return None


def replace_einsum(program: ir.Program, name: str, new: Iterable[ir.Einsum]) -> ir.Program:
    """Return the program with ``new`` in place of the Einsum that writes ``name``.

    Parameters
    ----------
    program : Program
    name : str
        Tensor that the Einsum writes.
    new : iterable of Einsum
        Replacements in order; none removes the Einsum.
    """
    einsums: list[ir.Einsum] = []
    for einsum in program.einsums:
        einsums.extend(new if einsum.name == name else (einsum,))
    return replace(program, einsums=tuple(einsums))
