"""Recurrences from a state on: pieces of a sequence, or single tokens, give what the whole does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsim import Architecture, Mapping
from archsim.analytical import evaluate_mapping
from archsim.checking.validation import validate_cascade
from archsim.checking.validation_inputs import random_inputs
from archsim.checking.validation_mapped import mapped_run, mapped_shapes
from archsim.results import Result
from einsum_cascade import Cascade
from einsum_cascade.shapes import resolve_shapes
from workloads.references import find_reference

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

WIDTHS = {"B": 2, "H": 3, "E": 4, "F": 3, "C": 5, "N": 4}
LENGTH = 11
FAMILIES = {
    # The whole in chunks or positions, from a state on, one token; inputs without positions.
    "lightning": (
        *("lightning-attention-2", "lightning-attention-2-resumed"),
        *("lightning-attention-step", ()),
    ),
    "retnet": ("retnet-chunked", "retnet-chunked-resumed", "retnet-step", ()),
    "ssd": ("ssd-chunked", "ssd-chunked-resumed", "ssd-step", ()),
    "s6": ("mamba-s6", "mamba-s6-resumed", "mamba-s6-step", ("BD", "A", "DS")),
}
MAPPINGS = (
    *(name for family in FAMILIES.values() for name in family[1:3]),
    *("mamba-s6", "depthwise-convolution"),
)


def drawn(family: str) -> tuple[Arrays, Array, dict[str, float]]:
    """Inputs of the whole, a first state, and parameters."""
    program = Cascade.load(FAMILIES[family][1]).program
    known = {r.name for r in program.ranks} | set(program.parallel)
    given = {n: s for n, s in {**WIDTHS, "P": LENGTH, "P0": 4}.items() if n in known}
    shapes = given | resolve_shapes(program, given)
    inputs = random_inputs(program, shapes, np.random.default_rng(3))
    return inputs, inputs.pop("SI"), {"lam": 0.9} if family == "lightning" else {}


def cut(family: str, inputs: Arrays, begin: int, end: int) -> Arrays:
    """The same inputs for some positions: the last axis but one, or the last of A in SSD."""
    fixed = FAMILIES[family][3]
    found = {}
    for name, values in inputs.items():
        axis = -1 if family == "ssd" and name == "A" else -2
        at = range(begin, end)
        found[name] = values if name in fixed else values.take(at, axis=axis)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ends", [(LENGTH,), (4, LENGTH), (3, 9, LENGTH)])
def test_pieces_of_a_sequence_give_what_the_whole_gives(family: str, ends: tuple[int, ...]) -> None:
    """Pieces that are no multiple of a chunk leave the state of their last token."""
    whole, resumed = (Cascade.load(name) for name in FAMILIES[family][:2])
    inputs, first, parameters = drawn(family)
    tiles = {} if family == "s6" else {"P0": 4}
    (expected,) = whole.evaluate(inputs, **tiles, **parameters).values()
    state, pieces = np.zeros_like(first), []
    for begin, end in zip((0, *ends), ends, strict=False):
        piece = cut(family, inputs, begin, end) | {"SI": state}
        output, state = resumed.evaluate(piece, **tiles, **parameters).values()
        pieces.append(output)
    np.testing.assert_allclose(np.concatenate(pieces, axis=-2), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("family", FAMILIES)
def test_single_tokens_give_what_the_whole_gives(family: str) -> None:
    _, resumed, step = (Cascade.load(name) for name in FAMILIES[family][:3])
    inputs, first, parameters = drawn(family)
    tiles = {} if family == "s6" else {"P0": 4}
    piece = inputs | {"SI": first}
    expected, last = resumed.evaluate(piece, **tiles, **parameters).values()
    state, rows = first, []
    for t in range(LENGTH):
        token = {
            name: values
            if name in FAMILIES[family][3]
            else values[..., 0]
            if family == "ssd" and name == "A"
            else values[..., 0, :]
            for name, values in cut(family, inputs, t, t + 1).items()
        }
        # One group a head: the chunked form has no shared BT and CT.
        groups = {"S": 1} if family == "ssd" else {}
        output, state = step.evaluate(token | {"SI": state}, **groups, **parameters).values()
        rows.append(output)
    np.testing.assert_allclose(np.stack(rows, axis=-2), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(state, last, rtol=1e-12, atol=1e-13)


def test_a_convolution_in_pieces_needs_the_tokens_before() -> None:
    reference = find_reference("depthwise_convolution")
    assert reference is not None
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 10, 3)), rng.normal(size=(2, 4, 3))
    whole = reference(X=x, W=w, P=7)["Y"]
    first, second = (reference(X=x[:, a:b], W=w, P=b - a - 3)["Y"] for a, b in ((0, 6), (3, 10)))
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole)
    # Against numpy's own convolution, of one channel.
    sums = np.convolve(x[0, :, 1], w[0, ::-1, 1], mode="valid")
    np.testing.assert_allclose(whole[0, :, 1], sums / (1 + np.exp(-sums)))


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_mapped_nest_computes_the_cascade(mapping: str) -> None:
    """Whole tiles and a ragged one, every loop as it is costed."""
    how, machine = Mapping.load(mapping), Architecture.load("fusemax")
    cascade = Cascade.load(how.cascade)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=mapped_shapes(cascade, how, machine),
        trials=1,
        run=mapped_run(cascade, how, machine),
    )
    assert report.ok, report
    assert report.independent


def simulated(mapping: str, shapes: dict[str, int]) -> Result:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    return evaluate_mapping(program, how, Architecture.load("fusemax"), shapes)


def words(result: Result) -> tuple[int, int]:
    """Words that leave and enter the outermost memory."""
    dram = result.traffic[0]
    return dram.read_bytes // 2, dram.write_bytes // 2


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_token_reads_and_writes_its_state_once(batch: int) -> None:
    B, H, E, F = batch, 64, 128, 128
    state, inputs = B * H * E * F, B * H * (2 * E + F)
    for mapping in ("lightning-attention-step", "retnet-step"):
        found = words(simulated(mapping, {"B": B, "H": H, "E": E, "F": F}))
        assert found == (state + inputs, state + B * H * F)


@pytest.mark.parametrize("groups", [1, 8])
def test_heads_of_a_group_share_their_inputs(groups: int) -> None:
    B, H, E, F = 2, 128, 128, 64
    result = simulated("ssd-step", {"B": B, "H": H, "S": H // groups, "E": E, "F": F})
    state, shared = B * H * E * F, 2 * B * groups * E
    assert words(result) == (state + shared + B * H * (F + 1), state + B * H * F)


def test_sequences_share_the_parameters_of_a_scan() -> None:
    B, C, N = 16, 5120, 16
    result = simulated("mamba-s6-step", {"B": B, "C": C, "N": N})
    # A, the step's bias and the skip once for all; BT and CT stay for the next channels.
    inputs = C * N + 2 * C + 3 * B * C + 2 * B * N
    assert words(result) == (B * C * N + inputs, B * C * N + B * C)


@pytest.mark.parametrize("length", [1, 255, 256, 1000])
@pytest.mark.parametrize("family", ["lightning", "retnet", "ssd"])
def test_a_state_more_is_read_and_written_than_from_none(family: str, length: int) -> None:
    whole, resumed = FAMILIES[family][:2]
    shapes = {"B": 2, "H": 3, "E": 128, "F": 64, "P": length}
    before, after = words(simulated(whole, shapes)), words(simulated(resumed, shapes))
    state = 2 * 3 * 128 * 64
    assert (after[0] - before[0], after[1] - before[1]) == (state, state)


def test_every_column_has_work_in_a_step() -> None:
    """64 heads and 4 columns of values: 256; 128 rows of keys."""
    result = simulated("lightning-attention-step", {"B": 1, "H": 64, "E": 128, "F": 128})
    for einsum in result.einsums:
        per_point = 2 if einsum.name == "SO" else 1
        assert dict(einsum.operations).popitem()[1] * per_point / einsum.cycles == 256 * 128


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (64, 1), (2, 256), (3, 1000)])
def test_a_convolution_reads_its_tokens_once_but_at_edges(batch: int, tokens: int) -> None:
    channels, taps = 5376, 4
    shapes = {"B": batch, "C": channels, "T": taps, "P": tokens, "M": tokens + taps - 1}
    result = simulated("depthwise-convolution", shapes)
    tiles = -(-tokens // 256)
    inputs = batch * (tokens + tiles * (taps - 1)) * channels + taps * channels
    assert words(result) == (inputs, batch * tokens * channels)
