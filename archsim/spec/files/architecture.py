"""Architecture files: memories, arrays, and the operations of an array's processing elements."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from einsum_cascade.errors import Problem, SpecError, did_you_mean, raise_all
from einsum_cascade.functions import OPERATION_KINDS
from einsum_cascade.number_formats import FORMATS
from einsum_cascade.yaml.edit import SettingSpan, changed, merged, without
from einsum_cascade.yaml.library import (
    EXTENDS,
    builtin_names,
    is_file_name,
    resolve_reference,
    spec_tree,
)
from einsum_cascade.yaml.schema import (
    Count,
    Fields,
    Format,
    Title,
    expected,
    parse_count,
    section,
    validate,
)
from einsum_cascade.yaml.source import FilePlace, YamlMapping, YamlNode, YamlScalar, YamlSequence

from ..arch import (
    OF_WORDS,
    Architecture,
    Dimension,
    Memory,
    Operation,
    Overlap,
    ProcessingArray,
    Registers,
    tree_problems,
)
from ..losses import Losses, Measurement
from ..technology import Technology
from .evidence import EvidenceFields, read_evidence
from .fields import (
    Bandwidth,
    Bits,
    Bytes,
    Frequency,
    Name,
    Names,
    Number,
    Seconds,
    SquareMicrometres,
    SustainedWatts,
    given_fields,
)
from .numbers import stated_numbers


class CostFields(Fields):
    """Fields for the cost of an operation."""

    cycles: Number
    """Cycles that the operation occupies an element."""
    bill: dict[str, Number]
    """Number of times each action of the technology is billed."""


class FormatFields(Fields):
    """Fields for the costs of an operation that is possible only in the named formats."""

    fp32: CostFields | None = None
    tf32: CostFields | None = None
    bf16: CostFields | None = None
    fp16: CostFields | None = None
    fp8_e4m3: CostFields | None = None
    fp8_e5m2: CostFields | None = None
    fp4_e2m1: CostFields | None = None
    int32: CostFields | None = None
    int16: CostFields | None = None
    int8: CostFields | None = None
    int4: CostFields | None = None
    mxfp8: CostFields | None = None
    mxfp6: CostFields | None = None
    mxfp4: CostFields | None = None
    nvfp4: CostFields | None = None


class OperationFields(CostFields, FormatFields):
    """Fields for the cost of an operation in any format, and for formats with their own cost."""


def _chosen(value: Any) -> FormatFields:
    named = isinstance(value, dict) and not FORMATS.keys().isdisjoint(value)
    plain = isinstance(value, dict) and not {"cycles", "bill"}.isdisjoint(value)
    model = FormatFields if named and not plain else OperationFields
    return model.model_validate(value)


AnyOperation = Annotated[
    OperationFields | FormatFields,
    PlainValidator(_chosen, json_schema_input_type=OperationFields | FormatFields),
]


OperationTable = dict[str, AnyOperation]
"""Operations by kind."""


def costs_of(fields: FormatFields) -> Iterator[tuple[str, CostFields]]:
    """Yield pairs of a format and the operation's cost in it; an empty name is any other format."""
    if isinstance(fields, OperationFields):
        yield "", fields
    for fmt in FORMATS:
        if (cost := getattr(fields, fmt, None)) is not None:
            yield fmt, cost


def operations(kind: str, fields: FormatFields, word_bits: int) -> list[Operation]:
    """Return an operation once for each format that a file names.

    If a file names only formats, the one as wide as the word also serves values of no stated
    format.
    """
    found = [
        Operation(kind=kind, cycles=cost.cycles, bill=tuple(cost.bill.items()), format=fmt)
        for fmt, cost in costs_of(fields)
    ]
    if not isinstance(fields, OperationFields):
        wide = [o for o in found if FORMATS[o.format].bits == word_bits]
        found += [replace(o, format=OF_WORDS) for o in wide[:1]]
    return found


KEY = "architecture"

TEXTS = ("title", "source")
"""Fields that only people read."""


def _latency(value: Any) -> int | str:
    """Parse a latency: a number of cycles, or a dimension's name for one hop per processing
    element."""
    if isinstance(value, str) and not value[:1].isdigit():
        return value
    return parse_count(value, minimum=0)


def _overlap(value: Any) -> Overlap:
    """Parse the overlap of fill and drain: all, none, or those of streaming operands."""
    if isinstance(value, bool):
        return value
    if value == "streams":
        return "streams"
    raise expected(f"expected true, false or streams, got {value!r}")


def _share(value: Fraction) -> Fraction:
    """Return a number if it is a share of a rate."""
    if not 0 < value <= 1:
        raise expected(f"expected a share above 0 and up to 1, got {float(value):g}")
    return value


_DEEPEST = 1024
"""Maximum depth of a write buffer in steps: the engine looks back no further."""


def _depth(value: Any) -> int:
    """Parse the depth of a write buffer in steps."""
    depth = parse_count(value)
    if depth > _DEEPEST:
        raise expected(f"expected at most {_DEEPEST:,} steps of results that wait, got {depth:,}")
    return depth


class _MemoryFields(Fields):
    name: Name
    """Name used in mappings and settings."""
    energy: str
    """Memory class of the technology that bills it."""
    line_bits: Bits = Field(alias="line")
    """Bits that one access moves."""
    capacity_bytes: Bytes | None = Field(default=None, alias="capacity")
    """Capacity; unlimited if left out, which an SRAM cannot be."""
    installed_bytes: Bytes | None = Field(default=None, alias="installed")
    """Size of an outermost memory, of which results tell whether a workload fits into it."""
    billed_bytes: Bytes | None = Field(default=None, alias="billed_capacity")
    """Capacity that energy and area are billed for, if it differs."""
    bandwidth_bytes_per_s: Bandwidth | None = Field(default=None, alias="bandwidth")
    """Bandwidth of reads and writes together; unlimited if left out."""
    write_buffer: Annotated[int, PlainValidator(_depth)] = 1
    """Steps whose results may wait while operands of later ones are read."""
    instances: dict[Name, Count] = Field(default_factory=dict)
    """Number of copies of everything inside the memory, by a name such as `cores`."""
    multicast: bool | None = None
    """True if a value that several cores read is read once for all; `false` if left out."""
    reduces: bool | None = None
    """True if partial sums of cores are added on their way; `false` if left out."""
    ring: bool | None = None
    """True if it stores nothing and stands for links between neighbouring cores in a ring, each
    with its bandwidth; `false` if left out."""
    inside: Name | None = None
    """Memory outside of this one, listed earlier; the previous one if left out."""


class _RegistersFields(Fields):
    depth: Count
    """Registers of each element, in words."""
    energy: str = "register_file"
    """Register class of the technology that bills them."""
    width_bits: Bits | None = Field(default=None, alias="width")
    """Width of a register in bits; the word if left out."""
    billed: Literal["all", "one"] = "all"
    """Registers that an access bills: those of all elements, or of one."""


class _ReductionFields(Fields):
    latency: Annotated[int | str, BeforeValidator(_latency)]
    """Cycles, or the name of a dimension: one hop an element along it."""


class _ArrayFields(Fields):
    name: Name
    """Name used in mappings and settings."""
    shape: Annotated[dict[Name, Count], Field(min_length=1)]
    """Elements along each dimension, by its name."""
    reads: Names = ()
    """Memories that hold operands, preferred ones first; the innermost memory if left out."""
    writes: Names = ()
    """Memories that receive results; those of `reads` if left out."""
    registers: _RegistersFields
    """Registers of each element."""
    operations: Annotated[OperationTable, Field(min_length=1)]
    """Operations of an element, by kind; `extends` names sets of operations to begin with."""
    wider: bool = False
    """True if an operation in a format that is not listed runs in the narrowest listed one that
    holds all of its values."""
    convert: dict[Format, Format] = Field(default_factory=dict)
    """Format in which the operations of another format may run."""
    reduction: dict[str, _ReductionFields] = Field(default_factory=dict)
    """Latency of a sum or maximum along a dimension."""
    units: tuple[str, ...] = ()
    """Units whose area every element carries; every action that it can bill if left out."""
    operands: Literal["broadcast", "systolic"] = "broadcast"
    """Delivery of operands: to all elements at once, or from one element to the next."""
    overlap: Annotated[bool | Literal["streams"] | None, PlainValidator(_overlap)] = None
    """Systolic operands: whether fill and drain hide behind other work. With `streams` only
    those of streaming operands do, and loads wait until the array is drained."""
    overhead_area_um2: SquareMicrometres = Field(default=0.0, alias="overhead_area")
    """Area of the array's network."""


class _MeasuredFields(Fields):
    source: Annotated[str, Field(min_length=1)]
    """Source of the number."""
    rows: Names = ()
    """Tables of measured rows to which the number was fitted."""


class _MeasuredShare(_MeasuredFields):
    value: Annotated[Number, AfterValidator(_share)]
    """Share, above 0 and up to 1."""


class _MeasuredTime(_MeasuredFields):
    value: Seconds
    """Seconds."""


class _MeasuredPower(_MeasuredFields):
    value: SustainedWatts
    """Watts."""


class _LossFields(Fields):
    launch: _MeasuredTime | None = None
    """Time to start a kernel, which runs one nest."""
    fill: _MeasuredTime | None = None
    """Time until an Einsum of a nest has values of the one before it."""
    exposed: _MeasuredShare | None = None
    """Share of the time of all arrays but the busiest that does not hide behind it."""
    sustained: dict[Name, _MeasuredShare] = Field(default_factory=dict)
    """Share of its rate that a memory or an array sustains."""
    power: dict[Name, _MeasuredPower] = Field(default_factory=dict)
    """Power drawn at any load, by what draws it: leakage, clock, network, memory interface."""


class _ArchitectureFields(Fields):
    extends: str | None = None
    """Machine from which this one takes what it does not state: a built-in, or a file."""
    name: Title
    """Name of the machine."""
    title: str = ""
    """Description in one line."""
    source: str = ""
    """Source of the numbers."""
    technology: str
    """A built-in technology, or a file."""
    mapping: str | None = None
    """Mapping that the machine was designed for; runs if no other is asked for."""
    clock: Frequency
    """Clock of all arrays."""
    word: Bits
    """Bits of an element of a tensor whose format is not stated."""
    tdp: SustainedWatts | None = None
    """Average power that the machine can sustain; unknown if left out."""
    measured: _LossFields | None = None
    """Losses of the built machine beside this design; as designed if left out."""
    as_built: Literal["inherited", "own"] = "inherited"
    """With `own`, losses that only the machine that this one extends states are left out."""
    memories: Annotated[tuple[_MemoryFields, ...], Field(min_length=1)]
    """Memories, outermost first."""
    operations: dict[Name, OperationTable] = Field(default_factory=dict)
    """Sets of operations by name, which arrays may extend."""
    arrays: Annotated[tuple[_ArrayFields, ...], Field(min_length=1)]
    """Arrays of processing elements."""
    evidence: EvidenceFields | None = None
    """Evidence for the numbers of this file, by paths of fields or sections; not stated if left
    out."""


FILE_FIELDS: type[Fields] = _ArchitectureFields
"""Fields of an architecture file, below the key that names its kind."""


def with_operation_sets(root: YamlNode) -> YamlNode:
    """Return the tree of a machine whose tables of operations contain the sets that they extend.

    Raises
    ------
    SpecError
        There is no such set, or it extends itself.
    """
    sets = root.at((KEY, "operations"))

    def complete(table: YamlNode) -> YamlNode:
        return _with_sets(table, sets, ())

    def of_array(array: YamlNode) -> YamlNode:
        return changed(array, complete, "operations")

    def of_machine(machine: YamlNode) -> YamlNode:
        named = changed(machine, lambda tables: changed(tables, complete), "operations")
        return changed(named, lambda arrays: changed(arrays, of_array), "arrays")

    return changed(root, of_machine, KEY)


def _with_sets(table: YamlNode, sets: YamlNode | None, within: tuple[YamlNode, ...]) -> YamlNode:
    """Return a table of operations with the sets that it extends; ``within`` are tables that
    extend it."""
    names = table.child(EXTENDS)
    if not isinstance(table, YamlMapping) or names is None:
        return table
    if isinstance(names.span, SettingSpan) and not isinstance(table.span, SettingSpan):
        text = "the table is complete, so that its own operations would win over those of a set"
        raise SpecError(text, names.span, "set the whole table: operations={extends: ...}")
    found: YamlNode = replace(table, entries=())
    for name in names.items if isinstance(names, YamlSequence) else (names,):
        if not isinstance(name, YamlScalar) or not isinstance(name.value, str):
            text = f"{EXTENDS}: expected the name of a set of operations, got {name.kind}"
            raise SpecError(text, name.span)
        base = _set_called(name, sets)
        if base.span in {other.span for other in (*within, table)}:
            raise SpecError(f"the set of operations '{name.text}' extends itself", name.span)
        found = merged(found, _with_sets(base, sets, (*within, table)))
    return merged(found, without(table, (EXTENDS,)))


def _set_called(name: YamlScalar, sets: YamlNode | None) -> YamlMapping:
    """Return the set of operations with a name: of the machine itself, built in, or in a file."""
    found = None if sets is None else sets.child(name.text)
    if found is None:
        own = sets.keys if isinstance(sets, YamlMapping) else ()
        known = (*own, *builtin_names("operations"))
        if not is_file_name(name.text) and name.text not in known:
            text = f"there is no set of operations '{name.text}'"
            raise SpecError(text, name.span, did_you_mean(name.text, known))
        root = spec_tree("operations", resolve_reference("operations", name.text, name.span))
        found = root.at(section(root, "operations"))
    if not isinstance(found, YamlMapping):
        what = "nothing" if found is None else found.kind
        raise SpecError(f"'{name.text}': expected operations by kind, got {what}", name.span)
    return without(found, TEXTS)


def check_architecture(root: YamlNode) -> _ArchitectureFields:
    """Check every field of an architecture file on its own, and return the fields.

    Parameters
    ----------
    root : YamlNode
        Tree of the file with settings applied; its spans locate problems.

    Raises
    ------
    SpecError
        A field is wrong; names every problem with its place.
    """
    return validate(_ArchitectureFields, root, section(root, KEY))


def build_architecture(
    spec: _ArchitectureFields, root: YamlNode, technology: Technology
) -> Architecture:
    """Build a machine from its checked fields and its technology.

    Parameters
    ----------
    spec : pydantic model
        Result of ``check_architecture``.
    root : YamlNode
        Tree of the file, for the places of problems.
    technology : Technology
        Technology that the fields name.

    Raises
    ------
    SpecError
        Names clash, or refer to parts that the machine, the technology or the project lacks.
    """
    place = FilePlace(root, (KEY,))
    memories = tuple(Memory(**given_fields(m)) for m in spec.memories)
    arrays = tuple(_array(a, spec.word) for a in spec.arrays)
    problems = [*_names(spec, place), *_memories(spec, place, technology)]
    problems = problems or [*_tree(spec, memories, arrays, place)]
    losses = _losses(spec, place.below("measured"))
    problems += _measured(spec, losses, place.below("measured"))
    # Arrays have the operations of the sets that they extend; a set by itself is no part.
    stated = ((n.field.split(".", 1)[1], n) for n in stated_numbers(spec, root, (KEY,)))
    numbers = {path: n for path, n in stated if not path.startswith("operations.")}
    evidence, wrong = read_evidence(spec.evidence, numbers, place.below("evidence"))
    problems += wrong
    for at, array in enumerate(spec.arrays):
        problems += _array_problems(array, place.below("arrays", at), technology)
    raise_all(problems, SpecError)
    return Architecture(
        name=spec.name,
        technology=technology,
        clock_hz=spec.clock,
        word_bits=spec.word,
        power_limit_w=spec.tdp,
        losses=losses,
        memories=tuple(
            replace(m, inside=None) if at and m.inside == memories[at - 1].name else m
            for at, m in enumerate(memories)
        ),
        arrays=arrays,
        mapping=None
        if spec.mapping is None
        else resolve_reference("mappings", spec.mapping, place.below("mapping").span),
        source=root.span.source.name,
        evidence=evidence,
    )


def _array(spec: _ArrayFields, word_bits: int) -> ProcessingArray:
    given = given_fields(spec)
    del given["shape"], given["reduction"]
    return ProcessingArray(
        **given
        | {
            "dimensions": tuple(_dimension(spec, name) for name in spec.shape),
            "registers": Registers(**given_fields(spec.registers)),
            "operations": tuple(
                operation
                for kind, costs in spec.operations.items()
                for operation in operations(kind, costs, word_bits)
            ),
        }
    )


def _dimension(spec: _ArrayFields, name: str) -> Dimension:
    found = spec.reduction.get(name)
    latency = 0 if found is None else found.latency
    axis = latency if isinstance(latency, str) else None
    cycles = spec.shape.get(latency, 0) if isinstance(latency, str) else latency
    return Dimension(
        name=name,
        size=spec.shape[name],
        reduction_latency_cycles=cycles,
        reduction_latency_axis=axis,
    )


def _losses(spec: _ArchitectureFields, place: FilePlace) -> Losses | None:
    """Return the losses that apply to a machine: its own, and those inherited of parts it has."""

    def known(given: _MeasuredShare | _MeasuredTime | _MeasuredPower, *path: str) -> Measurement:
        stated = place.below(*path).span
        own = isinstance(stated, SettingSpan) or stated.source == place.root.span.source
        origin = "" if own else PurePath(stated.source.name).stem
        fields = {"value": float(given.value), "inherited_from": origin}
        return Measurement(**given_fields(given) | fields)

    if spec.measured is None:
        return None
    fields: dict[str, Any] = given_fields(spec.measured)
    for name, given in fields.items():
        if isinstance(given, tuple):
            fields[name] = tuple((key, known(m, name, key)) for key, m in given)
        else:
            fields[name] = known(given, name)
    lacked = {f"sustained.{name}" for name in spec.measured.sustained.keys() - {*_rated(spec)}}

    def applies(path: str, loss: Measurement) -> bool:
        return not loss.inherited_from or (spec.as_built == "inherited" and path not in lacked)

    return Losses(**fields).where(applies)


def _rated(spec: _ArchitectureFields) -> list[str]:
    """Return the names of what sustains a share of a rate: memories with bandwidths, and arrays."""
    rated = [m.name for m in spec.memories if m.bandwidth_bytes_per_s is not None]
    return rated + [a.name for a in spec.arrays]


def _measured(
    spec: _ArchitectureFields, losses: Losses | None, place: FilePlace
) -> Iterator[Problem]:
    """Yield a problem for each sustained rate of something that has none, and for constant power
    at the limit."""
    if losses is None:
        return
    rated = _rated(spec)
    for name, _ in losses.sustained:
        if name not in rated:
            where = place.below("sustained", name)
            yield _unknown("memory with a bandwidth, nor an array", name, rated, where)
    constant_w = losses.constant_w
    if spec.tdp is not None and constant_w >= spec.tdp:
        text = f"{constant_w:g} W at any load leave nothing of the {spec.tdp:g} W of 'tdp'"
        yield place.below("power").problem(text)


def _names(spec: _ArchitectureFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each name used twice: mappings name memories and arrays as levels."""
    first: dict[str, str] = {}
    members = [("memories", at, m.name, "memory") for at, m in enumerate(spec.memories)]
    members += [("arrays", at, a.name, "array") for at, a in enumerate(spec.arrays)]
    for group, at, name, what in members:
        if name in first:
            text = f"another {first[name]} is called '{name}' already"
            yield place.below(group, at, "name").problem(text)
        first.setdefault(name, what)


def _tree(
    spec: _ArchitectureFields,
    memories: Sequence[Memory],
    arrays: Sequence[ProcessingArray],
    place: FilePlace,
) -> Iterator[Problem]:
    """Yield a problem if memories do not form a tree, or do not feed an array."""
    for at, memory in enumerate(spec.memories):
        if at and memory.inside is None and "inside" in memory.model_fields_set:
            text = f"'{memory.name}' is inside of nothing, and so is '{spec.memories[0].name}'"
            hint = "one memory is outside of all others, and is listed first"
            yield place.below("memories", at, "inside").problem(text, hint)
    for p in tree_problems(memories, arrays):
        here = place.below(p.group, p.at, p.field)
        yield Problem(p.text, here.key_span if p.field == "instances" else here.span, p.hint)


def _memories(
    spec: _ArchitectureFields, place: FilePlace, technology: Technology
) -> Iterator[Problem]:
    for at, memory in enumerate(spec.memories):
        here = place.below("memories", at)
        kinds = ("link",) if memory.ring else ("dram", "sram")
        yield from _class_problem(memory.energy, kinds, here.below("energy"), technology)
        kind = technology.memory(memory.energy)
        if kind and kind.kind == "sram" and memory.capacity_bytes is None:
            text = f"'{memory.name}' is billed as {memory.energy} and needs a 'capacity'"
            yield here.problem(text)
        if kind and kind.kind == "dram" and memory.billed_bytes is not None:
            text = f"'{memory.name}' is billed as {memory.energy}, which costs the same at any size"
            yield here.below("billed_capacity").key_problem(text, "leave it out")
        if memory.installed_bytes is not None and at:
            text = f"'{memory.name}' is not the outermost memory, whose size is 'installed'"
            yield here.below("installed").key_problem(text, "give its 'capacity'")
        if memory.ring:
            yield from _ring_of_links(memory, here)
        for key in ("multicast", "reduces", "ring"):
            if getattr(memory, key) is not None and not memory.instances:
                text = f"'{memory.name}' has no 'instances' to which '{key}' could apply"
                yield here.below(key).key_problem(text, "give 'instances: {cores: 4}'")
        if memory.capacity_bytes is not None and 8 * memory.capacity_bytes < memory.line_bits:
            text = f"'{memory.name}' does not hold one line of {memory.line_bits} bit"
            yield here.below("capacity").problem(text)


def _ring_of_links(memory: _MemoryFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each field that a ring of links lacks, or may not have."""
    if memory.bandwidth_bytes_per_s is None:
        text = f"'{memory.name}' is a ring of links and needs a 'bandwidth': that of each link"
        yield place.problem(text)
    for key in ("capacity", "installed", "billed_capacity", "write_buffer", "multicast", "reduces"):
        if place.root.at((*place.path, key)) is not None:
            text = f"'{memory.name}' is a ring of links, which hold nothing and have no '{key}'"
            yield place.below(key).key_problem(text, "leave it out")


def _array_problems(
    spec: _ArrayFields, place: FilePlace, technology: Technology
) -> Iterator[Problem]:
    where = place.below("registers", "energy")
    yield from _class_problem(spec.registers.energy, ("registers",), where, technology)
    for name, reduction in spec.reduction.items():
        here = place.below("reduction", name)
        if name not in spec.shape:
            yield _unknown("dimension", name, spec.shape, here)
        elif isinstance(reduction.latency, str) and reduction.latency not in spec.shape:
            yield _unknown("dimension", reduction.latency, spec.shape, here.below("latency"))
    if spec.overlap is not None and spec.operands != "systolic":
        text = f"operands of '{spec.name}' are {spec.operands}, which have nothing to overlap"
        yield place.below("overlap").key_problem(text, "it is for 'operands: systolic'")
    yield from _conversions(spec, place)
    known = [a.name for a in technology.actions]
    for at, unit in enumerate(spec.units):
        if unit not in known:
            yield _unknown("action", unit, known, place.below("units", at))
    for kind, operation in spec.operations.items():
        here = place.below("operations", kind)
        if kind not in OPERATION_KINDS:
            yield _unknown("kind of operation", kind, OPERATION_KINDS, here)
        for fmt, action in ((fmt, a) for fmt, cost in costs_of(operation) for a in cost.bill):
            there = here.below(*((fmt,) if fmt else ()), "bill", action)
            if action not in known:
                yield _unknown("action", action, known, there)
            elif spec.units and action not in spec.units:
                text = f"'{action}' is billed, but is not one of the array's units"
                yield there.key_problem(text, f"units: {', '.join(spec.units)}")


def _conversions(spec: _ArrayFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each conversion to a format in which the array has no operation."""
    named = dict.fromkeys(fmt for o in spec.operations.values() for fmt, _ in costs_of(o) if fmt)
    for given, done in spec.convert.items():
        if done not in named:
            text = f"'{spec.name}' does nothing in {done}, so that {given} cannot be done in it"
            hint = did_you_mean(done, named) if named else ""
            yield place.below("convert", given).problem(text, hint)
    if spec.wider and not named:
        text = f"the operations of '{spec.name}' name no formats, of which one could be wider"
        yield place.below("wider").key_problem(text, "leave it out: they do any format")


def _class_problem(
    name: str, kinds: tuple[str, ...], place: FilePlace, technology: Technology
) -> Iterator[Problem]:
    found = technology.memory(name)
    known = [m.name for m in technology.memories if m.kind in kinds]
    if found is None:
        yield _unknown(f"memory class in technology '{technology.name}'", name, known, place)
    elif found.kind not in kinds:
        text = f"'{name}' is of kind {found.kind}, expected {' or '.join(kinds)}"
        yield place.problem(text, did_you_mean(name, known))


def _unknown(what: str, name: str, known: Collection[str], place: FilePlace) -> Problem:
    at = place.root.at(place.path)
    is_value = isinstance(at, YamlScalar) and at.text == name
    article = "an" if what[0] in "aeiou" else "a"
    problem = place.problem if is_value else place.key_problem
    return problem(f"'{name}' is not {article} {what}", did_you_mean(name, known))
