"""Reference execution against the pointwise oracle on random cascades."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointwise import Refused, evaluate_pointwise
from portions import examples, some
from random_cascades import cascades

from archsim.validation.inputs import random_inputs, random_parameters, windowed_ranks
from einsum_cascade import Cascade, EvaluationError
from einsum_cascade.domains import places_needed
from einsum_cascade.shapes import resolve_shapes
from einsum_cascade.yaml.library import builtin_names

Arrays = dict[str, np.ndarray[Any, Any]]


@settings(
    max_examples=examples(80),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cascades(), st.integers(0, 2**20))
def test_random_cascades_mean_what_they_say(text: str, seed: int) -> None:
    cascade = Cascade.parse(text)
    program = cascade.program
    rng = np.random.default_rng(seed)
    sizes = {rank: int(rng.integers(1, 5)) for rank in ("A", "B", "T", "M", "M0", "H")}
    sizes["J"] = int(rng.integers(1, 3))
    lead = ("H",) if rng.random() < 0.5 else ()
    inputs: Arrays = {}
    for tensor in program.inputs:
        shape = tuple(sizes[r] for r in (*lead, *tensor.ranks))
        beyond = int(rng.random() < 0.1)
        is_index = tensor.name == "G"
        draw = rng.integers(0, sizes["A"] + beyond, shape) if is_index else rng.normal(size=shape)
        inputs[tensor.name] = draw
    carried = {r for t in program.inputs for r in t.ranks} | set(lead)
    free = {r: n for r, n in sizes.items() if r in program.rank_of and r not in carried}
    known = {r: n for r, n in sizes.items() if r in program.rank_of or r in lead}
    shapes = resolve_shapes(program, known)
    try:
        expected = evaluate_pointwise(program, inputs, shapes, {"lam": 0.75})
    except Refused:
        with pytest.raises(EvaluationError):
            cascade.evaluate(inputs, keep="all", **free)
        return
    found = cascade.evaluate(inputs, keep="all", **free)
    assert found.keys() == expected.keys()
    with np.errstate(over="ignore"):
        for name, wanted in expected.items():
            np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-9, err_msg=text)


SHAPED_OTHERWISE = (
    "delta-product-chunked",
    "log-linear-attention-chunked",
    "native-sparse-attention-decode",
    "native-sparse-attention-overlapped",
)
"""Ranks alike of which one alone is cut, or that are as long as the other's fixed part, or as many
as windows that overlap: ``tests/zoo`` has their sizes, and an independent reference for each."""


@pytest.mark.parametrize(
    "name", some([n for n in builtin_names("cascades") if n not in SHAPED_OTHERWISE], 24, 3)
)
def test_builtin_cascades_mean_what_they_say(name: str) -> None:
    """Every tensor of every built-in cascade, tiles that divide their rank and that do not."""
    program = Cascade.load(name).program
    rng = np.random.default_rng(1)
    chosen = {v.upper() for e in program.einsums if e.select for v in e.target.variables}
    cut = [r.name for r in program.ranks if r.partition and not r.like]
    few = len(program.ranks) > 7  # element by element, ten ranks of 4 are a million
    for size in (4, 5):
        given_shapes: dict[str, int] = dict.fromkeys(program.parallel, 2)
        for rank in program.ranks:
            if rank.partition:
                given_shapes |= dict.fromkeys(rank.partition[1:], 2)
                if rank.like is None:  # else as long as what it is like
                    other = few and rank.name != cut[0]
                    given_shapes[rank.name] = size - 2 if other else size
            elif rank.family is None and rank.like is None:
                most = 3 if few or rank.name in chosen else 5  # no more is selected than there is
                given_shapes[rank.name] = rank.shape or int(rng.integers(2, most))
        # Read at sums of others, each of at most 5.
        summed = (r for r in windowed_ranks(program) if program.rank_of[r].shape is None)
        given_shapes |= dict.fromkeys(summed, 10)
        # Entries that differ need as many places as there are entries.
        needed = places_needed(program, resolve_shapes(program, given_shapes))
        given_shapes |= {r: max(n, given_shapes[r]) for r, n in needed}
        shapes = resolve_shapes(program, given_shapes)
        inputs = random_inputs(program, shapes, rng)
        parameters = random_parameters(program, {}, rng, shapes)
        carried = {r for t in program.inputs for r in t.ranks} | set(program.parallel)
        free = {r: n for r, n in given_shapes.items() if r not in carried}
        found = Cascade(program).evaluate(inputs, keep="all", **free, **parameters)
        for tensor, wanted in evaluate_pointwise(program, inputs, shapes, parameters).items():
            np.testing.assert_allclose(
                found[tensor], wanted, rtol=1e-10, atol=1e-12, err_msg=tensor
            )
