"""References that are no entry of a list: a function of one's own, or another cascade."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from einsum_cascade import Cascade
from einsum_cascade.errors import EvaluationError, Problem

from .inputs import random_shapes
from .trial import ReferenceLike


@dataclass(frozen=True)
class GivenReference:
    """A function under a name."""

    name: str
    function: Callable[..., Any]
    """Takes arrays and parameters by keyword, gives arrays by output, or one array."""


def as_reference(given: ReferenceLike | Callable[..., Any]) -> ReferenceLike:
    """A reference as ``validate_cascade`` takes it; a function is known by its own name."""
    if isinstance(given, ReferenceLike):
        return given
    return GivenReference(getattr(given, "__name__", "the reference given"), given)


def reference_of(other: Cascade, cascade: Cascade) -> GivenReference:
    """Another cascade, in float64, as the reference of one with the same inputs.

    Parameters
    ----------
    other : Cascade
        What is taken to be right. Tiles that its inputs do not fix are of any size.
    cascade : Cascade
        What is compared with it.

    Raises
    ------
    EvaluationError
        The two have inputs of other names, or of other numbers of ranks.
    """
    mine, theirs = cascade.program, other.program
    wide = {t.name: len(t.ranks) + len(mine.parallel) for t in mine.inputs}
    wanted = {t.name: len(t.ranks) + len(theirs.parallel) for t in theirs.inputs}
    if wide != wanted:
        told = "; ".join(
            f"{program.name} has {', '.join(f'{t.name} of {len(t.ranks)}' for t in program.inputs)}"
            f" and {len(program.parallel)} parallel"
            for program in (mine, theirs)
        )
        text = f"inputs of '{mine.name}' and '{theirs.name}' differ in names or numbers of ranks"
        raise EvaluationError(Problem(text, hint=told))
    given = {p.name for p in theirs.parameters}

    def evaluate(**arrays: Any) -> dict[str, Any]:
        numbers = {n: v for n, v in arrays.items() if n in given}
        inputs = {n: v for n, v in arrays.items() if n not in given}
        numbers |= _sizes(other, inputs)
        return dict(other.evaluate(inputs, dtype="float64", **numbers))

    names = (*wanted, *(p.name for p in theirs.parameters))
    keyword = inspect.Parameter.KEYWORD_ONLY
    taken = [inspect.Parameter(name, keyword) for name in names]
    evaluate.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return GivenReference(theirs.name, evaluate)


def _sizes(cascade: Cascade, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Shapes of a cascade that its inputs do not carry."""
    program = cascade.program
    known: dict[str, int] = {}
    for tensor in program.inputs:
        ranks = (*program.parallel, *tensor.ranks)
        known |= dict(zip(ranks, inputs[tensor.name].shape, strict=True))
    # Of ranks that are alike one says the shape of both.
    alone = [r.name for r in program.ranks if r.like in known]
    given = {rank: size for rank, size in known.items() if rank not in alone}
    found = random_shapes(program, given, np.random.default_rng(0))
    return {rank: size for rank, size in found.items() if rank not in known}
