"""Base of specifications: they load themselves, although their readers depend on them.

``Architecture.load`` is a method of the type, and the modules that read its files build the type.
The package registers a reader for each type, so that no type imports a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, Self, TypeVar

from ..document import Document, to_html
from .overrides import Overriding

T = TypeVar("T", bound="Specification")

_READERS: dict[type, Callable[[str | PathLike[str], Overriding], Any]] = {}


def register_reader(kind: type[T], reader: Callable[[str | PathLike[str], Overriding], T]) -> None:
    """Let a type of specification load itself with a reader."""
    _READERS[kind] = reader


class Specification:
    """Machine, mapping or technology."""

    __slots__ = ()

    @classmethod
    def load(cls, name: str | PathLike[str], overrides: Overriding = ()) -> Self:
        """Load a built-in specification by name, or the one in a file.

        Parameters
        ----------
        name : str or path
            A built-in name; anything with a slash or ending in ``.yaml`` is a file.
        overrides : iterable of str
            Settings such as ``arrays.array_2d.shape.rows=128``; those of a machine's technology
            begin with ``technology.``.

        Raises
        ------
        SpecError
            The specification does not exist or is wrong.
        """
        found: Self = _READERS[cls](name, overrides)
        return found

    def _card(self) -> Document:
        """Return a summary."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return to_html(self._card())
