"""Fill in the tables of ``fusemax.md`` and draw its pictures, from a fresh run.

Run it from the project's folder: ``python docs/make_fusemax.py``.
"""

from __future__ import annotations

import os
from functools import cache, partial

from recorded import FOLDER, filled, save

from archsim.document import Document, to_markdown
from archsim.figure_style import Picture
from archsim.reproduction import Reproduction, Study, study
from archsim.reproduction.figures import draw_figure
from archsim.reproduction.tables import billings, headline, omissions

PAGE = FOLDER / "fusemax.md"
PLAN = Reproduction.load("fusemax")


def table_of(document: Document | None) -> str:
    """The tables of a document, in Markdown."""
    assert document is not None, "the plan has what the page shows"
    lines = to_markdown(document).splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith("|"))


def tables(found: Study) -> dict[str, str]:
    """The tables of the page by name."""
    made = {"headline": headline(found), "billings": billings(found), "omissions": omissions(found)}
    return {name: table_of(document) for name, document in made.items()}


@cache
def studied() -> Study:
    """All runs of the plan."""
    return study(PLAN, workers=os.cpu_count() or 1)


def _figure(at: int) -> Picture:
    found = studied()
    return draw_figure(found.data(found.plan.figures[at]))


PICTURES = {
    f"fusemax-figure-{figure.number:02d}": partial(_figure, at)
    for at, figure in enumerate(PLAN.figures)
}


def main() -> None:
    """Write the page and its pictures."""
    page = filled(PAGE.read_text(encoding="utf-8"), tables(studied()))
    PAGE.write_text(page, encoding="utf-8")
    save(PICTURES)


if __name__ == "__main__":
    main()
