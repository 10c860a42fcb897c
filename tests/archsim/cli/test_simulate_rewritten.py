"""``archsim simulate --rewrite``: a factor left inside a sum, and taken out of it."""

from __future__ import annotations

import json
from pathlib import Path

from commands import refused, run

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
    for more, divisions in (((), pairs * 64), (("--rewrite", "factor:QK"), pairs)):
        found = json.loads(run(*asked, *more).stdout)
        done = [e["operations"].get("div", 0) for e in found["einsums"]]
        assert sum(done) == divisions


def test_a_rule_that_does_not_apply_says_why(tmp_path: Path) -> None:
    file = tmp_path / "scaled.yaml"
    file.write_text(SCALED)
    asked = ("simulate", "bert-base", "--set", f"cascade={file}", "--rewrite")
    for rule, said in (("factor:XX", "no Einsum 'XX'"), ("nope:QK", "no rewrite rule 'nope'")):
        assert said in refused(*asked, rule)
