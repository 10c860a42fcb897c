"""What a layer's configuration says is computed: in latency, energy, operations and summaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from portions import left

from archsim import Architecture, Mapping, Result, simulate
from einsum_cascade.errors import MappingError
from einsum_cascade.yaml.library import builtin_source
from workloads import load
from workloads.summary import summarize

FUSEMAX = Architecture.load("fusemax")
HEADS = 16  # of Gemma 2 9B
UNCAPPED = "config.attn_logit_softcapping=null"


T5 = {
    "model_type": "t5",
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_heads": 4,
    "num_layers": 2,
    "vocab_size": 100,
}
BLOOM = {"model_type": "bloom", "hidden_size": 512, "n_layer": 2, "n_head": 8}


def counted(result: Result, kind: str) -> int:
    return sum(number for e in result.einsums for k, number in e.operations if k == kind)


def pairs(queries: int, keys: int, window: int | None = None) -> int:
    """Scores that count, one by one: query p stands at p + keys - queries."""
    ends = range(keys - queries + 1, keys + 1)
    return sum(min(end, window or end) for end in ends)


@pytest.mark.parametrize(
    ("fields", "mapping", "visible"),
    [
        ({"seq_len": 600, "layer": 1}, "gqa-softcap", pairs(600, 600)),
        ({"seq_len": 5000, "layer": 0}, "gqa-softcap-window", pairs(5000, 5000, 4096)),
        (
            {"phase": "chunked-prefill", "cached_len": 4999, "seq_len": 3, "layer": 0, "batch": 2},
            "gqa-softcap-window",
            2 * pairs(3, 5002, 4096),
        ),
        left({"phase": "decode", "cached_len": 4999, "layer": 0}, "gqa-softcap", 4096),
        ({"phase": "decode", "cached_len": 4999, "layer": 1, "batch": 3}, "gqa-softcap", 15000),
    ],
)
def test_a_tanh_for_every_score_of_gemma(
    fields: dict[str, Any], mapping: str, visible: int
) -> None:
    work = load("gemma-2-9b", **fields)
    found = simulate(work, FUSEMAX, Mapping.load(mapping), approximate=True)
    assert counted(found, "tanh") == HEADS * visible
    assert not any("soft cap" in note for note in found.notes)
    plain = load("gemma-2-9b", UNCAPPED, **fields)
    without = min(
        (
            simulate(plain, FUSEMAX, Mapping.load(m), approximate=True)
            for m in ("gqa-causal", "gqa-window", "gqa-decode")
        ),
        key=lambda r: r.cycles,
    )
    assert counted(without, "tanh") == 0
    assert found.energy_pj > without.energy_pj
    assert without.cycles < found.cycles < 1.05 * without.cycles
    assert found.over_floor < 1.01 * without.over_floor


def test_a_mapping_without_the_cap_says_so() -> None:
    work = load("gemma-2-9b", seq_len=600)
    note = "the soft cap of scores at 50 (a tanh each) is not counted"
    for mapping in ("gqa-causal", "fusemax-binding"):
        found = simulate(work, FUSEMAX, Mapping.load(mapping), approximate=True)
        assert note in found.notes
        assert counted(found, "tanh") == 0


def test_caps_of_a_whole_model() -> None:
    """21 layers with a window of 4,096, 21 that see all of 5,000 keys, and 256,000 logits."""
    fields = {"phase": "decode", "cached_len": 4999}
    found = simulate(load("gemma-2-9b", scope="model", **fields), FUSEMAX)
    scores, words = 21 * HEADS * (4096 + 5000), 256_000
    assert counted(found, "tanh") == scores + words
    assert dict(summarize(load("gemma-2-9b", seq_len=5000)).operations)["tanh"] == scores + words
    bare = load("gemma-2-9b", "config.final_logit_softcapping=null", seq_len=5000)
    assert dict(summarize(bare).operations)["tanh"] == scores
    # Of a prompt only the last token of each sequence has logits.
    prompt = load("gemma-2-9b", scope="model", seq_len=64, batch=3)
    (head,) = (p.result for p in simulate(prompt, FUSEMAX).parts if p.name == "output-head")
    assert counted(head, "tanh") == 3 * words


def test_a_machine_without_tanh_is_told_so(tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    text = builtin_source("architectures", "fusemax").text
    lines = [line for line in text.splitlines() if not line.strip().startswith("tanh:")]
    plain.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(MappingError, match="lacks for them:\n    tanh: X\n") as caught:
        simulate(load("gemma-2-9b", seq_len=600), Architecture.load(plain))
    assert str(caught.value).endswith("hint: give an array the operations that are missing")


@pytest.mark.parametrize(
    ("fields", "tokens", "sequences"),
    [
        ({"seq_len": 700}, 700, 1),
        ({"phase": "chunked-prefill", "cached_len": 500, "seq_len": 3, "batch": 2}, 3, 2),
        ({"phase": "decode", "cached_len": 4999, "batch": 3}, 1, 3),
    ],
)
def test_a_sigmoid_for_every_element_of_a_gated_output(
    fields: dict[str, Any], tokens: int, sequences: int
) -> None:
    """16 query heads of 256 on 2 of keys; the gate is read, and its products are the outputs."""
    elements = sequences * tokens * 16 * 256
    work = load("qwen3-next-80b-a3b", layer=3, **fields)
    found = simulate(work, FUSEMAX, Mapping.load("gqa-gated"), approximate=True)
    assert counted(found, "sigmoid") == elements
    assert not any("gate" in note for note in found.notes)
    plain = simulate(work, FUSEMAX, Mapping.load("gqa-causal"), approximate=True)
    assert "the output's gate, a sigmoid and a product an element, is not counted" in plain.notes
    assert counted(plain, "sigmoid") == 0
    # A word of 16 bits an element; keys are read again where less room is left for queries.
    more = dram_reads(found) - dram_reads(plain)
    assert more == 2 * elements
    assert plain.cycles < found.cycles < 1.02 * plain.cycles
    assert plain.energy_pj < found.energy_pj


def dram_reads(result: Result) -> float:
    return float(result.to_dict()["traffic_bytes"]["DRAM"]["read"])


def test_gates_of_a_whole_model() -> None:
    """12 of 48 layers are gated softmax; the others have gates of their own, beside."""
    fields = {"phase": "decode", "cached_len": 99}
    found = simulate(load("qwen3-next-80b-a3b", scope="model", **fields), FUSEMAX)
    assert counted(found, "sigmoid") == 12 * 16 * 256
    summary = summarize(load("qwen3-next-80b-a3b", seq_len=100))
    assert dict(summary.operations)["sigmoid"] == 12 * 16 * 256


@pytest.mark.slow
def test_biases_of_t5(tmp_path: Path) -> None:
    """Both stacks add one to each score that counts; attention to the encoder does not."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(T5), encoding="utf-8")
    tokens, heads, layers = 40, 4, 2
    encoder = simulate(load(str(path), seq_len=tokens, batch=3), FUSEMAX)
    assert added(encoder) == 3 * heads * tokens * tokens
    decoder = simulate(load(str(path), seq_len=tokens, batch=3, layer=2), FUSEMAX)
    assert added(decoder) == 3 * heads * pairs(tokens, tokens)
    whole = load(str(path), seq_len=tokens, scope="model")
    cascades = [(part.name.split(".")[-1], part.cascade) for part in whole.parts]
    assert [c for name, c in cascades if "attention" in name] == [
        "attention-t5-bias-1pass",
        "attention-t5-bias-causal-1pass",
        "attention-1pass",
    ]
    fields = {"phase": "decode", "cached_len": tokens - 1}
    token = simulate(load(str(path), scope="model", **fields), FUSEMAX)
    assert added(token) == layers * heads * tokens
    # A word of 16 bits for each of queries, keys, values, the table, and buckets of distances.
    alone = simulate(load(str(path), layer=2, **fields), FUSEMAX)
    least = 2 * (heads * 16 * (1 + 2 * tokens) + heads * 32 + tokens)
    assert least <= dram_reads(alone) < 1.1 * least


def added(result: Result) -> int:
    """Additions of the Einsum that adds biases to scores, but for what finds the distance."""
    found = 0
    for e in result.einsums:
        if e.name.split(".")[-1] == "X":
            kinds = dict(e.operations)
            # Where keys may be after the query, p + M - P and m1 M0 + m0 are compared.
            found += kinds["add"] - 2 * kinds.get("compare", 0)
    return found


def test_a_mapping_without_the_bias_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(T5), encoding="utf-8")
    how = Mapping.load("fusemax-binding")
    found = simulate(load(str(path), seq_len=40), FUSEMAX, how, approximate=True)
    assert "the bias of each score, of 32 buckets of distances, is not counted" in found.notes


def test_the_penalty_of_distance_of_bloom(tmp_path: Path) -> None:
    """One more product and difference a score, and a slope a head that is read."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(BLOOM), encoding="utf-8")
    for fields, visible in (
        ({"seq_len": 600}, pairs(600, 600)),
        ({"phase": "decode", "cached_len": 599, "batch": 3}, 3 * 600),
    ):
        work = load(str(path), **fields)
        found = simulate(work, FUSEMAX, Mapping.load("gqa-alibi"), approximate=True)
        # The distance is arithmetic on positions, which costs nothing.
        (x,) = (dict(e.operations) for e in found.einsums if e.name == "X")
        assert x["mul"] == x["sub"] == 8 * visible
        plain = simulate(work, FUSEMAX, Mapping.load("gqa-causal"), approximate=True)
        note = "the penalty of distance of each score (ALiBi) is not counted"
        assert note in plain.notes
        assert note not in found.notes
        assert plain.cycles < found.cycles < 1.05 * plain.cycles
        assert dram_reads(found) == dram_reads(plain) + 2 * 8


@pytest.mark.slow
def test_heads_that_share_nothing_are_no_slower_in_groups_of_one(tmp_path: Path) -> None:
    """A rank of one head a group is no loop inside of sums."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(BLOOM | {"hidden_size": 1024}), encoding="utf-8")
    tpu = Architecture.load("tpu-v4i")
    grouped = simulate(load(str(path), seq_len=2048), tpu)
    alone = simulate(load(str(path), seq_len=2048, cascade="attention-alibi-1pass"), tpu)
    assert grouped.cycles <= 1.01 * alone.cycles
