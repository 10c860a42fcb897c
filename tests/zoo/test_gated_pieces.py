"""RG-LRU, and a convolution without a function: in pieces and token by token as in one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from zoo_checks import close, draw

from einsum_cascade import Cascade

LENGTH = 9
LONG = ("X", "RG", "IG")


def inputs() -> dict[str, Any]:
    return draw(5, **dict.fromkeys(LONG, (2, LENGTH, 3)), L=(3,))


def evaluated(name: str, given: dict[str, Any], **sizes: int) -> dict[str, Any]:
    return Cascade.load(name).evaluate(given, **sizes)


@pytest.mark.parametrize("ends", [(LENGTH,), (1, LENGTH), (4, 5, LENGTH)])
def test_pieces_of_a_gated_recurrence(ends: tuple[int, ...]) -> None:
    whole = inputs()
    wanted = evaluated("rg-lru", whole)["Y"]
    first = whole | {name: whole[name][:, : ends[0]] for name in LONG}
    found = evaluated("rg-lru-prefill", first)
    rows = [found["Y"]]
    for begin, end in pairwise(ends):
        piece = {name: whole[name][:, begin:end] for name in LONG}
        found = evaluated("rg-lru-resumed", whole | piece | {"SI": found["SO"]})
        rows.append(found["Y"])
    close(np.concatenate(rows, axis=1), wanted)
    close(found["SO"], wanted[:, -1])


def test_tokens_of_a_gated_recurrence() -> None:
    whole = inputs()
    wanted = evaluated("rg-lru", whole)["Y"]
    state = wanted[:, 0]
    for t in range(1, LENGTH):
        token = {name: whole[name][:, t] for name in LONG}
        state = evaluated("rg-lru-step", whole | token | {"SI": state})["SO"]
        close(state, wanted[:, t])


def test_a_convolution_without_a_function() -> None:
    """Against numpy's own convolution, of one channel; SiLU of it is the one of Mamba."""
    given = draw(1, X=(2, 10, 3), W=(4, 3))
    found = evaluated("depthwise-convolution-linear", given, P=7)["Y"]
    assert found.shape == (2, 7, 3)
    close(found[0, :, 1], np.convolve(given["X"][0, :, 1], given["W"][::-1, 1], mode="valid"))
    close(evaluated("depthwise-convolution", given, P=7)["Y"], found / (1 + np.exp(-found)))
