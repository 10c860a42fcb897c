"""Functions compiled by Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from types import FunctionType
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
from filelock import FileLock, Timeout
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.registry import CPUDispatcher

_PATIENCE_S = 60
"""How long another process may take to compile a function."""

P = ParamSpec("P")
R = TypeVar("R")


class KeptCode(FunctionCache):
    """Numba's cache on disk, of which nothing depends: what it cannot keep or read is compiled.

    As it comes, a full disk or a file that a power cut left empty would end the run, and code is
    taken for new while its own file is, though what it calls from others has changed.
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
        """The file that is locked by who compiles the function."""
        numba: Any = self
        return Path(numba.cache_path) / f"{numba._impl.filename_base}.lock"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was kept for a signature; None where nothing is, or nothing that can be used."""
        numba: Any = super()
        try:
            found = numba.load_overload(sig, target_context)
        except (OSError, EOFError, UnpicklingError):
            return None
        # Two processes that keep two signatures at once may give both files one name.
        return found if found is not None and found.signature.args == sig else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, where there is room."""
        numba: Any = super()
        # What was kept before is read first; and LLVM may not have handed over the code itself
        # (RuntimeError: no compiled object yet), though it runs.
        with suppress(OSError, EOFError, UnpicklingError, RuntimeError):
            numba.save_overload(sig, data)


def files_of(function: FunctionType) -> tuple[Path, ...]:
    """The files of a function and of all compiled ones that its module has from others."""
    found = {Path(function.__code__.co_filename)}
    for other in function.__globals__.values():
        found.update(getattr(getattr(other, "_cache", None), "files", ()))
    return tuple(sorted(found))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function compiled, and kept on disk where that can be done.

    Numba keeps it beside the module or, if that cannot be written, in the user's cache
    directory; without either it compiles anew.

    Parameters
    ----------
    function : callable
        Of integers, floats, numpy arrays and named tuples of them only, and at the top of a
        module: Numba finds what it kept by the files of it and of what it calls, and their dates.

    Returns
    -------
    callable
        It lets go of the interpreter's lock while it runs. Integers wrap at 2^63 without a
        word: callers bound them beforehand, or count in floats.
    """
    return _kept(function, _made(function))


def compiled_inside(function: Callable[P, R]) -> Callable[P, R]:
    """As ``compiled``, for a function that none but compiled ones call.

    What turns Python's objects into what it takes is not made: of named tuples of arrays that is
    a quarter of what there is to compile.

    Returns
    -------
    callable
        Called from Python it raises TypeError, but for where Numba is told to compile nothing.
    """
    made = _made(function, no_cpython_wrapper=True)
    if isinstance(made, CPUDispatcher):
        made.__class__ = _Inside
    return _kept(function, made)


class _Inside(CPUDispatcher):
    """Compiled code without a way in from Python, which would end the process."""

    def __call__(self, *_: object, **__: object) -> None:
        """Refuse."""
        name = self.py_func.__name__
        raise TypeError(f"{name} is called by compiled code alone: @compiled lets Python call it")


def _made(function: Callable[P, R], **options: bool) -> Any:
    """What Numba makes of a function."""
    make: Any = njit
    # C has no way in, either: nobody asks for it, and it takes time to compile.
    return make(nogil=True, no_cfunc_wrapper=True, **options)(function)


def _kept(function: Callable[P, R], made: Any) -> Callable[P, R]:
    """What Numba makes of a function, kept on disk where that can be done."""
    if hasattr(made, "_cache"):  # not where Numba is told to compile nothing
        kept: Any = KeptCode
        with suppress(RuntimeError):  # where there is no place to keep it in
            made._cache = kept(cast("FunctionType", function))
            made.compile = partial(_in_turn, made._cache.lock, made.compile)
    return cast("Callable[P, R]", made)


def _in_turn(lock: Path, make: Callable[[Any], R], signature: Any) -> R:
    """What one process compiles others read: several that begin at a time would compile it all.

    Without a lock, and where another takes too long, it is compiled nevertheless.
    """
    with ExitStack() as turn:
        with suppress(OSError, Timeout):
            lock.parent.mkdir(parents=True, exist_ok=True)
            # One a process: who compiles for one signature may need another.
            held = FileLock(lock, timeout=_PATIENCE_S, is_singleton=True)
            turn.enter_context(held)
        return make(signature)


def compiled_with(
    helpers: Iterable[Callable[..., object]], function: Callable[P, R]
) -> Callable[P, R]:
    """A function compiled with those it calls, while their modules keep them as they are.

    Parameters
    ----------
    helpers : iterable of callable
        What it calls, by no other name; each calls none but those before it.
    function : callable
        As in ``compiled``.
    """
    made: dict[str, object] = {}
    for helper in helpers:
        made[helper.__name__] = compiled_inside(_among(made, helper))
    return compiled(_among(made, function))


def _among(made: dict[str, object], function: Callable[P, R]) -> Callable[P, R]:
    """A function's code, calling others where it calls those of their names."""
    names = {**function.__globals__, **made}
    copy = FunctionType(function.__code__, names, function.__name__)
    # By these Numba finds what it has kept on disk.
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def arrays_of(tables: NamedTuple) -> Any:
    """Return the same named tuple with arrays in place of lists: Numba reads arrays only."""
    arrays: dict[str, Any] = {
        name: np.array(table, np.int64)
        for name, table in tables._asdict().items()
        if isinstance(table, list)
    }
    return cast("Any", tables)._replace(**arrays)
