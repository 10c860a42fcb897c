"""Caches: values kept with the record they derive from, and values by key up to a limit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, get_args, overload

from typing_extensions import override

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound="Memoized")
K = TypeVar("K", bound=Hashable)

_MISSING: Final[Any] = object()
"""Stands for a value that is not kept."""


class cached_property(functools.cached_property[T]):
    """Property computed once, without the lock that Python takes before version 3.12.

    A run reads hundreds of these properties, and the lock takes longer than most of them.

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
    """Dataclass field that may be given as a function, called when the field is first read.

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

    def __init__(self, *default: T) -> None:
        self._default = default

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> T:
        if instance is None:
            if not self._default:
                raise AttributeError(self._name)  # A dataclass then requires the field.
            return self._default[0]
        found = vars(instance)[self._name]
        if callable(found):
            found = vars(instance)[self._name] = found()
        known: T = found
        return known

    def __set__(self, instance: object, value: T | Callable[[], T]) -> None:
        vars(instance)[self._name] = value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Return the schema of the value, for pydantic."""
        return handler(get_args(source)[0])


class Memoized:
    """Frozen record that keeps values once they are derived from it.

    Use a cached property or a ``memoized`` method for values that the record's own module derives,
    and ``memo`` for values that other modules derive.
    """

    @cached_property
    def _memo(self) -> dict[Hashable, Any]:
        return {}

    def memo(self, make: Callable[Concatenate[Self, P], T], *given: P.args, **none: P.kwargs) -> T:
        """Return ``make(self, *given)``, computed on the first call.

        Parameters
        ----------
        make : callable
            Function at the top level of a module; its identity is part of the key.
        given : hashable
            Further arguments of ``make``.
        """
        known, key = self._memo, (make, given)
        found: T = known.get(key, _MISSING)
        if found is _MISSING:
            found = known[key] = make(self, *given, **none)
        return found

    def has(
        self, make: Callable[Concatenate[Self, P], T], *given: P.args, **none: P.kwargs
    ) -> bool:
        """Return whether ``memo`` has computed the value before."""
        del none
        return (make, given) in self._memo

    def seed(
        self, make: Callable[Concatenate[Self, P], T], value: T, *given: P.args, **none: P.kwargs
    ) -> None:
        """Set the value that ``memo`` returns; the maker of the record may already know it.

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

    def forget(self) -> None:
        """Drop all values that ``memo`` has computed; they are computed again when asked for."""
        self._memo.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Return the record without its derived values, which the receiver computes again."""
        return {name: value for name, value in self.__dict__.items() if name != "_memo"}


def memoized(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Return a decorated method of a ``Memoized`` record that runs once for equal arguments.

    >>> class Power(Memoized):
    ...     @memoized
    ...     def of(self, base):
    ...         print("multiplying")
    ...         return base**3
    >>> power = Power()
    >>> power.of(2), power.of(2)
    multiplying
    (8, 8)
    >>> power.of(base=2)
    Traceback (most recent call last):
    ...
    AssertionError: values are known by positional arguments alone
    """

    def memoizing(self: M, /, *given: P.args, **none: P.kwargs) -> T:
        # As ``memo``, without a second call: runs read these values thousands of times.
        assert not none, "values are known by positional arguments alone"
        known, key = self._memo, (method, given)
        found: T = known.get(key, _MISSING)  # One look: keys are hashed anew at each.
        if found is _MISSING:
            found = known[key] = method(self, *given, **none)
        return found

    functools.update_wrapper(memoizing, method)
    return memoizing


class Key:
    """Key of several hashable values; its hash is computed once, so a record may carry its key.

    >>> Key("a", 1) == Key("a", 1), Key("a") == Key("b")
    (True, False)
    """

    __slots__ = ("_hash", "_values")

    def __init__(self, *values: Hashable) -> None:
        self._values = values
        self._hash = hash(values)

    @override
    def __hash__(self) -> int:
        return self._hash

    @override
    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Key) and self._hash == other._hash and self._values == other._values
        )


class Identity:
    """Key that stands for one object and equals only a key of the same object.

    Equal records may come from different places of a file, and a hash of a record takes long.

    >>> one, other = [1], [1]
    >>> Identity(one) == Identity(one), Identity(one) == Identity(other)
    (True, False)
    """

    __slots__ = ("_object",)

    def __init__(self, keyed: object) -> None:
        self._object = keyed

    @override
    def __hash__(self) -> int:
        return id(self._object)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._object is other._object


class Cache(Generic[T]):
    """Cache of values by key; if it is full, the least recently used value is dropped.

    Parameters
    ----------
    max_entries : int, optional
        Number of values to keep; all by default.

    Examples
    --------
    >>> squares = Cache[int](max_entries=2)
    >>> [squares.get(side, lambda: side**2) for side in (1, 2, 1, 3)]
    [1, 4, 1, 9]
    >>> squares.find(1), squares.find(2), len(squares)
    (1, None, 2)
    """

    def __init__(self, max_entries: int | None = None) -> None:
        self._max_entries = max_entries
        self._values: dict[Hashable, T] = {}

    def __len__(self) -> int:
        return len(self._values)

    def find(self, key: Hashable) -> T | None:
        """Return the stored value of a key, or None."""
        if key not in self._values:
            return None
        # A dict keeps the order of insertion: the most recently used value comes last.
        found = self._values[key] = self._values.pop(key)
        return found

    def keep(self, key: Hashable, value: T) -> T:
        """Store a value, drop the least recently used one if the cache is full, and return it."""
        self._values.pop(key, None)
        self._values[key] = value
        if self._max_entries is not None and len(self._values) > self._max_entries:
            del self._values[next(iter(self._values))]
        return value

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key, which is made on first use; a value None is made again."""
        found = self.find(key)
        return self.keep(key, make()) if found is None else found


class Interner(Generic[K]):
    """Numbering of keys: equal keys share a number, given in the order of first use.

    >>> numbers = Interner[str]()
    >>> [numbers(key) for key in ("a", "b", "a")], numbers[1]
    ([0, 1, 0], 'b')
    """

    def __init__(self) -> None:
        self.keys: list[K] = []
        self._numbers: dict[K, int] = {}

    def __call__(self, key: K) -> int:
        """Return the number of a key; a key used for the first time gets a new number."""
        number = self._numbers.setdefault(key, len(self.keys))
        if number == len(self.keys):
            self.keys.append(key)
        return number

    def __getitem__(self, number: int) -> K:
        """Return the key that has a number."""
        return self.keys[number]
