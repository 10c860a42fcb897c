"""Files of constraints on a mapspace (``map --fix FILE``, ``map --forbid FILE``).

Both options read the same statements. With ``--fix`` they must hold for a mapping, with
``--forbid`` they must not. Each name in a list is a separate statement. But names in the lists
``array`` and ``innermost`` are alternatives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt

from archsim.spec.arch import Architecture
from archsim.spec.files.fields import Name, Names, one_or_more
from archsim.spec.roles import array_in_role, memory_called, memory_in_role
from einsum_cascade.errors import Problem, SpecError, did_you_mean, raise_all
from einsum_cascade.ir import Program
from einsum_cascade.yaml.library import read_source
from einsum_cascade.yaml.schema import Fields, Rank, section, validate
from einsum_cascade.yaml.source import Path, YamlNode, read_yaml

from ..space.constraints import (
    Constraints,
    HasTiles,
    IsAlone,
    IsInnermost,
    IsKept,
    IsOutside,
    IsShared,
    LiesAlong,
    MappingConstraint,
    RunsOn,
    SizeRange,
    Statement,
)

KEY = "constraints"

_RANKS = "a rank that Einsums go over in"

Ranks = Annotated[tuple[Rank, ...], BeforeValidator(one_or_more)]


class SizeFields(Fields):
    """Size of a rank in coordinates: one number, or the smallest and the largest."""

    at_least: int = Field(default=1, ge=1)
    """Smallest number of coordinates."""
    at_most: int | None = Field(default=None, ge=1)
    """Largest number of coordinates; no limit if absent."""


def _exactly(value: Any) -> Any:
    """Return a single number as both the smallest and the largest size."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return {"at_least": value, "at_most": value} if number else value


Size = Annotated[
    SizeFields, BeforeValidator(_exactly, json_schema_input_type=PositiveInt | SizeFields)
]


def _each_of_any_size(value: Any) -> Any:
    """Return names without sizes as ranks of any size."""
    names = one_or_more(value)
    texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return {name: {} for name in names} if texts else value


RanksAlong = Annotated[
    dict[Rank, Size],
    BeforeValidator(
        _each_of_any_size, json_schema_input_type=Rank | tuple[Rank, ...] | dict[Rank, Size]
    ),
]


class EinsumConstraintFields(Fields):
    """Constraints on one Einsum."""

    array: Names = ()
    """Arrays on which the Einsum may run."""
    spatial: dict[Name, RanksAlong] = Field(default_factory=dict)
    """Ranks along each dimension of the Einsum's array, perhaps with their sizes."""
    innermost: Ranks = ()
    """Alternatives for the rank of the Einsum's innermost loop."""
    alone: bool | None = None
    """True if the Einsum stays outside of all shared loops."""


class ConstraintFields(Fields):
    """Section ``constraints`` of a file of constraints."""

    einsums: dict[str, EinsumConstraintFields] = Field(default_factory=dict)
    """Constraints on Einsums, by name."""
    shared: Ranks = ()
    """Ranks whose loops Einsums share."""
    order: dict[Name, Ranks] = Field(default_factory=dict)
    """Ranks of the shared loops at each memory, outermost first."""
    tiles: dict[Name, dict[Rank, Size]] = Field(default_factory=dict)
    """Sizes of ranks' tiles in each memory, in coordinates."""
    keep: dict[Name, Names] = Field(default_factory=dict)
    """Tensors kept at each level."""


@dataclass(frozen=True, slots=True)
class ConstraintFile:
    """Parsed file of constraints, whose names are not resolved yet."""

    fields: ConstraintFields
    root: YamlNode
    must: bool

    @classmethod
    def read(cls, name: str, *, must: bool) -> ConstraintFile:
        """Read a file of constraints.

        Parameters
        ----------
        must : bool
            True if its statements must hold, False if they must not.

        Raises
        ------
        SpecError
            The file cannot be read, or is not a file of constraints.
        """
        root = read_yaml(read_source(name))
        fields = validate(ConstraintFields, root, section(root, KEY))
        return cls(fields=fields, root=root, must=must)


def constraints_of(
    files: Iterable[ConstraintFile], program: Program, architecture: Architecture
) -> Constraints:
    """Return the constraints that files state, for the mappings of a cascade on a machine.

    Raises
    ------
    SpecError
        A file names something that the cascade or the machine lacks; suggests the nearest name.
    """
    found: list[MappingConstraint] = []
    wrong: list[Problem] = []
    for file in files:
        reader = _NamesOfFile(file, program, architecture)
        mine = [*reader.constraints()]
        if not mine and not reader.wrong:
            wrong.append(Problem("there is no constraint in this file", file.root.key_span((KEY,))))
        found += mine
        wrong += reader.wrong
    raise_all(wrong, SpecError)
    return Constraints(tuple(dict.fromkeys(found)))


class _NamesOfFile:
    """Resolver of the names in one file of constraints."""

    def __init__(self, file: ConstraintFile, program: Program, architecture: Architecture) -> None:
        self.fields, self.root, self.must = file.fields, file.root, file.must
        self.program = program
        self.architecture = architecture
        self.wrong: list[Problem] = []
        walked = dict.fromkeys(v.upper() for e in program.einsums for v in e.variables)
        self.ranks = (*dict.fromkeys((*program.parallel, *walked)),)
        self.memories = tuple(m.name for m in architecture.memories)
        self.arrays = tuple(a.name for a in architecture.arrays)

    def constraints(self) -> Iterator[MappingConstraint]:
        """Yield the constraints whose names exist; problems of all other constraints go to
        ``wrong``."""
        for name, fields in self.fields.einsums.items():
            path: Path = (KEY, "einsums", name)
            if self._knows(name, self.program.einsum_of, "an Einsum of", path, key=True):
                yield from self._einsum(name, fields, path)
        for place, rank in enumerate(self.fields.shared):
            here: Path = (KEY, "shared", place)
            if self._is_rank(rank, here):
                yield self._constraint(IsShared(rank), here)
        for name, ranks in self.fields.order.items():
            path = (KEY, "order", name)
            memory = memory_called(self.architecture, name)
            known = self._knows(memory, self.memories, "a memory of", path, key=True, machine=True)
            right = [self._is_rank(r, (*path, n)) for n, r in enumerate(ranks)]
            if known and all(right):
                yield from self._order(memory, ranks, path)
        for name, sizes in self.fields.tiles.items():
            yield from self._tiles(name, sizes)
        for name, tensors in self.fields.keep.items():
            yield from self._keep(name, tensors)

    def _order(
        self, memory: str, ranks: tuple[str, ...], path: Path
    ) -> Iterator[MappingConstraint]:
        """Yield the constraints that state or forbid one order of loops, pair by pair.

        For a required order, no pair of loops may be reversed. For a forbidden order, no pair may
        be in this order.
        """
        if len({*ranks}) < max(2, len(ranks)):
            text = "an order is of two ranks or more, each named once"
            self.wrong.append(Problem(text, self.root.key_span(path)))
            return
        for outer, inner in combinations(ranks, 2):
            pair = (inner, outer) if self.must else (outer, inner)
            here: Path = (*path, ranks.index(inner))
            yield self._constraint(IsOutside(memory, *pair), here, must=False)

    def _tiles(self, name: str, sizes: dict[str, SizeFields]) -> Iterator[MappingConstraint]:
        path: Path = (KEY, "tiles", name)
        memory = memory_called(self.architecture, name)
        known = self._knows(memory, self.memories, "a memory of", path, key=True, machine=True)
        if known and memory == self.memories[0]:
            text = f"{memory} is the outermost memory: it holds all of a rank, and not a tile"
            self.wrong.append(Problem(text, self.root.key_span(path)))
            return
        for rank, fields in sizes.items():
            here: Path = (*path, rank)
            size = self._size(fields, here)
            if self._knows(rank, self.ranks, _RANKS, here, key=True) and known and size:
                yield self._constraint(HasTiles(memory, rank, size), here)

    def _size(self, fields: SizeFields, path: Path) -> SizeRange | None:
        """Return a range of sizes, and record a problem if the range is empty."""
        if fields.at_most is not None and fields.at_most < fields.at_least:
            text = f"no size is at least {fields.at_least:,} and at most {fields.at_most:,}"
            self.wrong.append(Problem(text, self.root.span_of(path)))
            return None
        return SizeRange(fields.at_least, fields.at_most)

    def _keep(self, name: str, tensors: tuple[str, ...]) -> Iterator[MappingConstraint]:
        path: Path = (KEY, "keep", name)
        level = memory_in_role(self.architecture, name) or self._array(name)
        levels = (*self.memories, *self.arrays)
        known = self._knows(level, levels, "a memory or an array of", path, key=True, machine=True)
        for place, tensor in enumerate(tensors):
            here: Path = (*path, place)
            if self._knows(tensor, self.program.tensors, "a tensor of", here) and known:
                yield self._constraint(IsKept(tensor, level), here)

    def _einsum(
        self, e: str, fields: EinsumConstraintFields, path: Path
    ) -> Iterator[MappingConstraint]:
        if fields.array:
            arrays = tuple(self._array(name) for name in fields.array)
            right = [
                self._knows(a, self.arrays, "an array of", (*path, "array", n), machine=True)
                for n, a in enumerate(arrays)
            ]
            if all(right):
                yield self._constraint(RunsOn(e, arrays), (*path, "array"))
        dimensions = [d.name for a in self.architecture.arrays for d in a.dimensions]
        for dimension, ranks in fields.spatial.items():
            at: Path = (*path, "spatial", dimension)
            what = "a dimension of an array of"
            known = self._knows(dimension, dimensions, what, at, key=True, machine=True)
            listed = self.root.at((*at, 0)) is not None
            for place, (rank, asked) in enumerate(ranks.items()):
                here: Path = (*at, place if listed else rank)
                sized = bool(asked.model_fields_set)
                size = self._size(asked, here) if sized else None
                if self._is_rank(rank, here, e, key=True) and known and (size or not sized):
                    yield self._constraint(LiesAlong(e, dimension, rank, size), here)
        if fields.innermost:
            at = (*path, "innermost")
            right = [self._is_rank(r, (*at, n), e) for n, r in enumerate(fields.innermost)]
            if all(right):
                yield self._constraint(IsInnermost(e, fields.innermost), at)
        if fields.alone is not None:
            must = self.must is fields.alone
            yield self._constraint(IsAlone(e), (*path, "alone"), must=must)

    def _array(self, name: str) -> str:
        """Return the name of an array that is given by its name or its role."""
        array = array_in_role(self.architecture, name)
        return array.name if array is not None else name

    def _is_rank(self, rank: str, path: Path, einsum: str = "", *, key: bool = False) -> bool:
        """Return whether a rank exists in the cascade, or in one Einsum if it is given."""
        if not self._knows(rank, self.ranks, _RANKS, path, key=key):
            return False
        if not einsum:
            return True
        variables = self.program.einsum_of[einsum].variables
        mine = {*self.program.parallel, *(v.upper() for v in variables)}
        return self._knows(rank, mine, f"a rank that {einsum} goes over in", path, key=key)

    def _knows(
        self,
        name: str,
        known: Collection[str],
        what: str,
        path: Path,
        *,
        key: bool = False,
        machine: bool = False,
    ) -> bool:
        """Return whether a name is known, and record a problem if it is not."""
        if name in known:
            return True
        whose = self.architecture.name if machine else self.program.name
        span = self.root.key_span(path) if key else self.root.span_of(path)
        text = f"'{name}' is not {what} {whose}"
        self.wrong.append(Problem(text, span, did_you_mean(name, known)))
        return False

    def _constraint(
        self, statement: Statement, path: Path, *, must: bool | None = None
    ) -> MappingConstraint:
        """Return the constraint of a statement, which must hold or not as the file says."""
        must = self.must if must is None else must
        return MappingConstraint(statement=statement, must=must, span=self.root.span_of(path))
