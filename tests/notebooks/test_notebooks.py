"""Every notebook runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from places import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

COARSER = {
    "1-first-simulation": {"range(10, 21)": "range(10, 21, 5)"},
    "2-passes-and-rewrites": {"range(10, 21)": "range(10, 21, 5)"},
    "3-flat-against-fusemax": {"range(10, 21, 2)": "range(10, 21, 5)"},
    "5-machines-for-llama": {
        "SIDES = LANES = [64, 128, 256, 512]": "SIDES = LANES = [64, 256]",
        'BUFFERS = ["1 MiB", "2 MiB", "4 MiB", "8 MiB", "16 MiB"]': 'BUFFERS = ["1 MiB", "16 MiB"]',
        "BANDWIDTHS = 6": "BANDWIDTHS = 2",
    },
}
"""What a test writes in the place of what a notebook says: three lengths in the place of eleven,
32 machines in the place of 960."""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_of(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_they_are_numbered_in_the_order_of_reading() -> None:
    assert len(NOTEBOOKS) >= 6
    assert [path.stem.split("-")[0] for path in NOTEBOOKS] == [
        str(n) for n, _ in enumerate(NOTEBOOKS, start=1)
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stripped(path: Path) -> None:
    for cell in code_of(path):
        assert cell.outputs == []
        assert cell.execution_count is None


LONG = ("4-softmax-against-lightning", "6-your-own-attention")
"""Half a minute each on a busy machine."""


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=pytest.mark.slow if p.stem in LONG else (), id=p.stem)
        for p in NOTEBOOKS
    ],
)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    notebook = read(path)
    for said, instead in COARSER.get(path.stem, {}).items():
        (cell,) = [cell for cell in notebook.cells if said in cell.source]
        cell.source = cell.source.replace(said, instead)
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)
    assert sum("image/png" in o.get("data", {}) for cell in ran for o in cell.outputs) >= 2
