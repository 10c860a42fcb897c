"""Evidence for the numbers of a machine: measured, published, derived or assumed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Kind = Literal["measured", "published", "derived", "assumed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

NOT_STATED = "not stated"
"""Word of reports for a number without evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Kind of evidence for each number of a machine.

    A path is written as in a setting, such as ``memories.HBM.bandwidth``.
    """

    entries: tuple[tuple[str, Kind], ...] = ()
    """Pairs of the path of a number or a section and its kind; the last of equal paths counts."""
    numbers: tuple[str, ...] = ()
    """Paths of all numbers that the machine's file states."""

    def of(self, path: str) -> Kind | None:
        """Return the kind of the longest entry at or above a path; None if there is none.

        Examples
        --------
        >>> evidence = Evidence(entries=(("tdp", "published"), ("memories.L1", "assumed")))
        >>> [evidence.of(path) for path in ("tdp", "memories.L1.capacity", "memories.L2.capacity")]
        ['published', 'assumed', None]
        """
        known = dict(self.entries)
        while path and path not in known:
            path = path.rpartition(".")[0]
        return known.get(path)

    def assuming(self, *paths: str) -> Evidence:
        """Return the evidence after numbers at these paths were set to other values."""
        return replace(self, entries=(*self.entries, *((path, "assumed") for path in paths)))

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Return pairs of a kind and the number of numbers of this kind, without empty kinds."""
        kinds = [self.of(path) or NOT_STATED for path in self.numbers]
        return tuple((k, n) for k in (*KINDS, NOT_STATED) if (n := kinds.count(k)))

    def assumed(self) -> tuple[str, ...]:
        """Return the entries by which numbers are assumed."""
        last = dict(self.entries)
        return tuple(path for path, kind in last.items() if kind == "assumed")
