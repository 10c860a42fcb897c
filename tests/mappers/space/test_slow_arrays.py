"""Arrays that are too slow to be of use where time counts, and take least energy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from brief_search import BRIEFLY
from machines import small

from archsim import Architecture, simulate
from einsum_cascade import Cascade
from mappers.exact.subspaces import TableMemo
from mappers.pareto.front_search import search_front
from mappers.problem.objectives import objective_called
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.workload_search import search_workload
from workloads import Workload, load


def product_on(folder: Path) -> tuple[Workload, Architecture]:
    """A product, and a machine whose small array has the cheap registers."""
    machine = small((8, 8), 2)
    deep = (replace(machine.arrays[0].registers, depth=4096), machine.arrays[1].registers)
    arrays = tuple(replace(a, registers=r) for a, r in zip(machine.arrays, deep, strict=True))
    path = folder / "product.yaml"
    shape = "{N: 16, D: 16, J: 16}"
    path.write_text(f"workload: {{name: product, cascade: linear-layer, shape: {shape}}}")
    return load(path), replace(machine, arrays=arrays)


def test_the_least_energy_runs_where_time_would_never_allow_it(tmp_path: Path) -> None:
    """The small array takes 32 times as long."""
    work, machine = product_on(tmp_path)
    usual = simulate(work, machine)
    sparing = search_workload(work, machine, objective_called("energy"), effort=BRIEFLY).result
    assert [e.array for e in usual.einsums] == [machine.arrays[0].name]
    assert [e.array for e in sparing.einsums] == [machine.arrays[1].name]
    assert sparing.energy_pj < usual.energy_pj / 2


def test_tables_of_a_region_do_not_stand_for_those_with_slow_arrays(tmp_path: Path) -> None:
    """Both ends of a front are searched with tables that are remembered."""
    work, machine = product_on(tmp_path)
    known = TableMemo()
    program, shapes = Cascade.load(work.cascade).program, {"N": 16, "D": 16, "J": 16}

    def arrays(*, slow: bool) -> set[str]:
        space = Mapspace.of(program, machine, shapes, slow=slow)
        region = replace(space.regions(1)[0], plain=True)
        tables = known(region, subspaces_of(region)[0], relaxed=False, memo=None)
        return {way.array for placements in tables.placements for way in placements}

    first, second = (a.name for a in machine.arrays)
    assert arrays(slow=False) == {first}
    assert arrays(slow=True) == {first, second}


@pytest.mark.slow
def test_a_front_ends_there(tmp_path: Path) -> None:
    work, machine = product_on(tmp_path)
    first, *_, last = search_front(work, machine).points
    assert first.result.einsums[0].array == machine.arrays[0].name
    assert last.result.einsums[0].array == machine.arrays[1].name
    assert last.result.energy_pj < first.result.energy_pj / 2
