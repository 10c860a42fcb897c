"""Technology files: energy and area of actions, billing of memories, and sources."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from einsum_cascade.errors import Problem, SpecError
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
    Words,
)

KEY = "technology"


class _ActionFields(Fields):
    energy: Picojoules
    """Energy of one action."""
    area: SquareMicrometres = 0.0
    """Area of the circuit that does it."""
    leakage: Watts = 0.0
    """Leakage of one circuit, idle or not."""
    source: Words
    """Source of the numbers."""


class _AddressFields(Fields):
    energy: Picojoules
    """Energy of one address."""
    energy_per_bit: Picojoules
    """Energy of each bit of an address."""
    area_per_bit: SquareMicrometres
    """Area for each bit of an address."""
    generators: Count = 1
    """Number of generators."""


class _PointFields(Fields):
    rows: Count
    """Lines of the memory."""
    width: Bits
    """Bits of a line."""
    area: SquareMicrometres | None = None
    """Area of the memory."""
    read: Picojoules | None = None
    """Energy of reading a line."""
    write: Picojoules | None = None
    """Energy of writing a line."""


class _MemoryClassFields(Fields):
    kind: Literal["dram", "sram", "registers", "link"]
    """Kind of memory; decides which other fields the class has."""
    source: Words
    """Source of the numbers."""
    energy: PicojoulesPerBit | None = None
    """DRAM and links: energy of each bit moved."""
    idle: Watts | None = None
    """DRAM: power of the whole memory, idle or not."""
    leakage: WattsPerBit | None = None
    """SRAM and registers: leakage of each bit, idle or not."""
    points: Annotated[tuple[_PointFields, ...] | None, Field(min_length=1)] = None
    """SRAM: sizes with known energy and area."""
    address: _AddressFields | None = None
    """Generator of the addresses."""
    read_per_bit: PicojoulesPerBit | None = None
    """Registers: energy of reading, per bit of width."""
    write_per_bit: PicojoulesPerBit | None = None
    """Registers: energy of writing, per bit of width."""
    access_per_entry: Picojoules | None = None
    """Registers: energy of an access, per entry of depth."""
    area_per_bit: SquareMicrometres | None = None
    """Registers: area of one bit of one entry."""
    area_per_entry: SquareMicrometres | None = None
    """Registers: area of one entry."""
    least_depth: Count | None = None
    """Depth that smaller register files are billed for."""
    least_width: Bits | None = None
    """Width that narrower register files are billed for."""


class _TechnologyFields(Fields):
    name: Title
    """Name of the technology."""
    title: Words = ""
    """Description in one line."""
    source: Words = ""
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
_NEEDS = MappingProxyType(
    {
        "dram": ("energy",),
        "sram": ("points",),
        "registers": (
            *("read_per_bit", "write_per_bit", "access_per_entry"),
            *("area_per_bit", "area_per_entry"),
        ),
        "link": ("energy",),
    }
)
_MAY = MappingProxyType(
    {
        "dram": ("idle",),
        "sram": ("address", "leakage"),
        "registers": ("address", "least_depth", "least_width", "leakage"),
        "link": (),
    }
)


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
    if problems:
        raise SpecError(problems)
    return Technology(
        name=spec.name,
        node_nm=spec.node,
        words_bits=spec.words,
        actions=tuple(
            Action(
                name=n, energy_pj=a.energy, area_um2=a.area, source=a.source, leakage_w=a.leakage
            )
            for n, a in spec.actions.items()
        ),
        memories=tuple(_memory(n, m) for n, m in spec.memories.items()),
        source=root.span.source.name,
    )


def _memory(name: str, spec: _MemoryClassFields) -> MemoryClass:
    return MemoryClass(
        name=name,
        kind=spec.kind,
        source=spec.source,
        energy_per_bit_pj=spec.energy or 0.0,
        idle_w=spec.idle or 0.0,
        leakage_w_per_bit=spec.leakage or 0.0,
        points=tuple(
            SramPoint(
                rows=p.rows,
                width_bits=p.width,
                area_um2=p.area,
                read_pj=p.read,
                write_pj=p.write,
            )
            for p in spec.points or ()
        ),
        adder=None
        if (address := spec.address) is None
        else AddressAdder(
            energy_fixed_pj=address.energy,
            energy_per_bit_pj=address.energy_per_bit,
            area_per_bit_um2=address.area_per_bit,
            generators=address.generators,
        ),
        least_depth=spec.least_depth or 1,
        least_width_bits=spec.least_width or 1,
        read_per_bit_pj=spec.read_per_bit or 0.0,
        write_per_bit_pj=spec.write_per_bit or 0.0,
        access_per_entry_pj=spec.access_per_entry or 0.0,
        area_per_bit_um2=spec.area_per_bit or 0.0,
        area_per_entry_um2=spec.area_per_entry or 0.0,
    )


def _misfits(spec: _MemoryClassFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each field that a kind of memory lacks, or may not have."""
    known = (*_ALWAYS, *_NEEDS[spec.kind], *_MAY[spec.kind])
    for field in _NEEDS[spec.kind]:
        if getattr(spec, field) is None:
            text = f"'{place.path[-1]}' is of kind {spec.kind} and needs the field '{field}'"
            yield place.key_problem(text)
    for field in type(spec).model_fields:
        if getattr(spec, field) is not None and field not in known:
            text = f"a memory of kind {spec.kind} has no '{field}'"
            yield place.below(field).key_problem(text, f"its fields are {', '.join(known)}")
    yield from _point_problems(spec.points or (), place)


def _point_problems(points: tuple[_PointFields, ...], place: FilePlace) -> Iterator[Problem]:
    seen: set[tuple[int, int]] = set()
    for at, point in enumerate(points):
        here = place.below("points", at)
        if (point.rows, point.width) in seen:
            text = f"the point of {point.rows} rows of {point.width} bit is given twice"
            yield here.problem(text)
        seen.add((point.rows, point.width))
        if point.area is None and point.read is None:
            yield here.problem("a point has an 'area', or 'read' and 'write', or all three")
        if point.area is not None and point.area <= 0:
            yield here.problem("a compiled memory has an area above zero")
        if (point.read is None) != (point.write is None):
            yield here.problem("a point has both 'read' and 'write', or neither")
    if points and all(p.read is None for p in points):
        yield place.key_problem("at least one point needs 'read' and 'write'")
    if points and all(p.area is None for p in points):
        yield place.key_problem("at least one point needs an 'area'")
