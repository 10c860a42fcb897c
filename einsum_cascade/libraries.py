"""Large libraries that are loaded on first use: most commands start without them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


class LazyModule:
    """Module that is imported only when one of its names is first read.

    >>> LazyModule("math").sqrt(9.0)
    3.0
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self._name), name)
        # The next access finds the value here, and no longer calls this method.
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    import numpy as np
    import sympy
else:
    np, sympy = LazyModule("numpy"), LazyModule("sympy")

__all__ = ["np", "sympy"]
