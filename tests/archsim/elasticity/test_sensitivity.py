"""Elasticities of small products on a machine whose parts have names of their own."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from commands import refused, run

from archsim import Architecture, Sensitivity, sensitivity, simulate
from archsim.elasticity.analysis import STEP
from archsim.elasticity.record import Elasticity
from archsim.spec.files.load import numbers_of_machine
from archsim.spec.files.numbers import StatedNumber
from einsum_cascade.errors import InputError

PRICES = """
technology:
  name: prices
  node: 45 nm
  actions:
    product: {energy: 2 pJ, area: 100 um^2, source: x}
    unused: {energy: 2 pJ, area: 100 um^2, source: x}
  memories:
    far: {kind: dram, source: x, energy: 4 pJ/bit}
    near:
      kind: sram
      source: x
      points: [{rows: 4096, width: 64 bit, area: 9000 um^2, read: 5 pJ, write: 5 pJ}]
    words:
      kind: registers
      source: x
      read_per_bit: 0.01 pJ/bit
      write_per_bit: 0 pJ/bit
      access_per_entry: 0 pJ
      area_per_bit: 1 um^2
      area_per_entry: 0 um^2
"""
MACHINE = """
architecture:
  name: loom
  technology: ./prices.yaml
  clock: 1 GHz
  word: 16 bit
  measured:
    launch: {value: 2 us, source: a clock}
    sustained: {shuttle: {value: 0.5, source: a clock}}
  memories:
    - {name: yarn, energy: far, line: 64 bit, bandwidth: 64 GB/s}
    - {name: spool, energy: near, line: 64 bit, capacity: 64 KiB}
  operations:
    threads: {mac: {cycles: 1, bill: {product: 1}}, exp: {cycles: 4, bill: {product: 4}}}
  arrays:
    - name: shuttle
      shape: {warp: 16, weft: 16}
      registers: {depth: 8, energy: words}
      operations: {extends: threads}
  evidence: {published: [clock], assumed: [memories.yarn, memories.spool.line]}
"""
WORK = """
workload:
  name: product
  cascade: linear-layer
  shape: {N: 256, D: 256, J: 256}
"""


@cache
def files() -> tuple[str, str]:
    """The workload and the machine, each as a file."""
    folder = Path(mkdtemp())
    for name, text in (("prices", PRICES), ("loom", MACHINE), ("product", WORK)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return str(folder / "product.yaml"), str(folder / "loom.yaml")


@cache
def found(*settings: str) -> Sensitivity:
    """The analysis of the product on the machine with some settings."""
    return sensitivity(*files(), None, settings)


def by(field: str, *settings: str) -> Elasticity:
    """The elasticities by one field."""
    (one,) = (e for e in found(*settings).fields if e.field == field)
    return one


HALF, TWICE = Fraction(1, 2), Fraction(2)
SLOW = "architecture.memories.yarn.bandwidth=1 GB/s"
SHUTTLE = "architecture.arrays.shuttle"


def test_a_run_bound_by_compute_follows_the_clock_and_no_bandwidth() -> None:
    clock, bandwidth = by("architecture.clock"), by("architecture.memories.yarn.bandwidth")
    assert clock.latency == pytest.approx(-1, abs=1e-3)
    assert bandwidth.latency == pytest.approx(0, abs=1e-3)
    assert not bandwidth.has_effect
    assert by(f"{SHUTTLE}.operations.mac.cycles").latency == pytest.approx(1, abs=1e-3)
    assert found().fields[0] == clock


def test_a_run_bound_by_a_memory_follows_its_bandwidth_and_no_clock() -> None:
    assert by("architecture.memories.yarn.bandwidth", SLOW).latency == pytest.approx(-1, abs=1e-3)
    assert not by("architecture.clock", SLOW).has_effect
    # The value is that of the setting.
    assert by("architecture.memories.yarn.bandwidth", SLOW).value == "1 GB/s"


def test_a_report_names_the_assumed_numbers_on_which_it_rests() -> None:
    kinds = {e.field: e.evidence for e in found(SLOW).fields}
    assert kinds["architecture.clock"] == "published"
    assert kinds["architecture.memories.yarn.bandwidth"] == "assumed"
    assert kinds["architecture.memories.spool.capacity"] is None
    assert kinds["technology.memories.far.energy"] is None
    assert "rests on assumed: architecture.memories.yarn.bandwidth (latency -1.00)" in " ".join(
        str(found(SLOW).table()).split()
    )
    # A run that waits for no memory does not rest on its bandwidth.
    assert "rests on assumed" not in str(found().table())


def test_a_dimension_of_an_array_costs_area() -> None:
    machine, whole = Architecture.load(files()[1]), found().totals.area_um2
    wide = simulate(files()[0], machine).area_um2
    assert whole == wide
    areas = dict(simulate(files()[0], machine).area_by_component)
    of_array = 1 - areas["spool"] / whole
    # Twice and half of the array: the memory beside it stays.
    expected = by(f"{SHUTTLE}.shape.warp").area
    assert 0.9 * of_array < expected < 1.1 * of_array
    assert by("technology.memories.words.area_per_bit").area + by(
        "technology.actions.product.area"
    ).area == pytest.approx(of_array, rel=0.01)


def test_energies_of_actions_and_memories_share_the_energy() -> None:
    prices = ("actions.product", "memories.far", "memories.words", "memories.near")
    priced = [
        e for e in found().fields if e.field.startswith(tuple(f"technology.{p}" for p in prices))
    ]
    lines = ("energy", "read", "write", "read_per_bit")
    shares = sum(e.energy for e in priced if e.field.rpartition(".")[2] in lines)
    assert shares == pytest.approx(1, rel=0.01)
    assert by("technology.actions.product.energy").energy > 0.3


def test_measured_losses_change_the_machine_as_built_alone() -> None:
    rate = by("architecture.measured.sustained.shuttle.value")
    assert (rate.latency, rate.energy, rate.area) == (0, 0, 0)
    assert rate.as_built is not None
    assert -1 < rate.as_built < -0.95
    # A share above one is illegal: the base stands for the other side.
    setting = "architecture.measured.sustained.shuttle.value=0.95"
    one = by("architecture.measured.sustained.shuttle.value", setting)
    assert one.one_sided
    assert one.as_built == pytest.approx(rate.as_built, abs=0.03)
    said = "only larger, or only smaller is legal: architecture.measured.sustained"
    assert said in str(found(setting).table()).replace("\n", " ")


def test_costs_of_operations_that_do_not_run_have_no_effect() -> None:
    exp = f"{SHUTTLE}.operations.exp."
    remapped = sensitivity(*files(), remap=True)
    assert remapped.remapped
    for one in (found(), remapped):
        idle = [e for e in one.fields if e.field.startswith(exp)]
        assert [e.field.removeprefix(exp) for e in idle] == ["cycles", "bill.product"]
        assert not any(e.has_effect for e in idle)
    assert f"{SHUTTLE}.operations.exp" in str(found().table()).partition("no effect")[2]
    assert "one chosen anew" in str(remapped.table())
    assert not any("unused" in e.field or ".threads." in e.field for e in found().fields)


def test_varied_machines_choose_mappings_of_their_own() -> None:
    """Wider words fit another tile than the base's, which a fixed mapping keeps."""
    small = ["architecture.memories.spool.capacity=8 KiB"]
    anew, kept = (
        {e.field: e.latency for e in sensitivity(*files(), settings=small, remap=remap).fields}
        for remap in (True, False)
    )
    assert 0 < anew["architecture.word"] < 0.9 * kept["architecture.word"]
    assert anew["architecture.clock"] == kept["architecture.clock"]


@pytest.mark.slow
def test_lanes_of_the_array_that_limits_matter() -> None:
    lanes = "architecture.arrays.vector_unit.shape.lanes"
    for remap, least in ((True, -1.0), (False, 0.0)):
        found = sensitivity("bert-base", "tpu-v4i", remap=remap)
        (latency,) = (e.latency for e in found.fields if e.field == lanes)
        assert least <= latency <= 0.8 * least


def test_numbers_that_cannot_be_varied_are_listed_with_the_reason() -> None:
    reasons = {n.field: n.reason for n in found().not_varied}
    assert "nothing scales them" in reasons["technology.node"]
    assert reasons["technology.memories.words.write_per_bit"] == "it is zero"


def test_fields_are_sorted_by_the_effect_that_is_asked_for() -> None:
    sizes = [abs(e.area) for e in sensitivity(*files(), by="area").fields]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["h100-sxm", "tpu-v4i-board", "fusemax"])
def test_every_number_is_set_by_its_path(name: str) -> None:
    """Set to what they are, all numbers together change nothing."""
    numbers = [n for n in numbers_of_machine(name) if n.field != "technology.node"]
    settings = [f"{n.field}={n.text}" for n in numbers]
    assert Architecture.load(name, settings) == Architecture.load(name)
    assert len(settings) > 100


def test_a_whole_number_is_rounded_and_never_itself() -> None:
    lanes = StatedNumber(field="lanes", text="3", whole=3)
    assert (lanes.times(TWICE), lanes.times(HALF), lanes.times(STEP), lanes.times(1 / STEP)) == (
        *("6", "2", None, None),
    )
    size = StatedNumber(field="size", text="16 MiB", whole=16 << 20)
    text = size.times(STEP)
    assert text is not None
    assert size.ratio(text) == round(STEP * (16 << 20)) / (16 << 20)
    assert StatedNumber(field="clock", text="1.5e3 MHz", whole=None).times(TWICE) == "3000 MHz"


def test_json_is_read_again_and_the_picture_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "bars.png"
    done = run("sensitivity", *files(), "--json", "--plot", str(picture))
    assert (done.exit_code, picture.read_bytes()[:4]) == (0, b"\x89PNG")
    data = json.loads(done.stdout)
    assert Sensitivity.from_dict(data) == found()
    assert data["fields"][0]["evidence"] == "published"
    with pytest.raises(InputError, match="fields"):
        Sensitivity.from_dict(data | {"fields": 3})


def test_wrong_names_are_refused() -> None:
    work, machine = files()
    assert "did you mean 'bert-base'" in refused("sensitivity", "bert-bas", machine)
    assert "did you mean 'fusemax'" in refused("sensitivity", work, "fusemx")
    assert "Did you mean 'energy'" in refused("sensitivity", work, machine, "--by", "energi")
    assert "cannot write" in refused("sensitivity", work, machine, "--plot", "x.doc")
    assert "no losses" in refused("sensitivity", "bert-base", "fusemax", "--by", "as_built")
    with pytest.raises(InputError, match="did you mean 'area'"):
        sensitivity(work, machine, by="are")  # type: ignore[arg-type]
