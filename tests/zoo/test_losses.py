"""Losses of the zoo, as sums over classes written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from einsum_cascade import Cascade


@pytest.mark.parametrize("sizes", [[5, 5, 5, 5], [1, 10, 100, 1000]])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_rare_classes_weigh_more_in_the_loss_of_deit_lt(sizes: list[int], alpha: float) -> None:
    rng = np.random.default_rng(0)
    effective = [sum(0.9999**i for i in range(n)) for n in sizes]
    given = {"CLS": 50 * rng.normal(size=(6, 4)), "DIST": rng.normal(size=(6, 4))}
    given |= {"LB": rng.integers(0, 4, 6), "TB": rng.integers(0, 4, 6), "EN": np.array(effective)}
    found = Cascade.load("deit-lt-loss").evaluate(given, alpha=alpha)["LOSS"]
    for n in range(6):
        own, taught = (
            math.log(sum(math.exp(x - row.max()) for x in row)) + row.max() - row[label]
            for row, label in (
                (given["CLS"][n], given["LB"][n]),
                (given["DIST"][n], given["TB"][n]),
            )
        )
        weight = 4 / effective[given["TB"][n]] / sum(1 / e for e in effective)
        assert found[n] == pytest.approx((1 - alpha) * own + alpha * weight * taught, rel=1e-9)
