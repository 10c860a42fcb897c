"""The specifications that ship with the project: what there is, and their texts."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from ..errors import InputError, SpecError, did_you_mean, nearest
from ..source import Source
from .source import MAX_CHARACTERS, shorten

Kind = Literal["cascades", "architectures", "mappings", "workloads", "technology", "reproductions"]

_SUFFIX = ".yaml"

_MOST_LISTED = 20
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
    return f"there is no built-in {_word(kind)} '{shorten(name)}'"


def builtin_hint(kind: Kind, name: str) -> str:
    """What a wrong name may have meant: the nearest, one of another kind, or where they are."""
    names = builtin_names(kind)
    others = [_word(k) for k in get_args(Kind) if k != kind and name in builtin_names(k)]
    meant = could_mean(kind, name)
    if not others and nearest(name, meant) is not None:
        return did_you_mean(name, meant)
    if not others and len(names) <= _MOST_LISTED:
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


def could_mean(kind: Kind, name: str) -> tuple[str, ...]:
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


def _word(kind: Kind) -> str:
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


def file_is_there(path: Path) -> bool:
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


def folder_is_there(path: Path) -> bool:
    """As ``file_is_there``, of a folder."""
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
