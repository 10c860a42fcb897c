"""Scattered results: ``C[I[j], e] = ...``, every element written at most once."""

from __future__ import annotations

from math import prod

import numpy as np

from .. import ir
from ..errors import EvaluationError, Problem
from .accesses import Store, read
from .binding import Binding
from .dtypes import Array
from .evaluation import Computed
from .lanes import Buffer, LaneSpace


def store_scattered(
    program: ir.Program, einsum: ir.Einsum, binding: Binding, store: Store, result: Computed
) -> None:
    """Write a result to where its index tensors point; where one has no entry, nothing.

    Raises
    ------
    EvaluationError
        A position is beyond the rank, or two elements are written to the same place.
    """
    space = LaneSpace(
        parallel=binding.parallel,
        variables=einsum.target.variables,
        fixed={},
        shapes=binding.shapes,
        ranks=program.rank_of_variable,
    )
    buffer = store[einsum.name]
    skipped = np.zeros(space.shape, bool)
    for flags in result.absent.values():
        skipped |= flags
    places = [np.broadcast_to(i, space.shape) for i in _parallel(space)]
    for index, rank in zip(einsum.target.indices, program.tensor_ranks[einsum.name], strict=True):
        at, missing = _position(space, store, index)
        for flags in missing:
            skipped |= flags
        beyond = ((at < 0) | (at >= binding.shapes[rank])) & ~skipped
        if beyond.any():
            what = f"'{einsum.name}' is written beyond its coordinates{space.point(beyond)}"
            raise EvaluationError(Problem(what, index.span))
        places.append(np.broadcast_to(at, space.shape))
    written = tuple(p[~skipped] for p in places)
    _check_once(einsum, buffer, written)
    buffer.write(written, np.broadcast_to(result.values, space.shape)[~skipped], {})


def _parallel(space: LaneSpace) -> list[Array]:
    found = []
    for axis, rank in enumerate(space.parallel):
        along = [1] * space.ndim
        along[axis] = -1
        found.append(np.arange(space.shapes[rank]).reshape(along))
    return found


def _position(space: LaneSpace, store: Store, index: ir.Index) -> tuple[Array, tuple[Array, ...]]:
    """Where an index points at every element, and where it points nowhere."""
    if isinstance(index, ir.Gather):
        lane = read(space, store, index.access)
        return lane.values, lane.unknown
    at = np.zeros((1,) * space.ndim, np.int64)
    for term in index.terms:
        factor = term.coefficient * prod(space.shapes[s] for s in term.shapes)
        at = at + factor * (space.values(term.variable) if term.variable else 1)
    # Beyond the end of a last tile that is cut short the result is absent, which is told already.
    return at, ()


def _check_once(einsum: ir.Einsum, buffer: Buffer, written: tuple[Array, ...]) -> None:
    flat = np.ravel_multi_index(written, buffer.values.shape)
    places, counts = np.unique(flat, return_counts=True)
    if (counts > 1).any():
        twice = np.unravel_index(places[counts > 1][0], buffer.values.shape)
        at = ", ".join(str(int(i)) for i in twice)
        what = f"'{einsum.name}' is written twice at [{at}]"
        hint = "the positions that it is scattered to must differ"
        raise EvaluationError(Problem(what, einsum.target.span, hint))
