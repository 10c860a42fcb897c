"""One token of the delta rules after another gives what the whole sequence does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsim import Architecture, simulate
from einsum_cascade import Cascade
from workloads import load

B, H, S, E, F, T = 2, 6, 3, 4, 5, 7


def drawn(of_channels: bool) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(7)
    shapes = {"Q": (H, T, E), "K": (H, T, E), "V": (H, T, F), "BETA": (H, T)}
    found = {name: random.normal(size=(B, *shape)) for name, shape in shapes.items()}
    found["BETA"] = 1 / (1 + np.exp(-found["BETA"]))
    found["G"] = -random.uniform(size=(B, H, T, E) if of_channels else (B, H, T))
    return found


@pytest.mark.parametrize("name", ["gated-delta-rule", "kimi-delta-attention"])
def test_tokens_one_by_one(name: str) -> None:
    inputs = drawn(of_channels=name.startswith("kimi"))
    whole = Cascade.load(name)
    groups: dict[str, int] = {}
    if name == "gated-delta-rule":
        # Heads of a group have the same queries and keys, which one token has once.
        groups = {"S": S}
        for shared in ("Q", "K"):
            inputs[shared] = inputs[shared][:, np.arange(H) // S * S]
    expected = whole.evaluate(inputs)["O"]
    step, state = Cascade.load(f"{name}-step"), np.zeros((B, H, E, F))
    for t in range(T):
        token = {("A" if n == "G" else n): x[:, :, t] for n, x in inputs.items()}
        if groups:
            token |= {shared: token[shared][:, ::S] for shared in ("Q", "K")}
        found = step.evaluate(token | {"SI": state}, **groups)
        state = found["SO"]
        np.testing.assert_allclose(found["O"], expected[:, :, t], rtol=1e-12, atol=1e-13)


def test_tokens_of_rwkv_7_one_by_one() -> None:
    inputs = drawn(of_channels=True)
    inputs = {"R": inputs["Q"], "K": inputs["K"], "V": inputs["V"], "G": inputs["G"]}
    inputs |= {"KK": inputs["R"][..., ::-1].copy(), "AL": np.exp(inputs["G"])}
    inputs["G"] = inputs["G"] * 0.6
    expected = Cascade.load("rwkv-7-recurrent").evaluate(inputs)["O"]
    step, state = Cascade.load("rwkv-7-step"), np.zeros((B, H, E, F))
    for t in range(T):
        found = step.evaluate({n: x[:, :, t] for n, x in inputs.items()} | {"SI": state})
        state = found["SO"]
        np.testing.assert_allclose(found["O"], expected[:, :, t], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("model", "cascade", "batch"),
    [
        ("qwen3-next-80b-a3b", "gated-delta-rule-step", 1),
        ("qwen3-next-80b-a3b", "gated-delta-rule-step", 64),
        ("kimi-linear-48b-a3b", "kimi-delta-attention-step", 64),
        ("rwkv-7-2.9b", "rwkv-7-step", 64),
    ],
)
def test_a_token_takes_as_long_as_its_state_is_read_and_written(
    model: str, cascade: str, batch: int
) -> None:
    work = load(model, phase="decode", cached_len=9999, batch=batch)
    assert work.cascade == cascade
    result = simulate(work, Architecture.load("fusemax"))
    assert result.mapping == cascade
    sizes = dict(result.shape)
    state = 2 * batch * sizes["H"] * sizes["E"] * sizes["F"]
    assert 2 * state < result.traffic_bytes < 2.11 * state
    assert result.over_floor < 1.01


def test_several_steps_of_a_token_keep_their_state_inside() -> None:
    """The traffic stays below the size of all states; without it, queries that read the states
    of all steps token by token moved 12 GiB through the outermost memory, 128 times the lower
    bound."""
    found = simulate("delta-product", "fusemax", settings=["cascade=delta-product"])
    sizes = dict(found.shape)
    states = sizes["N"] * sizes["H"] * sizes["E"] * sizes["F"]
    assert found.traffic_bytes < 2 * states / 10
    assert found.over_floor < 3
