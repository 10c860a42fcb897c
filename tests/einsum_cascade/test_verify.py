"""The verifier: every mistake at its place, with the nearest right name, all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from einsum_cascade import Cascade, CascadeError, ir
from einsum_cascade.algebra.excerpt import excerpt
from einsum_cascade.verify import check, verify

ONE_PASS = """cascade: t
parallel: [B, H]
ranks: {E: w, F: v, P: q, M: {is: keys, partition: [M1, M0]}}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: AV
init: |
  RM[0, p] = -inf ; RD[0, p] = 0 ; RNV[0, p, f] = 0
einsums: |
  BQK[m1, m0, p]  = Q[p, e] * K[m1*M0 + m0, e]
  LM[m1, p]       = BQK[m1, m0, p] :: max[m0]
  RM[m1+1, p]     = max(RM[m1, p], LM[m1, p])
  SLN[m1, m0, p]  = exp(BQK[m1, m0, p] - RM[m1+1, p])
  SLD[m1, p]      = SLN[m1, m0, p]
  SLNV[m1, p, f]  = SLN[m1, m0, p] * V[m1*M0 + m0, f]
  PRM[m1, p]      = exp(RM[m1, p] - RM[m1+1, p])
  SPD[m1, p]      = RD[m1, p] * PRM[m1, p]
  RD[m1+1, p]     = SLD[m1, p] + SPD[m1, p]
  SPNV[m1, p, f]  = RNV[m1, p, f] * PRM[m1, p]
  RNV[m1+1, p, f] = SLNV[m1, p, f] + SPNV[m1, p, f]
  AV[p, f]        = RNV[M1, p, f] / RD[M1, p]
"""


def mistakes(text: str) -> list[str]:
    """Problems as ``line:column message | hint``."""
    try:
        Cascade.parse(text, "f")
    except CascadeError as wrong:
        return [
            f"{p.span.line}:{p.span.column} {p.message}" + (f" | {p.hint}" if p.hint else "")
            for p in wrong.problems
            if p.span is not None
        ] + [p.message for p in wrong.problems if p.span is None]
    return []


def changed(*changes: tuple[str, str]) -> list[str]:
    """Problems of the one-pass cascade with some of its text replaced."""
    text = ONE_PASS
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return mistakes(text)


LAST = "RNV[M1, p, f] / RD[M1, p]"
CYCLE = "a cycle needs a tensor written at v+1 and read at v, with v on the left all along"


def test_the_cascade_itself_is_well_formed() -> None:
    assert changed() == []


def cases() -> list[tuple[str, str, list[str]]]:
    """``one_mistake.txt``: a change of the one-pass cascade, then what is said about it."""
    found = []
    text = Path(__file__).with_name("one_mistake.txt").read_text(encoding="utf-8")
    for block in text.strip().split("\n\n"):
        change, *lines = block.split("\n")
        before, after = change.replace("\\n", "\n").split(" ==> ")
        messages: list[str] = []
        for line in (one.strip() for one in lines):
            if line.startswith("hint: "):
                messages[-1] += " | " + line.removeprefix("hint: ")
            elif line != "nothing is wrong":
                messages.append(line)
        found.append((before, after, messages))
    return found


@pytest.mark.parametrize(("before", "after", "expected"), cases())
def test_one_mistake_gives_one_message(before: str, after: str, expected: list[str]) -> None:
    assert changed((before, after)) == expected


def test_all_mistakes_of_a_file_come_at_once_in_order() -> None:
    found = changed(
        ("V: [M, F]}", "V: [M, F], W: [P]}"),
        ("max(RM", "mx(RM"),
        ("Q[p, e] * K", "Q[p, p] * K"),
        ("V[m1*M0 + m0, f]", "V[m1*M0 + m0, f"),
        ("ranks: {", "ranks: {Z: unused, "),
    )
    assert [m.split(" ")[0] for m in found] == ["9:26", "11:21", "14:39"]


def test_what_is_never_used_is_a_mistake() -> None:
    found = changed(
        ("V: [M, F]}", "V: [M, F], W: [P]}"),
        ("ranks: {", "ranks: {Z: unused, "),
        ("output: AV", "output: AV\nparameters: [lam]"),
        (LAST, f"{LAST}\n  T[p] = Q[p, e]\n  S[p] = T[p]"),
    )
    assert found == [
        "3:9 rank 'Z' is never used",
        "4:43 input 'W' is never read",
        "6:14 parameter 'lam' is never used",
        "22:3 'T' is never used: no output depends on it",
        "23:3 'S' is never used: no output depends on it",
    ]


def equations(block: str, **keys: str) -> list[str]:
    """Problems of a small cascade; line 1 of the block is line 1 of the file."""
    head = {
        "cascade": "t",
        "ranks": "[K, L, T, {}]".replace(", {}", ""),
        "inputs": "{A: [K], B: [K], C: [T], D: [K, L]}",
        "output": "Y",
    } | keys
    lines = [f"  {line}" for line in block.strip().splitlines()]
    text = "einsums: |\n" + "\n".join(lines) + "\n"
    text += "".join(f"{key}: {value}\n" for key, value in head.items())
    unused = ("is never read", "is never used")
    return [m for m in mistakes(text) if not any(u in m for u in unused)]


@pytest.mark.parametrize(
    ("block", "init", "expected"),
    [
        ("X[k] = A[k]\nY = X[k]", "", []),
        (
            "Y = X[k]\nX[k] = A[k]",
            "",
            [
                "2:7 'Y' reads 'X', which is written later"
                " | move the Einsum of 'Y' below that of 'X'"
            ],
        ),
        (
            "X[k] = A[k] * Y\nY = X[k]",
            "",
            [f"2:17 these Einsums depend on one another: X <- Y <- X | {CYCLE}"],
        ),
        ("S[t+1] = S[t] + C[t]\nY = S[T]", "S[0] = 0", []),
        ("P[t] = 2 * S[t]\nS[t+1] = P[t] + C[t]\nY = S[T]", "S[0] = 0", []),
        # The total is needed inside the iteration that it sums.
        (
            "N = S[t]\nS[t+1] = S[t] * N + C[t]\nY = S[T]",
            "S[0] = 0",
            [f"2:7 these Einsums depend on one another: N <- S <- N | {CYCLE}"],
        ),
        (
            "N = R[t]\nR[t] = 2 * S[t]\nS[t+1] = S[t] * N + C[t]\nY = S[T]",
            "S[0] = 0",
            [f"2:7 these Einsums depend on one another: N <- R <- S <- N | {CYCLE}"],
        ),
        # The reader of a whole result stands inside the iteration that computes it.
        (
            "R[t] = 2 * S[t]\nN = R[t]\nS[t+1] = S[t] + C[t]\nY = S[T] + N",
            "S[0] = 0",
            [
                "3:7 'N' needs all of 'R' before its iteration ends"
                " | move the Einsum of 'N' below the whole iteration"
            ],
        ),
        ("R[t] = 2 * S[t]\nS[t+1] = S[t] + C[t]\nN = R[t]\nY = S[T] + N", "S[0] = 0", []),
        (
            "R[t] = 2 * S[t+1]\nS[t+1] = S[t] + C[t]\nY = S[T] * R[t]",
            "S[0] = 0",
            [
                "2:14 'R' reads 'S', which is written later"
                " | move the Einsum of 'R' below that of 'S'"
            ],
        ),
        # Two recurrences along different ranks, one inside the other.
        ("S[t+1] = S[t] + C[t]\nG[k+1] = G[k] * S[T] + A[k]\nY = G[K]", "S[0] = 0 ; G[0] = 1", []),
        (
            "S[t+1] = S[t] + C[t] * G[K]\nG[k+1] = G[k] * S[T] + A[k]\nY = G[K]",
            "S[0] = 0 ; G[0] = 1",
            [f"2:26 these Einsums depend on one another: S <- G <- S | {CYCLE}"],
        ),
        ("G[t+1, k+1] = G[t, k] + A[k] * C[t]\nY = G[T, K]", "G[0, k] = 1 ; G[t, 0] = 1", []),
        (
            "W[t] = W[t-1] + C[t] where t > 0\nY = W[t]",
            "",
            [f"2:10 'W' depends on itself | {CYCLE}"],
        ),
    ],
)
def test_iterations_order_the_equations_and_nothing_else_does(
    block: str, init: str, expected: list[str]
) -> None:
    assert equations(block, **({"init": f'"{init}"'} if init else {})) == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("I[t] << topk(A[k], t)\nY = B[I[t]]", []),
        ("I[t] << topk(A[k], k)\nY = B[I[t]]", ["2:22 the last argument must be 't', not 'k'"]),
        (
            "I[t] << tpk(A[k], t)\nY = B[I[t]]",
            ["2:11 'tpk' is not a selection | did you mean 'topk'?"],
        ),
        (
            "I[t] << topk(D[k, l], t)\nY = B[I[t]]",
            ["2:3 a selection is over one rank, not 'k', 'l'"],
        ),
        (
            "I[t] << topk(A[k], t) :: max[k]\nY = B[I[t]]",
            ["2:25 a selection reduces by itself; drop the '::'"],
        ),
        (
            "Y = A[I[k]]\nI[k] = B[k]",
            [
                "2:9 'I' does not hold coordinates"
                " | an input of whole numbers, or the result of '<< topk(...)'",
                "2:9 'Y' reads 'I', which is written later"
                " | move the Einsum of 'Y' below that of 'I'",
            ],
        ),
    ],
)
def test_selections_and_gathers(block: str, expected: list[str]) -> None:
    assert equations(block) == expected


FUNCTIONS = "E1 = f(A[k])\n  Y = E1"


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ('{"f(x)": "x * g(x)", "g(y)": "exp(y)"}', []),
        ('{"f(x)": "x * ff(x)"}', ["8:26 unknown function 'ff' | did you mean 'f'?"]),
        ('{"f(x)": "x + k"}', ["8:26 unknown name 'k' | did you mean 'K'?"]),
        ('{"f(x)": "x + A[k]"}', ["8:28 unknown rank variable 'k' | did you mean 'K'?"]),
        ('{"f(x, x)": "x"}', ["8:13 two arguments have the same name"]),
        ('{"f(x, y)": "x"}', ["2:8 'f' takes 2 arguments, not 1"]),
        (
            '{"f(x)": "g(x)", "g(x)": "f(x)"}',
            [
                "8:13 function 'f' calls itself, or one that does",
                "8:29 function 'g' calls itself, or one that does",
            ],
        ),
        ('{"f(x)": x, "exp(x)": x}', ["8:24 function 'exp' is built in already"]),
        (
            '{"f x": x, "f(x)": x}',
            [
                "8:13 'f x' does not declare a function"
                " | write a name and its arguments, such as swish2(x)"
            ],
        ),
        ('{"f(x)": ""}', ["8:21 an expression is expected, not the text ''"]),
        (
            '{"f(x)": "x +"}',
            ["8:24 the statement ends too early | expected a name, a number or '('"],
        ),
        ('{"f(x)": x, "Y(x)": x}', ["3:5 tensor 'Y' has the name of a function (first on line 8)"]),
    ],
)
def test_functions(functions: str, expected: list[str]) -> None:
    found = equations(FUNCTIONS, functions=functions)
    assert found == expected


def test_powers_in_a_reduction_are_not_computed_as_integers() -> None:
    found = equations(
        "Y = A[k] :: r[k]",
        reductions='{"r(a, b)": {is: "a + b + 0 * 999999999 ** 999999999", identity: 0}}',
    )
    assert found == []


def test_functions_may_not_grow_without_measure() -> None:
    bodies = ['"f0(x)": "x + x"']
    bodies += [f'"f{i}(x)": "f{i - 1}(x) * f{i - 1}(x)"' for i in range(1, 60)]
    found = equations("Y = f0(A[k])", functions=f"{{{', '.join(bodies)}}}")
    assert any("function 'f59' expands to" in m for m in found)


@pytest.mark.parametrize(
    ("body", "identity", "expected"),
    [
        ("log(exp(a) + exp(b))", "-inf", None),
        ("a + b + a * b", "0", None),
        ("sqrt(a*a + b*b)", "0", None),
        ("where(a < b, b, a)", "-inf", None),
        ("a - b", "0", r"is not commutative at -1.5, -0.25, -1.5: -1.25 is not 1.25"),
        ("(a + b) / 2", "0", r"is not associative at -1.5, -1.5, -0.25: -0.875 is not -1.1875"),
        ("a", "0", r"is not commutative at -1.5, -0.25, -1.5: -1.5 is not -0.25"),
        ("a + b", "1", r"does not have the identity 1 at -1.5, -1.5, -1.5: -2 is not -3"),
        (
            "max(a, b)",
            "inf",
            r"does not have the identity inf at -1.5, -1.5, -1.5: inf is not -1.5",
        ),
    ],
)
def test_a_reduction_must_be_one(body: str, identity: str, expected: str | None) -> None:
    found = equations(
        "Y = A[k] :: r[k]", reductions=f'{{"r(a, b)": {{is: "{body}", identity: {identity}}}}}'
    )
    assert found == ([] if expected is None else [f"7:14 reduction 'r' {expected}"])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ranks", "{k: x}", "'k' cannot be a name here | a rank is upper-case, such as M or M1"),
        ("ranks", "{K: {is: x, partition: [K1]}}", "'partition' lists at least two ranks"),
        ("ranks", "{K: {mean: x}}", "unknown key 'mean' | known: is, like, partition"),
        ("ranks", "{K: [x]}", "a rank has a meaning, or {is: .., partition: [..]}"),
        ("ranks", "3", "'ranks' is a mapping, not the number 3 | such as {M: keys, E: width}"),
        ("inputs", "{A: K}", "an input has a list of ranks, not the text 'K'"),
        ("inputs", "{a: [K]}", "'a' cannot be a name here | a tensor begins upper-case, such as Q"),
        ("inputs", "[A]", "'inputs' is a mapping, not a list | such as {Q: [P, E]}"),
        ("parallel", "[b]", "'b' cannot be a name here | a rank is upper-case, such as B"),
        ("parallel", "[[B]]", "a name is expected, not a list"),
        ("parameters", "{lam: high}", "a number is expected, not the text 'high'"),
        ("parameters", "{lam: .nan}", "a number is expected, not the number .nan"),
        ("parameters", "{lam: true}", "a number is expected, not 'true'"),
        ("parameters", "[exp]", "parameter 'exp' has the name of a function"),
        ("parameters", "[k]", "parameter 'k' has the name of a rank variable"),
        ("parameters", "[dtype]", "parameter 'dtype' has the name of a setting of evaluate"),
        ("parameters", "[where]", "'where' cannot be a name here"),
        ("parameters", "[A]", "parameter 'A' has the name of an input"),
        ("domains", "{A: 3}", "'A' lies between two numbers | [0, 1]"),
        ("domains", "{A: [0, high]}", "a number is expected, not the text 'high'"),
        ("domains", "{a: [0, 1]}", "'domains' names 'a', which is no input and no parameter"),
        ("domains", "{A: [1, 0]}", "the domain of 'A' is empty or has no end | two numbers"),
        ("domains", "{A: [0, inf]}", "the domain of 'A' is empty or has no end"),
        ("accumulate", "{Y: float33}", "a number type is expected | did you mean 'float32'?"),
        ("accumulate", "{Yy: float32}", "'accumulate' names 'Yy', which no Einsum writes"),
        ("reductions", '{"r(a)": {is: a, identity: 0}}', "reduction 'r' combines two values"),
        ("reductions", '{"r(a, b)": {is: a + b}}', "reduction 'r' lacks 'identity'"),
        ("reductions", '{"r(a, b)": "a + b"}', "a reduction has a body and an identity"),
        ("reductions", '{"max(a, b)": {is: "max(a, b)", identity: -inf}}', "is built in already"),
        ("cascade", "", "'cascade' is a text, not nothing"),
        ("cascade", "a/b", "'a/b' cannot be a name | use letters, digits and - . _ +"),
        ("title", "[x]", "'title' is a text, not a list"),
        ("outputs", "[Y]", "'output' and 'outputs' are the same key; give one"),
        ("init", "{a: b}", "equations are text, not a mapping | init: |"),
    ],
)
def test_declarations(key: str, value: str, expected: str) -> None:
    found = equations("Y = A[k]", **{key: value})
    assert any(expected in m for m in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "1:1 a cascade is a mapping that begins 'cascade: name', not a list"),
        ("cascade: x\n", "1:1 the cascade has no equations | einsums: |"),
        ("ranks: [K]\noutput: Y\neinsums: Y = 1 + K\n", "1:1 the cascade has no name"),
        (
            "cascade: x\noutput: Y\neinsums: Y = " + "(" * 200 + "1" + ")" * 200,
            "3:10 this nests more than 80 deep; write it as several statements",
        ),
        (
            "cascade: x\noutput: Y\neinsums: Y = " + "+".join("1" * 3000),
            "3:10 this nests more than 80 deep; write it as several statements",
        ),
        (
            "cascade: x\nranks: [M, P]\noutput: Y\neinsums: Y = U["
            + "*".join(["(M + P)"] * 40)
            + "]",
            "4:16 this index is too long",
        ),
        (
            "cascade: x\noutput: Y\neinsums: |\n" + "  Y = 1\n" * 3000,
            "3:10 3000 statements are more than a cascade may have (2000)",
        ),
        (
            "cascade: x\noutput: Y\neinsums:\n  X = 1\n  Y = X\n",
            "5:3 'Y' is not expected here | start the block with '|' so that its lines stay apart",
        ),
    ],
)
def test_files_that_are_no_cascade(text: str, expected: str) -> None:
    assert any(m.startswith(expected) for m in mistakes(text)), mistakes(text)


# ------------------------------------------------------------------ programs built in Python


def test_a_program_built_by_hand_is_held_to_the_same() -> None:
    program = Cascade.parse(ONE_PASS).program
    assert check(program) is program
    lm = program.einsum_of["LM"]
    for wrong, message in (
        (replace(lm, over=()), "'LM' reduces over nothing, not 'm0'"),
        (replace(lm, reduction="mean"), "unknown reduction 'mean'"),
        (replace(lm, select="bottomk"), "'bottomk' is not a selection"),
        (replace(lm, expression=ir.Name(name="zz", kind="variable")), "unknown variable 'zz'"),
    ):
        einsums = tuple(wrong if e is lm else e for e in program.einsums)
        messages = [p.message for p in verify(replace(program, einsums=einsums))]
        assert any(message in m for m in messages), messages
        with pytest.raises(CascadeError, match=message):
            check(replace(program, einsums=einsums))


def test_an_elementwise_einsum_reduces_nothing() -> None:
    program = Cascade.parse(ONE_PASS).program
    rm = program.einsum_of["RM"]
    einsums = tuple(replace(e, reduction="max") if e is rm else e for e in program.einsums)
    messages = [p.message for p in verify(replace(program, einsums=einsums))]
    assert messages == ["'RM' reduces nothing by 'max'"]


def test_partitions_must_agree_on_both_sides() -> None:
    program = Cascade.parse(ONE_PASS).program
    ranks = tuple(replace(r, family="E") if r.name == "M0" else r for r in program.ranks)
    messages = [p.message for p in verify(replace(program, ranks=ranks))]
    assert "rank 'M0' is no part of 'E'" in messages
    assert "rank 'M0' belongs to two partitions" in messages


def test_a_rank_whose_shape_scales_a_gathered_position_is_used() -> None:
    """Nothing else names T: the first rows of blocks of T rows."""
    text = """cascade: a
ranks: [M, J, T, E]
inputs: {I: [J], K: [M, E]}
output: C
einsums: |
  B[j, e] = K[I[j]*T, e]
  C[j] = B[j, e]
"""
    program = Cascade.parse(text).program
    assert [r.name for r in excerpt(program, ("B",)).ranks] == ["M", "J", "T", "E"]
    found = Cascade(program).evaluate({"I": [1, 0], "K": [[1.0], [2.0], [3.0], [4.0]]}, T=2)
    assert found["C"].tolist() == [3.0, 1.0]
