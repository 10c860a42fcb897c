"""The site: the pages of docs/, the README and its like, and the notebooks, as they lie here.

The source folder is the project itself, so that a link between two pages is the same on the site
and where the files are read one by one. The sidebar is what docs/index.md lists: each of its
headings is a caption, each page linked below it an entry; a page that is not there is an error.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from field_tables import with_field_tables

project = "archsim"
author = "the archsim authors"
copyright = "the archsim authors, MIT licence"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "notebooks/*.ipynb",
]
exclude_patterns = [".*", "**/.*", "build", "dist", "tests", "specs", "benchmarks"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
smartquotes = False  # it would make a dash of the two of an option
# `make docs` runs the notebooks, once for each change; the tests do it for a change to be merged.
nb_execution_mode = os.environ.get("ARCHSIM_NOTEBOOKS", "cache")
nb_execution_cache_path = str(Path(__file__).parents[1] / "build" / "notebooks")
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_execution_raise_on_error = True
# Equations as equations: the page loads what draws them only where it has some of its own.
nb_mime_priority_overrides = [("html", "text/latex", 25)]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False

html_theme = "furo"
html_title = "archsim"
html_extra_path = ["site"]
html_theme_options = {"navigation_with_keys": True}

_HEADING = re.compile(r"^## (.+)$")
_PAGE = re.compile(r"\[([^]]+)\]\(([^)#:]+)\.(?:md|ipynb)\)")


def sidebar(index: str) -> str:
    """Hidden tables of contents of the index: a caption a heading, an entry a page linked to."""
    pages: dict[str, list[str]] = {}
    seen: set[str] = set()
    heading = ""
    for line in index.splitlines():
        if found := _HEADING.match(line):
            heading = found[1]
        for text, page in _PAGE.findall(line):
            if heading and page not in seen:
                seen.add(page)
                pages.setdefault(heading, []).append(f"{text} <{page}>")
    return "".join(
        "\n".join(["", "```{toctree}", ":hidden:", f":caption: {name}", "", *found, "```", ""])
        for name, found in pages.items()
    )


def _as_built(app: Any, docname: str, source: list[str]) -> None:
    """What the site has and the tree has not: the sidebar, and the tables of fields."""
    if docname == root_doc:
        source[0] += sidebar(source[0])
    page = with_field_tables(source[0])
    if page != source[0]:
        source[0] = page
        app.env.note_reread()  # the code may have changed where the page has not


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _as_built)
