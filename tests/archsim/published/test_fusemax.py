"""The published FuseMax evaluation, and the closed formulas it follows, as a second model.

Cycles, traffic and tile sizes of a fused one-pass attention are simple products; they are
written down here once more, for any head width, head count, array and buffer, and compared
with what the engine finds by lowering the mapping.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from random import Random

import pytest
from places import PUBLICATIONS
from portions import left, portions

import workloads
from archsim import Architecture, Mapping, Result, simulate
from archsim.counts.spill import count_mapping
from archsim.energy import memory_access, register_access
from archsim.engine.timing import time_average
from archsim.legality.binding import bind
from einsum_cascade import Cascade

PUBLISHED = PUBLICATIONS / "fusemax_bert.csv"
CLOCK = 940 * 10**6
DRAM_BYTES_PER_S = 400 * 2**30


def published_rows() -> list[dict[str, str]]:
    if not PUBLISHED.is_file():
        return []
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = ("binding", "arch")
    return [r for r in rows if r["table"] == "attention" and r["configuration"] in wanted]


def row_name(row: dict[str, str]) -> str:
    return f"{row['configuration']}-{row['seq_len']}"


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published table is not here")
def test_all_rows_are_read() -> None:
    assert len(published_rows()) == 12


@pytest.mark.parametrize("row", published_rows(), ids=row_name)
def test_published_row(row: dict[str, str]) -> None:
    found = simulate(
        workloads.load("bert-base", seq_len=row["seq_len"]),
        Architecture.load("fusemax-micro24"),
        Mapping.load(f"fusemax-{row['configuration']}"),
    )
    close = {"rel": 1e-3}
    assert found.latency_s == pytest.approx(float(row["latency_s"]), **close)
    assert found.traffic_bytes == pytest.approx(float(row["traffic_bytes"]), **close)
    assert found.utilization["array_2d"] == pytest.approx(float(row["util_2d"]), **close)
    assert found.utilization["array_1d"] == pytest.approx(float(row["util_1d"]), **close)
    energy = float(row["energy_pj_without_overflow"])
    assert found.energy_pj == pytest.approx(energy, rel=1e-2)


# ------------------------------------------------------------------ the formulas


@dataclass(frozen=True)
class Machine:
    """A 2D array of columns x rows beside a 1D array as wide as its columns."""

    columns: int = 256
    rows: int = 256
    buffer: int = 16 * 2**20

    def load(self) -> Architecture:
        return Architecture.load(
            "fusemax-micro24",
            [
                f"arrays.array_2d.shape.columns={self.columns}",
                f"arrays.array_2d.shape.rows={self.rows}",
                f"arrays.array_1d.shape.lanes={self.columns}",
                f"memories.global_buffer.capacity={self.buffer} B",
            ],
        )


@dataclass(frozen=True)
class Attention:
    """One layer's attention; the queries and keys fill whole tiles of the machine."""

    B: int
    H: int
    E: int
    F: int
    P: int
    M: int

    def query_tiles(self, machine: Machine) -> int:
        return self.B * self.H * self.P // machine.columns

    def tiles(self, machine: Machine) -> int:
        return self.query_tiles(machine) * (self.M // machine.rows)

    def row_bytes(self) -> int:
        """Of one query in the buffer: Q, the running output, maximum and sum."""
        return 2 * (self.E + self.F + 2)

    def p1(self, machine: Machine) -> int | None:
        """Query tiles in the buffer: the largest divisor that fits beside a tile of K and V."""
        room = machine.buffer - 2 * machine.rows * (self.E + self.F)
        most = room // (self.row_bytes() * machine.columns)
        count = self.P // machine.columns
        return max((d for d in range(1, min(most, count) + 1) if count % d == 0), default=None)

    def traffic(self, machine: Machine) -> int:
        """Bytes of Q and the output once, K and V once per group of query tiles."""
        p1 = self.p1(machine)
        assert p1 is not None
        groups = self.P // machine.columns // p1
        heads = self.B * self.H
        return 2 * heads * (self.E + self.F) * (self.P + self.M * groups)

    def work(self, machine: Machine) -> tuple[int, int]:
        """Busy cycles of the 2D and the 1D array: one operation a cycle, exp six and a
        subtraction; the division runs once per query tile."""
        t, u = self.tiles(machine), self.query_tiles(machine)
        return t * (self.E + 1 + 7 + 1 + self.F), t * (1 + 7 + 1 + 1 + 2 * self.F) + u * self.F

    def memory_cycles(self, machine: Machine) -> float:
        return self.traffic(machine) / DRAM_BYTES_PER_S * CLOCK

    def binding_cycles(self, machine: Machine) -> float:
        """The waterfall of the published formula, array against array epoch by epoch."""
        t, u = self.tiles(machine), self.query_tiles(machine)
        first = max(self.E + 1, 1 + self.F + Fraction(self.F * u, t))
        per_tile = first + 1 + 8 + self.F
        return max(float(t * per_tile), self.memory_cycles(machine))

    def arch_cycles(self, machine: Machine) -> float:
        """Epochs with the latency of the tile maximum exposed, and the output update last."""
        t, u = self.tiles(machine), self.query_tiles(machine)
        first = max(Fraction(self.E + 1), 1 + Fraction(self.F * u, t))
        per_tile = first + machine.rows + 1 + 8 + max(self.F, 2 * self.F)
        return max(float(t * per_tile), self.memory_cycles(machine))

    def energy(self, machine: Machine, architecture: Architecture) -> float:
        """DRAM by bytes, buffer by values, arithmetic of all elements, registers that the
        2D array fills in the 1D array (those of one element are next to nothing)."""
        t, u = self.tiles(machine), self.query_tiles(machine)
        c, r, e, f = machine.columns, machine.rows, self.E, self.F
        mac, add, maximum, divide = 17.1645, 8.3395, 0.028036, 36.251153
        exp = 6 * mac + add
        in_2d = t * c * r * ((e + f) * mac + maximum + exp + add)
        in_1d = t * c * (maximum + exp + mac + add + f * (mac + add)) + u * c * f * divide
        memory = architecture.memory("global_buffer")
        assert memory is not None
        line = memory_access(architecture, memory)
        reads = t * (c * e + r * e + r * f + 4 * c + c + c * f) + u * c * (1 + f)
        p1 = self.p1(machine)
        assert p1 is not None
        groups = self.P // c // p1
        loads = self.B * self.H * (self.P * e + groups * self.M * (e + f))
        writes = t * c * (2 + f) + loads
        buffer = (reads * line.read_pj + writes * line.write_pj) / 256
        handed = t * c * (2 + f) * 1.906455
        return in_2d + in_1d + self.traffic(machine) / 8 * 249.6 + buffer + handed


def run(attention: Attention, machine: Machine, mapping: str) -> Result:
    fields = {r: getattr(attention, r) for r in "BHEFPM"}
    return simulate(workloads.load("bert-base", **fields), machine.load(), Mapping.load(mapping))


def average_cycles(attention: Attention, machine: Machine, mapping: str) -> float:
    """Cycles by an average step, which is what the formulas describe."""
    how = Mapping.load(mapping)
    ranks = {r: getattr(attention, r) for r in "BHEFPM"}
    bound = bind(Cascade.load(how.cascade).program, how, machine.load(), ranks)
    return float(time_average(bound, count_mapping(bound)).cycles)


def check(attention: Attention, machine: Machine, slack: float = 0.1) -> None:
    """Everything the formulas say, for both mappings.

    They spread AV, which runs once for a query tile, over all tiles of its keys. Where these
    are few its bursts hold up others, by a share of ``slack`` at the most.
    """
    binding, arch = (run(attention, machine, f"fusemax-{k}") for k in ("binding", "arch"))
    work = attention.work(machine)
    for found in (binding, arch):
        assert dict(found.tiles)["P1"] == attention.p1(machine)
        assert found.traffic_bytes == attention.traffic(machine)
        used = {a.array: a.occupied_cycles for a in found.arrays}
        assert (used["array_2d"], used["array_1d"]) == work
        expected = attention.energy(machine, machine.load())
        # One element's registers weigh against a small array.
        close = 1e-3 if machine.columns >= 64 else 5e-3
        assert found.energy_pj == pytest.approx(expected, rel=close)
        assert found.utilization["array_2d"] == pytest.approx(work[0] / found.cycles)
        assert found.utilization["array_1d"] == pytest.approx(work[1] / found.cycles)
        assert found.latency_s == pytest.approx(found.cycles / CLOCK)
    formula = attention.arch_cycles(machine)
    assert average_cycles(attention, machine, "fusemax-arch") == pytest.approx(formula, rel=1e-3)
    assert formula * 0.999 <= arch.cycles <= formula * (1.001 + slack)
    least = max(*work, attention.memory_cycles(machine))
    formula = attention.binding_cycles(machine)
    assert least <= average_cycles(attention, machine, "fusemax-binding") <= 1.001 * formula
    assert least <= binding.cycles <= formula * (1.001 + slack)


MODELS = {"trxl-wt103": (16, 64), "t5-small": (8, 64), "xlm": (16, 128), "bert-base": (12, 64)}


@pytest.mark.parametrize("seq_len", [4096, left(65536), 2**20])
@pytest.mark.parametrize("model", MODELS)
def test_the_published_models(model: str, seq_len: int) -> None:
    """Shapes of all four models, as the workload files have them, at three lengths."""
    heads, width = MODELS[model]
    attention = Attention(B=64, H=heads, E=width, F=width, P=seq_len, M=seq_len)
    shape = dict(workloads.load(model, seq_len=seq_len).shapes)
    assert {r: shape[r] for r in "BHEFPM"} == {r: getattr(attention, r) for r in "BHEFPM"}
    check(attention, Machine(), slack=0)


def random_setting(seed: int) -> tuple[Attention, Machine]:
    """Any head width, prime head counts, arrays of 16 to 512, buffers tight to ample."""
    random = Random(seed)
    columns, rows = (random.choice((16, 32, 48, 64, 128, 256, 512)) for _ in range(2))
    # Where a tile is short against the height of the array, registers do not hold enough
    # tiles to hide the latency of a reduction; the formulas do not know that.
    widths = [w for w in (16, 40, 64, 80, 96, 128, 192) if w >= rows // 8]
    e, f = (random.choice(widths) for _ in range(2))
    attention = Attention(
        B=random.randint(1, 70),
        H=random.choice((1, 2, 3, 5, 7, 11, 13, 17, 31)),
        E=e,
        F=f,
        P=columns * random.choice((7, 12, 60, 64, 97, 240)),
        M=rows * random.choice((5, 16, 33, 64, 101)),
    )
    least = 2 * rows * (e + f) + attention.row_bytes() * columns
    machine = Machine(
        columns, rows, int(least * random.choice((1, 1.5, 3, 11, 60, 1000))) // 512 * 512 + 512
    )
    return attention, machine


@pytest.mark.parametrize("seed", portions(40, 1, quick=5))
def test_shapes_and_machines_of_no_paper(seed: int) -> None:
    attention, machine = random_setting(seed)
    check(attention, machine)


def test_equal_widths_meet_the_formula_from_both_sides() -> None:
    """With E = F the 1D array never rests in the published waterfall: the formula is also
    the least that any order can reach."""
    for width in (32, 64, 128):
        attention = Attention(B=8, H=7, E=width, F=width, P=2**16, M=2**16)
        found = run(attention, Machine(), "fusemax-binding")
        formula = attention.binding_cycles(Machine())
        assert attention.work(Machine())[1] == formula
        assert formula <= found.cycles <= formula * (1 + 1e-5)


def test_short_tiles_on_a_tall_array_wait_for_reductions() -> None:
    """Twelve tiles in flight of 42 cycles each cannot hide 512 cycles over and over; with
    registers for more of them the 1D array is busy all the time again."""
    attention = Attention(B=8, H=7, E=16, F=16, P=2**14, M=2**14)
    machine = Machine(columns=512, rows=512)
    found = run(attention, machine, "fusemax-binding")
    assert found.bound_by == "dependencies"
    assert found.cycles > 1.05 * max(attention.work(machine))
    deep = Architecture.load(
        "fusemax-micro24",
        [
            *(f"arrays.array_2d.shape.{d}=512" for d in ("columns", "rows")),
            "arrays.array_1d.shape.lanes=512",
            "arrays.array_2d.registers.depth=1000",
            "arrays.array_1d.registers.depth=1000",
        ],
    )
    fields = {r: getattr(attention, r) for r in "BHEFPM"}
    ample = simulate(workloads.load("bert-base", **fields), deep, Mapping.load("fusemax-binding"))
    assert ample.cycles == pytest.approx(max(attention.work(machine)), rel=1e-3)


def test_a_buffer_one_byte_too_small_is_refused() -> None:
    attention = Attention(B=1, H=1, E=64, F=64, P=1024, M=1024)
    least = 2 * 256 * 128 + attention.row_bytes() * 256
    assert run(attention, Machine(buffer=least), "fusemax-binding").bound_by
    with pytest.raises(ValueError, match=r"global_buffer needs .* has"):
        run(attention, Machine(buffer=least - 1), "fusemax-binding")


def test_a_billion_tokens_are_exact() -> None:
    """2^30 queries and keys: counts past 64 bits, still whole numbers."""
    n = 2**30
    attention = Attention(B=64, H=13, E=128, F=96, P=n, M=n)
    found = run(attention, Machine(), "fusemax-binding")
    points = prod((64, 13, 128, n, n))
    assert dict(next(e for e in found.einsums if e.name == "BQK").operations)["mac"] == points
    assert points > 2**63
    assert found.traffic_bytes == attention.traffic(Machine())
    assert isinstance(found.traffic_bytes, int)


def test_all_registers_cost_what_was_published_but_for_the_partial_sums_of_slnv() -> None:
    """Published for BERT at 16K: 1.66 times the energy. There SLNV's partial sums are read and
    rewritten at every step; here they are a tensor of their own, in which each is written once."""
    tokens = 2**14
    workload, mapping = workloads.load("bert-base", seq_len=tokens), Mapping.load("fusemax-binding")
    every = [f"arrays.{a}.registers.billed=all" for a in ("array_1d", "array_2d")]
    billed_all = Architecture.load("fusemax-micro24", every)
    once = simulate(workload, Architecture.load("fusemax-micro24"), mapping).energy_pj
    energy = simulate(workload, billed_all, mapping).energy_pj
    access = register_access(billed_all, billed_all.arrays[0])
    points = 64 * 12 * tokens**2 * 64
    assert energy / once == pytest.approx(1.555, abs=5e-4)
    again = points * (access.read_pj + access.write_pj)
    assert (energy + again) / once == pytest.approx(1.66, abs=5e-3)


NARROW = (
    "arrays.array_2d.shape.rows=128",
    "arrays.array_2d.shape.columns=128",
    "arrays.array_1d.shape.lanes=64",
    "clock=700 MHz",
    "memories.DRAM.bandwidth=400 GB/s",
    "word=8 bit",
)


def test_a_1d_array_narrower_than_the_2d_array_is_what_binds() -> None:
    """Tiles of queries are as wide as the 1D array: RM, SPD and RD take a cycle of it, PRM
    seven, SPNV and RNV one for each of 64 features, and AV 64 once in 32 tiles."""
    machine = Architecture.load("fusemax", NARROW)
    found = simulate(workloads.load("bert-base", seq_len=4096), machine, "fusemax-binding")
    tiles = 64 * 12 * (4096 // 64) * (4096 // 128)
    assert dict(found.tiles)["P0"] == 64
    assert found.bound_by == "array_1d"
    assert found.cycles == pytest.approx(tiles * (1 + 7 + 1 + 1 + 64 + 64 + 64 / 32), rel=1e-4)
    assert found.latency_s == pytest.approx(found.cycles / 700e6)
    busy = {a.array: a.busy_cycles for a in found.arrays}
    # Half the columns do 64 + 1 + 7 + 1 + 64 cycles a tile.
    assert busy["array_2d"] == tiles * 137 / 2
    dram = next(t for t in found.traffic if t.level == "DRAM")
    assert dram.read_bytes + dram.write_bytes == 4 * 64 * 12 * 4096 * 64


def test_three_passes_on_a_narrow_1d_array() -> None:
    """Five cycles a score: maximum, difference, exponential, sum and quotient."""
    machine = Architecture.load("flat", NARROW)
    found = simulate(workloads.load("bert-base", seq_len=4096), machine, Mapping.load("unfused"))
    scores = 64 * 12 * 4096 * 4096
    busy = {a.array: a.busy_cycles for a in found.arrays}
    assert busy["array_1d"] == scores / 64 * 5
    assert busy["array_2d"] == scores * 128 / 128**2
