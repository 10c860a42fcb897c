"""Reproduction files: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import write

from archsim.reproduction import Reproduction
from einsum_cascade.errors import InputError, SpecError
from einsum_cascade.yaml.library import builtin_names


def test_a_plan_says_what_its_file_says(tmp_path: Path) -> None:
    plan = Reproduction.load(write(tmp_path))
    assert plan.seq_len == (1024, 4096)
    assert plan.configuration("fast").architectures["ours"] == "fusemax"
    assert [f.number for f in plan.figures] == [3, 4, 5, 6, 7]
    assert all(f.configurations == ("slow", "fast") for f in plan.figures)
    assert plan.sweep is not None
    points = dict(plan.sweep.points("bert-base"))
    assert list(points) == ["64x64", "128x128"]
    assert points["64x64"][0] == "arrays.array_2d.shape.rows=64"
    assert not list(plan.sweep.points("xlm"))
    assert plan.title_of(plan.headline[1]) == "attention energy, Fast over Slow"


@pytest.mark.parametrize("name", builtin_names("reproductions"))
def test_what_is_built_in_names_what_is_built_in(name: str) -> None:
    plan = Reproduction.load(name)
    assert plan.name == name
    for configuration in plan.configurations:
        for architecture in configuration.architectures.values():
            assert architecture in builtin_names("architectures")
    assert set(plan.workloads) <= set(builtin_names("workloads"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  title: A small study\n", "", "'title' is missing"),
        ("title: A small study", "titel: A small study", "did you mean 'title'?"),
        ("of: fast, over: slow", "of: fas, over: slow", "did you mean 'fast'?"),
        ("mean: geometric", "mean: geometrical", "did you mean 'geometric'?"),
        ("published: 3.1x", "published: 3.1", "such as 6.7x or 79%"),
        ("published: 3.1x", "published: 3.1y", "such as 6.7x or 79%"),
        ("kind: stack", "kind: stak", "did you mean 'stack'?"),
        ("quantity: area_um2", "quantity: area_mm2", "did you mean 'area_um2'?"),
        ("{n: 64}", "{m: 64}", "the point gives no 'n'"),
        ("    configuration: fast\n", "    configuration: fats\n", "did you mean 'fast'?"),
        ("    - number: 4\n", "    - number: 3\n", "two figures called '3'"),
        ("seq_len: [1K, 4K]", "seq_len: [1K, 0]", "at least 1"),
        ("seq_len: [1K, 4K]", "seq_len: []", "at least one entry"),
        ("theirs: as they count, ours", "theirs: as they count, hers", "no billing 'ours'"),
        ("      scope: layer\n", "      scope: layers\n", "did you mean 'layer'?"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = write(tmp_path, (old, new))
    with pytest.raises(SpecError) as refused:
        Reproduction.load(path)
    assert said in str(refused.value)
    assert f"{path}:" in str(refused.value)


def test_a_scatter_needs_a_sweep(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("  sweep:\n")
    path.write_text(head + rest[rest.index("  tables:") :], encoding="utf-8")
    with pytest.raises(SpecError, match="figure 7 is of a sweep, but there is none"):
        Reproduction.load(path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        SpecError, match="no built-in reproduction 'fusmax'; did you mean 'fusemax'"
    ):
        Reproduction.load("fusmax")


def test_an_unknown_figure_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no figure 13; known: 3, 4, 5, 6, 7"):
        Reproduction.load(write(tmp_path)).only([13])
