"""Commands ``archsim analyze`` and ``archsim rewrite``."""

from __future__ import annotations

from pathlib import Path

import click

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError

from ..document import Document
from ..writing import write_whole
from .console import say, show, show_json
from .files import temporary_cascade
from .options import file_option, json_option, numbers_of, option, repeated_option, settings_option


@click.command("analyze")
@click.argument("cascade")
@option("--rank", "RANK", "Report this rank alone.")
@repeated_option(
    "--rewrite rules",
    "RULE",
    "Rewrite it first, by one rule after another (archsim rewrite proves them).",
)
@settings_option
@json_option
def analyze_command(
    cascade: str, rank: str | None, rules: tuple[str, ...], settings: tuple[str, ...], as_json: bool
) -> None:
    """Analyse a CASCADE: passes over each rank and why, footprints, operations, traffic.

    --set M=64K puts a number for a shape; without it results are expressions in the shapes.
    """
    from ..views.analysis import analysis_dict, analysis_report

    found = Cascade.load(cascade)
    if rules:
        from einsum_cascade.rewrites import rewrite

        found = rewrite(found, *rules, prove_it=False).result
    analysis = found.analyze()
    if settings:
        analysis = analysis.subs(numbers_of(settings))
    if as_json:
        show_json(analysis_dict(analysis, rank))
    else:
        show(analysis_report(analysis, rank))


@click.command("rewrite")
@click.argument("cascade")
@click.argument("rules", metavar="RULE...", nargs=-1, required=True)
@option("--workload", "WORKLOAD", "Workload whose shapes the costs are for.", default="bert-base")
@option("--arch", "ARCH", "Machine that the costs are for.", default="fusemax")
@settings_option
@file_option("--out", "Write the derived cascade.")
def rewrite_command(
    cascade: str,
    rules: tuple[str, ...],
    workload: str,
    arch: str,
    settings: tuple[str, ...],
    out: Path | None,
) -> None:
    """Rewrite a CASCADE by one RULE after another; print the derivation, its proof and its cost.

    A rule is written with its arguments: partition:M=M1,M0 or reduce_passes. The cost is that of
    the default mappings before and after, with a workload's shapes on a machine.
    """
    from einsum_cascade.rewrites import rewrite

    derivation = rewrite(Cascade.load(cascade), *rules)
    text = derivation.result.text()
    if out:
        write_whole(out, lambda path: path.write_text(text, encoding="utf-8"))
    say(f"{derivation.text()}\n")
    derived = temporary_cascade(derivation.program, text)
    show(_cost((cascade, str(derived)), workload, arch, settings))
    say(f"\nderived cascade\n\n{text.rstrip()}")
    if out:
        say(f"\nwrote {out}")


def _cost(
    cascades: tuple[str, str], workload: str, arch: str, settings: tuple[str, ...]
) -> Document:
    """Return a table of what a cascade and the one derived from it cost by default."""
    from ..api import simulate
    from ..result.report import rewrite_table

    title = f"cost on {arch}, with the shapes of {workload}"
    try:
        before, after = (
            simulate(workload, arch, settings=[*settings, f"cascade={name}"]) for name in cascades
        )
    except InputError as refused:
        return Document(title=f"{title}: does not run", notes=(str(refused),))
    after = after.after_rewrite(before.totals)
    table = rewrite_table(before.totals, after.totals)
    notes = tuple(note for note in after.notes if note.kind == "rewrite")
    return Document(title=title, tables=((table,),), notes=notes)
