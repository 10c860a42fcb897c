"""The table of shipped models in the documentation is what their files say."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_cases import DEEPSEEK_V3, GEMMA2, GPT_OSS, LLAMA, MAMBA2, MINIMAX, MISTRAL
from places import ROOT

from archsim import Architecture
from archsim.plan.selection import usual_mapping
from einsum_cascade.yaml.library import builtin_names, builtin_source
from einsum_cascade.yaml.source import read_yaml
from workloads import load
from workloads.huggingface.read import read_config, readers
from workloads.models import (
    DecayAttention,
    DeltaAttention,
    Experts,
    FeedForward,
    LatentAttention,
    ModelConfig,
    RwkvAttention,
    SelectiveScan,
    SoftmaxAttention,
    StateSpaceDual,
)

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def shipped() -> dict[str, tuple[ModelConfig, str]]:
    """Models by name, and the sources their files give."""
    found = {}
    for name in builtin_names("workloads"):
        root = read_yaml(builtin_source("workloads", name))
        config, source = root.at(("workload", "config")), root.at(("workload", "source"))
        if config is not None and source is not None:
            found[name] = (read_config(config), str(source.plain()))
    return found


def mixer_cell(mixer: Any) -> str:
    match mixer:
        case SoftmaxAttention():
            heads = f"{mixer.heads}" if mixer.group == 1 else f"{mixer.heads}/{mixer.kv_heads}"
            window = f", window {mixer.window}" if mixer.window else ""
            window += f", chunks of {mixer.chunk}" if mixer.chunk else ""
            return f"{mixer.kind} {heads} x {mixer.qk_width}{window}"
        case LatentAttention():
            width = f"{mixer.nope_width}+{mixer.rope_width}"
            found = f"MLA {mixer.heads} x ({width}), cache {mixer.kv_rank}+{mixer.rope_width}"
            if (index := mixer.indexer) is not None:
                by = "a layer before" if index.shared else f"{index.heads} x {index.width}"
                found += f", {index.top_k} keys picked by {by}"
            return found
        case DecayAttention() | RwkvAttention():
            return f"{mixer.kind} {mixer.heads} x {mixer.qk_width}"
        case DeltaAttention():
            shared = f"/{mixer.key_heads}" if mixer.key_heads != mixer.heads else ""
            return f"{mixer.kind} {mixer.heads}{shared} x {mixer.qk_width}"
        case SelectiveScan():
            return f"S6 {mixer.inner}, state {mixer.state}"
        case StateSpaceDual():
            return f"SSD {mixer.heads} x {mixer.head_width}, state {mixer.state}"
    raise AssertionError(mixer)


def ffn_cell(ffn: Any) -> str:
    match ffn:
        case None:
            return "none"
        case Experts():
            shared = f" + {ffn.shared_inner}" if ffn.shared_inner else ""
            return f"{ffn.per_token} of {ffn.experts} x {ffn.inner}{shared}"
        case FeedForward():
            return f"{ffn.products} x {ffn.inner}"
    raise AssertionError(ffn)


def cell(parts: Counter[Any], one: Callable[[Any], str]) -> str:
    if len(parts) == 1:
        return one(next(iter(parts)))
    return "; ".join(f"{count}: {one(part)}" for part, count in parts.items())


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_row_of_the_table(name: str) -> None:
    model, source = shipped()[name]
    mixers: Counter[Any] = Counter()
    ffns: Counter[Any] = Counter()
    for run in model.runs:
        mixers[run.layer.mixer] += run.count
        ffns[run.layer.ffn] += run.count
    row = (
        f"| `{name}` | {model.layer_count} | {model.width} | {cell(mixers, mixer_cell)} |"
        f" {cell(ffns, ffn_cell)} | {model.parameters:,} | {source} |"
    )
    assert row in PAGE.splitlines()


def test_the_page_names_every_configuration_and_model() -> None:
    assert not [kind for kind in readers() if f"`{kind}`" not in PAGE]
    assert not [name for name in builtin_names("workloads") if f"`{name}`" not in PAGE]


RECURRENT: dict[str, dict[str, Any]] = {
    "lightning": MINIMAX,
    "retention (RetNet)": {
        "model_type": "retnet",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_heads": 2,
    },
    "SSD (Mamba-2)": MAMBA2,
    "S6 (Mamba)": {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2},
}
GATED = {
    "model_type": "qwen3_next",
    "layer_types": ["full_attention"] * 2,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
SOFTMAX: dict[str, dict[str, Any]] = {
    "causal, MHA, GQA or MQA": LLAMA,
    "with a window shorter than the keys": MISTRAL,
    "with capped scores and a window": GEMMA2,
    "with capped scores": GEMMA2 | {"layer_types": ["full_attention"] * 42},
    "with sinks and a window": GPT_OSS,
    "with sinks": GPT_OSS | {"layer_types": ["full_attention"] * 24},
    "with an output gate (Qwen3-Next, Qwen3.5)": GATED,
    "with ALiBi (BLOOM, MPT, Falcon-RW)": {
        "model_type": "bloom",
        "hidden_size": 64,
        "n_layer": 2,
        "n_head": 4,
    },
    "latent (MLA)": DEEPSEEK_V3,
    "encoder": {
        "model_type": "vit",
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
}


def runs_by(folder: Path, fields: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The cascade and the mapping of a model's usual layer in each phase, on FuseMax."""
    path, found = folder / "config.json", {}
    path.write_text(json.dumps(fields), encoding="utf-8")
    machine = Architecture.load("fusemax")
    for phase, lengths in {
        "prefill": {"seq_len": 9999},
        "chunked-prefill": {"seq_len": 9, "cached_len": 9999},
        "decode": {"cached_len": 9999},
    }.items():
        if fields["model_type"] == "vit" and phase != "prefill":
            continue
        work = load(str(path), phase=phase, **lengths)
        found[phase] = (work.cascade, usual_mapping(work, machine).name)
    return found


def row(label: str) -> list[str]:
    """The cells of a row behind its label."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


@pytest.mark.parametrize("label", RECURRENT)
def test_how_a_layer_with_a_state_runs(tmp_path: Path, label: str) -> None:
    found = runs_by(tmp_path, RECURRENT[label])
    assert all(cascade == mapping for cascade, mapping in found.values())
    prefill, piece, decode = (found[p][0] for p in ("prefill", "chunked-prefill", "decode"))
    assert row(label) == [f"`{prefill}`; `{piece}`", f"`{decode}`"]


@pytest.mark.parametrize("label", SOFTMAX)
def test_how_a_layer_with_keys_runs(tmp_path: Path, label: str) -> None:
    """Every name in the row is a cascade or mapping that is run, in its phase."""
    found = runs_by(tmp_path, SOFTMAX[label])
    assert row(label)[1] == "refused: there is no cache" or len(found) == 3
    assert found["prefill"] == found.get("chunked-prefill", found["prefill"])
    assert f"`{found['prefill'][1]}`" in row(label)[0]
    for cell, phase in zip(row(label), ("prefill", "decode"), strict=True):
        assert set(re.findall(r"`([^`]+)`", cell)) <= set(found.get(phase, ())), (cell, found)
