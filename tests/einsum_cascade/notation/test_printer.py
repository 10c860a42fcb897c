"""Printers: canonical text that parses back, LaTeX, DOT and HTML."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples, some
from random_programs import TEXTS, programs

from einsum_cascade import Cascade, ir
from einsum_cascade.notation import expression_text, scalar_text, statement_text
from einsum_cascade.source import Source
from einsum_cascade.verify import verify
from einsum_cascade.yaml.library import builtin_names
from einsum_cascade.yaml.source import read_yaml


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 9))
def test_every_built_in_cascade_survives_a_round_trip(name: str) -> None:
    cascade = Cascade.load(name)
    text = cascade.text()
    again = Cascade.parse(text)
    assert again == cascade
    assert again.text() == text


@settings(max_examples=examples(30), deadline=None)
@given(programs())
def test_any_program_survives_a_round_trip(program: ir.Program) -> None:
    assert verify(program) == ()
    cascade = Cascade(program)
    back = Cascade.parse(cascade.text())
    assert back == cascade
    for mine, theirs in zip(program.einsums, back.program.einsums, strict=True):
        numbers = [n for n in ir.walk(mine.expression) if isinstance(n, ir.Number)]
        others = [n for n in ir.walk(theirs.expression) if isinstance(n, ir.Number)]
        assert [repr(n.value) for n in numbers] == [repr(n.value) for n in others]


@settings(max_examples=examples(30), deadline=None)
@given(programs())
def test_every_program_can_be_shown(program: ir.Program) -> None:
    cascade = Cascade(program)
    latex = cascade.latex()
    assert latex.count("&=") == len(program.init) + len(program.einsums)
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
    dot = cascade.dot()
    assert dot.count(" -> ") == sum(len({a.tensor for a in e.reads}) for e in program.einsums)
    assert cascade._repr_html_().startswith("<div>")


@given(TEXTS)
def test_any_text_is_a_scalar(text: str) -> None:
    node = read_yaml(Source("f", f"{{a: {scalar_text(text)}, b: 1}}"))
    assert node.plain() == {"a": text, "b": 1}


EXPRESSIONS = (
    "A[m] - (B[m] - C)",
    "A[m] - B[m] - C",
    "A[m] / (B[m] * C)",
    "(A[m] + B[m]) * C",
    "-A[m] ** 2",
    "(-A[m]) ** 2",
    "(-2) ** A[m]",
    "2 ** -A[m]",
    "(2 ** 3) ** C",
    "2 ** 3 ** C",
    "-(2)",
    "-(A[m] + B[m])",
    "A[m] * -B[m]",
    "max(A[m], B[m] + 1, -inf)",
    "where(m < 3 and not (m == 1 or m == 2), A[m], 0)",
    "1e-05 * A[m] + 1e+20 * C",
    "A[m1*M0 + m0] * B[2*m + 1]",
    "A[m-1] + A[m+1]",
)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_keep_the_parentheses_they_need_and_no_others(text: str) -> None:
    source = f"""
cascade: c
ranks: {{M: {{partition: [M1, M0]}}}}
inputs: {{A: [M], B: [M], C: []}}
output: Y
einsums: "Y[m, m1, m0] = {text} + A[m1*M0 + m0] + B[m] + C"
"""
    from einsum_cascade.syntax.parse import YamlMapping, _CascadeFile

    root = read_yaml(Source("f", source))
    assert isinstance(root, YamlMapping)
    expression = _CascadeFile(root).program().einsums[0].expression
    for _ in range(3):
        assert isinstance(expression, ir.Binary)
        expression = expression.left
    assert expression_text(expression) == text


def test_a_program_prints_as_a_person_would_write_it() -> None:
    text = """\
cascade: softmax
title: "Softmax, with a sink"
parallel: [B]
ranks: {P: rows, M: {is: columns, partition: [M1, M0]}}
inputs: {X: [P, M], S: []}
outputs: [Y, D]
parameters: {temperature: 1, W: ~}
functions:
  "scaled(x)": "x / temperature"
reductions:
  "lae(a, b)": {is: "log(exp(a) + exp(b))", identity: -inf}
accumulate: {D: float32}
init: |
  D[0, p] = S
einsums: |
  G[p]       = scaled(X[p, m]) :: lae[m] where p - W < m and m <= p
  D[m1+1, p] = D[m1, p] + X[p, m1*M0 + m0] :: +[m0]
  Y[p, m]    = exp(X[p, m] - G[p])
"""
    assert Cascade.parse(text).text() == text
    assert str(Cascade.parse(text)) == text


def test_a_selection_prints_as_it_is_written() -> None:
    cascade = Cascade.parse(
        """
cascade: top
ranks: [J, M, F]
inputs: {S: [M], V: [M, F]}
output: O
einsums: |
  I[j] << topk(S[m], j) where m > 0
  O[j, f] = V[I[j], f]
"""
    )
    texts = [statement_text(e) for e in cascade.program.einsums]
    assert texts == ["I[j] << topk(S[m], j) where m > 0", "O[j, f] = V[I[j], f]"]
    assert r"\operatorname{topk}_{m}" in cascade.latex()
    assert Cascade.parse(cascade.text()) == cascade


def test_latex_of_attention() -> None:
    assert Cascade.load("attention-3pass").latex() == (
        r"""\begin{aligned}
\mathrm{QK}_{m, p} &= \sum_{e} \mathrm{Q}_{p, e} \cdot \mathrm{K}_{m, e} \\
\mathrm{GM}_{p} &= \max_{m} \mathrm{QK}_{m, p} \\
\mathrm{SN}_{m, p} &= e^{\mathrm{QK}_{m, p} - \mathrm{GM}_{p}} \\
\mathrm{SD}_{p} &= \sum_{m} \mathrm{SN}_{m, p} \\
\mathrm{A}_{m, p} &= \frac{\mathrm{SN}_{m, p}}{\mathrm{SD}_{p}} \\
\mathrm{AV}_{p, f} &= \sum_{m} \mathrm{A}_{m, p} \cdot \mathrm{V}_{m, f}
\end{aligned}"""
    )


def test_dot_marks_iteration() -> None:
    dot = Cascade.load("attention-1pass").dot()
    assert '"RM" -> "RM" [style=dashed];' in dot
    assert '"RM" -> "SLN";' in dot
    assert '"RD" -> "SPD" [style=dashed];' in dot
    assert '"AV" [label="AV", tooltip=' in dot
    assert "peripheries=2" in dot


def test_html_is_escaped() -> None:
    text = """
cascade: c
title: "<script>alert(1)</script> & more"
ranks: [M]
inputs: {A: [M]}
output: Y
einsums: "Y = A[m] where m < 3"
"""
    shown = Cascade.parse(text)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "m &lt; 3" in shown
    assert "m < 3" not in shown


@settings(max_examples=examples(30), deadline=None)
@given(programs(), st.data())
def test_programs_that_differ_print_differently(program: ir.Program, data: st.DataObject) -> None:
    other = data.draw(programs())
    assert (Cascade(program).text() == Cascade(other).text()) == (program == other)
