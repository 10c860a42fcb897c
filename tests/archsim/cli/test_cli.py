"""The command line as a user meets it: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from commands import python, refused, run
from places import ROOT

from archsim.cli.application import Commands, archsim
from archsim.cli.catalogue import _what_it_is, find
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError, Problem
from einsum_cascade.source import Source, Span

KINDS = ("cascades", "architectures", "mappings", "workloads", "technologies", "reproductions")


def test_help_names_every_command() -> None:
    text = run("--help").stdout
    for command in ("simulate", "validate", "analyze", "rewrite", "list", "show"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize(
    ("typed", "meant"), [("simulat", "simulate"), ("lst", "list"), ("analyse", "analyze")]
)
def test_a_misspelt_command_names_the_nearest(typed: str, meant: str) -> None:
    assert f"there is no command '{typed}'; did you mean '{meant}'?" in refused(typed)


def test_a_misspelt_option_names_the_nearest() -> None:
    assert "'--json'" in refused("list", "cascades", "--jsn")


def test_commands_are_completed() -> None:
    asked = {"_ARCHSIM_COMPLETE": "bash_complete", "COMP_WORDS": "archsim sim", "COMP_CWORD": "1"}
    told = CliRunner().invoke(archsim, env=asked, prog_name="archsim")
    assert told.output == "plain,simulate\n"


def test_version_is_one_line() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("archsim ")
    assert len(result.stdout.splitlines()) == 1


def group_that_raises(error: BaseException) -> click.Group:
    """The application with one command, which raises."""

    class Raising(Commands):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            @click.command()
            def command() -> None:
                raise error

            return command

    return Raising("archsim")


PLACE = Span(Source("a.yaml", "one: two\n"), line=1, column=6, length=3)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("no such thing"), 2, "error: no such thing\n"),
        (
            NoLegalMappingError(Problem("needs 21.3 MiB, has 16 MiB", PLACE, "make it smaller")),
            3,
            "a.yaml:1:6: needs 21.3 MiB, has 16 MiB\n    one: two\n         ^^^\n"
            "    hint: make it smaller\n",
        ),
        (MappingError("not legal as written"), 2, "error: not legal as written\n"),
        (InputError([Problem("first", PLACE), Problem("second")]), 2, "error: second\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_become_messages_and_codes(error: BaseException, code: int, said: str) -> None:
    result = CliRunner().invoke(group_that_raises(error), ["simulate"])
    assert result.exit_code == code
    assert result.stderr.endswith(said)
    assert result.stdout == ""


def test_a_fault_of_ours_is_not_swallowed() -> None:
    result = CliRunner().invoke(group_that_raises(ZeroDivisionError("ours")), ["simulate"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="pipes break so only on POSIX")
def test_a_reader_that_goes_away_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = python("-m", "archsim", "show", "attention-1pass", stdout=writing)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_no_fault() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = python("-m", "archsim", "list", "cascades", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "error: cannot write the output: No space left on device\n"


# ------------------------------------------------------------ list and show


def test_a_reproduction_gives_way_to_what_it_is_called_after() -> None:
    assert run("show", "fusemax").stdout.startswith("# architecture fusemax")
    assert "# reproduction" not in run("show", "fusemax").stdout
    assert run("show", "reproduction/fusemax").stdout.startswith("# reproduction fusemax")


@pytest.mark.parametrize("kind", KINDS)
def test_list_describes_everything_built_in(kind: str) -> None:
    found = json.loads(run("list", kind, "--json").stdout)
    assert found
    assert all(entry["name"] and entry["description"] for entry in found)
    table = run("list", kind).stdout
    assert all(entry["name"] in table for entry in found)


def test_the_names_relied_on_are_there() -> None:
    names = {k: [e["name"] for e in json.loads(run("list", k, "--json").stdout)] for k in KINDS}
    assert {"bert-base", "trxl-wt103", "t5-small", "xlm"} <= set(names["workloads"])
    assert {"fusemax", "fusemax-micro24"} <= set(names["architectures"])
    assert {"fusemax-binding", "fusemax-arch"} <= set(names["mappings"])
    assert {"accelergy-45nm"} <= set(names["technologies"])
    assert {
        *("attention-naive", "attention-naive-deferred", "attention-3pass"),
        *("attention-3pass-deferred", "attention-2pass", "attention-1pass", "linear-attention"),
    } <= set(names["cascades"])


def test_an_unknown_kind_names_the_nearest() -> None:
    assert "Did you mean 'cascades'?" in refused("list", "cascade")


def test_what_could_not_be_verified_is_said_wherever_a_cascade_is_shown(tmp_path: Path) -> None:
    body = "ranks: [K]\ninputs: {A: [K]}\noutput: Y\neinsums: 'Y = A[k]'\n"
    text = f"cascade: sum\ntitle: A sum\nunverified: its sign, from memory\n{body}"
    file = tmp_path / "sum.yaml"
    file.write_text(text, encoding="utf-8")
    (entry,) = find(str(file))
    assert entry.unverified == "its sign, from memory"
    said = _what_it_is(entry)
    assert said == "A sum - unverified: its sign, from memory"
    for command in ("show", "analyze"):
        assert "unverified: its sign, from memory" in run(command, str(file)).stdout
    plain = find("attention-1pass")[0]
    assert plain.unverified == ""
    assert _what_it_is(plain) == plain.description


def test_show_prints_the_file_verbatim_in_a_pipe() -> None:
    text = run("show", "attention-1pass").stdout
    body = (ROOT / "specs/cascades/attention-1pass.yaml").read_text(encoding="utf-8")
    assert text.split("\n", 1)[1] == body


def test_show_takes_a_kind_before_the_name_and_a_file() -> None:
    assert run("show", "cascade/attention-1pass").stdout == run("show", "attention-1pass").stdout
    path = ROOT / "specs/cascades/attention-2pass.yaml"
    assert path.read_text(encoding="utf-8") in run("show", str(path)).stdout


def test_show_prints_cascades_as_latex_and_as_a_graph() -> None:
    assert "\\max" in run("show", "attention-3pass", "--format", "latex").stdout
    assert run("show", "attention-3pass", "--format", "dot").stdout.startswith("digraph")
    assert "is for cascades" in refused("show", "fusemax-binding", "--format", "dot")


@pytest.mark.parametrize("name", ["attention-1pas", "cascades/attention-1pas", "./nowhere.yaml"])
def test_show_refuses_what_is_not_there(name: str) -> None:
    assert name.removeprefix("./") in refused("show", name)


def test_show_names_the_nearest_name_of_any_kind() -> None:
    assert "did you mean 'attention-2pass'?" in refused("show", "attention-2pas")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00binary", "not UTF-8"),
        (b"a: [1, 2", "not YAML"),
        (b"colour: blue\n", "expected one of the keys 'cascade', 'architecture'"),
        (b"", "the file is empty"),
    ],
)
def test_show_refuses_a_file_that_is_no_specification(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert said in refused("show", str(path))


def test_show_refuses_a_folder(tmp_path: Path) -> None:
    assert "is a directory" in refused("show", f"{tmp_path}/")
