"""Taxonomy of attention by passes over the keys, computed from the built-in cascades.

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
from .counting.symbolic import Analysis
from .source import Source
from .yaml.library import builtin_names
from .yaml.source import read_yaml

COMMAND = "python -m einsum_cascade.taxonomy > docs/taxonomy.md"

MAX_CHAINS = 2
"""Maximum number of barriers per cascade that the document shows: softmax has two."""


def load_taxonomy() -> dict[str, Any]:
    """Load the built-in list of systems, and the rank whose passes classify them."""
    text = files("specs").joinpath("taxonomy.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = read_yaml(Source("specs/taxonomy.yaml", text)).plain()
    return found


def taxonomy_markdown() -> str:
    """Return the document in Markdown: systems by passes, then every built-in cascade."""
    taxonomy = load_taxonomy()
    analyses = {name: Cascade.load(name).analyze() for name in builtin_names("cascades")}
    parts = (
        "# Attention by passes over the keys",
        f"Computed by `{COMMAND}`; a test compares. `passes.md` defines a pass.",
        _systems(taxonomy, analyses),
        "## Cascades of several passes",
        "Ranks with one pass are left out, members of partitioned ranks too, and all but the first "
        f"{MAX_CHAINS} barriers of a cascade (`archsim analyze NAME` shows them all).",
        _cascades(analyses),
        "## Cascades of one pass over every rank",
        ", ".join(f"`{name}`" for name, analysis in analyses.items() if not _several(analysis)),
    )
    return "\n\n".join(parts) + "\n"


def _systems(taxonomy: dict[str, Any], analyses: dict[str, Analysis]) -> str:
    """Return a row for each cascade that systems run, by its passes over the classifying rank."""
    rank, rows = taxonomy["rank"], []
    listed: dict[str, list[str]] = {}
    for system in taxonomy["systems"]:
        listed.setdefault(system["cascade"], []).append(f"{system['name']} ({system['kind']})")
    for cascade, names in listed.items():
        analysis = analyses[cascade]
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


def _several(analysis: Analysis) -> list[RankPasses]:
    """Return the ranks with several passes, without members of partitioned ranks."""
    return [r for r in analysis.passes.ranks if r.count > 1 and r.grain != "member"]


def _cascades(analyses: dict[str, Analysis]) -> str:
    rows = []
    for name, analysis in analyses.items():
        if several := _several(analysis):
            counts = ", ".join(f"{r.rank}: {r.counted}" for r in several)
            chains = [f"`{b.chain}`" for r in several for b in r.barriers]
            if len(chains) > MAX_CHAINS:
                chains[MAX_CHAINS:] = [f"{len(chains) - MAX_CHAINS} more"]
            rows.append((f"`{name}`", counts, "; ".join(chains) or "none"))
    return _table(("cascade", "passes", "barriers"), rows)


def _chains(passes: RankPasses) -> str:
    return "; ".join(f"`{b.chain}`" for b in passes.barriers) or "none"


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(taxonomy_markdown())
