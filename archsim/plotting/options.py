"""What can be asked of a picture, whatever is drawn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

from einsum_cascade.errors import InputError, Problem

SMALLEST_IN, LARGEST_IN = 2.0, 40.0
"""Widths of pictures that somebody could want, in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotOptions:
    """Columns in the places of a picture; None: chosen for what there is."""

    x: str | None = None
    y: str | None = None
    colour: str | None = None
    facet: str | None = None
    baseline: str | None = None
    """The value of the colour's column that bars are measured by."""
    width_in: float = 7.0

    def check(self, kind: str, taken: Collection[str]) -> None:
        """Refuse what a kind of picture has no place for.

        Raises
        ------
        InputError
            An option is given that would do nothing, or the width is not one of a picture.
        """
        if not SMALLEST_IN <= self.width_in <= LARGEST_IN:
            text = f"a picture is from {SMALLEST_IN:g} to {LARGEST_IN:g} inches wide"
            raise InputError(Problem(f"{text}, not {self.width_in:g}"))
        for option in fields(self):
            given = option.name != "width_in" and getattr(self, option.name) is not None
            if given and option.name not in taken:
                known = ", ".join(taken) or "none of them"
                text = f"a picture of kind '{kind}' has no '{option.name}'"
                raise InputError(Problem(text, hint=f"it takes {known}"))
