"""``fusemax-cascade`` and ``unfused`` against closed forms, on shapes and machines of no paper.

For an n x n array with n lanes: U = B H P / n query tiles, T = U M / n score tiles. The
1-pass cascade with its softmax on the lanes takes 4n + 5 + 2F lane cycles a score tile and F
a query tile, beside E + F cycles of the array. Unfused, QK, the softmax (four passes over
the scores) and AV run one after another, each as long as its work or its traffic; keys are
read once for every group of query tiles that the buffer holds beside one key tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim import Architecture, Mapping, Result, simulate
from workloads import load

CLOCK = 940e6


@dataclass(frozen=True)
class Case:
    """Shapes, and a square machine: elements on a side, buffer bytes, DRAM bytes a second."""

    heads: int
    e: int
    f: int
    p: int
    m: int
    n: int
    buffer: int
    bandwidth: int

    def run(self, machine: str, mapping: str) -> Result:
        """Simulate it."""
        work = load("bert-base", B=self.heads, H=1, E=self.e, F=self.f, P=self.p, M=self.m)
        settings = (
            f"arrays.array_2d.shape.rows={self.n}",
            f"arrays.array_2d.shape.columns={self.n}",
            f"arrays.array_1d.shape.lanes={self.n}",
            f"memories.global_buffer.capacity={self.buffer} B",
            f"memories.DRAM.bandwidth={self.bandwidth} B/s",
        )
        return simulate(work, Architecture.load(machine, settings), Mapping.load(mapping))

    def most(self, per_tile: int, beside: int) -> int:
        """The largest divisor of the query tiles whose elements the buffer holds."""
        tiles = self.p // self.n
        fits = [d for d in range(1, tiles + 1) if 2 * (d * per_tile + beside) <= self.buffer]
        return max(d for d in fits if tiles % d == 0)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.sampled_from([8, 16, 32, 64, 128]))
    e, f = (draw(st.integers(1, 100)) for _ in range(2))
    m = n * draw(st.integers(2, 40))
    least = 2 * max(256, n * (e + f + 2 + 2 * n) + n * (e + f), 2 * m, 2 * n * max(e, f))
    return Case(
        heads=draw(st.integers(1, 30)),
        e=e,
        f=f,
        p=n * draw(st.integers(1, 40)),
        m=m,
        n=n,
        buffer=least * draw(st.integers(1, 30)),
        bandwidth=draw(st.sampled_from([2**32, 2**36, 2**40])),
    )


@settings(max_examples=examples(30), deadline=None)
@given(case=cases())
def test_cascade(case: Case) -> None:
    result = case.run("cascade-on-flat-micro24", "fusemax-cascade")
    n, width = case.n, case.e + case.f
    held = case.most(n * (width + 2 + 2 * n), n * width)
    sweeps = case.p // n // held
    traffic = 2 * case.heads * (case.p * width + sweeps * case.m * width)
    u = case.heads * case.p // n
    t = u * (case.m // n)
    lanes = t * (4 * n + 5 + 2 * case.f) + u * case.f
    cycles = max(t * width, lanes, traffic * CLOCK / case.bandwidth)
    assert dict(result.tiles)["P1"] == held
    assert result.traffic_bytes == traffic
    occupied = {a.array: a.occupied_cycles for a in result.arrays}
    assert occupied == {"array_2d": t * width, "array_1d": lanes}
    tile = 4 * n + 5 + 4 * case.f + 3 * width + 4 * n
    first = 4 * n * width * CLOCK / case.bandwidth
    assert cycles * (1 - 1e-12) - case.f <= result.cycles <= cycles * 1.01 + 3 * tile + 2 * first


@settings(max_examples=examples(30), deadline=None)
@given(case=cases())
def test_unfused(case: Case) -> None:
    result = case.run("flat-micro24", "unfused")
    n = case.n
    held = case.most(n * max(case.e, case.f), n * max(case.e, case.f))
    sweeps = case.p // n // held
    scores = 2 * case.heads * case.p * case.m
    t = case.heads * (case.p // n) * (case.m // n)
    traffic = 4 * scores
    cycles = max(4 * t * n, 2 * scores * CLOCK / case.bandwidth)
    for width in (case.e, case.f):
        moved = 2 * case.heads * width * (case.p + sweeps * case.m)
        traffic += moved
        cycles += max(t * width, (moved + scores) * CLOCK / case.bandwidth)
    assert dict(result.tiles)["P1"] == held
    assert result.traffic_bytes == traffic
    # The sum over rows of the last AV tile is late by one hop a row, and each of the three runs
    # has a first tile to wait for and a last one to hand out.
    ends = 3 * 4 * n * (case.e + case.f + n) * CLOCK / case.bandwidth + 3 * (case.e + case.f)
    assert cycles * (1 - 1e-9) <= result.cycles <= cycles * 1.01 + 4 * n + ends
