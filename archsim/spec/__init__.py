"""Specifications: frozen types of machines, mappings and technologies; ``files`` reads them."""

from __future__ import annotations

from os import PathLike

from .arch import Architecture
from .mapping import Mapping
from .overrides import Overriding
from .reading import register_reader
from .technology import Technology

# Pydantic validates files. The lazy imports below load it with the first file.


def _architecture(name: str | PathLike[str], overrides: Overriding) -> Architecture:
    from .files.load import load_architecture

    return load_architecture(name, overrides)


def _mapping(name: str | PathLike[str], overrides: Overriding) -> Mapping:
    from .files.load import load_mapping

    return load_mapping(name, overrides)


def _technology(name: str | PathLike[str], overrides: Overriding) -> Technology:
    from .files.load import load_technology

    return load_technology(name, overrides)


register_reader(Architecture, _architecture)
register_reader(Mapping, _mapping)
register_reader(Technology, _technology)
