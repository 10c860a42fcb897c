"""Populating by selection: the positions of the largest elements of a fiber."""

from __future__ import annotations

import numpy as np

from .dtypes import Array


def topk(values: Array, excluded: Array | None, count: int) -> tuple[Array, Array]:
    """The positions of the ``count`` largest elements along the last axis.

    Equal elements are taken in the order of their positions.

    Parameters
    ----------
    values : array, shape (..., M)
        What is selected from.
    excluded : array, optional
        Elements that cannot be selected, broadcast to ``values``.
    count : int
        How many positions; those beyond M are missing.

    Returns
    -------
    positions : array of int64, shape (..., count)
        Largest first.
    missing : array of bool, shape (..., count)
        Where fewer than ``count`` elements could be selected.
    """
    skip = np.broadcast_to(False if excluded is None else excluded, values.shape)
    # lexsort takes its last key first and is stable: what is excluded ends up at the back.
    order = np.lexsort((-values, skip), axis=-1)
    available = values.shape[-1] - np.count_nonzero(skip, axis=-1)
    positions = np.zeros((*values.shape[:-1], count), np.int64)
    positions[..., : order.shape[-1]] = order[..., :count]
    missing = np.arange(count) >= available[..., None]
    return np.where(missing, 0, positions), missing
