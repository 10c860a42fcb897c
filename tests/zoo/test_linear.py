"""The linear and recurrent family: forms that agree, chunks of any size, passes, gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pass_search import passes_needed

from archsim.validation.inputs import random_inputs, random_parameters
from einsum_cascade import Cascade
from einsum_cascade.errors import EvaluationError
from einsum_cascade.shapes import resolve_shapes
from workloads.references import find_reference

Array = np.ndarray[Any, Any]

FORMS = {
    "linear": (
        *("linear-attention-causal", "linear-attention-recurrent"),
        *("linear-attention-chunked",),
    ),
    "lightning": ("lightning-attention", "lightning-attention-recurrent", "lightning-attention-2"),
    "retnet": ("retnet-parallel", "retnet-recurrent", "retnet-chunked"),
    "gla": ("gla-parallel", "gla-recurrent", "gla-chunked"),
    "ssd": ("ssd", "ssd-recurrent", "ssd-chunked"),
    "delta": ("delta-rule", "delta-rule-chunked"),
    "gated-delta": ("gated-delta-rule", "gated-delta-rule-chunked"),
}
CHUNKED = (*(forms[-1] for forms in FORMS.values()), "lightning-attention-2-backward")
LENGTH = 11
WIDTHS = {"B": 2, "H": 3, "E": 4, "F": 3, "N": 4}


def drawn(name: str, seed: int = 0) -> tuple[dict[str, Array], dict[str, float]]:
    """Random inputs of a cascade of length 11, and its parameters."""
    program = Cascade.load(name).program
    known = {r.name for r in program.ranks} | set(program.parallel)
    given = {n: s for n, s in {**WIDTHS, "P": LENGTH, "P0": 4}.items() if n in known}
    shapes = given | resolve_shapes(program, given)
    rng = np.random.default_rng(seed)
    return random_inputs(program, shapes, rng), random_parameters(program, {}, rng)


def evaluated(name: str, inputs: dict[str, Array], **numbers: Any) -> dict[str, Array]:
    cascade = Cascade.load(name)
    if "P0" not in cascade.program.rank_of:
        numbers.pop("P0", None)
    return cascade.evaluate(inputs, **numbers)


@pytest.mark.parametrize("family", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_parallel_recurrent_and_chunked_forms_agree(family: str, seed: int) -> None:
    inputs, parameters = drawn(FORMS[family][-1], seed)
    (first,) = evaluated(FORMS[family][0], inputs, **parameters).values()
    assert np.isfinite(first).all()
    assert np.abs(first).max() > 0.01
    for name in FORMS[family][1:]:
        (other,) = evaluated(name, inputs, **parameters, P0=3).values()
        np.testing.assert_allclose(other, first, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", CHUNKED)
def test_the_size_of_a_chunk_does_not_matter(name: str) -> None:
    """Sizes that divide the length, that do not, that are it, and that are more than it."""
    inputs, parameters = drawn(name)
    whole = evaluated(name, inputs, **parameters, P0=LENGTH)
    for size in (1, 2, 3, 4, 5, 7, 10, 16):
        cut = evaluated(name, inputs, **parameters, P0=size)
        for output, expected in whole.items():
            np.testing.assert_allclose(cut[output], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"P0": 0}, "positive whole number"),
        ({"P0": 2.5}, "positive whole number"),
        ({"P0": 4, "M0": 5}, "M0 and P0 are declared alike, but M0 = 5, P0 = 4"),
        ({"P0": 4, "P1": 2}, "does not agree"),
        ({}, "missing"),
    ],
)
def test_a_wrong_chunk_is_refused(name: str, sizes: dict[str, Any], said: str) -> None:
    inputs, parameters = drawn(name)
    with pytest.raises(EvaluationError, match=said):
        Cascade.load(name).evaluate(inputs, **parameters, **sizes)


def test_chunks_do_not_need_the_sequence_to_be_cut_evenly_in_any_type() -> None:
    inputs, parameters = drawn("lightning-attention-2")
    (exact,) = evaluated("lightning-attention", inputs, **parameters).values()
    for dtype, allowed in (("float32", 1e-5), ("float16", 5e-3), ("bfloat16", 4e-2)):
        (found,) = evaluated(
            "lightning-attention-2", inputs, **parameters, P0=4, dtype=dtype
        ).values()
        error = np.abs(found.astype(float) - exact).max() / np.abs(exact).max()
        assert 0 < error < allowed


# ------------------------------------------------------------------ passes


ONE_PASS = (
    "linear-attention",
    *(n for family in ("linear", "lightning", "retnet", "gla", "ssd") for n in FORMS[family]),
    *("mamba-s6", "delta-rule", "gated-delta-rule", "qlstm", "qlstm-reversed", "dsf"),
)


@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass_over_the_sequence(name: str) -> None:
    passes = Cascade.load(name).analyze().passes
    ranks = [r for r in passes.ranks if r.rank in ("P", "P1", "M", "M1")]
    assert ranks
    assert [(r.rank, r.count) for r in ranks] == [(r.rank, 1) for r in ranks]


@pytest.mark.parametrize("name", ["delta-rule-chunked", "gated-delta-rule-chunked"])
def test_delta_rule_chunks_are_one_pass_with_their_solve(name: str) -> None:
    """Return a correction needs those before it only: the solver runs along with the outputs."""
    passes = Cascade.load(name).analyze().passes
    assert [passes.of(r).count for r in ("P", "P1", "P0", "S0")] == [1, 1, 1, 1]


def test_the_backward_sweeps_up_and_down() -> None:
    """Return the order of chunks is the barrier: no loop goes both ways."""
    passes = Cascade.load("lightning-attention-2-backward").analyze().passes
    assert passes.of("P1").count == 2
    assert {b.einsum for b in passes.of("P1").barriers} == {"DKX", "DVX"}


def test_the_state_does_not_grow_with_the_sequence() -> None:
    for name in CHUNKED[:5]:
        (found,) = (f for f in Cascade.load(name).analyze().footprint if f.rank == "P1")
        assert found.needed == 0


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
def test_the_backward_is_the_slope_of_the_forward(chunk: int) -> None:
    """Central differences of lightning-attention-2 itself, at every element of 6 x 2 inputs."""
    rng = np.random.default_rng(chunk)
    shapes = {"Q": (6, 2), "K": (6, 2), "V": (6, 3)}
    arrays = {n: rng.normal(size=s) for n, s in shapes.items()}
    weights = rng.normal(size=(6, 3))
    forward = Cascade.load("lightning-attention-2")
    backward = Cascade.load("lightning-attention-2-backward")
    lam = 0.8
    found = backward.evaluate({**arrays, "DO": weights}, lam=lam, P0=chunk)
    step = 1e-6
    for name in shapes:
        for at in np.ndindex(arrays[name].shape):
            loss = []
            for sign in (1, -1):
                moved = {n: a.copy() for n, a in arrays.items()}
                moved[name][at] += sign * step
                loss.append(
                    float((forward.evaluate(moved, lam=lam, P0=chunk)["O"] * weights).sum())
                )
            slope = (loss[0] - loss[1]) / (2 * step)
            assert found[f"D{name}"][at] == pytest.approx(slope, abs=2e-8)


# ------------------------------------------------------------------ known identities


def test_lightning_without_decay_is_linear_attention_without_its_norm() -> None:
    inputs, _ = drawn("lightning-attention-2")
    (found,) = evaluated("lightning-attention-2", inputs, lam=1.0, P0=4).values()
    kept = np.tril(np.ones((LENGTH, LENGTH)))
    expected = (inputs["Q"] @ np.swapaxes(inputs["K"], -1, -2) * kept) @ inputs["V"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_a_head_of_retnet_is_lightning_with_its_decay() -> None:
    inputs, _ = drawn("retnet-chunked")
    (found,) = evaluated("retnet-chunked", inputs, P0=4).values()
    for h in range(WIDTHS["H"]):
        one = {n: a[:, h] for n, a in inputs.items()}
        reference = find_reference("lightning_attention")
        assert reference is not None
        expected = reference(**one, lam=1 - 2.0 ** (-5 - h))["O"]
        np.testing.assert_allclose(found[:, h], expected, rtol=1e-11, atol=1e-13)


def test_every_head_with_the_decay_of_its_schedule() -> None:
    """The decays of the schedules are valid parameters of lightning-attention-2."""
    decays = Cascade.load("lightning-decay-code").evaluate({}, H=3, L=5)["LAM"]
    inputs, _ = drawn("lightning-attention-2")
    for layer in (0, 4):
        for h, lam in enumerate(decays[layer]):
            one = {n: a[:, h : h + 1] for n, a in inputs.items()}
            (found,) = evaluated("lightning-attention-2", one, lam=float(lam), P0=4).values()
            (expected,) = evaluated("lightning-attention-recurrent", one, lam=float(lam)).values()
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_gated_delta_without_decay_is_delta() -> None:
    inputs, _ = drawn("gated-delta-rule-chunked")
    inputs["G"] = np.zeros_like(inputs["G"])
    (gated,) = evaluated("gated-delta-rule-chunked", inputs, P0=4).values()
    del inputs["G"]
    (plain,) = evaluated("delta-rule-chunked", inputs, P0=4).values()
    np.testing.assert_allclose(gated, plain, rtol=1e-12, atol=1e-14)


def test_gla_with_one_gate_for_all_channels_is_ssd() -> None:
    inputs, _ = drawn("gla-chunked")
    gates = inputs["G"][..., :1]
    inputs["G"] = np.broadcast_to(gates, inputs["G"].shape).copy()
    (gla,) = evaluated("gla-chunked", inputs, P0=4).values()
    dual = {"X": inputs["V"], "A": gates[..., 0], "BT": inputs["K"], "CT": inputs["Q"]}
    (ssd,) = evaluated("ssd-chunked", dual, P0=4).values()
    np.testing.assert_allclose(gla * 2, ssd, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", FORMS["gla"])
def test_gates_that_close_overflow_nowhere(name: str) -> None:
    """Return the textbook form divides by exp(-50 * 11), which is no number of any type here."""
    inputs, _ = drawn(name)
    inputs["G"] = np.full_like(inputs["G"], -50.0)
    (found,) = evaluated(name, inputs, P0=4).values()
    alone = (inputs["Q"] * inputs["K"]).sum(-1, keepdims=True) * inputs["V"] / 2
    np.testing.assert_allclose(found, alone, rtol=1e-9, atol=1e-12)


def test_a_decay_that_underflows_leaves_only_the_chunk() -> None:
    inputs, _ = drawn("lightning-attention-2")
    (found,) = evaluated("lightning-attention-2", inputs, lam=1e-200, P0=4).values()
    alone = (inputs["Q"] * inputs["K"]).sum(-1, keepdims=True) * inputs["V"]
    np.testing.assert_allclose(found, alone, rtol=1e-12, atol=1e-14)


SEARCHED = (*(n for forms in list(FORMS.values())[:5] for n in forms[1:]), "mamba-s6", "qlstm")


@pytest.mark.parametrize("name", SEARCHED)
def test_some_order_of_elements_needs_one_pass(name: str) -> None:
    """Return the search over every order, on the sequence and, where it has chunks, on those."""
    program = replace(Cascade.load(name).program, parallel=())
    free = [r.name for r in program.ranks if not (r.family or r.like or r.partition)]
    given = dict.fromkeys(free, 1)
    if "P1" not in program.rank_of:
        assert passes_needed(program, "P", resolve_shapes(program, {**given, "P": 4})) == 1
        return
    shapes = resolve_shapes(program, {**given, "P": 4, "P0": 2})
    assert passes_needed(program, "P", shapes) == 1
    shapes = resolve_shapes(program, {**given, "P": 3, "P0": 1})
    assert passes_needed(program, "P1", shapes) == 1


@pytest.mark.parametrize("length", [1, 2, 11])
def test_a_learned_normaliser_of_one_is_linear_attention_without_decay(length: int) -> None:
    rng = np.random.default_rng(length)
    given = {n: rng.normal(size=(3, length, 4)) for n in ("Q", "K", "V", "X")}
    plain = {n: given[n] for n in ("Q", "K", "V")}
    wanted = Cascade.load("lightning-attention").evaluate(
        {n: x[None] for n, x in plain.items()}, lam=1
    )["O"][0]
    for name in ("normalised-attention", "normalised-attention-recurrent"):
        found = Cascade.load(name).evaluate({**given, "WN": np.zeros((3, 4))})["O"]
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
        found = Cascade.load(name).evaluate({**given, "WN": np.ones((3, 4))})["O"]
        scale = np.exp(given["X"].sum(-1))[..., None]
        np.testing.assert_allclose(found * scale, wanted, rtol=1e-11, atol=1e-12)
