"""Models on a machine: traffic and operations of shared heads, by hand calculation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import refused, run
from portions import left

from archsim import Architecture, Mapping, Result, compare, simulate
from einsum_cascade.errors import MappingError, SpecError
from einsum_cascade.yaml.library import builtin_source
from workloads import load

WORD = 2
"""Bytes."""


def on_fusemax(name: str, mapping: str = "fusemax-binding", **fields: int | str) -> Result:
    machine = Architecture.load("fusemax")
    return simulate(load(name, **fields), machine, Mapping.load(mapping), approximate=True)


def operations(result: Result, einsum: str, kind: str) -> int:
    return dict(next(e for e in result.einsums if e.name == einsum).operations)[kind]


def dram(result: Result) -> dict[str, float]:
    return result.to_dict()["traffic_bytes"]["DRAM"]


def test_grouped_heads_read_their_keys_once() -> None:
    batch, keys, width = 16, 8192, 128
    result = on_fusemax("llama-3-8b", phase="decode", cached_len=keys - 1, batch=batch)
    cache = batch * keys * 8 * 2 * width
    queries = batch * 32 * width
    assert dram(result)["read"] == WORD * (cache + queries)
    assert dram(result)["write"] == WORD * queries
    assert operations(result, "BQK", "mac") == batch * 32 * keys * width
    assert any("32 / 4" in note for note in result.notes)


def by_default(name: str, settings: tuple[str, ...] = (), **fields: int | str) -> Result:
    """On FuseMax, as nobody says how."""
    return simulate(load(name, **fields), Architecture.load("fusemax", settings))


def sizes(result: Result) -> dict[str, int]:
    return dict(result.shape)


def tiles(result: Result) -> dict[str, int]:
    return dict(result.tiles)


@pytest.mark.parametrize("tokens", [64, left(1000), left(4096)])
def test_a_causal_prefill_computes_the_pairs_up_to_each_query(tokens: int) -> None:
    """n (n + 1) / 2 scores a head: those alone are counted; tiles of 256 keys are run whole."""
    result = on_fusemax("llama-3-8b", "gqa-causal", seq_len=tokens)
    assert by_default("llama-3-8b", seq_len=tokens).cycles <= result.cycles
    pairs = 32 * tokens * (tokens + 1) // 2
    assert operations(result, "BQK", "mac") == pairs * 128
    assert operations(result, "SLNV", "mac") == pairs * 128
    assert operations(result, "SLN", "exp") == pairs
    words = tokens * 128
    assert dram(result)["read"] == WORD * words * (32 + 2 * 8)
    assert dram(result)["write"] == WORD * words * 32
    if tokens == 4096:
        # 16 x 16 tiles of scores, of which 16 x 17 / 2 hold any; a step is one of them.
        assert result.schedule.steps == 32 * 16 * 17 // 2
        assert min(result.utilization.values()) > 0.9
    elif tokens == 64:
        # 64 queries of the 4 heads of a group fill the 256 columns.
        assert (tiles(result)["S0"], result.schedule.steps) == (4, 8)
    assert not any("mask is not" in note for note in result.notes)


def test_a_chunk_of_a_prompt_sees_the_cache_and_itself() -> None:
    """512 queries after 1536 keys: 512 x 1536 pairs and 512 x 513 / 2 among themselves."""
    fields = {"phase": "chunked-prefill", "cached_len": 1536, "seq_len": 512}
    result = by_default("llama-3-8b", **fields)
    assert result.mapping == "gqa-causal"
    pairs = 32 * (512 * 1536 + 512 * 513 // 2)
    assert operations(result, "BQK", "mac") == pairs * 128
    # Of 2 x 8 tiles a head the one above the diagonal is left out.
    assert result.schedule.steps == 32 * 15
    words = 2 * 8 * 2048 * 128 + 32 * 512 * 128
    assert dram(result)["read"] == WORD * words


def test_a_window_in_a_prefill() -> None:
    """Queries 0 to 4095 see 1 to 4096 keys, every later one 4096."""
    tokens, window = 8192, 4096
    result = by_default("mistral-7b", seq_len=tokens)
    assert result.mapping == "gqa-window"
    pairs = 32 * (window * (window + 1) // 2 + (tokens - window) * window)
    assert operations(result, "BQK", "mac") == pairs * 128
    # Of 32 tiles of queries the first 16 meet 1 to 16 tiles of keys, the others 17.
    assert result.schedule.steps == 32 * (16 * 17 // 2 + 16 * 17)
    gemma = by_default("gemma-2-9b", seq_len=tokens)
    assert gemma.mapping == "gqa-softcap-window"
    assert operations(gemma, "BQK", "mac") == pairs // 2 * 256
    assert by_default("gemma-2-9b", seq_len=tokens, layer=1).mapping == "gqa-softcap"


def test_a_window_in_a_chunk_reads_no_key_before_it() -> None:
    """256 queries see the tile of their own 256 keys and the 16 before, of 64 in the cache."""
    fields = {"phase": "chunked-prefill", "cached_len": 63 * 256, "seq_len": 256}
    result = by_default("mistral-7b", **fields)
    assert result.schedule.steps == 32 * 17
    assert operations(result, "BQK", "mac") == 32 * 256 * 4096 * 128
    assert dram(result)["read"] == WORD * (2 * 8 * 17 * 256 * 128 + 32 * 256 * 128)


def test_a_window_in_decoding_is_the_cache() -> None:
    batch = 8
    result = by_default("mistral-7b", phase="decode", cached_len=9999, batch=batch)
    assert (result.mapping, sizes(result)["M"]) == ("gqa-decode", 4096)
    assert operations(result, "BQK", "mac") == batch * 32 * 4096 * 128
    assert dram(result)["read"] == WORD * batch * (2 * 8 * 4096 * 128 + 32 * 128)


@pytest.mark.parametrize(("name", "heads", "side_by_side"), [("8b", 32, 8), ("70b", 64, 4)])
def test_decoding_reads_the_cache_of_a_group_once(name: str, heads: int, side_by_side: int) -> None:
    batch, keys = 16, 8192
    fields = {"phase": "decode", "cached_len": keys - 1, "batch": batch}
    result = by_default(f"llama-3-{name}", **fields)
    assert result.mapping == "gqa-decode"
    assert dram(result)["read"] == WORD * batch * (2 * 8 * keys * 128 + heads * 128)
    assert operations(result, "BQK", "mac") == batch * heads * keys * 128
    # All 256 columns have a head: a step per tile of keys and so many sequences.
    assert (tiles(result)["B0"], tiles(result)["G0"]) == (side_by_side, 8)
    assert result.schedule.steps == batch // side_by_side * keys // 256
    # One row of queries at a time took as many steps as there are sequences and groups.
    assert on_fusemax(f"llama-3-{name}", **fields).schedule.steps == batch * 8 * keys // 256


def test_latent_attention_by_default() -> None:
    """A prefill of 128 heads with keys of their own; 576 words a token in decoding."""
    prefill = by_default("deepseek-v3", seq_len=1024)
    assert prefill.mapping == "gqa-causal"
    pairs = 128 * 1024 * 1025 // 2
    assert operations(prefill, "BQK", "mac") == pairs * 192
    assert operations(prefill, "SLNV", "mac") == pairs * 128
    assert prefill.schedule.steps == 128 * 10
    before, after = (
        by_default("deepseek-v3", phase="decode", cached_len=n, batch=2) for n in (4095, 4096)
    )
    assert before.mapping == "mla-absorbed-decode"
    assert dram(after)["read"] - dram(before)["read"] == WORD * 2 * 576
    assert operations(before, "SC", "mac") == 2 * 128 * 4096 * 512
    assert operations(before, "SR", "mac") == 2 * 128 * 4096 * 64
    assert operations(before, "SLNV", "mac") == 2 * 128 * 4096 * 512
    assert not any("1088" in note for note in before.notes)


@pytest.mark.slow
def test_sinks_by_default(tmp_path: Path) -> None:
    config = {
        "model_type": "gpt_oss",
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 2,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "sliding_window": 128,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    whole = on_fusemax(str(path), "gqa-sink", seq_len=1024, layer=1)
    assert by_default(str(path), seq_len=1024, layer=1).cycles <= whole.cycles
    assert operations(whole, "BQK", "mac") == 64 * 1024 * 1025 // 2 * 64
    window = on_fusemax(str(path), "gqa-sink-window", seq_len=1024, layer=0)
    assert operations(window, "BQK", "mac") == 64 * (128 * 129 // 2 + 896 * 128) * 64
    # Tiles of 32 queries of the 8 heads of a group: 8 meet the 256 keys that they are of, and the
    # first half of these the keys before, but where there are none.
    assert window.schedule.steps == 8 * (4 * 8 + 3 * 4)
    decode = by_default(str(path), phase="decode", cached_len=4095, batch=4, layer=0)
    assert decode.mapping == "gqa-sink"
    # 4 sequences of 64 heads are the columns, and the window half of the rows.
    assert decode.schedule.steps == 1
    assert operations(decode, "BQK", "mac") == 4 * 64 * 128 * 64
    # Keys, values, queries, and the sinks of 64 heads, which every sequence carries.
    assert dram(decode)["read"] == WORD * 4 * (2 * 8 * 128 * 64 + 64 * 64 + 64)


def test_a_mapping_without_a_mask_says_so() -> None:
    for mapping in ("fusemax-binding", "unfused", "gqa-decode"):
        result = on_fusemax("llama-3-8b", mapping, seq_len=256)
        assert (
            operations(result, "QK" if mapping == "unfused" else "BQK", "mac") == 32 * 256**2 * 128
        )
        assert any("the causal mask is not applied: 65,536 scores" in n for n in result.notes)


def test_a_window_as_long_as_the_keys_is_none() -> None:
    """The window of a cascade is the layer's, not the one its file has for examples."""
    whole = on_fusemax("llama-3-8b", "gqa-causal", seq_len=1000)
    for mapping in ("gqa-window", "gqa-sink-window"):
        result = on_fusemax("llama-3-8b", mapping, seq_len=1000)
        assert "W = 1000" in result.notes
        assert operations(result, "BQK", "mac") == operations(whole, "BQK", "mac")
        assert result.schedule.steps == whole.schedule.steps
    given = on_fusemax("llama-3-8b", "gqa-window", seq_len=1000, W=10)
    assert operations(given, "BQK", "mac") == 32 * (55 + 990 * 10) * 128


def test_a_machine_that_cannot_run_the_mask(tmp_path: Path) -> None:
    """FLAT's own mapping knows none: it is named and not taken in silence."""
    # Its elements have no maximum, but its lanes do; a buffer too small for a tile is the end.
    long = load("llama-3-8b", seq_len=4096)
    assert simulate(long, Architecture.load("flat")).mapping == "gqa-causal"
    work = load("llama-3-8b", seq_len=256)
    small = tmp_path / "flat.yaml"
    text = builtin_source("architectures", "flat").text
    small.write_text(text.replace("capacity: 32 MiB", "capacity: 1 KiB"), encoding="utf-8")
    flat = Architecture.load(small)
    with pytest.raises(MappingError, match="global_buffer needs") as caught:
        simulate(work, flat)
    assert "flat was designed for mapping 'flat'; with it the causal mask is" in str(caught.value)
    assert str(caught.value).endswith("hint: --mapping flat --approximate")
    asked = simulate(work, flat, Mapping.load("flat"), approximate=True)
    assert any("the causal mask is not applied" in note for note in asked.notes)
    with pytest.raises(MappingError, match="flat: no mapping that is known is legal on flat"):
        compare(work, ["fusemax", flat])
    first, second = compare(
        work, ["fusemax", flat], mappings={"flat": "flat"}, approximate=True
    ).rows
    assert (first.result.mapping, first.left_out) == ("gqa-causal", ())
    assert second.left_out[0].startswith("the causal mask is not applied: 65,536 scores")
    shown = run(
        *("compare", "llama-3-8b", "fusemax", str(small), "--set", "seq_len=256"),
        *("--mapping", f"{small}=flat", "--approximate"),
    )
    assert "65,536 scores a query head are computed" in shown.stdout
    # One token sees every key: there is no mask to leave out, and its heads are rows.
    token = load("llama-3-8b", phase="decode", cached_len=255)
    assert simulate(token, flat).mapping == "flat"


def test_a_machines_own_mapping_does_not_drop_a_mask() -> None:
    own = ("mapping=fusemax-binding",)
    assert by_default("llama-3-8b", own, seq_len=256).mapping == "gqa-causal"
    assert by_default("bert-base", own, seq_len=256).mapping == "fusemax-binding"
    decode = {"phase": "decode", "cached_len": 255}
    assert by_default("llama-3-8b", own, **decode).mapping == "fusemax-binding"
    # It reads a latent twice, which its cascade's mapping does not.
    longer = {"phase": "decode", "cached_len": 4095}
    assert by_default("deepseek-v3", own, **longer).mapping == "mla-absorbed-decode"


def test_one_mapping_is_for_every_kind_of_layer_it_can_run() -> None:
    work = load("gemma-2-9b", scope="model", seq_len=8192)
    machine = Architecture.load("fusemax")
    default = simulate(work, machine)
    assert [p.result.mapping for p in default.parts if "attention" in p.name] == [
        "gqa-softcap-window",
        "gqa-softcap",
    ]
    named = simulate(work, machine, Mapping.load("fusemax-binding"), approximate=True)
    attention = [p.result for p in named.parts if "attention" in p.name]
    assert [r.mapping for r in attention] == ["fusemax-binding"] * 2
    assert ["the window of 4096" in " ".join(r.notes) for r in attention] == [True, False]
    one = simulate(work, machine, Mapping.load("gqa-softcap"))
    assert [p.result.mapping for p in one.parts if "attention" in p.name] == [
        "gqa-softcap-window",
        "gqa-softcap",
    ]


def test_a_million_tokens() -> None:
    """Closed forms: 2^20 (2^20 + 1) / 2 pairs, and those of a window of 4096."""
    tokens = 2**20
    llama = by_default("llama-3-8b", seq_len="1M")
    assert operations(llama, "BQK", "mac") == 32 * 128 * tokens * (tokens + 1) // 2
    assert llama.schedule.steps == 32 * 4096 * 4097 // 2
    gemma = by_default("gemma-2-9b", seq_len="1M")
    pairs = 4096 * 4097 // 2 + (tokens - 4096) * 4096
    assert operations(gemma, "BQK", "mac") == 16 * 256 * pairs
    assert gemma.schedule.steps == 16 * (16 * 17 // 2 + (4096 - 16) * 17)


def test_one_key_for_all_heads_of_absorbed_latent_attention() -> None:
    batch, keys = 2, 4096
    result = on_fusemax("deepseek-v3", phase="decode", cached_len=keys - 1, batch=batch)
    # Keys of 576 words, and their first 512 once more as values, which a note says.
    cache = batch * keys * (576 + 512)
    assert dram(result)["read"] == WORD * (cache + batch * 128 * 576)
    assert dram(result)["write"] == WORD * batch * 128 * 512
    assert operations(result, "BQK", "mac") == batch * 128 * keys * 576
    assert any("1088 words a token instead of 576" in note for note in result.notes)


def test_folding_costs_what_equal_heads_cost_less_their_keys() -> None:
    """Against the same model with every query head's own keys."""
    shared = on_fusemax("llama-3-8b", seq_len=256)
    own = on_fusemax("llama-3-8b", seq_len=256, H=32, cascade="attention-1pass")
    assert own.to_dict()["shape"] == shared.to_dict()["shape"], "H is query heads"
    apart = simulate(
        load("bert-base", batch=1, H=32, E=128, F=128, seq_len=256),
        Architecture.load("fusemax"),
        Mapping.load("fusemax-binding"),
    )
    same = {e.name: e.operations for e in apart.einsums}
    assert {e.name: e.operations for e in shared.einsums} == same
    saved = WORD * 2 * (32 - 8) * 256 * 128
    assert dram(apart)["read"] - dram(shared)["read"] == saved
    assert dram(apart)["write"] == dram(shared)["write"]


def test_a_mask_is_never_folded_over(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(
        "mapping:\n  name: m\n  cascade: lightning-attention\n"
        "  nest:\n    - {level: DRAM, loops: [B, H]}\n"
        "  einsums:\n"
        "    QK: {array: array_1d, loops: [P, M, E]}\n"
        "    W: {array: array_1d, loops: [P, M]}\n"
        "    O: {array: array_1d, loops: [P, F, M]}\n"
        "  keep: {DRAM: [Q, K, V, O, QK, W], global_buffer: [Q, K, V, QK, W]}\n"
        "  schedule: {kind: sequential}\n",
        encoding="utf-8",
    )
    machine, mapping = Architecture.load("fusemax"), Mapping.load(str(path))
    with pytest.raises(SpecError, match=r"tells queries apart by their position \(rank 'M'\)"):
        simulate(load("llama-3-8b", seq_len=16), machine, mapping, approximate=True)
    # Heads that share nothing are computed as they are.
    result = simulate(load("minimax-text-01", seq_len=16), machine, mapping, approximate=True)
    assert result.to_dict()["shape"]["H"] == 64


@pytest.mark.slow
def test_the_command_line(tmp_path: Path) -> None:
    config = {
        "architectures": ["MistralForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    shown = run("simulate", str(path), "fusemax", "--set", "seq_len=1K", "--json")
    assert shown.exit_code == 0
    shape = json.loads(shown.stdout)["shape"]
    assert (shape["G"], shape["S"]) == (2, 2)
    person_asks = ("simulate", "llama-3-8b", "fusemax", "--set", "seq_len=1K")
    person = run(*person_asks)
    assert person.exit_code == 0
    assert "mapped by beam" in person.stdout
    assert "mask is not applied" not in person.stdout
    longer = run(*person_asks[:-1], "seq_len=2K")
    assert "mapped by gqa-causal" in longer.stdout
    folded = run(*person_asks, "--mapping", "fusemax-binding", "--approximate")
    assert "4 query heads share a head of keys and values" in folded.stdout
    config["num_attention_heads"] = 3
    path.write_text(json.dumps(config), encoding="utf-8")
    assert "3 does not divide hidden_size, 64" in refused("simulate", str(path), "fusemax")


def test_models_are_listed_and_shown(tmp_path: Path) -> None:
    assert "deepseek-v3" in run("list", "workloads").stdout
    shown = run("show", "llama-3-8b")
    assert "num_key_value_heads: 8" in shown.stdout
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "llama", "hidden_size": 64}', encoding="utf-8")
    assert '"hidden_size": 64' in run("show", str(path)).stdout
