"""Forms over chunks, heads with several inputs, blocks that overlap: their limits, and passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_checks import close, draw, reference

from einsum_cascade import Cascade
from einsum_cascade.errors import CascadeError, RewriteError
from einsum_cascade.shapes import resolve_shapes


def evaluated(name: str, inputs: dict[str, Any], **numbers: Any) -> Any:
    return Cascade.load(name).evaluate(inputs, **numbers)


@pytest.mark.parametrize(("tokens", "last", "chunk"), [(5, 3, 4), (6, 3, 3), (4, 1, 64)])
def test_chunks_of_delta_product_begin_anywhere(tokens: int, last: int, chunk: int) -> None:
    """Also inside a token, and the last token has fewer steps."""
    steps = 3 * (tokens - 1) + last
    inputs = draw(5, Q=(1, 2, tokens, 4), K=(1, 2, steps, 4), V=(1, 2, steps, 3))
    inputs |= {"BETA": 1 + np.tanh(inputs["V"][..., 0]), "G": -np.abs(inputs["Q"][..., 0])}
    found = evaluated("delta-product-chunked", inputs, J=3, X0=chunk)["O"]
    close(found, reference("delta_product", **inputs, J=3)["O"])
    close(found, evaluated("delta-product", inputs, J=3)["O"])


@pytest.mark.parametrize(
    ("tokens", "steps", "chunk"),
    [(1, 3, 4), (1, 1, 1), (5, 3, 1), (7, 1, 3), (8, 2, 4), (6, 4, 5), (4, 2, 64)],
)
def test_chunks_of_whole_tokens_invert_their_system(tokens: int, steps: int, chunk: int) -> None:
    """The chunked form equals the recurrence: with one step per token, with more than two, and
    with chunks of one token, that do not divide the length, or that exceed it."""
    shapes = (1, 2, tokens, steps)
    inputs = draw(6, Q=(1, 2, tokens, 4), K=(*shapes, 4), V=(*shapes, 3))
    inputs |= {"BETA": 1 + np.tanh(inputs["V"][..., 0]), "G": -np.abs(inputs["Q"][..., 0])}
    found = evaluated("delta-product-token-chunks", inputs, P0=chunk)["O"]
    assert np.abs(found).max() > 0.1
    close(found, reference("delta_product", **inputs, J=steps)["O"])
    inputs |= {n: inputs[n].reshape(1, 2, tokens * steps, -1) for n in ("K", "V", "BETA")}
    inputs["BETA"] = inputs["BETA"][..., 0]
    close(found, evaluated("delta-product", inputs, J=steps)["O"])
    close(found, evaluated("delta-product-chunked", inputs, J=steps, X0=chunk)["O"])


def test_an_inverse_in_a_chunk_is_that_of_its_system() -> None:
    """T (I - A) is the unit matrix, where the two axes of a step are one."""
    inputs = draw(7, Q=(1, 1, 5, 4), K=(1, 1, 5, 3, 4), V=(1, 1, 5, 3, 3))
    inputs |= {"BETA": 1 + np.tanh(inputs["V"][..., 0]), "G": -np.abs(inputs["Q"][..., 0])}
    cascade = Cascade.load("delta-product-token-chunks")
    every = cascade.evaluate(inputs, keep="all", P0=5)
    inverse, taken = (np.array(every[n]).reshape(15, 15) for n in ("T", "A"))
    close(inverse @ (np.eye(15) - np.tril(taken, -1)), np.eye(15))


@pytest.mark.parametrize(
    ("length", "levels"),
    [(64 * 5 + 3, 10), (64, 10), (64 * 17, 12), (64 * 9, 8), (64 * 3, 7), (200, 4)],
)
def test_levels_of_chunks_are_those_of_their_positions(length: int, levels: int) -> None:
    """Carries through no, one and all levels; what is carried beyond the last is seen no more."""
    inputs = draw(6, Q=(1, 1, length, 3), K=(1, 1, length, 3), V=(1, 1, length, 2))
    inputs |= draw(7, LS=(1, 1, length, levels)) | {"A": -0.1 * np.abs(inputs["Q"][..., 0])}
    found = evaluated("log-linear-attention-chunked", inputs)["O"]
    if 2 ** (levels - 1) >= length:
        close(found, reference("log_linear_attention", **inputs)["O"])
    close(found, evaluated("log-linear-attention-recurrent", inputs)["O"])


def test_chunks_of_log_linear_attention_have_their_length() -> None:
    program = Cascade.load("log-linear-attention-chunked").program
    given = {"E": 4, "F": 4, "P": 300, "L": 10}
    assert resolve_shapes(program, given)["P1"] == 5
    with pytest.raises(CascadeError, match="M0 = 64, P0 = 32"):
        resolve_shapes(program, given | {"P0": 32})


@pytest.mark.parametrize("form", ["recurrent", "chunked"])
def test_one_input_and_output_of_a_head(form: str) -> None:
    """Weights of 1 make it Mamba-3 as it is with one input."""
    inputs = draw(8, CT=(1, 2, 7, 3, 2), BT=(1, 2, 7, 3, 2), X=(1, 2, 7, 4), Z=(1, 2, 7, 4))
    inputs |= draw(9, AN=(1, 2, 7, 3), DT=(1, 2, 7), LM=(1, 2, 7))
    inputs |= {n: np.abs(inputs[n]) / 4 for n in ("DT", "LM")}
    inputs |= {"A": np.array([-0.3, -0.8]), "DSK": np.array([0.5, 1.5])}
    sizes = {"P0": 3} if form == "chunked" else {}
    single = evaluated(f"mamba-3-{form}", inputs, **sizes)["Y"]
    for name in ("CT", "BT"):
        inputs[name] = inputs[name][:, :, :, None]
    ones = {name: np.ones((2, 1, 4)) for name in ("MX", "MZ", "MO")}
    close(evaluated(f"mamba-3-mimo-{form}", inputs | ones, **sizes)["Y"], single)


def test_blocks_that_do_not_overlap_are_those_of_one_length() -> None:
    """Return one cell is a compressed block and a block that is picked; one key for all
    branches."""
    inputs = draw(10, Q=(1, 2, 3, 9, 4), K=(1, 2, 9, 4), V=(1, 2, 9, 5))
    inputs |= draw(11, GC=(1, 2, 3, 9), GS=(1, 2, 3, 9), GW=(1, 2, 3, 9))
    wanted = evaluated("native-sparse-attention", inputs, W=3, U=2, J=3)["O"]
    keys, values = inputs.pop("K"), inputs.pop("V")
    inputs |= {f"K{branch}": keys for branch in "ABW"} | {f"V{branch}": values for branch in "ABW"}
    inputs |= {weights: np.full((2, 1, 2), 0.5) for weights in ("PK", "PV")}
    close(evaluated("native-sparse-attention-overlapped", inputs, W=3, R=1, J=3)["O"], wanted)


@pytest.mark.parametrize(
    ("queries", "keys", "picks", "window", "kept"),
    [(1, 24, 3, 5, 5), (1, 21, 2, 4, 9), (3, 23, 4, 5, 7), (1, 3, 1, 5, 3), (2, 7, 2, 1, 2)],
)
def test_decoded_tokens_are_the_last_of_all(
    queries: int, keys: int, picks: int, window: int, kept: int
) -> None:
    """The cache holds the compressed blocks of the shipped form and only the keys of the window;
    partial blocks are never read, whatever they contain."""
    keyed = {"KA": 4, "KB": 4, "KW": 4, "VA": 5, "VB": 5, "VW": 5}
    inputs = draw(12, Q=(1, 2, 3, keys, 4), **{n: (1, 2, keys, w) for n, w in keyed.items()})
    inputs |= draw(13, **dict.fromkeys(("GC", "GS", "GW"), (1, 2, 3, keys)))
    inputs |= draw(14, PK=(2, 2, 2), PV=(2, 2, 2))
    whole = Cascade.load("native-sparse-attention-overlapped")
    every = whole.evaluate(inputs, keep="all", W=window, R=2, J=picks)

    cached = {n: np.array(every[n]) for n in ("KC", "VC")}
    ends = (np.arange(cached["KC"].shape[-2]) + 2) * 2
    for tensor in cached.values():
        tensor[..., ends > keys, :] = 1e30
    cached |= {n: inputs[n] for n in ("KB", "VB")}
    cached |= {n: inputs[n][..., keys - kept :, :] for n in ("KW", "VW")}
    cached["Q"] = inputs["Q"][..., keys - queries :, :]
    cached |= {gate: inputs[gate][..., keys - queries :] for gate in ("GC", "GS", "GW")}
    sizes = {"W": window, "R": 2, "J": picks, "A": 2, "T": 2}
    found = evaluated("native-sparse-attention-decode", cached, **sizes)["O"]
    close(found, every["O"][..., keys - queries :, :])
    close(found, reference("native_sparse_attention_decode", **cached, **sizes)["O"])


@pytest.mark.parametrize(
    ("name", "rank", "reason"),
    [
        ("delta-product-chunked", "E", "its target is not indexed by bare rank variables"),
        ("mamba-3-mimo-chunked", "R", "nothing waits for the end of a sweep of R"),
    ],
)
def test_further_passes_stay_and_the_reason_is_told(name: str, rank: str, reason: str) -> None:
    with pytest.raises(RewriteError, match=reason):
        Cascade.load(name).rewrite(f"reduce_passes:{rank}")


def test_one_pass_over_picked_blocks_is_derived() -> None:
    derived = Cascade.load("native-sparse-attention-overlapped").rewrite("reduce_passes:J")
    assert derived.result.passes("J").count == 1
