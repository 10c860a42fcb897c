"""The machines that ship: their published peaks, and that what nobody mapped for them runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from portions import left

from archsim import Architecture, simulate
from einsum_cascade.operations import in_format
from einsum_cascade.yaml.library import builtin_names
from workloads import load

PEAKS = {
    "a100-80gb": 312e12,
    "h100-sxm": 989e12,
    "ascend-910b2": 353.9e12,
    "tpu-v4i": 138e12,
    "tpu-v1": 92e12,
    "eyeriss": 67.2e9,
    "gemmini": 512e9,
    "nvdla-full": 2048e9,
}
"""Operations a second, a multiplication and an addition each: as published, or elements x clock."""


@pytest.mark.parametrize("name", PEAKS)
def test_peaks_are_the_published_ones(name: str) -> None:
    machine = Architecture.load(name)
    matrix = machine.arrays[0]
    peak = 2 * matrix.elements * machine.copies(matrix.name) * float(machine.clock_hz)
    assert peak == pytest.approx(PEAKS[name], rel=6e-3)


MANY, ONE = {"seq_len": 130}, {"phase": "decode", "cached_len": 300}

RATES = {
    ("a100-80gb", "tensor_core"): {"bf16": 312e12, "fp16": 312e12, "tf32": 156e12, "int8": 624e12},
    ("a100-80gb", "vector_unit"): {"fp32": 19.5e12},
    ("h100-sxm", "tensor_core"): {
        "bf16": 989e12,
        "tf32": 494.7e12,
        "fp8_e4m3": 1979e12,
        "fp8_e5m2": 1979e12,
        "int8": 1979e12,
    },
    # Published at the highest clock of 1.98 GHz: 66.9e12.
    ("h100-sxm", "vector_unit"): {"fp32": 66.9e12 * 1.83 / 1.98},
}
"""Operations a second of products by format, as published in the whitepapers of 2020 and 2022."""


@pytest.mark.parametrize(("name", "array"), RATES)
def test_rates_go_by_the_format_of_the_operands(name: str, array: str) -> None:
    machine = Architecture.load(name)
    matrix = machine.array(array)
    assert matrix is not None
    each = 2 * matrix.elements * machine.copies(array) * float(machine.clock_hz)
    for number_format, rate in RATES[name, array].items():
        cycles = matrix.cycles_of([(in_format("mac", number_format), 1)])
        assert each / float(cycles) == pytest.approx(rate, rel=6e-3)


def test_products_in_a_format_without_a_rate_run_in_another_and_say_so() -> None:
    work = load("llama-3-8b", "formats.default=fp8_e4m3", batch=1, **ONE)
    found = simulate(work, "a100-80gb")
    assert any("mac in fp8_e4m3 is done in fp16" in note for note in found.notes)
    assert not any("done in" in note for note in simulate(work, "h100-sxm").notes)


SHORT = {"cascade": "attention-3pass"}
"""Few Einsums and no mask: what takes long to make is made soon."""


def one_step_each() -> Iterator[Any]:
    """Some machines with one token of Llama or with many of BERT, in turn; the others,
    and both steps of Llama, are left to `make test`."""
    for number, name in enumerate(builtin_names("architectures")):
        one = number % 4 > 1
        case = (name, "llama-3-8b", ONE) if one else (name, "bert-base", MANY | SHORT)
        yield case if number % 24 == 2 else left(*case)
        yield from (left(name, "llama-3-8b", step) for step in ((MANY,) if one else (MANY, ONE)))


@pytest.mark.parametrize(("name", "model", "step"), [*one_step_each()])
def test_layers_run_without_a_mapping(name: str, model: str, step: dict[str, Any]) -> None:
    machine = Architecture.load(name)
    found = simulate(load(model, batch=1, scope="block", **step), machine)
    assert found.over_floor < 60  # short sequences leave a large machine waiting
    for memory in machine.memories:
        for count in dict(memory.instances).values():
            assert any(f"of {count} " in note for part in found.parts for note in part.result.notes)
