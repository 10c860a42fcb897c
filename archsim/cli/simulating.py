"""Command ``archsim simulate``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .console import answer, found_or_searched, say
from .files import temporary_cascade, write_result
from .options import (
    approximate_option,
    choice_option,
    file_option,
    flag_option,
    json_option,
    out_option,
    repeated_option,
    settings_option,
    use_cache_option,
)

if TYPE_CHECKING:
    from ..document import Document
    from ..plan.job import JobPlan
    from ..result.result import Result


_DOES_NOT_FIT = 3


@click.command("simulate")
@click.argument("workload", default="bert-base")
@click.argument("architecture", metavar="[ARCH]", default="fusemax")
@repeated_option(
    "--mapping mappings",
    "NAME|FILE|auto",
    "Default: the machine's own, or the fastest known mapping. May be given for several "
    "parts. auto searches for the fastest.",
)
@choice_option(
    "--engine",
    ("analytical", "event"),
    "Limit of steps: event simulates 100 times as many before it averages.",
)
@repeated_option(
    "--rewrite rules",
    "RULE",
    "Rewrite the attention's cascade first, by one rule after another, such as factor:QK.",
)
@use_cache_option
@approximate_option
@flag_option("--require-fit", "Exit with 3 if a memory is too small for the whole workload.")
@settings_option
@json_option
@out_option("Write result, report and pictures.")
@file_option("--trace", "Write the timeline, run by the event engine.")
@flag_option("--explain", "Show the loops, and the source of each cycle and picojoule.")
@choice_option(
    "--dump stage",
    ("bound", "counts", "program"),
    "Print an intermediate stage instead of the result: loops, counts, or the step program.",
)
def simulate_command(
    workload: str,
    architecture: str,
    mappings: tuple[str, ...],
    engine: Literal["analytical", "event"] | None,
    rules: tuple[str, ...],
    use_cache: bool,
    approximate: bool,
    require_fit: bool,
    settings: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    trace: Path | None,
    explain: bool,
    stage: str | None,
) -> None:
    """Simulate a WORKLOAD on an ARCH; by default BERT at 4K tokens on fusemax."""
    if as_json and explain:
        raise click.UsageError("--explain is for people; --json prints the exact numbers")
    if trace and engine == "analytical":
        raise click.UsageError("--trace is of the event engine; leave out --engine analytical")
    if stage and (as_json or explain or out or trace):
        raise click.UsageError("--dump prints a stage of the run and no result: give it alone")
    from ..api import planned
    from ..plan.planner import run_plan
    from ..spec.overrides import parse_overrides

    given = parse_overrides(_rewritten(workload, settings, rules))
    jobs = planned(
        *(workload, architecture, mappings, given),
        find=found_or_searched,
        use_cache=use_cache,
        approximate=approximate,
    )
    if stage:
        from ..views.dump import dump

        say(dump(jobs, stage))
        return
    result = run_plan(jobs, engine=engine or ("event" if trace else "analytical"))
    if rules:
        default = replace(parse_overrides(settings), mapping=())
        before = planned(workload, architecture, (), default, use_cache=use_cache)
        result = result.after_rewrite(run_plan(before).totals)
    written = write_result(result, out, {}) if out else ()
    if trace:
        from ..views.trace import trace as timeline

        timeline(jobs).save(trace)
        written = (*written, trace)
    documents = _documents(result, jobs if explain else None)
    answer(result.to_dict, documents, as_json=as_json, written=written)
    if require_fit and not result.fits:
        click.get_current_context().exit(_DOES_NOT_FIT)


def _rewritten(workload: str, settings: tuple[str, ...], rules: tuple[str, ...]) -> tuple[str, ...]:
    """Return the settings, extended by one that names a file with the rewritten cascade.

    The file is removed when the command ends.
    """
    if not rules:
        return settings
    # Only a rewrite needs sympy.
    from einsum_cascade import Cascade
    from einsum_cascade.rewrites import rewrite

    from ..plan.inputs import load_workload
    from ..plan.parts import own_part
    from ..spec.overrides import parse_overrides

    own = own_part(load_workload(workload, parse_overrides(settings)))
    derived = rewrite(Cascade.load(own.cascade), *rules, prove_it=False).result
    file = temporary_cascade(derived.program, derived.text())
    others = (s for s in settings if not s.startswith("cascade="))
    return (*others, f"cascade={file}")


def _documents(result: Result, explained: JobPlan | None) -> Iterator[Document]:
    from ..result.report import explain, report

    yield report(result)
    if explained is not None:
        from ..views.loop_nest import loop_nests

        yield loop_nests(explained)
        yield explain(result)
