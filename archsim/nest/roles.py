"""Roles in a mapping, such as ``matrix``, replaced by the names of a machine's arrays and memories.

An Einsum that the array in its role cannot run goes to an array that can. Ranks along an axis that
this array lacks become loops at their place in the nest. A tensor that passed between the registers
of two arrays then passes through the innermost memory. With sibling memories, the innermost is the
one that feeds each array. Names of arrays and memories stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import einsum_operations, operation_label
from einsum_cascade.source import Span

from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import (
    Case,
    DimensionRef,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Mapping,
    MinimumSize,
    NestLevel,
    Spill,
    Tile,
)
from ..spec.roles import NEAREST, ROLES, array_in_role, axis_in_role, memory_in_role
from .residency import Routes, tensors_of


class InnermostLevels:
    """Memories that ``nearest`` stands for, for each tensor that a mapping keeps there.

    If memories form a line, that is the innermost one. On a tree, it is the memory that feeds the
    array of each Einsum that touches the tensor. A tensor that is made in one branch and read in
    another is also in the innermost memory that contains both branches.

    Parameters
    ----------
    arrays : dict
        Array of each Einsum, by name.
    """

    def __init__(
        self, program: Program, architecture: Architecture, mapping: Mapping, arrays: dict[str, str]
    ) -> None:
        self.program = program
        self.architecture = architecture
        self.memories = [m.name for m in architecture.memories]
        self.branched = not architecture.tree.is_line
        known = {a.name for a in architecture.arrays}
        arrays = {e: array for e, array in arrays.items() if array in known}
        self.routes = Routes(program=program, architecture=architecture, arrays=arrays)
        self.with_bypass = {
            (how.einsum, t)
            for how in mapping.einsums
            for level, tensors in how.bypass
            if self.names_several_memories(level)
            for t in tensors
        }
        """Pairs of an Einsum and a tensor: the Einsum bypasses ``nearest`` with this tensor."""
        self.given: dict[str, set[int]] = {}
        """Memories that each tensor has been placed in so far."""

    def names_several_memories(self, level: str) -> bool:
        """Return whether a level's word in a mapping (``nearest``) names different memories for
        different arrays."""
        is_nearest = self.branched and level == NEAREST
        return is_nearest and memory_in_role(self.architecture, level) is not None

    def _levels(self, tensor: str) -> set[int]:
        if not self.branched:
            return {len(self.memories) - 1}
        users = {e for e in self.routes.arrays if (e, tensor) not in self.with_bypass}
        # A tensor that no Einsum touches is placed anyhow: binding refuses it by name.
        return self.routes.nearest(tensor, users) or {len(self.memories) - 1}

    def places(
        self, tensors: Iterable[str], einsum: str | None = None
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield pairs of a memory and a tensor: where each of the ``nearest`` tensors is kept.

        Parameters
        ----------
        tensors : iterable of str
            Tensors that are kept.
        einsum : str or None
            Einsum that bypasses them: only memories that it could use are returned.
        """
        for tensor in tensors:
            for level in sorted(self._levels(tensor)):
                if einsum is None:
                    self.given.setdefault(tensor, set()).add(level)
                elif not self._reaches(einsum, tensor, level):
                    continue
                yield self.memories[level], (tensor,)

    def _reaches(self, einsum: str, tensor: str, level: int) -> bool:
        return einsum in self.routes.arrays and level in self.routes.reach(einsum, tensor)

    def spilling(self, spill: Spill) -> str:
        """Return the memory that ``nearest`` stands for in a spill.

        Raises
        ------
        SpecError
            The tensors that may spill are in several memories.
        """
        tensors = [t for t, _ in (*spill.copies, *spill.staged)]
        levels = {level for t in tensors for level in self._levels(t)}
        if len(levels) == 1:
            return self.memories[levels.pop()]
        names = ", ".join(self.memories[i] for i in sorted(levels))
        name = self.architecture.name
        text = f"several memories of {name} are '{NEAREST}' ({names}), and one may spill"
        raise SpecError(text, spill.span, "name it")

    def check(self, case: Case) -> None:
        """Refuse an open choice of ``nearest`` if an array could take the tensor from several
        siblings.

        Raises
        ------
        SpecError
            The choice would have to name one of them.
        """
        for keep in case.keep:
            for tensor in keep.tensors if self.names_several_memories(keep.level) else ():
                for how, _ in self._passed_memories(tensor, self._levels(tensor)):
                    text = (
                        f"{how} could take {tensor} from several memories of "
                        f"{self.architecture.name} that are side by side: an open choice of what "
                        f"is {NEAREST} does not say which"
                    )
                    raise SpecError(text, keep.span, "name the memory")

    def _passed_memories(
        self, tensor: str, levels: set[int]
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        for e in self.routes.arrays:
            einsum = self.program.einsum_of.get(e)
            if einsum is None or tensor not in tensors_of(self.program, einsum):
                continue
            if (e, tensor) not in self.with_bypass and (
                found := self.routes.passed_memories(e, tensor, levels)
            ):
                yield e, found

    def with_single_routes(self, mapping: Mapping) -> Mapping:
        """Return a mapping whose Einsums reach each ``nearest`` tensor by a single route."""
        if not self.branched:
            return mapping
        passed: dict[str, list[tuple[str, str]]] = {}
        for tensor, levels in self.given.items():
            for e, found in self._passed_memories(tensor, levels):
                passed.setdefault(e, []).extend((self.memories[i], tensor) for i in found)
        return replace(
            mapping,
            einsums=tuple(with_bypass(how, passed.get(how.einsum, ())) for how in mapping.einsums),
        )


def with_bypass(how: EinsumMapping, pairs: Iterable[tuple[str, str]]) -> EinsumMapping:
    """Return an Einsum's mapping with further bypasses, given as pairs of a memory and a tensor."""
    more = ((level, (tensor,)) for level, tensor in pairs)
    return replace(how, bypass=_merged((*how.bypass, *more)))


_Tensors = tuple[str, tuple[str, ...]]
"""Pair of a level and the tensors there."""

NO_AXIS = ""
"""Name of the axis of ranks that have no axis on their array."""


def _named_by(part: Mapping | Case) -> Iterator[str]:
    """Yield every word of a mapping or case that may name an array or a memory."""
    hows = [e.mapping if isinstance(e, EinsumPatch) else e for e in part.einsums]
    for how in hows:
        yield how.array
        yield from (level for level, _ in how.bypass)
    yield from (n.level for nest in (part.nest, *(how.nest for how in hows)) for n in nest)
    yield from (k.level for k in part.keep)
    if part.spill is not None:
        yield part.spill.level
    for tile in part.tiles:
        sizes = tile.size.sizes if isinstance(tile.size, MinimumSize) else (tile.size,)
        yield from (size.array for size in sizes if isinstance(size, DimensionRef))


def resolve_roles(program: Program, mapping: Mapping, architecture: Architecture) -> Mapping:
    """Replace the roles in a mapping by the names of a machine's arrays and memories.

    Open choices stay open. Unknown names stay, too: binding refuses them.

    Parameters
    ----------
    program : Program
        Cascade, whose operations decide the array of an Einsum.
    mapping : Mapping
        Mapping as written.
    architecture : Architecture

    Returns
    -------
    Mapping
        The same object if it has no roles.

    Raises
    ------
    SpecError
        A level is named twice: by its role and by its name.

    Examples
    --------
    >>> from archsim import Mapping
    >>> from einsum_cascade import Cascade
    >>> mapping = Mapping.load("fusemax-binding")
    >>> program = Cascade.load(mapping.cascade).program
    >>> mapping.einsum("LM").array
    'matrix'
    >>> resolve_roles(program, mapping, Architecture.load("fusemax")).einsum("LM").array
    'array_2d'

    The elements of FLAT's matrix array have no maximum.

    >>> found = resolve_roles(program, mapping, Architecture.load("flat"))
    >>> found.einsum("LM").array, found.moved[0]
    ('array_1d', 'LM runs on array_1d: array_2d cannot do max')
    """
    parts: tuple[Mapping | Case, ...] = (mapping, *mapping.cases)
    if not any(name in ROLES for part in parts for name in _named_by(part)):
        return mapping
    naming = _RoleResolver(program, architecture, mapping)
    found = naming.named()
    displaced = _displaced(found, naming.moved)
    if displaced:
        found = _route_through_memory(program, found, naming.innermost, displaced)
    return naming.innermost.with_single_routes(found)


def loops_for_missing_axes(mapping: Mapping) -> Mapping:
    """Return a mapping without open choices whose ranks without an axis on their array are loops.

    Parameters
    ----------
    mapping : Mapping
        Mapping with the names of a machine's parts (``resolve_roles``).
    """
    if not any(axis == NO_AXIS for how in mapping.einsums for axis, _ in how.spatial):
        return mapping
    return replace(mapping, einsums=tuple(map(_with_loops, mapping.einsums)))


def _with_loops(how: EinsumMapping) -> EinsumMapping:
    ranks = tuple(rank for axis, names in how.spatial if axis == NO_AXIS for rank in names)
    if not ranks:
        return how
    along = tuple(pair for pair in how.spatial if pair[0] != NO_AXIS)
    # The loops are innermost, where the ranks were laid out.
    inner = NestLevel(level="", loops=ranks, span=how.span)
    return replace(how, spatial=along, nest=(*how.nest, inner))


class _RoleResolver:
    """Resolver that replaces roles by names, and records the Einsums that change arrays."""

    def __init__(self, program: Program, architecture: Architecture, mapping: Mapping) -> None:
        self.program = program
        self.architecture = architecture
        self.mapping = mapping
        self.written = {how.einsum: how.array for how in mapping.einsums}
        self.inner = len(architecture.memories) > 1
        self.moved: dict[str, tuple[ProcessingArray, ProcessingArray]] = {}
        """Pair of arrays of each moved Einsum: the array in its role, and the array that runs it.
        """
        arrays = {e: self._array(e, written) for e, written in self.written.items()}
        names = {e: self.written[e] if a is None else a.name for e, a in arrays.items()}
        self.innermost = InnermostLevels(program, architecture, mapping, names)

    def named(self) -> Mapping:
        mapping = self.mapping
        parts: tuple[Mapping | Case, ...] = (mapping, *mapping.cases)
        lists: list[Sequence[Keep | NestLevel]] = [p.keep for p in parts] + [p.nest for p in parts]
        if wrong := [problem for levels in lists for problem in self._duplicate_levels(levels)]:
            raise SpecError(wrong)
        found = replace(
            mapping,
            **self._levels_and_tiles(mapping),
            einsums=tuple(self._einsum(how, how.array) for how in mapping.einsums),
            cases=tuple(map(self._case, mapping.cases)),
        )
        return replace(found, moved=tuple(self._move_text(name) for name in self.moved))

    def _levels_and_tiles(self, part: Mapping | Case) -> dict[str, Any]:
        """Return the fields of a mapping or case without its Einsums, with roles replaced."""
        return {
            "tiles": tuple(map(self._tile, part.tiles)),
            "nest": self._nest(part.nest),
            "keep": self._kept(part.keep),
            "spill": self._spill(part.spill),
        }

    def _duplicate_levels(self, levels: Sequence[Keep | NestLevel]) -> Iterator[Problem]:
        """Yield a problem for each level named by role and by name: one entry would have no
        effect."""
        by_name = {k.level: k for k in levels}
        for k in levels:
            name = self._level(k.level)
            if (
                name != k.level
                and name in by_name
                and not self.innermost.names_several_memories(k.level)
            ):
                text = (
                    f"'{name}' is the {k.level} of {self.architecture.name}, which is there already"
                )
                yield Problem(text, by_name[name].span, f"write '{k.level}' in its place")

    def _move_text(self, einsum: str) -> str:
        before, after = self.moved[einsum]
        lacking = ", ".join(map(operation_label, before.cannot_do(self._kinds(einsum))))
        return f"{einsum} runs on {after.name}: {before.name} cannot do {lacking}"

    def _kinds(self, einsum: str) -> tuple[str, ...]:
        found = self.program.einsum_of.get(einsum)
        operations = () if found is None else einsum_operations(self.program, found)
        return tuple(kind for kind, _ in operations)

    @cached_property
    def _in_role(self) -> dict[str, ProcessingArray]:
        found = {role: array_in_role(self.architecture, role) for role in ROLES}
        return {role: array for role, array in found.items() if array is not None}

    @cached_property
    def _levels(self) -> dict[str, str]:
        """Name of the level in each role: a memory, or an array for its registers."""
        memories = {role: memory_in_role(self.architecture, role) for role in ROLES}
        found = {role: array.name for role, array in self._in_role.items()}
        return found | {role: name for role, name in memories.items() if name is not None}

    def _level(self, name: str) -> str:
        return self._levels.get(name, name)

    def _array(self, einsum: str, written: str) -> ProcessingArray | None:
        """Return the array for an Einsum whose array is written as a role. Return None if it is
        written as a name."""
        array = self._in_role.get(written)
        if array is None or not array.cannot_do(kinds := self._kinds(einsum)):
            return array
        able = self.architecture.arrays_for(kinds)
        if not able:
            return array
        self.moved[einsum] = (array, able[0])
        return able[0]

    def _einsum(self, how: EinsumMapping, role: str) -> EinsumMapping:
        """Replace the roles in an Einsum's mapping.

        ``role`` is the role of its array, which a patch need not repeat.
        """
        array = self._array(how.einsum, role)
        spatial = how.spatial
        if array is not None:
            spatial = tuple(
                (axis_in_role(array, role, axis) or NO_AXIS, names) for axis, names in how.spatial
            )
        return replace(
            how,
            array=array.name if array is not None and how.array else how.array,
            spatial=spatial,
            nest=self._nest(how.nest),
            bypass=_merged(
                place
                for level, tensors in how.bypass
                # Nothing can bypass the only memory.
                if level != NEAREST or self.inner
                for place in self._places(level, tensors, how.einsum)
            ),
        )

    def _patch(self, patch: EinsumPatch) -> EinsumPatch:
        how = patch.mapping
        role = how.array or self.written.get(how.einsum, "")
        return replace(patch, mapping=self._einsum(how, role))

    def _tile(self, tile: Tile) -> Tile:
        size = tile.size
        if isinstance(size, MinimumSize):
            smallest = MinimumSize(sizes=tuple(map(self._extent, size.sizes)))
            return replace(tile, size=smallest)
        return replace(tile, size=self._extent(size)) if isinstance(size, DimensionRef) else tile

    def _extent(self, size: int | DimensionRef) -> int | DimensionRef:
        if isinstance(size, int) or (array := self._in_role.get(size.array)) is None:
            return size
        axis = axis_in_role(array, size.array, size.dimension)
        # An axis that does not exist has one element.
        return 1 if axis is None else DimensionRef(array=array.name, dimension=axis)

    def _nest(self, nest: tuple[NestLevel, ...]) -> tuple[NestLevel, ...]:
        """Replace the roles of levels. If two roles are one memory, their loops are joined in
        order."""
        found: dict[str, NestLevel] = {}
        for part in nest:
            name = self._level(part.level)
            before = found.get(name, replace(part, level=name, loops=()))
            found[name] = replace(before, loops=(*before.loops, *part.loops))
        return tuple(found.values())

    def _kept(self, keep: tuple[Keep, ...]) -> tuple[Keep, ...]:
        found: dict[str, Keep] = {}
        for k in keep:
            for level, held in self._places(k.level, k.tensors):
                before = found.get(level, replace(k, level=level, tensors=()))
                tensors = tuple(dict.fromkeys((*before.tensors, *held)))
                found[level] = replace(before, tensors=tensors)
        return tuple(found.values())

    def _places(
        self, level: str, tensors: tuple[str, ...], einsum: str | None = None
    ) -> Iterator[_Tensors]:
        """Yield pairs of a memory and tensors: the memory keeps the tensors, or the Einsum
        bypasses it."""
        if self.innermost.names_several_memories(level):
            yield from self.innermost.places(tensors, einsum)
        else:
            yield self._level(level), tensors

    def _spill(self, spill: Spill | None) -> Spill | None:
        if spill is None:
            return None
        if self.innermost.names_several_memories(spill.level):
            return replace(spill, level=self.innermost.spilling(spill))
        return replace(spill, level=self._level(spill.level))

    def _case(self, case: Case) -> Case:
        self.innermost.check(case)
        einsums = tuple(map(self._patch, case.einsums))
        return replace(case, einsums=einsums, **self._levels_and_tiles(case))


def _merged(pairs: Iterable[_Tensors]) -> tuple[_Tensors, ...]:
    found: dict[str, tuple[str, ...]] = {}
    for name, tensors in pairs:
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *tensors)))
    return tuple(found.items())


def _displaced(mapping: Mapping, moved: Iterable[str]) -> dict[str, set[str]]:
    """Return the Einsums that run on another array than the one in their role, or lack one of its
    axes.

    The value is the set of variables that were laid out along an axis which the array lacks.
    """
    tiles = (*mapping.tiles, *(tile for case in mapping.cases for tile in case.tiles))
    cut = {tile.member: tile.rank for tile in tiles}
    lost: dict[str, set[str]] = {name: set() for name in moved}
    patches = (patch.mapping for case in mapping.cases for patch in case.einsums)
    for how in (*mapping.einsums, *patches):
        names = [n for axis, ranks in how.spatial if axis == NO_AXIS for n in ranks]
        if names:
            variables = (v.lower() for n in names for v in (n, cut.get(n, n)))
            lost.setdefault(how.einsum, set()).update(variables)
    return lost


def _route_through_memory(
    program: Program, mapping: Mapping, innermost: InnermostLevels, displaced: dict[str, set[str]]
) -> Mapping:
    """Route operands and results of displaced Einsums through the innermost memory.

    Registers of another array hold a tile in that array's layout. The Einsum's own registers do not
    fit either if ranks along an axis have become loops.
    """
    memories = innermost.memories
    kept = {k.level: list(k.tensors) for k in mapping.keep}
    passed: dict[str, list[tuple[str, str]]] = {}
    left: dict[str, set[str]] = {level: set() for level in kept}
    for how in mapping.einsums:
        name, lost = how.einsum, displaced.get(how.einsum)
        einsum = program.einsum_of.get(name)
        if lost is None or einsum is None:
            continue
        for access in dict.fromkeys((einsum.target, *einsum.reads)):
            tensor, homes = access.tensor, [n for n, held in kept.items() if access.tensor in held]
            own = how.array in homes and not lost & {*access.variables}
            strange = [n for n in homes if n not in memories and not (own and n == how.array)]
            if not strange or (own and tensor != name):
                continue
            if not own and not {*homes} & {*memories}:
                for level, _ in innermost.places((tensor,)):
                    kept.setdefault(level, []).append(tensor)
            for level in strange:
                if tensor == name:
                    left[level].add(tensor)
                else:
                    passed.setdefault(name, []).append((level, tensor))
    spans = {k.level: k.span for k in mapping.keep}
    found = tuple(Keep(level=n, tensors=tuple(held), span=spans.get(n)) for n, held in kept.items())

    def without_left(keep: tuple[Keep, ...]) -> tuple[Keep, ...]:
        return tuple(replace(k, tensors=_without(k.tensors, left.get(k.level, ()))) for k in keep)

    def passing(how: EinsumMapping) -> EinsumMapping:
        found = with_bypass(how, passed.get(how.einsum, ()))
        pairs = ((level, _without(tensors, left.get(level, ()))) for level, tensors in found.bypass)
        return replace(found, bypass=tuple(pair for pair in pairs if pair[1]))

    einsums = tuple(map(passing, mapping.einsums))
    cases = tuple(replace(case, keep=without_left(case.keep)) for case in mapping.cases)
    return replace(mapping, einsums=einsums, keep=without_left(found), cases=cases)


def _without(tensors: Iterable[str], left: Iterable[str]) -> tuple[str, ...]:
    return tuple(tensor for tensor in tensors if tensor not in left)


def missing_operations(
    programs: Iterable[tuple[str, Program]], architecture: Architecture, span: Span | None = None
) -> Problem | None:
    """Return the problem that names all operations that a machine lacks for cascades, or None.

    The operations are those with which one array could run every Einsum that no array can run: the
    array that lacks the fewest, and of several the last one.

    Parameters
    ----------
    programs : iterable of (str, Program)
        Cascades, each with the name of the part of a workload that it computes; an empty name is
        not shown.
    architecture : Architecture
    span : Span, optional
        Place of the problem.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-3pass").program
    >>> flat = Architecture.load("flat")
    >>> print(missing_operations([("", program)], replace(flat, arrays=flat.arrays[:1])))
    some Einsums run on no array of flat; array_2d lacks for them:
        max: GM
        exp: SN
        div: A
        hint: give an array the operations that are missing
    """
    unable = [
        (part, e.name, kinds)
        for part, program in programs
        for e in program.einsums
        if not architecture.arrays_for(kinds := [k for k, _ in einsum_operations(program, e)])
    ]
    if not unable:
        return None
    lacking: dict[str, dict[str, dict[str, list[str]]]] = {}
    for array in architecture.arrays:
        lacked = lacking.setdefault(array.name, {})
        for part, einsum, kinds in unable:
            for kind in array.cannot_do(kinds):
                lacked.setdefault(operation_label(kind), {}).setdefault(part, []).append(einsum)
    best = min(reversed(lacking), key=lambda name: len(lacking[name]))

    def listed(einsums: dict[str, list[str]]) -> str:
        pairs = ((", ".join(names), part) for part, names in einsums.items())
        return "; ".join(f"{names} of {part}" if part else names for names, part in pairs)

    lines = [f"    {operation}: {listed(einsums)}" for operation, einsums in lacking[best].items()]
    text = f"some Einsums run on no array of {architecture.name}; {best} lacks for them:"
    hint = "give an array the operations that are missing"
    return Problem("\n".join([text, *lines]), span, hint)
