"""Linear layers: the published end-to-end rows, and closed forms on shapes of no paper.

Z[N, J] = X[N, D] W[D, J] on an R x C array, results resting in their elements while D goes by.
Weights that fit beside R tokens are read once; else once per block of as many tokens as fit
beside C columns of weights. Features are cut only where one tile of each operand does not fit:
partial sums p go to DRAM and come back. With a = ceil(N/R), b = ceil(J/C), W read w times:

    traffic = 2 (ND + DJ w + NJ + 2p) bytes     time = max(traffic / bandwidth, abD / clock)
    buffer reads = D (Nb + Ja), writes = ND + DJ w values
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from math import ceil

import pytest
from commands import run as command
from evaluated import evaluate_mapping
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from places import PUBLICATIONS
from portions import examples, left

from archsim import Architecture, Mapping, Result, simulate
from einsum_cascade import Cascade
from einsum_cascade.errors import NoLegalMappingError
from workloads import Workload, load

TABLE = PUBLICATIONS / "fusemax_bert.csv"
CLOCK = 940e6
DRAM = 400 * 2**30
MACHINES = {"proposal": "fusemax-micro24", "flat": "flat-micro24"}
LINEAR = "linear-layer"


def published() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open() as file:
        return [r for r in csv.DictReader(file) if r["table"] == "linear_layers"]


@pytest.mark.skipif(not TABLE.exists(), reason="the published figures are not beside the project")
@pytest.mark.parametrize("row", published(), ids=lambda r: f"{r['configuration']}-{r['seq_len']}")
def test_bert_as_published(row: dict[str, str]) -> None:
    """The six matrix multiplications of a layer, on the machines as they are shipped."""
    work = load("bert-base", scope="block", seq_len=row["seq_len"])
    machine = Architecture.load(MACHINES[row["configuration"]])
    linear = linear_parts(work, machine)
    assert len(linear) == 6
    assert sum(r.traffic_bytes for r in linear) == int(row["traffic_bytes"])
    assert sum(r.latency_s for r in linear) == pytest.approx(float(row["latency_s"]), rel=1e-5)
    energy = float(row["energy_pj_without_overflow"])
    assert sum(r.energy_pj for r in linear) == pytest.approx(energy, rel=1e-11)


@pytest.mark.skipif(not TABLE.exists(), reason="the published figures are not beside the project")
@pytest.mark.parametrize("tokens", ["1K", "16K", "1M"])
def test_end_to_end_as_published(tokens: str) -> None:
    """A layer is the published attention and the published linear layers together."""
    with TABLE.open() as file:
        rows = [r for r in csv.DictReader(file) if r["seq_len"] == tokens]
    pair = [r for r in rows if r["configuration"] in ("binding", "proposal")]
    assert [r["table"] for r in pair] == ["attention", "linear_layers"]
    work = load("bert-base", scope="block", seq_len=tokens)
    whole = simulate(work, Architecture.load(MACHINES["proposal"]))
    assert whole.traffic_bytes == sum(int(r["traffic_bytes"]) for r in pair)
    latency = sum(float(r["latency_s"]) for r in pair)
    assert whole.latency_s == pytest.approx(latency, rel=1e-4)
    energy = sum(float(r["energy_pj_without_overflow"]) for r in pair)
    assert whole.energy_pj == pytest.approx(energy, rel=1e-4)


def linear_parts(work: Workload, machine: Architecture) -> list[Result]:
    """The linear layers of a workload, each by itself."""
    program, mapping = Cascade.load(LINEAR).program, Mapping.load(LINEAR)
    shapes = [dict(p.shapes) for p in work.parts if p.cascade == LINEAR]
    return [evaluate_mapping(program, mapping, machine, s) for s in shapes]


@dataclass(frozen=True)
class Case:
    """A linear layer on a machine: sizes in elements, the buffer in values."""

    n: int
    d: int
    j: int
    rows: int = 256
    columns: int = 256
    buffer: int = 8 * 2**20

    @property
    def tiles(self) -> tuple[int, int]:
        return ceil(self.n / self.rows), ceil(self.j / self.columns)

    def holds(self, tokens: int, outputs: int, features: int) -> bool:
        return features * (min(tokens, self.n) + min(outputs, self.j)) <= self.buffer

    @property
    def features(self) -> int:
        """The largest part of the features of which one tile of each operand fits."""
        tile = (self.rows, self.columns)
        parts = (f for f in range(1, self.d + 1) if self.d % f == 0)
        return max((f for f in parts if self.holds(*tile, f)), default=0)

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of tokens, and of outputs, that the buffer takes one after the other."""
        a, b = self.tiles
        whole = self.holds(self.rows, self.j, self.features)
        outputs = self.j if whole else self.columns
        held = [
            t
            for t in range(1, a + 1)
            if a % t == 0 and self.holds(t * self.rows, outputs, self.features)
        ]
        return a // max(held), 1 if whole else b

    @property
    def weight_reads(self) -> int:
        tokens, outputs = self.blocks
        return tokens if outputs * (self.d // self.features) > 1 else 1

    @property
    def partial_sums(self) -> int:
        """Results that come back from DRAM: all but a part of the features' first."""
        tokens, _ = self.blocks
        a, b = self.tiles
        more = self.d // self.features - 1
        return more * self.n * self.j if a // tokens * b > 1 else 0

    @property
    def traffic(self) -> int:
        n, d, j = self.n, self.d, self.j
        return 2 * (n * d + d * j * self.weight_reads + n * j + 2 * self.partial_sums)

    @property
    def cycles(self) -> int:
        a, b = self.tiles
        return a * b * self.d

    @property
    def seconds(self) -> float:
        return max(self.traffic / DRAM, self.cycles / CLOCK)

    @property
    def buffer_values(self) -> tuple[int, int]:
        """Values read from and written to the buffer."""
        a, b = self.tiles
        read = self.d * (self.n * b + self.j * a)
        return read, self.n * self.d + self.d * self.j * self.weight_reads


def run(case: Case, machine: str = "fusemax-micro24", mapping: str = LINEAR) -> Result:
    architecture = Architecture.load(
        machine,
        (
            f"arrays.array_2d.shape.rows={case.rows}",
            f"arrays.array_2d.shape.columns={case.columns}",
            f"memories.global_buffer.capacity={2 * case.buffer} B",
        ),
    )
    shapes = {"N": case.n, "D": case.d, "J": case.j}
    program = Cascade.load(mapping).program
    return evaluate_mapping(program, Mapping.load(mapping), architecture, shapes)


def agrees(result: Result, case: Case) -> None:
    assert result.traffic_bytes == case.traffic
    # A ragged tile of few tokens brings as many weights as a whole one: then neither time hides
    # all of the other.
    most = case.traffic / DRAM + (case.cycles + 3 * case.d) / CLOCK
    assert case.seconds * (1 - 1e-12) <= result.latency_s <= most * (1 + 1e-6)
    buffer = next(t for t in result.traffic if t.level == "global_buffer")
    assert (buffer.read_bytes // 2, buffer.write_bytes // 2) == case.buffer_values
    assert dict(result.einsums[0].operations) == {"mac": case.n * case.d * case.j}
    least = max(result.bounds.compute_s, result.bounds.bandwidth_s)
    assert result.latency_s >= least * (1 - 1e-12)
    assert result.bounds.traffic_bytes <= result.traffic_bytes


@pytest.mark.parametrize("machine", MACHINES.values())
@pytest.mark.parametrize("tokens", [2**10, left(2**14), 2**20])
@pytest.mark.parametrize(
    ("model", "heads", "width", "d", "s"),
    [
        ("trxl-wt103", 16, 64, 1024, 4096),
        left("t5-small", 8, 64, 512, 2048),
        left("xlm", 16, 128, 2048, 8192),
    ],
)
def test_the_other_models(
    model: str, heads: int, width: int, d: int, s: int, tokens: int, machine: str
) -> None:
    linear = linear_parts(load(model, scope="block", seq_len=tokens), Architecture.load(machine))
    hw, buffer = heads * width, (16 if machine == "flat-micro24" else 8) * 2**20
    matmuls = [(d, hw), (d, hw), (d, hw), (hw, d), (d, s), (s, d)]
    cases = [Case(64 * tokens, k, n, buffer=buffer) for k, n in matmuls]
    for found, case in zip(linear, cases, strict=True):
        agrees(found, case)


def test_the_energy_of_a_published_matmul_by_hand() -> None:
    """XLM's second feed-forward layer at 1K: its 32 MiB of weights are read 128 times."""
    m, k, n = 64 * 1024, 8192, 2048
    c, again = m * n * k / 65536, 128
    dram = 2 * (m * k + k * n * again + m * n) / 8 * 249.6
    buffer = 2 * c * 12512.760572 + (m * k + k * n * again) / 256 * 15751.460572
    registers = (3 * c - m * n / 65536) * 2.190435 + 3 * c * 1.902435
    result = run(Case(m, k, n))
    total = dram + buffer + registers + m * n * k * 17.1645
    assert result.energy_pj == pytest.approx(total, rel=1e-6)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rows, columns = (draw(st.sampled_from([1, 3, 16, 64, 256])) for _ in range(2))
    # A single feature would stay in the registers from one tile to the next.
    n, d, j = (draw(st.integers(least, most)) for least, most in ((1, 4000), (2, 600), (1, 1200)))
    tile = d * (min(rows, n) + min(columns, j))
    return Case(n, d, j, rows, columns, max(256, draw(st.integers(tile // 4, 3 * d * (n + j)))))


@settings(max_examples=examples(100), deadline=None)
@given(case=cases())
def test_shapes_and_machines_of_no_paper(case: Case) -> None:
    assume(case.features > 1)
    agrees(run(case), case)


def test_features_are_cut_only_where_they_must_be() -> None:
    case = Case(512, 100, 512, buffer=100 * 512)
    assert dict(run(case).tiles)["D1"] == 1
    cut = run(replace(case, buffer=100 * 512 - 1))
    assert dict(cut.tiles)["D1"] == 2
    # Every result waits in DRAM once.
    assert next(t for t in cut.traffic if t.level == "DRAM").write_bytes == 2 * 2 * 512 * 512


def test_a_buffer_that_holds_no_tile_is_refused() -> None:
    with pytest.raises(NoLegalMappingError, match="global_buffer needs 1 KiB"):
        run(Case(512, 100, 512, buffer=511))


@pytest.mark.parametrize(
    ("activation", "cycles", "matmuls"),
    [("relu", 1, 1), ("gelu", 8, 1), ("swiglu", 15, 2), ("swiglu-clamped", 21, 2)],
)
@pytest.mark.parametrize("sizes", [(65536, 768, 3072), (1000, 200, 700), (5, 3, 2)])
def test_an_activation_follows_in_the_same_elements(
    activation: str, cycles: int, matmuls: int, sizes: tuple[int, int, int]
) -> None:
    """Its cycles a tile beside D of each matmul, and no traffic of its own."""
    case = Case(*sizes)
    n, d, j = sizes
    found = run(case, mapping=f"{LINEAR}-{activation}")
    a, b = case.tiles
    (occupied,) = (x.occupied_cycles for x in found.arrays if x.array == "array_2d")
    assert occupied == a * b * (matmuls * d + cycles)
    assert found.traffic_bytes == 2 * (n * d + matmuls * d * j + n * j)
    rows, columns = min(256, n), min(256, j)
    ends = 2 * (d * rows + d * matmuls * columns + rows * columns) / DRAM * CLOCK
    longest = max(occupied, found.traffic_bytes / DRAM * CLOCK)
    assert longest <= found.cycles <= longest + 2 * ends + matmuls * d + cycles


@pytest.mark.parametrize("name", ["", left("-relu"), "-gelu", left("-swiglu"), "-swiglu-clamped"])
def test_every_mapping_computes_what_its_cascade_says(name: str) -> None:
    assert command("validate", LINEAR + name, "--mapping", LINEAR + name).exit_code == 0
