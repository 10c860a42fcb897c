"""Whether a whole workload fits into the memory of a machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import archsim
import workloads
from archsim.cli.application import archsim as command
from archsim.result.record import MemoryNeed
from archsim.result.result import Result

LLAMA = 8_030_261_248
"""Parameters of Llama 3 8B, as its model card states them."""


def need_of(workload: str, machine: str = "tpu-v4i", **fields: int | str) -> MemoryNeed:
    (need,) = archsim.simulate(workload, machine, **fields).capacity
    return need


def test_weights_and_caches_of_all_layers_stay_beside_the_largest_activations() -> None:
    need = need_of("llama-3-8b", scope="model", seq_len=4096)
    kept = 2 * LLAMA + 4096 * 131_072
    # The largest part is the feed-forward network: its input, gated products and output.
    activations = need.needed_bytes - kept
    assert 2 * 4096 * 4096 <= activations <= 2 * 4096 * (4096 + 3 * 14336)
    assert need.memory == "HBM"
    assert need.available_bytes == 8 << 30
    assert not need.fits


def test_a_decoded_token_adds_to_the_cache_of_each_sequence() -> None:
    fields = {"scope": "model", "phase": "decode", "cached_len": 999}
    one = need_of("llama-3-8b", "h100-sxm", batch=1, **fields)
    eight = need_of("llama-3-8b", "h100-sxm", batch=8, **fields)
    cache = 1000 * 131_072
    assert eight.needed_bytes - one.needed_bytes == pytest.approx(7 * cache, rel=0.01)
    assert one.needed_bytes == pytest.approx(2 * LLAMA + cache, rel=0.001)
    assert one.fits


def test_experts_that_do_not_run_are_in_memory_too() -> None:
    summary = workloads.summarize(workloads.load("mixtral-8x7b"))
    need = need_of("mixtral-8x7b", "h100-sxm", scope="model", phase="decode", cached_len=9)
    assert need.needed_bytes == pytest.approx(2 * summary.parameters, rel=0.001)


def test_both_stages_of_a_request_use_the_same_weights() -> None:
    lengths = {"phase": "request", "prompt_len": 1000, "answer_len": 101}
    need = need_of("llama-3-8b", "h100-sxm", scope="model", **lengths)
    assert need.needed_bytes == pytest.approx(2 * LLAMA + 1100 * 131_072, rel=0.01)


def test_an_attention_alone_needs_its_tensors_once() -> None:
    result = archsim.simulate("bert-base", "fusemax", mapping="fusemax-binding", seq_len=1024)
    (need,) = result.capacity
    assert need.needed_bytes == 4 * 64 * 12 * 1024 * 64 * 2
    assert need.available_bytes is None
    assert need.fits


def test_what_does_not_fit_is_told_first_and_may_be_refused() -> None:
    given = ["simulate", "llama-3-8b", "tpu-v4i", "--set", "scope=model", "--set", "seq_len=256"]
    told = CliRunner().invoke(command, given)
    assert told.exit_code == 0
    assert told.output.splitlines()[1].startswith("does not fit: HBM needs 15.0")
    assert told.output.splitlines()[1].endswith(", has 8 GiB")
    refused = CliRunner().invoke(command, [*given, "--json", "--require-fit"])
    assert refused.exit_code == 3
    (need,) = json.loads(refused.output)["capacity"]
    assert [*need] == ["memory", "needed_bytes", "available_bytes", "fits"]
    assert not need["fits"]
    fits = [x.replace("tpu-v4i", "h100-sxm") for x in given]
    assert CliRunner().invoke(command, [*fits, "--require-fit"]).exit_code == 0


def test_json_keeps_the_need() -> None:
    result = archsim.simulate("bert-base", "tpu-v4i", seq_len=256)
    again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.capacity == result.capacity != ()
    assert replace(again.capacity[0], available_bytes=0.0).fits is False
