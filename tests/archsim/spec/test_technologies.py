"""The technologies that ship: every number as published, or derived from one that is."""

from __future__ import annotations

import pytest

import workloads
from archsim import Architecture, simulate
from archsim.energy import areas
from archsim.spec.technology import Technology
from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.library import builtin_names

NAMES = ("accelergy-45nm", "horowitz-45nm", "jouppi-7nm", "scaled-5nm")
DRAM = {
    "dram_hbm2": 3.9,
    "dram_hbm2e": 6.0,
    "dram_hbm3": 3.9,
    "dram_lpddr5": 4.0,
    "dram_ddr4": 1300 / 64,
    "dram_gddr6": 7.5,
}
"""pJ a bit."""


def test_what_ships() -> None:
    assert builtin_names("technology") == NAMES
    assert [Technology.load(name).node_nm for name in NAMES] == [45, 45, 7, 5]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_says_where_it_is_from(name: str) -> None:
    technology = Technology.load(name)
    assert all(len(a.source) > 10 for a in technology.actions)
    assert all(len(m.source) > 10 for m in technology.memories)
    found = {m.name: m.energy_per_bit_pj for m in technology.memories if m.kind == "dram"}
    assert found == DRAM
    links = {m.name: m.energy_per_bit_pj for m in technology.memories if m.kind == "link"}
    assert links == {"link_board": 10}
    board = Architecture.load("tpu-v4i-board", [f"technology={name}"])
    assert board.technology == technology


@pytest.mark.parametrize(
    ("name", "energies"),
    [
        # Horowitz, ISSCC 2014: 8-bit multiplication 0.2 and 32-bit addition 0.1 pJ, and so on.
        ("horowitz-45nm", {"mac_int8": 0.3, "mac_fp16": 2.0, "mac_fp32": 4.6, "add_fp16": 0.4}),
        # Jouppi et al., ISCA 2021, table 2.
        ("jouppi-7nm", {"mac_int8": 0.1, "mac_bf16": 0.59, "mac_fp32": 1.69, "add_int8": 0.007}),
        ("scaled-5nm", {"mac_int8": 0.07, "mac_bf16": 0.7 * 0.59}),
    ],
)
def test_energies_of_operations(name: str, energies: dict[str, float]) -> None:
    technology = Technology.load(name)
    found = {a.name: a.energy_pj for a in technology.actions}
    assert {n: found[n] for n in energies} == pytest.approx(energies)
    assert found["mac"] == found["mac_fp16" if "45" in name else "mac_bf16"]


def test_areas_shrink_as_published() -> None:
    """Logic 17 times from 45 to 7 nm (Stillmaker and Baas), 1.84 times from 7 to 5 (TSMC)."""
    old, new, newest = (
        {a.name: a.area_um2 for a in Technology.load(name).actions} for name in NAMES[1:]
    )
    assert new["mac_fp32"] == pytest.approx(0.059 * old["mac_fp32"], rel=1e-4)
    assert newest["mac_fp32"] == pytest.approx(new["mac_fp32"] / 1.84, rel=1e-4)
    machines = [Architecture.load("fusemax", [f"technology={name}"]) for name in NAMES[1:]]
    totals = [sum(area for _, area in areas(machine)) for machine in machines]
    assert totals[0] > 10 * totals[1] > 15 * totals[2]
    # 16 MiB of bit cells of 0.027 um^2, which are half of the memory.
    assert dict(areas(machines[1]))["global_buffer"] == pytest.approx(8 * 2**24 * 0.054, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_machines_run_in_every_technology(name: str) -> None:
    machine = Architecture.load("fusemax", [f"technology={name}"])
    found = simulate(workloads.load("bert-base", seq_len=256, batch=1), machine)
    assert 0 < found.floor.energy_pj <= found.energy_pj


def test_a_kind_of_dram_is_a_setting() -> None:
    work = workloads.load("bert-base", seq_len=256, batch=1)
    energies = [
        dict(
            simulate(
                work, Architecture.load("fusemax", [f"memories.DRAM.energy={kind}"])
            ).energy_by_component
        )["DRAM"]
        for kind in ("dram_hbm2", "dram_ddr4")
    ]
    assert energies[1] / energies[0] == pytest.approx(20.3125 / 3.9)


@pytest.mark.parametrize(
    "field", ["technology.source", "technology.title", "technology.actions.mac.source"]
)
def test_a_text_that_nothing_reads_is_not_set(field: str) -> None:
    with pytest.raises(SpecError, match="nothing reads it"):
        Architecture.load("fusemax", [f"{field}=mine"])
