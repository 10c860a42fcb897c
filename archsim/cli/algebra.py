"""Commands ``archsim analyze`` and ``archsim rewrite``."""

from __future__ import annotations

from pathlib import Path

import click

from einsum_cascade import Cascade

from ..writing import write_whole
from .console import say, show, show_json
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
@file_option("--out", "Write the derived cascade.")
def rewrite_command(cascade: str, rules: tuple[str, ...], out: Path | None) -> None:
    """Rewrite a CASCADE by one RULE after another; print the derivation and its proof.

    A rule is written with its arguments: partition:M=M1,M0 or reduce_passes.
    """
    from einsum_cascade.rewrites import rewrite

    derivation = rewrite(Cascade.load(cascade), *rules)
    text = derivation.result.text().rstrip("\n")
    if out:
        write_whole(out, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    say(f"{derivation.text()}\n\nderived cascade\n\n{text}")
    if out:
        say(f"\nwrote {out}")
