"""YAML trees: values by the core schema, spans, and everything that is refused."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascade.errors import CascadeError, SpecError
from einsum_cascade.source import Source
from einsum_cascade.yaml.source import YamlMapping, YamlScalar, YamlSequence, read_yaml


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML must give the same trees."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not yaml.__with_libyaml__:
        pytest.skip("this PyYAML has no libyaml")


def read(text: str) -> YamlMapping:
    node = read_yaml(Source("f.yaml", text))
    assert isinstance(node, YamlMapping)
    return node


def scalar(text: str, key: str) -> YamlScalar:
    node = read(text).child(key)
    assert isinstance(node, YamlScalar)
    return node


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("-inf", "-inf"),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("Y", "Y"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("400 GiB/s", "400 GiB/s"),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: object) -> None:
    found = read(f"a: {written}\n").plain()["a"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(read("a: .nan").plain()["a"])


def test_collections_become_plain_values_in_written_order() -> None:
    node = read("b: [1, {x: y}, []]\na: {z: 1, y: {}}\n")
    assert node.plain() == {"b": [1, {"x": "y"}, []], "a": {"z": 1, "y": {}}}
    assert node.keys == ("b", "a")


def test_paths_lead_to_nodes_and_spans() -> None:
    node = read("a:\n  - x\n  - {k: value, l: 2}\n")
    assert node.at(("a", 1, "l")).plain() == 2  # type: ignore[union-attr]
    assert node.at(("a", 7)) is None
    assert node.at(("a", 1, "l", "deeper")) is None
    assert str(node.span_of(("a", 1, "k"))) == "f.yaml:3:9"
    assert node.span_of(("a", 1, "k")).length == len("value")
    assert str(node.span_of(("a", 1, "missing"))) == "f.yaml:3:5"
    assert str(node.key_span(("a", 1, "l"))) == "f.yaml:3:16"
    assert str(node.key_span(("a", 0))) == "f.yaml:2:5"
    assert isinstance(node.child("a"), YamlSequence)


@pytest.mark.parametrize(
    "text",
    [
        "k: |\n  ab [c]\n\n   d e\n",
        "k: |2\n    ab [c]\n    d e\n",
        "k: | # a comment\n  ab [c]\n  d e\n",
        "k: >\n  ab [c]\n  d e\n",
        "k: ab [c]\n   d e\n",
        "k: 'ab [c]\n   d e'\n",
        'k: "ab [c]\n   d e"\n',
        '{"k": "ab [c] d e"}\n',
        "other: é\nk:   ab [c] d e\n",
    ],
)
def test_every_character_is_placed_where_it_stands(text: str) -> None:
    node = scalar(text, "k")
    lines = text.splitlines()
    for at, character in enumerate(node.text):
        if not character.isspace():
            span = node.place(at)
            assert lines[span.line - 1][span.column - 1] == character
    start = node.text.index("[c]")
    span = node.place(start, start + 3)
    assert lines[span.line - 1][span.column - 1 :][: span.length] == "[c]"


def test_a_span_is_clipped_to_its_first_line() -> None:
    node = scalar("k: |\n  abc\n  def\n", "k")
    assert node.place(0, 7).length == 3


def test_an_alias_is_the_node_it_names() -> None:
    node = read("a: &x [1, 2]\nb: *x\n")
    assert node.plain() == {"a": [1, 2], "b": [1, 2]}
    assert node.child("a") is node.child("b")


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"f.yaml:3:1: 'a' is given twice \(first on line 1\)"),
        ("a: {1: x, '1': y}", r"f.yaml:1:11: '1' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", r"f.yaml:1:4: tags such as .* not read"),
        ("a: !!python/name:os.system ''\n", r"f.yaml:1:4: tags such as .* are not read"),
        ("a: !mine 3\n", r"f.yaml:1:4: tags such as '!mine' are not read"),
        ("a: {<<: {b: 1}}\n", r"f.yaml:1:5: merge keys"),
        ("a: &x [*x]\n", r"f.yaml:1:8: '\*x' holds itself"),
        ("a: *x\n", r"f.yaml:1:4: .*[xX]"),
        (BOMB, r"expands to more than 200000 values"),
        ("? [1]\n: 2\n", r"f.yaml:1:3: a key must be a name, not a list"),
        ("a: 1\n---\nb: 2\n", r"f.yaml:2:1: one document is expected"),
        ("", r"f.yaml: the file is empty"),
        ("# only a comment\n", r"f.yaml: the file is empty"),
        ("a: [1, 2\n", r"f.yaml:2:1: this is not YAML"),
        ("a: b: c\n", r"(?s)f.yaml:1:5: this is not YAML.*hint: quote a text that holds ': '"),
        ("a:\n\t- b\n", r"(?s)f.yaml:2:1: this is not YAML.*spaces, not tabs"),
        ("a: b\nc: \x07\n", r"f.yaml:2:4: this is not YAML: the character U\+0007"),
        ("a: \ud800\n", r"f.yaml:1:4: this is not YAML: the character U\+D800"),
        ("a: " + "7" * 500, r"f.yaml:1:4: a number of 500 digits is too long"),
        ("a: 1e400", r"f.yaml:1:4: '1e400' is too large for a float64"),
        ("a: [1, -1e999]", r"f.yaml:1:8: '-1e999' is too large for a float64"),
        ("a: " + "[" * 60 + "]" * 60, r"nested more than 48 deep"),
        ("a: " + "[" * 100_000, r"f.yaml:1:\d+: "),
        ("a: " + "x" * 4_000_001, r"f.yaml: 4000004 characters are more than"),
    ],
)
def test_what_is_wrong_is_refused_at_its_place(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(text)


def test_the_error_is_of_the_family_asked_for() -> None:
    with pytest.raises(CascadeError, match="empty"):
        read_yaml(Source("f", ""), CascadeError)


def test_a_long_line_is_cut_around_the_mistake() -> None:
    with pytest.raises(SpecError) as caught:
        read("a: '" + "x" * 5000 + "' : b")
    assert max(len(line) for line in str(caught.value).splitlines()) < 200


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc é", max_size=5).filter(bool), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_json_reads_as_json_does(value: object) -> None:
    text = json.dumps({"root": value})
    if any("\ud800" <= c <= "\udfff" for c in text) or "\\ud" in text:
        text = json.dumps({"root": value}, ensure_ascii=False)
    assert read(text).plain() == json.loads(text)
