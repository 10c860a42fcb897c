"""Whether a whole workload fits into the memory of a machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archsim
import workloads
from archsim.cli.application import archsim as command
from archsim.result.record import MemoryNeed
from archsim.result.result import Result

SMALL = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
EXPERTS = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}

PROJECTIONS = 2 * 256 * 256 + 2 * 256 * 128
NETWORK = 3 * 256 * 512
NORMS = 3 * 2 * 256 + 256
"""Weights of a layer's projections, of its network (of one expert), and of all norms."""
WEIGHTS = 3 * (PROJECTIONS + NETWORK) + 2 * 1000 * 256 + NORMS
CACHED = 3 * 2 * 128
"""Elements of keys and values of a token."""


@pytest.fixture
def need_of(tmp_path: Path) -> Callable[..., MemoryNeed]:
    def need(more: dict[str, Any] | None = None, **fields: Any) -> MemoryNeed:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(SMALL | (more or {})), encoding="utf-8")
        work = workloads.load(str(file), scope="model", **fields)
        machine = archsim.Architecture.load("fusemax", ["memories.DRAM.installed=8 GiB"])
        (found,) = archsim.simulate(work, machine).capacity
        return found

    return need


def test_weights_and_caches_of_all_layers_stay_beside_the_largest_activations(
    need_of: Callable[..., MemoryNeed],
) -> None:
    need = need_of(seq_len=4096)
    # The largest part is the feed-forward network: its input, gated products and output.
    activations = need.needed_bytes - 2 * (WEIGHTS + 4096 * CACHED)
    assert 2 * 4096 * 256 <= activations <= 2 * 4096 * (256 + 3 * 512)
    assert (need.memory, need.available_bytes, need.fits) == ("DRAM", 8 << 30, True)


def test_a_decoded_token_adds_to_the_cache_of_each_sequence(
    need_of: Callable[..., MemoryNeed],
) -> None:
    one, eight = (need_of(phase="decode", cached_len=99_999, batch=b) for b in (1, 8))
    cache = 2 * 100_000 * CACHED
    assert eight.needed_bytes - one.needed_bytes == pytest.approx(7 * cache, rel=1e-3)
    assert one.needed_bytes == pytest.approx(2 * WEIGHTS + cache, rel=1e-3)


def test_experts_that_do_not_run_are_in_memory_too(need_of: Callable[..., MemoryNeed]) -> None:
    need = need_of(more=EXPERTS, phase="decode", cached_len=9)
    experts = 3 * 7 * NETWORK + 3 * 8 * 256
    assert need.needed_bytes == pytest.approx(2 * (WEIGHTS + experts), rel=0.005)


@pytest.mark.slow
def test_both_stages_of_a_request_use_the_same_weights(need_of: Callable[..., MemoryNeed]) -> None:
    need = need_of(phase="request", prompt_len=64, answer_len=3)
    activations = need.needed_bytes - 2 * (WEIGHTS + 66 * CACHED)
    assert 0 < activations < 2 * 64 * (256 + 3 * 512)


def test_what_does_not_fit_is_told(need_of: Callable[..., MemoryNeed]) -> None:
    given = {"phase": "decode", "cached_len": 3_000_000}
    assert not need_of(batch=4, **given).fits


def test_an_attention_alone_needs_its_tensors_once() -> None:
    result = archsim.simulate("bert-base", "fusemax", mapping="fusemax-binding", seq_len=1024)
    (need,) = result.capacity
    assert need.needed_bytes == 4 * 64 * 12 * 1024 * 64 * 2
    assert need.available_bytes is None
    assert need.fits


def test_what_does_not_fit_is_told_first_and_may_be_refused() -> None:
    given = ["simulate", "bert-base", "--set", "seq_len=256", "--set"]
    small, large = (f"architecture.memories.DRAM.installed={size} MiB" for size in (95, 97))
    told = CliRunner().invoke(command, [*given, small])
    assert told.exit_code == 0
    assert told.output.splitlines()[1] == "does not fit: DRAM needs 96 MiB, has 95 MiB"
    refused = CliRunner().invoke(command, [*given, small, "--json", "--require-fit"])
    assert refused.exit_code == 3
    (need,) = json.loads(refused.output)["capacity"]
    assert need == {
        "memory": "DRAM",
        "needed_bytes": 96 << 20,
        "available_bytes": 95 << 20,
        "fits": False,
    }
    assert CliRunner().invoke(command, [*given, large, "--require-fit"]).exit_code == 0


def test_json_keeps_the_need() -> None:
    result = archsim.simulate("bert-base", "fusemax", seq_len=256)
    again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.capacity == result.capacity != ()
    assert replace(again.capacity[0], available_bytes=0.0).fits is False
