"""Workloads: an attention cascade, its shapes, and the model they come from."""

from .config import Workload, load
from .parts import Layer, Part

__all__ = ["Layer", "Part", "Workload", "load"]
