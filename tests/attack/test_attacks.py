"""A few attacks of every kind, and a few random points: ``make attack`` runs them at length."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import pytest
from commands import refused, run
from generators import Attack
from kinds import KINDS, attacks
from met import mishandled, placed
from properties import Point, broken
from sums import wrong
from trees import changed

SEED = 20_251
FEW = {"files": 15, "mutants": 6, "lines": 4, "extremes": 3, "machines": 1, "mappings": 4}
FEW |= {"searches": 1, "sweeps": 1, "folders": 3, "outputs": 1}
SLOW = {"folders"}
"""Kinds that begin with results of three sorts."""


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k in SLOW else ()) for k in KINDS]
)
def test_nothing_hostile_is_mishandled(tmp_path: Path, kind: str) -> None:
    for number, attack in islice(attacks(kind, SEED), FEW[kind]):
        assert mishandled(attack, tmp_path) is None, f"{kind} {number}: {attack.words}"


@pytest.mark.parametrize("kind", ["files", "mutants", "machines"])
def test_a_refusal_names_a_file_of_the_user(tmp_path: Path, kind: str) -> None:
    for number, attack in islice(attacks(kind, SEED + 1), 3 * FEW[kind]):
        words = placed(attack, tmp_path)
        files = [str(path) for path in tmp_path.iterdir()]
        found = run(*words)
        given = any(file in word for file in files for word in words)
        if found.exit_code in (2, 3) and given and "Usage:" not in found.stderr:
            assert any(file in found.stderr for file in files), f"{kind} {number}: {words}"


def test_a_cascade_without_shapes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "cascade: c\nranks: {N: x}\ninputs: {A: [N]}\noutput: Y\neinsums: Y[n] = A[n] * A[n]\n"
    )
    text = refused("simulate", "bert-base", "fusemax", "--set", f"cascade={file}")
    assert "shape is missing: 'N' (x)" in text
    assert f"file: {file}" in text


def test_sums_that_are_not_of_their_parts_and_numbers_that_are_none_are_seen() -> None:
    few = ("--set", "seq_len=64", "--mapping", "fusemax-binding")
    told = run("simulate", "bert-base", "fusemax", *few, "--json").stdout
    assert wrong(told) is None
    tree = json.loads(told)
    tree["energy_pj"]["by_einsum"]["LM"] *= 1.01
    assert str(wrong(json.dumps(tree))).startswith(".energy_pj.by_einsum")
    tree = json.loads(told)
    tree["traffic_bytes"]["DRAM"]["read"] += 1
    assert str(wrong(json.dumps(tree))).startswith(".traffic_bytes.DRAM")
    assert wrong('{"a": [1, -2]}') == ".a.1 is -2"
    assert wrong('{"a": NaN}') == "no JSON: NaN is no number of JSON"


def test_a_file_that_is_left_by_a_refusal_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = Attack(words=("analyze", "nothing", "OUT"))
    monkeypatch.setattr(
        "met.run", lambda *words: Path(words[-1] + ".json").touch() or run("nothing")
    )
    assert mishandled(attack, tmp_path) == "out.json is there after a refusal"


def test_a_tree_of_which_nothing_is_left_stays() -> None:
    tree: dict[str, object] = {"constraints": {}}
    changed(random.Random(1), tree, ("1",))
    assert tree == {"constraints": {}}


def test_an_attack_is_the_same_for_a_seed() -> None:
    assert list(islice(attacks("mutants", 7), 3)) == list(islice(attacks("mutants", 7), 3))
    assert KINDS["lines"](random.Random(1)) != KINDS["lines"](random.Random(2))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("analyze", "attention-3pass"), None),
        (("analyze", "FILE"), None),
        (("simulate", "bert-base", "nowhere"), None),
    ],
)
def test_what_is_met_well_is_not_called_mishandled(
    tmp_path: Path, words: tuple[str, ...], what: str | None
) -> None:
    assert mishandled(Attack(words=words, content=b"a: 1"), tmp_path) is what


def test_a_window_that_cannot_be_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("simulate", "mistral-7b", "flat", "--set", "seq_len=40001", "--set", "batch=1")
    monkeypatch.setattr("archsim.iteration.windowed.MAX_ITERATIONS_VISITED", 1)
    assert "repeat too seldom to be counted" in refused(*words, code=2)


def test_properties_hold_of_a_point_and_a_broken_one_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = Point(model="t5-small", machine="fusemax", seq_len=96, batch=2, mapping="flat")
    assert list(broken(point)) == []
    monkeypatch.setattr("properties.PROPERTIES", {"sooner": lambda *_: 1.5})
    assert list(broken(point)) == [("sooner", 1.5)]


def test_a_traceback_is_mishandled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsim.views.analysis.analysis_report", lambda *_: 1 / 0)
    found = mishandled(Attack(words=("analyze", "attention-3pass")), tmp_path)
    assert found is not None
    assert "ZeroDivisionError" in found


def test_a_control_character_is_mishandled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsim.cli.console.visible", lambda text: text + "\x9b")
    found = mishandled(Attack(words=("list", "cascades")), tmp_path)
    assert found == "U+009B comes out"
