"""A search on whatever machine: of many instances, of memories side by side, or neither."""

from __future__ import annotations

from time import monotonic

from .certificate import Searched
from .exhaustive.search import STRATEGY, Exhaustive
from .line_search import line_search
from .local_search import improved
from .nest_search import of_nest, search_nests
from .protocol import Mapper, Progress, SearchProblem
from .spread_nests import search_spread


def machine_search(strategy: Mapper | None, problem: SearchProblem, progress: Progress) -> Searched:
    """The best mapping that a strategy finds, from what is known on.

    Parameters
    ----------
    strategy : Mapper or None
        None: the exhaustive one.

    Raises
    ------
    MappingError
        As ``Mapper.search``.
    """
    strategy, began = strategy or STRATEGY, monotonic()
    found = _searched(strategy, problem, progress)
    return improved(problem, found, began) if isinstance(strategy, Exhaustive) else found


def _searched(strategy: Mapper, problem: SearchProblem, progress: Progress) -> Searched:
    space = problem.space
    if space.architecture.has_instances:
        return search_spread(strategy, problem, progress)
    if not space.architecture.tree.is_line:
        return line_search(strategy, problem, progress)
    found = strategy.search(problem, progress)
    if isinstance(strategy, Exhaustive) and not space.constraints:
        found = search_nests(problem, found, of_nest(strategy.effort))
    return found
