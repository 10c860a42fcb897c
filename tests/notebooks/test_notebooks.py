"""Every notebook runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib_inline.config import InlineBackend
from places import ROOT
from traitlets.config import Config

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


LONG = (
    *("2-passes-and-rewrites", "3-flat-against-fusemax", "4-softmax-against-lightning"),
    *("5-machines-for-llama", "6-your-own-attention"),
)
"""Seconds each, most of them half a minute on a busy machine."""


class CellShell(InteractiveShell):  # type: ignore[misc]
    """What a notebook's kernel asks to run a cell, without the process around it."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Pictures go into the notebook: there is no window whose events would be waited for."""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CellShell]:
    """A fresh one in a folder of its own; of Matplotlib's settings none outlasts it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    backend, interactive = mpl.get_backend(), mpl.is_interactive()
    nothing_kept = Config({"HistoryManager": {"enabled": False}})
    with mpl.rc_context():
        made = CellShell.instance(config=nothing_kept, user_module=ModuleType("notebook"))
        made.enable_matplotlib("inline")
        yield made
        made.enable_matplotlib("agg")  # else the next would be taken for set up already
        InlineBackend.clear_instance()
        CellShell.clear_instance()
        plt.close("all")
    plt.switch_backend(backend)
    mpl.interactive(interactive)


def shown_by(shell: CellShell, source: str) -> list[dict[str, Any]]:
    """What a cell shows, by MIME type: what it displays, then what its last line is worth."""
    with capture_output() as said:
        ran = shell.run_cell(source, store_history=True)
    ran.raise_error()
    shown = [output.data for output in said.outputs]
    return shown if ran.result is None else [*shown, shell.display_formatter.format(ran.result)[0]]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=pytest.mark.slow if p.stem in LONG else (), id=p.stem)
        for p in NOTEBOOKS
    ],
)
def test_it_runs(path: Path, shell: CellShell) -> None:
    cells = code_of(path)
    for said, instead in COARSER.get(path.stem, {}).items():
        (cell,) = [cell for cell in cells if said in cell.source]
        cell.source = cell.source.replace(said, instead)
    shown = [data for cell in cells for data in shown_by(shell, cell.source)]
    assert sum("image/png" in data for data in shown) >= 2
