"""Fill in the latencies of single kernels in ``models.md``, by default mappings.

Run it from the project's folder: ``python docs/make_kernels.py``.
"""

from __future__ import annotations

import os

from recorded import FOLDER, filled, tables

from archsim import simulate
from archsim.quantities import seconds
from einsum_cascade.yaml.library import builtin_names
from mappers.memory import VARIABLE
from workloads import load

PAGE = FOLDER / "models.md"
MACHINES = ("fusemax", "tpu-v4i")


def kernels() -> tuple[str, ...]:
    """Workloads of one kernel: those without a model and layers."""
    works = ((name, load(name)) for name in builtin_names("workloads"))
    return tuple(name for name, work in works if work.model is None and work.layers is None)


def row(name: str) -> str:
    """One line of the table: a kernel's cascade, and its latency on each machine."""
    cells = [f"`{name}`", f"`{load(name).cascade}`"]
    for machine in MACHINES:
        found = simulate(load(name), machine)
        cells += [seconds(found.latency_s), f"{found.over_floor:.2f}", f"`{found.mapping}`"]
    return f"| {' | '.join(cells)} |\n"


def page(text: str) -> str:
    """The page with its table from fresh runs."""
    heading = tables(text)["kernels"].splitlines(keepends=True)[:2]
    return filled(text, {**tables(text), "kernels": "".join((*heading, *map(row, kernels())))})


if __name__ == "__main__":
    os.environ[VARIABLE] = ""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
