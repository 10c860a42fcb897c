"""Classes of steps against whole-run counts: work and traffic add up, exactly."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from bound_cases import bert, bound, walker
from nest_cases import random_case
from portions import examples, portions

from archsim.counts.accesses import EinsumCount, count_einsum
from archsim.counts.occupancy import busy_cycles
from archsim.iteration.loops import count_points
from archsim.legality.dependences import illegalities
from archsim.nest.record import Bound
from archsim.steps.group import FusionGroup, GroupPart, Walk, fused_group, single_group
from archsim.steps.run_length import StepsError, length, run_lengths_text, steps_by_class, unrolled
from archsim.steps.walk import walk
from einsum_cascade.ir import Gather

BATCH = 20


def counted(lowered: Bound) -> tuple[EinsumCount, ...]:
    return tuple(count_einsum(lowered, e) for e in lowered.einsums)


def adds_up(
    lowered: Bound, counts: tuple[EinsumCount, ...], group: FusionGroup, steps: Walk
) -> None:
    """All steps together do an Einsum's work, and move what is counted."""
    turns = steps_by_class(steps.run_lengths)
    for i, part in enumerate(group.parts):
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


def walked(lowered: Bound, group: FusionGroup) -> Walk | None:
    """The walk, or None where it is refused."""
    with suppress(StepsError):
        return walk(group, frozenset(x.member for x in lowered.nest))
    return None


@pytest.mark.parametrize("first", portions(400, BATCH, quick=4))
def test_steps_add_up_on_random_mappings(first: int) -> None:
    refused = 0
    for seed in range(first, first + BATCH):
        lowered = bound(random_case(seed))
        counts = counted(lowered)
        group = fused_group(lowered, counts, lowered.einsums)
        steps = walked(lowered, group)
        if steps is None:
            refused += 1
            continue
        assert length(steps.run_lengths) == lowered.steps
        adds_up(lowered, counts, group, steps)
        for e in lowered.einsums:
            alone = single_group(lowered, counts, e)
            adds_up(lowered, counts, alone, walk(alone))
    assert refused <= BATCH / 5


def test_moves_are_hardly_ever_scaled() -> None:
    """A flow's own sum is what is counted, but for tiles that come back over a ragged edge
    (and for gathers, which are counted in lines)."""
    odd = total = 0
    for seed in range(examples(400)):
        lowered = bound(random_case(seed))
        if not illegalities(lowered):
            counts = counted(lowered)
            for part in fused_group(lowered, counts, lowered.einsums).parts:
                if any(isinstance(i, Gather) for a in part.e.einsum.reads for i in a.indices):
                    continue
                total += len(part.flows.moves)
                odd += sum(m.scale != 1 for m in part.flows.moves)
    assert total > examples(500)
    assert odd <= total / 100


@pytest.mark.parametrize("first", range(0, 60, BATCH))
def test_indices_are_those_of_the_walk(first: int) -> None:
    for seed in range(first, first + BATCH):
        case = random_case(seed)
        lowered = bound(case)
        group = fused_group(lowered, counted(lowered), lowered.einsums)
        if len(group.loops) == len(lowered.nest):
            expected = walker(case).shared_indices()
            found = [tuple(i for _, i in group.nest.indices(k)) for k in range(lowered.steps)]
            assert len(set(found)) == len(expected) == lowered.steps
            assert found == sorted(found)


def tile(part: GroupPart, group: FusionGroup, where: dict[str, int]) -> tuple[int, ...]:
    """What one iteration of the shared loops leaves of an Einsum's axes."""
    extents = list(part.e.extents)
    for shared, own in zip(group.loops, part.loops, strict=True):
        if own is not None:
            rest = extents[own.axis] - where[shared.member] * own.stride
            extents[own.axis] = min(own.stride, rest)
    return tuple(extents)


@pytest.mark.parametrize("first", range(100, 200, BATCH))
def test_classes_are_what_each_step_does(first: int) -> None:
    """Step by step, from its indices: which Einsums run, and for how long."""
    seen = 0
    for seed in range(first, first + BATCH):
        lowered = bound(random_case(seed))
        group = fused_group(lowered, counted(lowered), lowered.einsums)
        steps = walked(lowered, group)
        if steps is None or length(steps.run_lengths) > 3000:
            continue
        seen += 1
        places = [dict(group.nest.indices(k)) for k in range(length(steps.run_lengths))]
        # Of the steps that differ only in loops an Einsum stays out of, one runs it.
        for i, part in enumerate(group.parts):
            groups: dict[tuple[int, ...], list[int]] = {}
            for k, where in enumerate(places):
                inside = zip(group.loops, part.loops, strict=True)
                key = tuple(where[x.member] for x, own in inside if own is not None)
                groups.setdefault(key, []).append(k)
            chosen = {ks[0] if part.early else ks[-1] for ks in groups.values()}
            for k, kind in enumerate(unrolled(steps.run_lengths)):
                found = steps.classes[kind]
                assert found.runs[i] == (k in chosen)
                work = count_points(part.own, tile(part, group, places[k])) * part.busy
                assert found.busy[i] == (work if k in chosen else 0)
    assert seen > BATCH / 2


@pytest.mark.parametrize("first", range(200, 300, BATCH))
def test_steps_since_the_previous_coordinate(first: int) -> None:
    """Never more than there are; just as many where its loop itself stepped on."""
    for seed in range(first, first + BATCH):
        lowered = bound(random_case(seed))
        group = fused_group(lowered, counted(lowered), lowered.einsums)
        steps = walked(lowered, group)
        if steps is None or length(steps.run_lengths) > 1000:
            continue
        number = {
            tuple(i for _, i in group.nest.indices(k)): k for k in range(length(steps.run_lengths))
        }
        kinds = list(unrolled(steps.run_lengths))
        for depth, loop in enumerate(group.loops):
            inner = [x for x in group.loops[depth + 1 :] if x.axis == loop.axis]
            for where, k in number.items():
                back = steps.classes[kinds[k]].back[depth]
                if where[depth] and not inner:
                    before = (*where[:depth], where[depth] - 1, *where[depth + 1 :])
                    assert back == k - number[before]
                elif back is None:
                    same = [x.variable == loop.variable for x in group.loops[: depth + 1]]
                    assert not any(i for i, alike in zip(where, same, strict=False) if alike)


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
    group = fused_group(lowered, counted(lowered), lowered.einsums)
    steps = walk(group, frozenset({"M1"}))
    assert run_lengths_text(steps.run_lengths) == word
    assert group.outside == ("AV",)
    av = [p.e.name for p in group.parts].index("AV")
    runs = [steps.classes[k].runs[av] for k in sorted(steps_by_class(steps.run_lengths))]
    assert runs == [False] * (len(runs) - (2 if seq_len == 4099 else 1)) + [True] * (
        2 if seq_len == 4099 else 1
    )


def test_distances_of_running_values() -> None:
    """None where nothing came before, else the query tiles of the step before in M1."""
    lowered = bert(1024)
    group = fused_group(lowered, counted(lowered), lowered.einsums)
    steps = walk(group, frozenset({"M1"}))
    place = [x.member for x in group.loops].index("M1")
    back = [steps.classes[k].back[place] for k in unrolled(steps.run_lengths)]
    assert back[:16] == [None] * 4 + [4] * 12
    assert back == back[:16] * 768
