"""Attention that chooses, at the ends where choosing all or nothing is ordinary attention."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_checks import close, draw, reference

from einsum_cascade import Cascade


def test_a_recycled_cache_that_never_drops_is_causal_attention() -> None:
    """Keys so unlikely that they are dropped first: the rest is attention to everything."""
    P, T = 4, 3
    given = draw(0, Q=(T, 4), K=(T, 4), V=(T, 2), CK=(P, 4), CV=(P, 2))
    never = {n: np.concatenate([given[n], np.zeros((T, given[n].shape[1]))]) for n in ("CK", "CV")}
    given["Q"][:, 0] = 1.0
    never["CK"][P:, 0] = -1e3
    found = Cascade.load("recycled-attention").evaluate({**given, **never})["AV"]
    keys = {n: np.concatenate([given[f"C{n}"], given[n]]) for n in ("K", "V")}
    close(found, reference("causal_attention", Q=given["Q"], **keys)["AV"])


def test_a_full_step_keeps_the_keys_attended_most() -> None:
    given = draw(1, Q=(3,), K=(8, 3), V=(8, 2))
    found = Cascade.load("recycled-attention-full").evaluate(given, J=8)
    order = np.argsort(-(given["K"] @ given["Q"]))
    close(found["CK"], given["K"][order])
    close(found["CV"], given["V"][order])
    close(found["AV"], reference("softmax_attention", **{**given, "Q": given["Q"][None]})["AV"][0])


@pytest.mark.parametrize("J", [1, 3, 5])
def test_recycled_steps_on_the_cache_of_a_full_step(J: int) -> None:
    """Full attention over the kept keys and the new one, by positions, step by step."""
    T, M = 6, 5
    prompt = draw(2, Q=(3,), K=(M, 3), V=(M, 2))
    new = draw(3, Q=(T, 3), K=(T, 3), V=(T, 2))
    full = Cascade.load("recycled-attention-full").evaluate(prompt, J=J)
    cache = {n: full[n] for n in ("CK", "CV")}
    found = Cascade.load("recycled-attention").evaluate({**new, **cache})["AV"]
    keys = np.concatenate([prompt["K"], new["K"]])
    values = np.concatenate([prompt["V"], new["V"]])
    kept = np.argsort(-(prompt["K"] @ prompt["Q"]))[:J].tolist()
    for t in range(T):
        seen = [*kept, M + t]
        weights = np.exp(keys[seen] @ new["Q"][t])
        close(found[t], weights @ values[seen] / weights.sum())
        kept = [m for m in seen if m != seen[int(np.argmin(weights))]]


def test_hcam_that_chooses_every_chunk() -> None:
    """Shares of all chunks sum to 1, and one chunk alone is attention inside it."""
    T, D, J, S, G, H, E, F = 3, 4, 5, 2, 3, 2, 3, 2
    shapes = {"X": (T, D), "KS": (J, D), "CT": (J, S, D), "POS": (S, D), "WG": (D, G)}
    shapes |= {"WS": (D, G), "WQ": (H, D, E), "WK": (H, D, E), "WV": (H, D, F), "WO": (H, F, D)}
    given = draw(4, **shapes)
    given["SEEN"] = np.ones((T, J), int)
    given["CT"][:] = given["CT"][0]  # all chunks alike: their shares do not matter
    few = Cascade.load("hcam").evaluate(given, R=1)["O"]
    close(Cascade.load("hcam").evaluate(given, R=J)["O"], few)
    memory = given["CT"][0] + given["POS"]
    wanted = np.zeros((T, D))
    for h in range(H):
        scaled = given["X"] @ given["WQ"][h] / np.sqrt(E)
        keys, values = memory @ given["WK"][h], memory @ given["WV"][h]
        wanted += reference("softmax_attention", Q=scaled, K=keys, V=values)["AV"] @ given["WO"][h]
    close(few, wanted)


def test_hidden_chunks_are_not_read() -> None:
    T, D, J = 2, 3, 4
    given = draw(5, X=(T, D), KS=(J, D), CT=(J, 2, D), POS=(2, D), WG=(D, 2), WS=(D, 2))
    given |= draw(6, WQ=(1, D, 2), WK=(1, D, 2), WV=(1, D, 2), WO=(1, 2, D))
    given["SEEN"] = np.array([[1, 1, 0, 0], [0, 1, 1, 0]])
    before = Cascade.load("hcam").evaluate(given, R=3)["O"]
    given["CT"][3] += 100.0
    close(Cascade.load("hcam").evaluate(given, R=3)["O"], before)


@pytest.mark.parametrize("shared", [1, 2, 3])
def test_gates_average_one(shared: int) -> None:
    """Equal logits and all routed heads chosen: every gate is 1, ordinary attention."""
    B, H, P, M, D = 1, 4, 3, 5, 3
    given = draw(7, X=(B, P, D), Q=(B, H, P, 2), K=(B, H, M, 2), V=(B, H, M, 2), WO=(H, 2, D))
    given["WG"], given["WU"] = np.zeros((D, H)), np.zeros((D, 2))
    cascade = Cascade.load("mixture-of-heads")
    found = cascade.evaluate(given, J=H - shared, shared=shared)["O"]
    heads = reference("softmax_attention", Q=given["Q"], K=given["K"], V=given["V"])["AV"]
    close(found, np.einsum("bhpf,hfd->bpd", heads, given["WO"]))


@pytest.mark.parametrize("J", [1, 2])
def test_gates_of_the_routed_heads_sum_to_their_number(J: int) -> None:
    B, H, P, M, D, shared = 2, 5, 3, 4, 3, 2
    given = draw(8, X=(B, P, D), Q=(B, H, P, 2), K=(B, H, M, 2), V=(B, H, M, 2), WO=(H, 2, D))
    given |= draw(9, WG=(D, H))
    given["WU"] = np.zeros((D, 2))
    cascade = Cascade.load("mixture-of-heads")
    gates = cascade.evaluate(given, J=J, shared=shared, keep="all")["GT"]
    close(gates[..., :shared].sum(-1), np.full((B, P), shared))
    close(gates[..., shared:].sum(-1), np.full((B, P), J))
    assert ((gates[..., shared:] > 0).sum(-1) == J).all()


def test_more_heads_cannot_be_chosen_than_are_routed() -> None:
    """The gates of all that are there sum to their number, whatever number was asked for."""
    given = draw(8, X=(1, 2, 3), Q=(1, 4, 2, 2), K=(1, 4, 5, 2), V=(1, 4, 5, 2), WO=(4, 2, 3))
    given |= draw(9, WG=(3, 4), WU=(3, 2))
    cascade = Cascade.load("mixture-of-heads")
    two, three = (cascade.evaluate(given, J=J, shared=2)["O"] for J in (2, 3))
    close(three, two)


@pytest.mark.parametrize("S", [1, 2, 3, 4, 7, 20])
def test_landmark_blocks(S: int) -> None:
    given = draw(S, Q=(2, 1, 9, 4), K=(2, 1, 9, 4), V=(2, 1, 9, 3))
    found = Cascade.load("landmark-attention").evaluate(given, S=S, PS=S)["O"]
    close(found, reference("landmark_attention", **given, S=S)["O"])
    if S > 9:  # one block without its landmark: a causal softmax
        close(found, reference("causal_attention", **given)["AV"])


@pytest.mark.parametrize("S", [2, 3, 4])
def test_landmark_weights_sum_to_one(S: int) -> None:
    given = draw(0, Q=(9, 4), K=(9, 4))
    found = Cascade.load("landmark-attention").evaluate({**given, "V": np.ones((9, 1))}, S=S)["O"]
    close(found, np.ones((9, 1)))


def test_retrieval_of_every_block_is_landmark_attention() -> None:
    """The last token of a sequence, its own block being the local window."""
    S, N, L = 3, 4, 2
    M = N * S + L
    given = draw(1, Q=(M, 4), K=(M, 4), V=(M, 2))
    wanted = reference("landmark_attention", **given, S=S)["O"][-1]
    blocks = given["K"][: N * S].reshape(N, S, 4)
    values = given["V"][: N * S].reshape(N, S, 2)
    memory = {"KL": blocks[:, -1], "K": blocks[:, :-1], "V": values[:, :-1]}
    local = {"KW": given["K"][N * S :], "VW": given["V"][N * S :]}
    inputs = {"Q": given["Q"][-1], **memory, **local}
    close(Cascade.load("landmark-retrieval").evaluate(inputs, J=N)["O"], wanted)


def test_a_selection_larger_than_what_there_is() -> None:
    """Three heads wanted of two: what is missing is not there, and counts nowhere."""
    B, H, P, M, D = 1, 4, 2, 3, 3
    given = draw(3, X=(B, P, D), Q=(B, H, P, 2), K=(B, H, M, 2), V=(B, H, M, 2), WO=(H, 2, D))
    given |= draw(4, WG=(D, H), WU=(D, 2))
    found = Cascade.load("mixture-of-heads").evaluate(given, J=3, shared=2)["O"]
    close(found, reference("mixture_of_heads", **given, shared=2, J=3)["O"])
