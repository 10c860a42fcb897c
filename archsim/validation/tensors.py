"""Tensors of a mapped run: the values that lanes read and write, and selections among
candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar

import numpy as np

from einsum_cascade import ir
from einsum_cascade.numeric.aligned import AlignedArray, AlignedSpace, Buffer, Excluded, read
from einsum_cascade.numeric.dtypes import Array, cast
from einsum_cascade.numeric.evaluation import UFUNCS, Evaluator, restrictions, topk
from einsum_cascade.numeric.inputs import Binding
from einsum_cascade.numeric.targets import allocate, deciding_places, position
from einsum_cascade.operations import identity_of

Coordinates = dict[str, Array]
"""Value of each rank variable in every lane."""


@dataclass(frozen=True)
class _ArrayLanes(AlignedSpace):
    """Lanes of an array in a row; each lane has one point of the iteration space."""

    coordinates: Mapping[str, Array] = field(default_factory=dict)
    pointwise: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of lanes."""
        return next(iter(self.coordinates.values())).shape

    @property
    def ndim(self) -> int:
        """Number of axes, which is one: the lanes are in a row."""
        return 1

    def values(self, variable: str) -> Array:
        """Return the value of a variable in every lane."""
        return self.coordinates[variable]

    def positions(self, axis: int) -> Array:
        """Return the position of every lane along a parallel rank."""
        return self.coordinates[self.parallel[axis].lower()]


@dataclass(frozen=True)
class _LaneEvaluator(Evaluator):
    """Evaluator of expressions lane by lane, which reads tensors as they are stored."""

    tensors: TensorStore | None = None

    def value(self, node: ir.Expression | ir.Condition) -> AlignedArray:
        """Return the value of an expression in every lane, and exclude lanes whose operands are
        absent."""
        if not isinstance(node, ir.Access):
            return super().value(node)
        assert self.tensors is not None, "a lane belongs to a run"
        assert isinstance(self.space, _ArrayLanes), "lanes are evaluated on lanes"
        with self.tensors.continued(node, self.space):
            lane = read(self.space, self.store, node)
        values = self.tensors.stored(node.tensor, lane.values)
        outside = (Excluded(frozenset(o.access.variables), o.flags) for o in lane.outside)
        return AlignedArray(cast(values, self.working), (*lane.excluded, *outside))


class TensorStore:
    """Tensors of one run, by name; tensors of earlier nests exist as far as they were computed.

    The values of a tensor that is being computed are in its working format. An element that is
    neither set nor absent is not computed yet.
    """

    def __init__(
        self,
        program: ir.Program,
        shapes: dict[str, int],
        binding: Binding,
        handed: Mapping[str, Buffer],
    ) -> None:
        self.program = program
        self.shapes = shapes
        self.binding = binding
        self.selections: dict[str, Selection] = {}
        self.tensors = {
            name: replace(handed[name], values=a) if name in handed else Buffer(a)
            for name, a in binding.inputs.items()
        }

    def handed_on(self, name: str) -> Buffer:
        """Return a tensor for later nests in its storage format; absent elements become zero."""
        tensor = self.tensors[name]
        missing = np.logical_or.reduce((*tensor.absent.values(), _unset(tensor)))
        values = np.where(missing, np.zeros((), tensor.values.dtype), tensor.values)
        values = self.binding.precision.kept(name, cast(values, self.binding.precision.storage))
        return replace(tensor, values=values)

    def stored(self, name: str, values: Array) -> Array:
        """Return values of a tensor rounded to its storage format, as later reads see them."""
        if not np.issubdtype(values.dtype, np.floating):
            return values
        values = cast(values, self.binding.precision.storage)
        # Inputs are in their formats already.
        return values if name in self.binding.inputs else self.binding.precision.kept(name, values)

    def allocate(self, einsum: ir.Einsum) -> None:
        """Create the tensor of an Einsum's result, with its initial values."""
        tensor = allocate(self.program, einsum, self.binding)
        # A scattered target is absent until it is written.
        tensor.unset = np.full(tensor.values.shape, not einsum.scattered)
        if einsum.select is not None:
            self.selections[einsum.name] = Selection.of(einsum, tensor, self.binding, self.program)
        else:
            start = float(identity_of(self.program, einsum.reduction)) if einsum.over else 0.0
            working = self.binding.precision.working(einsum.name)
            tensor.values = np.full(tensor.values.shape, start, working)
        self.tensors[einsum.name] = tensor
        for statement in self.program.init:
            if statement.name == einsum.name:
                self._initialise(statement)

    def _initialise(self, statement: ir.Einsum) -> None:
        sizes = {r.lower(): self.shapes[r] for r in self.binding.parallel}
        for v in statement.variables:
            sizes[v] = self.shapes[self.program.rank_of_variable[v]]
        # A statement without variables, such as Y[0] = 0, has one unnamed lane.
        sizes = sizes or {"": 1}
        grids = np.indices(tuple(sizes.values())).reshape(len(sizes), -1)
        self.update(statement, dict(zip(sizes, grids, strict=True)))

    def update(self, einsum: ir.Einsum, lanes: Coordinates) -> None:
        """Compute an expression in every lane, and store or accumulate the result."""
        tensor = self.tensors[einsum.name]
        lanes = self._with_position(einsum, lanes)
        evaluator, lane = self._evaluated(einsum, lanes)
        skipped, absent = self._excluded(einsum, evaluator, lane)
        at = _flat_places(self._places(einsum.target, evaluator.space), tensor)
        self._settle(einsum, tensor, at, absent)
        taken, values = ~skipped, np.broadcast_to(lane.values, skipped.shape)
        if einsum.name in self.selections:
            candidates = lanes[self.selections[einsum.name].candidate]
            self.selections[einsum.name].meet(tensor, at[taken], candidates[taken], values[taken])
        else:
            self._store(einsum, tensor, at[taken], cast(values, tensor.values.dtype)[taken])

    def leave(self, einsum: ir.Einsum, lanes: Coordinates) -> None:
        """Finish the lanes that are skipped; in a recurrence they keep the state of the previous
        step.

        An empty reduction exists, unless an index outside the reduction makes it absent.
        """
        tensor = self.tensors[einsum.name]
        evaluator, lane = self._evaluated(einsum, lanes)
        at = _flat_places(self._places(einsum.target, evaluator.space), tensor)
        if not einsum.over or einsum.select or einsum.name in self.program.iterative:
            _carry(tensor, at)
        else:
            self._settle(einsum, tensor, at, self._excluded(einsum, evaluator, lane)[1])

    def _space(self, lanes: Coordinates) -> _ArrayLanes:
        ranks = self.program.rank_of_variable
        return _ArrayLanes(self.binding.parallel, (), {}, self.shapes, ranks, coordinates=lanes)

    def _with_position(self, einsum: ir.Einsum, lanes: Coordinates) -> Coordinates:
        """Return the lanes whose result has a position. An absent entry of an index tensor gives
        none."""
        space = self._space(lanes)
        nowhere = np.zeros(space.shape, bool)
        for index in einsum.scattered:
            for flags in position(space, self.tensors, index)[1]:
                nowhere |= flags
        return {v: c[~nowhere] for v, c in lanes.items()} if nowhere.any() else lanes

    def _places(self, access: ir.Access, space: AlignedSpace) -> list[Array]:
        """Return the position of every lane along each axis of a tensor."""
        at = [space.positions(axis) for axis in range(len(space.parallel))]
        at += [position(space, self.tensors, index)[0] for index in access.indices]
        # A tensor without ranks has one element, in which all lanes meet.
        return [np.broadcast_to(places, space.shape) for places in at or [np.zeros(1, np.int64)]]

    def _evaluated(
        self, einsum: ir.Einsum, lanes: Coordinates
    ) -> tuple[_LaneEvaluator, AlignedArray]:
        """Return an Einsum's expression in every lane, and its evaluator."""
        space, parameters = self._space(lanes), self.binding.parameters
        precision = self.binding.precision.working(einsum.name)
        evaluator = _LaneEvaluator(
            self.program, space, self.tensors, parameters, precision, tensors=self
        )
        return evaluator, evaluator.value(einsum.expression)

    def _settle(
        self, einsum: ir.Einsum, tensor: Buffer, at: Array, absent: Mapping[frozenset[str], Array]
    ) -> None:
        """Record which elements in the lanes exist, and why other elements are absent."""
        missing = np.zeros(at.shape, bool)
        for variables, flags in absent.items():
            missing |= flags
            deciding = deciding_places(einsum.target, variables)
            if deciding not in tensor.absent:
                tensor.absent[deciding] = np.zeros(tensor.values.shape, bool)
            tensor.absent[deciding].reshape(-1)[at[flags]] = True
        unset = _unset(tensor).reshape(-1)
        unset[at[missing]] = False
        _carry(tensor, at[missing])
        if einsum.select is None:  # A gathered index exists once there are enough candidates.
            for flags in (unset, *tensor.absent.values()):
                flags.reshape(-1)[at[~missing]] = False

    def _excluded(
        self, einsum: ir.Einsum, evaluator: _LaneEvaluator, lane: AlignedArray
    ) -> tuple[Array, dict[frozenset[str], Array]]:
        """Return two sets of lanes: those without a point, and those whose result is absent.

        An absent result comes with the index that decides it. An index of reduced variables alone
        leaves a reduction without an operand.
        """
        skipped = np.zeros(evaluator.space.shape, bool)
        absent: dict[frozenset[str], Array] = {}
        for part in (lane, *restrictions(einsum, evaluator)):
            for flags in part.unknown:
                skipped = skipped | flags
            for e in part.excluded:
                if not e.variables & frozenset(einsum.over):
                    absent[e.variables] = absent.get(e.variables, np.zeros_like(skipped)) | e.flags
        return skipped, absent

    def _store(self, einsum: ir.Einsum, tensor: Buffer, at: Array, values: Array) -> None:
        results = tensor.values.reshape(-1)
        if not einsum.over:
            results[at] = values
        elif einsum.reduction in UFUNCS:
            # Lanes may meet at one element, and an assignment would keep the last of them only.
            UFUNCS[einsum.reduction].at(results, at, values)
        else:
            declared = next(r for r in self.program.reductions if r.name == einsum.reduction)
            _fold(self.program, declared, self.binding.parameters, results, at, values)

    @contextmanager
    def continued(self, access: ir.Access, space: AlignedSpace) -> Iterator[None]:
        """Continue a rank where it ended, for one access: the last tile may have fewer steps."""
        producer = self.program.einsum_of.get(access.tensor)
        tensor = self.tensors[access.tensor]
        leading = len(self.binding.parallel)
        # The state at a step of a loop is read as it is.
        if (
            producer is None
            or tensor.carry is None
            or access.indices[tensor.carry - leading].variables
        ):
            yield
            return
        shape = tensor.values.shape
        places = zip(self._places(access, space), shape, strict=True)
        end = _flat_places([np.clip(at, 0, size - 1) for at, size in places], tensor)
        start, stride = end, _stride(tensor)
        unset = _unset(tensor).reshape(-1)
        while (late := unset[start] & (start // stride % shape[tensor.carry] > 0)).any():
            start = start - stride * late
        arrays = [a.reshape(-1) for a in (tensor.values, unset, *tensor.absent.values())]
        kept = [a[end] for a in arrays]
        for array in arrays:
            array[end] = array[start]
        yield
        for array, before in zip(arrays, kept, strict=True):
            array[end] = before


def _unset(tensor: Buffer) -> Array:
    """Return the flags of elements that are not computed yet."""
    assert tensor.unset is not None, "tensors that are computed have flags of unset elements"
    return tensor.unset


def _flat_places(at: list[Array], tensor: Buffer) -> Array:
    """Return positions in the flattened tensor, from positions along each axis."""
    return np.ravel_multi_index(tuple(at), tensor.values.shape or (1,))


def _stride(tensor: Buffer) -> int:
    """Return the distance, in the flattened tensor, between two steps of the iterative rank."""
    assert tensor.carry is not None, "only a tensor with an iterative rank has steps"
    return prod(tensor.values.shape[tensor.carry + 1 :])


def _carry(tensor: Buffer, at: Array) -> None:
    """Copy the state of the previous step to a masked step of an iterative rank."""
    if tensor.carry is not None:
        stride = _stride(tensor)
        at = at[at // stride % tensor.values.shape[tensor.carry] > 0]
        for array in (tensor.values, _unset(tensor), *tensor.absent.values()):
            array.reshape(-1)[at] = array.reshape(-1)[at - stride]


def _fold(
    program: ir.Program,
    declared: ir.UserReduction,
    parameters: Mapping[str, float],
    results: Array,
    at: Array,
    values: Array,
) -> None:
    """Apply a user's reduction one lane after the other, since lanes may share a result."""
    first, second = declared.arguments
    space = AlignedSpace((), ("",), {}, {"": 1}, {"": ""})
    for place, value in zip(at, values, strict=True):
        arguments = {first: results[[place]], second: np.array([value])}
        evaluator = Evaluator(program, space, {}, parameters, results.dtype, arguments)
        results[place] = evaluator.value(declared.body).values.reshape(-1)[0]


@dataclass(frozen=True)
class Selection:
    """State of a selection such as ``I[j, p] << topk(S[m, p], j)``: the best candidates m so
    far."""

    candidate: str
    """Variable of the candidates (m)."""
    axis: int
    """Axis of the result that numbers the selected candidates (j)."""
    values: Array
    """Values of the candidates, along the last axis; all other axes are those of the result (p)."""
    met: Array

    @classmethod
    def of(
        cls, einsum: ir.Einsum, result: Buffer, binding: Binding, program: ir.Program
    ) -> Selection:
        """Return a selection without candidates."""
        (candidate,) = einsum.over
        free = set(einsum.target.variables) - set(ir.variables_of(einsum.expression))
        places = (set(i.variables) <= free for i in einsum.target.indices)
        axis = len(binding.parallel) + [*places].index(True)
        fibers = np.delete(result.values.shape, axis)
        shape = (*fibers, binding.shapes[program.rank_of_variable[candidate]])
        return cls(candidate, axis, np.zeros(shape), np.zeros(shape, bool))

    def meet(self, result: Buffer, at: Array, candidates: Array, values: Array) -> None:
        """Add candidates, and select again in each fiber that has new candidates."""
        place = np.unravel_index(at, result.values.shape)
        fiber = (*place[: self.axis], *place[self.axis + 1 :])
        self.values[(*fiber, candidates)] = values
        self.met[(*fiber, candidates)] = True
        count = result.values.shape[self.axis]
        positions, missing = topk(self.values[fiber], ~self.met[fiber], count)
        np.moveaxis(result.values, self.axis, -1)[fiber] = positions
        np.moveaxis(_unset(result), self.axis, -1)[fiber] = missing
