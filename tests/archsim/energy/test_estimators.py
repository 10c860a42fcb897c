"""Energies and areas: the published constants, the pareto table, and odd sizes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import ceil, log2

import pytest

from archsim import energy as estimators
from archsim.spec.arch import Architecture
from archsim.spec.technology import MemoryClass, SramPoint, Technology
from einsum_cascade.errors import SpecError

ADDER_FIXED, ADDER_BIT, ADDER_AREA = 0.000276034, 0.004019719, 5.81742


def adder(bits: int) -> float:
    return ADDER_FIXED + ADDER_BIT * bits


@pytest.mark.parametrize(
    ("name", "read", "write"),
    [
        ("fusemax-micro24", 12512.760572, 15751.460572),
        ("fusemax", 12512.760572, 15751.460572),
        ("flat-micro24", 23854.664592, 27097.564592),
        ("flat", 23854.664592, 27097.564592),
        ("cascade-on-flat-micro24", 23854.664592, 27097.564592),
    ],
)
def test_a_line_of_the_global_buffer(name: str, read: float, write: float) -> None:
    machine = Architecture.load(name)
    buffer = machine.memory("global_buffer")
    assert buffer is not None
    energy = estimators.memory_access(machine, buffer)
    assert (round(energy.read_pj, 6), round(energy.write_pj, 6)) == (read, write)


def test_a_line_of_dram() -> None:
    machine = Architecture.load("fusemax")
    energy = estimators.memory_access(machine, machine.memories[0])
    assert (energy.read_pj, energy.write_pj) == (249.6, 249.6)
    wide = replace(machine.memories[0], line_bits=512)
    assert estimators.memory_access(machine, wide).read_pj == pytest.approx(8 * 249.6)


@pytest.mark.parametrize(
    ("name", "array", "read", "write"),
    [
        ("fusemax-micro24", "array_2d", 2.190435, 1.902435),
        ("fusemax-micro24", "array_1d", 2.194455, 1.906455),
        ("flat-micro24", "array_2d", 2.182395, 1.894395),
        ("flat-micro24", "array_1d", 2.190435, 1.902435),
    ],
)
def test_a_value_of_a_register_file(name: str, array: str, read: float, write: float) -> None:
    machine = Architecture.load(name)
    found = machine.array(array)
    assert found is not None
    energy = estimators.register_access(machine, found)
    assert (round(energy.read_pj, 6), round(energy.write_pj, 6)) == (read, write)


@pytest.mark.parametrize("depth", [1, 2, 3, 64, 65, 100])
@pytest.mark.parametrize("width", [8, 32, 48])
def test_registers_are_never_scaled_below_64_by_32(depth: int, width: int) -> None:
    overrides = [
        f"arrays.array_1d.registers.depth={depth}",
        f"arrays.array_1d.registers.width={width} bit",
    ]
    machine = Architecture.load("fusemax", overrides)
    energy = estimators.register_access(machine, machine.arrays[1])
    bits = ceil(log2(depth))
    entries = 0.02947 * max(64, depth) + adder(bits)
    assert energy.read_pj == pytest.approx(0.009 * max(32, width) + entries)
    assert energy.write_pj == pytest.approx(entries)


@pytest.mark.parametrize(
    ("action", "energy"),
    [("mac", 17.1645), ("add", 8.3395), ("max", 0.028036), ("exp", 94.6475), ("divide", 36.251153)],
)
def test_actions(action: str, energy: float) -> None:
    technology = Technology.load("accelergy-45nm")
    assert estimators.action_of(technology, action).energy_pj == energy


def test_an_action_nobody_knows() -> None:
    with pytest.raises(SpecError, match="no action 'macc'; did you mean 'mac'"):
        estimators.action_of(Technology.load("accelergy-45nm"), "macc")


def test_every_number_of_the_technology_has_a_source() -> None:
    technology = Technology.load("accelergy-45nm")
    assert all(a.source for a in technology.actions)
    assert all(m.source for m in technology.memories)


@pytest.mark.parametrize(
    ("name", "total", "array_2d"),
    [("fusemax-micro24", 1303.0, 1208.0), ("fusemax", 1303.0, 1208.0), ("flat", 1391.8, 1203.2)],
)
def test_the_published_chips(name: str, total: float, array_2d: float) -> None:
    areas = dict(estimators.areas(Architecture.load(name)))
    assert list(areas) == ["global_buffer", "array_2d", "array_1d"]
    assert round(sum(areas.values()) / 1e6, 1) == total
    assert round(areas["array_2d"] / 1e6, 1) == array_2d


def small_machine(elements: int) -> Architecture:
    """A machine of the publication's sweep (``test_area_sweep``) of up to 64 elements a side."""
    tiles, buffer = 2, elements * 16 * 64
    settings = {
        "arrays.array_2d.shape.columns": elements,
        "arrays.array_2d.shape.rows": elements,
        "arrays.array_2d.registers.depth": 2 * tiles,
        "arrays.array_2d.overhead_area": f"{elements} um^2",
        "arrays.array_1d.shape.lanes": elements,
        "arrays.array_1d.registers.depth": 8 * tiles,
        "memories.global_buffer.capacity": f"{buffer} B",
        "memories.global_buffer.line": f"{16 * elements} bit",
    }
    return Architecture.load("fusemax-micro24", [f"{k}={v}" for k, v in settings.items()])


def test_a_small_chip_by_hand() -> None:
    machine = small_machine(16)
    registers = 64 * (32 * 5.98 + 71)
    element = registers + 2 * ADDER_AREA * 2 + 49.28944 + 1545
    lane = registers + 2 * ADDER_AREA * 4 + 49.28944 + 1545 + 23740.9375
    assert dict(estimators.areas(machine)) == pytest.approx(
        {
            "global_buffer": 53741.5 + 2 * ADDER_AREA * 9,
            "array_2d": 256 * element + 16,
            "array_1d": 16 * lane + 2,
        }
    )


# ------------------------------------------------------------------ the SRAM between points


def sram() -> MemoryClass:
    found = Technology.load("accelergy-45nm").memory("sram")
    assert found is not None
    return found


def buffer_energy(capacity: str, line: str) -> estimators.AccessEnergy:
    overrides = [
        f"memories.global_buffer.capacity={capacity}",
        f"memories.global_buffer.line={line}",
    ]
    machine = Architecture.load("fusemax", overrides)
    return estimators.memory_access(machine, machine.memories[1])


def test_sram_energy_is_linear_in_rows_and_proportional_to_the_line() -> None:
    half_way = buffer_energy("24 MiB", "4096 bit")
    assert half_way.read_pj == pytest.approx((12512.7 + 23854.6) / 2 + adder(16))
    assert half_way.write_pj == pytest.approx((15751.4 + 27097.5) / 2 + adder(16))
    narrow = buffer_energy("2 MiB", "512 bit")
    assert narrow.read_pj == pytest.approx(12512.7 / 8 + adder(15))
    outside = buffer_energy("64 MiB", "4096 bit")
    assert outside.read_pj == pytest.approx(23854.6 + 2 * (23854.6 - 12512.7) + adder(17))


def test_a_published_buffer_of_5_mib_is_what_was_published() -> None:
    """Published of another machine than the two whose buffers span the line; per access."""
    small = buffer_energy("5 MiB", "4096 bit")
    assert (small.read_pj, small.write_pj) == pytest.approx((5859.926552, 7881.676552), rel=1e-9)
    between = buffer_energy("10.5 MiB", "4096 bit")
    assert between.read_pj == pytest.approx((5859.87 + 12512.7) / 2 + adder(15))
    # Published buffers of 16 and 32 MiB cost what they did.
    for size, read, write in (
        ("16 MiB", 12512.760572, 15751.460572),
        ("32 MiB", 23854.664592, 27097.564592),
    ):
        found = buffer_energy(size, "4096 bit")
        assert (found.read_pj, found.write_pj) == pytest.approx((read, write), rel=1e-9)


def test_sram_energy_predicts_a_point_left_out() -> None:
    """The errors that docs/energy.md states: between points 6 %, beyond them 20 %."""
    machine = Architecture.load("fusemax")
    whole = sram()
    found = {}
    for left_out in whole.points:
        if left_out.read_pj is None or left_out.write_pj is None:
            continue
        others = replace(whole, points=tuple(p for p in whole.points if p is not left_out))
        memories = (*(m for m in machine.technology.memories if m.name != "sram"), others)
        technology = replace(machine.technology, memories=memories)
        capacity = left_out.rows * left_out.width_bits // 8
        memory = replace(machine.memories[1], capacity_bytes=capacity)
        access = estimators.memory_access(replace(machine, technology=technology), memory)
        errors = (access.read_pj / left_out.read_pj - 1, access.write_pj / left_out.write_pj - 1)
        found[left_out.rows] = tuple(round(100 * e, 1) for e in errors)
    assert found == {10240: (-19.5, 0.9), 32768: (5.4, -0.3), 65536: (-7.0, 0.4)}


def test_any_capacity_has_an_energy() -> None:
    """Not a power of two, not even whole lines: the part of a line is a line."""
    odd = buffer_energy("16777217 B", "4096 bit")
    assert odd.read_pj == pytest.approx(12512.7 + (23854.6 - 12512.7) / 32768 + adder(16))
    sizes = [1, 3, 100, 10**4, 10**6, 3 * 10**7, 10**10]
    energies = [buffer_energy(f"{512 * n} B", "4096 bit").read_pj for n in sizes]
    assert all(e > 0 for e in energies)
    assert energies == sorted(energies)


def test_a_single_point_is_scaled_in_proportion() -> None:
    machine = Architecture.load("fusemax")
    one = replace(
        sram(),
        points=(SramPoint(rows=100, width_bits=10, area_um2=5.0, read_pj=2.0, write_pj=4.0),),
        adder=None,
    )
    technology = replace(machine.technology, memories=(one,))
    memory = replace(machine.memories[1], line_bits=20, capacity_bytes=500)
    energy = estimators.memory_access(replace(machine, technology=technology), memory)
    assert (energy.read_pj, energy.write_pj) == pytest.approx((8.0, 16.0))
    assert estimators.sram_area(one.points, 200, 20) == pytest.approx(5 * 4**1.05)


def test_extrapolation_never_falls_below_zero() -> None:
    points = (
        SramPoint(rows=100, width_bits=8, area_um2=1.0, read_pj=8.0, write_pj=8.0),
        SramPoint(rows=200, width_bits=8, area_um2=2.0, read_pj=80.0, write_pj=80.0),
    )
    machine = Architecture.load("fusemax")
    steep = replace(sram(), points=points, adder=None)
    technology = replace(machine.technology, memories=(steep,))
    memory = replace(machine.memories[1], line_bits=8, capacity_bytes=10)
    energy = estimators.memory_access(replace(machine, technology=technology), memory)
    assert energy.read_pj == pytest.approx(0.8)


def test_sram_area_is_exact_at_every_compiled_point() -> None:
    points = [p for p in sram().points if p.area_um2 is not None]
    assert len(points) == 14
    for point in points:
        assert estimators.sram_area(sram().points, point.rows, point.width_bits) == point.area_um2
        near = estimators.sram_area(sram().points, point.rows + 1, point.width_bits)
        assert near == pytest.approx(point.area_um2, rel=0.01)


def test_sram_area_grows_with_rows_and_width() -> None:
    points = sram().points
    rows = [2**n for n in range(4, 25)]
    widths = [2**n for n in range(4, 16)]
    area = {(r, w): estimators.sram_area(points, r, w) for r in rows for w in widths}
    assert all(area[a, w] < area[b, w] for a, b in itertools.pairwise(rows) for w in widths)
    assert all(area[r, a] < area[r, b] for a, b in itertools.pairwise(widths) for r in rows)


def test_sram_area_predicts_a_point_left_out_within_a_fifth() -> None:
    """The error that docs/energy.md states."""
    points = sram().points
    errors = []
    for left_out in points:
        if left_out.area_um2 is None:
            continue
        others = tuple(p for p in points if p is not left_out)
        found = estimators.sram_area(others, left_out.rows, left_out.width_bits)
        errors.append(abs(found / left_out.area_um2 - 1))
    assert max(errors) < 0.19
    assert sorted(errors)[len(errors) // 2] < 0.06


def test_a_memory_without_an_adder_costs_its_points_alone() -> None:
    machine = Architecture.load("fusemax")
    bare = tuple(replace(m, adder=None) for m in machine.technology.memories)
    machine = replace(machine, technology=replace(machine.technology, memories=bare))
    assert estimators.memory_access(machine, machine.memories[1]).read_pj == 12512.7
    assert dict(estimators.areas(machine))["global_buffer"] == 84201200


def test_address_bits() -> None:
    assert [estimators.address_bits(n) for n in (1, 2, 3, 4, 5, 32768, 32769)] == [
        *(0, 1, 2, 2, 3),
        *(15, 16),
    ]


def test_units_say_whose_area_an_element_carries() -> None:
    machine = Architecture.load("flat-micro24")
    array = machine.arrays[1]
    assert estimators.functional_units(array) == ("mac", "add", "max", "exp", "divide")
    assert set(estimators.functional_units(machine.arrays[0])) == {"mac"}
