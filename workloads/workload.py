"""A workload: what to compute, on what shapes, and the parts that this is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .card import workload_card
from .parts.part import Part
from .parts.scope import attention_part, left_out, parts_of
from .spec import WorkloadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload(WorkloadSpec):
    """What to compute, and on what shapes: see ``WorkloadSpec`` for its fields."""

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """The shapes of its attention for a cascade of those ranks: see ``Part.shapes_for``.

        Raises
        ------
        SpecError
            A rank that was given for the cascade is none of ``ranks``.
        """
        return attention_part(self).shapes_for(ranks)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What runs, in order: attention alone, or with the rest of its layer.

        Raises
        ------
        SpecError
            The scope needs a width, a number of layers or a shape that is not given.
        """
        return parts_of(self)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the scope leaves out, in sentences."""
        return left_out(self)

    def _repr_html_(self) -> str:
        return workload_card(self)
