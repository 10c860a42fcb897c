"""What a last chunk lacks beyond the end of its sequence is neither computed nor counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from portions import left, some

from archsim import simulate
from einsum_cascade import Cascade
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.counting.symbolic import analyze
from einsum_cascade.notation import statement_text
from einsum_cascade.shapes import resolve_shapes

CHUNKED = (
    *("delta-rule-chunked", "gated-delta-rule-chunked", "kimi-delta-attention-chunked"),
    *("rwkv-7-chunked", "path-attention-chunked", "titans-deep-chunked", "rwkv-6-chunked"),
)
WIDTHS = {"E": 3, "F": 3, "N": 3}


def test_a_place_in_a_chunk_is_inside_of_the_sequence() -> None:
    """Where it is read at another variable than the one that it was made at."""
    program = Cascade.parse(
        "cascade: chunks\n"
        "ranks: {P: {is: positions, partition: [P1, P0]}, M0: {is: keys, like: P0}}\n"
        "inputs: {X: [P]}\noutputs: [Z, W]\neinsums: |\n"
        "  Y[p1, p0] = exp(X[p1*P0 + p0])\n  Z[p1]     = Y[p1, m0] * Y[p1, m0]\n"
        "  W[p1]     = Y[p1, p0] * Y[p1, m0] where m0 <= p0\n"
    ).program
    spelt = {e.name: statement_text(e) for e in with_masks(program).einsums}
    assert spelt["Y"] == "Y[p1, p0] = exp(X[p1*P0 + p0])"
    assert spelt["Z"] == "Z[p1] = Y[p1, m0] * Y[p1, m0] where p1 * P0 + m0 < P"
    assert spelt["W"] == "W[p1] = Y[p1, p0] * Y[p1, m0] where m0 <= p0"


@pytest.mark.parametrize("name", some(CHUNKED, 4))
@pytest.mark.parametrize(("length", "chunk"), [(5, 3), left(4, 9)])
def test_operations_are_those_of_the_tokens_there_are(
    tmp_path: Path, name: str, length: int, chunk: int
) -> None:
    program = Cascade.load(name).program
    known = WIDTHS | {"B": 1, "H": 2, "P": length, "P0": chunk}
    shapes = {r: n for r, n in known.items() if r in program.settable}
    path = tmp_path / "work.yaml"
    path.write_text(yaml.safe_dump({"workload": {"cascade": name, **shapes}}), encoding="utf-8")
    result = simulate(path, "edge", mapping="einsum-by-einsum")
    found = {e.name: dict(e.operations) for e in result.einsums}
    for einsum in analyze(program).at(resolve_shapes(program, shapes)).by_einsum:
        assert found[einsum.einsum] == dict(einsum.operations), einsum.einsum
