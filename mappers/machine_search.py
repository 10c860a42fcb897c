"""A search on whatever machine: of many instances, of memories side by side, or neither."""

from __future__ import annotations

from .certificate import Searched
from .exhaustive.search import STRATEGY, Exhaustive
from .line_search import line_search
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
    strategy, space = strategy or STRATEGY, problem.space
    if space.architecture.has_instances:
        return search_spread(strategy, problem, progress)
    if not space.architecture.tree.is_line:
        return line_search(strategy, problem, progress)
    found = strategy.search(problem, progress)
    if isinstance(strategy, Exhaustive) and not space.constraints:
        found = search_nests(problem, found, of_nest(strategy.effort))
    return found
