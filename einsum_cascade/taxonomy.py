"""Taxonomy of attention by passes over the keys, computed from the cascades of systems.

``python -m einsum_cascade.taxonomy`` prints the Markdown of ``docs/taxonomy.md``. The list of
systems and their cascades is data (``specs/taxonomy.yaml``); everything else is analysed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from .analysis_report import RankPasses
from .cascade import Cascade
from .source import Source
from .yaml.source import read_yaml

COMMAND = "python -m einsum_cascade.taxonomy > docs/taxonomy.md"


def load_taxonomy() -> dict[str, Any]:
    """Load the built-in list of systems, and the rank whose passes classify them."""
    text = files("specs").joinpath("taxonomy.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = read_yaml(Source("specs/taxonomy.yaml", text)).plain()
    return found


def taxonomy_markdown() -> str:
    """Return the document in Markdown: systems by the passes of the cascades that they run."""
    parts = (
        "# Attention by passes over the keys",
        f"Computed by `{COMMAND}`; a test compares. [Passes](passes.md) defines a pass; "
        "[Coverage](coverage.md) has the passes of all cascades.",
        _systems(load_taxonomy()),
    )
    return "\n\n".join(parts) + "\n"


def _systems(taxonomy: dict[str, Any]) -> str:
    """Return a row for each cascade that systems run, by its passes over the classifying rank."""
    rank, rows = taxonomy["rank"], []
    listed: dict[str, list[str]] = {}
    for system in taxonomy["systems"]:
        listed.setdefault(system["cascade"], []).append(f"{system['name']} ({system['kind']})")
    for cascade, names in listed.items():
        analysis = Cascade.load(cascade).analyze()
        passes = analysis.passes.of(rank)
        held = next(f.needed for f in analysis.footprint if f.rank == rank)
        systems = ", ".join(names)
        extra = next((x.cheapest for x in analysis.extra if x.rank == rank), 0)
        cells = (passes.counted, systems, f"`{cascade}`", f"`{held}`", f"`{extra}`")
        rows.append((-passes.count, (*cells, _chains(passes))))
    heading = (
        "passes",
        "systems",
        "cascade",
        "held between passes, per query",
        "traffic added when it is not held",
        "barriers",
    )
    return _table(heading, [cells for _, cells in sorted(rows)])


def _chains(passes: RankPasses) -> str:
    return "; ".join(f"`{b.chain}`" for b in passes.barriers) or "none"


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(taxonomy_markdown())
