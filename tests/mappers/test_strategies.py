"""A new search strategy: one module and one line of the registry, as CONTRIBUTING.md says."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import product

import pytest
from commands import refused, run

from archsim import Architecture, simulate
from einsum_cascade.errors import MappingError, NoLegalMappingError, SpecError
from mappers.local.trials import Annealing
from mappers.problem.certificate import Certificate, Searched
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import Progress, SearchProblem, silent
from mappers.space.fusion import candidates_of, subspaces_of
from mappers.space.region import mapping_of
from mappers.strategies import STRATEGIES, strategy_called
from mappers.workload_search import search_workload
from workloads import load

FEW = ("seq_len=512", "batch=2", "H=2")


@dataclass(frozen=True, slots=True)
class FirstLegal:
    """The first mapping that is legal, with every tensor in memory only, and no other."""

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Run one tiling of each subspace after the other until the engine takes one."""
        objective = problem.objective
        space = problem.space.regions(1)[0].region
        subspaces = subspaces_of(space)
        advance = progress(len(subspaces))
        placements = {e: found[0] for e, found in space.placements.items()}
        places = dict.fromkeys(space.places, (space.architecture.memories[0].name,))
        tried = 0
        for subspace, row in product(subspaces, (0, -1)):
            mapping = mapping_of(space, subspace.skeleton, subspace.sizes[row], placements, places)
            tried += 1
            advance(row == 0)
            try:
                found = run_mapping(space, mapping, objective)
            except MappingError:
                continue
            candidates = candidates_of(space, subspaces)
            least = objective.floor(found.result)
            certificate = Certificate(
                strategy="first-legal",
                objective=objective.name,
                candidates=candidates,
                evaluated=tried,
                reasons=(("not looked at", candidates - tried),),
                runs=tried,
                gap=1 - least / found.value,
                tolerance=problem.tolerance,
                value=found.value,
                floor=least,
            )
            return Searched(mapping=mapping, result=found.result, certificate=certificate)
        raise NoLegalMappingError("none of the mappings tried is legal")


STRATEGY = FirstLegal()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategy in the registry, before the command line reads the names in it."""
    monkeypatch.setitem(STRATEGIES, "first-legal", __name__)
    monkeypatch.delitem(sys.modules, "archsim.cli.mapping", raising=False)


@pytest.mark.usefixtures("registered")
def test_a_strategy_searches_a_workload() -> None:
    work = load("bert-base", seq_len=512, batch=2, H=2)
    machine, objective = Architecture.load("fusemax"), objective_called("energy")
    searched = search_workload(work, machine, objective, strategy=strategy_called("first-legal"))
    (part,) = searched.parts
    certificate = part.found.certificate
    assert certificate.strategy == "first-legal"
    assert not certificate.optimal
    assert certificate.evaluated + certificate.pruned == certificate.candidates
    assert simulate(work, machine, part.found.mapping).energy_pj == searched.result.energy_pj
    best = search_workload(work, machine, objective, time_limit_s=2)
    assert best.parts[0].value <= part.value
    assert part.value * (1 - certificate.gap) <= best.parts[0].value


@pytest.mark.usefixtures("registered")
def test_the_command_finds_it_by_its_name() -> None:
    few = [argument for setting in FEW for argument in ("--set", setting)]
    arguments = ("map", "bert-base", "fusemax", *few, "--strategy", "first-legal", "--json")
    assert json.loads(run(*arguments).stdout)["certificate"]["strategy"] == "first-legal"
    arguments = ("map", "bert-base", "fusemax", "--strategy", "first-leg")
    assert "Did you mean 'first-legal'?" in refused(*arguments)


def test_a_seed_and_evaluations_are_of_strategies_that_try_mappings() -> None:
    few = [argument for setting in FEW for argument in ("--set", setting)]
    arguments = ("map", "bert-base", "fusemax", *few, "--strategy", "random", "--json")
    told = [
        json.loads(run(*arguments, "--seed", seed, "--evaluations", "3").stdout)["certificate"]
        for seed in ("1", "1")
    ]
    assert told[0]["engine_runs"] == 3
    assert told[0] == told[1]
    assert strategy_called("anneal", seed=7) == Annealing(seed=7)
    message = refused("map", "bert-base", "fusemax", *few, "--seed", "1")
    assert "--seed: the strategy 'exhaustive' takes none" in message


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no strategy 'exhaustiv'.*exhaustive"):
        strategy_called("exhaustiv")


def test_what_a_registered_module_holds_must_be_a_mapper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "none", "json")
    monkeypatch.setattr(json, "STRATEGY", object(), raising=False)
    with pytest.raises(TypeError, match="must name a Mapper"):
        strategy_called("none")
