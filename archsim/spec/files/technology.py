"""Technology files: energy and area of actions, billing of memories, and sources."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from einsum_cascade.errors import Problem, SpecError, raise_all
from einsum_cascade.yaml.schema import Count, Fields, Title, section, validate
from einsum_cascade.yaml.source import FilePlace, YamlNode

from ..technology import Action, AddressAdder, MemoryClass, SramPoint, Technology
from .fields import (
    Bits,
    Name,
    Nanometres,
    Picojoules,
    PicojoulesPerBit,
    SquareMicrometres,
    Watts,
    WattsPerBit,
    given_fields,
)

KEY = "technology"


class _ActionFields(Fields):
    energy_pj: Picojoules = Field(alias="energy")
    """Energy of one action."""
    area_um2: SquareMicrometres = Field(default=0.0, alias="area")
    """Area of the circuit that does it."""
    leakage_w: Watts = Field(default=0.0, alias="leakage")
    """Leakage of one circuit, idle or not."""
    source: str
    """Source of the numbers."""


class _AddressFields(Fields):
    energy_fixed_pj: Picojoules = Field(alias="energy")
    """Energy of one address."""
    energy_per_bit_pj: Picojoules = Field(alias="energy_per_bit")
    """Energy of each bit of an address."""
    area_per_bit_um2: SquareMicrometres = Field(alias="area_per_bit")
    """Area for each bit of an address."""
    generators: Count = 1
    """Number of generators."""


class _PointFields(Fields):
    rows: Count
    """Lines of the memory."""
    width_bits: Bits = Field(alias="width")
    """Bits of a line."""
    area_um2: SquareMicrometres | None = Field(default=None, alias="area")
    """Area of the memory."""
    read_pj: Picojoules | None = Field(default=None, alias="read")
    """Energy of reading a line."""
    write_pj: Picojoules | None = Field(default=None, alias="write")
    """Energy of writing a line."""


class _MemoryClassFields(Fields):
    kind: Literal["dram", "sram", "registers", "link"]
    """Kind of memory; decides which other fields the class has."""
    source: str
    """Source of the numbers."""
    energy_per_bit_pj: PicojoulesPerBit | None = Field(default=None, alias="energy")
    """DRAM and links: energy of each bit moved."""
    idle_w: Watts | None = Field(default=None, alias="idle")
    """DRAM: power of the whole memory, idle or not."""
    leakage_w_per_bit: WattsPerBit | None = Field(default=None, alias="leakage")
    """SRAM and registers: leakage of each bit, idle or not."""
    points: Annotated[tuple[_PointFields, ...] | None, Field(min_length=1)] = None
    """SRAM: sizes with known energy and area."""
    adder: _AddressFields | None = Field(default=None, alias="address")
    """Generator of the addresses."""
    read_per_bit_pj: PicojoulesPerBit | None = Field(default=None, alias="read_per_bit")
    """Registers: energy of reading, per bit of width."""
    write_per_bit_pj: PicojoulesPerBit | None = Field(default=None, alias="write_per_bit")
    """Registers: energy of writing, per bit of width."""
    access_per_entry_pj: Picojoules | None = Field(default=None, alias="access_per_entry")
    """Registers: energy of an access, per entry of depth."""
    area_per_bit_um2: SquareMicrometres | None = Field(default=None, alias="area_per_bit")
    """Registers: area of one bit of one entry."""
    area_per_entry_um2: SquareMicrometres | None = Field(default=None, alias="area_per_entry")
    """Registers: area of one entry."""
    least_depth: Count | None = None
    """Depth that smaller register files are billed for."""
    least_width_bits: Bits | None = Field(default=None, alias="least_width")
    """Width that narrower register files are billed for."""


class _TechnologyFields(Fields):
    name: Title
    """Name of the technology."""
    title: str = ""
    """Description in one line."""
    source: str = ""
    """Source of the numbers."""
    node: Nanometres
    """Process node of the numbers; nothing scales them."""
    words: tuple[Bits, ...] = ()
    """Widths of the words that the actions are meant for."""
    actions: dict[Name, _ActionFields]
    """Actions that arrays bill, by name."""
    memories: dict[Name, _MemoryClassFields]
    """Classes of memories and registers, by name."""


_ALWAYS = ("kind", "source")
_FIELDS = MappingProxyType(
    {
        "dram": (("energy",), ("idle",)),
        "sram": (("points",), ("address", "leakage")),
        "registers": (
            ("read_per_bit", "write_per_bit", "access_per_entry", "area_per_bit", "area_per_entry"),
            ("address", "least_depth", "least_width", "leakage"),
        ),
        "link": (("energy",), ()),
    }
)
"""Fields that each kind of memory needs, and further fields that it may have."""


FILE_FIELDS: type[Fields] = _TechnologyFields
"""Fields of a technology file, below the key that names its kind."""


def build_technology(root: YamlNode) -> Technology:
    """Build a technology from the tree of its file.

    Parameters
    ----------
    root : YamlNode
        Tree of the file with settings applied; its spans locate problems.

    Raises
    ------
    SpecError
        The tree does not describe a technology; names every problem with its place.
    """
    place = FilePlace(root, section(root, KEY))
    spec = validate(_TechnologyFields, root, place.path)
    problems = [
        problem
        for name, memory in spec.memories.items()
        for problem in _misfits(memory, place.below("memories", name))
    ]
    raise_all(problems, SpecError)
    return Technology(
        name=spec.name,
        node_nm=spec.node,
        words_bits=spec.words,
        actions=tuple(Action(name=n, **given_fields(a)) for n, a in spec.actions.items()),
        memories=tuple(_memory(n, m) for n, m in spec.memories.items()),
        source=root.span.source.name,
    )


def _memory(name: str, spec: _MemoryClassFields) -> MemoryClass:
    given = given_fields(spec)
    if spec.points is not None:
        given["points"] = tuple(SramPoint(**given_fields(point)) for point in spec.points)
    if spec.adder is not None:
        given["adder"] = AddressAdder(**given_fields(spec.adder))
    return MemoryClass(name=name, **given)


def _misfits(spec: _MemoryClassFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each field that a kind of memory lacks, or may not have."""
    needed, possible = _FIELDS[spec.kind]
    known = (*_ALWAYS, *needed, *possible)
    values = {f.alias or name: getattr(spec, name) for name, f in type(spec).model_fields.items()}
    for field in needed:
        if values[field] is None:
            text = f"'{place.path[-1]}' is of kind {spec.kind} and needs the field '{field}'"
            yield place.key_problem(text)
    for field, value in values.items():
        if value is not None and field not in known:
            text = f"a memory of kind {spec.kind} has no '{field}'"
            yield place.below(field).key_problem(text, f"its fields are {', '.join(known)}")
    yield from _point_problems(spec.points or (), place)


def _point_problems(points: tuple[_PointFields, ...], place: FilePlace) -> Iterator[Problem]:
    seen: set[tuple[int, int]] = set()
    for at, point in enumerate(points):
        here = place.below("points", at)
        if (point.rows, point.width_bits) in seen:
            text = f"the point of {point.rows} rows of {point.width_bits} bit is given twice"
            yield here.problem(text)
        seen.add((point.rows, point.width_bits))
        if point.area_um2 is None and point.read_pj is None:
            yield here.problem("a point has an 'area', or 'read' and 'write', or all three")
        if point.area_um2 is not None and point.area_um2 <= 0:
            yield here.problem("a compiled memory has an area above zero")
        if (point.read_pj is None) != (point.write_pj is None):
            yield here.problem("a point has both 'read' and 'write', or neither")
    if points and all(p.read_pj is None for p in points):
        yield place.key_problem("at least one point needs 'read' and 'write'")
    if points and all(p.area_um2 is None for p in points):
        yield place.key_problem("at least one point needs an 'area'")
