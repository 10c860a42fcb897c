"""Validation of a cascade against a built-in reference, a function or another cascade."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np

from einsum_cascade import Cascade, ir
from einsum_cascade.errors import CascadeError, EvaluationError, InputError, Problem, did_you_mean
from einsum_cascade.number_formats import FORMATS, TensorFormats
from einsum_cascade.numeric.dtypes import SUMS, resolve_dtype
from einsum_cascade.numeric.inputs import split_named
from workloads.references import REFERENCES, Reference, find_reference

from .inputs import random_shapes, shapes_of_inputs
from .trial import Runner, Trial, ValidationReport, changes_decisions


def as_reference(given: Reference | Callable[..., Any]) -> Reference:
    """Return a function as a reference with the function's name; a reference stays as it is."""
    if isinstance(given, Reference):
        return given
    return Reference(getattr(given, "__name__", "the reference given"), given)


def reference_of(other: Cascade, cascade: Cascade) -> Reference:
    """Return a reference of a cascade: another with its inputs, evaluated in float64.

    Parameters
    ----------
    other : Cascade
        Cascade that is taken to be right. Sizes of tiles that its inputs do not fix are arbitrary.
    cascade : Cascade
        Cascade to compare with it.

    Raises
    ------
    EvaluationError
        The inputs of the two differ in names or numbers of ranks.
    """
    mine, theirs = cascade.program, other.program
    wide = {t.name: len(t.ranks) + len(mine.parallel) for t in mine.inputs}
    wanted = {t.name: len(t.ranks) + len(theirs.parallel) for t in theirs.inputs}
    if wide != wanted:
        words = "; ".join(
            f"{program.name} has {', '.join(f'{t.name} of {len(t.ranks)}' for t in program.inputs)}"
            f" and {len(program.parallel)} parallel"
            for program in (mine, theirs)
        )
        text = f"inputs of '{mine.name}' and '{theirs.name}' differ in names or numbers of ranks"
        raise EvaluationError(text, hint=words)
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
    return Reference(theirs.name, evaluate)


def _sizes(cascade: Cascade, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Return the shapes of a cascade that do not follow from its inputs."""
    program = cascade.program
    known = shapes_of_inputs(program, inputs)
    # One of several equal ranks states the shape of all.
    alone = [r.name for r in program.ranks if r.like in known]
    given = {rank: size for rank, size in known.items() if rank not in alone}
    found = random_shapes(program, given, np.random.default_rng(0))
    return {rank: size for rank, size in found.items() if rank not in known}


TRIALS = 3
"""Number of random inputs, each with its own shapes."""

_MOST_DRAWS = 100
"""Largest number of inputs drawn for a trial. The last input is used in any case, and will fail."""
_NONE: Mapping[str, Any] = MappingProxyType({})


def validate_cascade(
    cascade: Cascade,
    *,
    reference: Reference | Callable[..., Any] | None = None,
    shapes: Mapping[str, int] = _NONE,
    parameters: Mapping[str, float] = _NONE,
    dtype: str | TensorFormats = "float64",
    seed: int = 0,
    trials: int = TRIALS,
    run: Runner | None = None,
) -> ValidationReport:
    """Run a cascade on random inputs, and compare it with a reference.

    The inputs are rounded to ``dtype`` first; the reference receives the same numbers in float64.

    Parameters
    ----------
    cascade : Cascade
        Cascade to run.
    reference : Reference or callable, optional
        An independent function, ``workloads.references.find_reference`` of the name in
        the cascade file, or one of your own: it takes inputs and parameters by keyword, and
        gives arrays by output, or the array of the only one. Without one the cascade is
        compared with its own evaluation in float64, and the report says "not checked".
    shapes, parameters : mapping
        Shapes and parameters to use; the rest is drawn.
    dtype : str or TensorFormats
        One of ``ir.DTYPES``; or formats, tensor by tensor, to which a run in float32 rounds. The
        reference gets unrounded inputs then, so that their rounding counts as well.
    seed : int
        Seed of all random numbers.
    trials : int
        Number of random inputs.
    run : callable, optional
        Function with the arguments of ``Cascade.evaluate``, which is the default.

    Raises
    ------
    EvaluationError
        Shapes or parameters are wrong, the reference does not fit the cascade, or the
        cascade cannot be run on such inputs.
    """
    formats = dtype if isinstance(dtype, TensorFormats) else TensorFormats()
    name = resolve_dtype("float32" if isinstance(dtype, TensorFormats) else dtype).name
    _check_formats(cascade.program, formats)
    compared = None if reference is None else as_reference(reference)
    if compared is not None:
        _check_fits(cascade.program, compared)
    rng = np.random.default_rng(seed)
    done: list[ValidationReport] = []
    set_aside = 0
    for _ in range(trials):
        for again in range(_MOST_DRAWS):
            trial = Trial.drawn(cascade, rng, shapes, parameters, name, formats)
            # Rounding decides nothing in a trial. Formats may decide: that is their cost.
            if formats.stated or not changes_decisions(cascade, trial.inputs, name, trial.numbers):
                set_aside += again
                break
        else:
            set_aside += _MOST_DRAWS
        done.append(trial.report(compared, run))
    worst = max(done, key=lambda r: (r.ok is False, r.max_rel_error / r.tolerance))
    return replace(worst, set_aside=set_aside)


def _check_formats(program: ir.Program, formats: TensorFormats) -> None:
    """Raise an error for formats of missing tensors, or for accumulation in an unsupported
    format."""
    known = program.tensors
    wrong = [
        Problem(f"'{program.name}' has no tensor '{name}'", hint=did_you_mean(name, known))
        for name, _ in formats.tensors
        if name not in known
    ]
    if formats.accumulate not in ("", *SUMS):
        wrong.append(Problem(f"sums are run in {', '.join(SUMS)}, not in {formats.accumulate}"))
    if wrong:
        raise EvaluationError(wrong)


def _check_fits(program: ir.Program, reference: Reference) -> None:
    """Raise an error if a reference has an argument that the cascade does not have."""
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
        f"{what}; it takes {', '.join(taken)}", hint=f"'{program.name}' does not fit it"
    )


Named = str | PathLike[str] | Cascade
"""Return a cascade given by built-in name, file or value."""


def validate(
    cascade: Named,
    *,
    reference: Reference | Callable[..., Any] | None = None,
    against: Named | None = None,
    dtype: str | Mapping[str, str] = "float64",
    seed: int = 0,
    **sizes_and_parameters: float,
) -> ValidationReport:
    """Run a cascade on random numbers, and compare it with a reference.

    Parameters
    ----------
    cascade : str, path or Cascade
        Cascade to run.
    reference : callable, optional
        A function of inputs and parameters by keyword that gives arrays by output, or that of the
        only one. By default the one that the cascade's file names.
    against : str, path or Cascade, optional
        Another cascade with the same inputs, in the place of a function.
    dtype : str or mapping of str to str
        The type tensors are stored in; or formats of numbers by tensor, with ``default`` and
        ``accumulate``: ``{"default": "bf16", "K": "fp8_e4m3"}``.
    seed : int
        Seed of the random numbers.
    **sizes_and_parameters
        Shapes by rank (``P=13, P0=4``), and parameters; what is not given is drawn.

    Returns
    -------
    ValidationReport
        Its ``verdict`` is ``"not checked"`` where nothing says what the cascade ought to compute.

    Raises
    ------
    CascadeError
        There is no such cascade, or its file names a missing reference.
    EvaluationError
        The reference does not fit the cascade, two are given, or it has no such shapes.

    Examples
    --------
    >>> import numpy as np
    >>> def attention(Q, K, V):
    ...     scores = np.exp(Q @ np.swapaxes(K, -1, -2))
    ...     return scores / scores.sum(-1, keepdims=True) @ V
    >>> validate("attention-1pass", reference=attention).verdict
    'ok'
    >>> validate("attention-1pass", against="attention-3pass").against
    'attention-3pass'
    """
    found = _loaded(cascade)
    (numbers,) = given_numbers([found], sizes_and_parameters)
    if reference is not None and against is not None:
        raise EvaluationError("give a reference, or a cascade to compare with, not both")
    other = None if against is None else _loaded(against)
    return validate_cascade(
        found,
        reference=reference or reference_for(found, other),
        dtype=dtype if isinstance(dtype, str) else formats_given(dtype),
        seed=seed,
        **vars(numbers),
    )


@dataclass(frozen=True)
class GivenNumbers:
    """Shapes and parameters that the user gives; all others are drawn."""

    shapes: Mapping[str, int]
    """Shapes in elements, by rank."""
    parameters: Mapping[str, float]


def given_numbers(cascades: Sequence[Cascade], given: Mapping[str, Any]) -> list[GivenNumbers]:
    """Return, for each cascade, the given shapes and parameters that it has.

    Raises
    ------
    EvaluationError
        A name is a rank or a parameter of none of them; says the nearest.
    """
    programs = [cascade.program for cascade in cascades]
    own = [
        dict.fromkeys((*p.parallel, *(r.name for r in p.ranks), *(n.name for n in p.parameters)))
        for p in programs
    ]
    known = dict.fromkeys(name for names in own for name in names)
    of = f"of '{cascades[0].name}'" if len(cascades) == 1 else "of any of them"
    wrong = [
        Problem(f"'{name}' is neither a rank nor a parameter {of}", hint=did_you_mean(name, known))
        for name in given
        if name not in known
    ]
    if wrong:
        raise EvaluationError(wrong)
    return [
        GivenNumbers(*split_named(program, {n: v for n, v in given.items() if n in names}, ()))
        for program, names in zip(programs, own, strict=True)
    ]


def formats_given(given: Mapping[str, str]) -> TensorFormats:
    """Return the number formats by tensor, including ``default`` and ``accumulate``.

    Raises
    ------
    InputError
        One is no format of numbers; says the nearest.
    """
    wrong = [
        Problem(f"{name}: '{fmt}' is no format of numbers", hint=did_you_mean(str(fmt), FORMATS))
        for name, fmt in given.items()
        if fmt not in FORMATS
    ]
    if wrong:
        raise InputError(wrong)
    return TensorFormats.by_name(given)


def _loaded(cascade: Named) -> Cascade:
    return cascade if isinstance(cascade, Cascade) else Cascade.load(cascade)


def reference_for(cascade: Cascade, against: Cascade | None = None) -> Reference | None:
    """Return the reference of a cascade: another cascade, the one that its file names, or None.

    Raises
    ------
    CascadeError
        The file names a reference that there is not; says the nearest.
    EvaluationError
        The other cascade has other inputs.
    """
    if against is not None:
        return reference_of(against, cascade)
    name = cascade.program.reference
    if not name:
        return None
    reference = find_reference(name)
    if reference is None:
        hint = did_you_mean(name, [r.name for r in REFERENCES])
        raise CascadeError(f"{cascade.name}: there is no reference '{name}'; {hint}")
    return reference
