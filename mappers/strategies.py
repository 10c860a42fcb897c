"""Search strategies by name: a new strategy is one line here, and its module."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from einsum_cascade.errors import Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from .problem.protocol import Mapper

STRATEGIES = {
    "exhaustive": "mappers.exact.search",
    "anneal": "mappers.local.trials:ANNEALING",
    "random": "mappers.local.trials:RANDOM",
    "optuna": "mappers.local.trials:OPTUNA",
}
"""Module of each strategy, and the name of its mapper there, which is ``STRATEGY`` by default. The
command line lists the strategies without importing the modules."""


def unless_usual(name: str, **options: int) -> Mapper | None:
    """Return the strategy of a name; None for the exhaustive one without options.

    The caller loads the exhaustive strategy itself, as a remembered mapping needs no search.
    Parameters and errors are those of ``strategy_called``.
    """
    return None if name == "exhaustive" and not options else strategy_called(name, **options)


def strategy_called(name: str, **options: int) -> Mapper:
    """Return the strategy of a name.

    Parameters
    ----------
    name : str
        Name as ``archsim map --strategy`` takes it.
    **options : int
        Fields of the strategy, such as ``seed`` and ``evaluations``.

    Raises
    ------
    SpecError
        No strategy has this name (the nearest one is suggested), or it has no such field.
    TypeError
        The object of this name is not a mapper.
    """
    if name not in STRATEGIES:
        raise SpecError(f"there is no strategy '{name}'; {did_you_mean(name, STRATEGIES)}")
    from .problem.protocol import Mapper

    module, _, mapper = STRATEGIES[name].partition(":")
    found: Any = getattr(import_module(module), mapper or "STRATEGY")
    for option, value in options.items():
        if option not in getattr(found, "__dataclass_fields__", {}):
            raise SpecError(
                Problem(
                    f"--{option}: the strategy '{name}' takes none",
                    hint="those that try mappings one by one do: anneal, random, optuna",
                )
            )
        found = replace(found, **{option: value})
    if not isinstance(found, Mapper):
        raise TypeError(f"{STRATEGIES[name]} must name a Mapper, not {found!r}")
    return found
