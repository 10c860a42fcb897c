"""Trials of single mappings: points of a mapspace that the engine runs one by one.

The strategies ``random``, ``anneal`` and ``optuna`` differ in how they choose the next point.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from math import exp, inf, log
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError, Problem, SpecError
from einsum_cascade.memo import cached_property

from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Certificate, Searched
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.objectives import LATENCY, SearchObjective
from ..problem.protocol import Advance, Progress, SearchProblem, silent
from ..problem.search_log import SearchLog
from ..space.fusion import candidates_of, subspaces_of
from ..space.mapspace import Mapspace, explain_infeasibility, no_legal_mapping
from ..space.region import Region, Subspace, mapping_of
from . import policy


@dataclass(frozen=True, slots=True)
class MappingPoint:
    """A mapping as a point of the mapspace: indices of its region and of all choices in it."""

    region: int
    subspace: int
    tiling: int
    placements: tuple[int, ...]
    """Index of each Einsum's placement, in the order of the cascade."""
    places: tuple[int, ...]
    """Index of each tensor's residency, in the order of ``Region.places``."""


class OpenChoices:
    """All choices that the mappings of one region have."""

    def __init__(self, region: Region) -> None:
        self.region = region
        outermost = (region.architecture.memories[0].name,)
        self.placements = tuple(region.placements.values())
        self.places = tuple(region.places.values())
        # Where a constraint keeps a tensor in an inner memory, its first residency stands for this.
        self.outermost = tuple(
            found.index(outermost) if outermost in found else 0 for found in self.places
        )

    @cached_property
    def subspaces(self) -> tuple[Subspace, ...]:
        """Subspaces of the region; subspaces whose shared ranks most Einsums have come first."""
        return subspaces_of(self.region)

    @cached_property
    def candidates(self) -> int:
        """Number of mappings in the region."""
        return candidates_of(self.region, self.subspaces)

    @cached_property
    def sharing(self) -> dict[tuple[str, ...], list[int]]:
        """Indices of the subspaces for each set of ranks with shared loops."""
        found: dict[tuple[str, ...], list[int]] = {}
        for number, subspace in enumerate(self.subspaces):
            found.setdefault(subspace.skeleton.shared, []).append(number)
        return found

    def tilings(self, shared: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tilings of all subspaces with the given shared ranks, and the indices of each.

        The indices are those of the subspace and of the tiling in the subspace.
        """
        numbers = self.sharing[shared]
        sizes = [self.subspaces[n].sizes for n in numbers]
        which = [
            (n, row) for n, rows in zip(numbers, sizes, strict=True) for row in range(len(rows))
        ]
        return np.concatenate(sizes), np.array(which)


class Points:
    """Points in the most promising regions of a mapspace."""

    def __init__(self, space: Mapspace, objective: SearchObjective) -> None:
        timed = objective.code == LATENCY
        most = min(policy.MAX_REGIONS if timed else policy.MAX_UNRANKED_REGIONS, space.size)
        promised = space.regions(most, diverse=not timed)
        if nothing := explain_infeasibility(space):
            raise nothing
        self.program = space.program
        self.regions = tuple(OpenChoices(one.region) for one in promised)
        self.bound = 0.0
        """Lower bound of the objective for all mappings of the mapspace."""
        if timed:
            self.bound = min(space.bound_outside(promised), *(one.bound for one in promised))

    def mapping(self, point: MappingPoint) -> Mapping:
        """Return the mapping that a point stands for."""
        choices = self.regions[point.region]
        region, subspace = choices.region, choices.subspaces[point.subspace]
        placements = {
            e: found[n]
            for (e, found), n in zip(region.placements.items(), point.placements, strict=True)
        }
        places = {
            t: found[n] for (t, found), n in zip(region.places.items(), point.places, strict=True)
        }
        return mapping_of(
            region, subspace.skeleton, subspace.sizes[point.tiling], placements, places
        )

    def draw(self, random: Random) -> MappingPoint:
        """Return a random point; promising regions are likelier than others."""
        weights = [1 / (1 + n) for n in range(len(self.regions))]
        (number,) = random.choices(range(len(self.regions)), weights)
        choices = self.regions[number]
        # Every set of shared ranks is equally likely, however many loop orders it has.
        subspace = random.choice(choices.sharing[random.choice([*choices.sharing])])
        elsewhere = random.random() * policy.MAX_SHARE_ELSEWHERE
        return MappingPoint(
            region=number,
            subspace=subspace,
            tiling=random.randrange(len(choices.subspaces[subspace].sizes)),
            placements=tuple(random.randrange(len(found)) for found in choices.placements),
            places=tuple(
                random.randrange(len(found)) if random.random() < elsewhere else outermost
                for found, outermost in zip(choices.places, choices.outermost, strict=True)
            ),
        )

    def like(self, mapping: Mapping, number: int) -> MappingPoint:
        """Return the point of a region that is most similar to a given mapping.

        The point takes over shared ranks, arrays and residency as far as the region has them. The
        mapping may be outside of the mapspace.
        """
        choices = self.regions[number]
        arrays = {e.einsum: (e.array, bool(e.outside)) for e in mapping.einsums}
        placements = [
            next((n for n, w in enumerate(f) if (w.array, w.alone) == arrays.get(e)), 0)
            for e, f in choices.region.placements.items()
        ]
        kept = {t: {k.level for k in mapping.keep if t in k.tensors} for t in choices.region.places}
        places = [
            next((n for n, levels in enumerate(found) if {*levels} == kept[t]), outermost)
            for (t, found), outermost in zip(
                choices.region.places.items(), choices.outermost, strict=True
            )
        ]
        loops = [loop for level in mapping.nest for loop in level.loops]
        shared = {_rank_of(loop, choices.region.factorisation_of) for loop in loops}
        sharing = max(choices.sharing, key=lambda ranks: -len({*ranks} ^ shared))
        # The last subspace has the most loops: each memory holds a tile.
        subspace = choices.sharing[sharing][-1]
        return MappingPoint(number, subspace, 0, tuple(placements), tuple(places))

    def neighbour(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Return a point that differs from a given one, mostly in one choice; it may also be the
        same."""
        moves = (
            self._tiling,
            self._placement,
            self._place,
            self._order,
            self._sharing,
            self._region,
        )
        (move,) = random.choices(moves, (4, 4, 4, 2, 1, 1))
        return move(point, random)

    def _tiling(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Change one tile to the next smaller or larger size, which may add or remove loops."""
        choices = self.regions[point.region]
        subspace = choices.subspaces[point.subspace]
        rows, which = choices.tilings(subspace.skeleton.shared)
        mine = subspace.sizes[point.tiling]
        if not mine.size:
            return point
        column = random.randrange(mine.size)
        # These tilings differ in this column alone; the next smaller and the next larger size are
        # taken.
        others = np.delete(rows, column, axis=1) == np.delete(mine, column)
        alike = others.all(axis=1) & (rows[:, column] != mine[column])
        if not alike.any():
            chosen = which[random.randrange(len(which))]
        else:
            sizes = np.unique(rows[alike, column])
            around = [*sizes[sizes < mine[column]][-1:], *sizes[sizes > mine[column]][:1]]
            of_size = which[alike & (rows[:, column] == random.choice(around))]
            chosen = of_size[random.randrange(len(of_size))]
        return replace(point, subspace=int(chosen[0]), tiling=int(chosen[1]))

    def _placement(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Change the placement of one Einsum."""
        numbers = [len(found) for found in self.regions[point.region].placements]
        return replace(point, placements=_changed(point.placements, numbers, random))

    def _place(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Change the residency of one tensor."""
        numbers = [len(found) for found in self.regions[point.region].places]
        return replace(point, places=_changed(point.places, numbers, random))

    def _order(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Change the order of the loops and keep all tiles."""
        choices = self.regions[point.region]
        loops = [{*order} for order in choices.subspaces[point.subspace].skeleton.order]
        skeleton = choices.subspaces[point.subspace].skeleton
        same = [
            number
            for number in choices.sharing[skeleton.shared]
            if choices.subspaces[number].skeleton.own == skeleton.own
            and [{*order} for order in choices.subspaces[number].skeleton.order] == loops
        ]
        return replace(point, subspace=random.choice(same))

    def _sharing(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Change the ranks with shared loops, and keep the tiles if possible."""
        choices = self.regions[point.region]
        mine = choices.subspaces[point.subspace].sizes[point.tiling]
        rows, which = choices.tilings(random.choice([*choices.sharing]))
        same = which[(rows == mine).all(axis=1)]
        found = same if len(same) else which
        subspace, tiling = found[random.randrange(len(found))]
        return replace(point, subspace=int(subspace), tiling=int(tiling))

    def _region(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Change the factorisation of ranks, and keep arrays and residency."""
        was = self.regions[point.region]
        number = random.randrange(len(self.regions))
        choices = self.regions[number]
        placements = tuple(
            _same_array(mine[n].array, mine[n].alone, [(w.array, w.alone) for w in found])
            for n, mine, found in zip(
                point.placements, was.placements, choices.placements, strict=True
            )
        )
        shared = was.subspaces[point.subspace].skeleton.shared
        numbers = choices.sharing.get(shared) or choices.sharing[random.choice([*choices.sharing])]
        subspace = random.choice(numbers)
        tiling = random.randrange(len(choices.subspaces[subspace].sizes))
        return MappingPoint(number, subspace, tiling, placements, point.places)


def _changed(chosen: tuple[int, ...], numbers: list[int], random: Random) -> tuple[int, ...]:
    """Replace one of several choices, picked at random, by one of its alternatives."""
    free = [n for n, number in enumerate(numbers) if number > 1]
    if not free:
        return chosen
    at = random.choice(free)
    other = (chosen[at] + random.randrange(1, numbers[at])) % numbers[at]
    return (*chosen[:at], other, *chosen[at + 1 :])


def _same_array(array: str, alone: bool, placements: list[tuple[str, bool]]) -> int:
    """Return the index of the first placement with the same array and ``alone`` flag, else 0."""
    return placements.index((array, alone)) if (array, alone) in placements else 0


def _rank_of(loop: str, ranks: Collection[str]) -> str:
    """Return the rank of a loop, whose name is that of the rank, perhaps with a number."""
    names = (loop[:end] for end in range(len(loop), 0, -1))
    return next((name for name in names if name in ranks), loop)


class MappingTrials:
    """Trials of single mappings in one search, and the best run among them.

    Parameters
    ----------
    evaluations : int
        Number of legal mappings after which the search is over.
    """

    def __init__(
        self, problem: SearchProblem, evaluations: int, advance: Advance | None = None
    ) -> None:
        self.problem = problem
        self.points = Points(problem.space, problem.objective)
        self.best = problem.known
        self.log = SearchLog(problem.known, problem.others)
        self.ended = ""
        self._advance = advance or (lambda _: None)
        self._evaluations = evaluations
        self._values: dict[MappingPoint, float] = {}
        self._legal = self._attempts = 0
        self._failed: MappingError | None = None
        self._note()

    @property
    def done(self) -> float:
        """Share of the search that has been done."""
        attempts = self._attempts / (policy.MAX_ATTEMPTS_PER_RUN * self._evaluations)
        return max(self._legal / self._evaluations, attempts)

    def is_over(self) -> bool:
        """Return whether the search must end: time is up, trials are used up, or optimality is
        proven."""
        if self.best is not None:
            if not self.ended and self.problem.is_over():
                self.ended = TIME_LIMIT
            proven = self.points.bound >= self.best.value * (1 - self.problem.tolerance)
            if self.ended or proven:
                return True
        return self.done >= 1

    def value(self, point: MappingPoint) -> float:
        """Run a point's mapping and return its objective; infinite if the mapping is illegal."""
        self._attempts += 1
        if point not in self._values:
            self._values[point] = self._run(point)
        return self._values[point]

    def _run(self, point: MappingPoint) -> float:
        mapping = self.points.mapping(point)
        objective = self.problem.objective
        named = replace(mapping, name=f"best-{objective.name}")
        try:
            run = run_mapping(self.points.regions[point.region].region, named, objective)
        except MappingError as error:
            self._failed = self._failed or error
            return inf
        self._legal += 1
        self._advance(1)
        self.log.ran(run)
        tie = self.problem.objective.tie
        if self.best is None or (run.value, tie(run.result)) < (
            self.best.value,
            tie(self.best.result),
        ):
            self.best = run
            self._note()
        return run.value

    def _note(self) -> None:
        best, objective = self.best, self.problem.objective
        floor = 0.0 if best is None else objective.floor(best.result)
        value = inf if best is None else best.value
        self.log.note(self._legal, value, max(self.points.bound, floor))

    def searched(self, strategy: str) -> Searched:
        """Return the best run with its certificate.

        Raises
        ------
        NoLegalMappingError
            No run is legal; tells why the first was not.
        """
        if self.best is None:
            tried = self._failed.problems if self._failed else [Problem("no mapping was tried")]
            raise no_legal_mapping(self.problem.space, tried)
        return Searched(
            mapping=self.best.mapping,
            result=self.best.result,
            certificate=self._certificate(strategy, self.best),
            runner_up=self.log.runner_up(self.problem.space, self.best.mapping),
            history=self.log.end(self._legal),
        )

    def _certificate(self, strategy: str, best: EngineRun) -> Certificate:
        opened = {point.region for point in self._values}
        candidates = sum(self.points.regions[n].candidates for n in opened)
        refused = len(self._values) - self._legal
        return self.problem.certificate(
            best.result,
            self.points.bound,
            strategy=strategy,
            candidates=candidates,
            evaluated=self._legal,
            reasons=(
                ("not legal", refused),
                ("not looked at", candidates - self._legal - refused),
            ),
            runs=self._legal,
            ended=self.ended,
        )


def search_by(
    walk: Callable[[MappingTrials], None],
    strategy: str,
    evaluations: int,
    problem: SearchProblem,
    progress: Progress,
) -> Searched:
    """Walk over points by a strategy and return the best run, even after an interrupt.

    Parameters
    ----------
    walk : callable
        Tries points until ``MappingTrials.is_over``.
    strategy : str
        Name of the strategy.

    Raises
    ------
    NoLegalMappingError
        No mapping is known, and no run is legal.
    """
    trials = MappingTrials(problem, evaluations, progress(evaluations))
    try:
        walk(trials)
    except KeyboardInterrupt:
        # An interrupt asks for the best so far; without a run there is nothing to report.
        if trials.best is None:
            raise
        trials.ended = INTERRUPTED
    return trials.searched(strategy)


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """Random points, the baseline for all other strategies (a ``Mapper``)."""

    seed: int = 0
    evaluations: int = policy.EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Return the best of a number of random points. Raises as ``search_by``."""
        return search_by(self.walk, "random", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Try random points until the search is over."""
        random = Random(self.seed)  # noqa: S311
        while not trials.is_over():
            trials.value(trials.points.draw(random))


RANDOM = RandomSearch()


@dataclass(frozen=True, slots=True)
class Annealing:
    """Simulated annealing: a walk from the best known mapping to similar ones (a ``Mapper``)."""

    seed: int = 0
    evaluations: int = policy.EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Return the best point of an annealing walk. Raises as ``search_by``."""
        return search_by(self.walk, "anneal", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Walk from point to point until the search is over."""
        random = Random(self.seed)  # noqa: S311
        here, value = _start(trials, random)
        while here is not None and not trials.is_over():
            there = trials.points.neighbour(here, random)
            if there == here:
                # A mapspace of a single point has no neighbour, and its search has to end, too.
                there = trials.points.neighbour(trials.points.draw(random), random)
            reached = trials.value(there)
            # The heat falls from 0.1 to 0.002. A mapping worse by a tenth is accepted with a
            # probability of exp(log(1 / 1.1) / 0.1) = 0.39 at first, and of 0 at the end.
            heat = policy.FIRST_HEAT * (policy.LAST_HEAT / policy.FIRST_HEAT) ** trials.done
            if reached < inf and random.random() < exp(min(0.0, log(value / reached) / heat)):
                here, value = there, reached


def _start(trials: MappingTrials, random: Random) -> tuple[MappingPoint | None, float]:
    """Return the best of the first legal points; None if time is up before one is legal."""
    best: MappingPoint | None = None
    value, legal = inf, 0
    for point in _starts(trials, random):
        if trials.is_over() or legal >= policy.MAX_STARTS:
            break
        reached = trials.value(point)
        legal += reached < inf
        if reached < value:
            best, value = point, reached
    return best, value


def _starts(trials: MappingTrials, random: Random) -> Iterator[MappingPoint]:
    """Yield the points most similar to the known mapping, then random points without end."""
    known = trials.problem.known
    if known is not None:
        for number, choices in enumerate(trials.points.regions[: policy.MAX_STARTS]):
            found = trials.points.like(known.mapping, number)
            yield found
            yield replace(found, places=choices.outermost)
    while True:
        yield trials.points.draw(random)


ANNEALING = Annealing()


@dataclass(frozen=True, slots=True)
class OptunaSearch:
    """Search by Optuna, which prefers choices that good points have in common (a ``Mapper``)."""

    seed: int = 0
    evaluations: int = policy.OPTUNA_EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Return the best of the points that Optuna suggests. Raises as ``search_by``.

        Raises
        ------
        SpecError
            Optuna is not installed; tells how to install it.
        """
        _optuna()
        return search_by(self.walk, "optuna", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Try the points that Optuna suggests until the search is over."""
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
    """Return the point that Optuna suggests, from parameters similar in meaning in every region."""
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
    """Return an index into ordered choices, from a suggested parameter between 0 and 1."""
    return min(number - 1, int(trial.suggest_float(name, 0.0, 1.0) * number))


def _parameters(point: MappingPoint, trials: MappingTrials) -> dict[str, Any]:
    """Return the Optuna parameters that stand for a point."""
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


OPTUNA = OptunaSearch()
