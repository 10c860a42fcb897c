"""``archsim simulate --rewrite``: a factor left inside a sum, and taken out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import refused, run

from archsim import Result
from archsim.quantities import engineering

SCALED = """
cascade: scaled
parallel: [B, H]
ranks: {E: query/key width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E]}
output: QK
einsums: |
  QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)
"""


def test_a_factor_is_divided_by_once(tmp_path: Path) -> None:
    file = tmp_path / "scaled.yaml"
    file.write_text(SCALED)
    asked = ("simulate", "bert-base", "--json", "--set", f"cascade={file}", "--set", "seq_len=256")
    pairs = 64 * 12 * 256 * 256
    plain, found = (
        json.loads(run(*asked, *more).stdout) for more in ((), ("--rewrite", "factor:QK"))
    )
    for result, scalings in ((plain, pairs * 64), (found, pairs)):
        done = [e["operations"].get("mul", 0) for e in result["einsums"]]
        assert sum(done) == scalings
    assert found["before_rewrite"] == {
        "latency_s": plain["latency_s"],
        "traffic_bytes": plain["bounds"]["traffic_bytes"],
        "energy_pj": plain["energy_pj"]["total"],
    }
    assert not [note for note in found["notes"] if note["kind"] == "rewrite"]


DIVIDED = """
cascade: divided
parallel: [B, H]
ranks: {E: query/key width, F: value width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M, F], D: [P], G: [M]}
output: AV
einsums: |
  QK[m, p] = Q[p, e] * K[m, e] / D[p] / G[m]
  SN[m, p] = exp(QK[m, p])
  SD[p] = SN[m, p]
  AV[p, f] = SN[m, p] / SD[p] * V[m, f]
"""


@pytest.mark.parametrize("machine", ["fusemax", "edge"])
def test_a_note_says_what_rewrites_are_worth(tmp_path: Path, machine: str) -> None:
    file = tmp_path / "divided.yaml"
    file.write_text(DIVIDED)
    asked = ("simulate", "bert-base", machine, "--json", "--set", f"cascade={file}")
    asked += ("--set", "seq_len=512")
    plain = Result.from_dict(json.loads(run(*asked).stdout))
    (worth,) = (note for note in plain.notes if note.kind == "rewrite")
    options, _, latencies = worth.partition(": lower bound ")
    found = Result.from_dict(json.loads(run(*asked, *options.split()).stdout))
    before, after = (engineering(r.floor.latency_s, "s") for r in (plain, found))
    assert latencies == f"{after} instead of {before}"
    assert options.split() == ["--rewrite", "factor:QK", "--rewrite", "factor:AV"]
    assert found.latency_s < plain.floor.latency_s


def test_a_rewrite_that_costs_says_so() -> None:
    asked = ("bert-base", "--set", "cascade=attention-3pass", "--set", "seq_len=4096", "--json")
    found = Result.from_dict(
        json.loads(run("simulate", *asked, "--rewrite", "reduce_passes").stdout)
    )
    assert found.before_rewrite is not None
    assert found.latency_s > 2 * found.before_rewrite.latency_s
    (note,) = (note for note in found.notes if note.kind == "rewrite")
    assert note.startswith("the rewrite costs: latency ")
    assert "what the rewrite costs or saves" in str(found.table())


def test_a_rule_that_does_not_apply_says_why(tmp_path: Path) -> None:
    file = tmp_path / "scaled.yaml"
    file.write_text(SCALED)
    asked = ("simulate", "bert-base", "--set", f"cascade={file}", "--rewrite")
    for rule, said in (("factor:XX", "no Einsum 'XX'"), ("nope:QK", "no rewrite rule 'nope'")):
        assert said in refused(*asked, rule)
