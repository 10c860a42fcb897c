"""Execution of a mapped cascade on numbers, by the same loop nest that the counts use.

The shared nest is walked step by step, in the mapping's order. In each step every Einsum walks its
own temporal loops, and all lanes of its array compute at once. Each lane has one point of the
iteration space, reads its operands, and updates its result (``tensors``).

If ranks are partitioned over cores, all cores walk the nest of their tile side by side. In each
step an Einsum runs on all cores before the next Einsum runs, so that partial sums are complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product, zip_longest
from typing import Any

import numpy as np

from einsum_cascade.errors import EvaluationError, Problem
from einsum_cascade.ir import Program
from einsum_cascade.numeric.dtypes import Array
from einsum_cascade.numeric.inputs import bind, index_tensors

from ..iteration.loops import Loop, iterations
from ..nest.record import Bound, BoundEinsum
from .tensors import Coordinates, IntermediateTensor, TensorStore

MOST_ITERATIONS = 2_000_000
"""Limit of temporal iterations of one execution."""


def execute_mapped(
    bound: Bound, inputs: Mapping[str, Any], *, dtype: Any = "float64", **parameters: float
) -> dict[str, Array]:
    """Run a mapped cascade.

    Parameters
    ----------
    bound : Bound
        The mapping bound to shapes and a machine (``archsim.legality.binding.bind``).
    inputs : mapping
        An array per input, the parallel ranks first: ``Q`` of shape (B, H, P, E).
    dtype : str or numpy type
        The type tensors are stored in.
    **parameters
        Scalar parameters of the cascade.

    Returns
    -------
    dict
        The outputs by name.

    Raises
    ------
    EvaluationError
        The inputs do not fit, or the run would take too long.
    MappingError
        The mapped program cannot be run (undefined reads).
    """
    made = _run(bound, inputs, {}, dtype, parameters)
    return {name: tensor.values for name, tensor in made.items()}


def execute_nests(
    nests: Iterable[Bound],
    inputs: Mapping[str, Any],
    *,
    dtype: Any = "float64",
    **parameters: float,
) -> dict[str, Array]:
    """Run several nests of a cascade, each on the tensors of the nests before it.

    Parameters
    ----------
    nests : iterable of Bound
        In the order in which they run, each of some of the cascade's Einsums.
    inputs, dtype, **parameters
        As of ``execute_mapped``, of the whole cascade.

    Returns
    -------
    dict
        Tensors by name: the outputs of the cascade, and tensors between nests.

    Raises
    ------
    EvaluationError, MappingError
        As of ``execute_mapped``.
    """
    handed: dict[str, IntermediateTensor] = {}
    for bound in nests:
        positions = index_tensors(bound.program)
        own = {t.name: inputs[t.name] for t in bound.program.inputs if t.name in inputs}
        for name in (t.name for t in bound.program.inputs if t.name in handed):
            # Tensors between nests have the precision of the cascade.
            values = handed[name].values
            own[name] = values.astype(int) if name in positions else values
        handed |= _run(bound, own, handed, dtype, parameters)
    return {name: tensor.values for name, tensor in handed.items()}


def _run(
    bound: Bound,
    inputs: Mapping[str, Any],
    handed: Mapping[str, IntermediateTensor],
    dtype: Any,
    parameters: Mapping[str, float],
) -> dict[str, IntermediateTensor]:
    """Return the tensors that one nest makes; elements of tensors between nests may be absent."""
    cores = _walkable(bound)
    whole = bound.whole
    sizes = {k: v for k, v in whole.shapes if k not in bound.program.parallel}
    binding = bind(bound.program, inputs, dtype, sizes, parameters)
    store = TensorStore(bound.program, dict(whole.shapes), binding, handed)
    # Masked lanes compute as well and may divide by zero; they store nothing.
    with np.errstate(all="ignore"):
        _walk(cores, store)
        return {name: store.handed_on(name) for name in bound.program.outputs}


def _walkable(bound: Bound) -> tuple[_NestWalk, ...]:
    """Return the walk of each core. Raises EvaluationError if it takes too long or is
    impossible."""
    cores = tuple(_cores(bound))
    total = sum(e.iterations for core in cores for e in core.bound.einsums)
    if total > MOST_ITERATIONS:
        what = f"running this mapping takes {total:,} array steps, more than {MOST_ITERATIONS:,}"
        raise EvaluationError(Problem(what, hint="use smaller shapes"))
    _refuse_shared_scales(bound.program)
    return cores


def _cores(bound: Bound) -> Iterator[_NestWalk]:
    """Yield the walk of each core from the beginning of its parts."""
    spread, nests = bound.cores.partitions, bound.core_nests
    for numbers in product(*(range(s.parts) for s in spread)):
        kinds = tuple(s.kind_of(n) for s, n in zip(spread, numbers, strict=True))
        begin = {s.variable: s.begin(n) for s, n in zip(spread, numbers, strict=True)}
        yield _NestWalk(nests[kinds], begin, bound.whole)


def _walk(cores: Sequence[_NestWalk], store: TensorStore) -> None:
    """Walk the nest on all cores."""
    bound = cores[0].bound
    for e in bound.einsums:
        store.allocate(e.einsum)
    for group in bound.groups:
        names = [e.name for e in bound.einsums if e.name in group]
        # The last tile may have fewer steps.
        for steps in zip_longest(*(core.steps() for core in cores)):
            for name in names:
                for core, step in zip(cores, steps, strict=True):
                    if step is not None:
                        indices, last = step
                        core.run(name, indices, last, store)


def _refuse_shared_scales(program: Program) -> None:
    """Refuse intermediates in formats with scales: a nest computes value by value, and a scale
    is shared by several values."""
    formats = program.formats
    for e in program.einsums:
        fmt = formats.of(e.name)
        if fmt.name and (fmt.block > 1 or fmt.exponent == 0):
            what = f"'{e.name}' is computed value by value, and in {fmt.name} many share a scale"
            hint = "inputs may be in such formats, what a mapping computes may not"
            raise EvaluationError(Problem(what, e.target.span, hint))


class _NestWalk:
    """Walk of a bound mapping's loops, from the beginning of a core's tile."""

    def __init__(self, bound: Bound, begin: Mapping[str, int], whole: Bound) -> None:
        self.bound = bound
        self.whole = whole
        """Masks of the whole iteration space, which use global coordinates."""
        self.begin = begin
        """First coordinate by variable of each partitioned rank."""
        self.shapes = dict(bound.shapes)
        self.waits = _waits(bound)

    def run(
        self, name: str, indices: dict[str, int], last: dict[str, bool], store: TensorStore
    ) -> None:
        """Compute an Einsum in one step of the shared nest."""
        e = self.bound.by_name[name]
        # One core computes an Einsum without partitioned ranks for all: a sum would be added
        # repeatedly.
        if any(at > 0 for v, at in self.begin.items() if v not in e.variables):
            return
        if self._runs(e, indices, last):
            self._einsum(e, indices, store)

    def steps(self) -> Iterator[tuple[dict[str, int], dict[str, bool]]]:
        """Yield the iterations of the shared nest: loop indices, and which loops are at their
        end."""
        nest = self.bound.nest
        extents = {rank: self.shapes[rank] for rank in {loop.rank for loop in nest}}

        def walk(
            depth: int, left: dict[str, int]
        ) -> Iterator[tuple[dict[str, int], dict[str, bool]]]:
            if depth == len(nest):
                yield {}, {}
                return
            loop = nest[depth]
            stride = self.bound.tiling.members[loop.member].stride
            count = iterations(left[loop.rank], stride)
            for index in range(count):
                rest = min(stride, left[loop.rank] - index * stride)
                for indices, last in walk(depth + 1, {**left, loop.rank: rest}):
                    yield (
                        {loop.member: index, **indices},
                        {loop.member: index == count - 1, **last},
                    )

        return walk(0, extents)

    def _runs(self, e: BoundEinsum, indices: dict[str, int], last: dict[str, bool]) -> bool:
        """Return whether an Einsum outside a loop runs now: in the first or last iteration."""
        waits = self.waits[e.name]
        if not all(last[m] for m in waits):
            return False
        return all(indices[m] == 0 for m in {*e.outside} - waits)

    def _einsum(self, e: BoundEinsum, indices: dict[str, int], store: TensorStore) -> None:
        """Walk an Einsum's own temporal loops; all lanes compute at once."""
        start = [0] * len(e.axes)
        left = [a.extent for a in e.axes]
        for loop in e.shared:
            start[loop.axis] += indices[loop.member] * loop.stride
            left[loop.axis] = min(loop.stride, left[loop.axis] - indices[loop.member] * loop.stride)
            if left[loop.axis] <= 0:
                return
        begun = (tuple(start), tuple(left))
        idle = _left_out(e, len(e.shared), *begun)
        for begin, extents in _own_tiles(e.own, *begun):
            lanes = self._lanes(e, begin, extents)
            if idle or _left_out(e, len(e.temporal), begin, extents):
                store.leave(self.whole.by_name[e.name].einsum, lanes)
            else:
                store.update(self.whole.by_name[e.name].einsum, lanes)

    def _lanes(
        self, e: BoundEinsum, begin: tuple[int, ...], extents: tuple[int, ...]
    ) -> Coordinates:
        """Return the coordinates of every lane that has a point of the iteration space."""
        counts = [iterations(_before(e, i, extents), x.stride) for i, x in enumerate(e.spatial)]
        grid = np.indices(tuple(counts)).reshape(len(counts), -1) if counts else None
        width = grid.shape[1] if grid is not None else 1
        places = [np.full(width, b, np.int64) for b in begin]
        there = np.ones(width, bool)
        for i, loop in enumerate(e.spatial):
            assert grid is not None, "spatial loops have a grid"
            places[loop.axis] = places[loop.axis] + grid[i] * loop.stride
        # Loops along one axis make a rectangle, whose last lanes may exceed the rank.
        for axis, place in enumerate(places):
            there &= place - begin[axis] < extents[axis]
        found: Coordinates = {}
        for along, place in zip(e.axes, places, strict=True):
            # Variables of one axis are the digits of a position on it, outer digits first.
            rest = place[there]
            for variable, stride in along.variables:
                found[variable], rest = np.divmod(rest, stride)
                found[variable] += self.begin.get(variable, 0)
        return found or {"": np.zeros(1, np.int64)}


def _waits(bound: Bound) -> dict[str, frozenset[str]]:
    """Return for every Einsum the shared loops whose end it waits for."""
    found: dict[str, frozenset[str]] = {}
    for e in bound.einsums:
        late: set[str] = set()
        for operand in e.operands:
            writer = bound.producer(operand)
            if writer is not None and writer is not e and not operand.earlier:
                # A reader of an Einsum that waits for the end of a loop waits as well.
                inside = {loop.member for loop in writer.shared} - {*writer.outside}
                late |= inside | found.get(writer.name, frozenset())
        found[e.name] = frozenset(late & {*_stays_out_of(bound, e)})
    return found


def _stays_out_of(bound: Bound, e: BoundEinsum) -> tuple[str, ...]:
    """Return the shared loops that enclose other Einsums of a group, but not this Einsum."""
    if not e.outside:
        return ()
    others = [x for x in bound.einsums if not bound.in_different_groups(x.name, e.name)]
    return tuple(m for m in e.outside if any(m not in x.outside for x in others))


def _left_out(e: BoundEinsum, depth: int, begin: tuple[int, ...], extents: tuple[int, ...]) -> bool:
    """Return whether a tile inside ``depth`` loops lies outside the Einsum's window."""
    window = e.window
    return window is not None and window.governed == depth and not window.holds(begin, extents)


def _before(e: BoundEinsum, number: int, extents: tuple[int, ...]) -> int:
    """Return the remaining extent of a spatial loop's axis at its beginning."""
    loop = e.spatial[number]
    extent = extents[loop.axis]
    for outer in e.spatial[:number]:
        if outer.axis == loop.axis:
            extent = min(extent, outer.stride)
    return extent


def _own_tiles(
    loops: tuple[Loop, ...], start: tuple[int, ...], extents: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield begin and extent of every axis for each iteration of some loops, in order."""
    if not loops:
        yield start, extents
        return
    loop, rest = loops[0], loops[1:]
    axis = loop.axis
    for index in range(iterations(extents[axis], loop.stride)):
        begin = start[axis] + index * loop.stride
        left = min(loop.stride, extents[axis] - index * loop.stride)
        yield from _own_tiles(
            rest,
            (*start[:axis], begin, *start[axis + 1 :]),
            (*extents[:axis], left, *extents[axis + 1 :]),
        )
