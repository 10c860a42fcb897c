"""Tile sizes: numbers, axes of arrays, and the least of some."""

from __future__ import annotations

import pytest

from archsim import Architecture, Mapping
from archsim.nest.tiling import tile_size
from einsum_cascade.errors import InputError

NARROWEST = "min(array_2d.rows, array_1d.lanes)"


@pytest.mark.parametrize(
    ("size", "lanes", "least"),
    [
        (NARROWEST, 256, 256),
        (NARROWEST, 48, 48),
        ("min( 17 , array_2d.rows )", 48, 17),
        ("min(array_2d.rows)", 48, 256),
    ],
)
def test_a_tile_can_be_what_fits_the_narrowest_of_some_axes(
    size: str, lanes: int, least: int
) -> None:
    mapping = Mapping.load("fusemax-binding", [f"partition.P.P0={size}", "partition.P.P1=1"])
    machine = Architecture.load("fusemax", [f"arrays.array_1d.shape.lanes={lanes}"])
    tile = next(t for t in mapping.tiles if t.member == "P0")
    assert tile_size(tile, machine) == least
    assert str(tile.size) == size.replace("( ", "(").replace(" ,", ",").replace(" )", ")")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("min()", r"expected numbers or array dimensions .* inside min\(\.\.\.\), got ''"),
        ("min(array_2d.rows, fit)", r"inside min\(\.\.\.\), got 'fit'"),
        ("min(array_2d.rows; 3)", r"inside min\(\.\.\.\), got 'array_2d.rows; 3'"),
        ("min(0, array_2d.rows)", "expected a whole number, at least 1, got 0"),
        ("minimum(3)", "the least of some such as min"),
    ],
)
def test_what_is_no_least_size_is_refused(size: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Mapping.load("fusemax-binding", [f"partition.P.P0={size}"])


def test_an_axis_inside_min_must_exist() -> None:
    mapping = Mapping.load("fusemax-binding", ["partition.P.P0=min(array_2d.rows, array_1d.lane)"])
    tile = next(t for t in mapping.tiles if t.member == "P0")
    with pytest.raises(InputError, match="array_1d has no dimension 'lane'"):
        tile_size(tile, Architecture.load("fusemax"))
