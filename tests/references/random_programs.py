"""Random well-formed programs for property tests."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from einsum_cascade import ir

RANKS = (
    ir.Rank(name="E", meaning="width: of queries"),
    ir.Rank(name="P", like="E"),
    ir.Rank(name="T", meaning="yes"),
    ir.Rank(name="M", meaning="keys, and values", partition=("M2", "M1", "M0")),
    ir.Rank(name="M2", family="M"),
    ir.Rank(name="M1", family="M"),
    ir.Rank(name="M0", family="M"),
)
PARAMETERS = (
    ir.Parameter(name="lam", default=0.5),
    ir.Parameter(name="W"),
    ir.Parameter(name="mu", default=-math.inf),
)
FUNCTIONS = (
    ir.UserFunction(
        name="swish2",
        arguments=("x", "y"),
        body=ir.Binary(
            operator="*",
            left=ir.Name(name="x", kind="argument"),
            right=ir.Call(function="sigmoid", arguments=(ir.Name(name="y", kind="argument"),)),
        ),
    ),
)
REDUCTIONS = (
    ir.UserReduction(
        name="hypot",
        arguments=("a", "b"),
        body=ir.Call(
            function="sqrt",
            arguments=(
                ir.Binary(
                    operator="+",
                    left=ir.Binary(
                        operator="**",
                        left=ir.Name(name="a", kind="argument"),
                        right=ir.Number(value=2),
                    ),
                    right=ir.Binary(
                        operator="**",
                        left=ir.Name(name="b", kind="argument"),
                        right=ir.Number(value=2),
                    ),
                ),
            ),
        ),
        identity=0,
    ),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def variable_index(name: str, offset: int = 0) -> ir.Affine:
    """``v`` or ``v + offset``."""
    terms = (ir.AffineTerm(variable=name),)
    if offset:
        terms += (ir.AffineTerm(coefficient=offset),)
    return ir.Affine(terms=terms)


FAMILY = ir.Affine(
    terms=(
        ir.AffineTerm(shapes=("M0", "M1"), variable="m2"),
        ir.AffineTerm(shapes=("M0",), variable="m1"),
        ir.AffineTerm(variable="m0"),
    )
)


@st.composite
def numbers(draw: st.DrawFn) -> ir.Number:
    """Any number the grammar can write."""
    value = draw(
        st.integers(-(10**6), 10**6)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from([math.inf, -math.inf])
    )
    return ir.Number(value=value)


@st.composite
def accesses(draw: st.DrawFn, tensors: dict[str, tuple[str, ...]], family: bool) -> ir.Access:
    """A legal read of one of the tensors; ``family`` says how this Einsum walks M."""
    name = draw(st.sampled_from(sorted(tensors)))
    indices: list[ir.Index] = []
    for rank in tensors[name]:
        if rank == "M" and not family:
            choices: list[ir.Index] = [FAMILY]
        elif rank in ("M2", "M1", "M0") and family:
            choices = [ir.Affine()]
        else:
            choices = [variable_index(rank.lower())]
        choices.append(ir.Affine())
        choices.append(ir.Affine(terms=(ir.AffineTerm(coefficient=draw(st.integers(1, 9))),)))
        choices.append(
            ir.Affine(
                terms=(
                    ir.AffineTerm(variable="p", coefficient=draw(st.sampled_from([1, 2, -3]))),
                    ir.AffineTerm(variable="e", coefficient=draw(st.sampled_from([1, 2, -1]))),
                    ir.AffineTerm(shapes=("E",), coefficient=draw(st.sampled_from([1, -1, 7]))),
                )
            )
        )
        indices.append(draw(st.sampled_from(choices)))
    return ir.Access(tensor=name, indices=tuple(indices))


@st.composite
def expressions(
    draw: st.DrawFn, tensors: dict[str, tuple[str, ...]], family: bool, depth: int = 3
) -> ir.Expression:
    """Expressions over tensors, names and numbers."""

    def inner() -> ir.Expression:
        return draw(expressions(tensors, family, depth - 1))

    kind = draw(st.integers(0, 8 if depth else 3))
    if kind <= 1 and tensors:
        return draw(accesses(tensors, family))
    if kind <= 2:
        variables = ["e", "p", "m"] if family else ["e", "p", "m2", "m1", "m0"]
        names = [ir.Name(name=v, kind="variable") for v in variables]
        names += [ir.Name(name=p.name, kind="parameter") for p in PARAMETERS]
        names += [ir.Name(name=s, kind="shape") for s in ("E", "M", "M1")]
        return draw(st.sampled_from(names))
    if kind == 3:
        return draw(numbers())
    if kind <= 5:
        operator = draw(st.sampled_from(("+", "-", "*", "**", "/")))
        left, right = inner(), inner()
        if operator == "/" and right == ir.Number(value=0):
            right = ir.Number(value=1)
        return ir.Binary(operator=operator, left=left, right=right)
    if kind == 6:
        return ir.Unary(operator="-", operand=inner())
    if kind == 7:
        function = draw(st.sampled_from(("exp", "floor", "max", "min", "swish2")))
        count = 1 if function in ("exp", "floor") else 2
        return ir.Call(function=function, arguments=tuple(inner() for _ in range(count)))
    condition = draw(conditions(expressions(tensors, family, 0), 1))
    return ir.Call(function="where", arguments=(condition, inner(), inner()))


@st.composite
def conditions(
    draw: st.DrawFn, values: st.SearchStrategy[ir.Expression], depth: int = 2
) -> ir.Condition:
    """Conditions over given values."""
    kind = draw(st.sampled_from(("compare", "compare", "and", "or", "not"))) if depth else "compare"
    if kind == "compare":
        operator = draw(st.sampled_from(("<", "<=", ">", ">=", "==", "!=")))
        return ir.Relational(operator=operator, left=draw(values), right=draw(values))
    count = 1 if kind == "not" else draw(st.integers(2, 3))
    operands = tuple(draw(conditions(values, depth - 1)) for _ in range(count))
    return ir.Logical(operator=kind, operands=operands)


@st.composite
def einsums(draw: st.DrawFn, name: str, tensors: dict[str, tuple[str, ...]]) -> ir.Einsum:
    """An Einsum over tensors written before it."""
    family = draw(st.booleans())
    walked = ["E", "P", "M"] if family else ["E", "P", "M2", "M1", "M0"]
    ranks = draw(st.lists(st.sampled_from(walked), unique=True, max_size=4))
    target = ir.Access(tensor=name, indices=tuple(variable_index(r.lower()) for r in ranks))
    expression = draw(expressions(tensors, family))
    used = ir.variables_of(expression)
    over = tuple(v for v in used if v not in target.variables)
    reduction = draw(st.sampled_from(["+", "+", "max", "min", "prod", "hypot"])) if over else "+"
    legal = [ir.Name(name=v, kind="variable") for v in dict.fromkeys((*target.variables, *used))]
    where = None
    if draw(st.integers(0, 3)) == 0:
        where = draw(conditions(st.sampled_from(legal) | numbers() if legal else numbers()))
    return ir.Einsum(
        target=target, expression=expression, reduction=reduction, over=over, where=where
    )


def recurrence(name: str, read: ir.Access) -> tuple[ir.Einsum, ir.Einsum]:
    """``name[0] = ..`` and ``name[t+1] = name[t] * lam + reduced(read)``."""
    start = ir.Einsum(
        target=ir.Access(tensor=name, indices=(ir.Affine(),)), expression=ir.Number(value=-1)
    )
    expression = ir.Binary(
        operator="+", left=ir.Access(tensor=name, indices=(variable_index("t"),)), right=read
    )
    step = ir.Einsum(
        target=ir.Access(tensor=name, indices=(variable_index("t", 1),)),
        expression=expression,
        over=tuple(v for v in ir.variables_of(expression) if v != "t"),
    )
    return start, step


@st.composite
def programs(draw: st.DrawFn) -> ir.Program:
    """A well-formed program: every output reachable, nothing unused."""
    inputs = (
        ir.Tensor(name="Q", ranks=("P", "E")),
        ir.Tensor(name="K", ranks=("M", "E")),
        ir.Tensor(name="C", ranks=()),
    )
    tensors = {t.name: t.ranks for t in inputs}
    body: list[ir.Einsum] = []
    init: list[ir.Einsum] = []
    for number in range(draw(st.integers(1, 5))):
        name = f"T{number}"
        if draw(st.integers(0, 4)) == 0:
            # A tensor with one rank T exists only as a recurrence; read the last value.
            read = draw(accesses(tensors, True))
            start, step = recurrence(name, read)
            init.append(start)
            body.append(step)
            last = ir.Affine(terms=(ir.AffineTerm(shapes=("T",)),))
            total = ir.Einsum(
                target=ir.Access(tensor=f"L{number}"),
                expression=ir.Access(tensor=name, indices=(last,)),
            )
            body.append(total)
            tensors[f"L{number}"] = ()
            continue
        einsum = draw(einsums(name, tensors))
        body.append(einsum)
        tensors[name] = tuple(v.upper() for v in einsum.target.variables)
    program = ir.Program(
        name=draw(st.sampled_from(["c", "a-b_1", "x.y+z", "007"])),
        title=draw(TEXTS),
        origin=draw(TEXTS),
        unverified=draw(TEXTS),
        reference=draw(st.sampled_from(["", "softmax_attention"])),
        parallel=draw(st.sampled_from([(), ("B",), ("B", "H")])),
        ranks=RANKS,
        inputs=inputs,
        parameters=PARAMETERS,
        domains=(ir.Domain(name="lam", low=-1, high=0.5), ir.Domain(name="W", low=1, high=2)),
        functions=FUNCTIONS,
        reductions=REDUCTIONS,
        init=tuple(init),
        einsums=tuple(body),
    )
    return _pruned(program, draw(st.booleans()))


def _pruned(program: ir.Program, accumulate: bool) -> ir.Program:
    """Name outputs and drop what nothing uses."""
    read = {a.tensor for e in program.einsums for a in e.reads if a.tensor != e.name}
    outputs = tuple(e.name for e in program.einsums if e.name not in read)
    inputs = tuple(t for t in program.inputs if t.name in read)
    program = replace(program, outputs=outputs, inputs=inputs)
    names = {rank for tensor in inputs for rank in tensor.ranks}
    roots = [n for e in program.einsums for n in (e.target, e.expression, e.where) if n]
    for node in (n for root in roots for n in ir.walk(root)):
        if isinstance(node, ir.Name):
            names.add(node.name.upper() if node.kind == "variable" else node.name)
        if isinstance(node, ir.AffineTerm | ir.Affine):
            terms = node.terms if isinstance(node, ir.Affine) else (node,)
            names |= {s for t in terms for s in t.shapes}
            names |= {t.variable.upper() for t in terms if t.variable}
    ranks = []
    members = ("M2", "M1", "M0")
    if all(m in names for m in members):
        names.add("M")
    for rank in program.ranks:
        if rank.name == "M" and not all(m in names for m in members):
            rank = replace(rank, partition=())
        elif rank.family and not all(m in names for m in members):
            rank = replace(rank, family=None)
        if rank.like is not None and rank.like not in names:
            rank = replace(rank, like=None)
        if rank.name in names:
            ranks.append(rank)
    return replace(
        program,
        ranks=tuple(ranks),
        parameters=tuple(p for p in program.parameters if p.name in names),
        domains=tuple(d for d in program.domains if d.name in names),
        accumulate=((outputs[0], "float32"),) if accumulate else (),
    )
