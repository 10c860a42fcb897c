"""Tiles that a mask leaves without a point are not run: counts, steps, proof and execution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from random import Random

import numpy as np
import pytest
from bound_cases import counted, walked
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_cases import MASKS, ONE_PASS, masked, masked_attention, one_pass
from nest_cases import random_case
from nest_masks import MaskedWalker
from portions import examples, left, portions, some

from archsim import Architecture, Mapping, simulate
from archsim.counts.accesses import count_einsum
from archsim.iteration.bands import Band, BandProgression, Window, runs
from archsim.iteration.loops import Loop
from archsim.iteration.windowed import (
    EvenStretch,
    RepeatPeriod,
    one,
    stretches,
    tiles_delivered,
    windowed_deliveries,
    windowed_distinct,
)
from archsim.legality.binding import bind
from archsim.nest.binder import bind_loops
from archsim.validation.mapped import execute_mapped
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.no_op_steps import no_op_obstacle
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from workloads import load

# ------------------------------------------------------------------ windows

SIDES = st.integers(1, 12)


@given(SIDES, SIDES, st.integers(-14, 14), st.integers(-2, 20), SIDES, st.booleans())
@settings(max_examples=examples(200))
def test_runs_are_the_tiles_with_points(
    wide: int, deep: int, low: int, spread: int, size: int, plus: bool
) -> None:
    band = Band(low, low + spread, wide, deep)
    extent = wide if plus else deep
    expected: dict[int, tuple[int, bool]] = {}
    for number in range(-(-extent // size)):
        places = range(number * size, min(extent, (number + 1) * size))
        xs, ys = (places, range(deep)) if plus else (range(wide), places)
        inside = [low <= x - y <= low + spread for x, y in product(xs, ys)]
        if any(inside):
            expected[number] = (len(places), all(inside))
    found: dict[int, tuple[int, bool]] = {}
    if not band.empty:
        for run in runs(extent, size, None if band.full else band, (plus, 1)):
            for number in range(run.first, run.first + run.count):
                found[number] = (run.extent, run.band is None)
    assert found == expected


@given(SIDES, SIDES, st.integers(-14, 14), st.integers(-3, 20))
@settings(max_examples=examples(300))
def test_points_of_a_band_are_those_one_by_one(wide: int, deep: int, low: int, spread: int) -> None:
    band = Band(low, low + spread, wide, deep)
    inside = [low <= x - y <= low + spread for x, y in product(range(wide), range(deep))]
    assert band.points == sum(inside)


def random_nest(random: Random) -> tuple[tuple[Loop, ...], tuple[int, ...], tuple[bool, ...]]:
    extents = (random.randint(1, 9), random.randint(1, 9), random.randint(1, 3))
    strides = (
        random.choice([(4, 2, 1), (3, 1), (2,), (1,)]),
        random.choice([(4, 2, 1), (3,), (2, 1), (6, 2)]),
        random.choice([(1,), ()]),
    )
    left = [[(axis, s) for s in strides[axis]] for axis in range(3)]
    order: list[tuple[int, int]] = []
    while any(left):
        order.append(random.choice([pool for pool in left if pool]).pop(0))
    loops = tuple(Loop(member="", axis=a, stride=s, level=0, variable="xyz"[a]) for a, s in order)
    moves = [random.random() < 0.5 for _ in range(3)]
    return loops, extents, tuple(moves)


def brute(
    loops: tuple[Loop, ...],
    moves: tuple[bool, ...],
    extents: tuple[int, ...],
    window: Window,
    size: Callable[[tuple[int, ...]], int] = one,
) -> tuple[int, int]:
    """Deliveries and distinct tiles, iteration by iteration and point by point."""
    held: tuple[int, ...] | None = None
    seen: set[tuple[int, ...]] = set()
    delivered = 0

    def walk(depth: int, begin: list[int], left: list[int], index: tuple[int, ...]) -> None:
        nonlocal held, delivered
        if depth == window.governed:
            # Differences of the tile's coordinates are all whole numbers between two.
            least, most = begin[0] - (begin[1] + left[1] - 1), begin[0] + left[0] - 1 - begin[1]
            if max(least, window.band.low) > min(most, window.band.high):
                return
        if depth == len(loops):
            tag = tuple(i for i, x in zip(index, loops, strict=True) if moves[x.axis])
            delivered += size(tuple(left)) if tag != held else 0
            held = tag
            seen.add(tag)
            return
        loop = loops[depth]
        for number in range(-(-left[loop.axis] // loop.stride)):
            there, rest = list(begin), list(left)
            there[loop.axis] += number * loop.stride
            rest[loop.axis] = min(loop.stride, left[loop.axis] - number * loop.stride)
            walk(depth + 1, there, rest, (*index, number))

    walk(0, [0, 0, 0], list(extents), ())
    return delivered, len(seen)


@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_windowed_counts_equal_a_walk(first: int) -> None:
    for seed in range(first, first + 250):
        random = Random(seed)
        loops, extents, moves = random_nest(random)
        low = random.choice((-(10**9), random.randint(-9, 5)))
        high = random.randint(-9, 9)
        band = Band(low, high, extents[0], extents[1])
        window = Window(plus=0, minus=1, band=band, governed=random.randint(0, len(loops)))
        relevant = tuple(moves[x.axis] for x in loops)
        found = (
            windowed_deliveries(loops, relevant, extents, window, lambda _: 1),
            windowed_distinct(loops, relevant, extents, window, lambda _: 1),
        )
        assert found == brute(loops, moves, extents, window), f"seed {seed}"
        elements, _ = brute(loops, moves, extents, window, prod)
        assert windowed_deliveries(loops, relevant, extents, window, prod) == elements


def long_nest(random: Random) -> tuple[tuple[Loop, ...], tuple[int, ...], tuple[bool, ...]]:
    """Two or three loops over each of two long axes."""
    extents = (random.randint(20, 90), random.randint(20, 90), random.randint(1, 2))
    strides = (
        random.choice([(4, 2, 1), (3, 1), (6, 2), (1,), (16, 4)]),
        random.choice([(4, 2, 1), (3,), (2, 1), (6, 2), (5, 1)]),
        random.choice([(1,), ()]),
    )
    left = [[(axis, s) for s in strides[axis]] for axis in range(3)]
    order: list[tuple[int, int]] = []
    while any(left):
        order.append(random.choice([pool for pool in left if pool]).pop(0))
    loops = tuple(Loop(member="", axis=a, stride=s, level=0, variable="xyz"[a]) for a, s in order)
    moves = [random.random() < 0.5 for _ in range(3)]
    return loops, extents, tuple(moves)


@pytest.mark.parametrize("first", portions(240, 60, quick=2))
def test_long_bands_equal_a_walk(first: int) -> None:
    """Long enough that most tiles are added up by a few of them."""
    for seed in range(first, first + 60):
        random = Random(seed)
        loops, extents, moves = long_nest(random)
        low = random.choice((-(10**9), random.randint(-90, 40)))
        high = low + random.randint(0, 40) if low > -(10**9) else random.randint(-60, 60)
        band = Band(low, high, extents[0], extents[1])
        window = Window(plus=0, minus=1, band=band, governed=random.randint(0, len(loops)))
        relevant = tuple(moves[x.axis] for x in loops)
        found = (
            windowed_deliveries(loops, relevant, extents, window, one),
            windowed_distinct(loops, relevant, extents, window, one),
        )
        assert found == brute(loops, moves, extents, window), f"seed {seed}"


def far_nest(random: Random) -> tuple[tuple[Loop, ...], tuple[int, ...], tuple[bool, ...]]:
    loops, extents, moves = long_nest(random)
    times = [random.choice((7, 40)) if random.random() < 0.3 else 1 for _ in loops]
    wide = tuple(x._replace(stride=n * x.stride) for x, n in zip(loops, times, strict=True))
    # Tiles of an axis become smaller from loop to loop.
    fine = all(
        a.stride >= b.stride
        for at, a in enumerate(wide)
        for b in wide[at + 1 :]
        if a.axis == b.axis
    )
    return wide if fine else loops, (9 * extents[0], 8 * extents[1], extents[2]), moves


def test_tiles_added_up_are_those_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of tiles and counts of both kinds, with and without what long ramps save."""
    asked = []
    for seed in range(examples(120)):
        random = Random(seed)
        loops, extents, moves = far_nest(random)
        low = random.choice((-(10**9), random.randint(-500, 300)))
        high = low + random.randint(0, 300) if low > -(10**9) else random.randint(-300, 500)
        band = Band(low, high, extents[0], extents[1])
        window = Window(plus=0, minus=1, band=band, governed=len(loops))
        relevant = tuple(moves[x.axis] for x in loops)
        asked.append((loops, relevant, extents, window, prod))
    counts = (windowed_deliveries, windowed_distinct)
    saved = [[count(*ask) for count in counts] for ask in asked]
    left: list[EvenStretch] = []
    shorter = 0

    def none_of_them(
        ramp: BandProgression, repeat_periods: Sequence[RepeatPeriod]
    ) -> tuple[EvenStretch, ...]:
        nonlocal shorter
        found = stretches(ramp, repeat_periods)
        left.extend(found)
        shorter += any(x.period < repeat_periods[0].period for x in found)
        return ()

    monkeypatch.setattr("archsim.iteration.windowed.stretches", none_of_them)
    for walk in (tiles_delivered, windowed_distinct):
        walk.cache_clear()
    assert saved == [[count(*ask) for count in counts] for ask in asked]
    assert sum(x.end - x.begin for x in left) > 20 * len(asked)
    assert shorter > examples(9)


@given(seed=st.integers(0, 10**6), sized=st.sets(st.integers(0, 2)))
def test_distinct_tiles_have_the_size_of_the_fullest(seed: int, sized: set[int]) -> None:
    """Tiles whose size depends on some axes, of the window or not, against all iterations."""
    random = Random(seed)
    loops, extents, moves = random_nest(random)
    low, high = random.choice((-(10**9), random.randint(-9, 5))), random.randint(-9, 9)
    band = Band(low, high, extents[0], extents[1])
    window = Window(plus=0, minus=1, band=band, governed=random.randint(0, len(loops)))
    relevant = tuple(moves[x.axis] for x in loops)

    def size(left: tuple[int, ...]) -> int:
        return 1 + prod(left[axis] for axis in sized)

    fullest: dict[tuple[int, ...], int] = {}

    def walk(depth: int, begin: list[int], left: list[int], index: tuple[int, ...]) -> None:
        if depth == window.governed and not window.holds(tuple(begin), tuple(left)):
            return
        if depth == len(loops):
            tag = tuple(i for i, wanted in zip(index, relevant, strict=True) if wanted)
            fullest[tag] = max(fullest.get(tag, 0), size(tuple(left)))
            return
        loop = loops[depth]
        for number in range(-(-left[loop.axis] // loop.stride)):
            there, rest = list(begin), list(left)
            there[loop.axis] += number * loop.stride
            rest[loop.axis] = min(loop.stride, left[loop.axis] - number * loop.stride)
            walk(depth + 1, there, rest, (*index, number))

    walk(0, [0, 0, 0], list(extents), ())
    found = windowed_distinct(loops, relevant, extents, window, size)
    assert found == sum(fullest.values())


# ------------------------------------------------------------------ counts


@pytest.mark.parametrize(("first", "count"), [(0, 5), left(0, 20), left(20, 20), left(40, 20)])
def test_counts_of_masked_attention_equal_the_walk(first: int, count: int) -> None:
    idle = 0
    for seed in range(first, first + count):
        case = masked_attention(seed)
        lowered = masked(case)
        walker = MaskedWalker(case, lowered)
        for e in lowered.einsums:
            found = counted(count_einsum(lowered, e))
            assert found == walked(walker.walk(e.einsum)), f"seed {seed}, {e.name}"
        idle += any(e.window and e.einsum.where is None for e in lowered.einsums)
    assert idle >= min(3, count // 5)


def test_a_mask_written_once_counts_as_one_that_is_repeated() -> None:
    """Windows, steps and counts of the same nest, the mask on the scores alone."""
    fewer = 0
    for seed in range(examples(60)):
        case = masked_attention(seed)
        bare = [e if e.name == "BQK" else replace(e, where=None) for e in case.program.einsums]
        once = replace(case, program=replace(case.program, einsums=tuple(bare)))
        repeated, written_once = masked(case), masked(once)
        assert written_once.steps == repeated.steps
        assert written_once.masking_notes == repeated.masking_notes
        for e, other in zip(written_once.einsums, repeated.einsums, strict=True):
            assert e.window == other.window, f"seed {seed}, {e.name}"
            found = count_einsum(written_once, e)
            assert found == count_einsum(repeated, other), f"seed {seed}, {e.name}"
            fewer += e.name == "SLNV" and found.allowed < found.points
    assert fewer >= examples(60) // 12


@pytest.mark.parametrize("first", portions(600, 150))
def test_counts_of_random_masked_cascades_equal_the_walk(first: int) -> None:
    windows = 0
    for seed in range(first, first + 150):
        case = random_case(seed)
        if all(e.where is None for e in case.program.einsums):
            continue
        lowered = masked(case)
        windows += sum(e.window is not None for e in lowered.einsums)
        walker = MaskedWalker(case, lowered)
        for e in lowered.einsums:
            found = counted(count_einsum(lowered, e))
            assert found == walked(walker.walk(e.einsum)), f"seed {seed}, {e.name}"
    assert windows > 15


def test_steps_are_the_iterations_with_points() -> None:
    fewer = 0
    for seed in range(60):
        case = masked_attention(seed)
        lowered = masked(case)
        walker = MaskedWalker(case, lowered)
        steps = walker.shared_indices()
        if any(e.window and e.einsum.where is None for e in lowered.einsums):
            live = walker.live()
            names = [loop.member for loop in lowered.nest]
            indices = [dict(zip(names, step, strict=True)) for step in steps]
            on = [at for at in indices if any(all(at[n] == i for n, i in key) for key in live)]
            assert lowered.steps == len(on), f"seed {seed}"
            fewer += len(on) < len(steps)
    assert fewer > 5


# ------------------------------------------------------------------ the proof


def masked_names(cascade: Cascade) -> list[str]:
    return [e.name for e in cascade.program.einsums if e.where is not None]


def test_one_pass_attention_is_idle_where_the_mask_is_shut() -> None:
    cascade = one_pass(MASKS[0])
    assert no_op_obstacle(cascade.program, masked_names(cascade), {"m1", "p"}) is None


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("RD[m1, p] * PRM[m1, p]", "RD[m1, p] * PRM[m1, p] * 0.5", "RD changes"),
        ("SLD[m1, p] + SPD[m1, p]", "SLD[m1, p] + SPD[m1, p] + 1", "RD changes"),
        ("max(RM[m1, p], LM[m1, p])", "max(RM[m1, p], LM[m1, p], 3)", "RM changes"),
        (
            "AV[p]           = RNV[M1, p] / RD[M1, p]",
            "AV[p] = RNV[M1, p] / RD[M1, p] * PRM[0, p]",
            "PRM later",
        ),
        ("  AV[p] ", "  N[p] = PRM[m1, p]\n  AV[p] ", "N adds something"),
    ],
)
def test_a_step_that_does_something_is_not_left_out(old: str, new: str, reason: str) -> None:
    text = ONE_PASS.replace("MASK", MASKS[0])
    assert old in text
    changed = text.replace(old, new)
    if "N[p]" in changed:
        changed = changed.replace("RNV[M1, p] / RD[M1, p]", "RNV[M1, p] / RD[M1, p] * N[p]")
    cascade = Cascade.parse(changed)
    problem = no_op_obstacle(cascade.program, masked_names(cascade), {"m1", "p"})
    assert problem is not None
    assert reason in problem


# ------------------------------------------------------------------ execution

CAUSAL = "attention-causal-1pass"


@pytest.mark.parametrize("mask", some(MASKS[:4], 2))
@pytest.mark.parametrize("shape", [left((8, 8)), (11, 7), left((5, 12))])
def test_the_nest_without_idle_tiles_gives_the_same(mask: str, shape: tuple[int, int]) -> None:
    queries, keys = shape
    text = Cascade.load(CAUSAL).text().replace("m1*M0 + m0 <= p + M - P", mask)
    cascade = Cascade.parse(text)
    rng = np.random.default_rng(queries)
    sizes = {"Q": (2, 1, queries, 3), "K": (2, 1, keys, 3), "V": (2, 1, keys, 4)}
    inputs = {name: rng.normal(size=size) for name, size in sizes.items()}
    mapping = Mapping.load("fusemax-binding", ["partition.M.M0=2", "partition.P.P0=3"])
    shapes = {"B": 2, "H": 1, "E": 3, "F": 4, "P": queries, "M": keys}
    lowered = bind(cascade.program, mapping, Architecture.load("fusemax"), shapes)
    whole = bind_loops(
        cascade.program, lowered.mapping, Architecture.load("fusemax"), lowered.tiling
    )
    assert lowered.steps < whole.steps
    found = execute_mapped(lowered, inputs)["AV"]
    expected = cascade.evaluate(inputs, M0=2)["AV"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ------------------------------------------------------------------ what a user sees

CAUSAL = "attention-causal-1pass"


def masked_mapping(cascade: str) -> Mapping:
    return replace(Mapping.load("fusemax-binding"), cascade=cascade, name="masked")


def test_causal_attention_runs_the_lower_triangle_of_tiles() -> None:
    machine = Architecture.load("fusemax")
    for tiles in (4, 16, 64):
        work = load("bert-base", seq_len=256 * tiles)
        whole = simulate(work, machine, Mapping.load("fusemax-binding"))
        result = simulate(work, machine, masked_mapping(CAUSAL), approximate=True)
        assert result.schedule.steps == whole.schedule.steps * (tiles + 1) // (2 * tiles)
        assert result.cycles < whole.cycles
        assert any("are skipped" in n for n in result.notes)


def test_a_window_costs_the_same_per_token_at_any_length() -> None:
    machine, mapping = (
        Architecture.load("fusemax"),
        masked_mapping("attention-sliding-window-1pass"),
    )
    per_token = []
    for tokens in (2**14, 2**16):
        work = load("bert-base", seq_len=tokens, W=1024)
        result = simulate(work, machine, mapping, approximate=True)
        assert "W = 1024" in result.notes
        # A window of four tiles touches five; the first queries have less before them.
        assert result.schedule.steps == 64 * 12 * (tokens // 256 * 5 - 10)
        per_token.append(result.cycles / tokens)
    assert per_token[0] == pytest.approx(per_token[1], rel=0.03)


def test_a_mask_that_is_no_band_is_run_whole_and_says_so() -> None:
    text = Cascade.load(CAUSAL).text().replace("<= p + M - P", "!= p")
    cascade = Cascade.parse(text)
    shapes = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 512, "M": 512}
    mapping = masked_mapping(cascade.name)
    lowered = bind(cascade.program, mapping, Architecture.load("fusemax"), shapes)
    assert lowered.steps == 4
    assert all(e.window is None for e in lowered.einsums)
    assert "no band" in lowered.masking_notes[0]


def test_a_window_along_all_of_a_rank_that_has_parts_is_a_band() -> None:
    """Blocks of keys are summed up, and each query sees a window of single keys."""
    text = """
cascade: window
ranks: {P: queries, M: {is: keys, partition: [N, U]}}
inputs: {Q: [P], K: [M]}
output: O
einsums: |
  KS[n]   = K[n*U + u]
  X[p, m] = Q[p] * K[m] where p + M - P - 40 < m and m <= p + M - P
  Y[p]    = X[p, m]
  O[p]    = Y[p] * KS[n]
"""
    plain = text.replace("{is: keys, partition: [N, U]}", "keys, N: blocks, U: in one")
    plain = plain.replace("K: [M]", "K: [M], L: [N, U]").replace("K[n*U + u]", "L[n, u]")
    machine, shapes = Architecture.load("fusemax"), {"P": 1024, "M": 1024, "N": 64, "U": 16}
    found = {}
    for written in (text, plain):
        program = Cascade.parse(written).program
        given = {r: n for r, n in shapes.items() if written is plain or r != "N"}
        lowered = bind(program, einsum_by_einsum(program, machine, given), machine, given)
        assert not lowered.masking_notes
        found[written] = [counted(count_einsum(lowered, lowered.by_name[n])) for n in "XY"]
    assert found[text] == found[plain]
    # Of 16 tiles the four on the diagonal and, for the window, the three below it.
    assert lowered.by_name["X"].iterations == 7


def test_masks_that_differ_leave_the_unmasked_einsums_alone() -> None:
    text = Cascade.load(CAUSAL).text()
    line = next(x for x in text.splitlines() if x.strip().startswith("SLNV"))
    cascade = Cascade.parse(text.replace(line, line.replace("<= p + M - P", "<= p + M - P - 1")))
    shapes = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 1024, "M": 1024}
    mapping = masked_mapping(cascade.name)
    lowered = bind(cascade.program, mapping, Architecture.load("fusemax"), shapes)
    assert lowered.steps == 16
    assert "different masks" in lowered.masking_notes[0]
    count = {e.name: e.iterations for e in lowered.einsums}
    assert count["LM"] == 10
    assert count["RM"] == 16


def test_a_mask_without_its_number_is_refused() -> None:
    text = Cascade.load("attention-sliding-window-1pass").text()
    cascade = Cascade.parse(text.replace("parameters: {W: 5}", "parameters: [W]"))
    shapes = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 512, "M": 512}
    mapping = masked_mapping(cascade.name)
    lowered = bind(cascade.program, mapping, Architecture.load("fusemax"), shapes)
    with pytest.raises(InputError, match="needs a number for W"):
        count_einsum(lowered, lowered.einsums[0])
