"""Workloads: an attention cascade, its shapes, and the model they come from."""

from .files.load import load
from .parts.block import Block
from .parts.part import Part
from .workload import Workload

__all__ = ["Block", "Part", "Workload", "load"]
