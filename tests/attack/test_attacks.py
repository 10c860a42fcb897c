"""A few attacks of every kind, and a few random points: ``make attack`` runs them at length."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
from attacking import mishandled
from commands import refused
from generators import KINDS, Attack, attacks
from properties import Point, broken

SEED = 20_251
FEW = {"files": 15, "mutants": 6, "lines": 10, "extremes": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_hostile_is_mishandled(tmp_path: Path, kind: str) -> None:
    for number, attack in islice(attacks(kind, SEED), FEW[kind]):
        assert mishandled(attack, tmp_path) is None, f"{kind} {number}: {attack.words}"


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
    monkeypatch.setattr("archsim.space.banded.MOST_WALKED", 1)
    assert "repeat too seldom to be counted" in refused(*words, code=2)


def test_properties_hold_of_a_point_and_a_broken_one_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = Point(model="t5-small", machine="fusemax", seq_len=96, batch=2, mapping="flat")
    assert list(broken(point)) == []
    monkeypatch.setattr("properties.PROPERTIES", {"sooner": lambda *_: 1.5})
    assert list(broken(point)) == [("sooner", 1.5)]


def test_a_traceback_is_mishandled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsim.report.cascades.analysis_report", lambda *_: 1 / 0)
    found = mishandled(Attack(words=("analyze", "attention-3pass")), tmp_path)
    assert found is not None
    assert "ZeroDivisionError" in found


def test_a_control_character_is_mishandled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsim.cli.console.visible", lambda text: text + "\x9b")
    found = mishandled(Attack(words=("list", "cascades")), tmp_path)
    assert found == "U+009B comes out"
