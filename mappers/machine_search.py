"""A search on whatever machine: of many instances, of memories side by side, or neither."""

from __future__ import annotations

from functools import partial
from time import monotonic

from .certificate import Searched
from .exhaustive.effort import BRIEF
from .exhaustive.search import STRATEGY, Exhaustive
from .local_search import improved
from .nest_search import of_nest, search_nests
from .protocol import Mapper, Progress, SearchProblem, silent


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
    # Other machines need more to be loaded, which takes as long as a few subspaces.
    if space.architecture.has_instances:
        from .spread_nests import search_spread

        return search_spread(strategy, problem, progress)
    if space.architecture.tree.is_line:
        found = strategy.search(problem, progress)
    else:
        from .line_search import line_search

        found = line_search(strategy, problem, progress)
    if isinstance(strategy, Exhaustive) and not space.constraints:
        found = search_nests(problem, found, partial(_one_of_several, strategy))
    return found


def _one_of_several(strategy: Exhaustive, problem: SearchProblem) -> Searched:
    """A nest of several by itself, with less effort than one alone is worth."""
    if problem.space.architecture.tree.is_line:
        return Exhaustive(of_nest(strategy.effort)).search(problem)
    from .line_search import line_search

    return line_search(Exhaustive(BRIEF), problem, silent)
