"""Specification files: built-in ones by name, files of users, and references between files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from ..errors import InputError, Problem, SpecError, did_you_mean, nearest
from ..source import Source, Span
from .edit import Setting, SettingSpan, apply_settings
from .source import MAX_CHARACTERS, YamlNode, read_yaml, shorten

Kind = Literal["cascades", "architectures", "mappings", "workloads", "technology", "reproductions"]

_SUFFIX = ".yaml"

_MAX_LISTED_NAMES = 20
"""More names than these are not told one by one."""


@lru_cache(maxsize=16)
def builtin_names(kind: Kind) -> tuple[str, ...]:
    """Names of the built-in specifications of a kind, sorted; they ship with the project.

    Parameters
    ----------
    kind : str
        The folder of ``specs`` they are in.

    >>> [n for n in builtin_names("cascades") if n.startswith("ssd-")]
    ['ssd-chunked', 'ssd-chunked-prefill', 'ssd-chunked-resumed', 'ssd-recurrent', 'ssd-step']
    """
    folder = files("specs").joinpath(kind)
    if not folder.is_dir():
        return ()
    names = (entry.name for entry in folder.iterdir() if entry.is_file())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX)))


def builtin_source(kind: Kind, name: str, error: type[InputError] = SpecError) -> Source:
    """The text of a built-in specification.

    Raises
    ------
    InputError
        (as ``error``) There is none of that name; says the nearest.

    Parameters
    ----------
    kind : str
        The folder of ``specs`` it is in.
    name : str
        Without its suffix.
    error : type of InputError, optional
        Which error a wrong name is.

    Returns
    -------
    Source
        Its text, under the name ``specs/kind/name.yaml``.
    """
    if name not in builtin_names(kind):
        raise error(f"{no_builtin(kind, name)}; {builtin_hint(kind, name)}")
    return _builtin(kind, name)


def no_builtin(kind: Kind, name: str) -> str:
    """That there is no built-in specification of a kind and name, in words."""
    return f"there is no built-in {_kind_word(kind)} '{shorten(name)}'"


def builtin_hint(kind: Kind, name: str) -> str:
    """What a wrong name may have meant: the nearest, one of another kind, or where they are."""
    names = builtin_names(kind)
    others = [_kind_word(k) for k in get_args(Kind) if k != kind and name in builtin_names(k)]
    meant = similar_builtins(kind, name)
    if not others and nearest(name, meant) is not None:
        return did_you_mean(name, meant)
    if not others and len(names) <= _MAX_LISTED_NAMES:
        return f"known: {', '.join(sorted(names))}"
    listed = "technologies" if kind == "technology" else kind
    where = f"'archsim list {listed}' names all {len(names)}"
    if not others:
        return where
    if kind == "workloads" and others[0] == "cascade":
        where = cascade_setting(name)
    return f"that is the name of {'an' if others[0][0] in 'aeiou' else 'a'} {others[0]}; {where}"


def cascade_setting(name: str) -> str:
    """What to write where a cascade was given as a workload, whose shapes it would run on.

    Parameters
    ----------
    name : str
        The cascade's, or its file.
    """
    return f"name a workload for its shapes, and set its cascade: --set cascade={name}"


def similar_builtins(kind: Kind, name: str) -> tuple[str, ...]:
    """Built-in names that a wrong one may have meant.

    A model of another size, or of another number, is another model: ``qwen3-30b`` may have meant
    ``qwen3-30b-a3b``, and never ``qwen3-8b``.

    Parameters
    ----------
    kind : str
        The folder of the built-in ones.
    name : str
        As it was written.
    """
    names = builtin_names(kind)
    if kind != "workloads":
        return names
    numbers = _numbers(name)
    return tuple(n for n in names if _numbers(n)[: len(numbers)] == numbers)


def _numbers(name: str) -> list[str]:
    return re.findall(r"\d+", name)


def _kind_word(kind: Kind) -> str:
    return "technology" if kind == "technology" else kind.removesuffix("s")


@lru_cache(maxsize=256)
def _builtin(kind: Kind, name: str) -> Source:
    entry = files("specs").joinpath(kind, name + _SUFFIX)
    return Source(f"specs/{kind}/{name}{_SUFFIX}", entry.read_text(encoding="utf-8"))


def is_file_name(name: str) -> bool:
    """Whether a name given by a user means a file: it has a slash or a YAML/JSON suffix.

    Returns
    -------
    bool
        By the name alone; whether there is such a file is not asked.

    >>> is_file_name("mine.yaml"), is_file_name("./mine"), is_file_name("attention-1pass")
    (True, True, False)
    """
    return "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml", ".json"))


def file_exists(path: Path) -> bool:
    """Whether there is such a file; a path that no system takes is of none.

    Parameters
    ----------
    path : Path
        As somebody wrote it: it may be longer than a path can be.
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def folder_exists(path: Path) -> bool:
    """As ``file_exists``, of a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_source(path: str | os.PathLike[str], error: type[InputError] = SpecError) -> Source:
    """The text of a user's file.

    Raises
    ------
    InputError
        (as ``error``) The file cannot be read, is too large, or is not UTF-8 text.
    """
    name = os.fspath(path)
    try:
        # Reading a little more than is allowed finds out about endless files too.
        with Path(name).open("rb") as file:
            data = file.read(MAX_CHARACTERS + 1)
    except OSError as wrong:
        reason = wrong.strerror or "cannot be read"
        raise error(f"{name}: {reason[0].lower()}{reason[1:]}") from None
    except ValueError:
        raise error(f"{name!a}: cannot be a file name") from None
    if len(data) > MAX_CHARACTERS:
        raise error(f"{name}: more than {MAX_CHARACTERS} bytes are too many for a specification")
    try:
        return Source(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise error(f"{name}: the file is not UTF-8 text") from None


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


def resolve_reference(
    kind: Kind, name: str, span: Span, error: type[InputError] = SpecError
) -> str:
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
        if not file_exists(path):
            raise error(Problem(f"there is no file '{path}'", span))
        found = str(path)
        return found if is_file_name(found) else f"./{found}"
    if name not in builtin_names(kind):
        raise error(Problem(no_builtin(kind, name), span, builtin_hint(kind, name)))
    return name
