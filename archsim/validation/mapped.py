"""Validation of a mapping: its tiled and reordered loop nest runs instead of ``Cascade.evaluate``.

The nest is the one that is counted. The shared nest is walked step by step, in the mapping's order.
In each step every Einsum walks its own temporal loops, and all lanes of its array compute at once.
Each lane has one point of the iteration space, reads its operands, and updates its result
(``tensors``).

If ranks are partitioned over cores, all cores walk the nest of their tile side by side. In each
step an Einsum runs on all cores before the next Einsum runs, so that partial sums are complete.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Named
from dataclasses import dataclass, replace
from itertools import product, zip_longest
from math import prod
from typing import Any, TypeVar

import numpy as np

from einsum_cascade import Cascade
from einsum_cascade.domains import index_tensors
from einsum_cascade.errors import EvaluationError, Problem, SpecError, raise_all
from einsum_cascade.ir import Program
from einsum_cascade.numeric.aligned import Buffer
from einsum_cascade.numeric.dtypes import Array
from einsum_cascade.numeric.inputs import bind as bind_inputs
from einsum_cascade.numeric.inputs import split_named
from einsum_cascade.shapes import clip_selections, derived_shapes

from ..iteration.loops import Loop, iterations
from ..legality.binding import bind
from ..nest.record import Bound, BoundEinsum
from ..nest.roles import resolve_roles
from ..nest.sequence import nests_of
from ..nest.tiling import tile_size
from ..plan.job import Generators, MakeMapping
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from ..spec.tensor_words import in_formats, with_word_bits
from .inputs import shapes_of_inputs, windowed_ranks
from .tensors import Coordinates, TensorStore
from .trial import Runner

Key = TypeVar("Key", bound=Hashable)

_TILES = 2
_RAGGED = 5
_REST = 3
_PARALLEL = 2

MOST_ITERATIONS = 2_000_000
"""Largest number of temporal iterations that one execution may take."""


def mapping_fits(mapping: Mapping, cascade: Cascade) -> bool:
    """Return whether a mapping is for the given cascade.

    Parameters
    ----------
    mapping : Mapping
        Mapping, which names its cascade by built-in name or file. Equations are compared, not names
        or references.
    cascade : Cascade
        The one to be run.
    """
    return _computed(type(cascade).load(mapping.cascade).program) == _computed(cascade.program)


def _computed(program: Program) -> Program:
    """Return a cascade without its descriptions, to compare equations alone."""
    return replace(program, name="", title="", origin="", unverified="", reference="")


def check_mapping_fits(mapping: Mapping, cascades: Iterable[Cascade]) -> None:
    """Raise an error for each cascade to which a mapping does not belong.

    Raises
    ------
    SpecError
        Naming each.
    """
    problems = [
        Problem(f"mapping '{mapping.name}' is for cascade '{mapping.cascade}', not '{c.name}'")
        for c in cascades
        if not mapping_fits(mapping, c)
    ]
    raise_all(problems, SpecError)


def mapped_run(
    cascade: Cascade,
    mapping: Mapping | MakeMapping | None,
    architecture: Architecture,
    generators: Generators,
) -> Runner:
    """Return a runner for ``validate_cascade`` that executes the mapped nest.

    Without a mapping, ``generators`` make one for the shapes.

    Parameters
    ----------
    cascade : Cascade
        Cascade to run.
    mapping : Mapping, callable or None
        One of this cascade (``mapping_fits``), or what makes one.
    architecture : Architecture
        The machine whose arrays give the lanes, and whose memories say what fits.
    generators : Generators
        Generators of mappings, and the selection among open choices.

    Returns
    -------
    callable
        Takes inputs, ``dtype=`` and shapes and parameters by keyword, as
        ``Cascade.evaluate``; raises MappingError where the mapping is not legal on those
        shapes, and EvaluationError where running it would take too long.
    """
    program = cascade.program
    program = in_formats(program, with_word_bits(program.formats, architecture.word_bits))

    def run(inputs: dict[str, Any], *, dtype: Any, **numbers: Any) -> dict[str, Any]:
        shapes, parameters = split_named(program, numbers, ())
        shapes |= shapes_of_inputs(program, inputs)
        shapes |= clip_selections(program, derived_shapes(program, shapes))
        how = mapping or generators.make
        if not isinstance(how, Mapping):
            how = how(program, architecture, shapes | parameters)
        if how.nests:
            nests = [
                bind(part.program, part.mapping, architecture, part.shapes | parameters)
                for part in nests_of(program, how, shapes)
            ]
        else:
            choose = generators.choose
            nests = [bind(program, how, architecture, shapes | parameters, choose=choose)]
        known = execute_mapped(nests, inputs, dtype=dtype, **parameters)
        return {name: known[name] for name in program.outputs}

    return run


def mapped_shapes(cascade: Cascade, mapping: Mapping, architecture: Architecture) -> dict[str, int]:
    """Return shapes that test a mapping: whole tiles and a partial one of every rank.

    Ranks that the mapping does not cut are small, so that a run is short.

    Parameters
    ----------
    cascade : Cascade
        Cascade to run.
    mapping : Mapping
        Its tiles, whose sizes may be those of an array's axes.
    architecture : Architecture
        The machine with these arrays.

    Returns
    -------
    dict of str to int
        Elements by rank; ranks that follow from others are left out.

    Examples
    --------
    Two whole tiles of 256 keys, and one of five; queries likewise.

    >>> from archsim import Architecture
    >>> cascade, mapping = Cascade.load("attention-1pass"), Mapping.load("fusemax-binding")
    >>> found = mapped_shapes(cascade, mapping, Architecture.load("fusemax"))
    >>> found["M"], found["M0"], found["E"]
    (517, 256, 3)
    """
    program = cascade.program
    nests = mapping.nests or (mapping,)
    named = [resolve_roles(program, nest, architecture) for nest in nests]
    sizes = [{t.member: tile_size(t, architecture) or 1 for t in nest.tiles} for nest in named]
    shapes: dict[str, int] = dict.fromkeys(program.parallel, _PARALLEL)
    windowed = windowed_ranks(program)
    for rank in program.ranks:
        if rank.family is not None or rank.like is not None or rank.name in windowed:
            # Members follow their family, and ranks declared alike the one they are like.
            # How long a rank read at sums has to be follows from the others.
            continue
        if rank.shape is not None:
            continue  # The rank can have no other size.
        # If there are several nests, the one with the largest tiles determines their number.
        tile = max(
            prod(own[t.member] for t in nest.tiles if t.rank == rank.name)
            for nest, own in zip(nests, sizes, strict=True)
        )
        cut = any(t.rank == rank.name for nest in nests for t in nest.tiles)
        shapes[rank.name] = _TILES * tile + min(_RAGGED, tile - 1) if cut else _REST
        for own in sizes:
            shapes |= {member: own[member] for member in rank.partition[1:] if member in own}
    for nest in named:
        shapes |= _in_a_ring(nest, architecture, shapes)
    return shapes


def _in_a_ring(
    mapping: Mapping, architecture: Architecture, shapes: dict[str, int]
) -> dict[str, int]:
    """Return shapes that chips in a ring can partition.

    Tiles are equal, and whole for tensors that circulate.
    """
    found: dict[str, int] = {}
    for level in mapping.nest:
        memory = architecture.memory(level.level)
        if level.ring and memory is not None:
            chips = prod(n for _, n in memory.instances)
            for rank in (s.rank for s in level.spatial if s.rank in shapes):
                found[rank] = -(-shapes[rank] // chips) * chips
            for rank in (r for r in level.ring if r in shapes):
                tiles = (tile_size(t, architecture) or 1 for t in mapping.tiles if t.rank == rank)
                found[rank] = chips * prod(tiles)
    return found


def execute_mapped(
    nests: Bound | Iterable[Bound],
    inputs: Named[str, Any],
    *,
    dtype: Any = "float64",
    **parameters: float,
) -> dict[str, Array]:
    """Run the nests of a mapped cascade, each on the tensors of the nests before it.

    Parameters
    ----------
    nests : Bound or iterable of Bound
        Mappings bound to shapes and a machine (``archsim.legality.binding.bind``), in the order in
        which they run.
    inputs : mapping
        An array per input of the cascade, the parallel ranks first: ``Q`` of shape (B, H, P, E).
    dtype : str or numpy type
        The type tensors are stored in.
    **parameters
        Scalar parameters of the cascade.

    Returns
    -------
    dict
        Tensors by name: the outputs of every nest.

    Raises
    ------
    EvaluationError
        The inputs do not fit, or the run would take too long.
    MappingError
        The mapped program cannot be run (undefined reads).
    """
    handed: dict[str, Buffer] = {}
    for bound in (nests,) if isinstance(nests, Bound) else nests:
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
    inputs: Named[str, Any],
    handed: Named[str, Buffer],
    dtype: Any,
    parameters: Named[str, float],
) -> dict[str, Buffer]:
    """Return the tensors that one nest computes; a tensor between nests may have absent
    elements."""
    cores = tuple(_cores(bound))
    total = sum(e.iterations for core in cores for e in core.bound.einsums)
    if total > MOST_ITERATIONS:
        what = f"running this mapping takes {total:,} array steps, more than {MOST_ITERATIONS:,}"
        raise EvaluationError(what, hint="use smaller shapes")
    _refuse_shared_scales(bound.program)
    whole = bound.whole
    sizes = {k: v for k, v in whole.shapes if k not in bound.program.parallel}
    binding = bind_inputs(bound.program, inputs, dtype, sizes, parameters)
    store = TensorStore(bound.program, dict(whole.shapes), binding, handed)
    for e in cores[0].bound.einsums:
        store.allocate(e.einsum)
    # Masked lanes compute as well and may divide by zero; they store nothing.
    with np.errstate(all="ignore"):
        for group in cores[0].bound.groups:
            names = [e.name for e in cores[0].bound.einsums if e.name in group]
            # The last tile may have fewer steps.
            for steps in zip_longest(*(core.steps() for core in cores)):
                for name in names:
                    for core, step in zip(cores, steps, strict=True):
                        if step is not None:
                            indices, last = step
                            core.run(name, indices, last, store)
        return {name: store.handed_on(name) for name in bound.program.outputs}


def _cores(bound: Bound) -> Iterator[_NestWalk]:
    """Yield a walk for each core, which starts at the core's tile."""
    partitions, nests = bound.cores.partitions, bound.core_nests
    for numbers in product(*(range(s.parts) for s in partitions)):
        kinds = tuple(s.kind_of(n) for s, n in zip(partitions, numbers, strict=True))
        begin = {s.variable: s.begin(n) for s, n in zip(partitions, numbers, strict=True)}
        yield _NestWalk(nests[kinds], begin, bound.whole)


def _refuse_shared_scales(program: Program) -> None:
    """Raise an error if an intermediate has a format with shared scales.

    A nest computes value by value, and a shared scale belongs to several values.
    """
    formats = program.formats
    for e in program.einsums:
        fmt = formats.of(e.name)
        if fmt.name and (fmt.block > 1 or fmt.exponent == 0):
            what = f"'{e.name}' is computed value by value, and in {fmt.name} many share a scale"
            hint = "inputs may be in such formats, what a mapping computes may not"
            raise EvaluationError(what, e.target.span, hint)


class _NestWalk:
    """Walk of a bound mapping's loops, from the beginning of a core's tile."""

    def __init__(self, bound: Bound, begin: Named[str, int], whole: Bound) -> None:
        self.bound = bound
        self.whole = whole
        """Masks over the whole iteration space, in global coordinates."""
        self.begin = begin
        """First coordinate of the core's tile, by variable of each partitioned rank."""
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
        """Yield each iteration of the shared nest: its loop indices, and the loops in their last
        iteration."""
        members = [loop.member for loop in self.bound.nest]
        strides = [self.bound.tiling.members[member].stride for member in members]
        loops = [(loop.rank, s) for loop, s in zip(self.bound.nest, strides, strict=True)]
        for indices, last in _walk(loops, self.shapes):
            yield (dict(zip(members, indices, strict=True)), dict(zip(members, last, strict=True)))

    def _runs(self, e: BoundEinsum, indices: dict[str, int], last: dict[str, bool]) -> bool:
        """Return whether an Einsum outside a loop runs in this iteration, which is the first or
        the last."""
        waits = self.waits[e.name]
        if not all(last[m] for m in waits):
            return False
        return all(indices[m] == 0 for m in {*e.outside} - waits)

    def _einsum(self, e: BoundEinsum, indices: dict[str, int], store: TensorStore) -> None:
        """Run an Einsum's own temporal loops; in each iteration all lanes compute at once."""
        whole = _IterationTile(tuple(0 for _ in e.axes), tuple(a.extent for a in e.axes))
        shared = whole.inside(e.shared, [indices[loop.member] for loop in e.shared])
        if min(shared.extents, default=1) <= 0:
            return
        idle = _left_out(e, len(e.shared), shared)
        einsum = self.whole.by_name[e.name].einsum
        for own, _ in _walk(
            [(loop.axis, loop.stride) for loop in e.own], dict(enumerate(shared.extents))
        ):
            tile = shared.inside(e.own, own)
            lanes = self._lanes(e, tile)
            if idle or _left_out(e, len(e.temporal), tile):
                store.leave(einsum, lanes)
            else:
                store.update(einsum, lanes)

    def _lanes(self, e: BoundEinsum, tile: _IterationTile) -> Coordinates:
        """Return the coordinates of all lanes that have a point of the iteration space."""
        begin, extents = tile.begin, tile.extents
        counts = [iterations(_before(e, i, extents), x.stride) for i, x in enumerate(e.spatial)]
        grid = np.indices(tuple(counts)).reshape(len(counts), prod(counts))
        places = [np.full(prod(counts), b, np.int64) for b in begin]
        there = np.ones(prod(counts), bool)
        for loop, numbers in zip(e.spatial, grid, strict=True):
            places[loop.axis] += numbers * loop.stride
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
    """Return, for every Einsum, the shared loops after whose last iteration the Einsum runs."""
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
    """Return the shared loops that enclose another Einsum of the group, but not the given
    Einsum."""
    if not e.outside:
        return ()
    others = [x for x in bound.einsums if not bound.in_different_groups(x.name, e.name)]
    return tuple(m for m in e.outside if any(m not in x.outside for x in others))


def _left_out(e: BoundEinsum, depth: int, tile: _IterationTile) -> bool:
    """Return whether a tile inside ``depth`` loops lies outside the Einsum's window."""
    window = e.window
    if window is None or window.governed != depth:
        return False
    return not window.holds(tile.begin, tile.extents)


def _before(e: BoundEinsum, number: int, extents: tuple[int, ...]) -> int:
    """Return the extent that outer spatial loops leave for a spatial loop."""
    loop = e.spatial[number]
    extent = extents[loop.axis]
    for outer in e.spatial[:number]:
        if outer.axis == loop.axis:
            extent = min(extent, outer.stride)
    return extent


@dataclass(frozen=True)
class _IterationTile:
    """Tile of an Einsum's iteration space: its first coordinate and its extent along every axis."""

    begin: tuple[int, ...]
    extents: tuple[int, ...]

    def inside(self, loops: Sequence[Loop], indices: Sequence[int]) -> _IterationTile:
        """Return the part of the tile that one iteration of some loops covers."""
        begin, extents = [*self.begin], [*self.extents]
        for loop, index in zip(loops, indices, strict=True):
            begin[loop.axis] += index * loop.stride
            extents[loop.axis] = min(loop.stride, extents[loop.axis] - index * loop.stride)
        return _IterationTile(tuple(begin), tuple(extents))


def _walk(
    loops: Sequence[tuple[Key, int]], extents: Named[Key, int]
) -> Iterator[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Yield the iterations of some loops in order: indices, and the loops in their last iteration.

    A loop is given by its rank or axis, and by the stride of an iteration.
    """
    if not loops:
        yield (), ()
        return
    (key, stride), inner = loops[0], loops[1:]
    count = iterations(extents[key], stride)
    for index in range(count):
        left = {**extents, key: min(stride, extents[key] - index * stride)}
        for indices, last in _walk(inner, left):
            yield (index, *indices), (index == count - 1, *last)
