"""Workloads: an attention cascade, its shapes, and the model they come from."""

from .config import Workload, load
from .part import Part
from .parts import Block

__all__ = ["Block", "Part", "Workload", "load"]
