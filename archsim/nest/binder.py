"""Binder: turns the names of a mapping into loops with sizes.

Legality is checked elsewhere (``archsim.legality``). A statement of ``init`` that reads inputs
fetches these as an Einsum would. It uses the array and the loops of the Einsum that continues the
value, without loops over ranks that the statement does not have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.errors import MappingError, SpecError, did_you_mean
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import operations_of
from einsum_cascade.source import Span

from ..iteration.loops import Axis, Loop
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EinsumMapping, Mapping
from .checks import MappingChecks, operation_problems, placed, selection_problems
from .dataflow import Operand, operands_of
from .problems import NO_MEMBER, EinsumProblem, merge_equal_problems
from .record import Bound, BoundEinsum, shared_loops, step_count
from .residency import branch_problems, residency
from .tiling import Addressing, Member, Places, Tiling, axis_places


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


def with_initial(bound: Bound) -> Iterator[BoundEinsum]:
    """Yield all Einsums of a mapping, each followed by its statements of ``init``.

    Parameters
    ----------
    bound : Bound

    Yields
    ------
    BoundEinsum
        Einsums in the order in which they run; statements have the name of their Einsum.
    """
    for e in bound.einsums:
        yield e
        yield from e.initial


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
    addressing = Addressing(program, tiling, (*axes, *alone))
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
        reads=tuple(addressing.of(a) for a in statement.reads),
        write=addressing.of(statement.target),
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
    if wrong := [*selection_problems(program, tiling), *builder.checks.spill_problems()]:
        raise SpecError(wrong)
    builder.complaints += builder.checks.bypass_problems(places)
    builder.complaints += branch_problems(program, mapping, architecture, places)
    groups = builder.checks.groups(builder.complaints)
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
    found = builder.rebound(names)
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
        self.spaces: dict[tuple[str, ...], tuple[tuple[Axis, ...], Addressing]] = {}
        """Axes, and the builder of access maps, of each iteration space, by its variables."""
        self.checks = MappingChecks(program, mapping, architecture, tiling)
        if wrong := tuple(self.checks.name_problems()):
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
        self.complaints += self.checks.nest_problems()
        for einsum in self.program.einsums:
            how = self.mapped.get(einsum.name)
            if how is None:
                text = (
                    f"the mapping '{self.mapping.name}' says nothing about Einsum '{einsum.name}'"
                )
                entry = f"{einsum.name}: {{array: ..., spatial: ..., loops: [...]}}"
                self._complain("", text, self.mapping.span, f"add '{entry}' under 'einsums'")
                continue
            found.append(self._einsum(einsum, how))
        return tuple(found)

    def _complain(self, about: str, text: str, span: Span | None, hint: str | None) -> None:
        self.complaints.append(EinsumProblem(about, text, span, hint))

    def rebound(self, names: Collection[str]) -> tuple[BoundEinsum, ...]:
        """Bind the named Einsums; everything else about the mapping is known to be right."""
        return tuple(
            self._einsum(e, self.mapped[e.name]) for e in self.program.einsums if e.name in names
        )

    def _einsum(self, einsum: Einsum, how: EinsumMapping) -> BoundEinsum:
        array = self.architecture.array(how.array)
        assert array is not None, "array names are checked first"
        known = self.known.get(einsum.name)
        if known is not None and self.settled.get(einsum.name) == how:
            return known
        variables = (*self.program.parallel_variables, *einsum.variables)
        axes, addressing = self._space(variables)
        places, innermost = axis_places(axes), len(self.levels) - 1
        shared, outside = self._shared_loops(places, how)
        own = tuple(
            self.tiling.loop(
                self.tiling.members[name], places, self.levels.get(level.level, innermost)
            )
            for level in how.nest
            for name in level.loops
            if self._iterates(name, places, einsum)
        )
        spatial = self._spatial(places, einsum, how, array)
        self.complaints += self.checks.cover_problems(how, axes, (*shared, *own, *spatial))
        self.complaints += self.checks.level_problems(how, (*shared, *own))
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
            reads=known.reads if known else tuple(addressing.of(a) for a in einsum.reads),
            write=known.write if known else addressing.of(einsum.target),
        )
        if einsum.name not in self.started:
            return bound
        starts = initial_einsums(self.program, self.tiling, bound, innermost)
        return replace(bound, initial=starts)

    def _space(self, variables: tuple[str, ...]) -> tuple[tuple[Axis, ...], Addressing]:
        if variables not in self.spaces:
            axes = self.tiling.axes(variables)
            self.spaces[variables] = axes, Addressing(self.program, self.tiling, axes)
        return self.spaces[variables]

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
        for name in how.outside:
            if name not in ranks:
                hint = did_you_mean(name, ranks)
                self._complain("", f"'{name}' is no shared loop", how.span, hint)
            elif self.tiling.members[name].rank.lower() in places and name not in placed(how):
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
        self,
        places: Places,
        einsum: Einsum,
        how: EinsumMapping,
        array: ProcessingArray,
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
                    wide *= self.tiling.bound(member)
                    found.append(self.tiling.loop(member, places, len(self.levels), dimension))
            if wide > axis.size:
                text = (
                    f": {' x '.join(names)} = {wide} does not fit "
                    f"{array.name}.{dimension} = {axis.size}"
                )
                hint = f"cut {names[-1]} to {axis.size} or less, or loop over a part of it"
                self._complain(einsum.name, text, how.span, hint)
        return tuple(found)
