"""Classes of steps against whole-run counts: work and traffic add up, exactly."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from nest_cases import random_case
from test_counts import bound, walker

import workloads
from archsim import Architecture, Mapping
from archsim.analytical import bind
from archsim.counts import EinsumCount, count_einsum
from archsim.legality import illegalities
from archsim.lower import Lowered
from archsim.step_walk import Unit, Walk, shared_unit, single_unit, walk
from archsim.step_word import length, spelled, tally, unrolled
from archsim.tasks import busy_cycles
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError

BATCH = 20


def counted(lowered: Lowered) -> tuple[EinsumCount, ...]:
    return tuple(count_einsum(lowered, e) for e in lowered.einsums)


def adds_up(lowered: Lowered, counts: tuple[EinsumCount, ...], unit: Unit, steps: Walk) -> None:
    """All steps together do an Einsum's work, and move what is counted."""
    turns = tally(steps.word)
    for i, part in enumerate(unit.parts):
        busy = sum((n * steps.classes[k].busy[i] for k, n in turns.items()), Fraction(0))
        assert busy == busy_cycles(lowered, part.e)
        count = next(c for c in counts if c.einsum == part.e.name)
        for m, memory in enumerate(lowered.architecture.memories):
            moved = sum(
                n * (steps.classes[k].loads[i][m] + steps.classes[k].drains[i][m])
                for k, n in turns.items()
            )
            here = [a for a in count.accesses if a.place == memory.name]
            assert moved == sum(a.reads + a.writes for a in here)
            if all(x.scale == 1 for x in part.flows.moves):
                drained = sum(n * steps.classes[k].drains[i][m] for k, n in turns.items())
                assert drained <= sum(a.writes for a in here if a.tensor == part.e.name)


def walked(lowered: Lowered, unit: Unit) -> Walk | None:
    """The walk, or None where it is refused."""
    with suppress(MappingError):
        return walk(unit, frozenset(x.member for x in lowered.nest))
    return None


@pytest.mark.parametrize("first", range(0, 400, BATCH))
def test_steps_add_up_on_random_mappings(first: int) -> None:
    refused = 0
    for seed in range(first, first + BATCH):
        lowered = bound(random_case(seed))
        counts = counted(lowered)
        unit = shared_unit(lowered, counts, lowered.einsums)
        steps = walked(lowered, unit)
        if steps is None:
            refused += 1
            continue
        assert length(steps.word) == lowered.steps
        adds_up(lowered, counts, unit, steps)
        for e in lowered.einsums:
            alone = single_unit(lowered, counts, e)
            adds_up(lowered, counts, alone, walk(alone))
    assert refused <= BATCH / 5


def test_moves_are_hardly_ever_scaled() -> None:
    """A flow's own sum is what is counted, but for tiles that come back over a ragged edge."""
    odd = total = 0
    for seed in range(400):
        lowered = bound(random_case(seed))
        if not illegalities(lowered):
            counts = counted(lowered)
            for part in shared_unit(lowered, counts, lowered.einsums).parts:
                total += len(part.flows.moves)
                odd += sum(m.scale != 1 for m in part.flows.moves)
    assert total > 500
    assert odd <= total / 100


@pytest.mark.parametrize("first", range(400, 460, BATCH))
def test_indices_are_those_of_the_walk(first: int) -> None:
    for seed in range(first, first + BATCH):
        case = random_case(seed)
        lowered = bound(case)
        unit = shared_unit(lowered, counted(lowered), lowered.einsums)
        if len(unit.loops) == len(lowered.nest):
            expected = walker(case).shared_indices()
            found = [tuple(i for _, i in unit.indices(k)) for k in range(lowered.steps)]
            assert len(set(found)) == len(expected) == lowered.steps
            assert found == sorted(found)


def bert(seq_len: int, mapping: str = "fusemax-binding") -> Lowered:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    shapes = workloads.load("bert-base", seq_len=seq_len).shapes_for(ranks)
    return bind(program, how, Architecture.load("fusemax"), shapes)


@pytest.mark.parametrize(
    ("seq_len", "word"),
    [
        # The first tiles of a head, those with a running value, and the last, which divide.
        (1024, "(a^4 b^8 c^4)^768"),
        (4096, "(a^16 b^224 c^16)^768"),
        # 17 query tiles, the last of which has 3 rows.
        (4099, "(a^16 b (c^16 d)^15 e^16 f)^768"),
        # Eight query tiles at a time: 32 times over the keys.
        (2**20, "(a^128 b^524032 c^128)^24576"),
    ],
)
def test_words_of_attention(seq_len: int, word: str) -> None:
    lowered = bert(seq_len)
    unit = shared_unit(lowered, counted(lowered), lowered.einsums)
    steps = walk(unit, frozenset({"M1"}))
    assert spelled(steps.word) == word
    assert unit.outside == ("AV",)
    av = [p.e.name for p in unit.parts].index("AV")
    runs = [steps.classes[k].runs[av] for k in sorted(tally(steps.word))]
    assert runs == [False] * (len(runs) - (2 if seq_len == 4099 else 1)) + [True] * (
        2 if seq_len == 4099 else 1
    )


def test_distances_of_running_values() -> None:
    """None where nothing came before, else the query tiles of the step before in M1."""
    lowered = bert(1024)
    unit = shared_unit(lowered, counted(lowered), lowered.einsums)
    steps = walk(unit, frozenset({"M1"}))
    place = [x.member for x in unit.loops].index("M1")
    back = [steps.classes[k].back[place] for k in unrolled(steps.word)]
    assert back[:16] == [None] * 4 + [4] * 12
    assert back == back[:16] * 768
