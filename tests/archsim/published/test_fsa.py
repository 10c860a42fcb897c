"""FlashAttention in one systolic array: the closed form of FSA (Lin et al., arXiv 2507.11331).

A tile of N queries and N keys takes N (queries loaded) + 2N + 12 (scores, exponentials and their
sum) + 2N - 1 (values) = 5N + 11 cycles, of which 2N are products: 39.3 % at N = 128.
"""

from __future__ import annotations

import pytest

from archsim import Architecture, Result, simulate
from einsum_cascade.errors import SpecError

TILES = 64


def run(n: int, **shapes: int) -> Result:
    """One head of N features over 64 tiles of keys, on an array of N x N elements."""
    sizes = {"scratchpad": 12 * n * n, "accumulator_sram": 4 * n * (n + 1), "latches": 4 * n * n}
    settings = [f"arrays.{a}.shape.columns={n}" for a in ("array", "comparators", "accumulators")]
    settings += [f"memories.{m}.capacity={max(size, 512)} B" for m, size in sizes.items()]
    machine = Architecture.load("fsa", [*settings, f"arrays.array.shape.rows={n}"])
    given = {"batch": 1, "H": 1, "E": n, "F": n, "P": n, "M": TILES * n} | shapes
    return simulate("bert-base", machine, **given)


@pytest.mark.parametrize("n", [16, 32, 64, 128, 256])
def test_a_tile_takes_5n_and_11_cycles(n: int) -> None:
    found = run(n)
    assert found.mapping == "systolic-attention"
    assert (found.schedule.steps, found.schedule.period_cycles) == (TILES, 5 * n + 11)
    # Longer by one tile's fill, and by the quotients at the end.
    assert 0 < found.cycles - TILES * (5 * n + 11) < 5 * n


def test_products_are_39_percent_at_128() -> None:
    more, less = run(128), run(128, M=TILES * 64)
    cycles = more.cycles - less.cycles
    macs = [dict(e.operations).get("mac", 0) for r in (more, less) for e in r.einsums]
    half = len(macs) // 2
    products = (sum(macs[:half]) - sum(macs[half:])) / (128 * 128)
    assert products / cycles == pytest.approx(0.393, abs=5e-4)


def test_every_tile_loads_its_queries_anew() -> None:
    queries, scores = run(128).folds
    assert (queries.loads, queries.load_cycles, queries.drain) == (TILES, 128, 127)
    # They come back from the array itself, which has nothing else to drain.
    assert (scores.loads, scores.load_cycles, scores.drain) == (TILES, 128, 0)


def test_another_machine_is_told_whom_the_mapping_is_for() -> None:
    told = "mapping 'systolic-attention' is made for fsa, not for fusemax\n.*no array is called"
    with pytest.raises(SpecError, match=told):
        simulate("bert-base", "fusemax", "systolic-attention", seq_len=256)
