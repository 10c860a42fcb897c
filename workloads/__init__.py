"""Workloads: an attention cascade, its shapes, and the model from which the shapes come."""

from .parts.model import Block
from .parts.part import Part
from .reading import load
from .summary import ModelSummary, summarize
from .workload import Workload

__all__ = ["Block", "ModelSummary", "Part", "Workload", "load", "summarize"]
