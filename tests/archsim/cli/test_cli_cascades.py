"""``archsim analyze``, ``rewrite`` and ``validate``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from places import ROOT

from archsim.validation.validate import ValidationReport, validate_cascade
from einsum_cascade import Cascade


def analyzed(*arguments: str) -> dict[str, Any]:
    result = run("analyze", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_analyze_json_has_the_agreed_keys_and_nesting() -> None:
    found = analyzed("attention-3pass")
    assert set(found) >= {"cascade", "ranks", "operations", "footprint", "traffic_min"}
    keys = found["ranks"]["M"]
    assert keys["passes"] == 3
    assert [b["einsum"] for b in keys["barriers"]] == ["SN", "A"]
    assert all(isinstance(b["because"], list) and b["because"] for b in keys["barriers"])
    assert keys["einsums"] == {"QK": 1, "GM": 1, "SN": 2, "SD": 2, "A": 3, "AV": 3}
    assert found["operations"]["mac"] == "B*H*M*P*(E + F)"


def test_analyze_counts_a_partitioned_rank_at_every_grain() -> None:
    ranks = analyzed("attention-1pass")["ranks"]
    assert [ranks[r]["passes"] for r in ("M", "M1", "M0")] == [1, 1, 2]


def test_analyze_explains_each_barrier_in_words() -> None:
    text = run("analyze", "attention-3pass").stdout
    assert "QK -> GM (max over m) -> SN" in text
    assert "complete only when every m has been seen" in text
    assert "QK M, SN M" in text


def test_analyze_one_rank_with_numbers() -> None:
    found = analyzed("attention-3pass", "--rank", "M", "--set", "M=64K", "--set", "P=2")
    assert list(found["ranks"]) == ["M"]
    assert found["operations"]["exp"] == "131072*B*H"
    assert "65,536" in run("analyze", "attention-3pass", "--set", "M=64K").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attention-3pas"], "did you mean 'attention-3pass'?"),
        (["attention-3pass", "--rank", "Z"], "has no rank 'Z'"),
        (["attention-3pass", "--set", "Z=4"], "has no rank 'Z'"),
        (["attention-3pass", "--set", "M=none"], "--set M=none: expected a whole number"),
        (["attention-3pass", "--set", "M=-1"], "at least 1, got -1"),
        (["attention-3pass", "--set", "M"], "there is no '='"),
        ([], "Missing argument"),
    ],
)
def test_analyze_refuses_wrong_input(arguments: list[str], said: str) -> None:
    assert said in refused("analyze", *arguments)


def test_rewrite_prints_a_derivation_and_writes_its_product(tmp_path: Path) -> None:
    path = tmp_path / "derived.yaml"
    rules = ("partition:M=M1,M0", "reduce_passes")
    result = run("rewrite", "attention-3pass", *rules, "--out", str(path))
    assert result.exit_code == 0, result.stderr
    assert "passes over M" in result.stdout
    assert path.read_text(encoding="utf-8").rstrip() in result.stdout
    assert "cost on fusemax, with the shapes of bert-base" in result.stdout
    assert "the rewrite costs:" not in result.stdout
    assert "hint:" not in result.stdout
    assert analyzed(str(path))["ranks"]["M"]["passes"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attention-3pass"], "Missing argument 'RULE...'"),
        (["attention-3pass", "reduce_pases"], "did you mean 'reduce_passes'?"),
        (["attention-1pass", "fuse_partition:Z"], "Z"),
        (["attention-1pas", "reduce_passes"], "did you mean 'attention-1pass'?"),
    ],
)
def test_rewrite_refuses_wrong_input(arguments: list[str], said: str) -> None:
    assert said in refused("rewrite", *arguments)


def test_a_rewrite_that_costs_says_so_and_names_the_partition_that_it_lacks() -> None:
    said = run("rewrite", "attention-3pass", "reduce_passes", "--set", "seq_len=4096").stdout
    assert "for every tile, partition it first: partition:M=M1,M0" in said
    assert re.search(r"the rewrite costs: latency \d\.\d\dx, traffic \d\.\d\dx, energy", said)


def test_a_rewrite_that_does_not_run_has_no_cost() -> None:
    done = run("rewrite", "attention-3pass", "reduce_passes", "--set", "architecture.l9=1")
    assert done.exit_code == 0
    assert "with the shapes of bert-base: does not run" in done.stdout


def test_rewrite_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    said = refused("rewrite", "attention-3pass", "reduce_passes", "--out", str(tmp_path))
    assert "it is a folder" in said


# ------------------------------------------------------------------ validate

VALIDATE_KEYS = {"cascade", "dtype", "max_abs_error", "max_rel_error", "tolerance", "ok"}


def validated(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    result = run("validate", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.slow
def test_validate_all_covers_every_built_in_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    """``all`` is what is meant without a name; each cascade's own validation is tested apart."""
    first = validate_cascade(Cascade.load("attention-1pass"))

    def named(cascade: Cascade, **options: Any) -> ValidationReport:
        assert options["reference"] is not None, cascade.name
        return replace(first, cascade=cascade.name, independent=True, ok=True)

    monkeypatch.setattr("archsim.validation.validate.validate_cascade", named)
    found = validated("all")
    names = [e["name"] for e in json.loads(run("list", "cascades", "--json").stdout)]
    assert [f["cascade"] for f in found] == names
    assert all(set(f) >= VALIDATE_KEYS and f["ok"] is True for f in found)
    assert all(f["independent"] for f in found)
    assert found == validated()


def test_validate_in_half_precision_has_its_own_tolerance() -> None:
    (half,) = validated("attention-1pass", "--dtype", "float16", "--seed", "3")
    (double,) = validated("attention-1pass", "--seed", "3")
    assert half["dtype"] == "float16"
    assert 0 < double["max_rel_error"] < double["tolerance"] < half["max_rel_error"]
    assert validated("attention-1pass", "--seed", "3") == [double]
    assert validated("attention-1pass", "--seed", "4") != [double]


def test_validate_runs_the_mapped_nest_with_whole_and_ragged_tiles() -> None:
    equations, mapped = validated("--mapping", "fusemax-binding")
    assert equations["mapping"] is None
    assert mapped["mapping"] == "fusemax-binding"
    assert mapped["shapes"]["M0"] == 256
    assert mapped["shapes"]["M"] > 512
    assert mapped["shapes"]["M"] % 256
    assert mapped["ok"]


def cascade_file(folder: Path, old: str, new: str) -> str:
    """The one-pass cascade with one thing changed."""
    text = (ROOT / "specs/cascades/attention-1pass.yaml").read_text(encoding="utf-8")
    assert old in text
    path = folder / "changed.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_a_wrong_cascade_fails_with_code_1(tmp_path: Path) -> None:
    wrong = cascade_file(tmp_path, "exp(RM[m1, p] - RM[m1+1, p])", "exp(RM[m1, p])")
    (found,) = validated(wrong, code=1)
    assert found["ok"] is False
    assert found["max_rel_error"] > found["tolerance"]
    result = run("validate", "attention-2pass", wrong)
    assert result.exit_code == 1
    assert "1 of 2 as they should be" in result.stdout
    assert "FAILED" in result.stdout


def test_what_names_no_reference_is_not_checked(tmp_path: Path) -> None:
    own = cascade_file(tmp_path, "reference: softmax_attention\n", "")
    (found,) = validated(own, "--no-reference")
    assert (found["ok"], found["verdict"]) == (None, "not checked")
    shown = run("validate", own, "attention-1pass").stdout
    assert shown.startswith("1 of 1 as they should be, 1 not checked, in float64")
    alone = run("validate", own)
    assert alone.stdout.startswith("1 not checked, in float64")
    assert alone.exit_code == 1
    assert run("validate", own, "--no-reference").exit_code == 0
    assert "nothing says what it ought to compute; --against another cascade" in shown
    # The tiles of a mapping are still compared with the equations.
    _, mapped = validated(own, "--no-reference", "--mapping", "fusemax-binding", "--arch", "edge")
    assert (mapped["verdict"], mapped["against"]) == ("ok", "its equations in float64")
    (checked,) = validated(own, "--against", "attention-3pass")
    assert (checked["verdict"], checked["against"]) == ("ok", "attention-3pass")
    wrong = cascade_file(tmp_path, "exp(RM[m1, p] - RM[m1+1, p])", "exp(RM[m1, p])")
    (failed,) = validated(wrong, "--against", "attention-3pass", code=1)
    assert failed["verdict"] == "FAILED"


def test_a_mapping_fits_a_copy_of_its_cascade_and_nothing_else(tmp_path: Path) -> None:
    copy = cascade_file(tmp_path, "cascade:", "cascade: ")
    assert len(validated(copy, "--mapping", "fusemax-arch", "--arch", "edge")) == 2
    changed = cascade_file(tmp_path, "+ SPD[m1, p]", "+ 2 * SPD[m1, p]")
    assert "is for cascade" in refused("validate", changed, "--mapping", "fusemax-arch")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attention-1pas"], "did you mean 'attention-1pass'?"),
        (["attention-1pass", "--dtype", "float8"], "Did you mean 'float64'?"),
        (["attention-1pass", "--seed", "-1"], "-1 is not in the range"),
        (["attention-2pass", "--mapping", "fusemax-arch"], "not 'attention-2pass'"),
        (["--mapping", "fusemax-arch", "--arch", "falt"], "did you mean 'flat'?"),
        (["all", "attention-1pass"], "leave out 'attention-1pass'"),
        (["attention-1pass", "--arch", "flat"], "--arch flat is the machine of --mapping"),
        (["attention-1pass", "--against", "attention-sink"], "differ in names or numbers"),
    ],
)
def test_validate_refuses_wrong_input(arguments: list[str], said: str) -> None:
    assert said in refused("validate", *arguments)


def test_validate_does_not_make_up_a_huge_input(tmp_path: Path) -> None:
    path = tmp_path / "far.yaml"
    for far in (10**9, 10**26):
        text = "cascade: far\nranks: {M: keys}\ninputs: {K: [M]}\noutput: Y\n"
        path.write_text(text + f"einsums: |\n  Y = K[{far}]\n")
        assert f"'K' of 'far' has {far + 1} elements" in refused("validate", str(path))


def test_a_reference_that_is_not_there_is_refused(tmp_path: Path) -> None:
    odd = cascade_file(tmp_path, "softmax_attention", "softmax_atention")
    assert "did you mean 'softmax_attention'?" in refused("validate", odd)


def test_validate_takes_shapes_and_parameters() -> None:
    """Each cascade takes those that it has; one that none has is refused."""
    given = ["--set", "P=1", "--set", "P0=8", "--set", "M=3", "--set", "cap=2.5"]
    result = run("validate", "mamba-3-chunked", "attention-softcap-1pass", *given, "--json")
    assert result.exit_code == 0, result.stderr
    chunked, capped = (found["shapes"] for found in json.loads(result.stdout))
    assert (chunked["P"], chunked["P0"], chunked["P1"]) == (1, 8, 1)
    assert (capped["P"], capped["M"]) == (1, 3)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("Q0=3", "'Q0' is neither a rank nor a parameter of 'attention-1pass'"),
        ("M0=0", "--set M0=0: expected a whole number, at least 1, got 0"),
        ("M0=2.5", "attention-1pass: shape M0 is a positive whole number, not 2.5"),
    ],
)
def test_validate_refuses_what_is_no_shape(setting: str, said: str) -> None:
    assert said in refused("validate", "attention-1pass", "--set", setting)
