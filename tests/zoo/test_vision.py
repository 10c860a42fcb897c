"""Attention over images: what must hold whatever the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_checks import close, draw, reference

from einsum_cascade import Cascade


def agents(seed: int, Y: int, X: int, AY: int, AX: int) -> dict[str, Any]:
    return draw(
        seed,
        Q=(2, 2, Y, X, 3),
        K=(2, 2, Y, X, 3),
        V=(2, 2, Y, X, 2),
        B1=(2, AY, AX, Y, X),
        B2=(2, Y, X, AY, AX),
        WD=(2, 2, 3, 3),
    )


@pytest.mark.parametrize(("CY", "CX"), [(1, 1), (2, 2), (2, 3), (3, 5), (4, 6)])
def test_agents_of_any_cells(CY: int, CX: int) -> None:
    given = agents(CY, 4, 6, -(-4 // CY), -(-6 // CX))
    found = Cascade.load("agent-attention").evaluate(given, CY=CY, CX=CX)["O"]
    close(found, reference("agent_attention", **given, CY=CY, CX=CX)["O"])


def test_agents_hand_on_all_the_mass() -> None:
    """Return the product of the two softmaxes sums to 1 along every row."""
    given = agents(0, 4, 6, 2, 2)
    given["V"], given["WD"] = np.ones_like(given["V"]), np.zeros_like(given["WD"])
    close(Cascade.load("agent-attention").evaluate(given, CY=2, CX=3)["O"], given["V"])


def tokens(seed: int, I: int, J: int) -> dict[str, Any]:  # noqa: E741
    C, H, D, F = 4, 2, 3, 2
    shapes = {"X": (I, J, C), "WQ": (H, C, D), "WK": (H, C, D), "WV": (H, C, F), "WO": (H, F, C)}
    return draw(seed, **shapes)


@pytest.mark.parametrize(("CI", "CJ"), [(1, 1), (2, 2), (3, 2), (4, 5), (7, 7)])
def test_super_tokens_of_any_cells(CI: int, CJ: int) -> None:
    given = tokens(CI, 6, 5)
    found = Cascade.load("super-token-attention").evaluate(given, CI=CI, CJ=CJ)["Y"]
    close(found, reference("super_token_attention", **given, CI=CI, CJ=CJ)["Y"])


def test_at_the_border_some_mass_is_lost() -> None:
    """Zero neighbours outside take exp(0) each: with zero pixels exactly 1/9 each."""
    given = tokens(0, 6, 6)
    given["X"] = np.zeros_like(given["X"])
    shares = Cascade.load("super-token-attention").evaluate(given, CI=2, CJ=2, keep="all")["AF"]
    close(shares, np.full_like(shares, 1 / 9))
    given["X"] = 3.0 + np.abs(tokens(1, 6, 6)["X"])
    kept = Cascade.load("super-token-attention").evaluate(given, CI=2, CJ=2, keep="all")
    corner = kept["AF"][0, 0, 0, 0]
    assert corner[0].sum() + corner[:, 0].sum() < 1e-3  # neighbours that are not there
    close(kept["AF"].sum((-2, -1)), np.ones((3, 2, 3, 2)))


def reversed_inputs(seed: int, J: int = 7) -> dict[str, Any]:
    H, D, C = 2, 3, 4
    given = draw(seed, X=(J, D), Q=(H, J, 3), K=(H, J, 3), V=(H, J, 2))
    given |= draw(seed + 1, WP=(D, H), W1=(D, C), W2=(C,))
    given["ML"] = np.random.default_rng(seed).uniform(0.1, 1, J)
    return given


@pytest.mark.parametrize("I0", [1, 2, 3, 7])
def test_reversed_attention_of_any_tiles(I0: int) -> None:
    given = reversed_inputs(I0)
    found = Cascade.load("reversed-attention").evaluate(given, I0=I0, temperature=0.5)
    wanted = reference("reversed_attention", **given, temperature=0.5)
    close(found["Y"], wanted["Y"])
    close(found["MN"], wanted["MN"])


def test_a_sender_hands_out_its_message_and_no_more() -> None:
    """Summed over heads and receivers, what token j gives is its message weight."""
    given = reversed_inputs(0)
    found = Cascade.load("reversed-attention").evaluate(given, I0=2, keep="all")
    budgets = found["B"].sum(axis=0)  # senders, tiles, places
    close(budgets.sum(axis=(-2, -1)), found["MN"])
    assert (found["MN"] < given["ML"]).all()


def redistributed(seed: int) -> dict[str, Any]:
    H, M, P = 3, 9, 6
    given = draw(seed, X=(M, 5), Q=(H, P, 4), K=(H, M, 4), V=(H, M, 2))
    given["DIMS"] = np.array([1, 3])
    given["IMAGE"] = np.array([0, 1, 1, 1, 1, 1, 1, 0, 0])
    given["X"][[0, 2]] *= [1, 9, 1, 1, 1]  # one sink in the text, one in the image
    return given


def test_redistribution_keeps_every_row() -> None:
    given = redistributed(0)
    cascade = Cascade.load("visual-attention-redistribution")
    found = cascade.evaluate(given, tau=1.6, rho=0.9, summ=0.05, keep="all")
    assert 0 < found["ON"].sum() < found["ON"].size
    assert found["SINK"].sum() >= 2
    close(found["W"].sum(-1), np.ones((3, 6)))
    changed = found["ON"] == 1
    sinks = found["SINK"] == 1
    close(found["W"][changed][:, sinks], 0.6 * found["A"][changed][:, sinks])
    wanted = reference(
        "visual_attention_redistribution", **given, tau=1.6, rho=0.9, summ=0.05, stay=0.6, eps=1e-5
    )
    close(found["AV"], wanted["AV"])


def test_without_sinks_nothing_is_redistributed() -> None:
    given = redistributed(1)
    found = Cascade.load("visual-attention-redistribution").evaluate(given, tau=20.0)
    wanted = reference("causal_attention", **{n: given[n] for n in ("Q", "K", "V")})
    close(found["AV"], wanted["AV"])


def test_subjects_do_not_see_one_another() -> None:
    """Subject 2 and its reference do not influence subject 1, but the background does."""
    P, N, S = 6, 4, 2
    given = draw(0, Q=(P, 3), K=(P, 3), V=(P, 2), KR=(S, N, 3), VR=(S, N, 2))
    given["SUB"] = np.array([0, 1, 1, 2, 2, 0])
    given["TO"] = np.random.default_rng(0).integers(0, N, (S, P))
    given["IN"] = np.ones((S, P), int)
    cascade = Cascade.load("isolation-attention")
    before = cascade.evaluate(given)["O"]
    for name in ("V", "K"):
        given[name] = given[name].copy()
        given[name][given["SUB"] == 2] += 1.0
    given["VR"] = given["VR"].copy()
    given["VR"][1] += 1.0
    after = cascade.evaluate(given)["O"]
    close(after[given["SUB"] == 1], before[given["SUB"] == 1])
    assert (np.abs(after - before)[given["SUB"] != 1].max(axis=1) > 1e-3).all()


def test_no_subjects_is_plain_attention() -> None:
    P, N, S = 5, 3, 1
    given = draw(1, Q=(P, 3), K=(P, 3), V=(P, 2), KR=(S, N, 3), VR=(S, N, 2))
    plain = reference("softmax_attention", **{n: given[n] for n in ("Q", "K", "V")})["AV"]
    given |= {"SUB": np.zeros(P, int), "TO": np.zeros((S, P), int), "IN": np.ones((S, P), int)}
    close(Cascade.load("isolation-attention").evaluate(given)["O"], plain)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (4, 3)])
def test_gates_of_zero_let_a_quarter_through(height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    X = rng.normal(size=(height, width, 3))
    given = {"X": X, "W1": np.ones((3, 2)), "W2": np.zeros((2, 3)), "WS": np.zeros((3, 3))}
    close(Cascade.load("channel-spatial-gate").evaluate(given)["Y"], X / 4)
    given["WS"][1, 1] = 1  # the mean over channels of the place itself
    mean = X.mean(-1, keepdims=True)
    found = Cascade.load("channel-spatial-gate").evaluate(given)["Y"]
    close(found, X / 2 / (1 + np.exp(-mean)))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (3, 2), (4, 6)])
def test_super_tokens_of_a_padded_map_are_those_of_the_map(height: int, width: int) -> None:
    """Zeros that fill the last cells, given or not, change no pixel of the map."""
    rng = np.random.default_rng(1)
    weights = {n: rng.normal(size=(2, 4, 3)) for n in ("WQ", "WK", "WV")}
    weights["WO"] = rng.normal(size=(2, 3, 4))
    X = rng.normal(size=(height, width, 4))
    whole = np.pad(X, ((0, -height % 2), (0, -width % 3), (0, 0)))
    cascade = Cascade.load("super-token-attention")
    found = cascade.evaluate({"X": X, **weights}, CI=2, CJ=3)["Y"]
    padded = cascade.evaluate({"X": whole, **weights}, CI=2, CJ=3)["Y"]
    close(found, padded[:height, :width])


@pytest.mark.parametrize("M0", [1, 4, 7])
def test_queries_of_another_view(M0: int) -> None:
    """None of them: every view by itself; all of them: another view's with the own keys."""
    views = draw(M0, Q=(3, 7, 4), K=(3, 7, 4), V=(3, 7, 5))
    given = views | {"QR": views["Q"], "SRC": np.array([2, 0, 0])}
    cascade = Cascade.load("injected-query-attention")
    for weight, queries in ((0.0, views["Q"]), (1.0, views["Q"][given["SRC"]])):
        found = cascade.evaluate(given, M0=M0, weight=weight)["O"]
        for own, query, keys, values in zip(found, queries, views["K"], views["V"], strict=True):
            raised = np.exp(query @ keys.T)
            close(own, raised @ values / raised.sum(-1, keepdims=True))
    found = cascade.evaluate(given, M0=M0, weight=0.3)["O"]
    close(found, reference("injected_query_attention", **given, weight=0.3)["O"])


@pytest.mark.parametrize("M0", [2, 6])
def test_importance_is_the_sensitivity_to_a_mask(M0: int) -> None:
    """Beside differences of a loss, half the square of the output, for the mask of each token."""
    B, H, P, E, F = 2, 3, 6, 4, 5
    given = draw(M0, Q=(B, H, P, E), K=(B, H, P, E), V=(B, H, P, F))
    WO = draw(1, WO=(H, F, 7))["WO"]
    heads = reference("softmax_attention", **given)["AV"]

    def loss(mask: Any) -> float:
        return float(np.sum(np.einsum("bhp,bhpf,hfd->bpd", mask, heads, WO) ** 2) / 2)

    whole = np.einsum("bhpf,hfd->bpd", heads, WO)
    given["DA"] = np.einsum("bpd,hfd->bhpf", whole, WO)
    found = Cascade.load("head-importance").evaluate(given, M0=M0)
    slopes = np.zeros((B, H, P))
    for at in np.ndindex(B, H, P):
        step = np.zeros((B, H, P))
        step[at] = 1e-3
        slopes[at] = (loss(1 + step) - loss(1 - step)) / 2e-3
    close(found["I"], np.abs(slopes).mean(axis=(0, 2)), digits=8)
    close(np.sum(found["IN"] ** 2), 1)
    close(found["IN"], reference("head_importance", **given)["IN"])
