"""Command ``archsim sensitivity``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import answer, found_or_searched, progress
from .options import (
    approximate_option,
    check_picture,
    choice_option,
    file_option,
    flag_option,
    json_option,
    repeated_option,
    settings_option,
    use_cache_option,
)

if TYPE_CHECKING:
    from ..elasticity.record import Quantity


@click.command("sensitivity")
@click.argument("workload")
@click.argument("architecture", metavar="ARCH")
@choice_option(
    "--by",
    ("latency", "as_built", "energy", "area"),
    "Quantity that sorts the fields.",
    default="latency",
)
@flag_option("--fixed-mapping", "Keep the run's mapping, tile sizes included, on all machines.")
@repeated_option("--mapping mappings", "NAME|FILE|auto", "As for simulate.")
@use_cache_option
@approximate_option
@settings_option
@json_option
@file_option("--plot picture", "Draw the elasticities: .png, .svg or .pdf.", check_picture)
def sensitivity_command(
    workload: str,
    architecture: str,
    by: Quantity,
    fixed_mapping: bool,
    mappings: tuple[str, ...],
    use_cache: bool,
    approximate: bool,
    settings: tuple[str, ...],
    as_json: bool,
    picture: Path | None,
) -> None:
    """Vary every number of ARCH; print by how much latency, energy and area follow.

    An elasticity of -1 says: 1 % more of the number, 1 % less of the quantity. Numbers are raised
    and lowered by 10 %, whole ones doubled and halved.
    """
    from ..api import sensitivity_of_named
    from ..spec.overrides import parse_overrides

    found = sensitivity_of_named(
        *(workload, architecture, mappings, parse_overrides(settings)),
        by=by,
        remap=not fixed_mapping,
        find=found_or_searched,
        use_cache=use_cache,
        approximate=approximate,
        progress=lambda total: progress("fields", total, unit="fields"),
    )
    written: tuple[Path, ...] = ()
    if picture:
        found.plot().write(picture)
        written = (picture,)
    answer(found.to_dict, (found.table(),), as_json=as_json, written=written)
