"""Rewrites: rules that take a cascade to an equal one, and prove it."""

from .base import Rewrite, Step
from .chunk import Chunk
from .derivation import Derivation, rewrite
from .factor import Factor
from .iterative import MakeIterative
from .partition import FusePartition, Partition
from .proof import Proof, prove
from .reassociate import Reassociate
from .reduce_passes import ReducePasses
from .rules import RULES, Rule, parse_rule
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
    "Step",
    "parse_rule",
    "prove",
    "rewrite",
]
