"""The event kernel compiled, for runs of more events than are quick in Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import compiled_with
from . import kernel
from .kernel import KernelProgram, Log, Marks, State

_run = compiled_with(kernel.HELPERS, kernel.run)


def run(
    p: KernelProgram, s: State, m: Marks, log: Log, reach: int, budget: int, jumping: bool
) -> int:
    """As ``kernel.run``, on the same tables."""
    return _run(_arrays(p), _arrays(s), _arrays(m), _arrays(log), reach, budget, jumping)


def _arrays(tables: KernelProgram | State | Marks | Log) -> Any:
    """The same memory as arrays of numpy, which are all that Numba knows."""
    arrays: dict[str, Any] = {
        name: np.asarray(t).view(np.int64)
        for name, t in tables._asdict().items()
        if isinstance(t, memoryview)
    }
    return tables._replace(**arrays)
