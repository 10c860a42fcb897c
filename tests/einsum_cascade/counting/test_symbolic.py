"""Operations, masks, traffic and footprints against counting by hand and point by point."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_cascades import CASES
from pass_search import unroll
from portions import examples, some

from einsum_cascade import Cascade, ir
from einsum_cascade.analysis_report import pass_rows
from einsum_cascade.counting.point_counts import count_points
from einsum_cascade.counting.points import points_of, rank_symbol
from einsum_cascade.counting.symbolic import Analysis, analyze, footprint_rows
from einsum_cascade.errors import CascadeError
from einsum_cascade.operations import einsum_operations
from einsum_cascade.yaml.library import builtin_names

B, E, F, H = (rank_symbol(n) for n in "BEFH")
M, P, D, N = (rank_symbol(n) for n in "MPDN")
M0, M1 = rank_symbol("M0"), rank_symbol("M1")


def analysis(name: str, parallel: tuple[str, ...] = ()) -> Analysis:
    return analyze(replace(Cascade.parse(CASES[name]).program, parallel=parallel))


def same(found: object, expected: object) -> bool:
    return sympy.simplify(found - expected) == 0


# ------------------------------------------------------------------ operations

# Nayak et al., MICRO 2024, counted per head; subtraction counts apart from exp and add.
COUNTS = {
    "three-pass": {
        "mac": M * P * (E + F),
        **dict.fromkeys(("max", "exp", "sub", "add", "div"), M * P),
    },
    "three-pass-deferred": {
        "mac": M * P * (E + F),
        **dict.fromkeys(("max", "exp", "sub", "add"), M * P),
        "div": F * P,
    },
    "online": {
        "mac": M * P * (E + F),
        **dict.fromkeys(("max", "exp", "sub"), M * P + M1 * P),
        "add": M * P + M1 * P * (1 + F),
        "mul": M1 * P * (1 + F),
        "div": F * P,
    },
}


@pytest.mark.parametrize("name", COUNTS)
def test_operations_of_attention(name: str) -> None:
    found = analysis(name).operations
    assert set(found) == set(COUNTS[name])
    for kind, expected in COUNTS[name].items():
        assert same(found[kind], expected), kind


def test_parallel_ranks_multiply_everything() -> None:
    one, many = analysis("online"), analysis("online", ("B", "H"))
    for kind, count in one.operations.items():
        assert same(many.operations[kind], B * H * count)
    assert same(many.traffic_min, B * H * one.traffic_min)
    assert same(many.intensity, one.intensity)


def test_operations_by_einsum() -> None:
    found = {e.einsum: dict(e.operations) for e in analysis("online").by_einsum}
    assert found["BQK"] == {"mac": E * M * P}
    assert found["SLN"] == {"exp": M * P, "sub": M * P}
    assert found["PRM"] == {"exp": M1 * P, "sub": M1 * P}


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("where(n == floor((p + 3) / U), 0, X[p, n])", {"select": 1}),
        ("X[p, n] - S[p] * (p + N - n)", {"mul": 1, "sub": 1}),
        ("X[p, n] / min(U, N - n * U)", {"div": 1}),
        ("where(half(p) == 2 ** n, X[p, n], 0)", {"select": 1}),
        ("X[p, n] * cos(p + 1)", {"cos": 1, "mul": 1}),
        ("X[p, n] * U ** (p - n)", {"mul": 1, "pow": 1}),
        ("X[p, n] * 2 ** (n / N)", {"mul": 1, "pow": 1}),
        ("X[p, n] * twice(p)", {"exp": 1, "mul": 2}),
        ("half(X[p, n])", {"floor": 1, "mul": 1}),
        ("p + n", {"copy": 1}),
        ("where(X[p, n] > p, 1, 0)", {"compare": 1, "select": 1}),
    ],
)
def test_arithmetic_on_positions_counts_nothing(expression: str, kinds: dict[str, int]) -> None:
    head = "cascade: c\nranks: {P: rows, N: blocks}\ninputs: {X: [P, N], S: [P]}\noutputs: [Y, Z]\n"
    head += "parameters: {U: 4}\nfunctions: {half(x): floor(x / 2), twice(x): 2 * exp(x)}\n"
    lines = f"  Y[p, n] = {expression}\n  Z[p, n] = S[p] + U + half(X[p, n]) + twice(S[p])\n"
    program = Cascade.parse(f"{head}einsums: |\n{lines}").program
    assert dict(einsum_operations(program, program.einsum_of["Y"])) == kinds


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("X[p, n] / 3", {"mul": 1}),
        ("X[p, n] / sqrt(2 * N)", {"mul": 1}),
        ("X[p, n] / U", {"mul": 1}),
        ("exp(X[p, n] / (N * U))", {"exp": 1, "mul": 1}),
        ("X[p, n] * S[p] / N :: sum[n]", {"mac": 1, "mul": 1}),
        ("X[p, n] / N :: sum[n]", {"mac": 1}),
        ("X[p, n] / S[p]", {"div": 1}),
        ("X[p, n] / (n + 1)", {"div": 1}),  # another divisor at each position
        ("N / X[p, n]", {"div": 1}),
    ],
)
def test_a_division_by_a_constant_counts_as_a_multiplication(
    expression: str, kinds: dict[str, int]
) -> None:
    head = "cascade: c\nranks: {P: rows, N: blocks}\ninputs: {X: [P, N], S: [P]}\noutputs: [Y, Z]\n"
    head += "parameters: {U: 4}\n"
    expression, _, summed = expression.partition(" :: ")
    target = "Y[p]" if summed else "Y[p, n]"
    lines = f"  {target} = {expression}\n  Z[p, n] = S[p] + U\n"
    program = Cascade.parse(f"{head}einsums: |\n{lines}").program
    assert dict(einsum_operations(program, program.einsum_of["Y"])) == kinds


LEFT_INSIDE = ("log-softmax", "mlstm-chunked")
"""Cascades that keep a function of a token inside an Einsum: the mappings by default rest on it."""


@pytest.mark.parametrize(
    "name", some((n for n in builtin_names("cascades") if n not in LEFT_INSIDE), 16)
)
def test_no_function_of_a_built_in_cascade_runs_along_a_rank_it_lacks(name: str) -> None:
    program = Cascade.load(name).program
    outer = {rank.lower() for rank in program.parallel}
    for einsum in program.einsums:
        calls = [n for n in ir.walk(einsum.expression) if isinstance(n, ir.Call)]
        for call in (c for c in calls if c.function != "where"):
            if any(isinstance(n, ir.Access) for n in ir.walk(call)):
                lacks = {*einsum.variables} - outer - {*ir.variables_of(call)}
                assert not lacks, (einsum.name, call.function)


def test_gates_are_computed_once_for_a_head_and_a_query() -> None:
    program = Cascade.load("native-sparse-attention-overlapped").program
    kinds = {e.name: dict(einsum_operations(program, e)) for e in program.einsums}
    assert {n for n, k in kinds.items() if "sigmoid" in k} == {"GCS", "GSS", "GWS"}
    assert set(program.einsum_of["GCS"].variables) == set("bgsp")
    assert not any({"floor", "compare"} & k.keys() for n, k in kinds.items() if n != "IX")


@settings(max_examples=examples(40), deadline=None)
@given(st.data())
def test_counts_are_exact_for_any_shapes(data: st.DataObject) -> None:
    """Tiles that are cut short, masks and iterative ranks, counted point by point."""
    name = data.draw(st.sampled_from(["online", "local-maxima", "linear-causal", "welford"]))
    cascade = Cascade.parse(CASES[name]).program
    shapes = {r.name: data.draw(st.integers(1, 5), label=r.name) for r in cascade.ranks}
    if "M0" in shapes:
        shapes["M1"] = -(-shapes["M"] // shapes["M0"])
    events = unroll(cascade, shapes).events
    for e in analyze(cascade).subs(shapes).by_einsum:
        mine = sum(1 for x in events if (x.einsum, x.kind) == (e.einsum, "einsum"))
        assert e.points == mine, e.einsum


# ------------------------------------------------------------------ masks

PLAIN = "P: p, M: m, W: w"
MASKS = [
    "m <= p",
    "m < p",
    "m > p",
    "p - W < m and m <= p",
    "m >= p - 1 and m <= p + 1",
    "m == p",
    "m == p + 1",
    "m != p",
    "m == P - 1 - p",
    "m <= p or m == 3",
    "m < p or m > p + W",
    "not (m <= p)",
    "not (m <= p and p <= m + 1)",
    "m + p <= 4",
    "m + p < M",
    "2*m <= p",
    "m <= 2",
    "m <= p and m >= 1",
    "p <= m and m <= 2*p",
    "m * p <= 3",
    "m <= p + w",
    "W <= M",
]
TILES = "P: {is: p, partition: [P1, P0]}, M: {is: m, partition: [M1, M0]}"
TILE_MASKS = [
    "m1*M0 + m0 <= p1*P0 + p0",
    "m1 <= p1",
    "m1 == p1",
    "m0 <= p0",
    "m1*M0 + m0 <= p1",
    "m1 < p1 or m1 == p1 and m0 <= p0",
    "m1 < p1 and m0 < M0 - 1",
    "m1 + p1 < 2 and m0 <= p0 and m0 < M0 - 1",
]


def _counted(text: str, shapes: dict[str, int]) -> tuple[object, int]:
    cascade = Cascade.parse(text).program
    values = {rank_symbol(n): v for n, v in shapes.items()}
    found = points_of(cascade, cascade.einsums[0]).subs(values).doit()
    assert count_points(cascade, cascade.einsums[0], shapes) == found, shapes
    return found, sum(1 for e in unroll(cascade, shapes).events if e.einsum == "O")


def test_points_of_a_mask_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Cascade.load("attention-causal").program
    shapes = {"E": 3, "F": 3, "M": 734, "P": 734}
    first = count_points(program, program.einsums[0], shapes)
    assert first == 3 * 734 * 735 // 2
    monkeypatch.setattr("einsum_cascade.counting.point_counts._count_batch", lambda *_: 7)
    assert count_points(program, program.einsums[0], shapes) == first
    assert count_points(program, program.einsums[0], shapes | {"M": 735}) == 3 * 7


@pytest.mark.parametrize("mask", some(MASKS, 6))
def test_masks_are_counted_exactly(mask: str) -> None:
    body = f"O[p] = A[m] * B[p] * C[w] where {mask}"
    text = f"""
cascade: mask
ranks: {{{PLAIN}}}
inputs: {{A: [M], B: [P], C: [W]}}
output: O
einsums: |
  {body}
"""
    for p, m, w in itertools.product((1, 2, 5), (1, 4, 6), (1, 3)):
        found, true = _counted(text, {"P": p, "M": m, "W": w})
        assert found == true, (p, m, w)


@pytest.mark.parametrize("mask", some(TILE_MASKS, 5))
def test_masks_of_tiles_are_counted_exactly(mask: str) -> None:
    text = f"""
cascade: mask
ranks: {{{TILES}}}
inputs: {{A: [M], B: [P]}}
output: O
einsums: |
  O[p1, p0] = A[m1*M0 + m0] * B[p1*P0 + p0] where {mask}
"""
    for p, m, m0 in ((3, 2, 2), (3, 7, 3), (5, 4, 3), (5, 7, 2)):
        shapes = {"P": p, "P0": 2, "P1": -(-p // 2), "M": m, "M0": m0, "M1": -(-m // m0)}
        found, true = _counted(text, shapes)
        assert found == true, shapes


CHUNKS = "P: {is: p, partition: [P1, P0]}, M: {is: m, like: P}, M0: {is: chunk, like: P0}"


@pytest.mark.parametrize(
    "body",
    [
        "O[p1, p0] = A[p1*M0 + m0] * B[p1*P0 + p0] where m0 <= p0",
        "O[p1, p0] = A[p1*M0 + m0] * B[p1*P0 + p0] where m0 < p0",
        "O[p1] = A[p1*M0 + m0] * P0 where p1*M0 + m0 < M",
        "O[p1] = A[p1*M0 + m0] * P0 where p1*M0 + m0 < M - 2",
    ],
)
def test_masks_inside_chunks_are_counted_exactly(body: str) -> None:
    """Full chunks and a last one, which may be shorter; in closed form."""
    text = f"""
cascade: mask
ranks: {{{CHUNKS}}}
inputs: {{A: [M]{", B: [P]" * ("B" in body)}}}
output: O
einsums: |
  {body}
"""
    cascade = Cascade.parse(text).program
    assert not points_of(cascade, cascade.einsums[0]).has(sympy.Sum)
    for p, p0 in itertools.product((1, 5, 6, 9), (1, 2, 3, 4)):
        shapes = {"P": p, "P0": p0, "P1": -(-p // p0), "M": p, "M0": p0}
        found, true = _counted(text, shapes)
        assert found == true, shapes


def test_ranks_declared_alike_have_one_symbol() -> None:
    found = analyze(Cascade.load("lightning-attention-2").program)
    names = {s.name for n in found.operations.values() for s in n.free_symbols}
    assert names == {"B", "H", "E", "F", "P", "P0", "P1"}
    shapes = {"B": 1, "H": 1, "E": 2, "F": 3, "M0": 4}
    assert found.subs({**shapes, "M": 10}).operations == found.subs({**shapes, "P": 10}).operations
    with pytest.raises(CascadeError, match="M and P are declared alike, but M = 10, P = 12"):
        found.subs({"M": 10, "P": 12})


def test_a_causal_mask_has_a_closed_form() -> None:
    found = analysis("linear-causal")
    assert not any(e.points.has(sympy.Sum) for e in found.by_einsum)
    million = found.subs({"M": 10**9, "P": 10**9, "E": 1, "F": 1})
    assert million.operations["mac"] == 10**9 * (10**9 + 1)


def test_a_mask_on_data_counts_everything_and_says_so() -> None:
    text = """
cascade: gated
ranks: {M: m}
inputs: {A: [M], G: [M]}
output: O
einsums: |
  O = A[m] where G[m] > 0
"""
    (found,) = analyze(Cascade.parse(text).program).by_einsum
    assert found.at_most
    assert found.points == M


# ------------------------------------------------------------------ traffic and footprint


@pytest.mark.parametrize("name", ["three-pass", "online", "local-maxima"])
def test_minimum_traffic_reads_inputs_and_writes_outputs_once(name: str) -> None:
    assert same(analysis(name).traffic_min, P * E + M * E + M * F + P * F)


def test_footprint_of_three_passes_grows_with_the_keys() -> None:
    (keys,) = (f for f in analysis("three-pass").footprint if f.rank == "M")
    along = {t.tensor: t.along for t in keys.tensors}
    assert along == {**dict.fromkeys(along, 1), "QK": M, "SN": M}
    assert keys.needed == M
    assert keys.per == ("P",)


def test_footprint_of_one_pass_is_a_tile_and_one_state() -> None:
    (keys,) = (f for f in analysis("online").footprint if f.rank == "M")
    held = {t.tensor: t.held for t in keys.tensors}
    assert held["BQK"] == M0
    assert (held["RM"], held["RD"], held["RNV"]) == (1, 1, F)
    assert keys.needed == 0
    assert not keys.total.has(M)
    assert not keys.total.has(M1)


def test_traffic_depends_on_the_buffer() -> None:
    found = analysis("three-pass").subs({"E": 4, "F": 4, "P": 8, "M": 100})
    minimum = 2 * (8 * 4 + 100 * 4)
    again = 2 * 100 * 4  # K once more for pass 2 and once more for pass 3
    spilled = 4 * 100 * 8  # QK and SN written and read
    assert found.traffic(100) == minimum
    assert found.traffic(99) == minimum + min(again, spilled)
    (extra,) = found.extra
    assert (extra.spilled, extra.reread) == (spilled, again)
    assert extra.choice == "write out and read back QK, SN, or read K again and recompute"


PICKED = """
cascade: picked
ranks: {E: width, P: queries, M: keys, J: picks}
inputs: {Q: [P, E], K: [M, E]INDEX}
output: SN
einsums: |
  QK[m, p] = Q[p, e] * K[m, e]
  SELECTION
  GQ[j, p] = Q[p, e] * K[I[j, p], e]
  GM[p]    = GQ[j, p] :: max[j]
  SN[j, p] = exp(GQ[j, p] - GM[p])
"""


@pytest.mark.parametrize(
    ("index", "selection"),
    [("", "I[j, p] << topk(QK[m, p], j)"), (", I: [J, P]", "X[p] = QK[m, p]")],
)
def test_what_is_picked_is_not_had_again_for_nothing(index: str, selection: str) -> None:
    """No input has a rank J whose elements could be read again: scores of picks are kept."""
    found = analyze(
        Cascade.parse(
            PICKED.replace("INDEX", index)
            .replace("SELECTION", selection)
            .replace("output: SN", "output: SN" if not index else "outputs: [SN, X]")
        ).program
    )
    (extra,) = (x for x in found.extra if x.rank == "J")
    assert extra.choice == "write out and read back GQ"
    assert same(extra.cheapest, 2 * rank_symbol("J") * P)


def test_spilling_wins_when_the_inputs_are_wide() -> None:
    found = analysis("three-pass").subs({"E": 64, "F": 64, "P": 2, "M": 100})
    assert found.traffic(0) - found.traffic_min == 4 * 100 * 2


def test_a_second_reading_of_an_input() -> None:
    found = analysis("rms-norm")
    buffer = sympy.Symbol("buffer", integer=True, nonnegative=True)
    assert found.traffic().subs({buffer: 0}).subs({D: 8, N: 3}) == 2 * 24 + 8 + 24
    assert found.traffic().subs({buffer: 8}).subs({D: 8, N: 3}) == 2 * 24 + 8
    assert found.extra[0].choice == "read X again in every later pass"


def test_one_pass_never_costs_more_than_the_minimum() -> None:
    found = analysis("online")
    assert found.traffic(0) == found.traffic_min


def test_intensity_is_operations_per_element() -> None:
    found = analysis("two-pass").subs({"K": 10})
    assert found.operations == {"mac": 20}
    assert found.traffic_min == 21
    assert found.intensity == sympy.Rational(20, 21)


# ------------------------------------------------------------------ numbers for shapes


def test_shapes_fill_in_what_follows_from_them() -> None:
    found = analysis("online").subs({"M": 1000, "M0": 256, "P": 7, "E": 4, "F": 5})
    assert found.operations["max"] == 7 * (1000 + 4)
    assert all(value.is_Integer for value in found.operations.values())


def test_shapes_follow_through_ranks_declared_alike() -> None:
    # N has the members of P's model and M0 follows the tile: numerically the same rule applies.
    found = Cascade.load("delta-product-chunked").analyze().subs({"P": 7, "J": 2, "X0": 4})
    assert same(found.traffic_min, 21 * rank_symbol("B") * H * (E + F + 1))


def test_shapes_left_out_stay_symbols() -> None:
    found = analysis("online").subs({"M": 1000})
    assert same(found.operations["mac"], 1000 * P * (E + F))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"X": 3}, r"no rank 'X'"),
        ({"p": 3}, r"no rank 'p'[\s\S]*did you mean 'P'"),
        ({"M": 0}, "positive whole number, not 0"),
        ({"E": "4"}, "positive whole number, not '4'"),
        ({"M": 10, "M0": 3, "M1": 9}, r"M1 must be ceil\(M / M0\) = 4"),
    ],
)
def test_wrong_shapes_are_refused(shapes: dict[str, int], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        analysis("online").subs(shapes)


# ------------------------------------------------------------------ what is shown


def test_json_holds_the_contract() -> None:
    found = json.loads(json.dumps(analysis("three-pass").to_dict()))
    assert {"cascade", "ranks", "operations", "footprint", "traffic_min"} <= set(found)
    assert found["operations"]["mac"] == "M*P*(E + F)"
    assert found["ranks"]["M"]["passes"] == 3
    assert found["footprint"]["M"]["QK"] == "M"
    expected = P * E + M * E + M * F + P * F
    assert same(
        sympy.sympify(found["traffic_min"], locals={"E": E, "F": F, "M": M, "P": P}), expected
    )


def test_tables_for_people() -> None:
    found = analysis("three-pass")
    rows = {row[0]: row for row in pass_rows(found.passes)}
    assert rows["M"][1] == "3"
    assert rows["M"][3] == "1: QK GM | 2: SN SD | 3: A AV"
    assert ("M", "QK", "M", "M", "needed again along M in pass 2") in footprint_rows(found)
    assert found._repr_html_().count("<table>") == 3


@pytest.mark.parametrize("name", some(sorted(CASES), 2))
def test_every_case_is_analysed(name: str) -> None:
    found = analysis(name)
    assert found.to_dict()["cascade"] == "case"
    assert all(count.is_nonnegative is not False for count in found.operations.values())


@pytest.mark.parametrize(
    ("mask", "points"),
    [
        # m = 0..2 pass everywhere, m = 3..9 from p = m - 2 on: 3*20 + 19 + 18 + ... + 13.
        ("relu(m - 2) <= p", 172),
        ("sign(m - 4) <= p - 1", 4 * 20 + 1 * 19 + 5 * 18),
        ("m <= floor(p / 2)", 110),
        ("abs(m - 4) <= p", sum(20 - abs(m - 4) for m in range(10))),
    ],
)
def test_masks_with_functions_are_counted(mask: str, points: int) -> None:
    head = "cascade: a\nranks: [M, P]\ninputs: {X: [M, P]}\noutput: Y\n"
    text = f"{head}einsums: |\n  Y[p] = X[m, p] where {mask}\n"
    program = Cascade.parse(text).program
    shapes = {"M": 10, "P": 20}
    assert count_points(program, program.einsums[0], shapes) == points
    symbolic = points_of(program, program.einsums[0])
    assert symbolic.subs({M: 10, P: 20}).doit() == points
