"""The walk over steps that numbers what it knows, against the one that knows nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from bound_cases import bound
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from masked_cases import MASKS, masked, masked_attention
from nest_cases import random_case
from portions import examples, left
from slow_walk import slow_walk

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.iteration.bands import BandProgression
from archsim.iteration.windowed import EvenStretch, RepeatPeriod, stretches
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.steps.group import FusionGroup, fused_group, single_group
from archsim.steps.run_length import RunLengths, StepsError, rows_grown
from archsim.steps.walk import walk
from einsum_cascade import Cascade
from mappers.construct.generators import GENERATORS


def banded(mask: str, queries: int, keys: int, inner: int) -> Bound:
    """One-pass attention under a mask, in tiles of 2 keys and of ``inner`` times 3 queries."""
    text = Cascade.load("attention-causal-1pass").text().replace("m1*M0 + m0 <= p + M - P", mask)
    parts = ["partition.M.M0=2", "partition.P.P0=3", f"partition.P.P1={inner}"]
    mapping = Mapping.load("fusemax-binding", parts)
    shapes = {"B": 2, "H": 1, "E": 3, "F": 2, "P": queries, "M": keys}
    return bind(Cascade.parse(text).program, mapping, Architecture.load("fusemax"), shapes)


def units(lowered: Bound) -> list[FusionGroup]:
    counts = count_mapping(lowered)
    alone = [single_group(lowered, counts, e) for e in lowered.einsums]
    return [fused_group(lowered, counts, lowered.einsums), *alone]


def same(group: FusionGroup, wanted: frozenset[str]) -> int:
    """How many classes there are; both walks find the same word of them, or both refuse."""
    try:
        slow = slow_walk(group, wanted)
    except StepsError as refused:
        with pytest.raises(StepsError, match=re.escape(str(refused))):
            walk(group, wanted)
        return 0
    fast = walk(group, wanted)
    assert fast.run_lengths == slow.run_lengths
    assert fast.classes == slow.classes
    return len(fast.classes)


@settings(max_examples=examples(40), deadline=None)
@given(seed=st.integers(0, 10**6), asked=st.booleans())
def test_random_mappings_are_walked_alike(seed: int, asked: bool) -> None:
    lowered = bound(random_case(seed))
    wanted = frozenset(x.member for x in lowered.nest) if asked else frozenset()
    for group in units(lowered):
        same(group, wanted)


@settings(max_examples=examples(20), deadline=None)
@given(seed=st.integers(0, 10**6), asked=st.booleans())
def test_random_masks_are_walked_alike(seed: int, asked: bool) -> None:
    lowered = masked(masked_attention(seed))
    assume(lowered.no_op_band is not None)
    wanted = frozenset(x.member for x in lowered.nest) if asked else frozenset()
    for group in units(lowered):
        same(group, wanted)


@settings(max_examples=examples(10), deadline=None)
@given(
    mask=st.sampled_from(MASKS[:4]),
    queries=st.integers(1, 100),
    keys=st.integers(1, 100),
    inner=st.integers(1, 12),
    asked=st.sampled_from([(), ("M1",), ("P1", "M1"), ("P2",)]),
)
@pytest.mark.slow
def test_long_bands_are_walked_alike(
    mask: str, queries: int, keys: int, inner: int, asked: tuple[str, ...]
) -> None:
    lowered = banded(mask, queries, keys, inner)
    for group in units(lowered):
        same(group, frozenset(asked))


@pytest.mark.parametrize(
    ("mask", "queries", "keys", "inner"), [(0, 200, 150, 1), left(2, 300, 400, 3)]
)
def test_tiles_that_grow_evenly_are_those_gone_to(
    monkeypatch: pytest.MonkeyPatch, mask: int, queries: int, keys: int, inner: int
) -> None:
    grown: list[int] = []

    def rows(*given: Any) -> Iterator[RunLengths] | None:
        found = rows_grown(*given)
        grown.append(0 if found is None else given[-1])
        return found

    monkeypatch.setattr("archsim.steps.walk.rows_grown", rows)
    lowered = banded(MASKS[mask], queries, keys, inner)
    for group in units(lowered):
        same(group, frozenset())
        assert max(grown) > 8
    # So far back as nobody else, every tile is one of its own.
    grown.clear()
    same(units(lowered)[0], frozenset({"P2"}))
    assert not any(grown)


def test_bands_inside_of_larger_tiles_are_walked_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16 keys beside tiles of 256 queries, which are tiles of 16."""
    periods: set[int] = set()

    def along(
        ramp: BandProgression, repeat_periods: Sequence[RepeatPeriod]
    ) -> tuple[EvenStretch, ...]:
        found = stretches(ramp, repeat_periods)
        periods.update(x.period for x in found if x.period < repeat_periods[0].period)
        return found

    monkeypatch.setattr("archsim.steps.walk.stretches", along)
    fields = ("array_2d.shape.rows", "array_2d.shape.columns", "array_1d.shape.lanes")
    machine = Architecture.load("fusemax", [f"arrays.{field}=16" for field in fields])
    program = Cascade.load("forgetting-attention-1pass").program
    shapes = {"B": 1, "H": 1, "E": 4, "F": 4, "P": 768, "M": 768, "M0": 16}
    mapping = GENERATORS.make(program, machine, shapes)
    lowered = bind(program, mapping, machine, shapes)
    counts = count_mapping(lowered)
    for e in lowered.einsums:
        same(single_group(lowered, counts, e), frozenset())
    assert periods == {1}


def test_a_long_band_has_many_classes() -> None:
    found = same(units(banded(MASKS[0], 90, 90, 10))[0], frozenset({"M1"}))
    assert found > 5
