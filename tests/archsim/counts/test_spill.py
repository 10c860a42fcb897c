"""Levels that spill: against the walker's accesses, weighed one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from bound_cases import bound, walker
from named_parts import by_name
from nest_capacity import required
from nest_cases import Case, varied_case
from nest_walker import NestWalker
from portions import portions

from archsim import Architecture, Mapping, simulate
from archsim.counts.spill import count_mapping, spill_note, spilled_share
from archsim.legality.footprint import requirements
from archsim.spec.mapping import Spill
from einsum_cascade import ir
from einsum_cascade.errors import InputError, MappingError
from workloads import load

Weights = Counter[tuple[str, str, str]]


def spilling(seed: int) -> Case | None:
    """A random case whose memory next to the outermost, or one further in, may spill."""
    case, random = varied_case(seed), Random(seed)
    memories = case.architecture.memories
    if len(memories) < 2:
        return None
    number = random.randrange(1, len(memories))
    capacity = random.randint(1, 12)
    small = replace(memories[number], capacity_bytes=capacity)
    architecture = replace(
        case.architecture, memories=(*memories[:number], small, *memories[number + 1 :])
    )
    tensors = case.program.tensors
    copies = tuple((t, random.randint(0, 3)) for t in tensors if random.random() < 0.5)
    mapping = replace(case.mapping, spill=Spill(level=small.name, copies=copies))
    return replace(case, architecture=architecture, mapping=mapping)


def weighed(
    walk: NestWalker, einsum: ir.Einsum, level: int, share: Fraction
) -> dict[object, object]:
    """Accesses by (tensor, place, kind) when a share of a level's tiles lies outside it."""
    found = walk.walk(einsum)
    names = {i: n for n, i in walk.levels.items()}
    total: dict[object, object] = {}
    for tensor in {t for t, _, _ in found.accesses}:
        kept = walk.memories(tensor, einsum)
        home = names[max((i for i in kept if i < level), default=level - 1)]
        here = names[level]
        touched = any(t == tensor and place == here for t, place, _ in found.accesses)
        for place in (*names.values(), *(a.name for a in walk.architecture.arrays)):
            for kind in ("read", "write"):
                amount = Fraction(found.accesses[tensor, place, kind])
                if touched and place == home:
                    there = Fraction(found.accesses[tensor, here, kind])
                    if kind == "write":
                        there -= found.fills[tensor, here]
                    amount = (1 - share) * amount + share * there
                if amount:
                    total[tensor, place, kind] = amount
    return total


@pytest.mark.parametrize("first", portions(400, 40))
def test_spilled_counts_are_weighed_accesses(first: int) -> None:
    fractional = 0
    for seed in range(first, first + 40):
        case = spilling(seed)
        if case is None:
            continue
        lowered, walk = bound(case), walker(case)
        spill = case.mapping.spill
        assert spill is not None
        level = walk.levels[spill.level]
        share = spilled_share(lowered)
        for count in count_mapping(lowered):
            found: dict[object, object] = {}
            for a in count.accesses:
                for kind, amount in (("read", a.reads), ("write", a.writes)):
                    key = (a.tensor, a.place, kind)
                    found[key] = found.get(key, Fraction(0)) + amount  # type: ignore[operator]
                    fractional += isinstance(amount, Fraction) and amount.denominator > 1
            einsum = walk.program.einsum_of[count.einsum]
            expected = weighed(walk, einsum, level, share)
            assert {k: v for k, v in found.items() if v} == expected, f"seed {seed}"
    assert fractional > 3


@pytest.mark.parametrize("seed", range(60))
def test_the_share_is_what_the_capacity_lacks(seed: int) -> None:
    case = spilling(seed)
    if case is None or case.mapping.spill is None:
        return
    plain = replace(
        case, mapping=replace(case.mapping, spill=replace(case.mapping.spill, copies=()))
    )
    lowered = bound(plain)
    level = [m.name for m in case.architecture.memories].index(case.mapping.spill.level)
    need = required(walker(plain), level) * case.architecture.word_bytes
    capacity = case.architecture.memories[level].capacity_bytes
    assert capacity is not None
    found = requirements(lowered)[level]
    assert found.fits
    assert found.required_bytes == need
    expected = 1 - Fraction(capacity) / need if need > capacity else Fraction(0)
    assert spilled_share(lowered) == expected
    assert bool(spill_note(lowered)) == (need > capacity)


FLAT = by_name("flat")
UNFUSED = by_name("unfused")


def run(text: str, tmp_path: Path, *settings: str) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(text)
    simulate(load("bert-base"), Architecture.load("flat-micro24"), Mapping.load(file, settings))


def edited(text: str, *changes: tuple[str, str]) -> str:
    for before, after in changes:
        assert text.count(before) >= 1, before
        text = text.replace(before, after)
    return text


GROUPS = "groups: [[QK], [GM, SN, SD, A], [AV]]"
WRONG = {
    "a group of no Einsum": (
        edited(UNFUSED, (GROUPS, "groups: [[QK], [GM, SN, SD, A], [AW]]")),
        r"no Einsum 'AW' is mapped",
    ),
    "an Einsum in no group": (
        edited(UNFUSED, (GROUPS, "groups: [[QK], [GM, SN, A], [AV]]")),
        r"every Einsum is in one group; missing: SD",
    ),
    "an Einsum in two groups": (
        edited(UNFUSED, (GROUPS, "groups: [[QK], [GM, QK, SN, SD, A], [AV]]")),
        r"'QK' is already in a group",
    ),
    "a group before what it needs": (
        edited(UNFUSED, (GROUPS, "groups: [[GM, SN, SD, A], [QK], [AV]]")),
        r"GM runs in an earlier group than QK, which it needs",
    ),
    "an empty group": (
        edited(UNFUSED, (GROUPS, "groups: [[QK], [], [GM, SN, SD, A], [AV]]")),
        r"a group without Einsums",
    ),
    "cases without choices": (
        edited(UNFUSED, ("  schedule:", "  cases: [{when: {Q: here}}]\n  schedule:")),
        r"'cases' are for 'choices', and there are none",
    ),
    "another tile in a group": (
        edited(UNFUSED, (GROUPS, "groups: [[QK@-1], [GM, SN, SD, A], [AV]]")),
        r"a sequential schedule runs QK on no other tile",
    ),
    "groups that hand over too little": (
        edited(
            UNFUSED,
            ("DRAM: [Q, K, V, QK, A, AV]", "DRAM: [Q, K, V, QK, AV]"),
            ("[Q, K, V, QK, SN, AV]", "[Q, K, V, QK, SN, A, AV]"),
        ),
        r"A is kept in global_buffer only, one tile at a time, and is gone when AV reads it",
    ),
    "passing by what is not kept there": (
        edited(UNFUSED, ("bypass: {global_buffer: QK}", "bypass: {global_buffer: A}")),
        r"QK cannot pass A by global_buffer: it neither reads nor writes A",
    ),
    "passing by the outermost home": (
        edited(UNFUSED, ("bypass: {global_buffer: QK}", "bypass: {DRAM: QK}")),
        r"QK cannot pass QK by DRAM: nothing outside holds it",
    ),
    "passing by no level": (
        edited(UNFUSED, ("bypass: {global_buffer: QK}", "bypass: {global_bufer: QK}")),
        r"the machine has no level 'global_bufer'",
    ),
    "a spill nowhere": (
        edited(FLAT, ("level: global_buffer\n    copies", "level: buffer\n    copies")),
        r"'buffer' is no memory with another outside it, so nothing spills there",
    ),
    "a spill of the outermost memory": (
        edited(FLAT, ("level: global_buffer\n    copies", "level: DRAM\n    copies")),
        r"'DRAM' is no memory with another outside it",
    ),
    "a spill at no level": (
        edited(FLAT, ("    level: global_buffer\n    copies", "    copies")),
        r"'spill' says at which level",
    ),
    "a spill of a case at no memory": (
        edited(FLAT, ("spill: {copies: {SN: 0, A: 0}}", "spill: {level: array_1d}")),
        r"'array_1d' is no memory with another outside it",
    ),
    "a staged tile of nothing in a case": (
        edited(FLAT, ("spill: {staged: {QK: [2, M0, P0],", "spill: {staged: {QK: [2, M0, P7],")),
        r"no rank or tile is called 'P7'",
    ),
    "copies of no tensor": (
        edited(FLAT, ("copies: {Q: 2,", "copies: {QQ: 2,")),
        r"the cascade has no tensor 'QQ'",
    ),
    "half a copy": (
        edited(FLAT, ("copies: {Q: 2,", "copies: {Q: 0.5,")),
        r"expected a whole number from 0 to 1000",
    ),
    "a staged tile of nothing": (
        edited(FLAT, ("Q: [2, P0, E0], K", "Q: [2, P9, E0], K")),
        r"no rank or tile is called 'P9'",
    ),
    "a choice that names nothing": (
        edited(FLAT, ("Q:            [streamed, buffered]", "Q: [streamed, bufered]")),
        r"no case says what 'bufered' of choice 'Q' is",
    ),
    "a choice nobody asks about": (
        edited(FLAT, ("  choices:", "  choices:\n    order: [up, down]")),
        r"no case asks about a choice 'order'",
    ),
    "a case of no choice": (
        edited(FLAT, ("when: {granularity: head}", "when: {granularty: head}")),
        r"no choice is called 'granularty'",
    ),
    "an alternative twice": (
        edited(FLAT, ("[one, two, four]", "[one, two, one]")),
        r"'one' stands twice in choice 'rows'",
    ),
    "choices without an objective": (
        edited(FLAT, ("  objective:\n    latency_of: [QK, AV]\n", "")),
        r"a mapping with 'choices' needs an 'objective'",
    ),
    "an objective of no Einsum": (
        edited(FLAT, ("latency_of: [QK, AV]", "latency_of: [QK, AW]")),
        r"the cascade has no Einsum 'AW'",
    ),
    "first tiles of no tensor": (
        edited(FLAT, ("first_tiles: {K: [M0, E0]}", "first_tiles: {KK: [M0, E0]}")),
        r"the cascade has no tensor 'KK'",
    ),
    "a loop nobody knows in a case": (
        edited(FLAT, ("loops: [B, H, P2, P1, P0]", "loops: [B, H, P2, P1, PO]")),
        r"no rank or tile is called 'PO'",
    ),
    "a whole of a cascade's own tile": (
        edited(by_name("fusemax-binding"), ("M0: array_2d.rows", "M0: whole")),
        r"M0 is a rank of the cascade, which needs a number",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    text, message = WRONG[name]
    with pytest.raises(InputError, match=message) as caught:
        run(text, tmp_path)
    assert "mapping.yaml:" in str(caught.value)


def test_without_spill_a_tile_that_is_too_large_is_refused(tmp_path: Path) -> None:
    text = edited(UNFUSED, ("P1: fit", "P1: whole"))
    file = tmp_path / "mapping.yaml"
    file.write_text(text)
    with pytest.raises(MappingError, match=r"global_buffer needs .* MiB .* has 32 MiB"):
        simulate(
            load("bert-base", seq_len=2**20), Architecture.load("flat-micro24"), Mapping.load(file)
        )


FLAT = {"row": (1, 1, 256), "head": (1, 1, 512), "batch": (1, 3, 512), "multi-batch": (2, 3, 512)}
"""Batch entries, heads and rows of a tile, which holds all 512 keys."""


@pytest.mark.parametrize("stationarity", ["output", "weight", "input"])
def test_what_the_granularities_of_flat_need_of_a_buffer(stationarity: str) -> None:
    """Table 1 of the paper: operands of 64 are held twice, scores and two sums of a row once."""
    work = load("bert-base", cascade="attention-3pass", B=2, H=3, seq_len=512)
    needs = []
    for name, (batch, heads, rows) in FLAT.items():
        chosen = (f"granularity={name}", f"stationarity={stationarity}")
        mapping = Mapping.load("flat-granularities", [f"mapping.choices.{c}" for c in chosen])
        (level,) = simulate(work, Architecture.load("flat"), mapping).buffers
        words = 4 * (rows + 512) * 64 + rows * 512 + 2 * rows
        assert level.required_bytes == 2 * batch * heads * words, name
        needs.append(level.required_bytes)
    assert needs == sorted(needs)
