"""The machines that ship: their published peaks, and that what nobody mapped for them runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from portions import left

from archsim import Architecture, simulate
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
