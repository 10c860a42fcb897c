"""Single rewrites: what they do to the equations, and what they refuse."""

from __future__ import annotations

import dataclasses

import pytest
from rewrite_cases import assert_same, equations

from einsum_cascade import Cascade, RewriteError
from einsum_cascade.rewrites import parse_rule, rewrite

CASCADE_1 = """
cascade: cascade-1
ranks: {K: elements}
inputs: {A: [K], B: [K]}
output: Z
einsums: |
  Y = A[k] * B[k]
  Z = Y * A[k]
"""

COSINE = """
cascade: cosine
ranks: {E: width, M: keys}
inputs: {Q: [E], K: [M, E]}
output: S
einsums: |
  N[m] = K[m, e] * K[m, e]
  S[m] = Q[e] * K[m, e] / sqrt(N[m])
"""


def added(cascade: Cascade, *rules: str) -> list[str]:
    """The equations of the result that the original does not have; checked element by element."""
    derivation = rewrite(cascade, *rules, prove_it=False)
    assert_same(cascade.program, derivation.program)
    old = equations(cascade.program)
    return [line for line in equations(derivation.program) if line not in old]


# ----------------------------------------------------------------- partition and back


def test_partition_writes_inputs_at_the_whole_index_and_the_rest_in_members() -> None:
    assert added(Cascade.load("attention-3pass"), "partition:M=M1,M0") == [
        "QK[m1, m0, p] = Q[p, e] * K[m1*M0 + m0, e]",
        "GM[p] = QK[m1, m0, p] :: max[m1, m0]",
        "SN[m1, m0, p] = exp(QK[m1, m0, p] - GM[p])",
        "SD[p] = SN[m1, m0, p]",
        "A[m1, m0, p] = SN[m1, m0, p] / SD[p]",
        "AV[p, f] = A[m1, m0, p] * V[m1*M0 + m0, f]",
    ]


def test_partition_splits_reductions_on_request() -> None:
    lines = added(Cascade.load("attention-naive-deferred"), "split_partition(M, M1, M0)")
    assert "LSD[m1, p] = SN[m1, m0, p]" in lines
    assert "SD[p] = LSD[m1, p]" in lines


def test_partition_into_three() -> None:
    lines = added(Cascade.load("attention-3pass"), "partition:M=M2,M1,M0")
    assert lines[0] == "QK[m2, m1, m0, p] = Q[p, e] * K[m2*M0*M1 + m1*M0 + m0, e]"


def test_partition_keeps_the_place_of_an_output() -> None:
    assert added(Cascade.load("log-softmax"), "partition:V=V1,V0")[-1] == (
        "Y[n, v1*V0 + v0] = X[n, v1*V0 + v0] - GM[n] - log(SD[n])"
    )


def test_partition_of_an_output_that_is_read_keeps_a_tensor_in_members() -> None:
    text = """
cascade: softmax-and-values
ranks: {M: keys, F: features}
inputs: {X: [M], V: [M, F]}
outputs: [A, Y]
einsums: |
  A[m] = exp(X[m])
  Y[f] = A[m] * V[m, f]
"""
    assert added(Cascade.parse(text), "partition:M=M1,M0") == [
        "BA[m1, m0] = exp(X[m1*M0 + m0])",
        "A[m1*M0 + m0] = BA[m1, m0]",
        "Y[f] = BA[m1, m0] * V[m1*M0 + m0, f]",
    ]


@pytest.mark.parametrize(
    ("cascade", "wanted"),
    [
        ("attention-t5-bias-causal", "TB[h, m1*M0 + m0] = TAB[h, BB[m1*M0 + m0]]"),
        ("attention-t5-bias-causal", "TB[h, p + M - P - m1*M0 - m0] where"),
        ("mamba-3-parallel", "KR[b, h, m1*M0 + m0, i, d]"),
    ],
)
def test_partition_leaves_whole_what_is_read_elsewhere(cascade: str, wanted: str) -> None:
    """A bias is read at the distance, a key at the place of another rank as long."""
    derivation = Cascade.load(cascade).rewrite("partition:M=M1,M0")
    assert any(wanted in line for line in equations(derivation.program))


@pytest.mark.parametrize(
    ("cascade", "rule"),
    [("depthwise-convolution", "partition:C=C1,C0"), ("mixture-of-heads", "partition:M=M1,M0")],
)
def test_windows_and_whole_parameters_can_be_proved(cascade: str, rule: str) -> None:
    """An input read at p + t is long enough, a parameter from its domain."""
    proof = Cascade.load(cascade).rewrite(rule).proof
    assert proof is not None
    assert proof.holds


def test_usual_sizes_go_to_the_rank_that_others_are_like() -> None:
    found = rewrite(Cascade.load("agent-attention"), "partition:I=I1,I0", prove_it=False).program
    assert {u.name: u.size for u in found.usual} == {"I": 14, "X": 14, "CY": 2, "CX": 2}


def test_partition_carries_masks_and_positions() -> None:
    lines = added(Cascade.load("lightning-attention"), "partition:M=M1,M0")
    assert lines[1] == (
        "W[p, m1, m0] = QK[p, m1, m0] * lam ** (p - (m1 * M0 + m0)) where m1 * M0 + m0 <= p"
    )


@pytest.mark.parametrize(
    "name",
    ["attention-3pass", "log-softmax", "layer-norm", "lightning-attention", "linear-attention"],
)
@pytest.mark.parametrize("members", ["{0}1,{0}0", "{0}2,{0}1,{0}0"])
def test_fuse_partition_undoes_partition(name: str, members: str) -> None:
    cascade = Cascade.load(name)
    rank = next(r for r in ("M", "V", "D") if r in cascade.program.rank_of)
    rules = (f"partition:{rank}={members.format(rank)}", f"fuse_partition:{rank}")
    back = rewrite(cascade, *rules, prove_it=False).program
    assert equations(back) == equations(cascade.program)
    assert back.ranks == cascade.program.ranks


def test_fuse_partition_needs_all_members_together() -> None:
    with pytest.raises(RewriteError, match="'LM': it uses m1 apart from the rest of 'M'"):
        Cascade.load("attention-2pass").rewrite("fuse_partition:M")


@pytest.mark.parametrize(
    ("cascade", "rule", "reason"),
    [
        ("attention-2pass", "partition:M=M3,M4", "'M' is already cut into M1, M0"),
        ("attention-2pass", "partition:M1=X1,X0", "'M1' is itself a member of 'M'"),
        ("attention-3pass", "partition:M=P,M0", "the rank 'P' exists already"),
        ("attention-3pass", "partition:M=M1,M1", "the rank 'M1' exists already"),
        ("attention-3pass", "partition:M=m1,M0", "'m1' cannot be a rank"),
        ("attention-3pass", "partition:N=N1,N0", "has no rank 'N'"),
        ("attention-3pass", "fuse_partition:M", "'M' has no members"),
        ("deepseek-sparse-attention", "partition:M=M1,M0", "at 'IX': topk selects along 'M'"),
        ("deepseek-sparse-attention", "partition:J=J1,J0", "at 'IX': topk selects along 'J'"),
        ("deepseek-sparse-attention-shared", "partition:M=M1,M0", "no equation walks 'M'"),
        (
            "log-linear-attention-recurrent",
            "partition:L=L1,L0",
            "at 'S': it is iterative, and read",
        ),
        ("agent-attention", "partition:DY=A1,A0", "'DY' has a shape of its own"),
        ("agent-attention", "partition:UY=A1,A0", "'UY' is as long as 'AY', a member of 'Y'"),
    ],
)
def test_partition_refusals(cascade: str, rule: str, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        Cascade.load(cascade).rewrite(rule)


def test_an_iterative_rank_is_not_partitioned() -> None:
    once = rewrite(Cascade.load("attention-3pass"), "make_iterative:GM", prove_it=False)
    with pytest.raises(RewriteError, match="iterative along 'M'"):
        rewrite(once.result, "partition:M=M1,M0")


# ------------------------------------------------------------------- defer and separate


def test_deferral_gives_the_published_deferred_cascade() -> None:
    derived = rewrite(Cascade.load("attention-3pass"), "defer_division", prove_it=False)
    assert equations(derived.program) == equations(Cascade.load("attention-3pass-deferred").program)


def test_deferral_of_a_product() -> None:
    assert added(Cascade.parse(CASCADE_1), "factor") == ["SA = A[k]", "Z = SA * Y"]


def test_deferral_opens_a_function_of_the_norm_only_once() -> None:
    assert added(Cascade.load("rms-norm-projection"), "defer_division:O") == [
        "XGW[n, j] = X[n, d] * G[d] * W[d, j]",
        "O[n, j] = XGW[n, j] * R[n]",
    ]


def test_deferral_applies_to_any_rank() -> None:
    assert added(Cascade.parse(COSINE), "defer_division") == [
        "QK[m] = Q[e] * K[m, e]",
        "S[m] = QK[m] / sqrt(N[m])",
    ]


def test_a_summand_leaves_a_maximum() -> None:
    text = CASCADE_1.replace("Z = Y * A[k]", "Z = A[k] - Y :: max[k]")
    assert added(Cascade.parse(text), "defer_division:Z") == ["GA = A[k] :: max[k]", "Z = GA - Y"]


def test_a_term_that_is_wholly_free_is_counted() -> None:
    text = CASCADE_1.replace("Z = Y * A[k]", "X[k] = Y ** 2\n  Z = X[k] * Y")
    assert added(Cascade.parse(text), "defer_division:Z") == ["Z = K * Y ** 2 * Y"]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("defer_division:GM", "every summand of its term has one of the reduced variables m"),
        ("defer_division:SD", "every factor of its term has one of the reduced variables m"),
        ("defer_division:SN", "it reduces nothing"),
        ("defer_division:XX", "no Einsum 'XX'"),
        ("separate:SD", "not a finite sum of two or more products"),
        ("separate:GM", "it is not a sum"),
    ],
)
def test_deferral_and_separation_refusals(rule: str, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        Cascade.load("attention-3pass").rewrite(rule)


def test_separation_gives_the_two_moments_and_reuses_the_sum_that_is_there() -> None:
    assert added(Cascade.load("layer-norm"), "separate:SQ") == [
        "XX[n] = X[n, d] * X[n, d]",
        "SQ[n] = XX[n] - S[n] * S[n] / D",
    ]


def test_exponentials_are_never_split() -> None:
    """exp(x - d) = exp(x) * exp(-d) is true on paper and overflows on a machine."""
    with pytest.raises(RewriteError, match="not a finite sum"):
        Cascade.load("attention-3pass").rewrite("separate:AV")


# ------------------------------------------------------------- reassociate, make_iterative


def test_reassociation_sums_the_other_rank_first() -> None:
    text = """
cascade: linear
ranks: {E: width, F: value width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: O
einsums: |
  QK[p, m] = Q[p, e] * K[m, e]
  W[p, m] = QK[p, m] / E
  O[p, f] = W[p, m] * V[m, f]
"""
    assert added(Cascade.parse(text), "reassociate") == [
        "KV[e, f] = K[m, e] * V[m, f]",
        "O[p, f] = Q[p, e] / E * KV[e, f]",
    ]


def test_reassociation_works_in_both_directions() -> None:
    lines = added(Cascade.load("linear-attention"), "reassociate:NV")
    assert lines == ["NNV[p, m] = PhiQ[p, e] * PhiK[m, e]", "NV[p, f] = V[m, f] * NNV[p, m]"]


@pytest.mark.parametrize(
    ("name", "rule", "reason"),
    [
        ("attention-naive", "reassociate:AV", r"'SN' is not linear in what it reads \(exp\)"),
        ("attention-naive", "reassociate:GM", "no Einsum 'GM'"),
        ("linear-attention-causal", "reassociate", "at 'NV': a mask ties m to other ranks"),
        ("layer-norm", "reassociate", "at 'SQ': 'C' is not linear in what it reads"),
    ],
)
def test_reassociation_refusals(name: str, rule: str, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        Cascade.load(name).rewrite(rule)


def test_a_sum_over_the_same_rank_is_no_chain() -> None:
    with pytest.raises(RewriteError, match="no Einsum sums over a sum of products"):
        Cascade.parse(CASCADE_1).rewrite("reassociate")


def test_a_reduction_becomes_iterative() -> None:
    assert added(Cascade.load("attention-3pass"), "make_iterative:GM") == [
        "RGM[0, p] = -inf",
        "RGM[m+1, p] = max(RGM[m, p], QK[m, p])",
        "SN[m, p] = exp(QK[m, p] - RGM[M, p])",
    ]


def test_a_reduction_becomes_iterative_over_tiles_and_keeps_its_type() -> None:
    cascade = Cascade.load("attention-3pass")
    program = dataclasses.replace(cascade.program, accumulate=(("SD", "float32"),))
    done = rewrite(program, "partition:M=M1,M0", "make_iterative:SD,M1", prove_it=False).program
    assert "LSD[m1, p] = SN[m1, m0, p]" in equations(done)
    assert done.accumulate == (("RSD", "float32"), ("LSD", "float32"))
    assert_same(program, done)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("make_iterative:SN", "it reduces nothing"),
        ("make_iterative:GM,P", "it does not reduce 'P'"),
        ("make_iterative:QQ", "no Einsum 'QQ'"),
        ("make_iterative:GM,Z", "no rank 'Z'"),
    ],
)
def test_make_iterative_refusals(rule: str, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        Cascade.load("attention-3pass").rewrite(rule)


# ---------------------------------------------------------------------- rules as text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("partition:M=M1,M0", "partition:M=M1,M0"),
        ("partition(M, M1, M0)", "partition:M=M1,M0"),
        (" partition : M = M2, M1, M0", "partition:M=M2,M1,M0"),
        ("split_partition:M=M1,M0", "split_partition:M=M1,M0"),
        ("fuse_partition:M", "fuse_partition:M"),
        ("factor", "defer_division"),
        ("defer_division(AV)", "defer_division:AV"),
        ("make_iterative:GM,M", "make_iterative:GM,M"),
        ("reduce_passes", "reduce_passes"),
        ("reduce_passes:M1", "reduce_passes:M1"),
        ("chunk:P,M", "chunk:P,M"),
    ],
)
def test_rules_are_read_from_text(text: str, canonical: str) -> None:
    assert str(parse_rule(text)) == canonical
    assert parse_rule(canonical) == parse_rule(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("reduce_pases", "no rewrite rule 'reduce_pases'.*\n.*did you mean 'reduce_passes'"),
        ("", "rules: partition, split_partition"),
        ("partition:M", "has 1 argument in.*\n.*write partition:M=M1,M0"),
        ("partition:M=M1,3", "'3' in 'partition:M=M1,3' is no name"),
        ("partition:M=M1,M0,", "an argument is empty in.*\n.*write partition:M=M1,M0"),
        ("partition:M=,M1,M0", "an argument is empty"),
        ("partition:M=", "an argument is empty"),
        ("partition:,", "an argument is empty"),
        ("partition:M=M1,M0)", r"'M0\)' in .* is no name"),
        ("partition(M, M1, M0", "no rewrite rule"),
        ("partition:", "has 0 arguments"),
        ("fuse_partition", "has 0 arguments"),
        ("separate:A,B", "has 2 arguments"),
        ("chunk:P", "has 1 argument"),
        ("reduce_passes:M;rm", "no rewrite rule|is no name"),
    ],
)
def test_wrong_rules_are_explained(text: str, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        parse_rule(text)


def test_a_rewrite_needs_a_rule() -> None:
    with pytest.raises(RewriteError, match="no rule is given"):
        rewrite(Cascade.load("attention-3pass"))
