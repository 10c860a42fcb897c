"""Number formats of the weights of a layer, part by part."""

from __future__ import annotations

from dataclasses import dataclass

PartFormats = tuple[str, str]
"""Number formats of a part's weights, and of its inputs if the part is a matrix product; an empty
string means the machine's word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormats:
    """Number formats of the parts of a layer.

    Routers, norms and convolutions always use the machine's word.
    """

    usual: PartFormats = ("", "")
    others: tuple[tuple[str, PartFormats], ...] = ()
    """Formats of the parts that differ from the usual ones, by name."""

    def of(self, part: str) -> PartFormats:
        """Return the formats of a part."""
        return dict(self.others).get(part, self.usual)
