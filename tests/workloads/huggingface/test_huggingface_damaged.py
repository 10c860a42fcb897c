"""Configurations that are broken in any way: a model or a message, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_cases import LLAMA, PUBLISHED, model_of
from portions import examples

from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.source import read_yaml
from workloads import load
from workloads.huggingface.read import read_config, readers


def _junk() -> st.SearchStrategy[Any]:
    scalar = (
        st.none()
        | st.booleans()
        | st.integers(-3, 300)
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
    )
    return st.recursive(
        scalar,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    )


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A published configuration with a few fields taken out or replaced."""
    fields = dict(draw(st.sampled_from(PUBLISHED)).fields)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        if draw(st.booleans()):
            fields.pop(name, None)
        else:
            fields[name] = draw(_junk())
    if draw(st.booleans()):
        fields["model_type"] = draw(st.sampled_from(sorted(readers())))
    return fields


@settings(deadline=None, max_examples=examples(150))
@given(damaged())
def test_only_our_errors_on_damaged_configurations(fields: dict[str, Any]) -> None:
    try:
        model = model_of(fields)
    except InputError:
        return
    assert model.layer_parameters > 0
    assert sum(run.count for run in model.kinds()) == model.layer_count


@settings(
    deadline=None,
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(_junk(), st.sampled_from(["", "workload", "config"]))
def test_only_our_errors_on_any_json(tmp_path: Path, value: Any, under: str) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps({under: value} if under else value), encoding="utf-8")
    with pytest.raises(InputError):
        load(str(path))


def test_a_file_that_is_cut_off() -> None:
    text = json.dumps(LLAMA, indent=1)
    for end in range(1, len(text), 7):
        with pytest.raises(InputError):
            read_config(read_yaml(Source("config.json", text[:end])))
