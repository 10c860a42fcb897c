"""Gated states: forms that agree at any size of a chunk, limits, passes, machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_checks import close, reference

from archsim import Architecture, Mapping, simulate
from archsim.validation.inputs import random_inputs
from einsum_cascade import Cascade
from einsum_cascade.shapes import resolve_shapes
from workloads import load

FORMS = {
    "rwkv6": ("rwkv-6-parallel", "rwkv-6-recurrent", "rwkv-6-chunked"),
    "rwkv7": ("rwkv-7-recurrent", "rwkv-7-chunked"),
    "kimi_delta_attention": ("kimi-delta-attention", "kimi-delta-attention-chunked"),
    "mlstm": ("mlstm-parallel", "mlstm-recurrent", "mlstm-chunked"),
    "lightning_attention_grouped": (
        *("lightning-attention-grouped", "lightning-attention-grouped-recurrent"),
        "lightning-attention-grouped-2",
    ),
    "mamba3": ("mamba-3-parallel", "mamba-3-recurrent", "mamba-3-chunked"),
    "gated_slot_attention": (
        *("gated-slot-attention-parallel", "gated-slot-attention-recurrent"),
        "gated-slot-attention-chunked",
    ),
    "based_attention": (
        *("based-attention-parallel", "based-attention-recurrent", "based-attention-chunked"),
    ),
    "log_linear_attention": ("log-linear-attention", "log-linear-attention-recurrent"),
}
TWO_PASSES = "gated-slot-attention-parallel"
SIZES = {"B": 2, "H": 2, "G": 2, "S": 2, "E": 4, "F": 3, "I": 2, "C": 3, "L": 4, "N": 5}


def drawn(name: str, length: int, seed: int = 0) -> dict[str, Any]:
    """Inputs of a cascade of some length."""
    program = Cascade.load(name).program
    names = {r.name for r in program.ranks} | set(program.parallel)
    given = {k: v for k, v in {**SIZES, "P": length, "P0": 3}.items() if k in names}
    shapes = given | resolve_shapes(program, given)
    return random_inputs(program, shapes, np.random.default_rng(seed))


@pytest.mark.parametrize("method", FORMS)
@pytest.mark.parametrize("length", [1, 7])
def test_forms_agree_with_their_recurrence(method: str, length: int) -> None:
    """Chunks of one, that divide the length, that do not, and longer than it."""
    inputs = drawn(FORMS[method][-1], length, seed=length)
    (wanted,) = reference(method, **inputs).values()
    assert np.abs(wanted).max() > 0.01
    for name in FORMS[method]:
        cascade = Cascade.load(name)
        chunks = (1, 3, 4, 9) if "P0" in cascade.program.rank_of else (None,)
        for chunk in chunks:
            sizes = {} if chunk is None else {"P0": chunk}
            (found,) = cascade.evaluate(inputs, **sizes).values()
            close(found, wanted, 10)


def test_a_delta_step_of_one_is_the_gated_delta_rule() -> None:
    inputs = drawn("gated-delta-rule", 6)
    wanted = reference("gated_delta_rule", **inputs)["O"]
    queries = inputs["Q"] / np.linalg.norm(inputs["Q"], axis=-1, keepdims=True) / 2
    found = Cascade.load("delta-product").evaluate({**inputs, "Q": queries}, J=1)["O"]
    close(found, wanted)
    channels = {**inputs, "G": np.repeat(inputs["G"][..., None], 4, axis=-1)}
    close(Cascade.load("kimi-delta-attention").evaluate(channels)["O"], wanted)


def test_a_channel_decay_of_rwkv_7_is_that_of_kda() -> None:
    """The removal key -k exp(g), what is put in beta k, values times beta (KDA's own form)."""
    inputs = drawn("kimi-delta-attention", 6)
    inputs["G"][:] = inputs["G"][..., :1]  # one decay: then the removal key is as long as it
    wanted = Cascade.load("kimi-delta-attention").evaluate(inputs)["O"]
    keys = inputs["K"] / np.linalg.norm(inputs["K"], axis=-1, keepdims=True)
    beta, decay = inputs["BETA"][..., None], np.exp(inputs["G"])
    given = {
        "R": inputs["Q"] / np.linalg.norm(inputs["Q"], axis=-1, keepdims=True) / 2,
        "K": keys * beta,
        "V": inputs["V"],
        "G": inputs["G"],
        "KK": keys,
        "AL": np.broadcast_to(beta * decay, keys.shape),
    }
    close(Cascade.load("rwkv-7-chunked").evaluate(given, P0=4)["O"], wanted)


def test_mamba_3_without_trapezoids_and_angles_is_mamba_2() -> None:
    inputs = drawn("mamba-3-chunked", 7)
    inputs["AN"][:], inputs["LM"][:], inputs["DSK"][:] = 0, 1, 0
    found = Cascade.load("mamba-3-chunked").evaluate(inputs, P0=3)["Y"]
    steps = inputs["DT"][..., None]
    flat = {n: inputs[n].reshape(*inputs[n].shape[:-2], 4) for n in ("BT", "CT")}
    decays = inputs["A"][..., None] * inputs["DT"]
    plain = reference("state_space_dual", X=inputs["X"] * steps, A=decays, **flat)["Y"]
    gate = inputs["Z"] / (1 + np.exp(-inputs["Z"]))
    close(found, plain * gate)


def test_levels_of_one_weight_are_mamba_2() -> None:
    inputs = drawn("log-linear-attention-recurrent", 7)
    inputs["LS"][:] = 1
    found = Cascade.load("log-linear-attention-recurrent").evaluate(inputs)["O"]
    same = {"X": inputs["V"], "A": inputs["A"], "BT": inputs["K"], "CT": inputs["Q"]}
    close(found, reference("state_space_dual", **same)["Y"])


def test_strong_gates_of_mlstm_do_not_overflow() -> None:
    inputs = drawn("mlstm-chunked", 7)
    inputs["FG"] *= 5
    inputs["IG"] *= 5
    (wanted,) = reference("mlstm", **inputs).values()
    for name in FORMS["mlstm"]:
        sizes = {"P0": 3} if name == "mlstm-chunked" else {}
        (found,) = Cascade.load(name).evaluate(inputs, **sizes).values()
        close(found, wanted, 9)
        raised = {**inputs, "IG": inputs["IG"] + 800}
        assert np.isfinite(Cascade.load(name).evaluate(raised, **sizes)["O"]).all()


@pytest.mark.parametrize("name", [n for forms in FORMS.values() for n in forms])
def test_one_pass_over_the_sequence(name: str) -> None:
    passes = Cascade.load(name).analyze().passes
    found = {r.rank: r.count for r in passes.ranks if r.rank in ("P", "P1", "M", "M1")}
    # A query of slots over pairs needs all of its keys before it weighs a value.
    assert found == dict.fromkeys(found, 1) | ({"M": 2} if name == TWO_PASSES else {})
    assert found


def test_every_form_runs_on_a_machine() -> None:
    machine = Architecture.load("fusemax")
    for name in ("rwkv-7-chunked", "mamba-3-chunked", "log-linear-attention", "rg-lru"):
        settings = {"cascade": name, "batch": 1}
        found = simulate(load("bert-base", seq_len=64, **settings), machine)
        assert found.latency_s >= found.floor.latency_s > 0


@pytest.mark.parametrize(
    ("mapping", "most"), [("lightning-attention-grouped-2", 1.1), ("mlstm-chunked", 2.7)]
)
def test_mappings_keep_states_in_the_buffer(mapping: str, most: float) -> None:
    workload = load("bert-base", seq_len=4096, batch=4, cascade=mapping)
    found = simulate(workload, Architecture.load("fusemax"), mapping=Mapping.load(mapping))
    assert found.over_floor <= most
