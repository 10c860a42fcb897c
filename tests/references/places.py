"""Where files lie that tests read: the project's own, and tables of publications beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLICATIONS = ROOT.parent / "shared" / "data"
"""Not a part of the project: what compares with it is skipped where it is not there."""
