"""Recurrences from a state on: pieces of a sequence, or single tokens, give what the whole does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from evaluated import evaluate_mapping
from machines import small

from archsim import Architecture, Mapping
from archsim.result.result import Result
from archsim.validation.inputs import random_inputs
from archsim.validation.mapped import mapped_run, mapped_shapes
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.shapes import resolve_shapes
from mappers.construct.choices import choose
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]

WIDTHS = {"B": 2, "H": 6, "S": 3, "E": 4, "F": 3, "C": 5, "N": 4}
LENGTH = 11
FAMILIES = {
    # The whole in chunks or positions, one token; inputs without positions.
    "lightning": ("lightning-attention-2", "lightning-attention-step", ()),
    "retnet": ("retnet-chunked", "retnet-step", ()),
    "ssd": ("ssd-chunked", "ssd-step", ()),
    "s6": ("mamba-s6", "mamba-s6-step", ("BD", "A", "DS")),
}
MAPPINGS = (
    *(f"{family[0]}-{form}" for family in FAMILIES.values() for form in ("prefill", "resumed")),
    *(family[1] for family in FAMILIES.values()),
    *("mamba-s6", "depthwise-convolution"),
)


def forms(family: str) -> list[Cascade]:
    """Return the whole, one that leaves its state, one that also begins from one, and one token."""
    whole, step, _ = FAMILIES[family]
    return [Cascade.load(n) for n in (whole, f"{whole}-prefill", f"{whole}-resumed", step)]


def drawn(family: str) -> tuple[Arrays, Array, dict[str, float], dict[str, int]]:
    """Inputs of the whole, a first state, parameters, and sizes of chunks and groups."""
    program = forms(family)[2].program
    known = {r.name for r in program.ranks} | set(program.parallel)
    given = {n: s for n, s in {**WIDTHS, "P": LENGTH, "P0": 4}.items() if n in known}
    shapes = given | resolve_shapes(program, given)
    inputs = random_inputs(program, shapes, np.random.default_rng(3))
    parameters = {"lam": 0.9} if family == "lightning" else {}
    return inputs, inputs.pop("SI"), parameters, {n: given[n] for n in ("P0", "S") if n in given}


def cut(family: str, inputs: Arrays, begin: int, end: int) -> Arrays:
    """Return the inputs at some positions: along the last axis but one, or the last of A in SSD."""
    fixed = FAMILIES[family][2]
    found = {}
    for name, values in inputs.items():
        axis = -1 if family == "ssd" and name == "A" else -2
        at = range(begin, end)
        found[name] = values if name in fixed else values.take(at, axis=axis)
    return found


def of_the_whole(
    family: str, inputs: Arrays, sizes: dict[str, int], parameters: dict[str, float]
) -> Array:
    """Return the result of the cascade without a state; it has BT and CT for every head."""
    if family == "ssd":
        shared = {n: np.repeat(inputs[n], sizes["S"], axis=1) for n in ("BT", "CT")}
        inputs, sizes = inputs | shared, {"P0": sizes["P0"]}
    (found,) = forms(family)[0].evaluate(inputs, **sizes, **parameters).values()
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ends", [(LENGTH,), (4, LENGTH), (3, 9, LENGTH)])
def test_pieces_of_a_sequence_give_what_the_whole_gives(family: str, ends: tuple[int, ...]) -> None:
    """Pieces that are no multiple of a chunk leave the state of their last token."""
    _, prefill, resumed, _ = forms(family)
    inputs, _, parameters, sizes = drawn(family)
    expected = of_the_whole(family, inputs, sizes, parameters)
    first = cut(family, inputs, 0, ends[0])
    output, state = prefill.evaluate(first, **sizes, **parameters).values()
    pieces = [output]
    for begin, end in pairwise(ends):
        piece = cut(family, inputs, begin, end) | {"SI": state}
        output, state = resumed.evaluate(piece, **sizes, **parameters).values()
        pieces.append(output)
    np.testing.assert_allclose(np.concatenate(pieces, axis=-2), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("family", FAMILIES)
def test_single_tokens_give_what_the_whole_gives(family: str) -> None:
    _, _, resumed, step = forms(family)
    inputs, first, parameters, sizes = drawn(family)
    piece = inputs | {"SI": first}
    expected, last = resumed.evaluate(piece, **sizes, **parameters).values()
    state, rows = first, []
    for t in range(LENGTH):
        token = {
            name: values
            if name in FAMILIES[family][2]
            else values[..., 0]
            if family == "ssd" and name == "A"
            else values[..., 0, :]
            for name, values in cut(family, inputs, t, t + 1).items()
        }
        groups = {n: size for n, size in sizes.items() if n == "S"}
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
    how, machine = Mapping.load(mapping), small((16, 16), 16)
    cascade = Cascade.load(how.cascade)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=mapped_shapes(cascade, how, machine),
        trials=1,
        run=mapped_run(cascade, how, machine, GENERATORS),
    )
    assert report.ok, report
    assert report.independent


def simulated(mapping: str, shapes: dict[str, int]) -> Result:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    return evaluate_mapping(program, how, Architecture.load("fusemax"), shapes, choose=choose)


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
@pytest.mark.parametrize("family", ["lightning", "retnet"])
def test_a_state_is_written_at_the_end_and_read_where_there_is_one(
    family: str, length: int
) -> None:
    whole = FAMILIES[family][0]
    shapes = {"B": 2, "H": 3, "E": 128, "F": 64, "P": length}
    names = (whole, f"{whole}-prefill", f"{whole}-resumed")
    none, left, resumed = (words(simulated(name, shapes)) for name in names)
    state = 2 * 3 * 128 * 64
    assert (left[0] - none[0], left[1] - none[1]) == (0, state)
    assert (resumed[0] - none[0], resumed[1] - none[1]) == (state, state)


@pytest.mark.parametrize("length", [1, 255, 1000])
def test_the_states_of_channels_are_written_at_the_end(length: int) -> None:
    B, C, N = 2, 600, 16
    shapes = {"B": B, "C": C, "N": N, "P": length}
    none, left, resumed = (
        words(simulated(name, shapes))
        for name in ("mamba-s6", "mamba-s6-prefill", "mamba-s6-resumed")
    )
    assert (left[0] - none[0], left[1] - none[1]) == (0, B * C * N)
    assert (resumed[0] - none[0], resumed[1] - none[1]) == (B * C * N, B * C * N)


@pytest.mark.parametrize("length", [1, 256, 1000])
@pytest.mark.parametrize("groups", [1, 2, 16])
def test_chunks_of_the_heads_of_a_group_share_their_inputs(groups: int, length: int) -> None:
    """X, A and Y of every head, BT and CT of every group: each word once, and the states.

    Keys and values (BT and X) come in whole chunks, the last one too.
    """
    B, H, E, F = 2, 16, 128, 64
    shapes = {"B": B, "H": H, "S": H // groups, "E": E, "F": F, "P": length}
    state = B * H * E * F
    whole = 256 * -(-length // 256)
    inputs = B * (whole * (H * F + groups * E) + length * (H + groups * E))
    outputs = B * length * H * F + state
    prefill, resumed = (simulated(f"ssd-chunked-{form}", shapes) for form in ("prefill", "resumed"))
    assert words(prefill) == (inputs, outputs)
    assert words(resumed) == (inputs + state, outputs)
    for result in (prefill, resumed):
        assert result.traffic[0].total_bytes == result.bounds.traffic_bytes
    # The products of BT and CT, too, are made once a group.
    (products,) = (e for e in prefill.einsums if e.name == "CB")
    pairs = sum(p % 256 + 1 for p in range(length))
    assert dict(products.operations) == {"mac": B * groups * E * pairs}


def test_states_that_do_not_fit_together_wait_outside() -> None:
    """80 heads of Mamba-2 2.7B: 40 go together, and every chunk moves all states.

    What the sums of decays inside a chunk (SG) take beside the states is most of it: 24 MiB for
    all heads, of 16.
    """
    H, E, F, length = 80, 128, 64, 4096
    result = simulated("ssd-chunked-prefill", {"B": 1, "H": H, "S": H, "E": E, "F": F, "P": length})
    assert dict(result.tiles)["S1"] == 2
    inputs = length * (H * (F + 1) + 2 * E)
    moved = H * E * F * (length // 256)
    # A running value is read for each of the Einsums that take it: DS and YX.
    assert words(result) == (inputs + 2 * moved, length * H * F + moved + H * E * F)


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
