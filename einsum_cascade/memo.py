"""Memoization on frozen records: derived values are computed once and kept with the record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from typing_extensions import override

P = ParamSpec("P")
T = TypeVar("T")


class cached_property(functools.cached_property[T]):
    """A property that is worked out once, without the lock that Python had until 3.12.

    A run asks for some hundred of them, and the lock took longer than most.

    >>> class Square:
    ...     def __init__(self, side):
    ...         self.side = side
    ...     @cached_property
    ...     def area(self):
    ...         return self.side**2
    >>> square = Square(3)
    >>> square.area, vars(square)
    (9, {'side': 3, 'area': 9})
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    @override
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        name = self.attrname
        assert name is not None, "a property has a name"
        found = vars(instance)[name] = self.func(instance)
        return found


class lazy_field(Generic[T]):
    """A field of a dataclass that may be given as what works it out, when it is first asked for.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Sum:
    ...     of: int
    ...     total: lazy_field[int] = lazy_field(0)
    >>> Sum(3, lambda: print("adding") or 1 + 2 + 3).total
    adding
    6
    >>> Sum(3, lambda: 6) == Sum(3, 6), Sum(3)
    (True, Sum(of=3, total=0))
    """

    def __init__(self, default: T) -> None:
        self._default = default

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> T:
        if instance is None:
            return self._default
        found = vars(instance)[self._name]
        if callable(found):
            found = vars(instance)[self._name] = found()
        known: T = found
        return known

    def __set__(self, instance: object, value: T | Callable[[], T]) -> None:
        vars(instance)[self._name] = value


class Memoized:
    """A frozen record that keeps what others work out from it.

    A property is for facts that the record's own room knows of; ``memo`` is for rooms above it.
    """

    @cached_property
    def _memo(self) -> dict[Hashable, Any]:
        return {}

    def memo(self, make: Callable[Concatenate[Self, P], T], *given: P.args, **none: P.kwargs) -> T:
        """What a function makes of the record, worked out the first time it is asked for.

        Parameters
        ----------
        make : callable
            At the top of a module: it is known by its identity.
        given : hashable
            What else it takes.
        """
        key = (make, given)
        if key not in self._memo:
            self._memo[key] = make(self, *given, **none)
        found: T = self._memo[key]
        return found

    def seed(
        self, make: Callable[Concatenate[Self, P], T], value: T, *given: P.args, **none: P.kwargs
    ) -> None:
        """Keep what ``memo`` would make: whoever made the record may know it already.

        >>> class Half(Memoized):
        ...     pass
        >>> def size(half):
        ...     return 1
        >>> half = Half()
        >>> half.seed(size, 2)
        >>> half.memo(size)
        2
        """
        del none
        self._memo[make, given] = value

    def __getstate__(self) -> dict[str, Any]:
        """The record alone: who receives it works out what it needs."""
        return {name: value for name, value in self.__dict__.items() if name != "_memo"}


class IdentityCache(Generic[T]):
    """What was made of some objects lately, told apart by which objects they are.

    Two that are equal may have been written in different places.

    >>> recent = IdentityCache[str](kept=2)
    >>> one, other = [1], [1]
    >>> recent.keep("one", one), recent.find(one), recent.find(other)
    ('one', 'one', None)
    """

    def __init__(self, kept: int = 8) -> None:
        self._kept = kept
        self._found: list[tuple[tuple[object, ...], T]] = []

    def find(self, *of: object) -> T | None:
        """What was made of just these objects, if it is still known."""
        for known, value in self._found:
            if all(one is other for one, other in zip(known, of, strict=True)):
                return value
        return None

    def keep(self, value: T, *of: object) -> T:
        """Remember what was made of some objects, and forget the oldest."""
        self._found = [(of, value), *self._found[: self._kept - 1]]
        return value
