"""Specifications: frozen types for machines, mappings and technologies; ``files`` reads their
files."""

from __future__ import annotations

from .arch import Architecture
from .files.load import load_architecture, load_mapping, load_technology
from .mapping import Mapping
from .reading import register_reader
from .technology import Technology

register_reader(Architecture, load_architecture)
register_reader(Mapping, load_mapping)
register_reader(Technology, load_technology)
