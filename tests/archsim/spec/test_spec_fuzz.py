"""Whatever stands in a field of a file or a setting: a specification, or a ``SpecError``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.spec.arch import Architecture
from archsim.spec.files.architecture import (
    build_architecture,
    check_architecture,
    with_operation_sets,
)
from archsim.spec.files.mapping import build_mapping
from archsim.spec.files.technology import build_technology
from archsim.spec.mapping import Mapping
from archsim.spec.overrides import parse_overrides
from archsim.spec.technology import Technology
from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import builtin_source
from einsum_cascade.yaml.source import YamlNode, YamlSequence, read_yaml
from workloads import load

ODD = (
    *("0", "-1", "1e400", "1e30", ".nan", ".inf", "-.inf", "true", "null", "~", "''", "[]", "{}"),
    *("[[[[1]]]]", "{a: {b: c}}", "1 MiB", "5 parsecs", "1e99999999 Hz", "fit", "array_2d.rows"),
    *("DRAM", "Q", "M0", "exp", "mac", "64K", "9" * 300, "x" * 3000, "a.b.c", "\u202etxet", "@-1"),
    *("!!int 3", "&a [*a]", "*b", "{a: 1, a: 2}", "[1, ", "- 1", "%", "`", "0x10", "1_0", "../.."),
)
FILES = ("architectures/fusemax", "mappings/fusemax-arch", "technology/accelergy-45nm")


def build(kind: str, root: YamlNode) -> None:
    if kind == "architectures":
        technology = Technology.load("accelergy-45nm")
        root = with_operation_sets(root)
        machine = build_architecture(check_architecture(root), root, technology)
        assert machine.clock_hz > 0
        assert all(d.size > 0 for a in machine.arrays for d in a.dimensions)
    elif kind == "mappings":
        assert build_mapping(root).einsums
    else:
        assert all(0 <= a.energy_pj < 1e31 for a in build_technology(root).actions)


def scalars(node: YamlNode) -> list[Any]:
    if hasattr(node, "entries"):
        return [s for k, v in node.entries for s in (k, *scalars(v))]
    if isinstance(node, YamlSequence):
        return [s for item in node.items for s in scalars(item)]
    return [node]


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_anywhere_in_a_file(file: str, data: st.DataObject) -> None:
    kind, _, name = file.partition("/")
    text = builtin_source(kind, name).text  # type: ignore[arg-type]
    places = scalars(read_yaml(Source("file.yaml", text)))
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 2))):
        span = data.draw(st.sampled_from(places)).span
        line = lines[span.line - 1]
        odd = data.draw(st.sampled_from(ODD))
        lines[span.line - 1] = line[: span.column - 1] + odd + line[span.column - 1 + span.length :]
    problems: tuple[Problem, ...] = ()
    try:
        build(kind, read_yaml(Source("file.yaml", "\n".join(lines))))
    except SpecError as wrong:
        problems = wrong.problems
    assert all(p.span is not None and p.message for p in problems)


FIELDS = st.lists(
    st.sampled_from(
        (
            *("architecture", "mapping", "technology", "workload", "arrays", "array_2d", "shape"),
            *("rows", "operations", "exp", "bill", "memories", "DRAM", "0", "partition", "P", "P1"),
            *("nest", "loops", "schedule", "groups", "keep", "actions", "energy", "E", "seq_len"),
        )
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=examples(100), deadline=None)
@given(path=FIELDS, value=st.sampled_from(ODD) | st.text(max_size=20))
def test_any_setting(path: list[str], value: str) -> None:
    message = "--set "
    try:
        given_ = parse_overrides([f"{'.'.join(path)}={value}"])
        load("bert-base", given_.workload)
        Mapping.load("fusemax-arch", given_)
        Architecture.load("fusemax", given_)
    except SpecError as wrong:
        message = str(wrong)
    assert message.startswith("--set ")


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(data)
    for loader in (Architecture.load, Mapping.load, Technology.load, load):
        with pytest.raises(SpecError, match=r"any\.yaml"):
            loader(str(path))
