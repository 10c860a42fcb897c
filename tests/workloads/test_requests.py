"""Whole requests against their tokens one by one, and what is no request."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import T5
from portions import examples, left

from archsim import Architecture, Result, simulate
from workloads import Workload, load, summarize
from workloads.spec import Request
from workloads.workload import stretches

TWO_LAYERS = "config.num_hidden_layers=2"


@cache
def fusemax() -> Architecture:
    return Architecture.load("fusemax")


def request(name: str, prompt: int, answer: int, *more: str, **fields: Any) -> Workload:
    lengths = {"prompt_len": prompt, "answer_len": answer}
    return load(name, more, phase="request", **lengths, **fields)


@settings(deadline=None, max_examples=examples(30))
@given(prompt=st.integers(1, 10**6), answer=st.integers(1, 4000))
def test_stretches_are_all_tokens(prompt: int, answer: int) -> None:
    """As many, and as many keys in all, but for the half that an odd number of halves leaves."""
    found = stretches(Request(prompt_len=prompt, answer_len=answer))
    assert sum(s.times for s in found) == answer - 1
    keys = sum(range(prompt, prompt + answer - 1))
    most = max((s.times for s in found), default=0)
    assert abs(sum(s.times * s.cached_len for s in found) - keys) <= most
    if answer <= 9:
        assert [s.cached_len for s in found] == list(range(prompt, prompt + answer - 1))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        left("llama-3-8b", (TWO_LAYERS, "batch=3")),
        left("gemma-2-9b", (TWO_LAYERS, "config.sliding_window=64")),
        left("mamba-2-2.7b", (TWO_LAYERS,)),
    ],
)
def test_a_short_answer_is_its_tokens_one_by_one(name: str, more: tuple[str, ...]) -> None:
    found = simulate(request(name, 62, 3, *more, scope="model"), fusemax())
    first = simulate(load(name, more, scope="model", seq_len=62), fusemax())
    further = [
        simulate(load(name, more, scope="model", phase="decode", cached_len=n), fusemax())
        for n in (62, 63)
    ]
    asked = found.request
    assert asked is not None
    assert (asked.prompt_len, asked.answer_len) == (62, 3)
    assert asked.time_to_first_token_s == pytest.approx(first.latency_s)
    rest = sum(r.latency_s for r in further)
    assert asked.time_per_output_token_s == pytest.approx(rest / 2)
    assert found.latency_s == pytest.approx(first.latency_s + rest)
    assert asked.first_token_j == pytest.approx(first.energy_pj / 1e12)
    assert asked.output_token_j == pytest.approx(sum(r.energy_pj for r in further) / 2e12)
    assert found.traffic_bytes == pytest.approx(
        first.traffic_bytes + sum(r.traffic_bytes for r in further)
    )
    assert found.tokens == 3 * (3 if "batch=3" in more else 1)
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.slow
def test_stretches_of_a_long_answer_are_close_to_its_tokens() -> None:
    """One layer's attention, whose cost a token is far from even: tiles of 256 keys."""
    found = simulate(request("llama-3-8b", 500, 18), fusemax())
    first = simulate(load("llama-3-8b", seq_len=500), fusemax())
    tokens = [load("llama-3-8b", phase="decode", cached_len=500 + n) for n in range(17)]
    rest = sum(simulate(token, fusemax()).latency_s for token in tokens)
    assert found.latency_s == pytest.approx(first.latency_s + rest, rel=0.01)


def test_parts_that_no_length_changes_are_one() -> None:
    work = request("mistral-7b", 5000, 200, scope="model")
    names = [part.name for part in work.parts]
    assert len({*names}) == len(names)
    # The window is full, so that attention costs the same for every token, too.
    assert [n for n in names if "attention" in n] == ["prefill.attention", "decode.attention"]
    decoded = {p.name: p.times for p in work.parts if p.stage == "decode"}
    assert decoded["decode.attention"] == 32 * 199
    assert decoded["decode.output-head"] == 199
    assert any("199 further ones in 8 stretches" in said for said in work.left_out)
    one = request("mistral-7b", 5000, 1, scope="model")
    assert {part.stage for part in one.parts} == {"prefill"}
    assert any("is its only one" in said for said in one.left_out)
    # A summary is of the model, whatever is asked of it.
    assert summarize(work).parameters == summarize(load("mistral-7b")).parameters


@pytest.mark.slow
def test_the_command() -> None:
    lengths = ("--set", "prompt_len=100", "--set", "answer_len=3")
    asked = ("simulate", "llama-3-8b", "--set", "phase=request", *lengths, "--set", TWO_LAYERS)
    found = json.loads(run(*asked, "--json").stdout)
    assert found["request"]["prompt_len"] == 100
    assert {part["stage"] for part in found["parts"]} == {"prefill", "decode"}
    assert "first token" in run(*asked).stdout


@pytest.mark.slow
def test_an_answer_of_one_token_has_no_further_ones() -> None:
    """Nothing is no time at all: both are null, and the table has a dash."""
    lengths = ("--set", "prompt_len=100", "--set", "answer_len=1")
    asked = ("simulate", "llama-3-8b", "--set", "phase=request", *lengths, "--set", TWO_LAYERS)
    found = json.loads(run(*asked, "--json").stdout)
    assert found["request"]["time_per_output_token_s"] is None
    assert found["request"]["output_token_j"] is None
    assert found["request"]["time_to_first_token_s"] > 0
    assert "further tokens  -  the first is the only one" in re.sub(
        r" {2,}", "  ", run(*asked).stdout
    )
    result = simulate(request("llama-3-8b", 100, 1, TWO_LAYERS), fusemax())
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_what_is_no_request(tmp_path: Path) -> None:
    def message(*given: str, name: str = "llama-3-8b") -> str:
        return refused("simulate", name, *(w for g in given for w in ("--set", g)))

    assert "needs prompt_len and answer_len" in message("phase=request", "prompt_len=9")
    assert "only phase 'request'" in message("answer_len=9")
    lengths = ("phase=request", "prompt_len=9", "answer_len=2")
    assert "in its place" in message(*lengths, "seq_len=4")
    assert "in its place" in message(*lengths, "cached_len=4")
    assert "P and M are given by hand" in message(*lengths, "M=4")
    assert "E: given by hand" in message(*lengths, "E=4")
    assert "answer_len" in message("phase=request", "prompt_len=9", "answer_len=0")
    assert "no cache to read" in message(*lengths, name="vit-b-16")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(T5))
    assert "have lengths of their own" in message(*lengths, name=str(path))
    bare = tmp_path / "shapes.yaml"
    bare.write_text("workload: mine\ncascade: attention-1pass\n")
    assert "only a model answers a request" in message(*lengths, name=str(bare))
