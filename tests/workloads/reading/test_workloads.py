"""Workloads: the four models, files of one's own, and what wins over what."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import refused

from archsim import simulate
from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.library import builtin_names, builtin_source
from workloads import Workload, load


def write(folder: Path, text: str, name: str = "work.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "heads", "width", "model_width", "ffn_width"),
    [
        ("bert-base", 12, 64, 768, 3072),
        ("trxl-wt103", 16, 64, 1024, 4096),
        ("t5-small", 8, 64, 512, 2048),
        ("xlm", 16, 128, 2048, 8192),
    ],
)
def test_the_four_models(
    name: str, heads: int, width: int, model_width: int, ffn_width: int
) -> None:
    work = load(name)
    assert work.name == name
    assert (work.cascade, work.scope) == ("attention-1pass", "attention")
    assert dict(work.shapes) == {"B": 64, "H": heads, "E": width, "F": width, "P": 4096, "M": 4096}
    assert (work.model_width, work.ffn_width) == (model_width, ffn_width)
    assert (work.batch, work.seq_len) == (64, 4096)
    assert "MICRO 2024" in work.source


def test_the_four_models_are_the_built_in_workloads() -> None:
    assert {"bert-base", "trxl-wt103", "t5-small", "xlm"} <= set(builtin_names("workloads"))


def test_keywords_win() -> None:
    work = load("bert-base", seq_len="64K", batch=1, E=32, F=np.int64(48), P=7)
    assert dict(work.shapes) == {"B": 1, "H": 12, "E": 32, "F": 48, "P": 7, "M": 65536}
    assert load("bert-base", B=3, batch=5).batch == 3
    assert load("bert-base", M=9).shape("P") == 4096


def test_a_file_may_start_from_a_model(tmp_path: Path) -> None:
    path = write(tmp_path, "workload:\n  model: xlm\n  name: mine\n  seq_len: 1K\n  P: 1\n")
    work = load(path)
    assert (work.name, work.cascade) == ("mine", "attention-1pass")
    assert dict(work.shapes) == {"B": 64, "H": 16, "E": 128, "F": 128, "P": 1, "M": 1024}
    # A setting lies over the file, even over its ranks.
    assert load(path, seq_len=99).shape("P") == 99
    assert load(path, model="bert-base").shape("E") == 64


def test_a_file_may_start_from_another_file(tmp_path: Path) -> None:
    write(tmp_path, "workload:\n  model: bert-base\n  H: 3\n", "base.yaml")
    path = write(tmp_path, "workload:\n  model: ./base.yaml\n  E: 5\n")
    assert dict(load(path).shapes) == {"B": 64, "H": 3, "E": 5, "F": 64, "P": 4096, "M": 4096}


@pytest.mark.parametrize(
    "text",
    [
        "workload: {name: w, cascade: attention-2pass, B: 1, H: 2, E: 3, F: 4, P: 5, M: 6}",
        "workload: {name: w, cascade: attention-2pass,"
        " shape: {B: 1, H: 2, E: 3, F: 4, P: 5, M: 6}}",
        "workload: {name: w, cascade: attention-2pass,"
        " M: 6, shape: {B: 1, H: 2, E: 3, F: 4, P: 5}}",
        "workload: w\ncascade: attention-2pass\nB: 1\nH: 2\nE: 3\nF: 4\nP: 5\nM: 6\n",
        '{"workload": {"name": "w", "cascade": "attention-2pass", "batch": 1, "H": 2, "E": 3,'
        ' "F": 4, "P": 5, "seq_len": 6}}',
    ],
)
def test_ranks_given_directly(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text)) == Workload(
        name="w",
        cascade="attention-2pass",
        shapes=(("B", 1), ("E", 3), ("F", 4), ("H", 2), ("M", 6), ("P", 5)),
    )


def test_a_cascade_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path, builtin_source("cascades", "attention-1pass").text, "mine.yaml")
    path = write(tmp_path, "workload:\n  model: t5-small\n  cascade: mine.yaml\n")
    assert load(path).cascade == str(tmp_path / "mine.yaml")
    assert Cascade.load(load(path).cascade).name == "attention-1pass"


def ranks_of(cascade: str) -> tuple[str, ...]:
    program = Cascade.load(cascade).program
    return (*program.parallel, *(r.name for r in program.ranks))


def test_shapes_for_a_cascade() -> None:
    work = load("bert-base")
    assert work.shapes_for(ranks_of(work.cascade)) == dict(work.shapes)
    with pytest.raises(SpecError, match="has no rank 'Z'"):
        load("bert-base", Z=3).shapes_for(ranks_of("attention-1pass"))


def test_a_model_may_have_more_ranks_than_another_cascade() -> None:
    """Only what is said with the cascade or after it must be a rank of it."""
    work = load("bert-base", cascade="log-softmax")
    assert "E" not in work.shapes_for(ranks_of("log-softmax"))
    with pytest.raises(SpecError) as caught:
        load("bert-base", cascade="log-softmax", E=3).shapes_for(ranks_of("log-softmax"))
    assert "E=3: cascade 'log-softmax' has no rank 'E'" in str(caught.value)


def test_a_parameter_of_the_cascade(tmp_path: Path) -> None:
    """By its name, whatever its case: a mask that needs its number asks for it so."""
    windowed = builtin_source("cascades", "attention-sliding-window").text
    windowed = windowed.replace("- W <", "- near <")
    write(tmp_path, windowed.replace("parameters: {W: 5}", "parameters: [near]"), "mine.yaml")
    path = write(tmp_path, "workload: {model: t5-small, batch: 1, cascade: mine.yaml, near: 8}")
    ranks = (*ranks_of(str(tmp_path / "mine.yaml")), "near")
    assert load(path).shapes_for(ranks)["near"] == 8
    assert load(path, near="1K").shape("near") == 1024
    scores = simulate(path, "fusemax", near=3, seq_len=8).einsums[0].operations
    assert dict(scores)["mac"] == 8 * 64 * (8 * 3 - 3)
    for wrong, told in {
        "nera: 8": "1:62: unknown field 'nera'.*did you mean 'near'",
        "near: 0": "1:68: near: expected a whole number, at least 1, got 0",
        "near: 8, seqlen: 4": "1:71: unknown field 'seqlen'.*did you mean 'seq_len'",
        "batch: x, nera: 8": "batch: expected a whole number.*unknown field 'nera'",
    }.items():
        text = f"workload: {{model: t5-small, cascade: mine.yaml, H: 8, E: 64, {wrong}}}"
        with pytest.raises(SpecError, match=f"(?s){told}"):
            load(write(tmp_path, text))
    with pytest.raises(SpecError, match="near=8: unknown field 'near'"):
        load("t5-small", near=8)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("workload:\n  model: bert-base\n  batch: -1\n", ":3:10: batch: expected a whole number"),
        ("workload:\n  model: bert-base\n  E: 0\n", ":3:6: E: expected a whole number, at least 1"),
        ("workload:\n  model: bert-base\n  E: true\n", "E: expected a whole number"),
        ("workload:\n  model: bert-base\n  E: 1e16\n", "E: expected a whole number up to 1e15"),
        ("workload:\n  model: bert-base\n  E: .nan\n", "which is not finite"),
        ("workload:\n  model: bert-base\n  E: 2.5\n", "E: expected a whole number, got 2.5"),
        ("workload:\n  model: bert-base\n  seqlen: 2\n", "did you mean 'seq_len'?"),
        ("workload:\n  model: bert-base\n  e: 2\n", "did you mean 'E'?"),
        ("workload:\n  model: bert\n", "did you mean 'bert-base'?"),
        ("workload:\n  model: ./none.yaml\n", "there is no file"),
        ("workload:\n  model: bert-base\n  cascade: attn\n", "there is no built-in cascade"),
        ("workload:\n  model: bert-base\n  scope: modle\n", "did you mean 'model'?"),
        ("workload:\n  model: bert-base\n  scope: all\n", "attention, block, model"),
        ("workload:\n  model: bert-base\n  E: 1\n  E: 2\n", "'E' is given twice"),
        ("workload:\n  model: bert-base\n  E: 1\n  shape: {E: 2}\n", "'E' is given twice"),
        ("workload:\n  model: bert-base\n  shape: {e: 2}\n", "expected a rank (upper case)"),
        ("workload: a\nname: b\nmodel: bert-base\n", "'name' stands beside 'workload:'"),
        ("model: bert-base\n", "expected the section 'workload:', got 'model:'"),
        ("workload:\n  model: bert-base\nE: 3\n", "'E' stands beside 'workload:'"),
        ("workload:\n", "expected a mapping of fields"),
        ("workload: []\n", "expected a mapping of fields, got a list"),
        ("- workload\n", "got a list"),
        ("workload: {", "this is not YAML"),
    ],
)
def test_a_wrong_workload(tmp_path: Path, text: str, wanted: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        load(path)
    assert wanted in str(caught.value)
    assert re.search(rf"{re.escape(path)}:\d+:\d+: ", str(caught.value))


def test_a_workload_without_a_cascade(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="names no cascade"):
        load(write(tmp_path, "workload:\n  name: w\n  E: 3\n"))


def test_models_that_name_one_another(tmp_path: Path) -> None:
    path = write(tmp_path, "workload:\n  model: ./work.yaml\n")
    with pytest.raises(SpecError, match="without end"):
        load(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"seq_len": 0},
        {"seq_len": True},
        {"seq_len": float("nan")},
        {"seq_len": 10**5000},
        {"seq_len": None},
        {"seq_len": [4096]},
        {"E": "many"},
        {"heads": 3},
    ],
)
def test_a_wrong_keyword(fields: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))):
        load("bert-base", **fields)  # type: ignore[arg-type]


def test_names_that_mean_nothing() -> None:
    with pytest.raises(SpecError, match="did you mean 'bert-base'"):
        load("bert")
    with pytest.raises(SpecError, match="no such file"):
        load("./bert")


def test_a_field_that_is_called_as_pydantic_calls_keys(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("workload: {name: w, '[key]': 3}\n")
    with pytest.raises(SpecError, match=r"unknown field '\[key\]'"):
        load(path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("qwen3-30b", "qwen3-30b-a3b"),
        ("llama3-8b", "llama-3-8b"),
        ("mistal", "mistral-7b"),
        ("qwen3-32b", None),
        ("llama-2-7b", None),
        ("gemma-3-9b", None),
    ],
)
def test_the_hint_is_never_a_model_of_another_size(written: str, meant: str | None) -> None:
    with pytest.raises(SpecError) as no:
        load(written)
    text = str(no.value)
    assert (f"did you mean '{meant}'?" in text) if meant else ("did you mean" not in text)
    said = refused("show", written)
    assert (f"did you mean '{meant}'?" in said) if meant else ("did you mean" not in said)
