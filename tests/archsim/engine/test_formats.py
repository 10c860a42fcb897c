"""Tensors in formats of their own: by hand, against the walker, and of one width as before."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from fractions import Fraction
from random import Random

import pytest
from evaluated import evaluate_mapping
from nest_cases import Case, billed_case
from nest_masks import MaskedWalker

import workloads
from archsim import Architecture, Mapping, Result, simulate
from archsim.counts.occupancy import memory_bytes
from archsim.counts.spill import count_mapping
from archsim.energy import memory_access, register_access
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.schedule.kinds import exact_walks
from archsim.spec.tensor_words import in_formats
from archsim.steps.run_length import StepsError
from einsum_cascade.errors import MappingError, SpecError
from einsum_cascade.number_formats import FORMATS, TensorFormats
from mappers.workload_search import check_start

DECODE = {"phase": "decode", "cached_len": 8191}
VALUES = 8 * 8192 * 128
"""Of the keys in the cache of one layer of Llama-3-8B: 8 heads, 8,192 tokens, width 128."""
ENDS = 2 * 32 * 128 * 2
"""Bytes of the queries and of the result: 32 heads, width 128, 2 bytes a value."""


def decode(machine: str = "fusemax", **formats: str) -> Result:
    settings = [f"formats.{name}={fmt}" for name, fmt in formats.items()]
    return simulate(workloads.load("llama-3-8b", settings, **DECODE), Architecture.load(machine))


@pytest.mark.parametrize(
    ("fmt", "cache"),
    [
        ("bf16", 2 * VALUES * 2),
        ("int8", 2 * VALUES),
        ("fp8_e4m3", 2 * VALUES),
        ("mxfp8", 2 * VALUES + 2 * VALUES // 32),
        ("mxfp6", 2 * VALUES * 6 // 8 + 2 * VALUES // 32),
        ("mxfp4", 2 * VALUES // 2 + 2 * VALUES // 32),
        ("nvfp4", 2 * VALUES // 2 + 2 * VALUES // 16),
        ("int4", 2 * VALUES // 2),
    ],
)
def test_the_cache_of_a_decoding_model_by_hand(fmt: str, cache: int) -> None:
    """16,777,216 values; blocks of 32 have one byte of scale, nvfp4's of 16."""
    found = decode(default="bf16", K=fmt, V=fmt)
    assert found.traffic[0].total_bytes == cache + ENDS
    assert found.bounds.traffic_bytes == cache + ENDS
    # 400 GiB/s, and nothing of any mapping is faster.
    assert found.floor.bandwidth_s == pytest.approx((cache + ENDS) / (400 * 2**30), rel=1e-12)
    assert found.latency_s >= found.floor.latency_s
    # 3.9 pJ a bit of an HBM2.
    energy = dict(found.energy_by_component)["DRAM"]
    assert energy == pytest.approx(8 * 3.9 * (cache + ENDS), rel=1e-12)


def test_the_buffer_holds_what_tiles_take() -> None:
    """A tile of 256 keys and values for each of 8 heads, 1.016 MiB at two bytes."""
    wide, narrow = (decode(default="bf16", K=fmt, V=fmt).buffers[0] for fmt in ("bf16", "mxfp4"))
    tiles = 2 * 8 * 256 * 128
    saved = tiles * (2 - Fraction(17, 32))
    assert wide.required_bytes - narrow.required_bytes == saved


def told(found: Result) -> dict[str, object]:
    """All of a result but its sentences, and area: its registers are as wide as the word."""
    plain = tuple(replace(e, formats=()) for e in found.einsums)
    fields = asdict(replace(found, einsums=plain, formats=()))
    return {k: v for k, v in fields.items() if k not in ("notes", "area_by_component", "parts")}


def test_a_format_of_the_word_changes_nothing() -> None:
    assert told(decode(default="bf16")) == told(decode()) == told(decode(default="fp16", K="bf16"))


@pytest.mark.parametrize("mapping", ["fusemax-binding", "flat", "unfused"])
def test_one_narrow_format_is_a_machine_of_narrow_words(mapping: str) -> None:
    how = Mapping.load(mapping)
    work = workloads.load("bert-base", seq_len=1000, batch=2)
    narrow = workloads.load("bert-base", "formats.default=fp8_e5m2", seq_len=1000, batch=2)
    machine = Architecture.load("fusemax", ["memories.global_buffer.capacity=256 KiB"])
    of_bytes = Architecture.load(
        "fusemax", ["memories.global_buffer.capacity=256 KiB", "word=8 bit"]
    )
    assert told(simulate(narrow, machine, how)) == told(simulate(work, of_bytes, how))


# ------------------------------------------------------------------ random runs


def formatted(seed: int) -> tuple[Case, TensorFormats]:
    """A random case some of whose tensors have formats of their own."""
    case, random = billed_case(seed), Random(seed)
    names = case.program.tensors
    own = {name: random.choice([*FORMATS]) for name in names if random.random() < 0.6}
    default = random.choice(["", *FORMATS])
    word = case.architecture.word_bits
    formats = TensorFormats(default=default, tensors=tuple(sorted(own.items())), word_bits=word)
    return replace(case, program=in_formats(case.program, formats)), formats


def test_bytes_and_energy_are_what_was_walked() -> None:
    """Each access of the walker times its tensor's own bits."""
    seen = 0
    for case, formats in map(formatted, range(5000, 5030)):
        try:
            found = evaluate_mapping(case.program, case.mapping, case.architecture, case.given)
        except MappingError:
            continue
        seen += 1
        machine = case.architecture
        bound = bind(case.program, case.mapping, machine, case.given)
        assert stepped_words(bound) == pytest.approx(counted_words(bound))
        walk = MaskedWalker(case, bound)
        bits: Counter[tuple[str, str]] = Counter()
        energy: Counter[str] = Counter()
        for e in case.program.einsums:
            for (tensor, place, action), times in walk.walk(
                walk.program.einsum_of[e.name]
            ).accesses.items():
                wide = formats.bits_of(tensor)
                memory = machine.memory(place)
                if memory is not None:
                    bits[place, action] += times * wide
                    price = memory_access(machine, memory)
                    each = price.read_pj if action == "read" else price.write_pj
                    energy[place] += float(times * wide / memory.line_bits) * each
        for level in found.traffic:
            assert level.read_bytes == pytest.approx(float(bits[level.level, "read"] / 8))
            assert level.write_bytes == pytest.approx(float(bits[level.level, "write"] / 8))
            paid = dict(found.energy_by_component).get(level.level, 0.0)
            assert paid == pytest.approx(energy[level.level])
        assert found.latency_s >= found.bounds.bandwidth_s * (1 - 1e-12)
        assert found.latency_s >= found.floor.latency_s * (1 - 1e-12)
    assert seen > 10


def stepped_words(bound: Bound) -> list[float]:
    """Words that all steps of a run move together, by memory."""
    moved = [0.0] * len(bound.architecture.memories)
    try:
        walks = exact_walks(bound, count_mapping(bound))
    except StepsError:
        return counted_words(bound)
    for walk in walks:
        for number, step in enumerate(walk.classes):
            for rows in (*step.loads, *step.drains):
                for memory, words in enumerate(rows):
                    moved[memory] += float(walk.steps_by_class[number] * words)
    return moved


def counted_words(bound: Bound) -> list[float]:
    """The same, as counts have it."""
    word = bound.architecture.word_bytes
    counts = count_mapping(bound)
    return [float(memory_bytes(bound, counts, m) / word) for m in bound.architecture.memories]


# ------------------------------------------------------------------ what is refused


def test_registers_of_a_width_of_their_own_cost_it_for_narrow_values() -> None:
    machine = Architecture.load("fusemax", ["arrays.array_1d.registers.width=64 bit"])
    array = machine.arrays[1]
    costs = [register_access(machine, array, n).read_pj for n in (8, 64, 128)]
    assert costs[0] == costs[1]
    assert costs[2] - costs[1] == pytest.approx(0.009 * 64)
    assert register_access(machine, array).read_pj == costs[1]


@pytest.mark.parametrize(
    ("setting", "message", "hint"),
    [
        ("formats.K=int9", "expected a format of numbers, got 'int9'", "did you mean 'int8'?"),
        ("formats.K=8", "expected a format of numbers, got '8'", ""),
        ("formats.KK=int8", "no cascade that runs has a tensor 'KK'", "did you mean 'K'?"),
        ("formats.defautl=int8", "has a tensor 'defautl'", "did you mean 'default'?"),
        ("formats=int8", "formats: expected a mapping", ""),
    ],
)
def test_what_is_no_format_or_no_tensor_is_refused(setting: str, message: str, hint: str) -> None:
    with pytest.raises(SpecError, match=message) as refused:
        simulate(workloads.load("llama-3-8b", setting, **DECODE), Architecture.load("fusemax"))
    assert refused.value.problems[0].span is not None
    assert hint in (refused.value.problems[0].hint or "")


def test_what_a_projection_makes_has_the_format_of_the_cache() -> None:
    """The keys of one token are written as they are kept: 8 heads of 128 in one byte each."""
    work = workloads.load(
        "llama-3-8b", ["formats.default=bf16", "formats.K=int8"], scope="block", **DECODE
    )
    found = simulate(work, Architecture.load("fusemax"))
    written = {p.name: p.result.traffic[0].write_bytes for p in found.parts}
    assert written["key-projection"] == 8 * 128
    assert written["value-projection"] == 8 * 128 * 2


def test_a_search_refuses_them_before_it_begins() -> None:
    work = workloads.load("llama-3-8b", "formats.KK=int8", **DECODE)
    with pytest.raises(SpecError, match="no cascade that runs has a tensor 'KK'"):
        check_start(work, ())
