"""Binder: turns the names of a mapping into loops with sizes.

Legality is checked elsewhere (``archsim.legality``). A statement of ``init`` that reads inputs
fetches these as an Einsum would. It uses the array and the loops of the Einsum that continues the
value, without loops over ranks that the statement does not have.

A parametric loop nest binds a mapping again to other shapes or tiles. Loops of Einsums, residency
of tensors and accesses follow from names; shapes and tile sizes only set the strides of loops.
Bound mappings with equal patterns share all values that follow from the pattern, such as legality
(``Bound.pattern_facts``).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Set
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any

from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import Operations, kind_and_format, operations_of
from einsum_cascade.source import Span

from ..iteration.loops import Axis, Loop
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EinsumMapping, Factors, Mapping
from ..spec.roles import ARRAY_ROLES, MEMORY_ROLES, ROLES
from .dataflow import Operand, operands_of
from .policy import MAX_UNKNOWN_EINSUMS
from .problems import (
    NO_LEVEL,
    NO_MEMBER,
    NO_TENSOR,
    EinsumProblem,
    merge_equal_problems,
    unknown_names,
)
from .record import Bound, BoundEinsum, UnitLoopPattern, shared_loops, step_count
from .residency import Residency, branch_problems, residency
from .tiling import Member, Places, Tiling, axis_places


def initial_einsums(
    program: Program, tiling: Tiling, e: BoundEinsum, innermost: int
) -> tuple[BoundEinsum, ...]:
    """Return the statements of ``init`` that read inputs and begin an Einsum's result, as Einsums.

    The returned Einsums have the name of that Einsum. Their traffic counts. Their operations are
    neither timed nor billed, as for all of ``init``.

    Parameters
    ----------
    innermost : int
        Level of the innermost memory, where loops over the statement's own ranks go.
    """
    return tuple(
        _initial(program, tiling, e, statement, innermost)
        for statement in program.init
        if statement.name == e.name and statement.reads
    )


def _initial(
    program: Program, tiling: Tiling, e: BoundEinsum, statement: Einsum, innermost: int
) -> BoundEinsum:
    variables = tuple(dict.fromkeys((*program.parallel_variables, *statement.variables)))
    looped = {x.variable for x in (*e.temporal, *e.spatial)}
    axes = tiling.axes(tuple(v for v in variables if v in looped))
    alone = tuple(a for v in variables if v not in looped for a in tiling.axes((v,)))
    summed = (
        Loop(member=a.name, axis=i, stride=1, level=innermost, variable=a.variables[0][0])
        for i, a in enumerate(alone, len(axes))
    )
    return replace(
        e,
        einsum=statement,
        axes=(*axes, *alone),
        shared=tuple(_kept(e, e.shared, axes)),
        own=(*_kept(e, e.own, axes), *summed),
        spatial=tuple(_kept(e, e.spatial, axes)),
        operations=(),
        operands=tuple(
            Operand(access=a, producer=a.tensor if a.tensor in program.einsum_of else None)
            for a in statement.reads
        ),
        reads=tuple(tiling.access_map((*axes, *alone), a) for a in statement.reads),
        write=tiling.access_map((*axes, *alone), statement.target),
        initial=(),
        is_initial=True,
    )


def _kept(e: BoundEinsum, loops: tuple[Loop, ...], axes: tuple[Axis, ...]) -> Iterator[Loop]:
    """Yield the loops whose variables the given axes have, with strides in their units."""
    before, after = axis_places(e.axes), axis_places(axes)
    for loop in loops:
        if loop.variable in after:
            # An axis counts in other units if a statement has fewer members of a family.
            axis, stride = after[loop.variable]
            yield loop._replace(axis=axis, stride=loop.stride // before[loop.variable][1] * stride)


def bind_loops(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    tiling: Tiling,
    like: Bound | None = None,
) -> Bound:
    """Bind ``mapping`` with the tile sizes of ``tiling``.

    ``like`` is another binding of the cascade. If its shapes are equal, its accesses are reused.

    Parameters
    ----------
    program : Program
    mapping : Mapping
        Mapping with the names of the machine, and sizes of all tiles.
    architecture : Architecture
    tiling : Tiling
        Ranks of the cascade, cut by the mapping.
    like : Bound, optional

    Raises
    ------
    SpecError
        The mapping names something that does not exist.
    MappingError
        A loop is missing, out of order or twice; a tile does not fit an array dimension;
        an array cannot do an operation; a tensor is kept nowhere.
    """
    # Counts and skipped tiles depend on masks that operands pass on.
    program = with_masks(program)
    builder = _Binder(program, mapping, architecture, tiling, like)
    einsums = builder.einsums()
    places = residency(program, mapping, architecture, builder.complaints)
    if wrong := [*spill_problems(program, mapping, architecture, tiling)]:
        raise SpecError(wrong)
    builder.complaints += builder.bypass_problems(places)
    builder.complaints += branch_problems(program, mapping, architecture, places)
    groups = builder.groups()
    if builder.complaints:
        raise MappingError(merge_equal_problems(builder.complaints))
    nest = shared_loops(mapping, architecture, tiling)
    by_name = {e.name: e for e in einsums}
    return Bound(
        program=program,
        mapping=mapping,
        architecture=architecture,
        shapes=tuple(tiling.shapes.items()),
        tiling=tiling,
        nest=nest,
        steps=step_count(tiling, nest),
        einsums=tuple(by_name[name] for group in groups for name in group),
        groups=groups,
        residency=places,
    )


class ParametricNest:
    """Loop nest of a mapping on a cascade and a machine, to be bound to any sizes."""

    def __init__(self, first: Bound) -> None:
        self.first = first
        self._facts_by_pattern: dict[UnitLoopPattern, dict[Hashable, Any]] = {
            first.pattern: first.pattern_facts
        }
        self._uncovered = frozenset(
            member.name
            for e in first.einsums
            for rank in e.ranks
            for member in first.tiling.of_rank(rank)
            if member.name not in e.trip_counts
        )
        """Members over which some Einsum has no loop."""
        self._spatial = frozenset(
            (tuple(x.member for x in e.spatial if x.dimension == d.name), d.size)
            for e in first.einsums
            for d in e.array.dimensions
        )
        """Pairs of members along one dimension of an array and its size."""

    def bound(self, tiling: Tiling, like: Bound | None = None) -> Bound | None:
        """Bind the mapping to tiles of other sizes, or to other shapes.

        Parameters
        ----------
        tiling : Tiling
            Ranks of the cascade, cut by this mapping.
        like : Bound, optional
            Binding to other sizes, from which equal Einsums are taken.

        Returns
        -------
        Bound or None
            None if an Einsum no longer covers its ranks or fits its array; ``bind_loops`` gives the
            reason.
        """
        like, first = like or self.first, self.first
        bounds, strides, before = tiling.bounds, tiling.strides, like.tiling.strides
        if any(bounds[name] != 1 for name in self._uncovered) or any(
            prod([bounds[name] for name in members]) > size for members, size in self._spatial
        ):
            return None
        moved = {name for name, stride in strides.items() if stride != before[name]}
        shared = shared_loops(first.mapping, first.architecture, tiling)
        found = replace(
            first,
            shapes=tuple(tiling.shapes.items()),
            tiling=tiling,
            nest=shared,
            steps=step_count(tiling, shared),
            einsums=tuple([_resized(e, like, tiling, moved) for e in like.einsums]),
        )
        vars(found)["pattern_facts"] = self._facts_by_pattern.setdefault(found.pattern, {})
        return found


def _resized(e: BoundEinsum, like: Bound, tiling: Tiling, moved: Set[str]) -> BoundEinsum:
    """Return an Einsum of ``like`` with the sizes of a tiling, or the Einsum itself if its loops
    stay.

    ``moved`` are the members with other strides.
    """
    program, same_shapes = like.program, like.tiling.shapes == tiling.shapes
    if same_shapes and moved.isdisjoint(e.trip_counts):
        return e if e.window is None else replace(e, window=None, partially_masked=False)
    variables = (*program.parallel_variables, *e.einsum.variables)
    axes = e.axes if same_shapes else tiling.axes(variables)
    places, strides = axis_places(axes), tiling.strides

    def resized(x: Loop) -> Loop:
        stride = strides[x.member] * places[x.variable][1]
        return x if x.stride == stride else x._replace(stride=stride)

    shared, own, spatial = (
        tuple([resized(x) for x in loops]) for loops in (e.shared, e.own, e.spatial)
    )
    found = replace(
        e,
        axes=axes,
        shared=shared,
        own=own,
        spatial=spatial,
        reads=e.reads if same_shapes else tuple(tiling.access_map(axes, m.access) for m in e.reads),
        write=e.write if same_shapes else tiling.access_map(axes, e.write.access),
        initial=(),
        window=None,
        partially_masked=False,
    )
    innermost = len(like.architecture.memories) - 1
    starts = initial_einsums(program, tiling, found, innermost) if e.initial else ()
    return replace(found, initial=starts) if starts else found


def rebind_einsums(
    like: Bound, mapping: Mapping, names: Collection[str]
) -> tuple[BoundEinsum, ...]:
    """Bind some Einsums of a bound mapping anew.

    Shared loops and tiles of the new mapping equal those of the bound one.

    Parameters
    ----------
    mapping : Mapping
        Mapping that differs from the bound one only in these Einsums.
    names : collection of str
        Einsums to bind.

    Raises
    ------
    MappingError
        As ``bind_loops``, for these Einsums.
    """
    builder = _Binder(like.program, mapping, like.architecture, like.tiling, like)
    # Everything else about the mapping is known to be right.
    einsums = (e for e in like.program.einsums if e.name in names)
    found = tuple(builder.einsum(e, builder.mapped[e.name]) for e in einsums)
    if builder.complaints:
        raise MappingError(merge_equal_problems(builder.complaints))
    return found


class _Binder:
    """Binding of one mapping, which collects all problems and reports them together."""

    def __init__(
        self,
        program: Program,
        mapping: Mapping,
        architecture: Architecture,
        tiling: Tiling,
        like: Bound | None,
    ) -> None:
        self.program = program
        self.mapping = mapping
        self.architecture = architecture
        self.tiling = tiling
        self.complaints: list[EinsumProblem] = []
        self.known: dict[str, BoundEinsum] = {}
        """Einsums of an earlier binding with equal shapes, by name; their loops may differ."""
        self.settled: dict[str, EinsumMapping] = {}
        """Earlier mappings of Einsums; an Einsum with an equal mapping keeps its earlier binding.
        """
        shapes = tuple(tiling.shapes.items())
        if like is not None and like.program is program and like.shapes == shapes:
            before = like.mapping
            self.known = dict(like.by_name)
            same = before.nest == mapping.nest and before.tiles == mapping.tiles
            if same and like.architecture is architecture:
                self.settled = {how.einsum: how for how in before.einsums}
        self.levels = {m.name: i for i, m in enumerate(architecture.memories)}
        self.mapped = {how.einsum: how for how in reversed(mapping.einsums)}
        self.started = {s.name for s in program.init if s.reads}
        if wrong := tuple(self.name_problems()):
            raise SpecError(wrong)

    @cached_property
    def _shared(self) -> tuple[tuple[Member, int], ...]:
        return tuple(
            (self.tiling.members[name], self.levels[level.level])
            for level in self.mapping.nest
            for name in level.loops
        )

    def einsums(self) -> tuple[BoundEinsum, ...]:
        found: list[BoundEinsum] = []
        self.complaints += self.nest_problems()
        for einsum in self.program.einsums:
            how = self.mapped.get(einsum.name)
            if how is None:
                text = (
                    f"the mapping '{self.mapping.name}' says nothing about Einsum '{einsum.name}'"
                )
                entry = f"{einsum.name}: {{array: ..., spatial: ..., loops: [...]}}"
                self._complain("", text, self.mapping.span, f"add '{entry}' under 'einsums'")
                continue
            found.append(self.einsum(einsum, how))
        return tuple(found)

    def name_problems(self) -> Iterator[Problem]:
        """Yield a problem for each name in the mapping that does not exist."""
        known = [e.name for e in self.program.einsums]
        arrays = [a.name for a in self.architecture.arrays]
        levels = [m.name for m in self.architecture.memories]
        strange = [e for e in self.mapping.einsums if e.einsum not in known]
        if len(strange) > MAX_UNKNOWN_EINSUMS:
            # So many unknown names are no slip of the pen: the mapping is for another cascade.
            listed = ", ".join(e.einsum for e in strange)
            text = f"the cascade '{self.program.name}' has no Einsums {listed}"
            yield Problem(text, strange[0].span, f"it has {', '.join(known)}")
            return
        for e in self.mapping.einsums:
            yield from einsum_problems(self.program, e.span, [e.einsum])
            what = "the machine has no array"
            yield from unknown_names(what, [e.array], arrays, e.span, ARRAY_ROLES)
        own = [level for e in self.mapping.einsums for level in e.nest]
        for level in (*self.mapping.nest, *own):
            named = [level.level] if level.level else []
            what = "the machine has no memory"
            yield from unknown_names(what, named, levels, level.span, MEMORY_ROLES)
            yield from unknown_names(NO_MEMBER, level.loops, self.tiling.members, level.span)

    def nest_problems(self) -> Iterator[EinsumProblem]:
        """Yield a problem for each shared loop that no Einsum runs in."""
        program = self.program
        walked = {*program.parallel_variables, *(v for e in program.einsums for v in e.variables)}
        for level in self.mapping.nest:
            for name in level.loops:
                rank = self.tiling.members[name].rank
                if rank.lower() not in walked:
                    text = f"no Einsum iterates over {rank}, so none runs in the loop {name}"
                    yield EinsumProblem("", text, level.span)

    def cover_problems(
        self, how: EinsumMapping, axes: tuple[Axis, ...], loops: tuple[Loop, ...]
    ) -> Iterator[EinsumProblem]:
        """Yield a problem for each loop of an Einsum that comes twice, out of order, or not at all.

        Parameters
        ----------
        how : EinsumMapping
        axes : tuple of Axis
            Axes of the Einsum.
        loops : tuple of Loop
            Shared, own and spatial loops, outermost first.
        """
        names = [loop.member for loop in loops]
        twice = [n for n in names if names.count(n) > 1] if len({*names}) < len(names) else []
        for name in dict.fromkeys(twice):
            yield EinsumProblem(how.einsum, f" loops over {name} twice", how.span)
        for number, axis in enumerate(axes):
            on = [loop.member for loop in loops if loop.axis == number]
            ranks = [self.tiling.of_rank(variable.upper()) for variable, _ in axis.variables]
            members = [m.name for rank in ranks for m in rank]
            if on == members:
                continue
            places = [members.index(name) for name in on]
            if places != sorted(places):
                order = " inside ".join(reversed(on))
                text = f": {order} is out of order, outer tiles come first"
                yield EinsumProblem(how.einsum, text, how.span)
            for (variable, _), rank in zip(axis.variables, ranks, strict=True):
                missing = [
                    m.name for m in rank if m.name not in names and self.tiling.bounds[m.name] > 1
                ]
                if missing:
                    text = f" iterates over {variable}, but no loop covers {', '.join(missing)}"
                    hint = f"add {missing[0]} to 'loops' or 'spatial' of {how.einsum}"
                    yield EinsumProblem(how.einsum, text, how.span, hint)

    def level_problems(
        self, how: EinsumMapping, loops: tuple[Loop, ...]
    ) -> Iterator[EinsumProblem]:
        """Yield a problem for the first loop at an outer level inside a loop at an inner level."""
        names = [m.name for m in self.architecture.memories]
        for outer, inner in pairwise(loops):
            if inner.level < outer.level:
                yield EinsumProblem(
                    how.einsum,
                    f": {inner.member} at level {names[inner.level]} is inside "
                    f"{outer.member} at level {names[outer.level]}, outer levels come first",
                    how.span,
                )
                return

    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups of a mapping in the order they run, with Einsums in the order of the
        cascade.

        A problem is recorded for each Einsum that runs in a later group than its reader.

        Raises
        ------
        SpecError
            A group names no Einsum, or an Einsum is in no group or in two.
        """
        names = [e.name for e in self.program.einsums]
        if self.mapping.schedule.kind != "sequential":
            return (tuple(names),)
        if not self.mapping.schedule.groups:
            return tuple((n,) for n in names)
        written = [[t.einsum for t in group] for group in self.mapping.schedule.groups]
        wrong = [*self._group_names(written, names)]
        if wrong:
            raise SpecError(wrong)
        groups = tuple(tuple(n for n in names if n in group) for group in written)
        self.complaints += self._disorder(groups)
        return groups

    def _group_names(self, groups: list[list[str]], names: list[str]) -> Iterator[Problem]:
        """Yield a problem for each Einsum in no group or in two, and for each name that is no
        Einsum."""
        span = self.mapping.schedule.span
        listed = [n for group in groups for n in group]
        for name in dict.fromkeys(listed):
            if name not in names:
                yield Problem(f"a group names '{name}'", span, did_you_mean(name, names))
            elif listed.count(name) > 1:
                yield Problem(f"{name} is in two groups", span)
        for name in names:
            if name not in listed:
                hint = f"'[{name}]' would be a group of its own"
                yield Problem(f"no group runs {name}", span, hint)

    def _disorder(self, groups: tuple[tuple[str, ...], ...]) -> Iterator[EinsumProblem]:
        """Yield a problem for each Einsum that runs in an earlier group than a tensor it reads.

        The legality check covers running values that Einsums pass to one another.
        """
        place = {name: number for number, group in enumerate(groups) for name in group}
        for position, e in enumerate(self.program.einsums):
            before = {p.name for p in self.program.einsums[:position]}
            for tensor in dict.fromkeys(a.tensor for a in e.reads):
                if tensor in before and place[tensor] > place[e.name]:
                    text = f" runs in an earlier group than {tensor}, which it needs"
                    yield EinsumProblem(e.name, text, self.mapping.schedule.span)

    def bypass_problems(self, places: Residency) -> Iterator[EinsumProblem]:
        """Yield a problem for each bypass of a level that does not exist, or of a tensor's
        outermost memory.

        Parameters
        ----------
        places : Residency
            Residency of all tensors.
        """
        machine = self.architecture
        levels = [*(m.name for m in machine.memories), *(a.name for a in machine.arrays)]
        for how in self.mapping.einsums:
            einsum = self.program.einsum_of.get(how.einsum)
            accessed = [] if einsum is None else [a.tensor for a in (*einsum.reads, einsum.target)]
            for level, tensors in how.bypass:
                if level not in levels:
                    hint = did_you_mean(level, [*levels, *ROLES])
                    yield EinsumProblem("", f"{NO_LEVEL} '{level}'", how.span, hint)
                    continue
                for tensor in tensors:
                    problem = _passed_by(tensor, level, accessed, places)
                    if problem:
                        text = f" cannot pass {tensor} by {level}: {problem}"
                        yield EinsumProblem(how.einsum, text, how.span)

    def _complain(self, about: str, text: str, span: Span | None, hint: str | None) -> None:
        self.complaints.append(EinsumProblem(about, text, span, hint))

    def einsum(self, einsum: Einsum, how: EinsumMapping) -> BoundEinsum:
        """Bind one Einsum, and record its problems."""
        array = self.architecture.array(how.array)
        assert array is not None, "array names are checked first"
        known = self.known.get(einsum.name)
        if known is not None and self.settled.get(einsum.name) == how:
            return known
        variables = (*self.program.parallel_variables, *einsum.variables)
        tiling, axes = self.tiling, self.tiling.axes(variables)
        places, innermost = axis_places(axes), len(self.levels) - 1
        shared, outside = self._shared_loops(places, how)
        own = tuple(
            tiling.loop(tiling.members[name], places, self.levels.get(level.level, innermost))
            for level in how.nest
            for name in level.loops
            if self._iterates(name, places, einsum)
        )
        spatial = self._spatial(places, einsum, how, array)
        self.complaints += self.cover_problems(how, axes, (*shared, *own, *spatial))
        self.complaints += self.level_problems(how, (*shared, *own))
        operations = self.program.memo(operations_of)[einsum.name]
        self.complaints += operation_problems(how, array, operations)
        bound = BoundEinsum(
            einsum=einsum,
            array=array,
            axes=axes,
            shared=shared,
            own=own,
            spatial=spatial,
            outside=outside,
            bypass=frozenset((level, t) for level, tensors in how.bypass for t in tensors),
            operations=operations,
            operands=self.program.memo(operands_of)[einsum.name],
            reads=known.reads if known else tuple(tiling.access_map(axes, a) for a in einsum.reads),
            write=known.write if known else tiling.access_map(axes, einsum.target),
        )
        if einsum.name not in self.started:
            return bound
        starts = initial_einsums(self.program, tiling, bound, innermost)
        return replace(bound, initial=starts)

    def _shared_loops(
        self, places: Places, how: EinsumMapping
    ) -> tuple[tuple[Loop, ...], tuple[str, ...]]:
        inside: list[Loop] = []
        outside: list[str] = []
        for member, level in self._shared:
            if member.rank.lower() not in places or member.name in how.outside:
                outside.append(member.name)
            else:
                inside.append(self.tiling.loop(member, places, level))
        ranks = [m.name for m, _ in self._shared]
        own = (*(level.loops for level in how.nest), *(names for _, names in how.spatial))
        placed = {name for names in own for name in names}
        for name in how.outside:
            if name not in ranks:
                hint = did_you_mean(name, ranks)
                self._complain("", f"'{name}' is no shared loop", how.span, hint)
            elif self.tiling.members[name].rank.lower() in places and name not in placed:
                text = f" stays outside {name}, so it must go over {name} by itself"
                hint = f"add {name} to its 'loops' or 'spatial'"
                self._complain(how.einsum, text, how.span, hint)
        return tuple(inside), tuple(outside)

    def _iterates(self, name: str, places: Places, einsum: Einsum) -> bool:
        span = self.mapped[einsum.name].span
        member = self.tiling.members.get(name)
        if member is None:
            hint = did_you_mean(name, self.tiling.members)
            self._complain("", f"{NO_MEMBER} '{name}'", span, hint)
            return False
        if member.rank.lower() not in places:
            ranks = ", ".join((*self.program.parallel, *(v.upper() for v in einsum.variables)))
            text = f" has no rank {member.rank}, but its mapping loops over {name}"
            self._complain(einsum.name, text, span, f"its ranks are {ranks}")
            return False
        return True

    def _spatial(
        self, places: Places, einsum: Einsum, how: EinsumMapping, array: ProcessingArray
    ) -> tuple[Loop, ...]:
        found: list[Loop] = []
        for dimension, names in how.spatial:
            axis = array.dimension(dimension)
            if axis is None:
                hint = did_you_mean(dimension, [d.name for d in array.dimensions])
                text = f"{array.name} has no dimension '{dimension}'"
                self._complain("", text, how.span, hint)
                continue
            wide = 1
            for name in names:
                if self._iterates(name, places, einsum):
                    member = self.tiling.members[name]
                    wide *= self.tiling.bounds[name]
                    found.append(self.tiling.loop(member, places, len(self.levels), dimension))
            if wide > axis.size:
                text = (
                    f": {' x '.join(names)} = {wide} does not fit "
                    f"{array.name}.{dimension} = {axis.size}"
                )
                hint = f"cut {names[-1]} to {axis.size} or less, or loop over a part of it"
                self._complain(einsum.name, text, how.span, hint)
        return tuple(found)


def spill_problems(
    program: Program, mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> Iterator[Problem]:
    """Yield a problem for each spill from a level that does not exist or cannot spill, and for
    each unknown tensor of a spill."""
    spill = mapping.spill
    if spill is None:
        return
    inner = [m.name for m in architecture.memories[1:]]
    if not spill.level:
        yield Problem("'spill' says at which level", spill.span, "add 'level: ...' to it")
    elif spill.level not in inner:
        hint = did_you_mean(spill.level, inner) or f"such a level is {', '.join(inner)}"
        text = f"'{spill.level}' is no memory with another outside it, so nothing spills there"
        yield Problem(text, spill.span, hint if inner else "the machine has one memory only")
    tensors = (t for t, _ in (*spill.copies, *spill.staged))
    yield from tensor_problems(program, spill.span, tensors)
    yield from factor_problems(tiling, spill.span, spill.staged)


def operation_problems(
    how: EinsumMapping, array: ProcessingArray, operations: Operations
) -> Iterator[EinsumProblem]:
    """Yield a problem for each operation that an Einsum's array cannot do.

    Parameters
    ----------
    how : EinsumMapping
    array : ProcessingArray
        Array of the Einsum.
    operations : Operations
        Kinds with their formats, and the number of each at a point.
    """
    for name in array.cannot_do(kind for kind, _ in operations):
        kind, fmt = kind_and_format(name)
        formats = ", ".join(array.formats_of(kind))
        known = ", ".join(dict.fromkeys(o.kind for o in array.operations))
        text, hint = f"{array.name} cannot do '{kind}'", f"it does: {known}"
        if formats and fmt:
            text += f" in {fmt}"
            hint = f"it does {kind} in {formats}; 'convert' or 'wider' of the array say what else"
        elif formats:
            text += " on words, as no format of their width is listed"
            hint = f"it does {kind} in {formats}: state formats, for example formats.default="
            hint += array.formats_of(kind)[0]
        yield EinsumProblem("", f"{text}, which {how.einsum} needs", how.span, hint)


def _passed_by(tensor: str, level: str, accessed: Iterable[str], places: Residency) -> str:
    if tensor not in accessed:
        return f"it neither reads nor writes {tensor}"
    kept = [p.name for p in places.of(tensor)]
    if level not in kept:
        return f"{level} does not keep it"
    if level == kept[0]:
        return "nothing outside holds it"
    return ""


def tensor_problems(
    program: Program, span: Span | None, tensors: Iterable[str]
) -> Iterator[Problem]:
    """Yield a problem for each named tensor that the cascade does not have."""
    yield from unknown_names(NO_TENSOR, tensors, program.tensors, span)


def einsum_problems(program: Program, span: Span | None, names: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each named Einsum that the cascade does not have."""
    known = [e.name for e in program.einsums]
    yield from unknown_names("the cascade has no Einsum", names, known, span)


def factor_problems(
    tiling: Tiling, span: Span | None, amounts: Iterable[tuple[str, Factors]]
) -> Iterator[Problem]:
    """Yield a problem for each partitioned rank (member) that an amount names and the tiling lacks.

    Parameters
    ----------
    tiling : Tiling
        Tiling with all members.
    span : Span or None
        Place in the mapping's file.
    amounts : iterable of (str, factors)
        Pairs of a tensor and a product of numbers and members.
    """
    names = (f for _, factors in amounts for f in factors if isinstance(f, str))
    yield from unknown_names(NO_MEMBER, names, tiling.members, span)
