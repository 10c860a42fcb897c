"""Storage of results: shapes of tensors, positions of results, and scattered writes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from .. import ir
from ..errors import EvaluationError
from .aligned import AlignedSpace, Buffer, Store, aligned_index, linear_index, read
from .dtypes import Array
from .evaluation import Computed
from .inputs import Binding


def tensor_shape(
    program: ir.Program, einsum: ir.Einsum, shapes: Mapping[str, int]
) -> tuple[int, ...]:
    """Return the shape of the tensor that an Einsum writes, without the parallel ranks.

    An index ``v + 1`` makes the rank one longer: coordinate 0 is the initial state.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    shapes : mapping
        Shape of every rank and member, in elements.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> shapes = {"E": 64, "F": 64, "M": 8, "M1": 2, "M0": 4, "P": 16}
    >>> tensor_shape(program, program.einsum_of["RM"], shapes)
    (3, 16)
    """
    return tuple(_extent(program, i, shapes) for i in einsum.target.indices)


def _extent(program: ir.Program, index: ir.Index, shapes: Mapping[str, int]) -> int:
    if isinstance(index, ir.Gather):
        return shapes[program.scatters_along(index) or ""]
    ranks = [program.rank_of_variable[v] for v in index.variables]
    if len(ranks) == 1:
        return shapes[ranks[0]] + (index.offset == 1)
    family = program.rank_of[ranks[0]].family
    return shapes[family] if family else prod(shapes[r] for r in ranks)


def allocate(program: ir.Program, einsum: ir.Einsum, binding: Binding) -> Buffer:
    """Return an empty buffer for the tensor that an Einsum writes.

    The buffer holds zeros. All its elements are ``unset`` if neither the Einsum nor ``init`` writes
    every one of them. A scattered target is absent until it is written.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum with its complete target, outside any loop.
    binding : Binding
    """
    leading = tuple(binding.shapes[r] for r in binding.parallel)
    shape = leading + tensor_shape(program, einsum, binding.shapes)
    dtype = np.dtype(np.int64) if einsum.select else binding.precision.storage
    iterative = [axis for axis, index in enumerate(einsum.target.indices) if _is_next(index)]
    started = any(e.name == einsum.name for e in program.init)
    # Only ``init`` sets coordinate 0 of an iterative rank, the state before the first step.
    whole = not iterative or (len(iterative) == 1 and started)
    return Buffer(
        np.zeros(shape, dtype),
        absent={places: np.ones(shape, bool) for places in unwritten_places(einsum)},
        unset=None if whole else np.ones(shape, bool),
        carry=len(leading) + iterative[0] if len(iterative) == 1 else None,
    )


def store_result(
    program: ir.Program,
    einsum: ir.Einsum,
    binding: Binding,
    buffer: Buffer,
    result: Computed,
    fixed: Mapping[str, int],
) -> None:
    """Write a result to its place, rounded to the type of the buffer.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum without a scattered target.
    binding : Binding
    buffer : Buffer
        Buffer of the tensor; modified.
    result : Computed
        Result along the target's variables that are not ``fixed``.
    fixed : mapping
        Step of each surrounding loop by variable.
    """
    free = tuple(v for v in einsum.target.variables if v not in fixed)
    space = AlignedSpace.of(program, binding, free, fixed)
    values = np.broadcast_to(result.values, space.shape)
    absent = _by_axes(einsum, result, space.shape)
    where: list[slice] = [slice(None)] * len(binding.parallel)
    for axis, index in enumerate(einsum.target.indices, start=len(binding.parallel)):
        assert isinstance(index, ir.Affine)
        at = _coordinates(index, space)
        # The last tile may be partial, and members may be iterated inner before outer. Sorted
        # coordinates inside the tensor are evenly spaced.
        inside = np.flatnonzero(at < buffer.values.shape[axis])
        order = inside[np.argsort(at[inside], kind="stable")]
        where.append(_as_slice(at[order]))
        values = _merged(values, axis, index, fixed, order)
        absent = {d: _merged(a, axis, index, fixed, order) for d, a in absent.items()}
    with np.errstate(all="ignore"):
        buffer.write(tuple(where), values, absent)
    if buffer.carry is not None:
        span = range(buffer.values.shape[buffer.carry])[where[buffer.carry]]
        if span and span[0] > 0:
            buffer.carry_forward(span[0], span[-1])


def _by_axes(
    einsum: ir.Einsum, result: Computed, shape: tuple[int, ...]
) -> dict[frozenset[int], Array]:
    """Return the flags of absent elements, by the index positions of the target that decide."""
    found: dict[frozenset[int], Array] = {}
    for variables, flags in result.absent.items():
        deciding = deciding_places(einsum.target, variables)
        found[deciding] = found.get(deciding, np.False_) | np.broadcast_to(flags, shape)
    return found


def unwritten_places(einsum: ir.Einsum) -> tuple[frozenset[int], ...]:
    """Return, per scattered index, the index positions that decide which elements stay unwritten.

    These are the positions of scattered indices and of indices that share a variable with it.
    """
    return tuple(
        frozenset(
            n
            for n, index in enumerate(einsum.target.indices)
            if isinstance(index, ir.Gather) or {*index.variables} & {*scattered.variables}
        )
        for scattered in einsum.scattered
    )


def deciding_places(target: ir.Access, variables: frozenset[str]) -> frozenset[int]:
    """Return the index positions of a target at which the given variables decide about an element.

    An iterative rank always decides as well, because the state may exist from some step on.

    Parameters
    ----------
    target : Access
        Target of an Einsum or of an ``init`` statement.
    variables : frozenset of str
        Rank variables that decide whether an element exists.

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> sorted(deciding_places(program.einsum_of["RM"].target, frozenset({"p"})))
    [0, 1]
    """
    return frozenset(
        n
        for n, index in enumerate(target.indices)
        if variables & {*index.variables} or not index.variables or _is_next(index)
    )


def _is_next(index: ir.Index) -> bool:
    return isinstance(index, ir.Affine) and index.offset == 1


def _coordinates(index: ir.Affine, space: AlignedSpace) -> Array:
    """Return the coordinates that an index takes, its free variables iterated in written order."""
    # m1*M0 + m0 with M0 = 4 and two values of m1 gives 0 1 2 3 4 5 6 7, one per pair in the order
    # of the merged result axes; with m1 fixed to 1 it gives 4 5 6 7.
    linear = linear_index(index, space)
    found = np.full((), linear.constant, np.int64)
    for coefficient, variable in linear.terms:
        found = found[..., None] + coefficient * np.arange(space.size(variable))
    return found.reshape(-1)


def _as_slice(at: Array) -> slice:
    first, last = int(at[0]), int(at[-1])
    step = int(at[1]) - first if len(at) > 1 else 1
    return slice(first, last + 1, step)


def _merged(
    array: Array, axis: int, index: ir.Affine, fixed: Mapping[str, int], order: Array
) -> Array:
    """Return an array with the axes of an index's free variables merged into one.

    The merged axis is in the order of the coordinates.
    """
    count = sum(v not in fixed for v in index.variables)
    shape = array.shape
    array = array.reshape((*shape[:axis], -1, *shape[axis + count :]))
    return np.take(array, order, axis=axis)


def store_scattered(
    program: ir.Program, einsum: ir.Einsum, binding: Binding, store: Store, result: Computed
) -> None:
    """Write a result to the positions that its index tensors give.

    Elements without a position are dropped.

    Raises
    ------
    EvaluationError
        A position lies beyond the rank, or two elements are written to one position.
    """
    space = AlignedSpace.of(program, binding, einsum.target.variables)
    buffer = store[einsum.name]
    skipped = np.zeros(space.shape, bool)
    for flags in result.absent.values():
        skipped |= flags
    parallel = range(len(space.parallel))
    places = [np.broadcast_to(space.positions(axis), space.shape) for axis in parallel]
    for index, rank in zip(einsum.target.indices, program.tensor_ranks[einsum.name], strict=True):
        at, missing = position(space, store, index)
        for flags in missing:
            skipped |= flags
        beyond = ((at < 0) | (at >= binding.shapes[rank])) & ~skipped
        if beyond.any():
            what = f"'{einsum.name}' is written beyond its coordinates{space.point(beyond)}"
            raise EvaluationError(what, index.span)
        places.append(np.broadcast_to(at, space.shape))
    written = tuple(p[~skipped] for p in places)
    _check_once(einsum, buffer, written)
    buffer.write(written, np.broadcast_to(result.values, space.shape)[~skipped], {})


def position(space: AlignedSpace, store: Store, index: ir.Index) -> tuple[Array, tuple[Array, ...]]:
    """Return the position of every element along one rank, and flags of elements without one."""
    if isinstance(index, ir.Gather):
        lane = read(space, store, index.access)
        return lane.values, lane.unknown
    # Past the end of a partial last tile the result is already flagged as absent.
    return aligned_index(index, space), ()


def _check_once(einsum: ir.Einsum, buffer: Buffer, written: tuple[Array, ...]) -> None:
    flat = np.ravel_multi_index(written, buffer.values.shape)
    places, counts = np.unique(flat, return_counts=True)
    if (counts > 1).any():
        twice = np.unravel_index(places[counts > 1][0], buffer.values.shape)
        at = ", ".join(str(int(i)) for i in twice)
        what = f"'{einsum.name}' is written twice at [{at}]"
        hint = "the positions that it is scattered to must differ"
        raise EvaluationError(what, einsum.target.span, hint)
