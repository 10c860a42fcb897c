"""Options of several commands: choices that suggest a nearest name, settings, JSON."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from einsum_cascade.errors import CascadeError, InputError, Problem, nearest

if TYPE_CHECKING:
    from einsum_cascade.yaml.edit import Setting

    from ..spec.overrides import Overrides


class ChoiceWithHint(click.Choice[str]):
    """Choice that suggests the nearest word for a wrong one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return click's message with the nearest choice."""
        message = super().get_invalid_choice_message(value, ctx)
        close = nearest(str(value), self.choices)
        return f"{message} Did you mean '{close}'?" if close else message


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Set a field; K, M, G are binary (seq_len=64K). May be repeated.",
)


def refuse_mapping_settings(
    command: str, given: Overrides, why: str = "machines run mappings of their own"
) -> None:
    """Refuse ``--set mapping.FIELD`` if several mappings run, or a generated one.

    Raises
    ------
    InputError
        A setting is a mapping's.
    """
    if given.mapping:
        text = f"{command}: {why}, so --set mapping.FIELD is not taken"
        raise InputError(Problem(text, given.mapping[0].span, "put it into a file of yours"))


def numbers_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """Return names and numbers of settings such as ``M=64K`` or ``lam=0.9``, for a cascade.

    Raises
    ------
    CascadeError
        One is not a name and a number.
    """
    from einsum_cascade.yaml.edit import parse_setting

    parsed = [parse_setting(text, error=CascadeError) for text in settings]
    return {setting.field: _number(setting) for setting in parsed}


def _number(setting: Setting) -> int | float:
    from pydantic_core import PydanticCustomError

    from einsum_cascade.yaml.schema import parse_count

    value = setting.value.plain()
    if isinstance(value, float) and isfinite(value):
        return int(value) if value == int(value) else value
    try:
        return parse_count(value)
    except PydanticCustomError as wrong:
        raise CascadeError(Problem(wrong.message(), setting.value.span)) from None
