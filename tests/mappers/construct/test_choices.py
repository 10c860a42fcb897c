"""Open choices: the cheapest legal combination, of equals the first, by trying all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from portions import portions

from archsim import Architecture, Mapping, simulate
from archsim.counts.occupancy import busy_cycles
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.spec.mapping import ChoiceObjective
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, NoLegalMappingError
from einsum_cascade.yaml.library import builtin_source
from mappers.construct.choices import candidates, choose
from workloads import load

PROGRAM = Cascade.load("attention-3pass").program


def roofline(lowered: Bound, objective: ChoiceObjective) -> Fraction:
    """The objective of FLAT's mapping, from the counts of the whole mapping."""
    machine = lowered.architecture
    counts = [c for c in count_mapping(lowered) if c.einsum in objective.latency_of]
    work = sum(busy_cycles(lowered, e) for e in lowered.einsums if e.name in objective.latency_of)
    starts = Fraction(0)
    for e in lowered.einsums:
        runs = 1
        for loop in lowered.nest:
            if loop.level == 0 and loop.member in {x.member for x in e.shared}:
                runs *= loop.bound
        starts += dict(objective.start_cycles).get(e.name, 0) * runs
    rate = machine.memories[0].bandwidth_bytes_per_s
    assert rate is not None
    per_word = machine.word_bytes * machine.clock_hz / rate
    moved = sum(a.reads + a.writes for c in counts for a in c.accesses if a.place == "DRAM")
    first = 0
    for _, factors in objective.first_tiles:
        size = 1
        for factor in factors:
            size *= factor if isinstance(factor, int) else lowered.tiling.bounds[factor]
        first += size
    return max(work + first * per_word, moved * per_word) + starts


@pytest.mark.parametrize("seed", portions(6, 1, quick=2))
def test_the_first_of_the_cheapest(seed: int) -> None:
    """On random shapes and machines, with some choices pinned, every candidate is bound."""
    random = Random(seed)
    array = random.choice((16, 32, 64))
    machine = Architecture.load(
        "flat-micro24",
        (
            f"arrays.array_2d.shape.rows={array}",
            f"arrays.array_2d.shape.columns={array}",
            f"arrays.array_1d.shape.lanes={array}",
            f"memories.global_buffer.capacity={random.randint(2**12, 2**18)} B",
            f"memories.DRAM.bandwidth={2 ** random.randint(28, 36)} B/s",
        ),
    )
    shapes = {"B": 2, "H": 3, "E": random.randint(1, 100), "F": random.randint(1, 100)}
    shapes |= {r: random.randint(1, 12) * array + random.choice((0, 0, 3)) for r in "PM"}
    pinned = random.sample(("Q", "K", "V", "AV"), 2)
    pins = [f"choices.{name}={random.choice(('streamed', 'buffered'))}" for name in pinned]
    mapping = Mapping.load("flat", pins)
    found: list[tuple[Fraction, int, tuple[tuple[str, str], ...]]] = []
    for number, candidate in enumerate(candidates(mapping)):
        try:
            lowered = bind(PROGRAM, candidate.mapping, machine, shapes)
        except MappingError:
            continue
        found.append((roofline(lowered, candidate.objective), number, candidate.chosen))
    assert len(found) > 30
    assert bind(PROGRAM, mapping, machine, shapes, choose=choose).mapping.chosen == min(found)[2]


def test_pinned_choices_are_taken() -> None:
    work, machine = load("bert-base", seq_len=65536), Architecture.load("flat-micro24")
    free = simulate(work, machine, Mapping.load("flat"))
    pinned = simulate(
        work, machine, Mapping.load("flat", ["choices.granularity=row", "choices.rows=four"])
    )
    assert dict(free.tiles)["P1"] == 1
    assert dict(pinned.tiles)["P1"] == 4
    assert any("granularity row, rows four" in note for note in pinned.notes)


def test_what_is_chosen_is_a_mapping_without_choices() -> None:
    """Tiles that cases add stand with those of their rank, and nothing is left to minimise."""
    for candidate in candidates(Mapping.load("flat")):
        found = candidate.mapping
        assert [t.member for t in found.tiles] == ["M0", "P0", "P1", "E0", "F0"]
        assert (found.choices, found.cases, found.objective) == ((), (), None)


def test_each_combination_that_differs_is_tried_once() -> None:
    mapping = Mapping.load("flat")
    found = list(candidates(mapping))
    # Five tensors in two places, two stationarities, and a head or three numbers of rows.
    assert len(found) == 2**5 * 2 * (1 + 3)
    assert len({c.active for c in found}) == len(found)
    assert all("rows" not in dict(c.chosen) for c in found if ("granularity", "head") in c.chosen)


def test_choices_beside_tiles_that_are_fitted(tmp_path: Path) -> None:
    """Keys that do not fit are read least often with as many query tiles as fit."""
    more = """  choices: {together: [one, most]}
  objective: {latency_of: [QK, AV]}
  cases:
    - {when: {together: one}, partition: {P: {P1: 1}}}
    - {when: {together: most}, partition: {P: {P1: fit}}}
"""
    file = tmp_path / "mapping.yaml"
    file.write_text(builtin_source("mappings", "unfused").text + more)
    work, machine = load("bert-base", seq_len=2**18), Architecture.load("flat-micro24")
    result = simulate(work, machine, Mapping.load(file))
    assert dict(result.tiles)["P1"] == 512
    assert "chosen by the mapping's objective: together most" in result.notes
    slow = simulate(work, machine, Mapping.load(file, ["choices.together=one"]))
    assert dict(slow.tiles)["P1"] == 1
    assert slow.traffic_bytes > result.traffic_bytes


def test_no_legal_combination_says_why() -> None:
    """Lanes that are too few for a row's tile are too few in every combination."""
    machine = Architecture.load("flat-micro24", ["arrays.array_1d.shape.lanes=8"])
    with pytest.raises(NoLegalMappingError, match=r"does not fit array_1d.lanes = 8"):
        simulate(load("bert-base"), machine, Mapping.load("flat", ["partition.M.M0=16"]))
