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
    ("flash-attention", "M", 1),
    ("attention-causal-1pass", "M", 1),
    ("attention-sliding-window-1pass", "M", 1),
    ("attention-sink-1pass", "M", 1),
    ("multi-query-attention", "M", 1),
    ("grouped-query-attention", "M", 1),
    ("grouped-query-attention-causal", "M", 1),
    ("grouped-query-attention-window", "M", 1),
    ("grouped-query-attention-sink", "M", 1),
    ("grouped-query-attention-sink-window", "M", 1),
    ("grouped-query-attention-alibi", "M", 1),
    ("grouped-query-attention-gated", "M", 1),
    ("grouped-query-attention-softcap", "M", 1),
    ("grouped-query-attention-softcap-window", "M", 1),
    ("mla-naive", "M", 1),
    ("mla-absorbed", "M", 1),
    # Blocks of keys are walked downwards with a running maximum.
    ("path-attention-chunked-1pass", "Z", 1),
    ("path-attention-1pass", "M", 1),
    ("rotary-positions", "D", 1),
    ("paged-attention", "M", 1),
    # Slots are weighed on chip; over pairs a query needs all keys before it weighs a value.
    ("gated-slot-attention-recurrent", "P", 1),
    ("gated-slot-attention-chunked", "P", 1),
    ("gated-slot-attention-parallel", "M", 2),
    ("based-attention-parallel", "M", 1),
    ("based-attention-recurrent", "P", 1),
    ("based-attention-chunked", "P", 1),
    # Maximum, sum, weighted sum. A mask shortens the passes and does not make them fewer.
    ("attention-causal", "M", 3),
    # The division comes after the weighted sum, which waits for the maximum alone.
    ("mla-absorbed-2pass", "M", 2),
    ("attention-sliding-window", "M", 3),
    # The log-sum-exp is known: nothing waits for a whole row or column any more.
    ("flash-attention-2-backward", "M", 1),
    ("flash-attention-2-backward", "P", 1),
    # The splits are combined by their log-sum-exps: a second look at splits, not at keys.
    ("flash-decoding", "M", 1),
    ("flash-decoding", "M2", 2),
    # A softmax over all keys for every agent; over the agents, a small second one.
    ("agent-attention", "I", 3),
    ("agent-attention", "UY", 3),
    # The map is pooled and, by the same neighbours, spread: cells in between.
    ("super-token-attention", "I", 2),
    ("super-token-attention", "UI", 3),
    # Maximum, sum, weights; only then is chosen, and the chosen fetched.
    ("recycled-attention-full", "M", 4),
    # The largest of the cache before its exponentials; a recurrence over the steps.
    ("recycled-attention", "J", 2),
    ("recycled-attention", "T", 1),
    # All scores of chunks before the first chunk is fetched.
    ("hcam", "J", 2),
    ("landmark-retrieval", "N", 2),
    ("mixture-of-heads", "M", 3),
    # A softmax inside a block needs no other block; the landmarks are weighed after.
    ("landmark-attention", "M", 1),
    ("landmark-attention", "N", 2),
    # The log-sum-exp over receivers first, the weights after.
    ("reversed-attention", "I", 2),
    ("reversed-attention", "J", 1),
    # Plain softmax over keys, examples, objects.
    ("positional-attention", "J", 3),
    ("oat-pointer", "N", 3),
    # With the division deferred.
    ("isolation-attention", "M", 2),
    ("isolation-attention", "L", 2),
    # Maximum, sum, weights: a state is scored once it is there, the words are gone through thrice.
    ("lstm-attention", "T", 3),
    # Online; a head's norm needs the scores of all heads.
    ("injected-query-attention", "M", 1),
    ("head-importance", "M", 1),
    ("head-importance", "H", 2),
    # The share of the sinks needs the whole softmax row, and the new weights the share.
    ("visual-attention-redistribution", "M", 4),
    # Clicks to scene: label, maximum, sum, weights; the scene to the clicks after all that.
    ("click-attention", "N", 5),
    ("click-attention", "V", 3),
    # One sweep over time; a key is a frame, its maximum before its exponential.
    ("look-once-to-hear-lstm", "T", 1),
    ("look-once-to-hear-attention", "T", 1),
    ("look-once-to-hear-attention", "L", 2),
]


@pytest.mark.parametrize(("name", "rank", "count"), PASSES)
def test_passes(name: str, rank: str, count: int) -> None:
    assert Cascade.load(name).passes(rank).count == count
