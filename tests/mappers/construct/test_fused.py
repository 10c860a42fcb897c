"""The mapping whose Einsums share loops: legal, computes the same, and near the floor."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from random import Random
from typing import Final

import pytest
from evaluated import evaluate_mapping
from machines import small
from portions import left

from archsim import Architecture, Mapping, simulate
from archsim.legality.binding import bind
from archsim.spec.arch import Architecture as Machine
from archsim.spec.files.mapping_text import mapping_text
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, NoLegalMappingError
from einsum_cascade.yaml.library import builtin_names
from mappers.construct import policy
from mappers.construct.fused import fused
from mappers.construct.fused_tiles import shared_out
from mappers.construct.generators import GENERATORS
from mappers.memory import VARIABLE
from workloads import load
from workloads.references import find_reference

QUICK: Final = ("attention-3pass", "gla-recurrent", "recycled-attention")
"""One cascade of each kind: passes, steps, gathers; test_fused_inward has values of the step
before."""

LONG: Final = ("agent-attention",)
"""Runs for minutes, value by value, at the smallest shapes that it draws."""


def shapes_of(cascade: Cascade) -> dict[str, int]:
    """A few coordinates of ranks that the cascade cuts, so that parts are ragged."""
    return {r.name: 5 for r in cascade.program.ranks if r.partition and not r.like}


def with_buffer(machine: Machine, capacity_bytes: int | None) -> Machine:
    outer, buffer = machine.memories
    return replace(machine, memories=(outer, replace(buffer, capacity_bytes=capacity_bytes)))


@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in builtin_names("cascades")
            if name not in (*QUICK, *LONG)
        ),
    ],
)
@pytest.mark.parametrize("capacity", [None, left(3000)])
def test_every_cascade_computes_the_same(name: str, capacity: int | None) -> None:
    """The mapped nest agrees with the independent reference, also where next to nothing fits."""
    cascade = Cascade.load(name)
    reference = find_reference(cascade.program.reference)
    machine = with_buffer(small((4, 2), 3), capacity)
    how = mapped_run(cascade, GENERATORS.fuse, machine, GENERATORS)
    try:
        report = validate_cascade(
            cascade, reference=reference, shapes=shapes_of(cascade), trials=1, run=how
        )
    except NoLegalMappingError:
        return
    assert report.ok, report


@pytest.mark.parametrize(
    ("cascade", "times"),
    [
        ("attention-t5-bias-1pass", 1.3),
        pytest.param("rwkv-6-recurrent", 2, marks=pytest.mark.slow),
        pytest.param("forgetting-attention-1pass", 1.5, marks=pytest.mark.slow),
        pytest.param("kimi-delta-attention", 3, marks=pytest.mark.slow),
        pytest.param("kimi-delta-attention-chunked", 3, marks=pytest.mark.slow),
    ],
)
def test_it_is_near_the_floor_where_one_after_the_other_is_not(cascade: str, times: float) -> None:
    machine = Architecture.load("fusemax")
    work = load("xlm", cascade=cascade, batch=1, seq_len=2048, H=16)
    found = simulate(work, machine, "fused")
    plain = simulate(work, machine, "einsum-by-einsum")
    assert found.over_floor < times < plain.over_floor / 3
    # Intermediates do not pass through the outermost memory.
    assert found.traffic[0].total_bytes < plain.traffic[0].total_bytes / 3


@pytest.mark.slow
def test_heads_beside_one_another_fill_arrays_that_a_step_leaves_idle() -> None:
    """16 heads of width 64 on 1,024 lanes: all of them at once, or 64 lanes at work."""
    work = load("xlm", cascade="ssd-chunked", batch=1, seq_len=256, H=16, E=64, F=64)
    assert simulate(work, "tpu-v4i", "fused").over_floor < 1.5  # 2.8 with one head at a time


@pytest.mark.slow
def test_parts_are_as_short_as_leave_least_to_do() -> None:
    """Decays of all channels for all pairs of a part are most of the work: of parts of 4 it is half
    as much as of parts of 8, which took 3.6 times the floor."""
    assert simulate("rwkv-7", "fusemax", "fused").over_floor < 1.5


@pytest.mark.slow
def test_tiles_of_two_ranks_are_gone_round_one_by_one_where_no_more_fit() -> None:
    """Gradients of causal attention, a tile of queries by a tile of keys at a time: scores went
    through the outermost memory, and by default it took 7.7 times the floor."""
    found = simulate("attention-backward", "a100-80gb")
    assert found.mapping == "fused"
    assert found.over_floor < 4


def test_arrays_that_are_as_fast_as_one_another_share_the_work() -> None:
    """All Einsums were on the first of them, which took twice the floor."""
    work = load("bert-base", B=1, H=1, seq_len=128)
    found = simulate(work, small((8, 8), 64), "fused")
    assert found.over_floor < 1.7
    one, other = found.arrays
    assert 0.8 < one.busy_cycles / other.busy_cycles < 1.25


def test_ranks_are_cut_for_arrays_whose_sides_do_not_divide_one_another() -> None:
    """Cut at 3 and at 6 for 7 x 5 elements beside 3 lanes they took 1.9 times the floor."""
    work = load("bert-base", cascade="attention-3pass", B=1, H=2, seq_len=211, E=24, F=40)
    assert simulate(work, small((7, 5), 3), "fused").over_floor < 1.3


@pytest.mark.parametrize("seed", range(20))
def test_no_move_and_no_exchange_leaves_the_busiest_less(seed: int) -> None:
    random = Random(seed)
    work = {
        f"E{n}": {a: Fraction(random.randint(1, 30)) for a in random.sample("abc", 3 - n % 2)}
        for n in range(6)
    }

    def busiest(arrays: dict[str, str]) -> Fraction:
        return max(sum(work[e][a] for e, a in arrays.items() if a == on) for on in "abc")

    first = {e: min(able, key=lambda a, able=able: able[a]) for e, able in work.items()}
    found = shared_out(work, first)
    every = [dict(zip(work, on, strict=True)) for on in product(*work.values())]
    near = [a for a in every if sum(a[e] != found[e] for e in work) <= 1]
    assert busiest(found) == min(map(busiest, near)) <= busiest(first)
    assert busiest(found) <= 1.5 * min(map(busiest, every))


def test_what_does_not_fit_at_all_is_refused() -> None:
    cascade = Cascade.load("attention-3pass")
    machine = with_buffer(Architecture.load("fusemax"), 64)
    given = {"B": 1, "H": 1, "E": 64, "F": 64, "P": 64, "M": 64}
    with pytest.raises(NoLegalMappingError, match="no tiles of fused loops fit the memories"):
        fused(cascade.program, machine, given)


def test_blocks_are_narrower_than_an_array_where_no_wider_ones_fit() -> None:
    cascade = Cascade.load("attention-3pass")
    machine = with_buffer(small((32, 32), 32), 1500)
    given = {"B": 1, "H": 1, "E": 3, "F": 2, "P": 40, "M": 9}
    found = fused(cascade.program, machine, given)
    assert [(t.member, t.size) for t in found.tiles] == [("P1", 2), ("P0", 16)]
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=given,
        trials=1,
        run=mapped_run(cascade, GENERATORS.fuse, machine, GENERATORS),
    )
    assert report.ok, report


def test_by_default_a_wider_array_is_no_slower() -> None:
    """Tiles as wide as it is do not fit the buffer: it was slower than one a quarter as wide."""
    arrays = ("array_2d.shape.rows", "array_2d.shape.columns", "array_1d.shape.lanes")
    settings = ["batch=1", "seq_len=1K", "cascade=attention-3pass"]
    settings += ["architecture.memories.global_buffer.capacity=1 MiB"]
    times = [
        simulate(
            "bert-base",
            "fusemax",
            settings=[*settings, *(f"architecture.arrays.{a}={side}" for a in arrays)],
        ).latency_s
        for side in (64, 256)
    ]
    assert times[1] < times[0] / 2


def test_the_engines_agree_on_it() -> None:
    cascade, machine = Cascade.load("kimi-delta-attention"), Architecture.load("fusemax")
    given = {"B": 1, "H": 4, "E": 64, "F": 64, "P": 300}
    how = fused(cascade.program, machine, given)
    cycles = [
        evaluate_mapping(cascade.program, how, machine, given, engine=engine).cycles
        for engine in ("analytical", "event")
    ]
    assert cycles[0] == pytest.approx(cycles[1], rel=1e-3)


def test_the_default_says_what_it_is() -> None:
    work = load("xlm", cascade="forgetting-attention", batch=1, seq_len=1024)
    found = simulate(work, Architecture.load("fusemax"))
    assert found.mapping == "beam"
    assert any("generated mapping: the best that a short search finds" in n for n in found.notes)


REVERSED = """
cascade: reversed
ranks: {P: steps, C: {is: steps from the end, like: P}, E: width}
inputs: {X: [P, E]}
output: Y
init: |
  S[0, e] = 0
einsums: |
  Z[p, e]   = exp(X[p, e])
  S[c+1, e] = S[c, e] * 0.5 + Z[P-1-c, e]
  Y[p, e]   = Z[p, e] * S[P-1-p, e]
"""
TURNS = """
cascade: turns
ranks: {N: steps, U: width, V: {is: width before, like: U}}
inputs: {X: [N, U], W: [U, V]}
output: Y
init: |
  H[0, u] = 0
einsums: |
  R[n, u]   = H[n, v] * W[u, v]
  H[n+1, u] = tanh(X[n, u] + R[n, u])
  Y[n, u]   = H[n+1, u]
"""
WITHIN = """
mapping:
  name: own
  cascade: {cascade}
  nest: [{{level: DRAM, loops: [{loops}]}}]
  einsums:
{einsums}
  keep: {{DRAM: [{tensors}], global_buffer: [{tensors}]}}
"""


@pytest.mark.parametrize(
    ("cascade", "loops", "einsums", "why"),
    [
        (
            REVERSED,
            "P",
            """
    Z: {array: array_1d, spatial: {lanes: E}}
    S: {array: array_1d, spatial: {lanes: E}, loops: {DRAM: C}, outside: P}
    Y: {array: array_1d, spatial: {lanes: E}}
""",
            "Y runs inside the shared loop P, but needs Z, which is complete only after P",
        ),
        (
            TURNS,
            "V, N",
            """
    R: {array: array_2d, spatial: {columns: U}}
    H: {array: array_1d, spatial: {lanes: U}, loops: {DRAM: N}, outside: [V, N]}
    Y: {array: array_1d, spatial: {lanes: U}, loops: {DRAM: N}, outside: [V, N]}
""",
            "they take turns at every N, which must be a loop they share",
        ),
    ],
)
def test_loops_that_would_be_gone_round_too_early_are_refused(
    cascade: str, loops: str, einsums: str, why: str, tmp_path: Path
) -> None:
    """Both were taken before, and gave wrong results in a mapped run."""
    program = Cascade.parse(cascade).program
    names = program.tensors
    file, own = tmp_path / "own.yaml", tmp_path / "cascade.yaml"
    own.write_text(cascade, encoding="utf-8")
    file.write_text(
        WITHIN.format(
            cascade=own, loops=loops, einsums=einsums.strip("\n"), tensors=", ".join(names)
        ),
        encoding="utf-8",
    )
    given = {r.name: 4 for r in program.ranks}
    with pytest.raises(MappingError, match=re.escape(why)):
        bind(program, Mapping.load(file), Architecture.load("fusemax"), given)


def test_what_took_long_is_kept_from_one_run_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(policy, "REMEMBER_AFTER_S", 0.0)
    machine, program = Architecture.load("fusemax"), Cascade.load("attention-3pass").program
    shapes = {"B": 1, "H": 2, "E": 16, "F": 16, "P": 64, "M": 64}
    made = GENERATORS.fuse(program, machine, shapes)
    kept = [*tmp_path.rglob("*.yaml")]
    assert len(kept) == 1
    again = GENERATORS.fuse(program, machine, shapes)
    assert mapping_text(again) == mapping_text(made)
    assert again.einsums[0].span is not None, "as it was written down"
    assert again.source == made.source == "", "made, not written by anybody"
    # Another length is another question.
    GENERATORS.fuse(program, machine, shapes | {"P": 32})
    assert len([*tmp_path.rglob("*.yaml")]) == 2
