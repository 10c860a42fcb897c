"""Every shipped model, and every family that is read, on FuseMax in each phase and scope."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from family_cases import NEWER
from hybrid_cases import HYBRIDS
from later_cases import LATER
from model_cases import PUBLISHED, model_of

from archsim import Architecture, Result, simulate
from archsim.plan.job import Job
from archsim.plan.planner import evaluate_job
from einsum_cascade.yaml.library import builtin_names
from workloads import Workload, load
from workloads.models import ModelConfig
from workloads.parts.model import ffn_up_of

pytestmark = pytest.mark.slow

PHASES: dict[str, dict[str, int]] = {
    "prefill": {},
    "decode": {"cached_len": 4095},
    "chunked-prefill": {"cached_len": 2048, "seq_len": 512},
}
SCOPES = ("attention", "block", "model")
OTHERS: tuple[dict[str, Any], ...] = (
    {"model_type": "retnet", "hidden_size": 2048, "num_hidden_layers": 24, "num_heads": 8},
    {
        "model_type": "bert",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "is_decoder": True,
        "add_cross_attention": True,
    },
)
# Of models that differ in widths alone the first is enough; of the newer families, those whose
# layers are of other kinds than the ones before.
_FIRST = {str(case.fields["model_type"]): case for case in reversed(PUBLISHED)}


def kinds_of(model: ModelConfig) -> frozenset[str]:
    """What layers differ in beside their widths."""
    return frozenset(
        f"{'cross' if layer.cross else ''} {layer.mixer.kind} {type(layer.ffn).__name__}"
        f" {ffn_up_of(layer)} {_switches(layer.mixer)}"
        for layer in (run.layer for run in model.runs)
    )


def _switches(mixer: object) -> list[str]:
    names = (
        "causal",
        "window",
        "chunk",
        "sinks",
        "gated",
        "softcap",
        "q_rank",
        "low_rank",
        "alibi",
    )
    return [name for name in names if getattr(mixer, name, None)]


FAMILIES: dict[str, dict[str, Any]] = {}
_RUN: set[frozenset[str]] = set()
for _case in reversed(_FIRST.values()):
    if (_kinds := kinds_of(model_of(_case.fields))) not in _RUN or _case not in (
        *NEWER,
        *HYBRIDS,
        *LATER,
    ):
        FAMILIES[_case.name] = _case.fields
        _RUN.add(_kinds)
FAMILIES |= {f"a {fields['model_type']}": fields for fields in OTHERS}


@cache
def fusemax() -> Architecture:
    return Architecture.load("fusemax")


def run_all(work: dict[str, Workload]) -> dict[str, Result]:
    """Each scope; a part that several of them have is simulated once."""
    known: dict[object, Result] = {}

    def evaluate(job: Job) -> Result:
        key = (job.program.name, job.mapping.name, tuple(sorted(job.shapes)))
        if key not in known:
            known[key] = evaluate_job(job)
        return replace(known[key], workload=job.name)

    return {scope: simulate(w, fusemax(), evaluate=evaluate) for scope, w in work.items()}


def check(work: dict[str, Workload]) -> None:
    found = run_all(work)
    for result in found.values():
        assert isfinite(result.latency_s)
        assert 0 < result.bounds.compute_s <= result.latency_s
        assert result.bounds.traffic_bytes <= result.traffic[0].total_bytes
    assert found["attention"].latency_s < found["block"].latency_s <= found["model"].latency_s
    parts = zip(work["model"].parts, found["model"].parts, strict=True)
    total = 0.0
    for part, use in parts:
        assert (part.name, part.times) == (use.name, use.times)
        total += use.times * use.result.latency_s
        shape = dict(part.shapes)
        if "J" in shape:
            products = 2 if part.cascade.startswith("linear-layer-swiglu") else 1
            macs = sum(dict(e.operations).get("mac", 0) for e in use.result.einsums)
            assert macs == products * shape["N"] * shape["D"] * shape["J"], part.name
    assert found["model"].latency_s == pytest.approx(total)


ENCODERS = ("bert-base", "t5-small", "xlm", "vit-b-16", "modernbert-base")


def with_phases(names: Iterable[str], encoders: tuple[str, ...]) -> list[tuple[str, str]]:
    """Every name in every phase, but for those that have no cache."""
    return [(n, p) for n in names for p in PHASES if p == "prefill" or n not in encoders]


def one_of_each_family() -> list[str]:
    """Workloads without a model, and the first model of each family."""
    found: dict[str, str] = {}
    for name in builtin_names("workloads"):
        work = load(name)
        if work.layers is not None or work.model is not None:  # a kernel by itself has no layers
            found.setdefault(name if work.model is None else work.model.family, name)
    return list(found.values())


LONG = (
    *("bert-base", "t5-small", "xlm", "trxl-wt103", "llama-3-70b", "gemma-2-9b"),
    *("minimax-text-01", "transnormerllm-15b"),
)
"""Workloads that run at their full length; families run below, shorter."""
PIECES = (
    *("llama-3-8b", "gemma-2-9b", "gpt-oss-20b", "deepseek-v2", "minimax-text-01", "a retnet"),
    *("mamba-130m", "mamba2-2.7b", "t5-small", "whisper-large-v3", "qwen3-next-80b-a3b"),
)
"""One model of each kind of layer, which also run in pieces."""


def at_full_length() -> list[tuple[str, str]]:
    """Every phase of the workloads that run at their full length."""
    return with_phases((name for name in one_of_each_family() if name in LONG), ENCODERS)


def families() -> list[tuple[str, str]]:
    """Every family in a prefill and in decoding, every kind of layer in pieces, too."""
    encoders = ("bert-base-uncased", "vit-base-patch16-224", "modernbert-base")
    found = with_phases(FAMILIES, encoders)
    return [(name, phase) for name, phase in found if phase != "chunked-prefill" or name in PIECES]


@pytest.mark.parametrize(("name", "phase"), at_full_length())
def test_a_shipped_model_runs(name: str, phase: str) -> None:
    check({s: load(name, scope=s, phase=phase, **PHASES[phase]) for s in SCOPES})


@pytest.mark.parametrize(("name", "phase"), families())
def test_every_family_that_is_read_runs(tmp_path: Path, name: str, phase: str) -> None:
    """Lengths that no tile divides."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FAMILIES[name]), encoding="utf-8")
    lengths = {
        "prefill": {"seq_len": 300},
        "decode": {"cached_len": 300},
        "chunked-prefill": {"cached_len": 300, "seq_len": 50},
    }[phase]
    check({s: load(str(path), scope=s, phase=phase, **lengths) for s in SCOPES})


def test_every_family_that_is_read_is_among_them() -> None:
    from workloads.huggingface.read import readers

    read = {fields["model_type"] for fields in FAMILIES.values()}
    # Of kinds that run by another name, or inside of a model of several inputs.
    newer = [
        case.fields
        for case in (*NEWER, *HYBRIDS, *LATER)
        if kinds_of(model_of(case.fields)) in _RUN
    ]
    read |= {inside["model_type"] for f in newer for inside in (f, f.get("text_config", f))}
    shipped = (load(name).model for name in builtin_names("workloads"))
    read |= {model.family for model in shipped if model is not None}
    # Other names of the same fields.
    same = {"minimax_m1": "minimax_text_01", "minimax": "minimax_text_01"}
    assert {same.get(family, family) for family in readers()} <= read
