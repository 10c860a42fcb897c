"""Command ``archsim compare``."""

from __future__ import annotations

from pathlib import Path

import click

from einsum_cascade.errors import InputError, Problem, did_you_mean

from .console import answer, found_or_searched
from .files import write_numbers
from .options import (
    approximate_option,
    flag_option,
    json_option,
    option,
    out_option,
    refuse_mapping_settings,
    repeated_option,
    settings_option,
    use_cache_option,
)


@click.command("compare")
@click.argument("workload")
@click.argument("architectures", metavar="ARCH ARCH...", nargs=-1, required=True)
@flag_option("--iso-area", "Scale all machines to the area of the first.")
@flag_option(
    "--iso-power", "Compare as many copies of each machine as draw the power of the first."
)
@flag_option("--as-built", "Compare the machines with the losses that their files state.")
@option("--scale", "WHAT", "With --iso-area: arrays (default), copies, or a memory by its name.")
@repeated_option(
    "--mapping mappings",
    "ARCH=NAME|FILE|auto",
    "Mapping of one machine; may be repeated. auto alone: the best for each machine.",
)
@use_cache_option
@approximate_option
@settings_option
@json_option
@out_option("Write tables and pictures.")
def compare_command(
    workload: str,
    architectures: tuple[str, ...],
    iso_area: bool,
    iso_power: bool,
    as_built: bool,
    scale: str | None,
    mappings: tuple[str, ...],
    use_cache: bool,
    approximate: bool,
    settings: tuple[str, ...],
    as_json: bool,
    out: Path | None,
) -> None:
    """Simulate a WORKLOAD on several machines; relate each ARCH to the first.

    speedup is the first's latency over the machine's own; energy and area are the
    machine's over the first's. --set architecture.FIELD=VALUE is for every machine.
    """
    from mappers.construct.generators import generators_of
    from workloads import load

    from ..comparison.compare import compare_contenders, contender_of
    from ..comparison.report import comparison_csv
    from ..spec.files.load import load_architectures
    from ..spec.overrides import parse_overrides

    if scale is not None and not iso_area:
        raise InputError(f"--scale {scale} says what --iso-area scales; give both")
    given = parse_overrides(settings)
    refuse_mapping_settings("compare", given)
    chosen = _mappings(mappings, architectures)
    work = load(workload, given.workload)
    generators = generators_of(use_cache=use_cache)
    machines = load_architectures(architectures, given)
    comparison = compare_contenders(
        work,
        [
            contender_of(
                *(name, machine, chosen.get(name), work),
                find=found_or_searched,
                generators=generators,
            )
            for name, machine in zip(architectures, machines, strict=True)
        ],
        iso_area=iso_area,
        iso_power=iso_power,
        as_built=as_built,
        scale=scale or "arrays",
        generators=generators,
        approximate=approximate,
    )
    written: tuple[Path, ...] = ()
    if out:
        texts = {"table.csv": comparison_csv(comparison)}
        written = write_numbers(out, "compare", comparison.to_dict(), comparison.plot(), texts)
    answer(comparison.to_dict, (comparison.table(),), as_json=as_json, written=written)


def _mappings(texts: tuple[str, ...], machines: tuple[str, ...]) -> dict[str, str]:
    """Return the value of ``--mapping`` for each machine."""
    from ..spec.mapping import AUTO

    found: dict[str, str] = {}
    if AUTO in texts:
        if len(texts) > 1:
            raise InputError(f"--mapping {AUTO} is for every machine: give no other beside it")
        return dict.fromkeys(machines, AUTO)
    for text in texts:
        # A file name may contain '=', and one machine's name may begin with another's.
        owners = [m for m in machines if text.startswith(f"{m}=") and len(text) > len(m) + 1]
        if not owners:
            raise InputError(_no_owner(text, machines))
        owner = max(owners, key=len)
        if owner in found:
            raise InputError(f"--mapping: {owner} is given two mappings")
        found[owner] = text[len(owner) + 1 :]
    return found


def _no_owner(text: str, machines: tuple[str, ...]) -> Problem:
    """Return an error about a ``--mapping`` for a machine that is not compared."""
    name, equals, _ = text.partition("=")
    if text[:-1] in machines and text.endswith("="):
        return Problem(f"--mapping {text}: a mapping's name is expected after '='")
    hint = did_you_mean(name, machines) if equals else f"write {machines[0]}={text}"
    what = f"--mapping {text}: expected ARCH=NAME with one of the machines compared"
    return Problem(what, hint=hint)
