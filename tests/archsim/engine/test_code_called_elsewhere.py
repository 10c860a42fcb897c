"""What is kept on disk of compiled code is old when what it calls has changed in another file."""

from __future__ import annotations

import os
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

HEAD = "from archsim.compiled import compiled, compiled_inside\n"


def answer(folder: Path, how: str, factor: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """What a function says whose helper, in a file of its own, multiplies by a factor."""
    helper = folder / "helper_of_asked.py"
    helper.write_text(f"{HEAD}\n\n@{how}\ndef times(n):\n    return n * {factor}\n")
    os.utime(helper, (factor, factor))
    for name in ("helper_of_asked", "asked_of_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    invalidate_caches()
    return int(import_module("asked_of_helper").asked(1))


@pytest.mark.parametrize("how", ["compiled", "compiled_inside"])
def test_what_calls_changed_code_is_compiled_anew(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "from helper_of_asked import times\n\n\n@compiled\ndef asked(n):\n    return times(n) + 1\n"
    )
    (tmp_path / "asked_of_helper.py").write_text(HEAD + text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert answer(tmp_path, how, 2, monkeypatch) == 3
    assert answer(tmp_path, how, 5, monkeypatch) == 6
