"""Base of specifications, which gives each type a ``load`` method.

``Architecture.load`` is a method of the type, but the modules that read its files build the type.
The package therefore registers a reader for each type, so that no type imports its reader.
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
    """Register the function that reads a type of specification; its ``load`` calls the function."""
    _READERS[kind] = reader


class Specification:
    """Base class of machines, mappings and technologies."""

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

    def card(self) -> Document:
        """Return a summary of the specification for display."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return to_html(self.card())
