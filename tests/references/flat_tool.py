"""FLAT's own cost model and dataflow search, and what the publication makes of its choice.

For a PE x PE array with a buffer of some bytes, 2-byte values, B x H heads of P queries and
M keys, width E = F, all multiples of PE or (E) below it. ``P1`` queries go together; Q, K,
V, AV and the scores (QK and A) are buffered or streamed; both products hold the outputs or
the weights still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product


@dataclass(frozen=True)
class Shape:
    """One attention layer on one machine."""

    heads: int
    """B x H."""
    width: int
    queries: int
    keys: int
    array: int = 256
    buffer: int = 32 * 2**20
    bandwidth: int = 400 * 2**30
    clock: int = 940 * 10**6

    @property
    def q(self) -> int:
        """Bytes of Q (and of AV)."""
        return 2 * self.heads * self.queries * self.width

    @property
    def k(self) -> int:
        """Bytes of K (and of V)."""
        return 2 * self.heads * self.keys * self.width

    @property
    def s(self) -> int:
        """Bytes of the scores."""
        return 2 * self.heads * self.queries * self.keys

    @property
    def widths(self) -> int:
        """Pieces of the array's size that a head's width is cut into."""
        return max(1, self.width // self.array)


@dataclass(frozen=True)
class Dataflow:
    """One point of FLAT's mapspace."""

    q: bool
    k: bool
    scores: bool
    v: bool
    av: bool
    output: bool
    rows: int
    """Tiles of PE queries that go together; 0: a whole head."""

    def together(self, shape: Shape) -> int:
        """Queries that go together."""
        return min(shape.queries, self.rows * shape.array) if self.rows else shape.queries


def dataflows() -> Iterator[Dataflow]:
    """The mapspace in the order of preference."""
    for q, k, scores, v, av in product((False, True), repeat=5):
        for output in (True, False):
            for rows in (0, 1, 2, 4):
                yield Dataflow(q, k, scores, v, av, output, rows)


def tiles(shape: Shape, flow: Dataflow) -> tuple[int, int]:
    """Values of all tiles but buffered scores, and of AV's among them."""
    pe, e = shape.array, min(shape.width, shape.array)
    p1 = flow.together(shape)
    passing = pe * e
    total = p1 * shape.width if flow.q else passing
    total += shape.keys * shape.width if flow.k else passing
    total += shape.keys * shape.width if flow.v else passing
    if not flow.scores:
        total += (pe if flow.output else p1) * pe + pe * pe
    av = p1 * shape.width if flow.av else (pe if flow.output else p1) * e
    return total + av, av


def needed(shape: Shape, flow: Dataflow, row: int = 0) -> int:
    """Bytes the buffer is asked to hold; ``row`` more where scores are streamed."""
    scores = 2 * flow.together(shape) * shape.keys
    return 4 * tiles(shape, flow)[0] + (scores if flow.scores else row)


def spilled(shape: Shape, flow: Dataflow, row: int = 0) -> Fraction:
    """The share of the tiles that the buffer cannot hold."""
    need = needed(shape, flow, row)
    return 1 - min(Fraction(1), Fraction(shape.buffer, need))


def tool_latency(shape: Shape, flow: Dataflow) -> Fraction:
    """Seconds of QK and AV as FLAT's own tool reckons them."""
    pe, ne, q, s = shape.array, shape.widths, shape.q, shape.s
    nm, np = shape.keys // pe, shape.queries // pe
    p2 = shape.queries // flow.together(shape)
    p = spilled(shape, flow)
    streamed = np if flow.output else p2
    base = q * (1 if flow.q else nm) + shape.k * (p2 if flow.k else streamed)
    base += shape.k * (p2 if flow.v else streamed) + q
    base += 0 if flow.scores else s + s * ne
    if flow.output:
        inner = q * nm + (s + s * ne if flow.scores else 0) + q * flow.av
        inner += shape.k * np * (flow.k + flow.v)
        cycles = shape.heads * shape.queries * shape.keys * shape.width // pe**2
        cycles += shape.heads * shape.keys * ne * np
    else:
        inner = 3 * q * nm + 3 * s * ne + shape.k * p2 * (flow.k + flow.v)
        cycles = 2 * shape.heads * shape.queries * nm * ne
    total, av = tiles(shape, flow)
    cold = 2 * (total + (0 if flow.av else av))
    work = Fraction(cycles, shape.clock) + Fraction(cold, shape.bandwidth)
    start = 2 * (3 if flow.output else 4) * shape.heads * p2
    return max(work, (base + p * inner + cold) / shape.bandwidth) + Fraction(start, shape.clock)


def tool_choice(shape: Shape) -> Dataflow:
    """What FLAT's tool takes: the fastest, of equals the first."""
    return min(dataflows(), key=lambda flow: tool_latency(shape, flow))


def traffic(shape: Shape, flow: Dataflow, row: int = 0) -> Fraction:
    """Bytes of the whole attention to and from DRAM under a dataflow.

    Where scores are streamed, ``row`` bytes of the buffer serve the softmax (the publication
    neglects them); what spills of its row of QK and of SN is read and written again.
    """
    pe, q, k, s = shape.array, shape.q, shape.k, shape.s
    nm, np = shape.keys // pe, shape.queries // pe
    p2 = shape.queries // flow.together(shape)
    p = spilled(shape, flow, row)
    sweeps = np if flow.output else p2

    def operand(size: int, times: int, buffered: bool) -> Fraction:
        return size * ((1 - p) + p * times) if buffered else Fraction(size * times)

    total = operand(q, nm, flow.q) + operand(k, sweeps, flow.k) + operand(k, sweeps, flow.v)
    # Scores: QK out and A in by the products; QK twice, SN out and in, A out by the softmax.
    if flow.scores:
        total += p * (1 + shape.widths + 5) * s
    else:
        total += (3 + shape.widths) * s + (p * (2 * s + 2 * s) - p * s if row else 0)
    if flow.output:
        return total + q
    partial = q * (2 * nm - 1)
    return total + (q * (1 - p) + p * partial if flow.av else partial)


def cycles(shape: Shape, flow: Dataflow, row: int = 0) -> Fraction:
    """Cycles of the whole attention: the longest of DRAM, the 2D and the 1D array."""
    softmax = Fraction(4 * shape.heads * shape.queries * shape.keys, shape.array)
    moved = traffic(shape, flow, row) * shape.clock / shape.bandwidth
    return max(products(shape, flow), softmax, moved)


def products(shape: Shape, flow: Dataflow) -> Fraction:
    """Cycles of QK and AV on the 2D array."""
    pe = shape.array
    points = shape.heads * shape.queries * shape.keys
    if flow.output:
        return Fraction(points * shape.width, pe**2) + Fraction(points * shape.widths, pe)
    return Fraction(2 * points * shape.widths, pe)
