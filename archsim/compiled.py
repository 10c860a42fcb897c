"""Compilation of functions by Numba, with a cache of compiled code on disk."""

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

from einsum_cascade.errors import InputError

from .locks import PATIENCE_S, wait_for

_PATIENCE_S = PATIENCE_S
"""Seconds to wait for another process that is compiling the same function."""

P = ParamSpec("P")
R = TypeVar("R")


class KeptCode(FunctionCache):
    """Optional cache of compiled code on disk: code that is missing or unreadable is compiled
    again.

    Numba's own cache ends the run on a full disk or on a file that a power cut left empty. It also
    reuses code as long as the function's file is unchanged, even if a called function has changed.
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
        """File that a process locks while it compiles the function."""
        numba: Any = self
        return Path(numba.cache_path) / f"{numba._impl.filename_base}.lock"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the stored code of a signature; None if no usable code is stored."""
        numba: Any = super()
        try:
            found = numba.load_overload(sig, target_context)
        except (OSError, EOFError, UnpicklingError):
            return None
        # Two processes that store two signatures at once may give both files one name.
        return found if found is not None and found.signature.args == sig else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store the compiled code of a signature; errors such as a full disk are ignored."""
        numba: Any = super()
        # Stored code is read first. LLVM may not have released the code itself, although it runs
        # (RuntimeError: no compiled object yet).
        with suppress(OSError, EOFError, UnpicklingError, RuntimeError):
            numba.save_overload(sig, data)


def files_of(function: FunctionType) -> tuple[Path, ...]:
    """Return the source files of a function and of all compiled functions that its module
    imports.
    """
    found = {Path(function.__code__.co_filename)}
    for other in function.__globals__.values():
        found.update(getattr(getattr(other, "_cache", None), "files", ()))
    return tuple(sorted(found))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function, and store the code on disk if possible.

    Numba stores the code next to the module or, if that cannot be written, in the user's cache
    directory. If neither can be written, it compiles again in every process.

    Parameters
    ----------
    function : callable
        Function at the top of a module. It takes only integers, floats, numpy arrays and named
        tuples of these. Numba finds stored code by the files of this function and of the functions
        it calls, and by the dates of these files.

    Returns
    -------
    callable
        Function that releases the interpreter's lock while it runs. Integers wrap at 2^63 silently:
        callers bound them beforehand, or count in floats.
    """
    return _kept(function, _made(function))


def compiled_inside(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that only compiled functions call.

    The code that converts Python objects to its arguments is not compiled. For named tuples of
    arrays this saves a quarter of the work.

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
    """Compiled function that refuses calls from Python, because such a call would end the
    process.
    """

    def __call__(self, *_: object, **__: object) -> None:
        """Raise TypeError, because only compiled code may call the function."""
        name = self.py_func.__name__
        raise TypeError(f"{name} is called by compiled code alone: @compiled lets Python call it")


def _made(function: Callable[P, R], **options: bool) -> Any:
    """Return Numba's dispatcher of a function, an object that compiles it on the first call."""
    make: Any = njit
    # An entry from C is never used, and takes time to compile.
    return make(nogil=True, no_cfunc_wrapper=True, **options)(function)


def _kept(function: Callable[P, R], made: Any) -> Callable[P, R]:
    """Return Numba's dispatcher of a function, with a cache on disk if there is a place for it."""
    if hasattr(made, "_cache"):  # Numba is told to compile nothing.
        kept: Any = KeptCode
        with suppress(RuntimeError):  # There is no place for a cache.
            made._cache = kept(cast("FunctionType", function))
            made.compile = partial(_in_turn, made._cache.lock, made.compile)
    return cast("Callable[P, R]", made)


def _in_turn(lock: Path, make: Callable[[Any], R], signature: Any) -> R:
    """Return the code that ``make`` compiles, holding a lock so that other processes can read it
    later.

    If there is no lock, or another process takes too long, the function is compiled anyway.
    """
    with ExitStack() as turn:
        with suppress(OSError, InputError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            # Each process holds one lock: compiling one signature may need another.
            held = FileLock(lock, is_singleton=True)
            wait_for(partial(_took, held), lock, _PATIENCE_S)
            turn.callback(held.release)
        return make(signature)


def _took(lock: FileLock) -> bool:
    """Take a lock if it is free, and return whether it was."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def filled(length: int, value: int) -> Any:
    """Return a table with one value everywhere; it replaces ``tables.filled`` in compiled code."""
    return np.full(length, value, np.int64)


def copy_row(into: Any, at: int, row: Any) -> None:
    """Copy a row into a table; it replaces ``tables.copy_row`` in compiled code.

    Numba takes longer to compile an assignment between slices of different lengths than a loop.
    """
    for i in range(len(row)):
        into[at + i] = row[i]


def compiled_on_tables(
    helpers: Iterable[Callable[..., object]], function: Callable[..., int]
) -> Callable[..., int]:
    """Compile a function of flat tables together with the functions that it calls.

    Parameters
    ----------
    helpers : iterable of callable
        Functions that it calls, except those of ``tables``. Each may call only earlier ones.
    function : callable
        Function of lists of whole numbers, named tuples of them, and whole numbers.

    Returns
    -------
    callable
        Function that writes its results to the given lists, as the Python function does.
    """
    made: dict[str, object] = {}
    own: tuple[Callable[..., object], ...] = (filled, copy_row)
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
    """Return a copy of a function that calls the compiled functions in ``made`` by their names."""
    names = {**function.__globals__, **made}
    copy = FunctionType(function.__code__, names, function.__name__)
    # Numba finds stored code by these attributes.
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _arrays_of(given: Any) -> Any:
    """Return an argument with its lists replaced by arrays, because Numba reads only arrays."""
    if isinstance(given, list):
        return np.array(given, np.int64)
    return type(given)(*map(_arrays_of, given)) if isinstance(given, tuple) else given


def _write_back(given: Any, arrays: Any) -> None:
    """Copy the contents of arrays back to the lists that they replaced."""
    if isinstance(given, list):
        given[:] = arrays.tolist()
    elif isinstance(given, tuple):
        for one, array in zip(given, arrays, strict=True):
            _write_back(one, array)
