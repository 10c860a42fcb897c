"""Attention accelerators: machines, mappings, and what a cascade costs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arch import Architecture
    from .comparison import Comparison, compare
    from .engine import simulate
    from .mapping import Mapping
    from .results import Result
    from .technology import Technology

__all__ = [
    "Architecture",
    "Comparison",
    "Mapping",
    "Result",
    "Technology",
    "compare",
    "simulate",
]

_HOMES = {
    "Architecture": "arch",
    "Comparison": "comparison",
    "Mapping": "mapping",
    "Result": "results",
    "Technology": "technology",
    "compare": "comparison",
    "simulate": "engine",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing costs nothing."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
