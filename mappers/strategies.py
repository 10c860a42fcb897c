"""The search strategies by name: a new one is a line here, and the module that it names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from einsum_cascade.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from .protocol import Mapper

STRATEGIES = {
    "exhaustive": "mappers.exhaustive.search",
    "anneal": "mappers.heuristics.annealing",
    "random": "mappers.heuristics.at_random",
    "optuna": "mappers.heuristics.with_optuna",
}
"""By name, the module whose ``STRATEGY`` is the mapper: imported when it is asked for, as the
command line lists the names without a need for what they stand for."""


def strategy_called(name: str) -> Mapper:
    """The strategy of a name.

    Parameters
    ----------
    name : str
        As ``archsim map --strategy`` takes it.

    Raises
    ------
    SpecError
        There is none; says the nearest.
    TypeError
        What the module has below ``STRATEGY`` is no mapper.
    """
    if name not in STRATEGIES:
        raise SpecError(f"there is no strategy '{name}'; {did_you_mean(name, STRATEGIES)}")
    from .protocol import Mapper

    found = import_module(STRATEGIES[name]).STRATEGY
    if not isinstance(found, Mapper):
        raise TypeError(f"'{STRATEGIES[name]}.STRATEGY' must be a Mapper, not {found!r}")
    return found
