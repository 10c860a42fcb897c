"""``archsim validate``.

What runs it is imported when it runs: ``archsim --help`` imports every command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from einsum_cascade import Cascade
from einsum_cascade.errors import CascadeError, InputError, did_you_mean
from einsum_cascade.ir import DTYPES
from einsum_cascade.yaml.library import builtin_names

from .console import show, show_json
from .options import Known, json_option

if TYPE_CHECKING:
    from workloads.references import Reference

    from .. import Architecture, Mapping
    from ..validation.report import ValidationReport

ALL = "all"
_CHECK_FAILED = 1


@dataclass(frozen=True)
class Check:
    """One cascade run and compared; ``mapping`` where its mapped nest was what ran."""

    report: ValidationReport
    mapping: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object of ``validate --json``."""
        return self.report.to_dict() | {"mapping": self.mapping}


@click.command("validate")
@click.argument("cascades", metavar="[CASCADE...|all]", nargs=-1)
@click.option("--mapping", metavar="NAME|FILE", help="Run the mapped loop nest as well.")
@click.option("--arch", metavar="ARCH", default="fusemax", help="The machine of --mapping.")
@click.option("--dtype", type=Known(DTYPES), default="float64", show_default=True)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs."
)
@json_option
@click.pass_context
def validate_command(
    context: click.Context,
    cascades: tuple[str, ...],
    mapping: str | None,
    arch: str,
    dtype: str,
    seed: int,
    as_json: bool,
) -> None:
    """Run cascades on random numbers and compare them with independent references.

    Without a CASCADE: the one of --mapping, else all built-in ones. Exit code 1 if one fails.
    """
    from .. import Architecture, Mapping
    from ..report.cascades import validation_report
    from ..spec.mapping import EINSUM_BY_EINSUM
    from ..validation.mapped import check_mapping_fits

    derived = mapping == EINSUM_BY_EINSUM
    chosen = Mapping.load(mapping) if mapping and not derived else None
    machine = Architecture.load(arch)
    found = [Cascade.load(name) for name in _names(cascades, chosen)]
    if chosen and ALL not in cascades:
        check_mapping_fits(chosen, found)
    checks: list[Check] = []
    for cascade in found:
        checks += _checks(cascade, chosen, machine, dtype, seed)
        checks += _derived_check(cascade, machine, dtype, seed) if derived else ()
    if as_json:
        show_json([c.to_dict() for c in checks])
    else:
        show(validation_report([(c.report, c.mapping) for c in checks]))
    context.exit(0 if all(c.report.ok for c in checks) else _CHECK_FAILED)


def _names(given: tuple[str, ...], mapping: Mapping | None) -> tuple[str, ...]:
    """What to validate: as given, else the mapping's cascade, else everything built in."""
    if ALL in given:
        for name in given:
            if name != ALL:
                raise InputError(f"'{ALL}' stands for every built-in cascade; leave out '{name}'")
    elif given:
        return given
    if mapping is not None and not given:
        return (mapping.cascade,)
    return builtin_names("cascades")


def _checks(
    cascade: Cascade, mapping: Mapping | None, machine: Architecture, dtype: str, seed: int
) -> Iterator[Check]:
    """The equations, and the mapped nest where the mapping is for this cascade."""
    from mappers.generators import GENERATORS

    from ..validation.check import validate_cascade
    from ..validation.mapped import mapped_run, mapped_shapes, mapping_fits

    reference = _reference(cascade)
    yield Check(validate_cascade(cascade, reference=reference, dtype=dtype, seed=seed))
    if mapping is not None and mapping_fits(mapping, cascade):
        run = mapped_run(cascade, mapping, machine, GENERATORS)
        shapes = mapped_shapes(cascade, mapping, machine)
        report = validate_cascade(
            cascade, reference=reference, shapes=shapes, dtype=dtype, seed=seed, trials=1, run=run
        )
        yield Check(report, mapping.name)


def _derived_check(
    cascade: Cascade, machine: Architecture, dtype: str, seed: int
) -> Iterator[Check]:
    """The nest of the mapping that is made for the cascade."""
    from mappers.generators import GENERATORS

    from ..spec.mapping import EINSUM_BY_EINSUM
    from ..validation.check import validate_cascade
    from ..validation.mapped import mapped_run

    run, reference = mapped_run(cascade, None, machine, GENERATORS), _reference(cascade)
    report = validate_cascade(cascade, reference=reference, dtype=dtype, seed=seed, run=run)
    yield Check(report, EINSUM_BY_EINSUM)


def _reference(cascade: Cascade) -> Reference | None:
    """The reference the cascade's file names, or None where it names none."""
    from workloads.references import REFERENCES, find_reference

    name = cascade.program.reference
    if not name:
        return None
    reference = find_reference(name)
    if reference is None:
        hint = did_you_mean(name, [r.name for r in REFERENCES])
        raise CascadeError(f"{cascade.name}: there is no reference '{name}'; {hint}")
    return reference
