"""The search strategies by name: a new one is a line here, and the module that it names."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from einsum_cascade.errors import Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from .problem.protocol import Mapper

STRATEGIES = {
    "exhaustive": "mappers.exact.search",
    "anneal": "mappers.local.annealing",
    "random": "mappers.local.trials",
    "optuna": "mappers.local.optuna_search",
}
"""By name, the module whose ``STRATEGY`` is the mapper: imported when it is asked for, as the
command line lists the names without a need for what they stand for."""


def unless_usual(name: str, **options: int) -> Mapper | None:
    """The strategy of a name; None for the usual one, which whoever searches then loads itself:
    what is remembered needs none. Parameters, and what is raised, as of ``strategy_called``."""
    return None if name == "exhaustive" and not options else strategy_called(name, **options)


def strategy_called(name: str, **options: int) -> Mapper:
    """The strategy of a name.

    Parameters
    ----------
    name : str
        As ``archsim map --strategy`` takes it.
    **options : int
        Fields of its own, such as ``seed`` and ``evaluations``.

    Raises
    ------
    SpecError
        There is none, which says the nearest; or it has no such field.
    TypeError
        What the module has below ``STRATEGY`` is no mapper.
    """
    if name not in STRATEGIES:
        raise SpecError(f"there is no strategy '{name}'; {did_you_mean(name, STRATEGIES)}")
    from .problem.protocol import Mapper

    found: Any = import_module(STRATEGIES[name]).STRATEGY
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
        raise TypeError(f"'{STRATEGIES[name]}.STRATEGY' must be a Mapper, not {found!r}")
    return found
