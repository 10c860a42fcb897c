"""The table of shipped models in the documentation is what their files say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from einsum_cascade.library import builtin_names, builtin_source
from einsum_cascade.yaml_source import read_yaml
from workloads.huggingface import READERS, read_config
from workloads.models import (
    DecayAttention,
    Experts,
    FeedForward,
    LatentAttention,
    ModelConfig,
    SoftmaxAttention,
    StateSpaceDual,
)

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


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
            return f"{mixer.kind} {heads} x {mixer.qk_width}{window}"
        case LatentAttention():
            width = f"{mixer.nope_width}+{mixer.rope_width}"
            return f"MLA {mixer.heads} x ({width}), cache {mixer.kv_rank}+{mixer.rope_width}"
        case DecayAttention():
            return f"{mixer.kind} {mixer.heads} x {mixer.qk_width}"
        case StateSpaceDual():
            return f"SSD {mixer.heads} x {mixer.head_width}, state {mixer.state}"
    raise AssertionError(mixer)


def ffn_cell(ffn: Any) -> str:
    match ffn:
        case None:
            return "none"
        case FeedForward():
            return f"{ffn.products} x {ffn.inner}"
        case Experts():
            shared = f" + {ffn.shared_inner}" if ffn.shared_inner else ""
            return f"{ffn.per_token} of {ffn.experts} x {ffn.inner}{shared}"
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
    assert not [kind for kind in READERS if f"`{kind}`" not in PAGE]
    assert not [name for name in builtin_names("workloads") if f"`{name}`" not in PAGE]
