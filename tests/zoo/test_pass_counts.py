"""Passes over the keys of every cascade of the zoo, from the mathematics of each."""

from __future__ import annotations

import pytest

from einsum_cascade import Cascade

PASSES: list[tuple[str, str, int]] = [
    # A running maximum and running sums: no key is looked at twice; inside a tile the
    # maximum comes before the exponentials.
    ("flash-attention-2", "M", 1),
    ("flash-attention-2", "M0", 2),
    ("flash-attention-2", "P", 1),
    ("flash-attention-2-causal", "M", 1),
    ("attention-causal-1pass", "M", 1),
    ("attention-sliding-window-1pass", "M", 1),
    ("attention-sink-1pass", "M", 1),
    ("multi-query-attention", "M", 1),
    ("grouped-query-attention", "M", 1),
    ("mla-naive", "M", 1),
    ("mla-absorbed", "M", 1),
    # Maximum, sum, weighted sum. A mask shortens the passes and does not make them fewer.
    ("attention-causal", "M", 3),
    ("attention-sliding-window", "M", 3),
    # The log-sum-exp is known: nothing waits for a whole row or column any more.
    ("flash-attention-2-backward", "M", 1),
    ("flash-attention-2-backward", "P", 1),
    # The splits are combined by their log-sum-exps: a second look at splits, not at keys.
    ("flash-decoding", "M", 1),
    ("flash-decoding", "M2", 2),
]


@pytest.mark.parametrize(("name", "rank", "count"), PASSES)
def test_passes(name: str, rank: str, count: int) -> None:
    assert Cascade.load(name).passes(rank).count == count
