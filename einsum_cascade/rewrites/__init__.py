"""Rewrites: rules that turn a cascade into an equal one, with a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Rewrite, RewriteStep
    from .chunk import Chunk
    from .derivation import RULES, Derivation, Rule, parse_rule, rewrite
    from .factor import Factor
    from .iterative import MakeIterative
    from .partition import FusePartition, Partition
    from .proof import Proof, prove
    from .reassociate import Reassociate
    from .reduce_passes import ReducePasses
    from .separate import Separate

__all__ = [
    "RULES",
    "Chunk",
    "Derivation",
    "Factor",
    "FusePartition",
    "MakeIterative",
    "Partition",
    "Proof",
    "Reassociate",
    "ReducePasses",
    "Rewrite",
    "Rule",
    "Separate",
    "RewriteStep",
    "parse_rule",
    "prove",
    "rewrite",
]

_MODULES = {
    "base": ("Rewrite", "RewriteStep"),
    "chunk": ("Chunk",),
    "derivation": ("RULES", "Derivation", "Rule", "parse_rule", "rewrite"),
    "factor": ("Factor",),
    "iterative": ("MakeIterative",),
    "partition": ("FusePartition", "Partition"),
    "proof": ("Proof", "prove"),
    "reassociate": ("Reassociate",),
    "reduce_passes": ("ReducePasses",),
    "separate": ("Separate",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because most users of the package need few of them."""
    if name in _MODULE_OF:
        from importlib import import_module

        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
