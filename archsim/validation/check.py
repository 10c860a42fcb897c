"""Validation: a cascade run in a number type against what it ought to compute."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from einsum_cascade import Cascade, ir
from einsum_cascade.errors import EvaluationError, Problem, did_you_mean
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.numeric.dtypes import SUMS, resolve_dtype

from .decisions import decides_otherwise
from .given import as_reference
from .report import ValidationReport
from .trial import ReferenceLike, Runner, Trial

TRIALS = 3
"""Random inputs tried, each with shapes of its own."""

_MOST_DRAWS = 100
_NONE: Mapping[str, Any] = MappingProxyType({})


def validate_cascade(
    cascade: Cascade,
    *,
    reference: ReferenceLike | Callable[..., Any] | None = None,
    shapes: Mapping[str, int] = _NONE,
    parameters: Mapping[str, float] = _NONE,
    dtype: str | TensorFormats = "float64",
    seed: int = 0,
    trials: int = TRIALS,
    run: Runner | None = None,
) -> ValidationReport:
    """Run a cascade on random inputs and compare it with a reference.

    The inputs are rounded to ``dtype`` first; the reference gets the same numbers in
    float64.

    Parameters
    ----------
    cascade : Cascade
        What is run.
    reference : ReferenceLike or callable, optional
        An independent function, ``workloads.references.find_reference`` of the name in
        the cascade file, or one of your own: it takes inputs and parameters by keyword, and
        gives arrays by output, or the array of the only one. Without one the cascade is
        compared with its own evaluation in float64, and the report says "not checked".
    shapes, parameters : mapping
        Shapes and parameters to use; the rest is drawn.
    dtype : str or TensorFormats
        One of ``ir.DTYPES``; or formats, tensor by tensor, to which a run in float32 rounds. The
        reference gets inputs that are not rounded then: what is lost with them counts, too.
    seed : int
        Of everything that is drawn.
    trials : int
        How many random inputs to try.
    run : callable, optional
        Takes what ``Cascade.evaluate`` takes; that by default.

    Raises
    ------
    EvaluationError
        Shapes or parameters are wrong, the reference does not fit the cascade, or the
        cascade cannot be run on such inputs.
    """
    formats = dtype if isinstance(dtype, TensorFormats) else TensorFormats()
    name = resolve_dtype("float32" if isinstance(dtype, TensorFormats) else dtype).name
    _check_asked(cascade, parameters, trials)
    _check_formats(cascade.program, formats)
    compared = None if reference is None else as_reference(reference)
    if compared is not None:
        _check_fits(cascade.program, compared)
    rng = np.random.default_rng(seed)
    done: list[ValidationReport] = []
    set_aside = 0
    for _ in range(trials):
        trial, again = _settled(cascade, rng, shapes, parameters, name, formats)
        set_aside += again
        done.append(trial.report(compared, run))
    worst = max(done, key=lambda r: (r.ok is False, r.max_rel_error / r.tolerance))
    return replace(worst, set_aside=set_aside)


def _check_asked(cascade: Cascade, parameters: Mapping[str, float], trials: int) -> None:
    """Refuse parameters that the cascade has not, and no trials at all."""
    known = {p.name for p in cascade.program.parameters}
    unknown = [Problem(f"'{n}' is not a parameter") for n in parameters if n not in known]
    if unknown or trials < 1:
        raise EvaluationError(unknown or Problem("at least one trial is needed"))


def _check_formats(program: ir.Program, formats: TensorFormats) -> None:
    """Refuse formats of tensors that are not there, and sums in what nothing here adds up in."""
    known = [*(t.name for t in program.inputs), *(e.name for e in program.einsums)]
    wrong = [
        Problem(f"'{program.name}' has no tensor '{name}'", hint=did_you_mean(name, known))
        for name, _ in formats.tensors
        if name not in known
    ]
    if formats.accumulate not in ("", *SUMS):
        text = f"sums are run in {', '.join(SUMS)}, not in {formats.accumulate}"
        wrong.append(Problem(text))
    if wrong:
        raise EvaluationError(wrong)


def _settled(
    cascade: Cascade,
    rng: np.random.Generator,
    shapes: Mapping[str, int],
    parameters: Mapping[str, float],
    dtype: str,
    formats: TensorFormats,
) -> tuple[Trial, int]:
    """A trial in which rounding decides nothing, and how many were drawn before it.

    After ``_MOST_DRAWS`` the last one is taken as it is, and will fail. Formats may decide: that
    is what they cost.
    """
    for again in range(_MOST_DRAWS):
        trial = Trial.drawn(cascade, rng, shapes, parameters, dtype, formats)
        if formats.stated or not decides_otherwise(cascade, trial.inputs, dtype, trial.numbers):
            return trial, again
    return trial, _MOST_DRAWS


def _check_fits(program: ir.Program, reference: ReferenceLike) -> None:
    """The reference takes what the cascade has, and perhaps shapes of its ranks by name."""
    taken = inspect.signature(reference.function).parameters
    given = [t.name for t in program.inputs] + [p.name for p in program.parameters]
    shapes = [r.name for r in program.ranks]
    required = [n for n, p in taken.items() if p.default is p.empty and n not in shapes]
    if missing := [n for n in required if n not in given]:
        what = f"reference '{reference.name}' needs {', '.join(missing)}"
    elif extra := [n for n in given if n not in taken]:
        what = f"reference '{reference.name}' knows no {', '.join(extra)}"
    else:
        return
    raise EvaluationError(
        Problem(f"{what}; it takes {', '.join(taken)}", hint=f"'{program.name}' does not fit it")
    )
