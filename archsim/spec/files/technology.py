"""Technology files: what every action costs, how memories are billed, and where it is from."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.source import Span
from einsum_cascade.yaml.schema import Count, Fields, Title, section, validate
from einsum_cascade.yaml.source import Path, YamlNode

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
    """Of one action."""
    area: SquareMicrometres = 0.0
    """Of the circuit that does it."""
    leakage: Watts = 0.0
    """Of one circuit, whether it works or not."""
    source: Words
    """Where the numbers are from."""


class _AddressFields(Fields):
    energy: Picojoules
    """Of one address."""
    energy_per_bit: Picojoules
    """Of each bit of an address."""
    area_per_bit: SquareMicrometres
    """Of each bit of an address."""
    generators: Count = 1
    """How many there are."""

    def build(self) -> AddressAdder:
        return AddressAdder(
            energy_fixed_pj=self.energy,
            energy_per_bit_pj=self.energy_per_bit,
            area_per_bit_um2=self.area_per_bit,
            generators=self.generators,
        )


class _PointFields(Fields):
    rows: Count
    """Lines of the memory."""
    width: Bits
    """Bits of a line."""
    area: SquareMicrometres | None = None
    """Of the memory."""
    read: Picojoules | None = None
    """Energy of reading a line."""
    write: Picojoules | None = None
    """Energy of writing a line."""


class _MemoryClassFields(Fields):
    kind: Literal["dram", "sram", "registers", "link"]
    """What it is made of, which says which of the other fields it has."""
    source: Words
    """Where the numbers are from."""
    energy: PicojoulesPerBit | None = None
    """Of DRAM and links, for each bit moved."""
    idle: Watts | None = None
    """Of all of a DRAM, whether it works or not."""
    leakage: WattsPerBit | None = None
    """Of each bit of SRAM or registers, whether it works or not."""
    points: Annotated[tuple[_PointFields, ...] | None, Field(min_length=1)] = None
    """Of SRAM: sizes whose energy and area are known."""
    address: _AddressFields | None = None
    """What makes its addresses."""
    read_per_bit: PicojoulesPerBit | None = None
    """Of registers."""
    write_per_bit: PicojoulesPerBit | None = None
    """Of registers."""
    access_per_entry: Picojoules | None = None
    """Of registers: what an access costs for each entry."""
    area_per_bit: SquareMicrometres | None = None
    """Of registers."""
    area_per_entry: SquareMicrometres | None = None
    """Of registers."""
    least_depth: Count | None = None
    """Smaller ones are billed as this deep."""
    least_width: Bits | None = None
    """Narrower ones are billed as this wide."""


class _TechnologyFields(Fields):
    name: Title
    """What it is called."""
    title: Words = ""
    """What it is, in a line."""
    source: Words = ""
    """Where its numbers are from."""
    node: Nanometres
    """That the numbers are of; nothing scales them."""
    words: tuple[Bits, ...] = ()
    """Widths of words that the actions are of."""
    actions: dict[Name, _ActionFields]
    """By name, what arrays bill."""
    memories: dict[Name, _MemoryClassFields]
    """By name, classes of memories and registers."""


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
"""What such a file holds below its key."""


def build_technology(root: YamlNode) -> Technology:
    """The technology of a file's tree.

    Parameters
    ----------
    root : YamlNode
        The tree of the file, settings made; its spans say where a problem is.

    Raises
    ------
    SpecError
        The tree does not describe one; every problem with its place.
    """
    path = section(root, KEY)
    spec = validate(_TechnologyFields, root, path)
    problems = [
        problem
        for name, memory in spec.memories.items()
        for problem in _misfits(memory, root, (*path, "memories", name))
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
        adder=spec.address.build() if spec.address else None,
        least_depth=spec.least_depth or 1,
        least_width_bits=spec.least_width or 1,
        read_per_bit_pj=spec.read_per_bit or 0.0,
        write_per_bit_pj=spec.write_per_bit or 0.0,
        access_per_entry_pj=spec.access_per_entry or 0.0,
        area_per_bit_um2=spec.area_per_bit or 0.0,
        area_per_entry_um2=spec.area_per_entry or 0.0,
    )


def _misfits(spec: _MemoryClassFields, root: YamlNode, path: Path) -> list[Problem]:
    """Fields that the kind of memory needs, or has no use for."""
    needs, may = _NEEDS[spec.kind], _MAY[spec.kind]
    span = root.key_span(path)
    found = [
        Problem(f"'{path[-1]}' is of kind {spec.kind} and needs the field '{field}'", span)
        for field in needs
        if getattr(spec, field) is None
    ]
    found += [
        Problem(
            f"a memory of kind {spec.kind} has no '{field}'",
            root.key_span((*path, field)),
            f"its fields are {', '.join((*_ALWAYS, *needs, *may))}",
        )
        for field in type(spec).model_fields
        if getattr(spec, field) is not None and field not in (*_ALWAYS, *needs, *may)
    ]
    return [*found, *_points(spec.points, root, (*path, "points"), span)]


def _points(
    points: tuple[_PointFields, ...] | None, root: YamlNode, path: Path, span: Span
) -> list[Problem]:
    if points is None:
        return []
    found: list[Problem] = []
    seen: set[tuple[int, int]] = set()
    for at, point in enumerate(points):
        here = root.span_of((*path, at))
        if (point.rows, point.width) in seen:
            text = f"the point of {point.rows} rows of {point.width} bit is given twice"
            found.append(Problem(text, here))
        seen.add((point.rows, point.width))
        if point.area is None and point.read is None:
            found.append(
                Problem("a point has an 'area', or 'read' and 'write', or all three", here)
            )
        if point.area is not None and point.area <= 0:
            found.append(Problem("a compiled memory has an area above zero", here))
        if (point.read is None) != (point.write is None):
            found.append(Problem("a point has both 'read' and 'write', or neither", here))
    if all(p.read is None for p in points):
        found.append(Problem("at least one point needs 'read' and 'write'", span))
    if all(p.area is None for p in points):
        found.append(Problem("at least one point needs an 'area'", span))
    return found
