"""Registry of readers: lets a type load itself although its reader depends on the type.

``Architecture.load`` is a method of the type, and the modules that read its files build the type.
The package registers a reader for each type, so that no type imports a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, TypeVar

from .overrides import Overriding

T = TypeVar("T")

_READERS: dict[type, Callable[[str | PathLike[str], Overriding], Any]] = {}


def register_reader(kind: type[T], reader: Callable[[str | PathLike[str], Overriding], T]) -> None:
    """Let ``read`` load a type of specification with a reader."""
    _READERS[kind] = reader


def read(kind: type[T], name: str | PathLike[str], overrides: Overriding) -> T:
    """Load a specification of a type.

    Raises
    ------
    SpecError
        The specification does not exist or is wrong.
    """
    found: T = _READERS[kind](name, overrides)
    return found
