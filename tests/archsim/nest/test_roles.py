"""Mappings written for roles: the same numbers whatever a machine calls its parts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import pytest
from evaluated import evaluate_mapping
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import small
from portions import examples, left, some

from archsim import Architecture, Mapping, Result
from archsim.legality.binding import bind
from archsim.nest.roles import resolve_roles
from archsim.spec.arch import Dimension, Memory, ProcessingArray
from archsim.spec.files.mapping import build_mapping
from archsim.spec.index import builtin_mappings
from archsim.spec.roles import array_in_role, axis_in_role, memory_in_role
from archsim.validation.mapped import mapped_run, mapped_shapes
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, MappingError
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import builtin_source
from einsum_cascade.yaml.source import read_yaml
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference

FUSEMAX = Architecture.load("fusemax")
RENAMED = {
    "array_2d": "mxu",
    "array_1d": "vpu",
    "DRAM": "hbm",
    "global_buffer": "unified_buffer",
    "columns": "x",
    "rows": "y",
    "lanes": "z",
}
MAPPINGS = tuple(entry.name for entry in builtin_mappings() if not entry.machine)
MORE = {
    "depthwise-convolution": {"P": 301, "T": 3, "M": 303, "C": 300, "B": 2},
    "paged-decode": {"B": 2, "G": 2, "S": 2, "E": 64, "F": 64, "M1": 3, "N": 4, "T": 8, "C": 30},
}
"""Shapes that do not follow from tiles."""
HEADS = {"S": 2}
"""Heads of a group: how many groups there are follows."""


def test_nothing_but_a_mapping_file_or_a_machine_names_parts() -> None:
    """The built-in mappings name roles alone: they are for any machine."""
    for name in MAPPINGS:
        mapping = Mapping.load(name)
        assert not set(re.findall(r"\w+", str(replace(mapping, source="")))) & RENAMED.keys() - {
            "columns",
            "rows",
            "lanes",
        }


def renamed(machine: Architecture) -> Architecture:
    """A copy whose parts, and their axes, are called otherwise."""
    return replace(
        machine,
        memories=tuple(replace(m, name=RENAMED[m.name]) for m in machine.memories),
        arrays=tuple(
            replace(a, name=RENAMED[a.name], dimensions=tuple(map(_renamed, a.dimensions)))
            for a in machine.arrays
        ),
    )


def _renamed(axis: Dimension) -> Dimension:
    late = axis.reduction_latency_axis
    return replace(axis, name=RENAMED[axis.name], reduction_latency_axis=late and RENAMED[late])


@cache
def run(mapping: str, machine: Architecture = FUSEMAX) -> Result:
    how = Mapping.load(mapping)
    cascade = Cascade.load(how.cascade)
    shapes = MORE.get(mapping) or mapped_shapes(cascade, how, FUSEMAX)
    settable = (*cascade.program.parallel, *(r.name for r in cascade.program.ranks))
    shapes |= {rank: n for rank, n in HEADS.items() if rank in settable and rank not in shapes}
    return evaluate_mapping(cascade.program, how, machine, shapes, choose=GENERATORS.choose)


def told(result: Result) -> str:
    """All numbers of a result, its parts called as fusemax calls them."""
    text = json.dumps(result.to_dict(), default=str)
    for name, other in RENAMED.items():
        text = re.sub(rf"\b{other}\b", name, text)
    return text


@pytest.mark.parametrize("mapping", some(MAPPINGS, 7))
def test_the_same_numbers_whatever_the_parts_are_called(mapping: str) -> None:
    assert told(run(mapping, renamed(FUSEMAX))) == told(run(mapping))


@pytest.mark.parametrize("mapping", some(MAPPINGS, 8, 4))
def test_a_memory_more_on_the_way_changes_nothing_but_what_it_costs(mapping: str) -> None:
    """Between the two memories lies a third, which no built-in mapping uses."""
    outer, nearest = FUSEMAX.memories
    between = Memory(name="l2", energy="sram", line_bits=512, capacity_bytes=1 << 26)
    machine = replace(FUSEMAX, memories=(outer, between, nearest))
    found, plain = run(mapping, machine), run(mapping)
    assert (found.cycles, found.schedule) == (plain.cycles, plain.schedule)
    assert [t for t in found.traffic if t.level != "l2"] == [*plain.traffic]
    assert not any(t.total_bytes for t in found.traffic if t.level == "l2")
    assert "l2" not in dict(found.energy_by_component)


def without(machine: Architecture, array: str, kinds: frozenset[str]) -> Architecture:
    """A machine with an array that cannot do some operations."""
    arrays = tuple(
        replace(a, operations=tuple(o for o in a.operations if o.kind not in kinds))
        if a.name == array
        else a
        for a in machine.arrays
    )
    return replace(machine, arrays=arrays)


def agrees(mapping: str, machine: Architecture) -> None:
    """The mapped nest, run on numbers, gives what an independent reference gives."""
    how = Mapping.load(mapping)
    cascade = Cascade.load(how.cascade)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=mapped_shapes(cascade, how, machine),
        trials=1,
        run=mapped_run(cascade, how, machine, GENERATORS),
    )
    assert report.ok, report
    assert report.independent


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(
    mapping=st.sampled_from(("fusemax-binding", "fusemax-causal", "flat", "retnet-chunked")),
    array=st.sampled_from(("array_2d", "array_1d")),
    lacking=st.sets(st.sampled_from(("max", "min", "exp", "div", "add", "sub")), min_size=1),
)
def test_an_operation_that_an_array_lacks_goes_to_one_that_has_it(
    mapping: str, array: str, lacking: set[str]
) -> None:
    machine = without(small((4, 4), 4), array, frozenset(lacking))
    agrees(mapping, machine)


def test_whoever_moves_says_so_and_keeps_nothing_in_the_other_arrays_registers() -> None:
    how = Mapping.load("fusemax-binding")
    program = Cascade.load(how.cascade).program
    machine = without(FUSEMAX, "array_2d", frozenset({"max", "min", "exp"}))
    found = resolve_roles(program, how, machine)
    assert found.moved == (
        "LM runs on array_1d: array_2d cannot do max",
        "SLN runs on array_1d: array_2d cannot do exp",
    )
    assert {*found.moved} < {*run("fusemax-binding", machine).notes}
    kept = {k.level: k.tensors for k in found.keep}
    # As fusemax-cascade has it, which runs both there: through the buffer.
    assert {"BQK", "SLN"} < {*kept["global_buffer"]}
    assert (kept["array_2d"], "SLN" in kept["array_1d"]) == (("BQK",), False)
    moved = found.einsum("SLN")
    assert moved is not None
    assert moved.spatial == (("lanes", ("P0",)), ("", ("M0",)))
    assert moved.bypass == (("array_2d", ("BQK",)),)
    assert not resolve_roles(program, how, FUSEMAX).moved


def test_an_operation_that_no_array_has_is_refused_by_name() -> None:
    machine = without(FUSEMAX, "array_2d", frozenset({"exp"}))
    machine = without(machine, "array_1d", frozenset({"exp"}))
    with pytest.raises(MappingError, match="array_2d cannot do 'exp', which SLN needs"):
        run("fusemax-binding", machine)


def _of_one(array: ProcessingArray) -> Architecture:
    return replace(small((4, 4), 4), arrays=(array,))


@pytest.mark.parametrize(
    "mapping", ["fusemax-binding", left("unfused"), left("retnet-chunked"), "mamba-s6"]
)
@pytest.mark.parametrize("number", [0, 1])
def test_one_array_plays_both_parts(mapping: str, number: int) -> None:
    """A matrix array leaves its rows idle as a vector; a vector array has one row."""
    agrees(mapping, _of_one(small((4, 4), 4).arrays[number]))


def test_one_memory_plays_both_parts() -> None:
    machine = replace(small((4, 4), 4), memories=FUSEMAX.memories[:1])
    agrees("fusemax-binding", machine)
    agrees("unfused", machine)


def test_names_come_before_roles() -> None:
    """An array that is called vector is meant by it, and so is a memory called nearest."""
    matrix, vector = FUSEMAX.arrays
    swapped = (replace(matrix, name="vector"), replace(vector, name="matrix"))
    machine = replace(
        FUSEMAX,
        arrays=swapped,
        memories=tuple(
            replace(m, name=n) for m, n in zip(FUSEMAX.memories, ("nearest", "x"), strict=True)
        ),
    )
    assert array_in_role(machine, "vector") is None
    assert memory_in_role(machine, "nearest") is None
    assert memory_in_role(machine, "outer") == "nearest"


def test_what_is_a_matrix_array_and_what_are_its_rows() -> None:
    matrix, vector = FUSEMAX.arrays
    # By order where both are of a sort, by what it can do where it has two axes.
    adder = replace(matrix, name="adder", operations=())
    machine = replace(FUSEMAX, arrays=(adder, vector, matrix, replace(matrix, name="second")))
    found = [array_in_role(machine, role) for role in ("matrix", "vector")]
    assert [a and a.name for a in found] == ["array_2d", "adder"]
    turned = replace(matrix, dimensions=matrix.dimensions[::-1])
    assert axis_in_role(turned, "matrix", "columns") == "columns"
    rows, columns = matrix.dimensions[1], replace(matrix.dimensions[0], name="depth")
    half = replace(matrix, dimensions=(rows, columns))
    assert axis_in_role(half, "matrix", "columns") == "depth"
    assert axis_in_role(matrix, "matrix", "layers") == "layers"


def test_a_mapping_of_names_stays_and_is_refused_where_they_are_not() -> None:
    """Who writes names means these parts: nothing goes to another array."""
    text = """
    mapping:
      name: by-name
      cascade: linear-layer
      partition: {J: {J0: array_2d.columns}, N: {N0: array_2d.rows}}
      einsums:
        Z:
          array: array_2d
          spatial: {rows: N0, columns: J0}
          loops: {DRAM: [N1, J1], global_buffer: D}
      keep: {DRAM: [X, W, Z], global_buffer: [X, W]}
    """
    how = build_mapping(read_yaml(Source("by-name.yaml", text)))
    program = Cascade.load(how.cascade).program
    shapes = {"N": 4, "D": 4, "J": 4}
    assert resolve_roles(program, how, FUSEMAX) is how
    assert bind(program, how, FUSEMAX, shapes).by_name["Z"].array.name == "array_2d"
    with pytest.raises(InputError, match="no array is called 'array_2d'"):
        bind(program, how, renamed(FUSEMAX), shapes)
    lacking = without(FUSEMAX, "array_2d", frozenset({"mac"}))
    with pytest.raises(MappingError, match="array_2d cannot do 'mac', which Z needs"):
        bind(program, how, lacking, shapes)


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("array: vector", "array: vectr", "vector"),
        ("level: nearest", "level: neerest", "nearest"),
        ("min(matrix.columns", "min(matrx.columns", "matrix"),
        ("    matrix: [BQK", "    matriks: [BQK", "matrix"),
        ("bypass: {matrix", "bypass: {matix", "matrix"),
    ],
)
def test_a_role_that_is_misspelt_is_told(old: str, new: str, meant: str) -> None:
    text = builtin_source("mappings", "fusemax-cascade").text
    assert old in text
    how = build_mapping(read_yaml(Source("x.yaml", text.replace(old, new))))
    program = Cascade.load(how.cascade).program
    with pytest.raises(InputError) as no:
        bind(program, how, FUSEMAX, {"B": 1, "H": 1, "E": 4, "F": 4, "P": 4, "M": 4})
    assert f"did you mean '{meant}'?" in str(no.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("keep.array_1d=[Q]", "'array_1d' is the vector of fusemax, which is there already"),
        ("keep.DRAM=[LM]", "'DRAM' is the outer of fusemax, which is there already"),
        ("nest.1.level=DRAM", "'DRAM' is the outer of fusemax, which is there already"),
    ],
)
def test_a_part_is_not_named_beside_its_role(setting: str, said: str) -> None:
    """One of the two would do nothing, and nobody would know which."""
    how = Mapping.load("fusemax-binding", [setting])
    program = Cascade.load(how.cascade).program
    with pytest.raises(InputError, match=said) as no:
        bind(program, how, FUSEMAX, {"B": 1, "H": 1, "E": 4, "F": 4, "P": 4, "M": 4})
    assert f"write '{said.split(' is the ')[1].split()[0]}' in its place" in str(no.value)
