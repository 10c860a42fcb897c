"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer random examples where slow tests are left out."""
    if "not slow" in config.option.markexpr:
        settings.register_profile("fast", settings(), max_examples=20)
        settings.load_profile("fast")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of what is imported and collected nothing goes before the end, and no signal is ignored."""
    gc.disable()
    # Shells start what runs in the background, or by nohup, without one or the other: tests that
    # send these signals, and the commands that they start, would never be told.
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of collected tests and whole libraries stay until the end: the collector of
    garbage, which would go through them hundreds of times, leaves them out."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True, scope="session")
def _no_mapping_is_remembered() -> None:
    """What a run finds depends on no earlier one: tests of that set a directory of their own."""
    os.environ["ARCHSIM_CACHE"] = ""


def _made_once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a generator of mappings that answers a second time what it answered the first."""
    known = cache(lambda program, machine, given: make(program, machine, dict(given)))
    return lambda program, machine, given: known(program, machine, tuple(given.items()))


def _constructed_once(construct: Callable[..., Any]) -> Callable[..., Any]:
    """Return a beam search that answers a second time what it answered the first."""
    from archsim.plan.problem import MappingProblem

    known = cache(
        lambda program, machine, given, partitioning: construct(
            MappingProblem(program, machine, dict(given)), partitioning
        )
    )
    return lambda problem, partitioning=(): known(
        problem.program, problem.architecture, tuple(problem.shapes.items()), partitioning
    )


@pytest.fixture(autouse=True, scope="session")
def _what_is_made_is_made_once() -> Iterator[None]:
    """Mappings whose Einsums share loops take seconds to make, and follow from what they are made
    for alone. Tests of how they are made ask for that themselves."""
    from mappers.construct import beam, fused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "fused", _made_once(fused.fused))
        patch.setattr(beam, "construct", _constructed_once(beam.construct))
        yield


@pytest.fixture(autouse=True, scope="session")
def _searches_stay_in_one_process() -> Iterator[None]:
    """Of tests that run side by side none has all cores: processes forked by each would only wait
    for one another, and compile the kernels once more. Tests of forking ask for it themselves."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            for module in ("mappers.exact.branch_and_bound", "mappers.pareto.capacity_search"):
                patch.setattr(f"{module}.usual_workers", lambda: 1)
        yield
