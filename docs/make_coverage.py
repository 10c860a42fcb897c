"""Write the tables of ``coverage.md``: a row for each mechanism of ``specs/coverage.yaml``.

Run it from the project's folder: ``python docs/make_coverage.py``. Papers and references are those
that the cascades name. Passes come from the analysis, workloads from the parts that they run. A
row says on how many machines its cascades run if some machine lacks an operation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from archsim import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.operations import operations_of
from einsum_cascade.yaml.library import builtin_names
from workloads import Part, load

PAGE = Path(__file__).parent / "coverage.md"
LIST = Path(__file__).parents[1] / "specs" / "coverage.yaml"
CASCADES = builtin_names("cascades")
_PAPER = re.compile(r"arXiv[ :](\d{4}\.\d{5})")
MOST_WORKLOADS = 2
"""Maximum number of workloads that a row names: a line of the table stays readable."""
PHASES = (
    {"phase": "prefill", "seq_len": "16K"},
    {"phase": "decode", "cached_len": "16K"},
    {"phase": "chunked-prefill", "seq_len": "1K", "cached_len": "16K"},
)
TABLES = "<!-- tables -->\n"
"""Mark in the page, below which all is written anew."""
COLUMNS = ("mechanism", "papers", "cascades, passes", "references", "workloads")
HEADING = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


@dataclass(frozen=True)
class Mechanism:
    """Mechanism of the literature, the cascades that compute it, and what else there is to say."""

    name: str
    cascades: tuple[str, ...]
    stated: tuple[str, ...]
    """Papers that the list names instead of those that the files of the cascades name."""
    note: str

    def papers(self) -> tuple[str, ...]:
        """Return its papers, by their numbers on arXiv."""
        sources = (Cascade.load(name).program.origin for name in self.cascades)
        return self.stated or tuple(dict.fromkeys(p for s in sources for p in _PAPER.findall(s)))


def groups() -> dict[str, tuple[Mechanism, ...]]:
    """Return the mechanisms under the headings of the page."""
    found = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return {heading: tuple(map(_mechanism, rows)) for heading, rows in found.items()}


def _mechanism(row: dict[str, Any]) -> Mechanism:
    names = tuple(n for pattern in row.get("cascades", ()) for n in CASCADES if fnmatch(n, pattern))
    return Mechanism(
        name=row["mechanism"],
        cascades=names,
        stated=tuple(row.get("arxiv", ())),
        note=row.get("note", ""),
    )


def passes(name: str) -> str:
    """Return the passes of a cascade over the ranks that have several; 1 where none has."""
    ranks = Cascade.load(name).analyze().passes.ranks
    several = [f"{r.rank} {r.counted}" for r in ranks if r.count > 1 and r.grain != "member"]
    return ", ".join(several) or "1"


@cache
def machines() -> tuple[Architecture, ...]:
    """Return the built-in machines."""
    return tuple(Architecture.load(name) for name in builtin_names("architectures"))


def able(cascade: str) -> tuple[str, ...]:
    """Return the machines that have an array for each Einsum of a cascade."""
    done = {tuple(k for k, _ in o) for o in operations_of(Cascade.load(cascade).program).values()}
    return tuple(m.name for m in machines() if all(map(m.arrays_for, done)))


@cache
def users() -> dict[str, dict[str, None]]:
    """Return the workloads that run each cascade, in one of their phases."""
    found: dict[str, dict[str, None]] = {}
    for name in builtin_names("workloads"):
        for part in _parts(name):
            found.setdefault(part.cascade, {})[name] = None
    return found


def _parts(name: str) -> Iterator[Part]:
    """Yield the parts of a workload, and of the model that it may be in each phase."""
    yield from load(name).parts
    for phase in PHASES:
        with suppress(InputError):  # a kernel alone is no model, an encoder decodes nothing
            yield from load(name, scope="model", **phase).parts


def row(mechanism: Mechanism) -> str:
    """Return the line of the table for a mechanism."""
    names = mechanism.cascades
    told = [*(f"`{name}` {passes(name)}" for name in names), _lacking(names), mechanism.note]
    checked = dict.fromkeys(Cascade.load(name).program.reference for name in names)
    run = list(dict.fromkeys(user for name in names for user in users().get(name, ())))
    used = [f"`{user}`" for user in run[:MOST_WORKLOADS]]
    cells = (
        mechanism.name,
        ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in mechanism.papers()),
        "; ".join(filter(None, told)),
        ", ".join(f"`{reference}`" for reference in checked if reference),
        ", ".join([*used, f"{len(run) - len(used)} more"] if run[MOST_WORKLOADS:] else used),
    )
    return f"| {' | '.join(cells)} |"


def _lacking(names: tuple[str, ...]) -> str:
    """Return on how many machines all of these cascades run, or nothing if on every machine."""
    found = [m for m in machines() if all(m.name in able(name) for name in names)]
    return "" if len(found) == len(machines()) else f"on {len(found)} of {len(machines())} machines"


def page(text: str) -> str:
    """Return a page with its tables replaced, one for each group of mechanisms."""
    tables = (
        "\n".join(["", f"## {heading}", "", HEADING, *map(row, mechanisms), ""])
        for heading, mechanisms in groups().items()
    )
    return "".join([*text.partition(TABLES)[:2], *tables])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
