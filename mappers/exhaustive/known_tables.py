"""Tables that several searches of one space have in common, and what they say under a cap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from ..protocol import never
from ..space.region import Region, Subspace
from .known_costs import KnownCosts
from .subspaces import Proposal, SubspaceSearch
from .tables import SubspaceRefusedError, Tables, tabulate

_NEAR = 1.02
"""What promises to be worse than the best by more is not handed on."""

_Key = tuple[object, ...]


class TablesOf(Protocol):
    """What makes the tables of a subspace: ``tabulate``, or ``KnownTables`` that remember."""

    def __call__(
        self, space: Region, subspace: Subspace, *, relaxed: bool, known: KnownCosts | None
    ) -> Tables:
        """The tables. Raises ``SubspaceRefusedError``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTables:
    """Makes the tables of each subspace once, whatever they are searched for.

    Searches of one space, with slow arrays or without, masks left aside in all of them or in none.
    """

    _found: dict[_Key, tuple[Region, Subspace, Tables]] = field(default_factory=dict)
    _refused: dict[_Key, SubspaceRefusedError] = field(default_factory=dict)

    def __call__(
        self, space: Region, subspace: Subspace, *, relaxed: bool, known: KnownCosts | None
    ) -> Tables:
        """The tables of a subspace, made before or now. Raises as ``tabulate``."""
        key = (space.fixed, space.cuts, space.slow, space.plain, subspace.skeleton)
        if key in self._refused:
            raise self._refused[key]
        if key not in self._found:
            try:
                tables = tabulate(space, subspace, relaxed=relaxed, known=known)
            except SubspaceRefusedError as why:
                self._refused[key] = why
                raise
            self._found[key] = (space, subspace, tables)
        return self._found[key][2]

    @property
    def all(self) -> Iterator[tuple[Region, Subspace, Tables]]:
        """Subspaces tabulated, in all ways or in the simplest."""
        yield from self._found.values()

    @property
    def whole(self) -> Iterator[tuple[Region, Subspace, Tables]]:
        """Subspaces tabulated in all ways, not in the simplest alone."""
        return (found for found in self._found.values() if not found[0].plain)


def proposals_below(
    known: KnownTables,
    objective: int,
    *,
    limit: float,
    cap: float = inf,
    is_over: Callable[[], bool] = never,
) -> tuple[list[Proposal], float]:
    """What the subspaces tabulated in all ways have to offer under a cap.

    Parameters
    ----------
    objective : int
        ``ENERGY`` or ``LATENCY``, in pJ or cycles.
    limit : float
        Its value that is to be beaten.
    cap : float
        What the other one must not be above.
    is_over : callable
        Whether time is up: what there is by then will do, and nothing is proven.

    Returns
    -------
    proposals : list of Proposal
        Those about as good as the best, best first.
    least : float
        What no mapping of these subspaces is below: the limit, or less.
    """
    found: list[Proposal] = []
    least = best = limit
    for region, subspace, tables in known.whole:
        if is_over():
            least = 0.0
            break
        search = SubspaceSearch(space=region, objective=objective, cap=cap, limit=best)
        found += search.search(subspace, tables)
        least = min(least, search.least)
        best = min(limit, min((_NEAR * f.value for f in found), default=inf))
    return sorted((f for f in found if f.value <= best), key=lambda f: (f.value, f.tie)), least
