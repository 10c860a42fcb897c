"""The specifications that ship with the project: what there is, and their texts."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from .errors import InputError, SpecError, did_you_mean
from .source import Source
from .yaml_source import MAX_CHARACTERS

Kind = Literal["cascades", "architectures", "mappings", "workloads", "technology", "reproductions"]

_SUFFIX = ".yaml"


@lru_cache(maxsize=16)
def builtin_names(kind: Kind) -> tuple[str, ...]:
    """Names of the built-in specifications of a kind, sorted; they ship with the project."""
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
    """
    names = builtin_names(kind)
    if name not in names:
        what = "technology" if kind == "technology" else kind.removesuffix("s")
        raise error(f"there is no built-in {what} '{name}'; {did_you_mean(name, names)}")
    return _builtin(kind, name)


@lru_cache(maxsize=256)
def _builtin(kind: Kind, name: str) -> Source:
    entry = files("specs").joinpath(kind, name + _SUFFIX)
    return Source(f"specs/{kind}/{name}{_SUFFIX}", entry.read_text(encoding="utf-8"))


def is_file_name(name: str) -> bool:
    """Whether a name given by a user means a file: it has a slash or a YAML/JSON suffix."""
    return "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml", ".json"))


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
