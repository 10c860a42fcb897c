"""Runs that draw more power than a machine can sustain say so."""

from __future__ import annotations

import pytest

from archsim import Architecture, simulate
from archsim.quantities import engineering
from einsum_cascade.errors import SpecError


@pytest.mark.parametrize("scope", ["attention", "block"])
def test_a_note_tells_of_a_run_above_the_limit_alone(scope: str) -> None:
    given = {"scope": scope, "seq_len": 256, "batch": 1}
    plain = simulate("bert-base", "fusemax", **given)
    assert not [note for note in plain.notes if note.kind == "power"]
    drawn_w = plain.power_w
    for share, number in ((0.99, 1), (1.01, 0)):
        machine = Architecture.load("fusemax", [f"tdp={share * drawn_w:.3f} W"])
        found = simulate("bert-base", machine, **given)
        notes = [note for note in found.notes if note.kind == "power"]
        assert len(notes) == number
        assert all(engineering(drawn_w, "W") in note for note in notes)
        assert found.latency_s == plain.latency_s


@pytest.mark.parametrize(
    ("name", "watts"), [("a100-80gb", 400), ("h100-sxm", 700), ("h200-sxm", 700), ("tpu-v4i", 175)]
)
def test_limits_are_the_published_ones(name: str, watts: int) -> None:
    assert Architecture.load(name).power_limit_w == watts


@pytest.mark.parametrize("wrong", ["700", "0 W", "-1 W", "7 J"])
def test_a_limit_is_a_power_above_zero(wrong: str) -> None:
    with pytest.raises(SpecError, match="expected a power such as '700 W'"):
        Architecture.load("fusemax", [f"tdp={wrong}"])
