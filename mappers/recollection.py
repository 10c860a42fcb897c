"""A whole search kept from one run to the next: its mapping, certificate, runner-up and history.

The engine runs the mapping again. Where it says something else than it did, the search is not
taken to be the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from math import inf, isfinite
from typing import Any

from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from .certificate import Certificate, Moment, RunnerUp, Searched
from .differences import differences_of_nests
from .engine_run import bound_nests, run_mapping
from .memory import RUNNER_UP, MappingQuestion, recall, recall_beside, remember, remember_beside
from .objectives import SearchObjective
from .space.mapspace import Mapspace

_EDITION = 1
"""Of the search: what another one proved is not taken."""

_EQUAL = 1e-9
"""Values of one mapping that differ by no more than this share are one."""


def remember_search(question: MappingQuestion, found: Searched, *, another: bool = False) -> None:
    """Keep what a search found.

    Parameters
    ----------
    question : MappingQuestion
        What it is the answer to.
    found : Searched
        Through: neither ended early nor of a constrained space.
    another : bool
        Whether its mapping is of another cascade that computes the same, which it names. Then no
        runner-up is kept: there may be none of that cascade.
    """
    remember(question, found.mapping, another=another)
    second = None if another else found.runner_up
    if second is not None:
        remember(question, second.mapping, RUNNER_UP)
    known = {
        "edition": _EDITION,
        "certificate": asdict(found.certificate),
        "history": [
            [m.seconds, m.runs, m.value if isfinite(m.value) else None, m.bound]
            for m in found.history
        ],
        "runner_up": second is not None,
    }
    remember_beside(question, json.dumps(known))


def recall_search(
    question: MappingQuestion,
    space_of: Callable[[str], Mapspace],
    objective: SearchObjective,
    tolerance: float,
) -> Searched | None:
    """What a search found for just this problem, if one did.

    Parameters
    ----------
    space_of : callable
        Gives the whole space of the question, by the name of the cascade that the mapping is of.
    tolerance : float
        That of the search.
    """
    mapping, text = recall(question), recall_beside(question)
    if mapping is None or text is None:
        return None
    # What cannot be read any more is searched for again.
    with suppress(InputError, ValueError, TypeError, KeyError):
        known = json.loads(text)
        second = recall(question, RUNNER_UP) if known["runner_up"] else None
        space = space_of(mapping.cascade)
        return _recalled(known, (mapping, second), space, objective, tolerance)
    return None


def _recalled(
    known: dict[str, Any],
    mappings: tuple[Mapping, Mapping | None],
    space: Mapspace,
    objective: SearchObjective,
    tolerance: float,
) -> Searched | None:
    mapping, second = mappings
    certificate = _certificate(known["certificate"])
    if known["edition"] != _EDITION or certificate.tolerance != tolerance:
        return None
    run = run_mapping(space, mapping, objective)
    if abs(run.value - certificate.value) > _EQUAL * certificate.value:
        return None
    return Searched(
        mapping=mapping,
        result=run.result,
        certificate=certificate,
        runner_up=None if second is None else _runner_up(second, mapping, space, objective),
        history=tuple(
            Moment(seconds, runs, inf if value is None else value, bound)
            for seconds, runs, value, bound in known["history"]
        ),
    )


def _certificate(fields: dict[str, Any]) -> Certificate:
    reasons = tuple((why, count) for why, count in fields["reasons"])
    found = Certificate(**(fields | {"reasons": reasons, "constraints": ()}))
    return replace(found, remembered=True)


def _runner_up(
    mapping: Mapping, winner: Mapping, space: Mapspace, objective: SearchObjective
) -> RunnerUp:
    run = run_mapping(space, mapping, objective)
    others = differences_of_nests(bound_nests(space, winner), bound_nests(space, mapping))
    return RunnerUp(mapping=mapping, result=run.result, differences=others)
