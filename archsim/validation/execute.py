"""Running a mapped cascade on numbers: the loop nest that is costed is the one that runs.

The shared nest is walked step by step, in the mapping's order. In each step every Einsum
walks its own temporal loops, and all lanes of its array compute at once: each lane has one
point of the iteration space, reads its operands, and updates its result. Partial results
stay in the working type until an Einsum reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from einsum_cascade import ir
from einsum_cascade.errors import EvaluationError, Problem
from einsum_cascade.numeric.binding import Binding, bind
from einsum_cascade.numeric.dtypes import Array, cast
from einsum_cascade.numeric.evaluation import conjuncts
from einsum_cascade.numeric.expressions import Evaluator
from einsum_cascade.numeric.lanes import Excluded, Lane, LaneSpace
from einsum_cascade.numeric.reductions import UFUNCS
from einsum_cascade.numeric.targets import tensor_shape
from einsum_cascade.operations import identity_of

from ..bound.barriers import producer_of, reads_earlier
from ..bound.record import Bound, BoundEinsum
from ..schedule.tasks import stays_out_of
from ..space.access_map import coefficient
from ..space.iteration import Loop, iterations
from .selections import Selection

MOST_ITERATIONS = 2_000_000
"""Temporal iterations one execution may take."""


_Coordinates = dict[str, Array]
"""Per rank variable its value in every lane."""


def execute_mapped(
    bound: Bound, inputs: Mapping[str, Any], *, dtype: Any = "float64", **parameters: float
) -> dict[str, Array]:
    """Run a mapped cascade.

    Parameters
    ----------
    bound : Bound
        The mapping bound to shapes and a machine (``archsim.evaluate.evaluate.bind``).
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
    total = sum(e.iterations for e in bound.einsums)
    if total > MOST_ITERATIONS:
        what = f"running this mapping takes {total:,} array steps, more than {MOST_ITERATIONS:,}"
        raise EvaluationError(Problem(what, hint="use smaller shapes"))
    sizes = {k: v for k, v in bound.shapes if k not in bound.program.parallel}
    binding = bind(bound.program, inputs, dtype, sizes, parameters)
    with np.errstate(all="ignore"):
        return _Run(bound, binding).outputs()


@dataclass
class _Tensor:
    """A tensor being computed: values in the working type, and which elements are there."""

    values: Array
    there: Array


@dataclass(frozen=True)
class _Lanes(LaneSpace):
    """One point of the iteration space per lane of an array."""

    coordinates: Mapping[str, Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis: the lanes."""
        return next(iter((self.coordinates or {}).values())).shape

    @property
    def ndim(self) -> int:
        """One axis: the lanes."""
        return 1

    def values(self, variable: str) -> Array:
        """The value of a variable in every lane."""
        assert self.coordinates is not None, "lanes have coordinates"
        return self.coordinates[variable]


@dataclass(frozen=True)
class _LaneEvaluator(Evaluator):
    """Evaluates expressions lane by lane, reading tensors at the lanes' coordinates."""

    run: _Run | None = None

    def value(self, node: ir.Expression | ir.Condition) -> Lane:
        """The value of an expression in every lane."""
        if isinstance(node, ir.Access):
            assert self.run is not None, "a lane belongs to a run"
            assert isinstance(self.space, _Lanes), "lanes are evaluated on lanes"
            lane = self.run.fetch(node, dict(self.space.coordinates or {}))
            return lane.with_values(cast(lane.values, self.working))
        return super().value(node)


class _Run:
    """The tensors of one execution."""

    def __init__(self, bound: Bound, binding: Binding) -> None:
        self.bound = bound
        self.program = bound.program
        self.binding = binding
        self.shapes = dict(bound.shapes)
        self.waits = _waits(bound)
        self.selections: dict[str, Selection] = {}
        self.tensors = {
            name: _Tensor(a, np.ones(a.shape, bool)) for name, a in binding.inputs.items()
        }
        for e in bound.einsums:
            self._allocate(e)

    def outputs(self) -> dict[str, Array]:
        """Walk the nest and return the outputs in the storage type."""
        for group in self.bound.groups:
            einsums = [e for e in self.bound.einsums if e.name in group]
            for indices, last in self._steps():
                for e in einsums:
                    if self._runs(e, indices, last):
                        self._einsum(e, indices)
        found: dict[str, Array] = {}
        for name in self.program.outputs:
            tensor = self.tensors[name]
            values = np.where(tensor.there, tensor.values, np.zeros((), tensor.values.dtype))
            found[name] = cast(values, self.binding.precision.storage)
        return found

    def _allocate(self, e: BoundEinsum) -> None:
        einsum = e.einsum
        if einsum.select is not None:
            self.selections[e.name] = self._selection(einsum)
        shape = tuple(self.shapes[r] for r in self.binding.parallel)
        shape += tensor_shape(self.program, einsum, self.shapes)
        start = float(identity_of(self.program, einsum.reduction)) if einsum.over else 0.0
        working = self.binding.precision.working(e.name)
        tensor = _Tensor(np.full(shape, start, working), np.zeros(shape, bool))
        self.tensors[e.name] = tensor
        for statement in self.program.init:
            if statement.name == e.name:
                self._initialise(statement, tensor)

    def _selection(self, einsum: ir.Einsum) -> Selection:
        parallel = [r.lower() for r in self.binding.parallel]
        sizes = {v: self.shapes[self.program.rank_of_variable[v]] for v in einsum.variables}
        sizes |= {v: self.shapes[v.upper()] for v in parallel}
        return Selection.of(einsum, parallel, sizes)

    def _initialise(self, statement: ir.Einsum, tensor: _Tensor) -> None:
        sizes = {r.lower(): self.shapes[r] for r in self.binding.parallel}
        for v in statement.variables:
            sizes[v] = self.shapes[self.program.rank_of_variable[v]]
        grids = np.indices(tuple(sizes.values())).reshape(len(sizes), -1)
        lanes = dict(zip(sizes, grids, strict=True)) if sizes else {"": np.zeros(1, np.int64)}
        self._update(statement, tensor, lanes)

    # --------------------------------------------------------------- the shared nest

    def _steps(self) -> Iterator[tuple[dict[str, int], dict[str, bool]]]:
        """Iterations of the shared nest: loop indices, and which loops are at their end."""
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
        """Einsums outside a loop run at its first iteration, or at its last if they wait."""
        waits = self.waits[e.name]
        if not all(last[m] for m in waits):
            return False
        return all(indices[m] == 0 for m in {*e.outside} - waits)

    # --------------------------------------------------------------- one Einsum

    def _einsum(self, e: BoundEinsum, indices: dict[str, int]) -> None:
        """Walk an Einsum's own temporal loops; all lanes compute at once."""
        start = [0] * len(e.axes)
        left = [a.extent for a in e.axes]
        for loop in e.shared:
            start[loop.axis] += indices[loop.member] * loop.stride
            left[loop.axis] = min(loop.stride, left[loop.axis] - indices[loop.member] * loop.stride)
            if left[loop.axis] <= 0:
                return
        begun, tensor = (tuple(start), tuple(left)), self.tensors[e.name]
        idle = _left_out(e, len(e.shared), *begun)
        for begin, extents in _own_tiles(e.own, *begun):
            lanes = self._lanes(e, begin, extents)
            if idle or _left_out(e, len(e.temporal), begin, extents):
                at = np.broadcast_arrays(*self._at(e.einsum.target, lanes))
                self._carry(e.einsum, tensor, tuple(at))
            else:
                self._update(e.einsum, tensor, lanes)

    def _lanes(
        self, e: BoundEinsum, begin: tuple[int, ...], extents: tuple[int, ...]
    ) -> _Coordinates:
        """Coordinates of every lane that has a point of the iteration space."""
        counts = [iterations(_before(e, i, extents), x.stride) for i, x in enumerate(e.spatial)]
        grid = np.indices(tuple(counts)).reshape(len(counts), -1) if counts else None
        width = grid.shape[1] if grid is not None else 1
        places = [np.full(width, b, np.int64) for b in begin]
        there = np.ones(width, bool)
        for i, loop in enumerate(e.spatial):
            assert grid is not None, "spatial loops have a grid"
            places[loop.axis] = places[loop.axis] + grid[i] * loop.stride
        for axis, place in enumerate(places):
            there &= place - begin[axis] < extents[axis]
        found: _Coordinates = {}
        for along, place in zip(e.axes, places, strict=True):
            rest = place[there]
            for variable, stride in along.variables:
                found[variable], rest = np.divmod(rest, stride)
        return found or {"": np.zeros(1, np.int64)}

    def _update(self, einsum: ir.Einsum, tensor: _Tensor, lanes: _Coordinates) -> None:
        """Compute an expression in every lane and store or accumulate it."""
        space = _Lanes(
            parallel=(),
            variables=(),
            fixed={},
            shapes=self.shapes,
            ranks=self.program.rank_of_variable,
            coordinates=lanes,
        )
        evaluator = _LaneEvaluator(
            self.program,
            space,
            {},
            self.binding.parameters,
            self.binding.precision.working(einsum.name),
            run=self,
        )
        lane = evaluator.value(einsum.expression)
        width = space.shape
        skipped, absent = self._excluded(einsum, evaluator, lane, width)
        at = [np.broadcast_to(i, width) for i in self._at(einsum.target, lanes)]
        self._carry(einsum, tensor, tuple(i[absent] for i in at))
        tensor.there[tuple(i[~absent] for i in at)] = True
        allowed = ~skipped
        where = tuple(i[allowed] for i in at)
        if einsum.name in self.selections:
            values = np.broadcast_to(lane.values, width)
            lanes = {v: np.broadcast_to(c, width) for v, c in lanes.items()}
            chosen, there = self.selections[einsum.name].meet(lanes, values, allowed)
            tensor.values[where], tensor.there[where] = chosen, there
            return
        values = np.broadcast_to(cast(lane.values, tensor.values.dtype), width)[allowed]
        self._store(einsum, tensor, where, values)

    def _excluded(
        self, einsum: ir.Einsum, evaluator: Evaluator, lane: Lane, width: tuple[int, ...]
    ) -> tuple[Array, Array]:
        """Lanes without a point, and those whose element of the result is absent for that.

        What depends on the reduced variables only leaves a reduction without an operand.
        """
        over = frozenset(einsum.over)
        lanes = [lane]
        excluded = list(lane.excluded)
        if einsum.where is not None:
            for part in conjuncts(einsum.where):
                lanes.append(evaluator.condition(part))
                own = Excluded(frozenset(ir.variables_of(part)), ~lanes[-1].values)
                excluded += [*lanes[-1].excluded, own]
        skipped, absent = np.zeros(width, bool), np.zeros(width, bool)
        for flags in (*(e.flags for e in excluded), *(o.flags for x in lanes for o in x.outside)):
            skipped = skipped | flags
        for e in excluded:
            absent = absent | (e.flags if not e.variables & over else False)
        return skipped, absent

    def _carry(self, einsum: ir.Einsum, tensor: _Tensor, where: tuple[Array, ...]) -> None:
        """A step of an iterative rank that is masked out leaves the state as it was."""
        axes = [
            axis
            for axis, index in enumerate(einsum.target.indices, len(self.binding.parallel))
            if isinstance(index, ir.Affine) and index.offset == 1
        ]
        if len(axes) == 1 and where[axes[0]].size:
            before = tuple(i - (axis == axes[0]) for axis, i in enumerate(where))
            tensor.values[where] = tensor.values[before]
            tensor.there[where] = tensor.there[before]

    def _store(
        self, einsum: ir.Einsum, tensor: _Tensor, where: tuple[Array, ...], values: Array
    ) -> None:
        if not where:
            # A tensor without ranks has one element, at which all lanes meet.
            where = (np.zeros(len(values), np.int64),)
            tensor = _Tensor(tensor.values.reshape(1), tensor.there.reshape(1))
        if not einsum.over:
            tensor.values[where] = values
        elif einsum.reduction in UFUNCS:
            UFUNCS[einsum.reduction].at(tensor.values, where, values)
        else:
            self._fold(einsum, tensor, where, values)

    def _fold(
        self, einsum: ir.Einsum, tensor: _Tensor, where: tuple[Array, ...], values: Array
    ) -> None:
        """A user's reduction, one lane after the other."""
        declared = next(r for r in self.program.reductions if r.name == einsum.reduction)
        first, second = declared.arguments
        working = tensor.values.dtype
        space = LaneSpace((), ("",), {}, {"": 1}, {"": ""})
        for *place, value in zip(*where, values, strict=True):
            now = tensor.values[tuple(place)]
            arguments = {first: np.array([now]), second: np.array([value])}
            evaluator = Evaluator(
                self.program, space, {}, self.binding.parameters, working, arguments
            )
            tensor.values[tuple(place)] = evaluator.value(declared.body).values.reshape(-1)[0]

    # --------------------------------------------------------------- reading

    def fetch(self, access: ir.Access, lanes: _Coordinates) -> Lane:
        """The elements of a tensor that the lanes read; absent ones are excluded."""
        tensor = self.tensors[access.tensor]
        at = self._at(access, lanes)
        inside = np.ones(next(iter(lanes.values())).shape, bool)
        clipped: list[Array] = []
        for index, extent in zip(at, tensor.values.shape, strict=True):
            inside &= (index >= 0) & (index < extent)
            clipped.append(np.clip(index, 0, extent - 1))
        self._walk_back(access, tensor, clipped)
        values = tensor.values[tuple(clipped)]
        if np.issubdtype(values.dtype, np.floating):
            values = cast(values, self.binding.precision.storage)
        there = tensor.there[tuple(clipped)] & inside
        excluded = () if there.all() else (Excluded(frozenset(access.variables), ~there),)
        return Lane(values, excluded)

    def _walk_back(self, access: ir.Access, tensor: _Tensor, at: list[Array]) -> None:
        """Read the end of a rank where it was left: a last part may have fewer steps."""
        producer = self.program.einsum_of.get(access.tensor)
        if producer is None:
            return
        pairs = zip(producer.target.indices, access.indices, strict=True)
        for axis, (wrote, read) in enumerate(pairs, len(self.binding.parallel)):
            if isinstance(wrote, ir.Affine) and wrote.offset == 1 and not read.variables:
                while (late := ~tensor.there[tuple(at)] & (at[axis] > 0)).any():
                    at[axis] = at[axis] - late

    def _at(self, access: ir.Access, lanes: _Coordinates) -> list[Array]:
        width = next(iter(lanes.values())).shape
        carried = [lanes[r.lower()] for r in self.binding.parallel]
        return carried + [np.broadcast_to(self._index(i, lanes), width) for i in access.indices]

    def _index(self, index: ir.Index, lanes: _Coordinates) -> Array:
        if isinstance(index, ir.Gather):
            return self.fetch(index.access, lanes).values.astype(np.int64)
        found = np.zeros((), np.int64)
        for term in index.terms:
            scale = coefficient(term, self.shapes)
            found = found + scale * (lanes[term.variable] if term.variable else 1)
        return found


def _waits(bound: Bound) -> dict[str, frozenset[str]]:
    """Of every Einsum the shared loops outside of which it waits for what comes from inside."""
    found: dict[str, frozenset[str]] = {}
    for e in bound.einsums:
        late: set[str] = set()
        for access in e.einsum.reads:
            writer = producer_of(bound, access)
            if writer is not None and writer is not e and not reads_earlier(bound, access):
                inside = {loop.member for loop in writer.shared} - {*writer.outside}
                late |= inside | found.get(writer.name, frozenset())
        found[e.name] = frozenset(late & {*stays_out_of(bound, e)})
    return found


def _left_out(e: BoundEinsum, depth: int, begin: tuple[int, ...], extents: tuple[int, ...]) -> bool:
    """Whether a tile inside ``depth`` loops is one that the Einsum's window leaves out."""
    window = e.window
    return window is not None and window.governed == depth and not window.holds(begin, extents)


def _before(e: BoundEinsum, number: int, extents: tuple[int, ...]) -> int:
    """What is left of a spatial loop's axis where it begins."""
    loop = e.spatial[number]
    extent = extents[loop.axis]
    for outer in e.spatial[:number]:
        if outer.axis == loop.axis:
            extent = min(extent, outer.stride)
    return extent


def _own_tiles(
    loops: tuple[Loop, ...], start: tuple[int, ...], extents: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Begin and extent of every axis for each iteration of some loops, in order."""
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
