"""``reduce_passes`` on cascades as users write them: passes, operations, numbers, refusals."""

from __future__ import annotations

from itertools import cycle

import pytest
from portions import left, some
from rewrite_cases import REDUCIBLE, REFUSED, Case

from einsum_cascade import Cascade, RewriteError
from einsum_cascade.ir import Program
from einsum_cascade.notation import program_text, statement_text
from einsum_cascade.passes.analysis import analyze_passes
from einsum_cascade.rewrites import Derivation, rewrite
from einsum_cascade.rewrites.proof import count_operations

ONE_PASS_NAMES = {
    "QK": "BQK",
    "LGM": "LM",
    "RGM": "RM",
    "SN": "SLN",
    "LSD": "SLD",
    "CGM": "PRM",
    "PSD": "SPD",
    "RSD": "RD",
    "LSNV": "SLNV",
    "PSNV": "SPNV",
    "RSNV": "RNV",
}
"""Names that ``reduce_passes`` gives, and those of the published one-pass cascade."""

BUILT_IN = (
    ("attention-3pass", "M", 3, 1),
    ("attention-3pass-deferred", "M", 2, 1),
    ("attention-naive", "M", 2, 1),
    ("attention-2pass", "M", 2, 1),
    ("attention-sink", "M", 3, 1),
    ("attention-temperature", "M", 3, 1),
    ("attention-squared-softmax", "M", 3, 1),
    ("cross-entropy", "V", 2, 1),
    ("log-softmax", "V", 3, 2),
    ("layer-norm", "D", 3, 2),
    ("rms-norm-projection", "D", 2, 1),
)


FIRST = ((), ("partition:M=M1,M0",), ("split_partition:M=M1,M0",))
IN_TURN = [[*zip(cycle(FIRST[n:] + FIRST[:n]), REDUCIBLE)] for n in range(3)]
"""Every case as it is or in one of two kinds of tiles; then in another; then in the third."""


def passes(program: Program, rank: str) -> int:
    return next(r.count for r in analyze_passes(program).ranks if r.rank == rank)


def check(derivation: Derivation[Cascade], rank: str, before: int, after: int) -> None:
    """Passes as expected, numbers equal, and the product a cascade like any other."""
    assert passes(derivation.start, rank) == before
    assert passes(derivation.program, rank) == after
    assert derivation.proof is not None
    assert derivation.proof.error_float64 <= 1e-9
    assert derivation.proof.error_float16_after < 0.2
    text = program_text(derivation.program)
    assert Cascade.parse(text).program == derivation.program


@pytest.mark.parametrize(("name", "rank", "before", "after"), some(BUILT_IN, 2))
def test_built_in_cascades_lose_passes(name: str, rank: str, before: int, after: int) -> None:
    check(Cascade.load(name).rewrite("reduce_passes"), rank, before, after)


@pytest.mark.parametrize(
    ("name", "rank", "before", "after"),
    some([b for b in BUILT_IN if b[0] != "attention-2pass"], 2, 1),
)
def test_built_in_cascades_lose_passes_by_tiles(
    name: str, rank: str, before: int, after: int
) -> None:
    derivation = Cascade.load(name).rewrite(
        f"partition:{rank}={rank}1,{rank}0", f"reduce_passes:{rank}1"
    )
    check(derivation, rank, before, after)
    assert passes(derivation.program, f"{rank}1") == after


@pytest.mark.parametrize(
    ("rules", "case"),
    [*some(IN_TURN[0], 8), *(left(*c) for c in IN_TURN[1] + IN_TURN[2])],
    ids=lambda v: v.name if isinstance(v, Case) else "then".join(v),
)
def test_other_cascades_lose_passes(case: Case, rules: tuple[str, ...]) -> None:
    derivation = Cascade.parse(case.yaml).rewrite(*rules, "reduce_passes")
    check(derivation, case.rank, case.before, case.after)


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refusals_name_the_failing_condition(name: str, text: str, reason: str) -> None:
    cascade = Cascade.parse(f"cascade: {name}{text}")
    with pytest.raises(RewriteError, match=reason):
        cascade.rewrite("reduce_passes")


def test_a_refusal_shows_the_line_of_the_einsum() -> None:
    name, text, _ = REFUSED[0]
    with pytest.raises(RewriteError) as refused:
        Cascade.parse(f"cascade: {name}{text}", "mine.yaml").rewrite("reduce_passes:M")
    assert str(refused.value).startswith("mine.yaml:7:3: reduce_passes does not apply at 'I'")
    assert "I[j, p] << topk(QK[m, p], j)" in str(refused.value)


def test_a_refusal_says_along_which_ranks_there_is_a_derivation() -> None:
    """E waits for itself at every step; the keys need one pass for all that."""
    path = Cascade.load("path-attention")
    with pytest.raises(RewriteError, match="merged with the next; reduce_passes:M can be derived"):
        path.rewrite("reduce_passes")
    assert path.passes("M").count == 2
    assert path.rewrite("reduce_passes:M").result.passes("M").count == 1


def test_the_three_pass_cascade_becomes_the_published_one_pass_cascade() -> None:
    """Equal to Cascade 5, Einsum by Einsum and in the same order, up to names."""
    derivation = Cascade.load("attention-3pass").rewrite("partition:M=M1,M0", "reduce_passes:M1")
    published = Cascade.load("attention-1pass").program
    derived = _renamed(derivation.program, ONE_PASS_NAMES)
    assert _equations(derived) == _equations(published)
    assert dict(count_operations(derived)) == dict(count_operations(published))


def test_several_consumers_share_one_correction() -> None:
    derivation = Cascade.load("attention-3pass").rewrite("reduce_passes")
    corrections = [e.name for e in derivation.program.einsums if e.name.startswith("C")]
    assert corrections == ["CGM"]


def test_what_a_mask_leaves_empty_stays_a_number() -> None:
    """The first steps see nothing through the mask: exp(-inf - -inf) must not appear."""
    case = next(c for c in REDUCIBLE if c.name == "mask-that-starts-empty")
    derivation = Cascade.parse(case.yaml).rewrite("reduce_passes")
    assert "FG[m, p] = where(RG[m+1, p] != -inf, RG[m+1, p], 0)" in derivation.text()


def test_a_sweep_that_is_running_already_is_continued() -> None:
    text = """
cascade: half-done
ranks: {P: rows, M: columns, F: features}
inputs: {X: [P, M], W: [M, F]}
output: Y
init: |
  R[0, p] = -inf ; D[0, p] = 0
einsums: |
  R[m+1, p] = max(R[m, p], X[p, m])
  C[m, p] = exp(R[m, p] - R[m+1, p])
  D[m+1, p] = D[m, p] * C[m, p] + exp(X[p, m] - R[m+1, p])
  Y[p, f] = exp(X[p, m] - R[M, p]) * W[m, f] / D[M, p]
"""
    check(Cascade.parse(text).rewrite("reduce_passes"), "M", 2, 1)


def test_the_softmax_over_what_was_selected_is_reduced_on_its_own_rank() -> None:
    name, text, _ = next(r for r in REFUSED if r[0] == "top-k-then-softmax")
    check(Cascade.parse(f"cascade: {name}{text}").rewrite("reduce_passes:J"), "J", 3, 1)


def test_a_softmax_over_two_ranks_runs_along_the_first() -> None:
    text = """
cascade: two-ranks
ranks: {P: rows, A: tiles, B: columns, F: features}
inputs: {X: [P, A, B], V: [A, B, F]}
output: Y
einsums: |
  G[p] = X[p, a, b] :: max[a, b]
  E[p, a, b] = exp(X[p, a, b] - G[p])
  D[p] = E[p, a, b]
  Y[p, f] = E[p, a, b] * V[a, b, f] / D[p]
"""
    check(Cascade.parse(text).rewrite("reduce_passes"), "A", 3, 1)


def test_a_normalisation_on_another_rank_is_reduced_too() -> None:
    text = """
cascade: cosine-attention
ranks: {E: width, F: value width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: AV
einsums: |
  NK[m] = K[m, e] ** 2
  KN[m, e] = K[m, e] / sqrt(NK[m])
  S[p, m] = Q[p, e] * KN[m, e]
  G[p] = S[p, m] :: max[m]
  SN[p, m] = exp(S[p, m] - G[p])
  SD[p] = SN[p, m]
  A[p, m] = SN[p, m] / SD[p]
  AV[p, f] = A[p, m] * V[m, f]
"""
    derivation = Cascade.parse(text).rewrite("reduce_passes")
    check(derivation, "M", 3, 1)
    check(derivation, "E", 2, 1)


def test_rewriting_twice_finds_nothing_left() -> None:
    once = Cascade.load("attention-3pass").rewrite("reduce_passes").result
    with pytest.raises(RewriteError, match="waits for the end of a sweep"):
        once.rewrite("reduce_passes")


def test_a_rank_that_is_not_swept_is_refused() -> None:
    cascade = Cascade.load("attention-2pass")
    with pytest.raises(RewriteError, match="'M0' lies inside 'M1'"):
        cascade.rewrite("reduce_passes:M0")
    with pytest.raises(RewriteError, match=r"no rank 'N'"):
        cascade.rewrite("reduce_passes:N")


def _renamed(program: Program, names: dict[str, str]) -> Program:
    text = program_text(program)
    for old, new in sorted(names.items(), key=lambda n: -len(n[0])):
        text = text.replace(f" {old}[", f" <{new}>[").replace(f"({old}[", f"(<{new}>[")
    return rewritten_text(text)


def rewritten_text(text: str) -> Program:
    return Cascade.parse(text.replace("<", "").replace(">", "")).program


def _equations(program: Program) -> list[str]:
    return [statement_text(e) for e in (*program.init, *program.einsums)]


def test_rewrite_accepts_a_program_and_rule_objects() -> None:
    from einsum_cascade.rewrites import Partition, ReducePasses

    program = Cascade.load("attention-3pass").program
    by_text = rewrite(program, "partition:M=M1,M0", "reduce_passes")
    by_object = rewrite(program, Partition("M", ("M1", "M0")), ReducePasses())
    by_list = rewrite(program, ["partition:M=M1,M0", ReducePasses()])
    assert by_text.program == by_object.program
    assert [e.name for e in by_list.program.einsums] == [e.name for e in by_text.program.einsums]
    assert by_text.result == by_text.program
