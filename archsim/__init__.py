"""Attention accelerators: machines, mappings, and what a cascade costs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import compare, simulate, sweep
    from .comparison.compare import Comparison
    from .plotting.plot import plot
    from .result.record import Result
    from .spec.arch import Architecture
    from .spec.mapping import Mapping
    from .spec.technology import Technology
    from .sweeping.frame import load_sweep
    from .validation.validate import validate

__all__ = [
    "Architecture",
    "Comparison",
    "Mapping",
    "Result",
    "Technology",
    "compare",
    "load_sweep",
    "plot",
    "simulate",
    "sweep",
    "validate",
]

_HOMES = {
    "Architecture": "spec.arch",
    "Comparison": "comparison.compare",
    "Mapping": "spec.mapping",
    "Result": "result.record",
    "Technology": "spec.technology",
    "compare": "api",
    "load_sweep": "sweeping.frame",
    "plot": "plotting.plot",
    "simulate": "api",
    "sweep": "api",
    "validate": "validation.validate",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing costs nothing."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
