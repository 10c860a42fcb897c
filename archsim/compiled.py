"""Functions compiled by Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function compiled, and kept on disk where that can be done.

    Numba keeps it beside the module or, if that cannot be written, in the user's cache
    directory; without either it compiles anew.

    Parameters
    ----------
    function : callable
        Of integers, floats, numpy arrays and named tuples of them only, and at the top of a
        module: Numba finds what it kept by the file and its date.

    Returns
    -------
    callable
        It lets go of the interpreter's lock while it runs. Integers wrap at 2^63 without a
        word: callers bound them beforehand, or count in floats.
    """
    try:
        return cast("Callable[P, R]", njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast("Callable[P, R]", njit(nogil=True)(function))


def compiled_with(
    helpers: Iterable[Callable[..., object]], function: Callable[P, R]
) -> Callable[P, R]:
    """A function compiled with those it calls, while their module keeps them as they are.

    Parameters
    ----------
    helpers : iterable of callable
        What it calls, of the same module; each calls none but those before it.
    function : callable
        As in ``compiled``.
    """
    names = dict(function.__globals__)
    for helper in helpers:
        names[helper.__name__] = compiled(_among(names, helper))
    return compiled(_among(names, function))


def _among(names: dict[str, object], function: Callable[P, R]) -> Callable[P, R]:
    """A function's code, calling others by other names."""
    copy = FunctionType(function.__code__, names, function.__name__)
    # By these Numba finds what it has kept on disk.
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy
