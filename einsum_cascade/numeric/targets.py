"""Storage of results: sizes of tensors, places of results, and scattered writes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from .. import ir
from ..errors import EvaluationError, Problem
from .aligned import AlignedSpace, Buffer, Store, read
from .dtypes import Array
from .evaluation import Computed
from .inputs import Binding


def tensor_shape(
    program: ir.Program, einsum: ir.Einsum, shapes: Mapping[str, int]
) -> tuple[int, ...]:
    """The shape of the tensor an Einsum writes, without the parallel ranks.

    An index ``v + 1`` makes the rank one longer: coordinate 0 is the state before.

    Parameters
    ----------
    program : Program
    einsum : Einsum
    shapes : mapping
        Every rank and member by name, in elements.

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
    """An empty buffer for the tensor an Einsum writes.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        With a target of all coordinates, whatever loops it runs in.
    binding : Binding

    Returns
    -------
    Buffer
        Of zeros. Unless all of it will be written or is set by ``init``, all of it is ``unset``;
        of a scattered target all is absent until it is written.
    """
    leading = tuple(binding.shapes[r] for r in binding.parallel)
    shape = leading + tensor_shape(program, einsum, binding.shapes)
    dtype = np.dtype(np.int64) if einsum.select else binding.precision.storage
    iterative = [axis for axis, index in enumerate(einsum.target.indices) if _is_next(index)]
    started = any(e.name == einsum.name for e in program.init)
    # Coordinate 0 of an iterative rank, the state before the first step, is set by ``init`` alone.
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
        Not scattered.
    binding : Binding
    buffer : Buffer
        Of the tensor; changed.
    result : Computed
        Along the target's variables that are not ``fixed``.
    fixed : mapping
        By variable the step of each loop around.
    """
    sizes = {v: binding.shapes[program.rank_of_variable[v]] for v in einsum.target.variables}
    free = [v for v in einsum.target.variables if v not in fixed]
    leading = tuple(binding.shapes[r] for r in binding.parallel)
    full = leading + tuple(sizes[v] for v in free)
    values = np.broadcast_to(result.values, full)
    absent = _by_axes(einsum, result, full)
    where: list[slice] = [slice(None)] * len(leading)
    for axis, index in enumerate(einsum.target.indices, start=len(leading)):
        assert isinstance(index, ir.Affine)
        at = _coordinates(index, sizes, fixed, binding.shapes)
        # The last tile may be cut short, and members may be walked inner before outer; sorted, what
        # is inside is evenly spaced.
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
    """What is absent, by the places of the target's indices that decide."""
    found: dict[frozenset[int], Array] = {}
    for variables, flags in result.absent.items():
        deciding = deciding_places(einsum.target, variables)
        found[deciding] = found.get(deciding, np.False_) | np.broadcast_to(flags, shape)
    return found


def unwritten_places(einsum: ir.Einsum) -> tuple[frozenset[int], ...]:
    """The places of a scattered target that tell which of its elements nothing writes.

    Returns
    -------
    tuple of frozenset of int
        None where the target is not scattered; else where the positions go, and what they are for.
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
    """The places of a target's indices that tell what variables decide about its elements.

    Along an iterative rank the state may be there from some step on: the step tells, too.

    Parameters
    ----------
    target : Access
        What an Einsum or a statement of ``init`` writes.
    variables : frozenset of str
        Rank variables that decide whether an element is there.

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


def _coordinates(
    index: ir.Affine, sizes: Mapping[str, int], fixed: Mapping[str, int], shapes: Mapping[str, int]
) -> Array:
    """The coordinates an index takes, its free variables walked in order of appearance."""
    # Of m1*M0 + m0 with M0 = 4 and m1 of 2: 0 1 2 3 4 5 6 7, one for each pair in the order of the
    # axes of the result that are made one; with m1 fixed to 1: 4 5 6 7.
    found = np.zeros((), np.int64)
    for variable in index.variables:
        along = np.array([fixed[variable]]) if variable in fixed else np.arange(sizes[variable])
        found = found[..., None] + _stride(index, variable, shapes) * along
    constant = sum(t.coefficient * prod(shapes[s] for s in t.shapes) for t in _constants(index))
    return found.reshape(-1) + constant


def _constants(index: ir.Affine) -> tuple[ir.AffineTerm, ...]:
    return tuple(t for t in index.terms if t.variable is None)


def _stride(index: ir.Affine, variable: str, shapes: Mapping[str, int]) -> int:
    terms = (t for t in index.terms if t.variable == variable)
    return sum(t.coefficient * prod(shapes[s] for s in t.shapes) for t in terms)


def _as_slice(at: Array) -> slice:
    first, last = int(at[0]), int(at[-1])
    step = int(at[1]) - first if len(at) > 1 else 1
    return slice(first, last + 1, step)


def _merged(
    array: Array, axis: int, index: ir.Affine, fixed: Mapping[str, int], order: Array
) -> Array:
    """The axes of an index's free variables as one axis, in the order of the coordinates."""
    count = sum(v not in fixed for v in index.variables)
    shape = array.shape
    array = array.reshape((*shape[:axis], -1, *shape[axis + count :]))
    return np.take(array, order, axis=axis)


def store_scattered(
    program: ir.Program, einsum: ir.Einsum, binding: Binding, store: Store, result: Computed
) -> None:
    """Write a result to where its index tensors point; where one has no entry, nothing.

    Raises
    ------
    EvaluationError
        A position is beyond the rank, or two elements are written to the same place.
    """
    space = AlignedSpace(
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
    parallel = range(len(space.parallel))
    places = [np.broadcast_to(space.positions(axis), space.shape) for axis in parallel]
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


def _position(
    space: AlignedSpace, store: Store, index: ir.Index
) -> tuple[Array, tuple[Array, ...]]:
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
