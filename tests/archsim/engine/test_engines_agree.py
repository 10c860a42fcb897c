"""One answer: both engines run the real steps of any mapping, on any machine, at every size."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import product
from random import Random

import pytest
from bound_cases import bound, untimed
from evaluated import evaluate_mapping
from nest_cases import random_case
from portions import examples, left, portions, some

from archsim import Architecture, Mapping, Result, simulate
from archsim.counts.accesses import count_einsum
from archsim.counts.spill import count_mapping
from archsim.engine.latency import time_bound, time_events
from archsim.engine.timing import time_average
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.nest.record import Bound
from archsim.plan.selection import mapping_called
from archsim.spec.index import builtin_mappings
from archsim.spec.mapping import EINSUM_BY_EINSUM
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.yaml.library import builtin_names
from mappers.construct.choices import choose
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from workloads import load

WIDTHS = {
    "B": 16,
    "H": 16,
    "G": 8,
    "S": 4,
    "E": 64,
    "F": 64,
    "D": 512,
    "J": 1024,
    "C": 2560,
    "N": 16,
    "R": 64,
    "L": 512,
    "T": 4,
    "W": 1024,
}
MACHINES = ("fusemax", "flat")


def shapes(program: Program, tokens: int) -> list[dict[str, int]]:
    """Ranks of a cascade, tokens long: whole sequences, few and many, and one token after."""
    lengths = {"P": tokens, "M": tokens} if "P" in program.settable else {"N": tokens}
    if "C" in program.settable:
        lengths = {"P": tokens, "M": tokens}
    fixed = {r.name for r in program.ranks if r.shape is not None}
    given = {
        r: n for r, n in (WIDTHS | lengths).items() if r in program.settable and r not in fixed
    }
    if {"H", "S"} <= given.keys():
        del given["G"]  # H heads in groups of S
    batches = [given | {"B": b} for b in (1, 16)] if "B" in given else [given]
    return [*batches, *([given | {"P": 1}] if {"P", "M"} <= given.keys() else [])]


def runs(name: str, program: Program) -> list[list[dict[str, int]]]:
    """A length that tiles divide, one that ends in a sliver, and one drawn for the mapping.

    The first ranks to try of each are others than those of the last one, and from mapping to
    mapping they change places.
    """
    random = Random(name)
    first = random.randrange(3)
    found = []
    for i, tokens in enumerate((random.randrange(1, 400), 4099, random.randrange(400, 12000))):
        given = shapes(program, tokens)
        turn = (first + i) % len(given)
        found.append([*given[turn:], *given[:turn]])
    return found


def agree(one: Result, event: Result) -> None:
    assert one.schedule.timed_by == "steps"
    assert event.latency_s == one.latency_s
    assert untimed(event) == untimed(one)


@pytest.mark.parametrize("name", some(builtin_names("mappings"), 16))
def test_engines_agree(name: str) -> None:
    mapping = Mapping.load(name)
    program = Cascade.load(mapping.cascade).program
    ran = 0
    (own,) = (e.machine for e in builtin_mappings() if e.name == name)
    machines = [Architecture.load(m) for m in ((own,) if own else MACHINES)]
    evaluate = partial(evaluate_mapping, program, mapping, choose=choose)
    for number, alternatives in enumerate(runs(name, program)):
        # Each length on one of the machines, and on the other where it does not run on that.
        turn = (*machines[number % 2 :], *machines[: number % 2])
        for machine, given in product(turn, alternatives):
            try:
                one = evaluate(machine, given)
            except (MappingError, SpecError):
                continue  # not on this machine, or no cascade for one token
            agree(one, evaluate(machine, given, engine="event"))
            ran += 1
            break
    assert ran >= 2


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("tokens", [left(130), left(4096), 6151])
def test_engines_agree_einsum_by_einsum(tokens: int, machine: str) -> None:
    architecture = Architecture.load(machine)
    for cascade in ("attention-3pass", "linear-attention", "linear-layer"):
        program = Cascade.load(cascade).program
        for given in shapes(program, tokens):
            mapping = einsum_by_einsum(program, architecture, given)
            average = evaluate_mapping(program, mapping, architecture, given)
            event = evaluate_mapping(program, mapping, architecture, given, engine="event")
            agree(average, event)


# ------------------------------------------------------------------ what an average hides


def bert(mapping: str, machine: str, tokens: int, **ranks: int) -> Bound:
    how = Mapping.load(mapping)
    given = {"B": 64, "H": 12, "E": 64, "F": 64, "M": tokens, "P": tokens} | ranks
    program = Cascade.load(how.cascade).program
    return bind(program, how, Architecture.load(machine), given, choose=choose)


@pytest.mark.parametrize(
    "mapping", ["fusemax-binding", "fusemax-arch", "fusemax-cascade", "fusemax-causal", "flat"]
)
@pytest.mark.parametrize("tokens", [4096, 16384])
def test_an_average_step_is_a_cross_check_of_even_ones(mapping: str, tokens: int) -> None:
    lowered = bert(mapping, "fusemax", tokens)
    counts = count_mapping(lowered)
    average, timing = time_average(lowered, counts), time_bound(lowered, counts, "analytical")
    assert timing.timed_by == "steps"
    assert abs(timing.cycles / average.cycles - 1) <= Fraction(1, 10**4)


@pytest.mark.parametrize(
    ("mapping", "machine", "tokens", "ranks", "off"),
    [
        # The last tiles of keys and of queries move little, and wait for reductions.
        ("unfused", "flat", 4099, {"B": 1, "H": 2}, (0.01, 0.03)),
        # Three queries of a head cost as much DRAM as a tile of them.
        ("flat", "flat", 4099, {"B": 1, "H": 2}, (0.003, 0.01)),
        # Loads and drains share a task in the average step.
        ("linear-attention-by-head", "flat", 4099, {"H": 16}, (-0.03, -0.01)),
        # AV's burst holds the 1D array up for more than a step.
        ("fusemax-causal", "fusemax", 4099, {"B": 1, "E": 192, "F": 128}, (0.001, 0.1)),
        # One query a head: a handful of steps.
        ("fusemax-binding", "fusemax", 4097, {"B": 1, "P": 1}, (0.001, 0.01)),
    ],
)
def test_uneven_steps_are_not_averaged(
    mapping: str, machine: str, tokens: int, ranks: dict[str, int], off: tuple[float, float]
) -> None:
    lowered = bert(mapping, machine, tokens, **ranks)
    counts = count_mapping(lowered)
    average, timing = time_average(lowered, counts), time_bound(lowered, counts, "analytical")
    assert off[0] < float(timing.cycles / average.cycles) - 1 < off[1]
    assert timing.cycles == time_events(lowered, counts, jumping=False).timing.cycles
    assert timing.fill_drain >= 0


@pytest.mark.parametrize("einsums", ["linear-layer", "linear-layer-swiglu"])
def test_groups_in_turn_are_one_step_however_many_they_are(einsums: str) -> None:
    """The steps of one Einsum by itself are no steps of the shared nest, which has none."""
    program, machine = Cascade.load(einsums).program, Architecture.load("fusemax")
    given = {"N": 8, "D": 512, "J": 768}
    mapping = einsum_by_einsum(program, machine, given)
    schedule = evaluate_mapping(program, mapping, machine, given).schedule
    assert (schedule.steps, schedule.fill_drain_cycles) == (1, 0)
    assert schedule.period_cycles > 0


@pytest.mark.parametrize("engine", ["analytical", "event"])
def test_a_run_that_cannot_be_told_step_by_step_is_averaged_and_says_so(engine: str) -> None:
    """2^40 tokens and some are too many for whole numbers of cycles."""
    lowered = bert("flat", "flat", 2**40 + 3)
    counts = count_mapping(lowered)
    timing = time_bound(lowered, counts, engine)
    assert timing.cycles == time_average(lowered, counts).cycles
    assert timing.timed_by == "average"
    assert any("too long for the whole numbers" in note for note in timing.notes)


def test_a_band_of_too_many_unlike_steps_is_averaged() -> None:
    """Tiles of 7 and 11 along a diagonal of a million tokens are unlike in too many places."""
    machine = Architecture.load("fusemax", ODD)
    program = Cascade.load("gla-parallel").program
    given = {"B": 1, "H": 1, "E": 16, "F": 16, "P": 2**17, "M": 2**17}
    lowered = bind(program, einsum_by_einsum(program, machine, given), machine, given)
    timing = time_bound(lowered, count_mapping(lowered), "analytical")
    assert timing.timed_by == "average"
    assert any("too unlike" in note for note in timing.notes)


# ------------------------------------------------------------------ anywhere

ODD = (
    "arrays.array_2d.shape.rows=7",
    "arrays.array_2d.shape.columns=11",
    "arrays.array_1d.shape.lanes=13",
    "memories.DRAM.bandwidth=3 GB/s",
)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_every_cascade_runs_step_by_step_on_a_machine_of_odd_sizes(number: int) -> None:
    machine = Architecture.load("fusemax", ODD)
    ran = 0
    for name in builtin_names("cascades")[number::4]:
        work = load("bert-base", cascade=name, seq_len=37, batch=2)
        mapping = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
        try:
            result = simulate(work, machine, mapping)
        except SpecError:  # its usual sizes are larger than these
            continue
        ran += 1
        assert result.schedule.timed_by == "steps", name
        assert result.latency_s >= max(result.bounds.compute_s, result.bounds.bandwidth_s) * (
            1 - 1e-9
        )
        assert result.schedule.fill_drain_cycles >= 0
    assert ran > 20


@pytest.mark.parametrize("first", portions(200, 100))
def test_no_random_mapping_is_averaged_only_or_refused_only(first: int) -> None:
    """Whatever an average step answers, the real ones do, but for a few that say why."""
    averaged = ran = 0
    for seed in range(first, first + examples(100)):
        lowered = bound(random_case(seed))
        if illegalities(lowered):
            continue
        counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
        try:
            average = time_average(lowered, counts)
        except MappingError:
            with pytest.raises(MappingError):
                time_bound(lowered, counts, "analytical")
            continue
        if not average.cycles:
            continue
        timing = time_bound(lowered, counts, "analytical")
        assert timing.cycles == time_bound(lowered, counts, "event").cycles
        averaged += timing.timed_by == "average"
        ran += 1
    assert ran > examples(30)
    assert averaged <= ran / 20
