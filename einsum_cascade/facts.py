"""Facts that follow from a frozen record, worked out once and kept with it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Facts:
    """A frozen record that keeps what others work out from it.

    A property is for facts that the record's own room knows of; ``once`` is for rooms above it.
    """

    @cached_property
    def _facts(self) -> dict[Hashable, Any]:
        return {}

    def once(self, make: Callable[Concatenate[Self, P], T], *given: P.args, **none: P.kwargs) -> T:
        """What a function makes of the record, worked out the first time it is asked for.

        Parameters
        ----------
        make : callable
            At the top of a module: it is known by its identity.
        given : hashable
            What else it takes.
        """
        key = (make, given)
        if key not in self._facts:
            self._facts[key] = make(self, *given, **none)
        found: T = self._facts[key]
        return found

    def __getstate__(self) -> dict[str, Any]:
        """The record alone: who receives it works out what it needs."""
        return {name: value for name, value in self.__dict__.items() if name != "_facts"}
