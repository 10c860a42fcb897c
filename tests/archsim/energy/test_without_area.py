"""Machines, and components of machines, whose technology gives no area."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import refused, run

from einsum_cascade.yaml.library import builtin_source


def without_areas(folder: Path, *, buffer: bool) -> str:
    """``fusemax`` by a technology that gives areas to compiled memories alone."""
    source = builtin_source("technology", "accelergy-45nm").text
    source = re.sub(r"(energy: [\d.]+ pJ, +)area: [\d.]+ um\^2", r"\1area: 0 um^2", source)
    source = re.sub(r"(area_per_\w+): [\d.]+ um\^2", r"\1: 0 um^2", source)
    (folder / "bare.yaml").write_text(source, encoding="utf-8")
    text = builtin_source("architectures", "fusemax").text
    text = text.replace("accelergy-45nm", "bare.yaml")
    text = re.sub(r"overhead_area: [\d.]+ um\^2", "overhead_area: 0 um^2", text)
    if not buffer:
        text = "".join(x for x in text.splitlines(True) if "name: global_buffer" not in x)
    path = folder / "machine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("options", [(), ("--iso-area",)])
@pytest.mark.parametrize("order", [1, -1])
def test_a_machine_without_area(tmp_path: Path, options: tuple[str, ...], order: int) -> None:
    machines = ("fusemax", without_areas(tmp_path, buffer=False))[::order]
    text = refused("compare", "bert-base", *machines, *options)
    assert "machine.yaml has no area: technology 'accelergy-45nm' gives none" in text


@pytest.mark.parametrize("order", [1, -1])
def test_components_without_area(tmp_path: Path, order: int) -> None:
    """Equal areas would mean nothing; a plain comparison says what its ratio leaves out."""
    machines = ("fusemax-micro24", without_areas(tmp_path, buffer=True))[::order]
    text = refused("compare", "bert-base", *machines, "--iso-area")
    assert "machine.yaml: technology 'accelergy-45nm' gives no area for array_2d, array_1d" in text
    shown = run("compare", "bert-base", *machines).stdout
    assert "fusemax: no area is given for array_2d, array_1d" in " ".join(shown.split())
