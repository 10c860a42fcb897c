"""Settings edit a tree: what is there is replaced, what is not is added, nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascade.errors import SpecError
from einsum_cascade.source import Source
from einsum_cascade.yaml.edit import apply_settings, parse_setting, python_setting
from einsum_cascade.yaml.source import YamlNode, read_yaml

TEXT = "a: {b: 1, c: [{name: x, v: 2}, {level: y, v: 3}]}\nd: text\n"


def tree(text: str = TEXT) -> YamlNode:
    return read_yaml(Source("file.yaml", text))


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("a.b=5", ("a", "b"), 5),
        ("a.b = 64K ", ("a", "b"), "64K"),
        ("a.c.x.v=true", ("a", "c", 0, "v"), True),
        ("a.c.y.v=null", ("a", "c", 1, "v"), None),
        ("a.c.1.v=x=y", ("a", "c", 1, "v"), "x=y"),
        ("a.c={name: z}", ("a", "c"), {"name": "z"}),
        ("d=[1, 'two']", ("d",), [1, "two"]),
        ("a.new=1", ("a", "new"), 1),
        ("e.f.g=1", ("e", "f", "g"), 1),
    ],
)
def test_one_field_changes_and_no_other(setting: str, path: tuple[Any, ...], value: Any) -> None:
    before = tree().plain()
    after = apply_settings(tree(), [parse_setting(setting)]).plain()
    there = after
    for step in path[:-1]:
        there = there[step]
    assert there[path[-1]] == value
    # Put back what was there: the rest must be as before.
    was: Any = before
    for step in path:
        was = was.get(step, "absent") if isinstance(was, dict) else was[step]
        if was == "absent":
            break
    if was == "absent":
        first_new = next(i for i in range(len(path)) if tree().at(path[: i + 1]) is None)
        there = after
        for step in path[:first_new]:
            there = there[step]
        del there[path[first_new]]
    else:
        there[path[-1]] = was
    assert after == before


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 99), min_size=1))
def test_settings_build_a_mapping_in_order(values: dict[str, int]) -> None:
    settings = [parse_setting(f"r.{k}={v}") for k, v in values.items()]
    found = apply_settings(tree(), [*settings, *settings]).child("r")
    assert found is not None
    assert found.plain() == values
    assert list(found.plain()) == list(values)


def test_places_are_in_the_setting() -> None:
    node = apply_settings(tree(), [parse_setting("a.n={p: [1, 22]}")])
    span = node.span_of(("a", "n", "p", 1))
    assert str(span) == "--set a.n={p: [1, 22]}"
    assert (span.line, span.column, span.length) == (1, 13, 2)
    assert str(node.span_of(("d",))) == "file.yaml:2:4"


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("a.c.z.v=1", "the list has no member 'z'"),
        ("a.c.2.v=1", "the list has no member '2'"),
        ("a.c.99999999999999999999.v=1", "the list has no member"),
        ("d.e=1", "'e' cannot be a field below the text 'text'"),
        ("d.e.f=1", "'e' cannot be a field below the text 'text'"),
    ],
)
def test_there_is_no_such_place(setting: str, wanted: str) -> None:
    with pytest.raises(SpecError, match=wanted.replace(".", r"\.")):
        apply_settings(tree(), [parse_setting(setting)])


@pytest.mark.parametrize("value", [4096, 2.5, "64K"])
def test_keywords_are_settings(value: float | str) -> None:
    setting = python_setting("d", value)
    assert apply_settings(tree(), [setting]).plain()["d"] == value
    assert str(setting.value.span) == f"d={value}"
