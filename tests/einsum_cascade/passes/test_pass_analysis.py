"""Passes against the reference list, and against a search over every order of elements."""

from __future__ import annotations

import inspect
import json
import random
import re
import sys
from dataclasses import replace
from pathlib import Path

import pass_cascades
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pass_cascades import CASES, PASSES, TURNED
from pass_random import random_cascade, random_masked_cascade
from pass_search import passes_needed, sweeps_needed
from portions import examples, left, portions, some

from einsum_cascade import Cascade, ir
from einsum_cascade.errors import CascadeError
from einsum_cascade.passes.analysis import analyze_passes
from einsum_cascade.yaml.library import builtin_names

SIZES = dict.fromkeys("ACIJMPRSWDKTV", 3) | dict.fromkeys("DIKTV", 4)
SIZES |= {"E": 2, "F": 1, "N": 2, "R": 2, "S": 2, "M2": 3, "M1": 3, "M0": 3}
"""Small shapes. A rank needs more elements than passes: one is always in hand."""

ALL = [(name, rank, count) for name, ranks in PASSES.items() for rank, count in ranks.items()]


def program(name: str) -> ir.Program:
    return Cascade.parse(CASES[name]).program


def sizes(cascade: ir.Program) -> dict[str, int]:
    found = dict(SIZES)
    for rank in cascade.ranks:
        if rank.partition:
            found[rank.name] = 3 ** len(rank.partition)
    if "M" in cascade.rank_of and not cascade.rank_of["M"].partition:
        found["M"] = 4 if len(cascade.einsums) > 7 else 3
    return found


@pytest.mark.parametrize(("name", "rank", "count"), ALL)
def test_passes_of_known_cascades(name: str, rank: str, count: int) -> None:
    assert Cascade.parse(CASES[name]).passes(rank).count == count


def test_every_case_has_an_expectation() -> None:
    assert set(CASES) == set(PASSES)


@pytest.mark.parametrize(("name", "rank", "count"), some(ALL, 5))
def test_no_order_of_elements_needs_fewer_passes(name: str, rank: str, count: int) -> None:
    cascade = program(name)
    turned = TURNED.get(name, ())
    assert passes_needed(cascade, rank, sizes(cascade), turned=turned) == count
    if name != "three-pass-window":  # its fibers are as short as the window
        sweeps = sweeps_needed(cascade, rank, sizes(cascade), turned=turned)
        assert analyze_passes(cascade).of(rank).sweeps == sweeps


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("attention-naive", {"M": 2, "P": 1}),
        ("attention-naive-deferred", {"M": 1}),
        ("attention-3pass", {"M": 3}),
        ("attention-3pass-deferred", {"M": 2}),
        ("attention-2pass", {"M": 2, "M1": 3, "M0": 3}),
        ("attention-1pass", {"M": 1, "M1": 1, "M0": 2}),
        ("linear-attention", {"M": 1, "P": 1}),
    ],
)
def test_passes_of_built_in_cascades(name: str, passes: dict[str, int]) -> None:
    cascade = Cascade.load(name)
    assert {rank: cascade.passes(rank).count for rank in passes} == passes


@settings(max_examples=examples(40), deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_cascades_over_one_rank(source: random.Random) -> None:
    text = random_cascade(source, ("k",), "K: elements")
    _agrees(text, {"K": 5}, exact=("K",))


@settings(max_examples=examples(25), deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_cascades_over_two_ranks(source: random.Random) -> None:
    text = random_cascade(source, ("k", "p"), "K: elements, P: rows")
    _agrees(text, {"K": 4, "P": 4}, exact=("K", "P"))


@settings(max_examples=examples(50), deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_cascades_over_a_partitioned_rank(source: random.Random) -> None:
    text = random_cascade(source, ("m1", "m0"), "M: {is: elements, partition: [M1, M0]}")
    _agrees(text, {"M": 12, "M1": 4, "M0": 3}, exact=("M1",), bound=("M",))


def _agrees(
    text: str, shapes: dict[str, int], exact: tuple[str, ...], bound: tuple[str, ...] = ()
) -> None:
    """``exact`` ranks have the passes of the search; of ``bound`` ranks no order has fewer.

    A family can mix tiles held by rows and by columns, which no single order can do.
    """
    try:
        cascade = Cascade.parse(text).program
    except CascadeError:
        assume(False)  # a rank or an input that the draw did not use
        return
    found = analyze_passes(cascade)
    for rank in exact:
        at = found.of(rank)
        assert at.count == passes_needed(cascade, rank, shapes), text
        assert at.sweeps == sweeps_needed(cascade, rank, shapes), text
    for at in found.ranks:
        assert {b.opens for b in at.barriers} == {*range(2, at.count + 1)}, (text, at.rank)
    for rank in bound:
        assert found.of(rank).count <= passes_needed(cascade, rank, shapes), text
        assert found.of(rank).sweeps <= sweeps_needed(cascade, rank, shapes), text


# ------------------------------------------------------------------ masks


LIKE = "M: keys, P: {is: queries, like: M}, W: window"
RUNNING = """B[p] = 2 * X[p]
S[p] = B[m] where {mask}
Y[p] = B[p] / S[p]"""


@pytest.mark.parametrize(
    ("mask", "count", "at_most"),
    [
        ("m <= p", 1, False),
        ("m < p", 1, False),
        ("not m > p", 1, False),
        ("p <= m", 1, False),  # from the end to the start
        ("m == p", 1, False),
        ("m <= p and p - W < m", 1, False),
        ("m < P", 2, False),  # all of them
        ("p != m", 2, False),
        ("m <= p + W", 2, True),  # a window ahead is a line buffer, if it is short
        ("m <= p or m < W", 2, True),
        ("G[m] <= G[p]", 2, True),  # data may let no later one through
    ],
)
def test_a_mask_ties_a_reader_to_the_elements_before_it(
    mask: str, count: int, at_most: bool
) -> None:
    inputs = "X: [P], G: [P], V: [W]" if "G" in mask else "X: [P], V: [W]"
    body = RUNNING.format(mask=mask) + "\nU = V[w]"
    text = pass_cascades.cascade(body, LIKE, inputs, "[Y, U]")
    found = Cascade.parse(text).passes("P")
    assert (found.count, found.at_most) == (count, at_most)


@settings(max_examples=examples(50), deadline=None)
@given(st.randoms(use_true_random=False))
def test_no_masked_cascade_needs_more_passes_than_counted(source: random.Random) -> None:
    text = random_masked_cascade(source, ("k <= p", "p <= k", "k < p"))
    for count, _, needed in _searched(text):
        assert count >= needed, text


@pytest.mark.parametrize("seed", portions(400, 40))
def test_passes_of_masked_cascades_are_exact_or_said_to_be_a_bound(seed: int) -> None:
    found = []
    for number in range(seed, seed + 40):
        text = random_masked_cascade(random.Random(number), ("k <= p", "p <= k"))
        for count, at_most, needed in _searched(text):
            assert count == needed or at_most, text
            found.append(count == needed > 1)
    assert sum(found) > 1


def _searched(text: str) -> list[tuple[int, bool, int]]:
    """Passes counted, whether as a bound, and needed, over each rank an Einsum runs over."""
    try:
        cascade = Cascade.parse(text).program
    except CascadeError:
        return []  # a rank or an input that the draw did not use
    used = {v for e in cascade.einsums for v in e.variables}
    found = analyze_passes(cascade)
    shapes = {"K": 4, "P": 4}
    return [
        (at.count, at.at_most, passes_needed(cascade, at.rank, shapes))
        for at in found.ranks
        if at.rank.lower() in used
    ]


def test_a_window_shortens_a_fiber_and_saves_no_pass() -> None:
    """However it is written: what a mask allows as a distance is the length of the fiber."""
    for window in ("p - W < m", "p < m + W", "p - m < W", "p - 3 < m"):
        text = CASES["three-pass-window"].replace("p - W < m", window)
        found = Cascade.parse(text).passes("M")
        assert (found.count, found.at_most) == (3, False)


def test_a_mask_on_an_operand_reaches_what_reads_it() -> None:
    once = """Z[p] = 2 * X[p]
    T[m, p] = Z[m] * C[p] where m <= p
    S[p] = T[m, p] * Z[m]
    Y[p] = Z[p] / S[p]"""
    text = pass_cascades.cascade(once, LIKE[: LIKE.index(", W")], "X: [P], C: [P]", "Y")
    assert Cascade.parse(text).passes("P").count == 1


@pytest.mark.parametrize(
    "name", ["gla-chunked", "delta-rule-chunked", left("gated-delta-rule-chunked")]
)
def test_chunks_are_one_pass_in_which_an_order_exists(name: str) -> None:
    cascade = Cascade.load(name).program
    shapes = dict.fromkeys((r.name for r in cascade.ranks), 1) | dict.fromkeys("PM", 3)
    shapes |= {"P0": 3, "M0": 3, "S0": 3}
    assert analyze_passes(cascade).of("P0").count == 1
    assert analyze_passes(cascade).of("P0").sweeps == 1
    assert passes_needed(cascade, "P0", shapes) == sweeps_needed(cascade, "P0", shapes) == 1


# ------------------------------------------------------------------ what is reported


def test_barriers_are_told_in_words() -> None:
    first, second = Cascade.parse(CASES["three-pass"]).passes("M").barriers
    assert first.because == (
        "QK is produced element by element along m",
        "GM reduces QK over m by max: complete only when every m has been seen",
        "SN needs GM and touches QK along m again: it can only start pass 2",
    )
    assert (first.einsum, first.opens, first.revisits) == ("SN", 2, ("QK",))
    assert first.chain == "QK -> GM (max over m) -> SN"
    assert second.chain == "SN -> SD (sum over m) -> A"


@pytest.mark.parametrize(
    ("name", "rank", "chains"),
    [
        ("layer-norm", "D", ["X -> MU (sum over d) -> C", "C -> VAR (sum over d) -> Y"]),
        ("top-k", "M", ["S -> IDX (topk over m) -> SJ"]),
        ("divide-by-total", "T", ["X -> S (at its stop) -> Y"]),
        ("local-maxima", "M", ["SLN -> SLD (sum over m0) -> SD (sum over m1) -> A"]),
        ("online", "M0", ["BQK -> LM (max over m0) -> RM -> SLN"]),
        ("both-ways", "T", ["R (opposite order of t)"]),
        ("linear", "M", []),
    ],
)
def test_chains(name: str, rank: str, chains: list[str]) -> None:
    assert [b.chain for b in Cascade.parse(CASES[name]).passes(rank).barriers] == chains


def test_pass_of_every_einsum() -> None:
    assert dict(Cascade.parse(CASES["local-maxima"]).passes("M1").pass_of) == {
        **dict.fromkeys(("BQK", "LM", "SLN", "SLD", "GM"), 1),
        **dict.fromkeys(("PLM", "SD"), 2),
        **dict.fromkeys(("A", "AV"), 3),
    }


def test_tensors_that_are_read_again() -> None:
    tensors = Cascade.parse(CASES["log-softmax"]).passes("V").tensors
    assert {t.tensor: t.reread for t in tensors if t.reread} == {"X": (2, 3)}


def test_waiting_for_another_tensor_is_a_sweep_but_no_pass() -> None:
    found = Cascade.parse(CASES["other-tensor"]).passes("K")
    assert (found.count, found.sweeps, found.barriers) == (1, 2, ())
    assert dict(found.sweep_of) == {"Y": 1, "Z": 2}


ROOT = Path(__file__).parents[3]
EXCEPTIONS = dict(
    re.findall(
        r"`([\w-]+)` \(([A-Z0-9,\s]+)\)",
        (ROOT / "docs/passes.md")
        .read_text(encoding="utf-8")
        .split("## Passes and sweeps")[1]
        .split("\n## ")[0],
    )
)
"""Ranks of built-in cascades with more sweeps than passes, as the page names them."""
QUICK = ("delta-product", "landmark-retrieval", "native-sparse-attention-overlapped", "dsf")


@pytest.mark.parametrize("name", [n if n in QUICK else left(n) for n in builtin_names("cascades")])
def test_built_in_cascades_have_a_reason_for_every_pass_and_the_sweeps_of_the_page(
    name: str,
) -> None:
    ranks = analyze_passes(Cascade.load(name).program).ranks
    for rank in ranks:
        assert {b.opens for b in rank.barriers} == {*range(2, rank.count + 1)}, rank.rank
    more = {rank.rank for rank in ranks if rank.sweeps > rank.count}
    assert more == set(EXCEPTIONS.get(name, "").replace(",", "").split())


def test_the_page_of_passes_names_built_in_cascades_alone() -> None:
    assert EXCEPTIONS.keys() <= set(builtin_names("cascades"))


def test_a_gather_on_the_way_reduces_nothing() -> None:
    (barrier,) = Cascade.load("landmark-retrieval").passes("E").barriers
    assert barrier.chain == "Q -> SL (sum over e) -> IX -> SB"
    assert not any("SB reduces" in line for line in barrier.because)


def test_a_sweep_is_never_less_than_a_pass() -> None:
    for name in CASES:
        for rank in analyze_passes(program(name)).ranks:
            assert rank.sweeps >= rank.count, (name, rank.rank)


def test_what_stands_before_a_loop_does_not_add_to_the_passes_of_a_step() -> None:
    """A gate computed once per channel is read in every token; a token still takes two."""
    text = CASES["delta-rule"].replace("S[t, a, f] + K", "G[a] * S[t, a, f] + K")
    text = text.replace("  U[t, f]", "  G[a] = sigmoid(W[a])\n  U[t, f]", 1)
    text = text.replace("V: [T, F]}", "V: [T, F], W: [A]}")
    assert Cascade.parse(text).passes("A").count == 2


@pytest.mark.parametrize("name", ["online", "three-pass", "delta-rule", "top-k"])
def test_the_order_of_statements_does_not_matter(name: str) -> None:
    cascade = program(name)
    turned = replace(cascade, einsums=cascade.einsums[::-1])
    expected = {r.rank: (r.count, dict(r.pass_of)) for r in analyze_passes(cascade).ranks}
    assert {r.rank: (r.count, dict(r.pass_of)) for r in analyze_passes(turned).ranks} == expected


def test_ranks_nothing_is_said_of() -> None:
    cascade = replace(program("three-pass"), parallel=("B",))
    found = analyze_passes(replace(cascade, ranks=(*cascade.ranks, ir.Rank(name="Z"))))
    assert found.of("B").count == 1
    assert set(dict(found.of("B").pass_of)) == {"QK", "GM", "SN", "SD", "A", "AV"}
    assert found.of("Z").count == 0
    assert [r.rank for r in found.ranks] == ["E", "F", "P", "M"]


def test_an_unknown_rank_is_refused_with_the_nearest() -> None:
    with pytest.raises(CascadeError, match=r"no rank 'M2'[\s\S]*did you mean 'M"):
        Cascade.parse(CASES["online"]).passes("M2")


def test_a_reduction_that_is_not_associative_is_refused() -> None:
    cascade = program("two-pass")
    x, y = (ir.Name(name=n, kind="parameter") for n in "xy")
    mean = ir.Binary(
        operator="/", left=ir.Binary(operator="+", left=x, right=y), right=ir.Number(value=2)
    )
    wrong = ir.UserReduction(name="mean", arguments=("x", "y"), body=mean, identity=0)
    with pytest.raises(CascadeError, match="'mean' is not associative"):
        analyze_passes(replace(cascade, reductions=(wrong,)))


def test_json_holds_the_contract() -> None:
    found = json.loads(json.dumps(analyze_passes(program("three-pass")).to_dict()))
    assert found["M"]["passes"] == 3
    assert found["M"]["einsums"] == {"QK": 1, "GM": 1, "SN": 2, "SD": 2, "A": 3, "AV": 3}
    assert [b["einsum"] for b in found["M"]["barriers"]] == ["SN", "A"]
    assert all(isinstance(line, str) for b in found["M"]["barriers"] for line in b["because"])
    assert found["E"] == {
        "passes": 1,
        "at_most": False,
        "grain": "rank",
        "sweeps": 1,
        "barriers": [],
        "einsums": {"QK": 1},
        "einsum_sweeps": {"QK": 1},
        "reread": {},
    }


def test_html_shows_every_rank() -> None:
    table = analyze_passes(program("three-pass"))._repr_html_()
    assert table.count("<tr>") == 5
    assert "QK -&gt; GM (max over m) -&gt; SN" in table


def test_a_long_chain_of_einsums_does_not_exhaust_the_stack() -> None:
    links = 150
    chain = "".join(f"  T{i}[m] = 2 * T{i - 1}[m]\n" for i in range(1, links))
    cascade = Cascade.parse(
        "cascade: chain\nranks: [M]\ninputs: {X: [M]}\noutput: Y\n"
        f"einsums: |\n  T0[m] = X[m]\n{chain}  Y = T{links - 1}[m]\n"
    )
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + links)
    try:
        assert cascade.passes("M").count == 1
    finally:
        sys.setrecursionlimit(limit)


def test_a_mask_that_compares_with_infinity_orders_nothing() -> None:
    head = "cascade: a\nranks: [M, P]\ninputs: {X: [M, P]}\noutput: Y\n"
    cascade = Cascade.parse(f"{head}einsums: |\n  Y[p] = X[m, p] where m < inf\n")
    assert cascade.passes("M").count == 1
    assert str(cascade.analyze().by_einsum[0].points) == "M*P"


def test_turned_twice_about_ends_that_differ_is_not_in_order_again() -> None:
    def count(end: str) -> int:
        text = f"""
cascade: turned
ranks: {{M: keys, T: others}}
inputs: {{X: [M], W: [T]}}
outputs: [D, U]
einsums: |
  A[m] = exp(X[m])
  B[m] = exp(A[{end} - 1 - m])
  C[m] = exp(B[M - 1 - m])
  D[m] = C[m] * X[m]
  U[t] = exp(W[t])
"""
        return Cascade.parse(text).passes("M").count

    # B goes through A from its end and C through B from its end: C meets A in order, in one pass.
    assert count("M") == 1
    # From T elements in, the two are T - M apart, which may be all of a fiber.
    assert count("T") == 2
