"""Sizes that constraints ask for: of a tile in a memory, of a part along a dimension."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Coordinates of a rank, from the least to the most; no most is any number.

    Examples
    --------
    >>> str(SizeRange(256, 256)), str(SizeRange(1, 64)), str(SizeRange(8)), str(SizeRange(8, 64))
    ('256', 'at most 64', 'at least 8', 'from 8 to 64')
    """

    least: int = 1
    most: int | None = None

    def __contains__(self, size: int) -> bool:
        return self.least <= size and (self.most is None or size <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least:,}"
        if self.least == self.most:
            return f"{self.least:,}"
        if self.least == 1:
            return f"at most {self.most:,}"
        return f"from {self.least:,} to {self.most:,}"

    @property
    def ends(self) -> tuple[int, ...]:
        """Its least and its most, where there is one."""
        return (self.least,) if self.most is None else (self.least, self.most)
