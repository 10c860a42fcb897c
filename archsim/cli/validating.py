"""Command ``archsim validate``.

The modules that run it are imported by the command itself: ``archsim --help`` imports every
command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from einsum_cascade import Cascade
from einsum_cascade.errors import EvaluationError, InputError
from einsum_cascade.ir import DTYPES
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.yaml.library import builtin_names

from .console import answer
from .options import (
    ChoiceWithHint,
    count_option,
    flag_option,
    json_option,
    numbers_of,
    option,
    repeated_option,
)

if TYPE_CHECKING:
    from .. import Architecture, Mapping
    from ..validation.trial import ValidationReport

ALL = "all"
_CHECK_FAILED = 1


Check = tuple["ValidationReport", str | None]
"""Report of a validation, and the name of the mapping if its mapped nest ran."""


class TypeOrFormats(ChoiceWithHint):
    """Option type: a type by name, or formats of tensors such as ``default=bf16,K=fp8_e4m3``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the type's name, or a ``TensorFormats``. Raises InputError if a format does not
        exist."""
        if not isinstance(value, str) or "=" not in value:
            return super().convert(value, param, ctx)
        from ..validation.validate import formats_given

        pairs = [part.partition("=") for part in value.split(",")]
        return formats_given({name.strip(): fmt.strip() for name, _, fmt in pairs})


@click.command("validate")
@click.argument("cascades", metavar="[CASCADE...|all]", nargs=-1)
@option("--mapping", "NAME|FILE", "Run the mapped loop nest as well.")
@option("--arch", "ARCH", "The machine of --mapping; fusemax by default.")
@option("--against", "CASCADE", "Compare with another cascade of the same inputs.")
@option(
    "--dtype",
    None,
    "Type of all tensors, or formats by tensor: default=bf16,K=fp8_e4m3,accumulate=fp32",
    type=TypeOrFormats(DTYPES),
    default="float64",
)
@count_option("--seed", None, "Seed of the random inputs.", least=0, default=0)
@repeated_option(
    "--set settings",
    "RANK=N",
    "A shape (P0=4) or a parameter, instead of a random one. May be given often.",
)
@flag_option("--no-reference", "Exit with 0, too, if no reference checks a cascade.")
@json_option
@click.pass_context
def validate_command(
    context: click.Context,
    cascades: tuple[str, ...],
    mapping: str | None,
    arch: str | None,
    against: str | None,
    dtype: str | TensorFormats,
    seed: int,
    settings: tuple[str, ...],
    no_reference: bool,
    as_json: bool,
) -> None:
    """Run cascades on random numbers, and compare them with independent references.

    A cascade whose file names no reference is not checked, unless --against gives one. Shapes are
    random, except those given by --set; each of several cascades takes the shapes that it has.
    Without a CASCADE, the one of --mapping is validated, else all built-in ones. Exit code 1 if one
    fails, or is not checked without --no-reference.
    """
    from .. import Architecture, Mapping
    from ..spec.mapping import MADE
    from ..validation.mapped import check_mapping_fits
    from ..validation.validate import given_numbers, reference_for
    from ..views.analysis import validation_report

    if arch is not None and mapping is None:
        raise InputError(f"--arch {arch} is the machine of --mapping; give both")
    written = Mapping.load(mapping) if mapping and mapping not in MADE else None
    machine = Architecture.load(arch or "fusemax")
    found = [Cascade.load(name) for name in _names(cascades, written)]
    if written and ALL not in cascades:
        check_mapping_fits(written, found)
    checks: list[Check] = []
    other = Cascade.load(against) if against else None
    for cascade, numbers in zip(found, given_numbers(found, numbers_of(settings)), strict=True):
        how: dict[str, Any] = {
            "reference": reference_for(cascade, other),
            "dtype": dtype,
            "seed": seed,
            "shapes": numbers.shapes,
            "parameters": numbers.parameters,
        }
        try:
            checks += _checks(cascade, written or mapping, machine, how)
        except EvaluationError as wrong:
            # If there are many cascades, given shapes need not fit each.
            of = f"{cascade.name}: "
            problems = [p if p.span else replace(p, message=of + p.message) for p in wrong.problems]
            raise EvaluationError(problems) from None
    answer(
        lambda: [report.to_dict() | {"mapping": name} for report, name in checks],
        (validation_report(checks),),
        as_json=as_json,
    )
    unchecked = any(report.verdict == "not checked" for report, _ in checks)
    failed = any(report.ok is False for report, _ in checks) or (unchecked and not no_reference)
    context.exit(_CHECK_FAILED if failed else 0)


def _names(given: tuple[str, ...], mapping: Mapping | None) -> tuple[str, ...]:
    """Return the cascades to validate: given ones, or the mapping's, or all built-in ones."""
    if ALL in given:
        for name in given:
            if name != ALL:
                raise InputError(f"'{ALL}' stands for every built-in cascade; leave out '{name}'")
        return builtin_names("cascades")
    if mapping is not None and not given:
        return (mapping.cascade,)
    return given or builtin_names("cascades")


def _checks(
    cascade: Cascade, mapping: Mapping | str | None, machine: Architecture, how: dict[str, Any]
) -> Iterator[Check]:
    """Yield the report of the equations, then of the mapped nest if the mapping is of this cascade.

    A name stands for a generated mapping. ``how`` are arguments of ``validate_cascade``.
    """
    from mappers.construct.generators import GENERATORS

    from ..spec.mapping import FUSED
    from ..validation.mapped import mapped_run, mapped_shapes, mapping_fits
    from ..validation.validate import validate_cascade

    yield validate_cascade(cascade, **how), None
    rounded = cascade
    if not isinstance(how["dtype"], str):
        rounded = Cascade(replace(cascade.program, formats=how["dtype"]))
    if isinstance(mapping, str):
        make = GENERATORS.fuse if mapping == FUSED else GENERATORS.make
        run = mapped_run(rounded, make, machine, GENERATORS)
        yield validate_cascade(cascade, **how, run=run), mapping
    elif mapping is not None and mapping_fits(mapping, cascade):
        run = mapped_run(rounded, mapping, machine, GENERATORS)
        how["shapes"] = {**mapped_shapes(cascade, mapping, machine), **how["shapes"]}
        yield validate_cascade(cascade, **how, run=run, trials=1), mapping.name
