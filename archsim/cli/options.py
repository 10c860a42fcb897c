"""Options of several commands: choices that suggest a nearest name, paths, settings, JSON.

A folder (``--out DIR``) is created with its parents; a file (``--trace FILE``, ``rewrite --out
FILE``) goes into an existing folder. Both are checked before the work begins.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

import click

from einsum_cascade.errors import CascadeError, InputError, nearest

if TYPE_CHECKING:
    from einsum_cascade.yaml.edit import Setting

    from ..spec.overrides import Overrides


class ChoiceWithHint(click.Choice[str]):
    """Option type of a choice; an error suggests the nearest word for a wrong one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return click's error message, with the nearest choice added."""
        message = super().get_invalid_choice_message(value, ctx)
        close = nearest(str(value), self.choices)
        return f"{message} Did you mean '{close}'?" if close else message


class NamedPath(click.ParamType[Path]):
    """Option type of a path, which must not be empty: click takes an empty path for the working
    folder.

    ``check`` refuses a path that cannot be written.
    """

    name = "path"

    def __init__(self, check: Callable[[Path], None] | None = None) -> None:
        self.check = check

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the checked path. Raises InputError."""
        if isinstance(value, str) and not value.strip():
            self.fail("the name is empty; the working folder is '.'", param, ctx)
        if self.check is not None:
            self.check(Path(value))
        return Path(value)


def check_folder(folder: Path) -> None:
    """Raise an error if an output folder is a file, or lies in a file.

    Raises
    ------
    InputError
        The path, or a folder it lies in, exists and is no folder.
    """
    for place in (folder, *folder.parents):
        if (is_folder := _is_folder(place)) is not None:
            if is_folder:
                return
            what = "it" if place == folder else place
            raise InputError(f"cannot write into {folder}: {what} is not a folder")


def check_file(path: Path) -> None:
    """Raise an error if an output file lies in a missing folder, or is a folder.

    Raises
    ------
    InputError
        The path is a folder, or its folder does not exist.
    """
    if _is_folder(path):
        raise InputError(f"cannot write {path}: it is a folder")
    if not (there := _is_folder(path.parent)):
        what = "not there" if there is None else "not a folder"
        raise InputError(f"cannot write {path}: the folder {path.parent} is {what}")


def check_picture(path: Path) -> None:
    """Raise an InputError if a file is no picture by its suffix, or cannot be written."""
    from ..figure_style import check_suffix

    check_suffix(path)
    check_file(path)


def _is_folder(path: Path) -> bool | None:
    """Return whether a path is a folder; None if nothing exists there.

    Raises
    ------
    InputError
        No system takes such a path.
    """
    try:
        return S_ISDIR(path.stat().st_mode)
    except OSError as wrong:
        if wrong.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"cannot write {path}: {(wrong.strerror or '').lower()}") from None
        return None


Decorate = Callable[[Any], Any]
"""Function that adds an option to a command."""


def option(names: str, metavar: str | None, help_text: str, **how: Any) -> Decorate:
    """Return an option of one value, whose default, if any, is shown.

    Parameters
    ----------
    names : str
        Name of the option, and of its parameter if the parameter has another one.
    **how
        Further arguments of ``click.option``.
    """
    shown = "default" in how
    return click.option(*names.split(), metavar=metavar, help=help_text, show_default=shown, **how)


def flag_option(names: str, help_text: str) -> Decorate:
    """Return an option without a value."""
    return click.option(*names.split(), is_flag=True, help=help_text)


def repeated_option(names: str, metavar: str | None, help_text: str, **how: Any) -> Decorate:
    """Return an option that may be given several times."""
    return option(names, metavar, help_text, multiple=True, **how)


def choice_option(names: str, choices: Iterable[str], help_text: str, **how: Any) -> Decorate:
    """Return an option whose value is one of some words."""
    return option(names, None, help_text, type=ChoiceWithHint([*choices]), **how)


def count_option(names: str, metavar: str | None, help_text: str, **how: Any) -> Decorate:
    """Return an option whose value is a whole number: at least 1, or ``least``."""
    how["type"] = click.IntRange(min=how.pop("least", 1), max=how.pop("most", None))
    return option(names, metavar, help_text, **how)


def file_option(names: str, help_text: str, check: Callable[[Path], None] = check_file) -> Decorate:
    """Return an option whose value is a file to write."""
    return option(names, "FILE", help_text, type=NamedPath(check))


def out_option(help_text: str, **how: Any) -> Decorate:
    """Return the option ``--out DIR``."""
    return option("--out", "DIR", help_text, type=NamedPath(check_folder), **how)


json_option = flag_option("--json as_json", "Print JSON and nothing else.")

use_cache_option = flag_option("--use-cache", "Also consider mappings that searches found before.")

approximate_option = flag_option(
    "--approximate", "Accept a mapping that computes something else than the workload."
)

settings_option = repeated_option(
    "--set settings",
    "FIELD=VALUE",
    "Set a field; K, M, G are binary (seq_len=64K). May be repeated.",
)


def refuse_mapping_settings(
    command: str, given: Overrides, why: str = "machines run mappings of their own"
) -> None:
    """Raise an error for ``--set mapping.FIELD`` if several mappings run, or a generated one.

    Raises
    ------
    InputError
        A setting is a mapping's.
    """
    if given.mapping:
        text = f"{command}: {why}, so --set mapping.FIELD is not taken"
        raise InputError(text, given.mapping[0].span, "put it into a file of yours")


def numbers_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """Return the number of each setting of a cascade by name, such as ``M=64K`` or ``lam=0.9``.

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
        raise CascadeError(wrong.message(), setting.value.span) from None
