"""Runs and spaces agree with docs/mapping.md and docs/maintainers/search.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from places import ROOT

from archsim import Architecture, Mapping, loop_nest, simulate
from archsim.quantities import byte_size, count, energy, seconds
from archsim.result.result import Result
from mappers.problem.incumbents import space_of
from mappers.problem.protocol import TOLERANCE
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region
from mappers.workload_search import WorkloadSearched
from workloads import load

PAGE = (ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
NOTES = (ROOT / "docs" / "maintainers" / "search.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def row(title: str, page: str = PAGE) -> list[str]:
    """Return the cells of a row of a table of a page, without its title."""
    (line,) = re.findall(rf"^\| {re.escape(title)} \|(.*)\|$", page, flags=re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


def shown(result: Result) -> list[str]:
    """A result as the page's table has it."""
    occupied = [f"{array.occupied_cycles:,.0f}" for array in result.arrays]
    cycles, time = f"{result.cycles:,.0f}", seconds(result.latency_s)
    return [cycles, time, *occupied, byte_size(result.traffic_bytes), energy(result.energy_pj)]


def tilings_of(space: Region) -> int:
    """Tilings of all subspaces."""
    return sum(len(subspace.sizes) for subspace in subspaces_of(space))


def size(space: Region) -> int:
    """Mappings of a region."""
    return tilings_of(space) * space.bindings * space.residencies


def bert_space() -> Mapspace:
    work, machine = load("bert-base"), Architecture.load("fusemax")
    (part,) = work.parts
    return space_of(part, machine)


@pytest.mark.slow
def test_the_python_shown_runs_and_finds_what_the_example_says(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    for text in (*blocks("python"), *blocks("python", NOTES)):
        exec(text, names)
    found, space, region = names["found"], names["space"], names["region"]
    assert isinstance(found, WorkloadSearched)
    assert isinstance(space, Mapspace)
    assert isinstance(region, Region)
    assert f"# {space.size} regions\n" in NOTES
    assert f"residencies   # {size(region)}\n" in NOTES
    (mapping,) = blocks("yaml")
    file = tmp_path / "mapping.yaml"
    file.write_text(mapping, encoding="utf-8")
    machine = Architecture.load("fusemax")
    example = simulate(load("bert-base"), machine, Mapping.load(file))
    assert shown(example) == row("least latency")
    # Which of mappings that are as good is found is left to the search.
    assert found.result.cycles == pytest.approx(example.cycles, rel=TOLERANCE)
    assert f"# {found.parts[0].found.certificate.gap:.4f}: " in PAGE
    (certificate,) = map(json.loads, blocks("json"))
    assert certificate.keys() == found.certificate().keys()
    assert certificate["pruned_because"].keys() == found.certificate()["pruned_because"].keys()
    assert certificate["candidates"] == found.certificate()["candidates"]
    assert certificate["evaluated"] + certificate["pruned"] == certificate["candidates"]


def test_the_example_is_told_as_the_loops_that_are_shown(tmp_path: Path) -> None:
    (mapping,), (loops,) = blocks("yaml"), blocks("text")
    file = tmp_path / "mapping.yaml"
    file.write_text(mapping, encoding="utf-8")
    (listing,) = loop_nest("bert-base", "fusemax", Mapping.load(file)).listings
    assert list(listing.lines) == loops.splitlines()


def test_the_example_begins_with_the_published_mapping() -> None:
    result = simulate(load("bert-base"), Architecture.load("fusemax"))
    assert shown(result) == row("`fusemax-binding`")


def test_the_space_of_the_example_is_as_large_as_it_says() -> None:
    every = bert_space()
    assert f"has {every.size} regions" in PAGE
    assert f"has {every.size} regions" in NOTES
    space = every.regions(1)[0]
    for shared, title in ((("P", "M1"), "P, M1"), (("P",), "P"), (("M1",), "M1"), ((), "none")):
        subspaces = [*space.subspaces(shared)]
        assert row(title, NOTES) == [str(len(subspaces)), str(sum(len(u.sizes) for u in subspaces))]
    factors = (tilings_of(space), space.bindings, space.residencies)
    text = " · ".join(map(count, factors))
    assert f"{text} = {count(size(space))} candidates" in NOTES
