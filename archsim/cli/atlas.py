"""Command ``archsim atlas``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from einsum_cascade.errors import InputError
from einsum_cascade.yaml.library import builtin_names

from ..writing import OutputFolder
from .console import progress, say
from .options import option, out_option, refuse_mapping_settings, repeated_option, settings_option


@click.command("atlas")
@click.argument("cascades", metavar="[CASCADE...]", nargs=-1)
@out_option("Folder for atlas.html.", required=True)
@repeated_option(
    "--arch machines",
    "ARCH",
    "Machine to simulate on. May be repeated.",
    default=("fusemax", "flat"),
)
@repeated_option(
    "--length lengths", "TOKENS", "Sequence length. May be repeated.", default=("1K", "64K", "1M")
)
@option("--workload", None, "Workload that gives the shapes.", default="bert-base")
@settings_option
def atlas_command(
    cascades: tuple[str, ...],
    out: Path,
    machines: tuple[str, ...],
    lengths: tuple[str, ...],
    workload: str,
    settings: tuple[str, ...],
) -> None:
    """Write a page over the zoo: equations, passes, footprints, operations, simulated runs.

    Without a CASCADE: all built-in ones. The page is one HTML file that needs no network.
    """
    from workloads import load

    from .. import Mapping
    from ..atlas.page import atlas_html
    from ..atlas.survey import AtlasPlan, Scenario, survey
    from ..processes import usable_cores
    from ..spec.files.load import load_architectures
    from ..spec.overrides import parse_overrides

    given = parse_overrides(settings)
    refuse_mapping_settings("atlas", given)
    for setting in given.workload:
        if setting.field == "seq_len":
            text = "atlas: --length says how many tokens there are"
            raise InputError(text, setting.span, "--length 4K --length 64K")
    scenarios = [
        Scenario(label=n, workload=load(workload, given.workload, seq_len=n))
        for n in dict.fromkeys(lengths)
    ]
    if any(len(scenario.workload.parts) > 1 for scenario in scenarios):
        raise InputError("atlas: cascades run in the shapes of attention alone; scope=attention")
    plan = AtlasPlan(
        cascades=tuple(dict.fromkeys(cascades or builtin_names("cascades"))),
        machines=tuple(load_architectures(dict.fromkeys(machines), given)),
        mappings=tuple(Mapping.load(m) for m in builtin_names("mappings")),
        scenarios=tuple(scenarios),
    )
    with progress("", plan.steps) as advance:
        entries = survey(plan, partial(advance, 1), workers=usable_cores())
    with OutputFolder(out) as folder:
        folder.text("atlas.html", atlas_html(plan, entries))
    say(f"wrote {folder.paths[0]} ({len(entries)} cascades)", err=True)
