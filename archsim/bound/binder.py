"""From names to loops with sizes: a mapping on a cascade, shapes and a machine.

Nothing here asks whether the loops compute what the cascade says (``legality``).
"""

from __future__ import annotations

from functools import cached_property

from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean
from einsum_cascade.ir import Access, Einsum, Program
from einsum_cascade.operations import einsum_operations

from ..space.access_map import AccessMap, map_access
from ..space.iteration import Axis, Loop, count_points, iterations
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EinsumMapping, Mapping
from .checks import (
    cover_problems,
    level_problems,
    name_problems,
    nest_problems,
    operation_problems,
    placed,
    selection_problems,
)
from .groups import bypass_problems, groups_of, in_order
from .record import Bound, BoundEinsum, SharedLoop
from .residency import residency
from .spill_checks import spill_problems
from .tiling import Member, Tiling


def bind_loops(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    tiling: Tiling,
    like: Bound | None = None,
) -> Bound:
    """Bind ``mapping`` with the tile sizes of ``tiling``.

    ``like`` is the same with other tile sizes: where all shapes are the same, what the
    Einsums compute and address is taken from there.

    Raises
    ------
    SpecError
        The mapping names something that does not exist.
    MappingError
        A loop is missing, out of order or twice; a tile does not fit an array dimension;
        an array cannot do an operation; a tensor is kept nowhere.
    """
    builder = _Binder(program, mapping, architecture, tiling)
    if like is not None and like.shapes == tuple(tiling.shapes.items()):
        builder.known = {e.name: e for e in like.einsums}
    einsums = builder.einsums()
    places = residency(program, mapping, architecture, builder.problems)
    wrong = [
        *selection_problems(program, tiling),
        *spill_problems(program, mapping, architecture, tiling),
    ]
    if wrong:
        raise SpecError(wrong)
    builder.problems.extend(bypass_problems(program, mapping, places, architecture))
    groups = groups_of(program, mapping, builder.problems)
    if builder.problems:
        raise MappingError(_folded(builder.problems, [e.name for e in program.einsums]))
    nest = builder.nest()
    return Bound(
        program=program,
        mapping=mapping,
        architecture=architecture,
        shapes=tuple(tiling.shapes.items()),
        tiling=tiling,
        nest=nest,
        steps=builder.steps(),
        einsums=in_order(einsums, groups),
        groups=groups,
        residency=places,
    )


def _folded(problems: list[Problem], einsums: list[str]) -> list[Problem]:
    """Problems with one mistake told once where it meets many Einsums alike."""
    found: dict[str, tuple[Problem, list[str]]] = {}
    for problem in problems:
        name = next((n for n in einsums if problem.message.startswith((f"{n}: ", f"{n} "))), "")
        rest = problem.message.removeprefix(name)
        found.setdefault(rest, (problem, []))[1].append(name)
    folded: list[Problem] = []
    for problem, names in found.values():
        others = names[1:]
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            text = f"{problem.message}; likewise {', '.join(others[:3])}{more}"
            problem = Problem(text, problem.span, problem.hint)
        folded.append(problem)
    return folded


class _Binder:
    """Collects every problem of a mapping before giving up."""

    def __init__(
        self, program: Program, mapping: Mapping, architecture: Architecture, tiling: Tiling
    ) -> None:
        self.program = program
        self.mapping = mapping
        self.architecture = architecture
        self.tiling = tiling
        self.problems: list[Problem] = []
        self.known: dict[str, BoundEinsum] = {}
        """Einsums on the same shapes, in other tiles."""
        self.levels = {m.name: i for i, m in enumerate(architecture.memories)}
        wrong = tuple(name_problems(program, mapping, architecture, tiling))
        if wrong:
            raise SpecError(wrong)

    def nest(self) -> tuple[SharedLoop, ...]:
        extents = {rank: self.tiling.shapes[rank] for rank in self.tiling.ranks}
        found: list[SharedLoop] = []
        for member, level in self._shared:
            count = iterations(extents[member.rank], member.stride)
            extents[member.rank] = min(extents[member.rank], member.stride)
            found.append(SharedLoop(member=member.name, rank=member.rank, level=level, bound=count))
        return tuple(found)

    def steps(self) -> int:
        shared = self._shared
        axes = self.tiling.axes(tuple(dict.fromkeys(m.rank.lower() for m, _ in shared)))
        loops = [self._loop(axes, member, level, None) for member, level in shared]
        # Iterations are as many in any order; outer tiles first is the order to count in.
        loops.sort(key=lambda loop: -loop.stride)
        return count_points(tuple(loops), tuple(a.extent for a in axes))

    @cached_property
    def _shared(self) -> tuple[tuple[Member, int], ...]:
        return tuple(
            (self.tiling.members[name], self.levels[level.level])
            for level in self.mapping.nest
            for name in level.loops
        )

    def einsums(self) -> tuple[BoundEinsum, ...]:
        found: list[BoundEinsum] = []
        self.problems.extend(nest_problems(self.program, self.mapping, self.tiling))
        for einsum in self.program.einsums:
            how = self.mapping.einsum(einsum.name)
            if how is None:
                self.problems.append(
                    Problem(
                        f"the mapping '{self.mapping.name}' says nothing about Einsum "
                        f"'{einsum.name}'",
                        self.mapping.span,
                        hint=f"add '{einsum.name}: {{array: ..., spatial: ..., loops: [...]}}' "
                        "under 'einsums'",
                    )
                )
                continue
            array = self.architecture.array(how.array)
            assert array is not None, "array names are checked first"
            found.append(self._einsum(einsum, how, array))
        return tuple(found)

    def _einsum(self, einsum: Einsum, how: EinsumMapping, array: ProcessingArray) -> BoundEinsum:
        variables = (*(r.lower() for r in self.program.parallel), *einsum.variables)
        known = self.known.get(einsum.name)
        axes = known.axes if known else self.tiling.axes(variables)
        shared, outside = self._shared_loops(axes, variables, how)
        own = tuple(
            self._loop(axes, self.tiling.members[name], self._own_level(level.level), None)
            for level in how.nest
            for name in level.loops
            if self._iterates(name, variables, einsum, how)
        )
        spatial = self._spatial(axes, variables, einsum, how, array)
        loops = (*shared, *own, *spatial)
        self.problems.extend(cover_problems(how, axes, loops, self.tiling))
        self.problems.extend(level_problems(how, (*shared, *own), self.architecture))
        if known:
            operations, reads, write = known.operations, known.reads, known.write
        else:
            operations = einsum_operations(self.program, einsum)
            reads = tuple(self._access_map(a, axes) for a in einsum.reads)
            write = self._access_map(einsum.target, axes)
        self.problems.extend(operation_problems(how, array, operations))
        return BoundEinsum(
            einsum=einsum,
            array=array,
            axes=axes,
            shared=shared,
            own=own,
            spatial=spatial,
            outside=outside,
            bypass=frozenset((level, t) for level, tensors in how.bypass for t in tensors),
            operations=operations,
            reads=reads,
            write=write,
        )

    def _own_level(self, level: str) -> int:
        return self.levels[level] if level else len(self.levels) - 1

    def _access_map(self, access: Access, axes: tuple[Axis, ...]) -> AccessMap:
        iterative = frozenset(r.lower() for r in self.program.iterative.get(access.tensor, ()))
        carried = tuple(r.lower() for r in self.program.parallel)
        return map_access(access, axes, self.tiling.shapes, iterative, carried)

    def _loop(
        self, axes: tuple[Axis, ...], member: Member, level: int, dimension: str | None
    ) -> Loop:
        variable = member.rank.lower()
        for number, axis in enumerate(axes):
            for name, stride in axis.variables:
                if name == variable:
                    return Loop(
                        member=member.name,
                        axis=number,
                        # A tile larger than its rank is the whole rank.
                        stride=min(member.stride, self.tiling.shapes[member.rank]) * stride,
                        level=level,
                        variable=variable,
                        dimension=dimension,
                    )
        raise AssertionError(f"{member.name} is no axis of the Einsum")

    def _shared_loops(
        self, axes: tuple[Axis, ...], variables: tuple[str, ...], how: EinsumMapping
    ) -> tuple[tuple[Loop, ...], tuple[str, ...]]:
        inside: list[Loop] = []
        outside: list[str] = []
        for member, level in self._shared:
            if member.rank.lower() not in variables or member.name in how.outside:
                outside.append(member.name)
            else:
                inside.append(self._loop(axes, member, level, None))
        ranks = [m.name for m, _ in self._shared]
        for name in how.outside:
            if name not in ranks:
                hint = did_you_mean(name, ranks)
                self.problems.append(Problem(f"'{name}' is no shared loop", how.span, hint))
            elif self.tiling.members[name].rank.lower() in variables and name not in placed(how):
                text = f"{how.einsum} stays outside {name}, so it must go over {name} by itself"
                hint = f"add {name} to its 'loops' or 'spatial'"
                self.problems.append(Problem(text, how.span, hint))
        return tuple(inside), tuple(outside)

    def _iterates(
        self, name: str, variables: tuple[str, ...], einsum: Einsum, how: EinsumMapping
    ) -> bool:
        member = self.tiling.members.get(name)
        if member is None:
            hint = did_you_mean(name, self.tiling.members)
            self.problems.append(Problem(f"no rank or tile is called '{name}'", how.span, hint))
            return False
        if member.rank.lower() not in variables:
            self.problems.append(
                Problem(
                    f"{einsum.name} has no rank {member.rank}, but its mapping loops over {name}",
                    how.span,
                    f"its ranks are {', '.join(v.upper() for v in variables)}",
                )
            )
            return False
        return True

    def _spatial(
        self,
        axes: tuple[Axis, ...],
        variables: tuple[str, ...],
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
                self.problems.append(Problem(text, how.span, hint))
                continue
            wide = 1
            for name in names:
                if self._iterates(name, variables, einsum, how):
                    member = self.tiling.members[name]
                    wide *= self.tiling.bound(member)
                    found.append(self._loop(axes, member, len(self.levels), dimension))
            if wide > axis.size:
                text = (
                    f"{einsum.name}: {' x '.join(names)} = {wide} does not fit "
                    f"{array.name}.{dimension} = {axis.size}"
                )
                hint = f"cut {names[-1]} to {axis.size} or less, or loop over a part of it"
                self.problems.append(Problem(text, how.span, hint))
        return tuple(found)
