"""Binder: from the names of a mapping to loops with sizes.

Legality is checked elsewhere (``archsim.legality``). A statement of ``init`` that reads inputs
brings them as an Einsum would: on the array and in the loops of the Einsum that carries the value
on, less the loops over ranks that the statement does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.errors import MappingError, SpecError, did_you_mean
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import operations_of

from ..iteration.loops import Axis, Loop
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EinsumMapping, Mapping
from .checks import (
    bypass_problems,
    cover_problems,
    groups_of,
    in_order,
    level_problems,
    name_problems,
    nest_problems,
    operation_problems,
    placed,
    selection_problems,
    spill_problems,
)
from .dataflow import Operand, operands_of
from .problems import EinsumProblem, merge_equal_problems
from .record import Bound, BoundEinsum, shared_loops, step_count
from .residency import Residency, branch_problems, residency
from .tiling import Addressing, Member, Tiling


def initial_einsums(
    program: Program, tiling: Tiling, e: BoundEinsum, innermost: int
) -> tuple[BoundEinsum, ...]:
    """Statements of ``init`` that bring inputs into what an Einsum writes, as Einsums.

    They are named as the Einsum is. What they compute is neither timed nor billed, as ``init``
    is counted nowhere; what they move is.

    Parameters
    ----------
    innermost : int
        The level of the innermost memory, where loops over ranks of their own go.
    """
    return tuple(
        _initial(program, tiling, e, statement, innermost)
        for statement in program.init
        if statement.name == e.name and statement.reads
    )


def with_initial(bound: Bound) -> Iterator[BoundEinsum]:
    """All Einsums of a mapping, each with the statements of ``init`` that it starts from.

    Parameters
    ----------
    bound : Bound
        The mapping.

    Returns
    -------
    iterator of BoundEinsum
        In the order in which they run, an Einsum before its statements, which have its name.
    """
    for e in bound.einsums:
        yield e
        yield from e.initial


def _initial(
    program: Program, tiling: Tiling, e: BoundEinsum, statement: Einsum, innermost: int
) -> BoundEinsum:
    carried = tuple(r.lower() for r in program.parallel)
    variables = tuple(dict.fromkeys((*carried, *statement.variables)))
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
    """Loops over variables that the axes have, on these axes."""
    before = {v: s for axis in e.axes for v, s in axis.variables}
    after = {v: (i, s) for i, axis in enumerate(axes) for v, s in axis.variables}
    for loop in loops:
        if loop.variable in after:
            # Where a statement has fewer members of a family, the axis counts in other units.
            axis, stride = after[loop.variable]
            yield loop._replace(axis=axis, stride=loop.stride // before[loop.variable] * stride)


def bind_loops(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    tiling: Tiling,
    like: Bound | None = None,
) -> Bound:
    """Bind ``mapping`` with the tile sizes of ``tiling``.

    ``like`` is the cascade bound otherwise: where all shapes are the same, what the Einsums
    address is taken from there.

    Parameters
    ----------
    program : Program
        The cascade.
    mapping : Mapping
        With the machine's names in it, and sizes of all tiles.
    architecture : Architecture
    tiling : Tiling
        The cascade's ranks, cut by the mapping.
    like : Bound, optional
        As above.

    Raises
    ------
    SpecError
        The mapping names something that does not exist.
    MappingError
        A loop is missing, out of order or twice; a tile does not fit an array dimension;
        an array cannot do an operation; a tensor is kept nowhere.
    """
    # Whoever counts, or leaves tiles out, is to see the masks that operands hand on.
    program = with_masks(program)
    builder = _Binder(program, mapping, architecture, tiling, like)
    einsums = builder.einsums()
    groups, places = builder.groups_and_residency()
    if builder.complaints:
        raise MappingError(merge_equal_problems(builder.complaints))
    nest = shared_loops(mapping, architecture, tiling)
    return Bound(
        program=program,
        mapping=mapping,
        architecture=architecture,
        shapes=tuple(tiling.shapes.items()),
        tiling=tiling,
        nest=nest,
        steps=step_count(tiling, nest),
        einsums=in_order(einsums, groups),
        groups=groups,
        residency=places,
    )


def rebind_einsums(
    like: Bound, mapping: Mapping, names: Collection[str]
) -> tuple[BoundEinsum, ...]:
    """Some Einsums of a bound mapping as another maps them that shares its loops and tiles.

    Parameters
    ----------
    mapping : Mapping
        Other than the bound one in these Einsums alone.
    names : collection of str
        These Einsums.

    Raises
    ------
    MappingError
        As ``bind_loops``, of what is other.
    """
    builder = _Binder(like.program, mapping, like.architecture, like.tiling, like)
    found = builder.otherwise(names)
    if builder.complaints:
        raise MappingError(merge_equal_problems(builder.complaints))
    return found


_Places = dict[str, tuple[int, int]]
"""By rank variable its axis, and its stride in elements of that."""


class _Binder:
    """Collects every problem of a mapping before giving up."""

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
        shapes = tuple(tiling.shapes.items())
        alike = like is not None and like.program is program and like.shapes == shapes
        self.known = {e.name: e for e in like.einsums} if like and alike else {}
        """Einsums on the same shapes, in other loops."""
        nested = (mapping.nest, mapping.tiles)
        alike = alike and like is not None and like.architecture is architecture
        alike = alike and like is not None and (like.mapping.nest, like.mapping.tiles) == nested
        self.settled = {how.einsum: how for how in like.mapping.einsums} if like and alike else {}
        """How those are mapped that may be in the same loops."""
        self.levels = {m.name: i for i, m in enumerate(architecture.memories)}
        self.mapped = {how.einsum: how for how in reversed(mapping.einsums)}
        self.carried = tuple(r.lower() for r in program.parallel)
        self.started = {s.name for s in program.init if s.reads}
        self.spaces: dict[tuple[str, ...], tuple[tuple[Axis, ...], Addressing]] = {}
        """Axes, and what addresses them, by the variables of an iteration space."""
        if wrong := tuple(name_problems(program, mapping, architecture, tiling)):
            raise SpecError(wrong)

    def groups_and_residency(self) -> tuple[tuple[tuple[str, ...], ...], Residency]:
        """Which Einsums share loops, and where tensors are kept."""
        given = (self.program, self.mapping, self.architecture)
        places = residency(*given, self.complaints)
        wrong = [
            *selection_problems(self.program, self.tiling),
            *spill_problems(*given, self.tiling),
        ]
        if wrong:
            raise SpecError(wrong)
        self.complaints.extend(
            bypass_problems(self.program, self.mapping, places, self.architecture)
        )
        self.complaints.extend(
            branch_problems(self.program, self.mapping, places, self.architecture)
        )
        return groups_of(self.program, self.mapping, self.complaints), places

    @cached_property
    def _shared(self) -> tuple[tuple[Member, int], ...]:
        return tuple(
            (self.tiling.members[name], self.levels[level.level])
            for level in self.mapping.nest
            for name in level.loops
        )

    def einsums(self) -> tuple[BoundEinsum, ...]:
        found: list[BoundEinsum] = []
        self.complaints.extend(nest_problems(self.program, self.mapping, self.tiling))
        for einsum in self.program.einsums:
            how = self.mapped.get(einsum.name)
            if how is None:
                self.complaints.append(
                    EinsumProblem(
                        "",
                        f"the mapping '{self.mapping.name}' says nothing about Einsum "
                        f"'{einsum.name}'",
                        self.mapping.span,
                        hint=f"add '{einsum.name}: {{array: ..., spatial: ..., loops: [...]}}' "
                        "under 'einsums'",
                    )
                )
                continue
            found.append(self._einsum(einsum, how))
        return tuple(found)

    def otherwise(self, names: Collection[str]) -> tuple[BoundEinsum, ...]:
        """Some Einsums, of a mapping that was found whole."""
        return tuple(
            self._einsum(e, self.mapped[e.name]) for e in self.program.einsums if e.name in names
        )

    def _einsum(self, einsum: Einsum, how: EinsumMapping) -> BoundEinsum:
        array = self.architecture.array(how.array)
        assert array is not None, "array names are checked first"
        known = self.known.get(einsum.name)
        if known is not None and self.settled.get(einsum.name) == how:
            return known
        variables = (*self.carried, *einsum.variables)
        axes, addressing = self._space(variables)
        places = {v: (n, stride) for n, axis in enumerate(axes) for v, stride in axis.variables}
        shared, outside = self._shared_loops(places, how)
        own = tuple(
            self._loop(places, self.tiling.members[name], self._own_level(level.level), None)
            for level in how.nest
            for name in level.loops
            if self._iterates(name, places, einsum)
        )
        spatial = self._spatial(places, einsum, how, array)
        self.complaints.extend(cover_problems(how, axes, (*shared, *own, *spatial), self.tiling))
        self.complaints.extend(level_problems(how, (*shared, *own), self.architecture))
        operations = self.program.memo(operations_of)[einsum.name]
        self.complaints.extend(operation_problems(how, array, operations))
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
        innermost = len(self.levels) - 1
        starts = initial_einsums(self.program, self.tiling, bound, innermost)
        return replace(bound, initial=starts)

    def _space(self, variables: tuple[str, ...]) -> tuple[tuple[Axis, ...], Addressing]:
        if variables not in self.spaces:
            axes = self.tiling.axes(variables)
            self.spaces[variables] = axes, Addressing(self.program, self.tiling, axes)
        return self.spaces[variables]

    def _own_level(self, level: str) -> int:
        return self.levels[level] if level else len(self.levels) - 1

    def _loop(self, places: _Places, member: Member, level: int, dimension: str | None) -> Loop:
        variable = member.rank.lower()
        axis, stride = places[variable]
        return Loop(
            member=member.name,
            axis=axis,
            # A tile larger than its rank is the whole rank.
            stride=min(member.stride, self.tiling.shapes[member.rank]) * stride,
            level=level,
            variable=variable,
            dimension=dimension,
        )

    def _shared_loops(
        self, places: _Places, how: EinsumMapping
    ) -> tuple[tuple[Loop, ...], tuple[str, ...]]:
        inside: list[Loop] = []
        outside: list[str] = []
        for member, level in self._shared:
            if member.rank.lower() not in places or member.name in how.outside:
                outside.append(member.name)
            else:
                inside.append(self._loop(places, member, level, None))
        ranks = [m.name for m, _ in self._shared]
        for name in how.outside:
            if name not in ranks:
                hint = did_you_mean(name, ranks)
                self.complaints.append(
                    EinsumProblem("", f"'{name}' is no shared loop", how.span, hint)
                )
            elif self.tiling.members[name].rank.lower() in places and name not in placed(how):
                text = f" stays outside {name}, so it must go over {name} by itself"
                hint = f"add {name} to its 'loops' or 'spatial'"
                self.complaints.append(EinsumProblem(how.einsum, text, how.span, hint))
        return tuple(inside), tuple(outside)

    def _iterates(self, name: str, places: _Places, einsum: Einsum) -> bool:
        span = self.mapped[einsum.name].span
        member = self.tiling.members.get(name)
        if member is None:
            hint = did_you_mean(name, self.tiling.members)
            self.complaints.append(
                EinsumProblem("", f"no rank or tile is called '{name}'", span, hint)
            )
            return False
        if member.rank.lower() not in places:
            ranks = ", ".join(v.upper() for v in (*self.carried, *einsum.variables))
            text = f" has no rank {member.rank}, but its mapping loops over {name}"
            self.complaints.append(EinsumProblem(einsum.name, text, span, f"its ranks are {ranks}"))
            return False
        return True

    def _spatial(
        self,
        places: _Places,
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
                self.complaints.append(EinsumProblem("", text, how.span, hint))
                continue
            wide = 1
            for name in names:
                if self._iterates(name, places, einsum):
                    member = self.tiling.members[name]
                    wide *= self.tiling.bound(member)
                    found.append(self._loop(places, member, len(self.levels), dimension))
            if wide > axis.size:
                text = (
                    f": {' x '.join(names)} = {wide} does not fit "
                    f"{array.name}.{dimension} = {axis.size}"
                )
                hint = f"cut {names[-1]} to {axis.size} or less, or loop over a part of it"
                self.complaints.append(EinsumProblem(einsum.name, text, how.span, hint))
        return tuple(found)
