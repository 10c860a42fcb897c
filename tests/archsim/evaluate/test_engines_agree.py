"""Both engines say the same of every shipped mapping: latency within 0.1%, the rest exactly."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import product
from random import Random

import pytest
from bound_cases import untimed

from archsim import Architecture, Mapping, Result
from archsim.bound.binding import bind
from archsim.bound.record import Bound
from archsim.cost.spill import count_mapping
from archsim.evaluate.evaluate import evaluate_mapping
from archsim.evaluate.steady_state import ALIKE, LONG, spread, time_closely
from archsim.events.engine import time_events
from archsim.schedule.kinds import exact_walks, time_mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.yaml.library import builtin_names
from mappers.choices.choose import choose
from mappers.einsum_by_einsum import einsum_by_einsum

CLOSE = 1e-3
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
    given = {r: n for r, n in (WIDTHS | lengths).items() if r in program.settable}
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
    for i, tokens in enumerate((4096, 4099, random.randrange(4096, 12000))):
        given = shapes(program, tokens)
        turn = (first + i) % len(given)
        found.append([*given[turn:], *given[:turn]])
    return found


def agree(average: Result, event: Result) -> None:
    if max(size for _, size in average.shape) >= LONG:
        assert event.latency_s == pytest.approx(average.latency_s, rel=CLOSE)
    else:
        # One token of a recurrence: a few steps between fill and drain.
        assert event.latency_s == pytest.approx(average.latency_s, rel=0.5)
    assert untimed(event) == untimed(average)


@pytest.mark.parametrize("name", builtin_names("mappings"))
def test_engines_agree(name: str) -> None:
    mapping = Mapping.load(name)
    program = Cascade.load(mapping.cascade).program
    ran = 0
    machines = [Architecture.load(m) for m in MACHINES]
    evaluate = partial(evaluate_mapping, program, mapping, choose=choose)
    for alternatives, machine in product(runs(name, program), machines):
        for given in alternatives:
            try:
                average = evaluate(machine, given)
            except (MappingError, SpecError):
                continue  # not on this machine, or no cascade for one token
            agree(average, evaluate(machine, given, engine="event"))
            ran += 1
            break
    assert ran >= 2


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("tokens", [4096, 4099, 6151])
def test_engines_agree_einsum_by_einsum(tokens: int, machine: str) -> None:
    architecture = Architecture.load(machine)
    for cascade in ("attention-3pass", "linear-attention", "linear-layer"):
        program = Cascade.load(cascade).program
        for given in shapes(program, tokens):
            mapping = einsum_by_einsum(program, architecture, given)
            average = evaluate_mapping(program, mapping, architecture, given)
            event = evaluate_mapping(program, mapping, architecture, given, engine="event")
            agree(average, event)


# ------------------------------------------------------------------ when an average stands


def bert(mapping: str, machine: str, tokens: int, **ranks: int) -> Bound:
    how = Mapping.load(mapping)
    given = {"B": 64, "H": 12, "E": 64, "F": 64, "M": tokens, "P": tokens} | ranks
    program = Cascade.load(how.cascade).program
    return bind(program, how, Architecture.load(machine), given, choose=choose)


@pytest.mark.parametrize(
    "mapping", ["fusemax-binding", "fusemax-arch", "fusemax-cascade", "fusemax-causal", "flat"]
)
@pytest.mark.parametrize("tokens", [4096, 16384])
def test_even_steps_are_averaged(mapping: str, tokens: int) -> None:
    lowered = bert(mapping, "fusemax", tokens)
    counts = count_mapping(lowered)
    timing = time_closely(lowered, counts)
    assert timing == time_mapping(lowered, counts)
    event = time_events(lowered, counts).timing.cycles
    assert abs(event / timing.cycles - 1) <= Fraction(1, 10**4)


@pytest.mark.parametrize(
    ("mapping", "machine", "tokens", "ranks", "off"),
    [
        # The last tiles of keys and of queries move little, and wait for reductions.
        ("unfused", "flat", 4099, {}, (0.01, 0.03)),
        # Three queries of a head cost as much DRAM as a tile of them.
        ("flat", "flat", 4099, {}, (0.003, 0.01)),
        # Loads and drains share a task in the average step.
        ("linear-attention-by-head", "flat", 4099, {"H": 16}, (-0.03, -0.01)),
        # AV's burst holds the 1D array up for more than a step.
        ("fusemax-causal", "fusemax", 4099, {"B": 1, "E": 192, "F": 128}, (0.001, 0.1)),
        # One query a head: a handful of steps.
        ("fusemax-binding", "fusemax", 4097, {"B": 1, "P": 1}, (0.001, 0.01)),
    ],
)
def test_uneven_steps_are_run(
    mapping: str, machine: str, tokens: int, ranks: dict[str, int], off: tuple[float, float]
) -> None:
    """The average alone would be off; what is told is the real run, and says so."""
    lowered = bert(mapping, machine, tokens, **ranks)
    counts = count_mapping(lowered)
    average, timing = time_mapping(lowered, counts), time_closely(lowered, counts)
    event = time_events(lowered, counts).timing
    assert off[0] < float(event.cycles / average.cycles) - 1 < off[1]
    assert timing.cycles == event.cycles
    assert timing.bound_by == average.bound_by
    assert timing.fill_drain >= 0
    assert any("each was run as it is" in note for note in timing.notes)


def test_what_an_average_hides_is_measured_by_hand() -> None:
    """FLAT's last tile has 3 queries of 256; DRAM brings a tile's keys for them alike."""
    lowered = bert("flat", "flat", 4099)
    counts = count_mapping(lowered)
    walks = exact_walks(lowered, counts)
    average = time_mapping(lowered, counts)
    found = spread(lowered, walks, average)
    assert found.least == 85 * 4099 * 768
    assert found.light == 0
    assert found.ends == average.cycles - found.least
    assert found.uneven > ALIKE * found.least
    # Three steps a head, each about 790 cycles of DRAM beside 85 of the 1D array.
    assert float(found.uneven) == pytest.approx(3 * 768 * (790.6 - 85), rel=1e-3)


def test_a_run_that_is_refused_step_by_step_is_averaged() -> None:
    """2^40 tokens and some are too many for whole numbers of cycles."""
    lowered = bert("flat", "flat", 2**40 + 3)
    counts = count_mapping(lowered)
    timing = time_closely(lowered, counts)
    assert timing.cycles == time_mapping(lowered, counts).cycles
