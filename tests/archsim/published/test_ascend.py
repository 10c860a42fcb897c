"""FlashAttention on cube and vector units that meet in L2: what is handed over, what binds."""

from __future__ import annotations

import pytest

from archsim import Result, simulate

FORMATS = "formats={default: fp16, BQK: fp32, SLNV: fp32}"


def run(queries: int, keys: int) -> Result:
    shape = {"batch": 1, "H": 1, "E": 128, "F": 128, "P": queries, "M": keys}
    return simulate("bert-base", "ascend-910b2", "cube-and-vector", FORMATS, **shape)


@pytest.mark.parametrize("cores", [1, 16])
def test_what_a_thousand_keys_more_hand_over_in_l2(cores: int) -> None:
    """By hand: keys and values come in once, and go to each core; scores go out and back in
    fp32, weights in fp16, and a product of 128 x 128 for every 512 keys in fp32."""
    more, less = (
        next(t.total_bytes for t in run(128 * cores, n).traffic if t.level == "L2")
        for n in (4096, 3072)
    )
    inputs = 2 * 1024 * 128 * 2
    handed = 2 * (4 + 2) * 128 * 1024 + 2 * 4 * 2 * 128 * 128
    assert more - less == inputs + cores * (inputs + handed)


def test_many_cores_share_l2() -> None:
    """One core is bound by itself; sixteen by what they share."""
    one, many = ((run(n, 8192).latency_s - run(n, 4096).latency_s) / 4 for n in (128, 2048))
    l2 = (2 * 1024 * 128 * 2 + 16 * (2 * 1024 * 128 * 2 + 1835008)) / 4752e9
    assert one < l2 == pytest.approx(many, rel=1e-2)
