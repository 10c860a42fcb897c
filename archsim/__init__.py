"""Attention accelerators: machines, mappings, and what a cascade costs on them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einsum_cascade import Cascade
    from workloads import Workload, load

    from .api import compare, loop_nest, search, sensitivity, simulate, sweep
    from .comparison.compare import Comparison
    from .elasticity.analysis import Sensitivity
    from .result.result import Result
    from .spec.arch import Architecture
    from .spec.mapping import Mapping
    from .spec.technology import Technology
    from .sweeping.export import load_sweep
    from .validation.validate import validate
    from .views.plot import plot

    __version__: str

__all__ = [
    "Architecture",
    "Cascade",
    "Comparison",
    "Mapping",
    "Result",
    "Sensitivity",
    "Technology",
    "Workload",
    "compare",
    "load",
    "load_sweep",
    "loop_nest",
    "plot",
    "search",
    "sensitivity",
    "simulate",
    "sweep",
    "validate",
]

_HOMES = {
    "Architecture": "archsim.spec.arch",
    "Cascade": "einsum_cascade",
    "Comparison": "archsim.comparison.compare",
    "Mapping": "archsim.spec.mapping",
    "Result": "archsim.result.result",
    "Sensitivity": "archsim.elasticity.analysis",
    "Technology": "archsim.spec.technology",
    "Workload": "workloads",
    "compare": "archsim.api",
    "load": "workloads",
    "load_sweep": "archsim.sweeping.export",
    "loop_nest": "archsim.api",
    "plot": "archsim.views.plot",
    "search": "archsim.api",
    "sensitivity": "archsim.api",
    "simulate": "archsim.api",
    "sweep": "archsim.api",
    "validate": "archsim.validation.validate",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that importing costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        version: str = import_module("archsim.version").installed_version()
        return version or "0+source"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, whether they are loaded yet or not."""
    return sorted([*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"])
