"""Models on a machine: traffic and operations of shared heads, by hand calculation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import refused, run

from archsim import Architecture, Mapping, Result, simulate
from einsum_cascade.errors import SpecError
from workloads import load

WORD = 2
"""Bytes."""


def on_fusemax(name: str, mapping: str = "fusemax-binding", **fields: int | str) -> Result:
    return simulate(load(name, **fields), Architecture.load("fusemax"), Mapping.load(mapping))


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
    with pytest.raises(SpecError, match=r"tells queries apart by their position \(Einsum 'QK'\)"):
        simulate(load("llama-3-8b", seq_len=16), machine, mapping)
    # Heads that share nothing are computed as they are.
    result = simulate(load("minimax-text-01", seq_len=16), machine, mapping)
    assert result.to_dict()["shape"]["H"] == 64


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
    assert json.loads(shown.stdout)["shape"]["H"] == 2
    person = run("simulate", "llama-3-8b", "fusemax", "--set", "seq_len=1K")
    assert person.exit_code == 0
    assert "4 query heads share a head of keys and values" in person.stdout
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
