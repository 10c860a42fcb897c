"""Text to IR: the grammar, the meaning of names, and where everything stands."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from einsum_cascade import Cascade, CascadeError, ir
from einsum_cascade.errors import Problem
from einsum_cascade.ir import (
    Access,
    Affine,
    AffineTerm,
    Binary,
    Call,
    Gather,
    Logical,
    Name,
    Number,
    Relational,
    Unary,
)
from einsum_cascade.source import Span
from einsum_cascade.yaml.library import builtin_names, builtin_source

DECLARED = """
cascade: sample
parallel: [B]
ranks: {E: , F: , J: , N: , P: , M: {partition: [M1, M0]}}
inputs: {A: [M], D: [P], Q: [P, E], K: [M, E], I: [J, P], X: [], T: [N], U: [F]}
output: Y
parameters: {lam: 0.5, W: }
"""


def statement(text: str) -> ir.Einsum:
    """The last statement of a block, without asking whether the cascade is whole."""
    from einsum_cascade.source import Source
    from einsum_cascade.syntax.parse import _CascadeFile
    from einsum_cascade.yaml.source import YamlMapping, read_yaml

    body = "\n".join(f"  {line}" for line in text.splitlines())
    root = read_yaml(Source("t", f"{DECLARED}einsums: |\n{body}\n"), CascadeError)
    assert isinstance(root, YamlMapping)
    document = _CascadeFile(root)
    program = document.program()
    if document.problems:
        raise CascadeError(document.problems)
    return program.einsums[-1]


def value(text: str) -> ir.Expression:
    return statement(f"Y[p] = {text}").expression


def condition(text: str) -> ir.Condition | None:
    return statement(f"Y[p] = A[m] where {text}").where


def index(text: str) -> ir.Index:
    return statement(f"Y[p] = A[{text}]").reads[0].indices[0]


def affine(*terms: tuple[int, tuple[str, ...], str | None]) -> Affine:
    return Affine(terms=tuple(AffineTerm(coefficient=c, shapes=s, variable=v) for c, s, v in terms))


def var(name: str) -> Name:
    return Name(name=name, kind="variable")


ONE, TWO, THREE = Number(value=1), Number(value=2), Number(value=3)
X = Access(tensor="X")


# ------------------------------------------------------------------ expressions


def test_products_bind_tighter_than_sums_and_group_to_the_left() -> None:
    product = Binary(operator="*", left=TWO, right=THREE)
    assert value("1 + 2 * 3") == Binary(operator="+", left=ONE, right=product)
    difference = Binary(operator="-", left=ONE, right=TWO)
    assert value("1 - 2 - 3") == Binary(operator="-", left=difference, right=THREE)
    assert value("1 - (2 - 3)") == Binary(
        operator="-", left=ONE, right=Binary(operator="-", left=TWO, right=THREE)
    )


def test_powers_group_to_the_right_and_bind_tighter_than_a_sign() -> None:
    power = Binary(operator="**", left=TWO, right=THREE)
    assert value("1 ** 2 ** 3") == Binary(operator="**", left=ONE, right=power)
    assert value("-2 ** 3") == Unary(operator="-", operand=power)
    assert value("2 ** -3") == Binary(operator="**", left=TWO, right=Number(value=-3))
    assert value("(-2) ** 3") == Binary(operator="**", left=Number(value=-2), right=THREE)


def test_a_sign_before_a_number_is_part_of_it() -> None:
    assert value("-1") == Number(value=-1)
    assert value("-(1)") == Unary(operator="-", operand=ONE)
    assert value("--1") == Unary(operator="-", operand=Number(value=-1))
    assert value("-X") == Unary(operator="-", operand=X)


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), ("3.0", 3.0), (".5", 0.5), ("2.", 2.0), ("1e-3", 0.001), ("inf", math.inf)],
)
def test_integers_stay_integers(text: str, number: float) -> None:
    found = value(text)
    assert found == Number(value=number)
    assert isinstance(found, Number)
    assert type(found.value) is type(number)


def test_bare_names_are_parameters_variables_scalars_then_shapes() -> None:
    assert value("lam") == Name(name="lam", kind="parameter")
    assert value("W") == Name(name="W", kind="parameter")
    assert value("m1") == var("m1")
    assert value("X") == X
    assert value("M1") == Name(name="M1", kind="shape")
    einsum = statement("Y = T[n]\nZ[p] = Y * D[p]")
    assert einsum.reads[0] == Access(tensor="Y")


def test_a_rank_zero_tensor_wins_over_the_shape_of_its_name() -> None:
    assert statement("E = A[m]\nY[p] = E + D[p]").reads[0] == Access(tensor="E")


def test_calls_take_expressions_and_where_takes_a_condition_first() -> None:
    assert value("max(1, 2, X)") == Call(function="max", arguments=(ONE, TWO, X))
    test = Relational(operator="<", left=ONE, right=TWO)
    assert value("where(1 < 2, 3, X)") == Call(function="where", arguments=(test, THREE, X))


# ------------------------------------------------------------------ conditions


def test_comparisons_chain() -> None:
    low = Relational(
        operator="<",
        left=Binary(operator="-", left=var("p"), right=Name(name="W", kind="parameter")),
        right=var("m"),
    )
    high = Relational(operator="<=", left=var("m"), right=var("p"))
    assert condition("p - W < m <= p") == Logical(operator="and", operands=(low, high))


def test_not_binds_tighter_than_and_and_than_or() -> None:
    a, b, c = (Relational(operator="==", left=var("m"), right=n) for n in (ONE, TWO, THREE))
    assert condition("m == 1 or not m == 2 and m == 3") == Logical(
        operator="or",
        operands=(a, Logical(operator="and", operands=(Logical(operator="not", operands=(b,)), c))),
    )
    assert condition("(m == 1 or m == 2) and m == 3") == Logical(
        operator="and", operands=(Logical(operator="or", operands=(a, b)), c)
    )
    assert condition("m == 1 and m == 2 and m == 3") == Logical(operator="and", operands=(a, b, c))


# ------------------------------------------------------------------ indices


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m", affine((1, (), "m"))),
        ("m1*M0 + m0", affine((1, ("M0",), "m1"), (1, (), "m0"))),
        ("M0*m1 + m0", affine((1, ("M0",), "m1"), (1, (), "m0"))),
        ("p - m", affine((1, (), "p"), (-1, (), "m"))),
        ("m+1", affine((1, (), "m"), (1, (), None))),
        ("2*p + n", affine((2, (), "p"), (1, (), "n"))),
        ("M1", affine((1, ("M1",), None))),
        ("M - 1", affine((1, ("M",), None), (-1, (), None))),
        ("0", affine()),
        ("3", affine((3, (), None))),
        ("2*(p + 1) - p", affine((1, (), "p"), (2, (), None))),
        ("m + p - m", affine((1, (), "p"))),
        ("-m", affine((-1, (), "m"))),
        ("n*P*M", affine((1, ("M", "P"), "n"))),
    ],
)
def test_indices_are_affine_with_like_terms_added(text: str, expected: Affine) -> None:
    assert index(text) == expected


def test_an_index_that_is_a_tensor_gathers() -> None:
    einsum = statement("Y[p, e] = K[I[j, p], e]")
    inner = Access(tensor="I", indices=(affine((1, (), "j")), affine((1, (), "p"))))
    assert einsum.reads[0].indices[0] == Gather(access=inner)
    assert einsum.reads[1] == inner
    assert einsum.over == ("j",)
    assert index("X") == Gather(access=X)


@pytest.mark.parametrize(
    ("text", "coefficient", "shapes", "offset"),
    [
        ("X*P + m", 1, ("P",), affine((1, (), "m"))),
        ("m*P - 2*(X + 1)", -2, (), affine((1, ("P",), "m"), (-2, (), None))),
        ("X + X - P", 2, (), affine((-1, ("P",), None))),
    ],
)
def test_a_gathered_position_may_be_scaled_and_moved(
    text: str, coefficient: int, shapes: tuple[str, ...], offset: Affine
) -> None:
    expected = Gather(access=X, coefficient=coefficient, shapes=shapes, offset=offset)
    assert index(text) == expected


def test_a_gathered_position_that_vanishes_is_none() -> None:
    assert index("X + m - X") == affine((1, (), "m"))


# ------------------------------------------------------------------ statements


def test_what_is_missing_on_the_left_is_summed_in_order_of_appearance() -> None:
    einsum = statement("Y[p] = Q[p, e] * K[m, e]")
    assert (einsum.over, einsum.reduction) == (("e", "m"), "+")
    assert statement("Y[p] = Q[p, e] * K[m, e] :: +[m, e]") == einsum
    assert statement("Y[p] = Q[p, e] * K[m, e] :: max[m, e]").reduction == "max"
    assert statement("Y[p, e] = Q[p, e]").over == ()


def test_a_variable_used_as_a_number_is_reduced_too() -> None:
    assert statement("Y = lam ** m").over == ("m",)


def test_the_clauses_come_in_any_order() -> None:
    einsum = statement("Y[p] = A[m] :: max[m] where m <= p")
    assert einsum == statement("Y[p] = A[m] where m <= p :: max[m]")
    assert einsum.where is not None


def test_a_selection_populates_by_the_positions_of_the_largest() -> None:
    einsum = statement("Y[j, p] << topk(Q[p, e], j) where e < p")
    assert (einsum.select, einsum.over, einsum.name) == ("topk", ("e",), "Y")
    assert einsum.expression == statement("Y[p, e] = Q[p, e]").expression
    assert einsum.where is not None


def test_statements_end_at_newlines_and_semicolons_outside_brackets() -> None:
    assert statement("Y[p] = (1 +  # one\n  2\n)") == statement("Y[p] = 1 + 2")
    assert statement("Z = 1 ; Y[p] = 2;") == statement("# a remark; = [ (\nY[p] = 2")
    assert statement("Y[p] = A[m]\n  :: max[m]\n  where m <= p").where is not None


# ------------------------------------------------------------------ spans

MARKED = """cascade: marked
ranks: [K]
inputs: {A: [K], B: [K]}
output: Z
einsums: %s"""


@pytest.mark.parametrize(
    "block",
    [
        "|\n  Y = A[k] * B[k]\n  Z = Y * exp(Y)\n",
        "|\n\n      # remark\n      Y = A[k] * B[k] ; Z = Y * exp(Y)\n",
        "Y = A[k] * B[k] ; Z = Y * exp(Y)\n",
        '"Y = A[k] * B[k] ; Z = Y * exp(Y)"\n',
        "['Y = A[k] * B[k]', 'Z = Y * exp(Y)']\n",
        ">\n  Y = A[k] * B[k] ;\n  Z = Y *\n  exp(Y)\n",
    ],
)
def test_spans_point_into_the_file(block: str) -> None:
    text = MARKED % block
    program = Cascade.parse(text, "f").program
    y, z = program.einsums

    def shown(span: Span | None) -> str:
        assert span is not None
        return text.splitlines()[span.line - 1][span.column - 1 :][: span.length]

    assert shown(y.target.span) == "Y"
    assert shown(y.expression.span) == "A[k] * B[k]"
    assert [shown(a.span) for a in y.reads] == ["A[k]", "B[k]"]
    assert shown(z.target.span) == "Z"
    assert isinstance(z.expression, Binary)
    assert shown(z.expression.right.span) == "exp(Y)"
    assert shown(y.reads[1].indices[0].span) == "k"


# ------------------------------------------------------------------ declarations


def test_a_whole_file_becomes_a_program() -> None:
    program = Cascade.parse(
        """
cascade: all-of-it
title: Everything
source: nowhere
unverified: the sum, from memory
reference: softmax_attention
parallel: [B, H]
ranks: {E: width, M: {is: keys, partition: [M1, M0]}, P: }
inputs: {K: [M, E], Q: [P, E], S: []}
outputs: [Y, L]
parameters: {lam: 0.5, mu: , nu: -inf}
domains: {S: [0, 1], mu: [-2.5, 3]}
functions: {"f(x, a)": "x * lam + a"}
reductions: {"lae(a, b)": {is: "log(exp(a) + exp(b))", identity: -inf}}
accumulate: {Y: float32}
init: "R[0, e] = S"
einsums: |
  Y[p]        = f(Q[p, e] * K[m1*M0 + m0, e], mu) :: lae[e, m1, m0]
  R[m1+1, e]  = R[m1, e] + K[m1*M0 + m0, e] * nu :: +[m0]
  L[e]        = R[M1, e]
"""
    ).program
    assert (program.name, program.title, program.origin) == ("all-of-it", "Everything", "nowhere")
    assert program.unverified == "the sum, from memory"
    assert program.reference == "softmax_attention"
    assert [(d.name, d.low, d.high) for d in program.domains] == [("S", 0, 1), ("mu", -2.5, 3)]
    assert program.domain("K") is None
    assert program.parallel == ("B", "H")
    assert [(r.name, r.meaning, r.family) for r in program.ranks] == [
        ("E", "width", None),
        ("M", "keys", None),
        ("M1", "", "M"),
        ("M0", "", "M"),
        ("P", "", None),
    ]
    assert program.rank_of["M"].partition == ("M1", "M0")
    assert program.outputs == ("Y", "L")
    assert [(p.name, p.default) for p in program.parameters] == [
        ("lam", 0.5),
        ("mu", None),
        ("nu", -math.inf),
    ]
    assert program.functions[0].arguments == ("x", "a")
    assert Name(name="x", kind="argument") in ir.walk(program.functions[0].body)
    assert Name(name="lam", kind="parameter") in ir.walk(program.functions[0].body)
    assert program.reductions[0].identity == -math.inf
    assert program.accumulate == (("Y", "float32"),)
    assert program.iterative == {"R": ("M1",)}
    assert program.tensor_ranks["R"] == ("M1", "E")


def test_ranks_may_be_a_list_and_equations_a_list() -> None:
    cascade = Cascade.parse(
        "cascade: c\nranks: [K]\ninputs: {A: [K]}\noutput: Z\neinsums: ['Y = A[k]', 'Z = Y * 2']"
    )
    assert [e.name for e in cascade.program.einsums] == ["Y", "Z"]


def test_json_is_read_too() -> None:
    text = '{"cascade": "c", "ranks": ["K"], "inputs": {"A": ["K"]}, "output": "Y",'
    assert Cascade.parse(text + ' "einsums": "Y = A[k]"}').name == "c"


# ------------------------------------------------------------------ loading


def test_every_built_in_cascade_loads_under_its_own_name() -> None:
    names = builtin_names("cascades")
    assert {"attention-naive", "attention-1pass", "linear-attention"} <= set(names)
    for name in names:
        assert Cascade.load(name).name == name


def test_a_cascade_equals_another_that_says_the_same() -> None:
    text = builtin_source("cascades", "attention-3pass").text
    respaced = text.replace(" * ", "*").replace("einsums: |", "einsums: |  # respaced\n")
    assert Cascade.parse(respaced) == Cascade.load("attention-3pass")
    assert hash(Cascade.parse(respaced)) == hash(Cascade.load("attention-3pass"))
    assert Cascade.parse(text.replace("max[m]", "min[m]")) != Cascade.load("attention-3pass")


def test_a_path_is_a_file_and_a_name_is_built_in(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(builtin_source("cascades", "attention-naive").text, encoding="utf-8")
    assert Cascade.load(path) == Cascade.load(str(path)) == Cascade.load("attention-naive")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("attention-1pas", "there is no built-in cascade 'attention-1pas'; did you mean 'attent"),
        ("nothing-like-it", "'nothing-like-it'; 'archsim list cascades' names all [0-9]+$"),
        ("fusemax", "'fusemax'; that is the name of an architecture; 'archsim list cascades'"),
        ("../cascades/attention-1pass", "no such file"),
        ("nothing.yaml", "nothing.yaml: no such file"),
        ("/", "is a directory"),
        ("a\0.yaml", "cannot be a file name"),
        ("/dev/zero", "more than 4000000 bytes"),
    ],
)
def test_what_is_not_there_is_named(name: str, message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        Cascade.load(name)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(CascadeError, match="not UTF-8"):
        Cascade.load(path)


FRAGMENTS = (
    *("[", "]", "(", ")", "=", "::", ":", "|", "\n", "  ", " where ", "max", "-inf", "M1", "m1"),
    *("+1", "*", "**", "{", "}", '"', "'", "#", ";", ",", "<", "<<", "topk", "&a", "*a", "!!x"),
    *("\t", "é", "0", "1e5", "not ", "and ", "init: |\n", "RM", "Q", "-", "/", "%", "\x00"),
)


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(builtin_names("cascades")), st.data())
def test_a_damaged_file_is_a_cascade_or_a_message(name: str, data: st.DataObject) -> None:
    text = builtin_source("cascades", name).text
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 8))
        text = text[:start] + data.draw(st.sampled_from(("", *FRAGMENTS))) + text[end:]
    problems: tuple[Problem, ...] = ()
    cascade = None
    try:
        cascade = Cascade.parse(text)
    except CascadeError as wrong:
        problems = wrong.problems
    if cascade is not None:
        assert Cascade.parse(cascade.text()) == cascade
    for problem in problems:
        assert str(problem)
        if problem.span is not None:
            assert 1 <= problem.span.line <= len(text.splitlines()) + 1
            assert problem.span.column >= 1


@pytest.mark.parametrize(
    ("used", "heavy"),
    [
        ("text()", ("numpy", "sympy", "networkx", "matplotlib", "numba")),
        (
            "analyze().to_dict()",
            ("numpy", "networkx", "matplotlib", "numba", "einsum_cascade.rewrites"),
        ),
    ],
)
def test_a_cascade_loads_no_library_that_it_does_not_need(used: str, heavy: tuple[str]) -> None:
    code = (
        f"import sys; from einsum_cascade import Cascade; Cascade.load('attention-1pass').{used};"
        f"print(sorted({set(heavy)} & set(sys.modules)))"
    )
    root = str(Path(ir.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"
