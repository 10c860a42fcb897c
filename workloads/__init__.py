"""Workloads: an attention cascade, its shapes, and the model they come from."""

from .config import Workload, load

__all__ = ["Workload", "load"]
