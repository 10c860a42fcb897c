"""Layers beside attention: linear layers and what follows them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def linear_layer(X: Array, W: Array) -> dict[str, Array]:
    """``Z = X W``; ``X`` of shape (..., N, D), ``W`` of shape (..., D, J)."""
    return {"Z": X @ W}
