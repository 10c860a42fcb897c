"""A space that is searched in the place of another, whose own mappings are not enumerated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archsim.spec.mapping import Mapping

from .space.mapspace import Mapspace


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What one core has to do, or a machine with its memories in a line."""

    space: Mapspace
    brought: Callable[[Mapping], Iterator[Mapping]]
    """Mappings of the machine itself from one of this space."""
    share: int = 1
    """How many of these share what the machine has of a memory that they all see."""
