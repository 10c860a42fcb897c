"""Attention whose scores, masks or weights are changed: forms that agree, limits, passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_checks import close, draw, reference

from archsim import Architecture, Mapping, simulate
from archsim.validation.inputs import random_inputs, random_parameters
from einsum_cascade import Cascade
from einsum_cascade.shapes import resolve_shapes
from workloads import load

CHANGED = (
    *(
        "attention-softcap",
        "attention-alibi",
        "attention-t5-bias",
        "attention-t5-bias-causal",
        "attention-prefix",
    ),
    *("attention-chunked-local", "gated-attention", "forgetting-attention"),
    *("softpick-attention", "differential-attention"),
)
LENGTHS = [(1, 1), (5, 7), (7, 5), (6, 6)]


def drawn(name: str, queries: int, keys: int, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and parameters of a cascade for some queries and keys."""
    program = Cascade.load(name).program
    given = {"B": 2, "H": 2, "E": 3, "F": 4, "P": queries, "M": keys, "N": 3, "P0": 2, "M0": 2}
    names = {r.name for r in program.ranks} | set(program.parallel)
    if program.share_shape("P", "M"):
        given["M"] = queries
    given = {k: v for k, v in given.items() if k in names}
    shapes = given | resolve_shapes(program, given)
    rng = np.random.default_rng(queries)
    return random_inputs(program, shapes, rng), random_parameters(program, more, rng, shapes)


@pytest.mark.parametrize("name", CHANGED)
def test_one_pass_gives_what_three_give(name: str) -> None:
    one_pass = Cascade.load(f"{name}-1pass")
    for queries, keys in LENGTHS:
        inputs, parameters = drawn(name, queries, keys)
        (wanted,) = Cascade.load(name).evaluate(inputs, **parameters).values()
        for tile in (1, 2, 9):
            (found,) = one_pass.evaluate(inputs, **parameters, M0=tile).values()
            close(found, wanted)


def test_a_cap_takes_the_place_of_the_maximum() -> None:
    inputs, parameters = drawn("attention-softcap", 7, 5, cap=3.0)
    found = Cascade.load("attention-softcap-bounded").evaluate(inputs, **parameters)["AV"]
    close(found, Cascade.load("attention-softcap").evaluate(inputs, **parameters)["AV"])
    assert not found[:, :, :2].any()  # these queries see no key


@pytest.mark.parametrize(
    ("name", "inputs", "parameters"),
    [
        ("attention-softcap", {}, {"cap": 1e9}),
        ("attention-alibi", {"SL": 0.0}, {}),
        ("attention-prefix", {}, {"L": 0}),
        ("attention-chunked-local", {}, {"C": 8}),
        ("forgetting-attention", {"FG": 0.0}, {}),
    ],
)
def test_what_changes_nothing_leaves_causal_attention(
    name: str, inputs: dict[str, float], parameters: dict[str, float]
) -> None:
    given, more = drawn(name, 6, 6, **parameters)
    given.update({k: np.full_like(given[k], v) for k, v in inputs.items()})
    found = Cascade.load(name).evaluate(given, **more)["AV"]
    close(found, reference("causal_attention", **{k: given[k] for k in "QKV"})["AV"], 8)


def test_a_constant_forget_gate_is_a_slope() -> None:
    inputs, _ = drawn("forgetting-attention", 6, 6)
    inputs["FG"][:] = -0.3
    sloped = {k: inputs[k] for k in "QKV"} | {"SL": np.full(2, 0.3)}
    found = Cascade.load("forgetting-attention-1pass").evaluate(inputs, M0=4)["AV"]
    close(found, Cascade.load("attention-alibi").evaluate(sloped)["AV"])


def test_chunks_are_attentions_of_their_own() -> None:
    """A short last chunk; the first query of a chunk sees itself alone."""
    inputs, _ = drawn("attention-chunked-local", 7, 7)
    found = Cascade.load("attention-chunked-local-1pass").evaluate(inputs, C=3, M0=2)["AV"]
    for first in (0, 3, 6):
        part = {k: v[:, :, first : first + 3] for k, v in inputs.items()}
        close(found[:, :, first : first + 3], reference("causal_attention", **part)["AV"])


def test_rows_of_the_second_map_are_taken_off() -> None:
    """Without the norm's weight rows of values 1 sum to 1 - lam, before they are normalised."""
    inputs, parameters = drawn("differential-attention", 5, 5)
    inputs |= {"LQ": np.zeros((2, 3)), "LK": np.zeros((2, 3))}
    inputs["V"][:] = 1.0
    cascade = Cascade.load("differential-attention")
    kept = cascade.evaluate(inputs, **parameters, keep="all")
    close(kept["O"], np.full_like(kept["O"], 1 - parameters["lam0"]))


# ------------------------------------------------------------------ pages


def pages(order: list[int]) -> dict[str, Any]:
    """Two sequences of ten keys in pages of three, found in some order."""
    drawn_at = draw(3, Q=(2, 2, 2, 4), KP=(8, 3, 2, 4), VP=(8, 3, 2, 5))
    table = np.array([[[0, 1], [2, 3]], [[4, 5], [0, 7]]])
    place = np.argsort(order)
    moved = {n: drawn_at[n][order] for n in ("KP", "VP")}
    return {"Q": drawn_at["Q"], **moved, "TABLE": place[table]}


@pytest.mark.filterwarnings("ignore:input 'TABLE' is")
def test_where_a_page_lies_does_not_matter() -> None:
    """Nor that the sequences share one."""
    cascade = Cascade.load("paged-attention-decode")
    first, other = pages(list(range(8))), pages([3, 6, 0, 7, 1, 5, 2, 4])
    for keys in (1, 9, 10, 12):
        found = cascade.evaluate(first, M=keys, M1=-(-keys // 6)) if keys > 6 else None
        if found is not None:
            close(cascade.evaluate(other, M=keys)["AV"], found["AV"])
            close(found["AV"], reference("paged_attention_decode", **first, M=keys)["AV"])


@pytest.mark.filterwarnings("ignore:input 'TABLE' is")
def test_what_lies_behind_the_last_key_is_not_read() -> None:
    cascade = Cascade.load("paged-attention-decode")
    inputs = pages(list(range(8)))
    wanted = cascade.evaluate(inputs, M=10)["AV"]
    inputs["KP"][[3, 7], 1:] = 1e30
    inputs["VP"][[3, 7], 1:] = 1e30
    close(cascade.evaluate(inputs, M=10)["AV"], wanted)


# ------------------------------------------------------------------ passes, rewrites, machines


@pytest.mark.parametrize("name", CHANGED)
def test_one_pass_is_derived(name: str) -> None:
    cascade = Cascade.load(name)
    derived = cascade.rewrite("reduce_passes:M")
    assert cascade.passes("M").count == (2 if name == "softpick-attention" else 3)
    assert derived.result.passes("M").count == 1
    assert derived.proof is not None
    assert derived.proof.error_float64 < 1e-12
    assert Cascade.load(f"{name}-1pass").passes("M").count == 1


@pytest.mark.parametrize(
    ("mapping", "most"),
    [
        ("fusemax-softcap", 1.02),
        ("fusemax-alibi", 1.02),
        ("fusemax-prefix", 1.25),
        ("fusemax-chunked-local", 1.02),
        ("fusemax-gated", 1.02),
        ("fusemax-softpick", 1.2),
        ("fusemax-differential", 1.3),
    ],
)
def test_mappings_are_near_the_floor(mapping: str, most: float) -> None:
    how = Mapping.load(mapping)
    work = load("bert-base", seq_len=512, cascade=how.cascade)
    found = simulate(work, Architecture.load("fusemax"), how)
    assert found.over_floor <= most
