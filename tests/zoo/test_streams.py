"""Streams and clicks: what must not depend on how they are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_checks import close, draw, reference

from einsum_cascade import Cascade


def recurrent(seed: int, T: int) -> dict[str, Any]:
    N, C, U = 4, 3, 2
    lstm = {f"W{x}": (4, U, C) for x in "FBT"} | {f"U{x}": (4, U, U) for x in "FBT"}
    given = draw(seed, X=(T, N, C), **lstm, OF=(U, C), OB=(U, C), OT=(U, C))
    return given | {"T0": np.zeros((N, U)), "C0": np.zeros((N, U))}


def test_lstm_frame_by_frame() -> None:
    """The state after some frames, handed on, gives the rest."""
    cascade = Cascade.load("look-once-to-hear-lstm")
    given = recurrent(0, T=6)
    whole = cascade.evaluate(given, keep="all")
    handed = {"T0": whole["TH"][2], "C0": whole["TC"][2]}
    rest = cascade.evaluate({**given, "X": given["X"][2:], **handed})["Y"]
    close(rest, whole["Y"][2:])
    close(whole["Y"], reference("look_once_to_hear_lstm", **given, eps=1e-5)["Y"])


def test_the_two_directions_see_each_other_mirrored() -> None:
    """Bins in reverse, the two LSTMs exchanged: the result in reverse."""
    cascade = Cascade.load("look-once-to-hear-lstm")
    given = recurrent(1, T=2)
    turned = {**given, "X": given["X"][:, ::-1]}
    for name in ("W", "U", "O"):
        turned[f"{name}F"], turned[f"{name}B"] = given[f"{name}B"], given[f"{name}F"]
    close(cascade.evaluate(turned)["Y"][:, ::-1], cascade.evaluate(given)["Y"])


def attending(seed: int, T: int, L: int) -> dict[str, Any]:
    N, C, H, E, F = 3, 4, 2, 3, 2
    shapes = {"X": (T, N, C), "WQ": (H, C, E), "WK": (H, C, E), "WV": (H, C, F), "WP": (H, F, C)}
    return draw(seed, **shapes) | {"KB": np.zeros((H, L, N, E)), "VB": np.zeros((H, L, N, F))}


@pytest.mark.parametrize("L", [1, 3, 8])
def test_attention_frame_by_frame(L: int) -> None:
    """Buffers as a stream keeps them: the last L frames, zeros before the first."""
    cascade = Cascade.load("look-once-to-hear-attention")
    given = attending(L, T=6, L=L)
    whole = cascade.evaluate(given, keep="all")
    for t in range(6):
        one = cascade.evaluate({**given, "X": given["X"][t : t + 1]}, keep="all")
        close(one["Y"][0], whole["Y"][t])
        for buffer, new in (("KB", "KN"), ("VB", "VN")):
            given[buffer] = np.concatenate([given[buffer], one[new]], axis=1)[:, 1:]


def test_frames_that_are_not_there_take_their_share() -> None:
    """The first frame beside L zero frames: each of these weighs exp(0)."""
    given = attending(0, T=1, L=5)
    found = Cascade.load("look-once-to-hear-attention").evaluate(given, keep="all")
    own = np.exp(found["SC"] / np.sqrt(9.0))[..., None, None]
    close(found["A"], own * found["VN"] / (own + 5))


def scene(seed: int, N: int = 6) -> dict[str, Any]:
    U, D, H, E, C = 4, 5, 2, 3, 4
    heads = {f"W{t}{x}": (H, D, E) for t in "ABC" for x in "QKV"}
    heads |= {f"W{t}O": (H, E, D) for t in "ABC"}
    networks = {"WM1": (D, C), "WM2": (C, D), "WF1": (D, C), "WF2": (C, D)}
    given = draw(seed, X=(N, D), PX=(N, D), Q=(U, D), PQ=(U, D), **heads, **networks)
    return given | {"OF": np.array([0, 1, 1, 2])}


def test_clicks_attend_to_the_points_of_their_object() -> None:
    given = scene(0)
    found = Cascade.load("click-attention").evaluate(given, O=3, keep="all")
    label = found["OBJ"].argmax(axis=1)
    for u, owner in enumerate(given["OF"]):
        seen = found["AA"][:, u] > 0
        wanted = label == owner
        assert (seen == (wanted if wanted.any() else True)).all()
    close(found["AA"].sum(-1), np.ones((2, 4)))
    wanted = reference("click_attention", **given, eps=1e-5, O=3)
    for name in ("Q3", "Y", "OBJ"):
        close(found[name], wanted[name])


def test_an_object_without_clicks_gets_no_point() -> None:
    given = scene(1)
    found = Cascade.load("click-attention").evaluate(given, O=5, keep="all")
    assert (found["OBJ"][:, 3:] == -np.inf).all()
    assert (found["LB"] < 3).all()
    given["OF"] = np.array([0, 1, 1, 5])
    with pytest.raises(ValueError, match=r"'OF' is 5 at .* whole number from 0 to 4"):
        Cascade.load("click-attention").evaluate(given, O=5)


def sentences(seed: int, T: int) -> dict[str, Any]:
    C, U, A = 4, 3, 5
    gates = {"W": (4, U, C), "UH": (4, U, U), "BG": (4, U)}
    return draw(seed, X=(2, T, C), **gates, WA=(U, A), BA=(A,), UA=(A,))


@pytest.mark.parametrize("T", [1, 6])
def test_attention_over_the_states_of_an_lstm(T: int) -> None:
    """Step by step beside the equations of an LSTM, and a softmax of what its states score."""
    given = sentences(T, T)
    X, W, U, bias, WA, BA, UA = given.values()
    for found, words in zip(Cascade.load("lstm-attention").evaluate(given)["O"], X, strict=True):
        hidden, cell, seen = np.zeros(3), np.zeros(3), []
        for word in words:
            gates = np.einsum("guc,c->gu", W, word) + np.einsum("guv,v->gu", U, hidden) + bias
            into, forget, out = 1 / (1 + np.exp(-gates[[0, 1, 3]]))
            cell = forget * cell + into * np.tanh(gates[2])
            hidden = out * np.tanh(cell)
            seen.append(hidden)
        raised = np.exp([np.tanh(state @ WA + BA) @ UA for state in seen])
        close(found, raised @ np.array(seen) / raised.sum())


@pytest.mark.slow
def test_one_pass_over_the_words_is_derived() -> None:
    """No state needs to be kept until all are scored."""
    cascade = Cascade.load("lstm-attention")
    derived = cascade.rewrite("reduce_passes:T").result
    assert (cascade.passes("T").count, derived.passes("T").count) == (3, 1)
    given = sentences(0, T=7)
    close(derived.evaluate(given)["O"], reference("lstm_attention", **given)["O"])
