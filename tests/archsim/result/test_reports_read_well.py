"""Reports at several widths: no broken word, no line too long, no notes that contradict."""

from __future__ import annotations

import re
from io import StringIO
from itertools import product

import pytest
from rich.console import Console

from archsim import Result, simulate
from archsim.document import (
    Document,
    fitted,
    names,
    numbers,
    table_of,
    text_by_rich,
    texts,
    to_text,
)
from archsim.result.report import report
from einsum_cascade.errors import InputError
from einsum_cascade.yaml.library import builtin_names

WIDTHS = (80, 110, 200)
SAMPLE = (
    ("bert-base", "fusemax"),
    ("deepseek-v3", "h200-sxm"),
    ("mixtral-8x7b", "a100-80gb"),
    ("moba", "tpu-v4i"),
    ("nsa", "fusemax"),
)


def words_of(text: str) -> set[str]:
    return {word.rstrip(",") for word in text.split() if not set(word) <= {"─"}}


def refuse_hard_to_read(result: Result) -> None:
    """Check the report of a result at all widths, and that its notes agree."""
    document = report(result)
    words = words_of(f"{text_by_rich(document, 2000)} not shown, for lack of width:")
    for width in WIDTHS:
        for text in (text_by_rich(document, width), to_text(document, width)):
            assert max(map(len, text.splitlines())) <= width
            assert words_of(text) <= words
    run, skipped = set[str](), set[str]()
    for note in (n for n in result.notes if n.kind == "mask"):
        whose, _, said = str(note).partition(": ")
        into = run if "masked tiles are run" in said else skipped if "skipped" in said else set()
        into |= {(note.part, name) for name in whose.split(", ")}
    assert not run & skipped
    used = {p.result.mapping for p in result.parts} | {result.mapping}
    refused = {
        name for n in result.notes for name in re.findall("^mapping '(.*?)' is not legal", n)
    }
    assert not refused & used


@pytest.mark.parametrize(("workload", "machine"), SAMPLE)
def test_a_report_reads_well(workload: str, machine: str) -> None:
    refuse_hard_to_read(simulate(workload, machine, seq_len=128, batch=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "machine"),
    list(product(builtin_names("workloads"), builtin_names("architectures"))),
)
def test_every_report_reads_well(workload: str, machine: str) -> None:
    try:
        result = simulate(workload, machine)
    except InputError:
        pytest.skip("the machine cannot run the workload, and says why")
    refuse_hard_to_read(result)


def test_a_verdict_that_is_none_is_yellow() -> None:
    columns = (*names("cascade"), *texts("verdict"))
    shown = Document(title="c", tables=((table_of("", columns, [("c", "not checked")]),),))
    stream = StringIO()
    Console(file=stream, force_terminal=True, color_system="standard").print(shown)
    assert "\x1b[33mnot checked" in stream.getvalue()


def test_columns_go_before_words_do() -> None:
    columns = (*names("operator"), *numbers("latency", "traffic"))
    table = table_of("", columns, [("query-projection", "4.25 µs", "11.75 MiB")])
    assert fitted(table, 38)[1] == ()
    shown, left_out = fitted(table, 37)
    assert (len(shown.columns), left_out) == (2, ("traffic",))
    assert fitted(table, 5)[1] == ("latency", "traffic")
