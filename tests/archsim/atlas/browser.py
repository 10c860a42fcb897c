"""Chromium without a window: load a page, let a script act on it, give back the document."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def chromium() -> str | None:
    """The browser's command, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def document_after(page: Path, script: str, folder: Path) -> str:
    """The page's document after ``script`` ran at its end."""
    browser = chromium()
    assert browser is not None
    text = page.read_text(encoding="utf-8")
    acted = folder / "acted.html"
    acted.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    command = [browser, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, acted.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout
