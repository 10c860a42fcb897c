"""A mapping written for roles, on one machine: its parts by their names.

An Einsum that the array in its role cannot do goes to one that can. What lay side by side
along an axis which that array lacks is done one after the other, at the same place in the
nest, and what passed between the registers of the two arrays passes through the innermost
memory. Names of a machine's parts stay as they are, and so does a mapping that has no roles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import einsum_operations, operation_label

from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import (
    Case,
    DimensionRef,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Least,
    Mapping,
    NestLevel,
    Spill,
    Tile,
)
from ..spec.roles import NEAREST, ROLES, array_in_role, axis_in_role, memory_in_role
from .near import Near

_Tensors = tuple[str, tuple[str, ...]]
"""A level, and tensors there."""

NO_AXIS = ""
"""The axis of what cannot lie side by side on the array it is on."""


def has_roles(mapping: Mapping) -> bool:
    """Whether a mapping, or one of its cases, names any part of a machine by its role."""
    parts: tuple[Mapping | Case, ...] = (mapping, *mapping.cases)
    return any(name in ROLES for part in parts for name in _named_by(part))


def _named_by(part: Mapping | Case) -> Iterator[str]:
    """Every word for a part of a machine."""
    hows = [e.mapping if isinstance(e, EinsumPatch) else e for e in part.einsums]
    for how in hows:
        yield how.array
        yield from (level for level, _ in how.bypass)
    yield from (n.level for nest in (part.nest, *(how.nest for how in hows)) for n in nest)
    yield from (k.level for k in part.keep)
    if part.spill is not None:
        yield part.spill.level
    for tile in part.tiles:
        sizes = tile.size.sizes if isinstance(tile.size, Least) else (tile.size,)
        yield from (size.array for size in sizes if isinstance(size, DimensionRef))


def on_machine(program: Program, mapping: Mapping, architecture: Architecture) -> Mapping:
    """The mapping with the names of a machine's parts where it has roles.

    Open choices stay open. What is named, but exists nowhere, stays for binding to refuse.

    Parameters
    ----------
    program : Program
        The cascade: its operations decide which array an Einsum goes to.
    mapping : Mapping
        As written.
    architecture : Architecture
        The machine.

    Returns
    -------
    Mapping
        The same object if there are no roles in it.

    Raises
    ------
    SpecError
        A level is named by its role, and by its name beside it.

    Examples
    --------
    >>> from archsim import Mapping
    >>> from einsum_cascade import Cascade
    >>> mapping = Mapping.load("fusemax-binding")
    >>> program = Cascade.load(mapping.cascade).program
    >>> mapping.einsum("LM").array
    'matrix'
    >>> on_machine(program, mapping, Architecture.load("fusemax")).einsum("LM").array
    'array_2d'

    The elements of FLAT's matrix array have no maximum.

    >>> found = on_machine(program, mapping, Architecture.load("flat"))
    >>> found.einsum("LM").array, found.moved[0]
    ('array_1d', 'LM runs on array_1d: array_2d cannot do max')
    """
    if not has_roles(mapping):
        return mapping
    naming = _Naming(program, architecture, mapping)
    found = naming.named()
    displaced = _displaced(found, naming.moved)
    if displaced:
        found = _through_memory(program, found, naming.near, displaced)
    return naming.near.without_strays(found)


def in_turn(mapping: Mapping) -> Mapping:
    """A mapping without open choices, with loops where an array has no axis to lie along.

    Parameters
    ----------
    mapping : Mapping
        Its parts named as the machine names them (``on_machine``).
    """
    if not any(axis == NO_AXIS for how in mapping.einsums for axis, _ in how.spatial):
        return mapping
    return replace(mapping, einsums=tuple(map(_in_turn, mapping.einsums)))


def _in_turn(how: EinsumMapping) -> EinsumMapping:
    ranks = tuple(rank for axis, names in how.spatial if axis == NO_AXIS for rank in names)
    if not ranks:
        return how
    along = tuple(pair for pair in how.spatial if pair[0] != NO_AXIS)
    # Innermost, where they lay side by side.
    inner = NestLevel(level="", loops=ranks, span=how.span)
    return replace(how, spatial=along, nest=(*how.nest, inner))


class _Naming:
    """Puts names where a mapping has roles, and notes which Einsums change arrays."""

    def __init__(self, program: Program, architecture: Architecture, mapping: Mapping) -> None:
        self.program = program
        self.architecture = architecture
        self.mapping = mapping
        self.written = {how.einsum: how.array for how in mapping.einsums}
        self.inner = len(architecture.memories) > 1
        self.near = Near(program, architecture, mapping)
        self.moved: dict[str, tuple[ProcessingArray, ProcessingArray]] = {}
        """By Einsum the array it was written for, and the one it runs on."""

    def named(self) -> Mapping:
        mapping = self.mapping
        parts: tuple[Mapping | Case, ...] = (mapping, *mapping.cases)
        lists: list[Sequence[Keep | NestLevel]] = [p.keep for p in parts] + [p.nest for p in parts]
        if wrong := [problem for levels in lists for problem in self._said_twice(levels)]:
            raise SpecError(wrong)
        self.near.runs_on({how.einsum: self._runs_on(how) for how in mapping.einsums})
        found = replace(
            mapping,
            tiles=tuple(map(self._tile, mapping.tiles)),
            nest=_merged_nest(mapping.nest, self._level),
            einsums=tuple(self._einsum(how, how.array) for how in mapping.einsums),
            keep=self._kept(mapping.keep),
            spill=self._spill(mapping.spill),
            cases=tuple(map(self._case, mapping.cases)),
        )
        return replace(found, moved=tuple(self._told(name) for name in self.moved))

    def _said_twice(self, levels: Sequence[Keep | NestLevel]) -> Iterator[Problem]:
        """A level that is there by its role and by its name: the one would do nothing."""
        by_name = {k.level: k for k in levels}
        for k in levels:
            name = self._level(k.level)
            if name != k.level and name in by_name and not self.near.is_many(k.level):
                text = (
                    f"'{name}' is the {k.level} of {self.architecture.name}, which is there already"
                )
                yield Problem(text, by_name[name].span, f"write '{k.level}' in its place")

    def _told(self, einsum: str) -> str:
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
        """Memories, and arrays for their registers, by role."""
        memories = {role: memory_in_role(self.architecture, role) for role in ROLES}
        found = {role: array.name for role, array in self._in_role.items()}
        return found | {role: name for role, name in memories.items() if name is not None}

    def _level(self, name: str) -> str:
        return self._levels.get(name, name)

    def _array(self, einsum: str, written: str) -> ProcessingArray | None:
        """The array an Einsum runs on, where that is written as a role."""
        array = self._in_role.get(written)
        if array is None or not array.cannot_do(kinds := self._kinds(einsum)):
            return array
        able = self.architecture.arrays_for(kinds)
        if not able:
            return array
        self.moved[einsum] = (array, able[0])
        return able[0]

    def _runs_on(self, how: EinsumMapping) -> str:
        array = self._array(how.einsum, how.array)
        return how.array if array is None else array.name

    def _einsum(self, how: EinsumMapping, role: str) -> EinsumMapping:
        """``role`` is the array of the Einsum, which a patch need not repeat."""
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
            nest=_merged_nest(how.nest, self._level),
            bypass=_merged(
                place
                for level, tensors in how.bypass
                # Nobody passes by the only memory there is.
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
        if isinstance(size, Least):
            least = Least(sizes=tuple(map(self._extent, size.sizes)))
            return replace(tile, size=least)
        return replace(tile, size=self._extent(size)) if isinstance(size, DimensionRef) else tile

    def _extent(self, size: int | DimensionRef) -> int | DimensionRef:
        if isinstance(size, int) or (array := self._in_role.get(size.array)) is None:
            return size
        axis = axis_in_role(array, size.array, size.dimension)
        # Along an axis that is not there lies one of each.
        return 1 if axis is None else DimensionRef(array=array.name, dimension=axis)

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
        """Memories that tensors are kept in, or passed by for an Einsum."""
        if self.near.is_many(level):
            yield from self.near.places(tensors, einsum)
        else:
            yield self._level(level), tensors

    def _spill(self, spill: Spill | None) -> Spill | None:
        if spill is None:
            return None
        if self.near.is_many(spill.level):
            return replace(spill, level=self.near.spilling(spill))
        return replace(spill, level=self._level(spill.level))

    def _case(self, case: Case) -> Case:
        self.near.check(case)
        return replace(
            case,
            tiles=tuple(map(self._tile, case.tiles)),
            nest=_merged_nest(case.nest, self._level),
            einsums=tuple(map(self._patch, case.einsums)),
            keep=self._kept(case.keep),
            spill=self._spill(case.spill),
        )


def _merged_nest(
    nest: tuple[NestLevel, ...], level_of: Callable[[str], str]
) -> tuple[NestLevel, ...]:
    """The levels by name; the loops of two roles that one memory has follow one another."""
    found: dict[str, NestLevel] = {}
    for part in nest:
        name = level_of(part.level)
        before = found.get(name, replace(part, level=name, loops=()))
        found[name] = replace(before, loops=(*before.loops, *part.loops))
    return tuple(found.values())


def _merged(pairs: Iterable[_Tensors]) -> tuple[_Tensors, ...]:
    found: dict[str, tuple[str, ...]] = {}
    for name, tensors in pairs:
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *tensors)))
    return tuple(found.items())


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """An Einsum that does not run as it was written."""

    array: str
    """The one it runs on."""
    lost: frozenset[str]
    """Variables that lay along an axis which that array lacks."""


def _displaced(mapping: Mapping, moved: Iterable[str]) -> dict[str, _Elsewhere]:
    """Einsums on another array than in their role, or on one of fewer axes."""
    tiles = (*mapping.tiles, *(tile for case in mapping.cases for tile in case.tiles))
    cut = {tile.member: tile.rank for tile in tiles}
    lost: dict[str, set[str]] = {name: set() for name in moved}
    patches = (patch.mapping for case in mapping.cases for patch in case.einsums)
    for how in (*mapping.einsums, *patches):
        names = [n for axis, ranks in how.spatial if axis == NO_AXIS for n in ranks]
        if names:
            variables = (v.lower() for n in names for v in (n, cut.get(n, n)))
            lost.setdefault(how.einsum, set()).update(variables)
    return {
        how.einsum: _Elsewhere(how.array, frozenset(lost[how.einsum]))
        for how in mapping.einsums
        if how.einsum in lost
    }


def _through_memory(
    program: Program, mapping: Mapping, near: Near, displaced: dict[str, _Elsewhere]
) -> Mapping:
    """Let what displaced Einsums read and write pass through the innermost memory.

    Registers of another array hold a tile in the layout of that array, which is not theirs;
    nor do their own where what lay along an axis now comes one after the other.
    """
    memories = near.memories
    kept = {k.level: list(k.tensors) for k in mapping.keep}
    bypass: dict[str, dict[str, list[str]]] = {name: {} for name in displaced}
    left: dict[str, set[str]] = {level: set() for level in kept}
    for name, e in displaced.items():
        einsum = program.einsum_of.get(name)
        for access in dict.fromkeys((einsum.target, *einsum.reads) if einsum else ()):
            tensor, homes = access.tensor, [n for n, held in kept.items() if access.tensor in held]
            own = e.array in homes and not e.lost & {*access.variables}
            strange = [n for n in homes if n not in memories and not (own and n == e.array)]
            if not strange or (own and tensor != name):
                continue
            if not own and not {*homes} & {*memories}:
                for level, _ in near.places((tensor,)):
                    kept.setdefault(level, []).append(tensor)
            for level in strange:
                if tensor == name:
                    left[level].add(tensor)
                else:
                    bypass[name].setdefault(level, []).append(tensor)
    spans = {k.level: k.span for k in mapping.keep}
    found = tuple(Keep(level=n, tensors=tuple(held), span=spans.get(n)) for n, held in kept.items())
    return replace(
        mapping,
        einsums=tuple(_passing(how, bypass.get(how.einsum, {}), left) for how in mapping.einsums),
        keep=_holding(found, left),
        cases=tuple(replace(case, keep=_holding(case.keep, left)) for case in mapping.cases),
    )


def _holding(keep: tuple[Keep, ...], left: dict[str, set[str]]) -> tuple[Keep, ...]:
    return tuple(replace(k, tensors=_without(k.tensors, left.get(k.level, ()))) for k in keep)


def _without(tensors: Iterable[str], left: Iterable[str]) -> tuple[str, ...]:
    return tuple(tensor for tensor in tensors if tensor not in left)


def _passing(
    how: EinsumMapping, more: dict[str, list[str]], left: dict[str, set[str]]
) -> EinsumMapping:
    """The Einsum passing further registers by, and none that no longer hold anything."""
    pairs = (*how.bypass, *((level, tuple(tensors)) for level, tensors in more.items()))
    found = ((level, _without(tensors, left.get(level, ()))) for level, tensors in pairs)
    return replace(how, bypass=_merged(pair for pair in found if pair[1]))
