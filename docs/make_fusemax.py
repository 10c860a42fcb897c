"""Fill in the tables of ``fusemax.md`` and draw its pictures, from a fresh run.

Run it from the project's folder: ``python docs/make_fusemax.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from archsim.document import Document, to_markdown
from archsim.reproduction import Reproduction, Study, study
from archsim.reproduction.figures import drawn
from archsim.reproduction.tables import billings, headline, omissions

FOLDER = Path(__file__).parent
PAGE = FOLDER / "fusemax.md"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table_of(document: Document | None) -> str:
    """The tables of a document, in Markdown."""
    assert document is not None, "the plan has what the page shows"
    lines = to_markdown(document).splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith("|"))


def tables(found: Study) -> dict[str, str]:
    """The tables of the page by name."""
    made = {"headline": headline(found), "billings": billings(found), "omissions": omissions(found)}
    return {name: table_of(document) for name, document in made.items()}


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """A page with its tables replaced."""
    return _BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]]}{block[3]}", text)


def main() -> None:
    """Write the page and its pictures."""
    workers = os.cpu_count() or 1
    found = study(Reproduction.load("fusemax"), workers=workers)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables(found)), encoding="utf-8")
    for name, data in drawn(found, workers):
        if name.endswith(".png"):
            (FOLDER / "images" / f"fusemax-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
