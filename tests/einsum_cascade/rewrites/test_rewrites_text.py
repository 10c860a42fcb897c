"""Printed derivations, and the documentation that shows one."""

from __future__ import annotations

from places import ROOT

from einsum_cascade import Cascade
from einsum_cascade.rewrites import RULES, rewrite

DOCUMENT = ROOT / "docs" / "rewrites.md"

CROSS_ENTROPY = """\
cross-entropy:
     GM[n] = X[n, v] :: max[v]
     SN[n, v] = exp(X[n, v] - GM[n])
     SD[n] = SN[n, v]
     XT[n] = X[n, v] * T[n, v]
     L[n] = GM[n] + log(SD[n]) - XT[n]

1. reduce_passes:V
   because SD: exp(X[n, v] - GM''[n]) = exp(GM'[n] - GM''[n]) * exp(X[n, v] - GM'[n])
   - GM[n] = X[n, v] :: max[v]
   - SN[n, v] = exp(X[n, v] - GM[n])
   - SD[n] = SN[n, v]
   - L[n] = GM[n] + log(SD[n]) - XT[n]
   + RGM[0, n] = -inf
   + RSD[0, n] = 0
   + RGM[v+1, n] = max(RGM[v, n], X[n, v])
   + SN[n, v] = exp(X[n, v] - RGM[v+1, n])
   + CGM[v, n] = exp(RGM[v, n] - RGM[v+1, n])
   + PSD[v, n] = RSD[v, n] * CGM[v, n]
   + RSD[v+1, n] = SN[n, v] + PSD[v, n]
   + L[n] = RGM[V, n] + log(RSD[V, n]) - XT[n]
   hint: the corrections run for every element of V; for every tile, partition it first: \
partition:V=V1,V0"""


def test_a_derivation_tells_each_step_with_its_identity() -> None:
    derivation = rewrite(Cascade.load("cross-entropy"), "reduce_passes", prove_it=False)
    assert derivation.text() == CROSS_ENTROPY
    assert str(derivation) == CROSS_ENTROPY


def test_the_proof_is_a_table() -> None:
    derivation = Cascade.load("cross-entropy").rewrite("reduce_passes")
    assert derivation.proof is not None
    lines = [" ".join(line.split()) for line in derivation.proof.text().splitlines()]
    assert lines[0] == "before after"
    assert "passes over V 2 1" in lines
    assert "exp N*V 2*N*V" in lines
    assert "mul 0 N*V" in lines
    assert lines[-1] == "(run with N=3, V=12)"
    assert "<pre>cross-entropy:" in derivation._repr_html_()


def test_the_documentation_shows_what_really_comes_out() -> None:
    derivation = Cascade.load("attention-3pass").rewrite("partition:M=M1,M0", "reduce_passes")
    shown = DOCUMENT.read_text(encoding="utf-8")
    steps = derivation.text().split("\nproof\n")[0]
    for line in steps.splitlines():
        assert f"    {line}".rstrip() in shown


def test_the_documentation_names_every_rule() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for rule in RULES:
        assert f"`{rule.name}" in text


def test_a_result_has_a_name_and_a_title_of_its_own() -> None:
    result = rewrite(Cascade.load("cross-entropy"), "reduce_passes", prove_it=False).result
    assert result.name == "cross-entropy-rewritten"
    assert result.program.title == "cross-entropy after reduce_passes"
    assert result.program.origin == Cascade.load("cross-entropy").program.origin
