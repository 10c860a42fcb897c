"""Decode with heads and sequences on the columns: traffic and occupation by hand."""

from __future__ import annotations

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, Mapping
from archsim.result.result import Result
from archsim.validation.mapped import mapped_run, mapped_shapes
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference

WORD = 2  # bytes
LLAMA = {"B": 64, "G": 8, "S": 4, "E": 128, "F": 128, "P": 1}
DEEPSEEK = {"B": 64, "H": 128, "D": 128, "R": 64, "L": 512, "F": 128, "P": 1}


def simulated(mapping: str, shapes: dict[str, int]) -> Result:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    return evaluate_mapping(program, how, Architecture.load("fusemax"), shapes)


def read_and_written(result: Result) -> tuple[int, int]:
    """Words that leave and enter the outermost memory."""
    dram = result.traffic[0]
    return dram.read_bytes // WORD, dram.write_bytes // WORD


def per_cycle(result: Result, einsum: str) -> float:
    """Multiplications of an Einsum in every cycle that it has the array."""
    found = next(e for e in result.einsums if e.name == einsum)
    return dict(found.operations)["mac"] / found.cycles


@pytest.mark.parametrize("M", [256, 1000, 4096, 8192])
def test_a_group_reads_its_cache_once(M: int) -> None:
    """K and V of the 8 heads that have any; queries and results of all 32."""
    result = simulated("gqa-decode", {**LLAMA, "M": M})
    B, G, S, E, F = (LLAMA[r] for r in "BGSEF")
    H = G * S
    assert read_and_written(result) == (B * H * E + B * G * M * (E + F), B * H * F)
    if M % 256 == 0:
        # 8 sequences of 32 heads by 256 keys: every element of the array has work.
        assert per_cycle(result, "BQK") == 256 * 256
        assert per_cycle(result, "SLNV") == 256 * 256


def test_four_times_the_groups_read_four_times_the_cache() -> None:
    shared = simulated("gqa-decode", {**LLAMA, "G": 2, "S": 16, "M": 4096})
    grouped = simulated("gqa-decode", {**LLAMA, "G": 8, "M": 4096})
    cache = [read_and_written(r)[0] - 64 * 32 * 128 for r in (shared, grouped)]
    assert cache[1] == 4 * cache[0]
    assert grouped.latency_s > 3.9 * shared.latency_s


def columns(result: Result, *ranks: str) -> list[int]:
    """Tiles that are laid out side by side."""
    tiles = dict(result.tiles)
    return [tiles[r] for r in ranks]


@pytest.mark.parametrize(
    ("B", "G", "S", "wanted"),
    [
        (64, 8, 4, [8, 8, 4]),  # Llama 3 8B
        (64, 8, 8, [4, 8, 8]),  # Llama 3 70B
        (1, 8, 8, [1, 8, 8]),
        (64, 1, 300, [1, 1, 150]),  # more heads than columns take turns
        (9, 8, 4, [5, 8, 4]),  # 5 and 4
        # Keys and values of 32 heads, 256 tokens of 128: 4 MiB for a sequence, of 16 MiB.
        (64, 32, 1, [3, 32, 1]),
        (64, 128, 1, [1, 64, 1]),
    ],
)
def test_columns_are_filled_as_far_as_there_is_room(
    B: int, G: int, S: int, wanted: list[int]
) -> None:
    result = simulated("gqa-decode", {**LLAMA, "B": B, "G": G, "S": S, "M": 2048})
    assert columns(result, "B0", "G0", "S0") == wanted
    cache = B * G * 2048 * (128 + 128)
    assert read_and_written(result)[0] == cache + B * G * S * 128


@pytest.mark.parametrize(
    ("B", "H", "wanted"),
    [(64, 128, [2, 128]), (7, 128, [2, 128]), (64, 16, [16, 16]), (1, 512, [1, 171])],
)
def test_heads_on_latents_fill_the_columns(B: int, H: int, wanted: list[int]) -> None:
    """Weights of 128 heads, a tile of 256 by 128: 8 MiB of 16, and of 256 heads all of it."""
    result = simulated("mla-absorbed-decode", {**DEEPSEEK, "B": B, "H": H, "M": 2048})
    assert columns(result, "B0", "H0") == wanted


@pytest.mark.parametrize("M", [256, 1000, 4096, 8192])
def test_latents_are_read_once_for_all_heads(M: int) -> None:
    """576 words a token and sequence, and the up-projections once for all sequences.

    Queries come once for each of two tiles of the latent. In the latent they are written and
    read once, and so are values, but that these are read for each of three tiles of F.
    """
    result = simulated("mla-absorbed-decode", {**DEEPSEEK, "M": M})
    B, H, D, R, L, F = (DEEPSEEK[r] for r in "BHDRLF")
    assert L + R == 576
    assert columns(result, "L1", "F1") == [2, 3]
    weights = H * L * (D + F)
    queries = B * H * (2 * D + R)
    latents = B * H * L
    read = queries + B * M * 576 + weights + latents + 3 * latents
    assert read_and_written(result) == (read, B * H * F + 2 * latents)
    if M % 256 == 0:
        for einsum in ("SC", "SR", "SLNV"):
            assert per_cycle(result, einsum) == 256 * 256, einsum


def test_one_more_token_is_576_words_more() -> None:
    before, after = (
        read_and_written(simulated("mla-absorbed-decode", {**DEEPSEEK, "B": 2, "M": m}))[0]
        for m in (4000, 4001)
    )
    assert after - before == 2 * 576


@pytest.mark.parametrize(
    "mapping",
    [
        "gqa-decode",
        "gqa-causal",
        "gqa-window",
        "gqa-sink",
        "gqa-sink-window",
        "gqa-alibi",
        "gqa-gated",
        "gqa-softcap",
        "gqa-softcap-window",
        "mla-absorbed-decode",
        "mla-absorbed-2pass-decode",
    ],
)
def test_as_mapped_they_compute_what_they_should(mapping: str) -> None:
    """On a machine of 6 by 16, tiles whole and ragged, and several queries at once."""
    machine = Architecture.load(
        "fusemax", ["arrays.array_2d.shape.rows=6", "arrays.array_2d.shape.columns=16"]
    )
    how = Mapping.load(mapping)
    cascade = Cascade.load(how.cascade)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=mapped_shapes(cascade, how, machine),
        run=mapped_run(cascade, how, machine, GENERATORS),
        trials=1,
    )
    assert report.independent
    assert report.ok, report
