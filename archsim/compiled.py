"""Functions compiled by Numba."""

from __future__ import annotations

from collections.abc import Callable
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
