"""``archsim.validate``: a cascade against what its file, a function or another cascade says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.errors import CascadeError, EvaluationError, InputError, Problem, did_you_mean
from einsum_cascade.number_formats import FORMATS, TensorFormats

from .check import validate_cascade
from .given import reference_of
from .report import ValidationReport
from .trial import ReferenceLike

Named = str | PathLike[str] | Cascade
"""A built-in name, a file, or a cascade."""


def validate(
    cascade: Named,
    *,
    reference: ReferenceLike | Callable[..., Any] | None = None,
    against: Named | None = None,
    dtype: str | Mapping[str, str] = "float64",
    seed: int = 0,
    **sizes_and_parameters: float,
) -> ValidationReport:
    """Run a cascade on random numbers, and compare it with what it ought to compute.

    Parameters
    ----------
    cascade : str, path or Cascade
        What is run.
    reference : callable, optional
        A function of inputs and parameters by keyword that gives arrays by output, or that of the
        only one. By default the one that the cascade's file names.
    against : str, path or Cascade, optional
        Another cascade with the same inputs, in the place of a function.
    dtype : str or mapping of str to str
        The type tensors are stored in; or formats of numbers by tensor, with ``default`` and
        ``accumulate``: ``{"default": "bf16", "K": "fp8_e4m3"}``.
    seed : int
        Of the random numbers.
    **sizes_and_parameters
        Shapes by rank (``P=13, P0=4``), and parameters; what is not given is drawn.

    Returns
    -------
    ValidationReport
        Its ``verdict`` is ``"not checked"`` where nothing says what the cascade ought to compute.

    Raises
    ------
    CascadeError
        There is no such cascade, or its file names a reference that there is not.
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
    (asked,) = asked_of([found], sizes_and_parameters)
    return validate_cascade(
        found,
        reference=_compared_with(found, reference, against),
        dtype=dtype if isinstance(dtype, str) else formats_given(dtype),
        seed=seed,
        **vars(asked),
    )


def _compared_with(
    cascade: Cascade, reference: ReferenceLike | Callable[..., Any] | None, against: Named | None
) -> ReferenceLike | Callable[..., Any] | None:
    if reference is None:
        return reference_for(cascade, None if against is None else _loaded(against))
    if against is not None:
        raise EvaluationError("give a reference, or a cascade to compare with, not both")
    return reference


@dataclass(frozen=True)
class NumbersAsked:
    """What of the numbers that are drawn is given."""

    shapes: Mapping[str, int]
    """In elements, by rank."""
    parameters: Mapping[str, float]


def asked_of(cascades: Sequence[Cascade], given: Mapping[str, Any]) -> list[NumbersAsked]:
    """The shapes and parameters of each cascade among those given by name.

    Raises
    ------
    EvaluationError
        A name is a rank or a parameter of none of them; says the nearest.
    """
    known: dict[str, None] = {}
    found: list[NumbersAsked] = []
    for cascade in cascades:
        program = cascade.program
        ranks = dict.fromkeys((*program.parallel, *(r.name for r in program.ranks)))
        parameters = dict.fromkeys(p.name for p in program.parameters)
        known |= {**ranks, **parameters}
        found.append(
            NumbersAsked(
                {n: v for n, v in given.items() if n in ranks},
                {n: v for n, v in given.items() if n in parameters},
            )
        )
    of = f"of '{cascades[0].name}'" if len(cascades) == 1 else "of any of them"
    wrong = [
        Problem(f"'{name}' is neither a rank nor a parameter {of}", hint=did_you_mean(name, known))
        for name in given
        if name not in known
    ]
    if wrong:
        raise EvaluationError(wrong)
    return found


def formats_given(given: Mapping[str, str]) -> TensorFormats:
    """Formats by tensor, with ``default`` and ``accumulate``.

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


def reference_for(cascade: Cascade, against: Cascade | None = None) -> ReferenceLike | None:
    """What a cascade is compared with: another one, the reference its file names, or nothing.

    Raises
    ------
    CascadeError
        The file names a reference that there is not; says the nearest.
    EvaluationError
        The other cascade has other inputs.
    """
    if against is not None:
        return reference_of(against, cascade)
    # Not above: all references are imported with their list.
    from workloads.references import REFERENCES, find_reference

    name = cascade.program.reference
    if not name:
        return None
    reference = find_reference(name)
    if reference is None:
        hint = did_you_mean(name, [r.name for r in REFERENCES])
        raise CascadeError(f"{cascade.name}: there is no reference '{name}'; {hint}")
    return reference
