"""Specification files by name: reading one, and names in one that mean another."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ..errors import InputError, Problem, SpecError
from ..source import Source, Span
from .edit import Setting, SettingSpan, apply_settings
from .library import (
    Kind,
    builtin_hint,
    builtin_names,
    builtin_source,
    file_is_there,
    is_file_name,
    no_builtin,
    read_source,
)
from .source import YamlNode, read_yaml


def spec_tree(
    kind: Kind,
    name: str | os.PathLike[str],
    settings: Iterable[Setting] = (),
    error: type[InputError] = SpecError,
) -> YamlNode:
    """The tree of a built-in specification or a file, with settings made.

    Parameters
    ----------
    kind : str
        The folder of the built-in ones.
    name : str or path
        A text with a slash or a ``.yaml``/``.json`` suffix is a file, as is any path
        object; every other text is a built-in name.
    settings : iterable of Setting
        Applied from the root of the file.

    Raises
    ------
    InputError
        (as ``error``) There is none, it is not YAML, or a setting has no place in it.
    """
    if isinstance(name, str) and not is_file_name(name):
        source = builtin_source(kind, name, error)
    else:
        source = read_source(name, error)
    try:
        root = _tree(source)
    except SpecError as wrong:
        raise error(wrong.problems) from None
    return apply_settings(root, settings, error)


@lru_cache(maxsize=32)
def _tree(source: Source) -> YamlNode:
    """The tree of a text: many settings may be made in it, one after the other."""
    return read_yaml(source)


def referred(kind: Kind, name: str, span: Span, error: type[InputError] = SpecError) -> str:
    """A built-in name, or a file's path seen from here, that was written at ``span``.

    A path is relative to the file that holds it; in a setting, to where the user is.

    Raises
    ------
    InputError
        (as ``error``) There is none; says the nearest built-in name.

    Parameters
    ----------
    kind : str
        The folder of the built-in ones.
    name : str
        A built-in name or a file's.
    span : Span
        Where it was written: in a file, or in a setting.
    error : type of InputError, optional
        Which error a wrong name is.

    Returns
    -------
    str
        What ``spec_tree`` takes.
    """
    if is_file_name(name):
        beside = "" if isinstance(span, SettingSpan) else Path(span.source.name).parent
        path = beside / Path(name)
        if not file_is_there(path):
            raise error(Problem(f"there is no file '{path}'", span))
        found = str(path)
        return found if is_file_name(found) else f"./{found}"
    if name not in builtin_names(kind):
        raise error(Problem(no_builtin(kind, name), span, builtin_hint(kind, name)))
    return name
