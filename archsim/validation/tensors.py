"""Tensors of a mapped run: values that lanes read and write, and selections of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from einsum_cascade import ir
from einsum_cascade.masks import conjuncts
from einsum_cascade.numeric.aligned import AlignedArray, AlignedSpace, Excluded
from einsum_cascade.numeric.dtypes import Array, cast
from einsum_cascade.numeric.evaluation import UFUNCS, Evaluator, topk
from einsum_cascade.numeric.inputs import Binding
from einsum_cascade.numeric.targets import deciding_places, tensor_shape, unwritten_places
from einsum_cascade.operations import identity_of

Coordinates = dict[str, Array]
"""Value of each rank variable in every lane."""


@dataclass
class _PartialTensor:
    """Tensor being computed: values in the working format, and flags of elements that exist.

    ``gone`` has flags of elements that a mask removes or a gather lacks, by the positions of the
    deciding indices (as in ``numeric.lanes.Buffer``). An element that is neither present nor gone
    is not computed yet.
    """

    values: Array
    there: Array
    gone: dict[frozenset[int], Array] = field(default_factory=dict)


@dataclass(frozen=True)
class IntermediateTensor:
    """Tensor of a finished nest, as a later nest reads it.

    Elements absent in one nest are absent in the other. A gather at a missing index has no element,
    which differs from a zero.
    """

    values: Array
    """Values in the storage format; zero for absent elements."""
    there: Array
    gone: Mapping[frozenset[int], Array]
    """Flags as in a tensor being computed."""

    def as_input(self, given: Array) -> _PartialTensor:
        """Return the tensor that a nest reads, with its values as they were checked."""
        return _PartialTensor(given, self.there, dict(self.gone))


@dataclass(frozen=True)
class _ArrayLanes(AlignedSpace):
    """Lanes of an array, each with one point of the iteration space."""

    coordinates: Mapping[str, Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one axis: the lanes."""
        return next(iter((self.coordinates or {}).values())).shape

    @property
    def ndim(self) -> int:
        """Number of axes: one, the lanes."""
        return 1

    def values(self, variable: str) -> Array:
        """Return the value of a variable in every lane."""
        assert self.coordinates is not None, "lanes have coordinates"
        return self.coordinates[variable]


@dataclass(frozen=True)
class _LaneEvaluator(Evaluator):
    """Evaluator of expressions lane by lane, which reads tensors at the lanes' coordinates."""

    read_from: TensorStore | None = None

    def value(self, node: ir.Expression | ir.Condition) -> AlignedArray:
        """Return the value of an expression in every lane."""
        if isinstance(node, ir.Access):
            assert self.read_from is not None, "a lane belongs to a run"
            assert isinstance(self.space, _ArrayLanes), "lanes are evaluated on lanes"
            lane = self.read_from.fetch(node, dict(self.space.coordinates or {}))
            return lane.with_values(cast(lane.values, self.working))
        return super().value(node)


class TensorStore:
    """Tensors of one run, by name; tensors of earlier nests exist as far as they were computed."""

    def __init__(
        self,
        program: ir.Program,
        shapes: dict[str, int],
        binding: Binding,
        handed: Mapping[str, IntermediateTensor],
    ) -> None:
        self.program = program
        self.shapes = shapes
        self.binding = binding
        self.selections: dict[str, Selection] = {}
        self.tensors = {
            name: handed[name].as_input(a)
            if name in handed
            else _PartialTensor(a, np.ones(a.shape, bool))
            for name, a in binding.inputs.items()
        }

    def handed_on(self, name: str) -> IntermediateTensor:
        """Return a tensor for later nests."""
        tensor = self.tensors[name]
        return IntermediateTensor(self.output(name), tensor.there, tensor.gone)

    def output(self, name: str) -> Array:
        """Return a tensor in the storage format; absent elements are zero."""
        tensor = self.tensors[name]
        values = np.where(tensor.there, tensor.values, np.zeros((), tensor.values.dtype))
        return self.binding.precision.kept(name, cast(values, self.binding.precision.storage))

    def allocate(self, einsum: ir.Einsum) -> None:
        """Return the tensor of an Einsum's result, with its initial values."""
        if einsum.select is not None:
            self.selections[einsum.name] = self._selection(einsum)
        shape = tuple(self.shapes[r] for r in self.binding.parallel)
        shape += tensor_shape(self.program, einsum, self.shapes)
        start = float(identity_of(self.program, einsum.reduction)) if einsum.over else 0.0
        working = self.binding.precision.working(einsum.name)
        tensor = _PartialTensor(np.full(shape, start, working), np.zeros(shape, bool))
        tensor.gone.update((p, np.ones(shape, bool)) for p in unwritten_places(einsum))
        self.tensors[einsum.name] = tensor
        for statement in self.program.init:
            if statement.name == einsum.name:
                self._initialise(statement)

    def _selection(self, einsum: ir.Einsum) -> Selection:
        parallel = [r.lower() for r in self.binding.parallel]
        sizes = {v: self.shapes[self.program.rank_of_variable[v]] for v in einsum.variables}
        sizes |= {v: self.shapes[v.upper()] for v in parallel}
        return Selection.of(einsum, parallel, sizes)

    def _initialise(self, statement: ir.Einsum) -> None:
        sizes = {r.lower(): self.shapes[r] for r in self.binding.parallel}
        for v in statement.variables:
            sizes[v] = self.shapes[self.program.rank_of_variable[v]]
        # A statement without variables, such as Y[0] = 0, has one unnamed lane.
        sizes = sizes or {"": 1}
        grids = np.indices(tuple(sizes.values())).reshape(len(sizes), -1)
        lanes = dict(zip(sizes, grids, strict=True))
        self.update(statement, lanes)

    def update(self, einsum: ir.Einsum, lanes: Coordinates) -> None:
        """Compute an expression in every lane, and store or accumulate the result."""
        tensor = self.tensors[einsum.name]
        lanes = self._placed(einsum, lanes)
        evaluator, lane = self._evaluated(einsum, lanes)
        width = evaluator.space.shape
        skipped, absent = self._excluded(einsum, evaluator, lane, width)
        at = [np.broadcast_to(i, width) for i in self._at(einsum.target, lanes)]
        self._settle(einsum, tensor, at, absent)
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

    def _placed(self, einsum: ir.Einsum, lanes: Coordinates) -> Coordinates:
        """Return the lanes whose result has a position; an absent entry of an index tensor has
        none."""
        if not einsum.scattered:
            return lanes
        width = np.broadcast_shapes(*(np.shape(c) for c in lanes.values()))
        nowhere = np.zeros(width, bool)
        for e in self._not_gathered(einsum.target, lanes):
            nowhere = nowhere | e.flags
        return {v: np.broadcast_to(c, width)[~nowhere] for v, c in lanes.items()}

    def leave(self, einsum: ir.Einsum, lanes: Coordinates) -> None:
        """Return the lanes that are skipped; an iterative rank keeps the state of the previous
        step.

        An empty reduction exists, unless an index outside the reduction makes it absent.
        """
        at = [np.asarray(i) for i in np.broadcast_arrays(*self._at(einsum.target, lanes))]
        tensor = self.tensors[einsum.name]
        if not einsum.over or einsum.select or einsum.name in self.program.iterative:
            self._carry(einsum, tensor, tuple(at))
            return
        evaluator, lane = self._evaluated(einsum, lanes)
        _, absent = self._excluded(einsum, evaluator, lane, evaluator.space.shape)
        self._settle(einsum, tensor, at, absent)

    def _evaluated(self, einsum: ir.Einsum, lanes: Coordinates) -> tuple[Evaluator, AlignedArray]:
        """Return an Einsum's expression in every lane, and its evaluator."""
        space = _ArrayLanes(
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
            read_from=self,
        )
        return evaluator, evaluator.value(einsum.expression)

    def _settle(
        self,
        einsum: ir.Einsum,
        tensor: _PartialTensor,
        at: list[Array],
        absent: Mapping[frozenset[str], Array],
    ) -> None:
        """Record which elements of the lanes exist, and why the others do not."""
        missing = np.zeros(np.broadcast_shapes(*(i.shape for i in at), (1,)), bool)
        for flags in absent.values():
            missing = missing | flags
        # A tensor without ranks has one element, in which all lanes meet.
        at = at or [np.zeros(missing.shape, np.int64)]
        for variables, flags in absent.items():
            deciding = deciding_places(einsum.target, variables)
            if deciding not in tensor.gone:
                tensor.gone[deciding] = np.zeros(tensor.values.shape, bool)
            np.atleast_1d(tensor.gone[deciding])[tuple(i[flags] for i in at)] = True
        self._carry(einsum, tensor, tuple(i[missing] for i in at))
        if einsum.select is None:  # A gathered index exists once there are enough candidates.
            np.atleast_1d(tensor.there)[tuple(i[~missing] for i in at)] = True

    def _excluded(
        self, einsum: ir.Einsum, evaluator: Evaluator, lane: AlignedArray, width: tuple[int, ...]
    ) -> tuple[Array, dict[frozenset[str], Array]]:
        """Yield lanes without a point and lanes with an absent result, by the deciding index.

        An index of reduced variables alone leaves a reduction without an operand.
        """
        over = frozenset(einsum.over)
        lanes = [lane]
        excluded = list(lane.excluded)
        if einsum.where is not None:
            for part in conjuncts(einsum.where):
                lanes.append(evaluator.condition(part))
                own = Excluded(frozenset(ir.variables_of(part)), ~lanes[-1].values)
                excluded += [*lanes[-1].excluded, own]
        skipped = np.zeros(width, bool)
        for flags in (*(e.flags for e in excluded), *(o.flags for x in lanes for o in x.outside)):
            skipped = skipped | flags
        absent: dict[frozenset[str], Array] = {}
        for e in excluded:
            if not e.variables & over:
                absent[e.variables] = absent.get(e.variables, np.zeros(width, bool)) | e.flags
        return skipped, absent

    def _carry(self, einsum: ir.Einsum, tensor: _PartialTensor, where: tuple[Array, ...]) -> None:
        """Keep the state at a masked step of an iterative rank."""
        axes = [
            axis
            for axis, index in enumerate(einsum.target.indices, len(self.binding.parallel))
            if isinstance(index, ir.Affine) and index.offset == 1
        ]
        if len(axes) == 1 and where[axes[0]].size:
            before = tuple(i - (axis == axes[0]) for axis, i in enumerate(where))
            tensor.values[where] = tensor.values[before]
            tensor.there[where] = tensor.there[before]
            for flags in tensor.gone.values():
                flags[where] = flags[before]

    def _store(
        self, einsum: ir.Einsum, tensor: _PartialTensor, where: tuple[Array, ...], values: Array
    ) -> None:
        if not where:
            # A tensor without ranks has one element, in which all lanes meet.
            where = (np.zeros(len(values), np.int64),)
            tensor = _PartialTensor(tensor.values.reshape(1), tensor.there.reshape(1))
        if not einsum.over:
            tensor.values[where] = values
        elif einsum.reduction in UFUNCS:
            # Lanes may meet at one element, and an assignment would keep the last of them only.
            UFUNCS[einsum.reduction].at(tensor.values, where, values)
        else:
            declared = next(r for r in self.program.reductions if r.name == einsum.reduction)
            _fold(self.program, declared, self.binding.parameters, tensor.values, where, values)

    def fetch(self, access: ir.Access, lanes: Coordinates) -> AlignedArray:
        """Return the elements of a tensor that the lanes read; absent ones are excluded.

        Parameters
        ----------
        access : Access
            The tensor and its indices.
        lanes : dict of str to array, shape (lanes,)
            Every variable's value in each lane.

        Returns
        -------
        Lane
            Values of shape (lanes,), those of intermediates rounded to the storage type.
        """
        tensor = self.tensors[access.tensor]
        at = self._at(access, lanes)
        inside = np.ones(next(iter(lanes.values())).shape, bool)
        for index, extent in zip(at, tensor.values.shape, strict=True):
            inside &= (index >= 0) & (index < extent)
        # If there is nothing to read, any value will do: the lane is excluded below.
        clipped = at if inside.all() else list(map(_within, at, tensor.values.shape))
        self._walk_back(access, tensor, clipped)
        values = tensor.values[tuple(clipped)]
        if np.issubdtype(values.dtype, np.floating):
            values = cast(values, self.binding.precision.storage)
            if access.tensor not in self.binding.inputs:  # Inputs are in their formats already.
                values = self.binding.precision.kept(access.tensor, values)
        missing = ~(tensor.there[tuple(clipped)] & inside)
        excluded = self._not_gathered(access, lanes)
        for deciding, flags in tensor.gone.items():
            gone = missing & flags[tuple(clipped)]
            if gone.any():
                variables = (v for place in deciding for v in access.indices[place].variables)
                excluded.append(Excluded(frozenset(variables), gone))
                missing = missing & ~gone
        if missing.any():
            excluded.append(Excluded(frozenset(access.variables), missing))
        return AlignedArray(values, tuple(excluded))

    def _not_gathered(self, access: ir.Access, lanes: Coordinates) -> list[Excluded]:
        """Return the lanes in which an index tensor has no position for an access."""
        gathers = (i for i in access.indices if isinstance(i, ir.Gather))
        return [e for g in gathers for e in self.fetch(g.access, lanes).excluded]

    def _walk_back(self, access: ir.Access, tensor: _PartialTensor, at: list[Array]) -> None:
        """Continue a rank where it ended: the last tile may have fewer steps."""
        producer = self.program.einsum_of.get(access.tensor)
        if producer is None:
            return
        pairs = zip(producer.target.indices, access.indices, strict=True)
        for axis, (wrote, read) in enumerate(pairs, len(self.binding.parallel)):
            if isinstance(wrote, ir.Affine) and wrote.offset == 1 and not read.variables:
                while (late := ~tensor.there[tuple(at)] & (at[axis] > 0)).any():
                    at[axis] = at[axis] - late

    def _at(self, access: ir.Access, lanes: Coordinates) -> list[Array]:
        width = next(iter(lanes.values())).shape
        carried = [lanes[r.lower()] for r in self.binding.parallel]
        found = [self._index(i, lanes) for i in access.indices]
        return carried + [i if i.shape == width else np.broadcast_to(i, width) for i in found]

    def _index(self, index: ir.Index, lanes: Coordinates) -> Array:
        if isinstance(index, ir.Gather):
            factor = index.factor(self.shapes)
            picked = self.fetch(index.access, lanes).values.astype(np.int64)
            return factor * picked + self._index(index.offset, lanes)
        found = np.zeros((), np.int64)
        for term in index.terms:
            scale = term.factor(self.shapes)
            found = found + scale * (lanes[term.variable] if term.variable else 1)
        return found


def _within(index: Array, extent: int) -> Array:
    """Clamp positions to the ends of a rank."""
    return np.minimum(np.maximum(index, 0), extent - 1)


def _fold(
    program: ir.Program,
    declared: ir.UserReduction,
    parameters: Mapping[str, float],
    results: Array,
    where: tuple[Array, ...],
    values: Array,
) -> None:
    """Apply a user's reduction, one lane after the other: lanes may meet at one result."""
    first, second = declared.arguments
    space = AlignedSpace((), ("",), {}, {"": 1}, {"": ""})
    for *place, value in zip(*where, values, strict=True):
        arguments = {first: np.array([results[tuple(place)]]), second: np.array([value])}
        evaluator = Evaluator(program, space, {}, parameters, results.dtype, arguments)
        results[tuple(place)] = evaluator.value(declared.body).values.reshape(-1)[0]


@dataclass(frozen=True)
class Selection:
    """State of a selection such as ``I[j, p] << topk(S[m, p], j)``: the best candidates m so
    far."""

    fibers: tuple[str, ...]
    """Variables that distinguish selections (p), the parallel ones first."""
    chosen: str
    """Variable that numbers the selected candidates (j)."""
    candidate: str
    """Variable of the candidates (m)."""
    count: int
    values: Array
    met: Array

    @classmethod
    def of(cls, einsum: ir.Einsum, parallel: Sequence[str], sizes: Mapping[str, int]) -> Selection:
        """Return a selection without candidates; ``sizes`` are shapes by variable."""
        targets = einsum.target.variables
        (over,) = einsum.over
        chosen = next(v for v in targets if v not in ir.variables_of(einsum.expression))
        fibers = (*parallel, *(v for v in targets if v != chosen))
        shape = tuple(sizes[v] for v in (*fibers, over))
        return cls(
            fibers, chosen, over, sizes[chosen], np.zeros(shape), np.zeros(shape, dtype=bool)
        )

    def meet(
        self, lanes: Mapping[str, Array], candidates: Array, allowed: Array
    ) -> tuple[Array, Array]:
        """Add the candidates of the allowed lanes.

        Returns
        -------
        tuple of array
            For each of these lanes the position that is its j-th largest by now, and
            whether there is one.
        """
        fiber = tuple(lanes[v][allowed] for v in self.fibers)
        place = (*fiber, lanes[self.candidate][allowed])
        self.values[place] = candidates[allowed]
        self.met[place] = True
        lines = (len(place[-1]), self.values.shape[-1])
        values, met = (np.broadcast_to(a[fiber], lines) for a in (self.values, self.met))
        positions, missing = topk(values, ~met, self.count)
        number = lanes[self.chosen][allowed][:, None]
        found = np.take_along_axis(positions, number, axis=-1)[:, 0]
        there = ~np.take_along_axis(missing, number, axis=-1)[:, 0]
        return found, there
