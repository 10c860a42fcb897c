"""Workloads: an attention cascade, its shapes, and the model they come from."""

from .config import Workload, load
from .parts import Block, Part

__all__ = ["Block", "Part", "Workload", "load"]
