"""Registry of readers: lets a type load itself although its reader depends on the type.

``Architecture.load`` is a method of the type, and the modules that read its files build the type.
The package registers a reader for each type, so that no type imports a reader.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .overrides import Overriding

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SpecificationReader(Protocol[T_co]):
    """Function that loads a built-in specification or a file."""

    def __call__(self, name: str | PathLike[str], overrides: Overriding, /) -> T_co:
        """Return the specification of a name or path, with settings made."""
        ...


_READERS: dict[type, SpecificationReader[Any]] = {}


def register_reader(kind: type[T], reader: SpecificationReader[T]) -> None:
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
