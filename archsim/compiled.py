"""Functions compiled by Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from filelock import FileLock, Timeout
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher

_PATIENCE_S = 60
"""Seconds that another process may take to compile a function."""

P = ParamSpec("P")
R = TypeVar("R")


class KeptCode(FunctionCache):
    """Cache of Numba on disk, which is optional: a function that it lacks or cannot read is
    compiled.

    Numba's own cache ends the run on a full disk or on a file that a power cut left empty. It also
    takes code for new while the code's file is unchanged, even if a called function has changed.
    """

    def __init__(self, function: FunctionType) -> None:
        numba: Any = super()
        numba.__init__(function)
        self.files = files_of(function)
        kept: Any = self
        kept._cache_file._source_stamp = tuple(
            (str(file), file.stat().st_mtime, file.stat().st_size) for file in self.files
        )

    @property
    def lock(self) -> Path:
        """File that is locked while a process compiles the function."""
        numba: Any = self
        return Path(numba.cache_path) / f"{numba._impl.filename_base}.lock"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the stored code of a signature; None if there is none that can be used."""
        numba: Any = super()
        try:
            found = numba.load_overload(sig, target_context)
        except (OSError, EOFError, UnpicklingError):
            return None
        # Two processes that store two signatures at once may give both files one name.
        return found if found is not None and found.signature.args == sig else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store the compiled code of a signature, if there is space."""
        numba: Any = super()
        # Stored code is read first. LLVM may not have released the code itself, although it runs
        # (RuntimeError: no compiled object yet).
        with suppress(OSError, EOFError, UnpicklingError, RuntimeError):
            numba.save_overload(sig, data)


def files_of(function: FunctionType) -> tuple[Path, ...]:
    """Return the files of a function and of all compiled functions that its module imports."""
    found = {Path(function.__code__.co_filename)}
    for other in function.__globals__.values():
        found.update(getattr(getattr(other, "_cache", None), "files", ()))
    return tuple(sorted(found))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function, and store the code on disk if possible.

    Numba stores the code beside the module or, if that cannot be written, in the user's cache
    directory. Without either, it compiles again in every process.

    Parameters
    ----------
    function : callable
        Function of integers, floats, numpy arrays and named tuples of them only, at the top of a
        module. Numba finds stored code by the files of the function and of those it calls, and by
        their dates.

    Returns
    -------
    callable
        Function that releases the interpreter's lock while it runs. Integers wrap at 2^63 silently:
        callers bound them beforehand, or count in floats.
    """
    return _kept(function, _made(function))


def compiled_inside(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that only compiled functions call.

    The conversion of Python objects to its arguments is not compiled: for named tuples of arrays
    this saves a quarter of the work.

    Returns
    -------
    callable
        Function that raises TypeError when called from Python, unless Numba compiles nothing.
    """
    made = _made(function, no_cpython_wrapper=True)
    if isinstance(made, CPUDispatcher):
        made.__class__ = _Inside
    return _kept(function, made)


class _Inside(CPUDispatcher):
    """Compiled code without an entry from Python, which would end the process."""

    def __call__(self, *_: object, **__: object) -> None:
        """Refuse the call."""
        name = self.py_func.__name__
        raise TypeError(f"{name} is called by compiled code alone: @compiled lets Python call it")


def _made(function: Callable[P, R], **options: bool) -> Any:
    """Return Numba's dispatcher of a function."""
    make: Any = njit
    # An entry from C is never used, and takes time to compile.
    return make(nogil=True, no_cfunc_wrapper=True, **options)(function)


def _kept(function: Callable[P, R], made: Any) -> Callable[P, R]:
    """Return Numba's dispatcher of a function, stored on disk if possible."""
    if hasattr(made, "_cache"):  # Numba is told to compile nothing.
        kept: Any = KeptCode
        with suppress(RuntimeError):  # There is no place for a cache.
            made._cache = kept(cast("FunctionType", function))
            made.compile = partial(_in_turn, made._cache.lock, made.compile)
    return cast("Callable[P, R]", made)


def _in_turn(lock: Path, make: Callable[[Any], R], signature: Any) -> R:
    """Lock a function while it compiles, so that other processes read the result.

    Without a lock, and if another process takes too long, the function is compiled nevertheless.
    """
    with ExitStack() as turn:
        with suppress(OSError, Timeout):
            lock.parent.mkdir(parents=True, exist_ok=True)
            # Each process holds one lock: compiling one signature may need another.
            held = FileLock(lock, timeout=_PATIENCE_S, is_singleton=True)
            turn.enter_context(held)
        return make(signature)


def filled(length: int, value: int) -> Any:
    """Return a table as ``tables.filled`` does."""
    return np.full(length, value, np.int64)


def copy_row(into: Any, at: int, row: Any) -> None:
    """Write a row as ``tables.copy_row`` does.

    Numba compiles an assignment between slices of different lengths for longer than a loop.
    """
    for i in range(len(row)):
        into[at + i] = row[i]


def first_smallest(numbers: Any) -> Any:
    """Return a position as ``tables.first_smallest`` does."""
    return np.argmin(numbers)


def compiled_on_tables(
    helpers: Iterable[Callable[..., object]], function: Callable[..., int]
) -> Callable[..., int]:
    """Compile a function of flat tables together with those it calls, by the same names.

    Parameters
    ----------
    helpers : iterable of callable
        Functions that it calls beside those of ``tables``; each calls none but those before it.
    function : callable
        Function of lists of whole numbers, named tuples of them, and whole numbers.

    Returns
    -------
    callable
        Function that writes its results to the lists, as the given one does.
    """
    made: dict[str, object] = {}
    own: tuple[Callable[..., object], ...] = (filled, copy_row, first_smallest)
    for helper in (*own, *helpers):
        made[helper.__name__] = compiled_inside(_among(made, helper))
    run = compiled(_among(made, function))

    def on_tables(*given: object) -> int:
        arrays = [_arrays_of(x) for x in given]
        status = run(*arrays)
        for lists, there in zip(given, arrays, strict=True):
            _write_back(lists, there)
        return status

    return on_tables


def _among(made: dict[str, object], function: Callable[P, R]) -> Callable[P, R]:
    """Return a function's code, with names of called functions bound to others."""
    names = {**function.__globals__, **made}
    copy = FunctionType(function.__code__, names, function.__name__)
    # Numba finds stored code by these attributes.
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _arrays_of(given: Any) -> Any:
    """Return an argument with arrays in place of lists: Numba reads arrays only."""
    if isinstance(given, list):
        return np.array(given, np.int64)
    return type(given)(*map(_arrays_of, given)) if isinstance(given, tuple) else given


def _write_back(given: Any, arrays: Any) -> None:
    """Copy the contents of arrays to the lists that they stand for."""
    if isinstance(given, list):
        given[:] = arrays.tolist()
    elif isinstance(given, tuple):
        for one, array in zip(given, arrays, strict=True):
            _write_back(one, array)
