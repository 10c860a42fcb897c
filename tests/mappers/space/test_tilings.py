"""Tilings of a region, made as tables, against a product that is written out."""

from __future__ import annotations

from itertools import product

import pytest
from nest_cases import billed_case

from mappers.space.mapspace import Mapspace
from mappers.space.region import Region


def written_out(region: Region) -> list[tuple[int, ...]]:
    """One combination of sizes after the other."""
    columns = [region.sizes(cut) for cut in region.open_factorisations]
    return [tuple(n for sizes in row for n in sizes) for row in product(*columns)]


@pytest.mark.parametrize("seed", range(12))
def test_tilings_are_a_product_and_each_is_in_the_subspaces_of_its_loops(seed: int) -> None:
    case = billed_case(seed)
    space = Mapspace.of(case.program, case.architecture, case.given)
    for region in space.regions(2):
        expected = written_out(region)
        assert region.tilings.shape == (len(expected), len(region.tiles))
        assert [tuple(row) for row in region.tilings.tolist()] == expected
        found: dict[frozenset[str], list[tuple[int, ...]]] = {}
        for row in expected:
            found.setdefault(frozenset(nonunit(region, row)), []).append(row)
        # Subspaces that share nothing have all loops of their own, in any pattern that there is.
        kept = {s.skeleton.own: [tuple(r) for r in s.sizes.tolist()] for s in region.subspaces(())}
        assert all(found[own] == rows for own, rows in kept.items())


def nonunit(region: Region, row: tuple[int, ...]) -> list[str]:
    """Loops that go round more than once under one combination of sizes."""
    held = {member: size for (_, member), size in zip(region.tiles, row, strict=True)}
    loops = []
    for cut in region.open_factorisations:
        rest = cut.coarse
        for member in cut.held:
            loops += [member] if held[member] > 1 else []
            rest = -(-rest // held[member])
        loops += [cut.levelled[0]] if rest > 1 else []
    return loops
