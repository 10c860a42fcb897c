"""Strategy ``optuna``: points suggested by Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import inf
from typing import Any

from einsum_cascade.errors import Problem, SpecError

from ..problem.certificate import Searched
from ..problem.protocol import Progress, SearchProblem, silent
from . import policy
from .trials import MappingPoint, MappingTrials, OpenChoices, search_by


@dataclass(frozen=True, slots=True)
class OptunaSearch:
    """Search that tries more often what good points have in common (``Mapper``)."""

    seed: int = 0
    evaluations: int = policy.OPTUNA_EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Return the best of the suggested points. Raises as ``search_by``.

        Raises
        ------
        SpecError
            Optuna is not installed; tells how to install it.
        """
        _optuna()
        return search_by(self.walk, "optuna", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Try suggested points until the search is over."""
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.seed))
        if trials.problem.known is not None:
            point = trials.points.like(trials.problem.known.mapping, 0)
            study.enqueue_trial(_parameters(point, trials))
        while not trials.is_over():
            trial = study.ask()
            value = trials.value(_suggested(trial, trials))
            if value < inf:
                study.tell(trial, value)
            else:
                # A pruned trial counts as worse than all trials with a value.
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _optuna() -> Any:
    try:
        return import_module("optuna")
    except ImportError:
        raise SpecError(
            Problem(
                "the strategy 'optuna' needs the package optuna, which is not installed",
                hint="pip install 'archsim[optuna]'",
            )
        ) from None


def _suggested(trial: Any, trials: MappingTrials) -> MappingPoint:
    """Return a point from parameters that mean about the same in every region."""
    regions = trials.points.regions
    number = trial.suggest_int("region", 0, len(regions) - 1)
    choices = regions[number]
    subspace = _at(trial, "loops", len(choices.subspaces))
    placements = []
    for e, (name, found) in zip(
        trials.points.program.einsums, choices.region.placements.items(), strict=True
    ):
        array = trial.suggest_categorical(f"array of {e.name}", choices.region.arrays[name])
        able = [n for n, way in enumerate(found) if way.array == array] or [*range(len(found))]
        placements.append(able[_at(trial, f"way of {e.name}", len(able))])
    places = [
        trial.suggest_categorical(f"places of {tensor}", range(len(found)))
        for tensor, found in choices.region.places.items()
    ]
    tiling = _at(trial, "tiles", len(choices.subspaces[subspace].sizes))
    return MappingPoint(number, subspace, tiling, tuple(placements), tuple(places))


def _at(trial: Any, name: str, number: int) -> int:
    """Return the index of one of some ordered choices, from a parameter between 0 and 1."""
    return min(number - 1, int(trial.suggest_float(name, 0.0, 1.0) * number))


def _parameters(point: MappingPoint, trials: MappingTrials) -> dict[str, Any]:
    """Return the parameters that suggest a point."""
    choices: OpenChoices = trials.points.regions[point.region]
    sizes = choices.subspaces[point.subspace].sizes
    found: dict[str, Any] = {
        "region": point.region,
        "loops": (point.subspace + 0.5) / len(choices.subspaces),
        "tiles": (point.tiling + 0.5) / len(sizes),
    }
    for (name, placements), n in zip(
        choices.region.placements.items(), point.placements, strict=True
    ):
        able = [k for k, way in enumerate(placements) if way.array == placements[n].array]
        found[f"array of {name}"] = placements[n].array
        found[f"way of {name}"] = (able.index(n) + 0.5) / len(able)
    for tensor, n in zip(choices.region.places, point.places, strict=True):
        found[f"places of {tensor}"] = n
    return found


STRATEGY = OptunaSearch()
