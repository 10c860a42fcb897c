"""Trials: runs of a cascade on random inputs, compared with a reference within a rounding
tolerance."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from einsum_cascade import Cascade, ir
from einsum_cascade.errors import EvaluationError, NotANumberError
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.numeric.dtypes import Precision, dtype_of, largest, unit_roundoff
from einsum_cascade.numeric.reference import IterativeLoop, einsums_of, schedule
from workloads.references import Reference

from .inputs import random_inputs, random_parameters, random_shapes

_MOVED = 2.0**-30
"""Relative perturbation of inputs, to measure how strongly the result reacts to small changes."""

_STEEP = 16
"""Largest ratio of the result's to the inputs' perturbation at which the usual tolerance applies.
"""

Arrays = dict[str, np.ndarray[Any, Any]]


Runner = Callable[..., Arrays]
"""Function that runs a cascade as ``Cascade.evaluate`` does, such as a mapped loop nest."""


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """Error of a cascade against its reference.

    Attributes
    ----------
    cascade, dtype : str
        Cascade that ran, and the format in which its tensors were stored.
    max_abs_error : float
        Largest difference of any element of any output, over all trials.
    max_rel_error : float
        Largest difference relative to the magnitude of the output in the same trial.
    tolerance : float
        Limit of ``max_rel_error``.
    ok : bool or None
        True if the error is within the tolerance. None if the cascade was compared with itself
        alone, which measures rounding and not correctness, or if ``beyond`` gives a reason.
    against : str
        Name of the reference; ``"itself in float64"``, or for a mapped nest ``"its equations in
        float64"``.
    independent : bool
        True if the reference is not the cascade itself.
    shapes : tuple of (rank, shape)
        Shapes of the worst trial.
    failure : str
        Reason why there is no error to report: the run gave a value that is not a number.
    beyond : str
        Reason why the error exceeds the tolerance: decisions that formats change, values that
        formats cannot hold, or rounding errors that grow on their way to the result.
    set_aside : int
        Number of inputs that were drawn again, because rounding to ``dtype`` alone changes the
        cascade's selections (see ``validation_decisions``).
    """

    cascade: str
    dtype: str
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    ok: bool | None
    against: str
    independent: bool
    shapes: tuple[tuple[str, int], ...]
    failure: str = ""
    beyond: str = ""
    set_aside: int = 0

    @property
    def verdict(self) -> str:
        """Return ``ok``, ``FAILED``, ``not checked`` or ``not comparable``."""
        if self.beyond:
            return "not comparable"
        if self.ok is None:
            return "not checked"
        return "ok" if self.ok else "FAILED"

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``validate --json``; an infinite error is null."""

        def finite(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "cascade": self.cascade,
            "dtype": self.dtype,
            "max_abs_error": finite(self.max_abs_error),
            "max_rel_error": finite(self.max_rel_error),
            "tolerance": self.tolerance,
            "ok": self.ok,
            "verdict": self.verdict,
            "against": self.against,
            "independent": self.independent,
            "shapes": dict(self.shapes),
            "failure": self.failure,
            "beyond": self.beyond,
            "set_aside": self.set_aside,
        }


@dataclass(frozen=True)
class Trial:
    """Random input for one comparison, with its shapes and parameters."""

    cascade: Cascade
    dtype: str
    shapes: Mapping[str, int]
    parameters: Mapping[str, float]
    inputs: Mapping[str, Any]
    formats: TensorFormats = field(default=TensorFormats())
    """Formats to which the run rounds tensors; with formats the inputs are not rounded."""

    @classmethod
    def drawn(
        cls,
        cascade: Cascade,
        rng: np.random.Generator,
        shapes: Mapping[str, int],
        parameters: Mapping[str, float],
        dtype: str,
        formats: TensorFormats,
    ) -> Trial:
        """Draw random shapes and inputs, rounded to ``dtype`` if no formats are given."""
        program = cascade.program
        sizes = random_shapes(program, shapes, rng)
        inputs = random_inputs(program, sizes, rng)
        if not formats.stated:
            inputs = _in_type(inputs, dtype)
        numbers = random_parameters(program, parameters, rng, sizes)
        return cls(cascade, dtype, sizes, numbers, inputs, formats)

    def report(self, reference: Reference | None, run: Runner | None = None) -> ValidationReport:
        """Run the cascade, and compare it with its reference.

        Parameters
        ----------
        reference : Reference or None
            Reference of the outputs; None compares with an evaluation in float64.
        run : callable
            Function that runs the cascade, such as a mapped loop nest; None is
            ``Cascade.evaluate``, whose comparison with itself measures rounding alone.

        Raises
        ------
        EvaluationError
            The reference gives other outputs, or other shapes, than the cascade.
        """
        program = self.cascade.program
        expected = self._expected(reference)
        rounding = Cascade(replace(program, formats=self.formats))
        limit = tolerance(rounding.program, self.shapes, self.dtype)
        failure, errors = "", (math.inf, math.inf)
        try:
            evaluate = run or rounding.evaluate
            found = evaluate(self.inputs, dtype=self.dtype, **self.numbers)
            errors = _errors(expected, found)
        except NotANumberError as wrong:
            failure = wrong.problems[0].message
        close = errors[1] <= limit
        beyond: tuple[str, ...] = ()
        if self.formats.stated and not close and not failure:
            beyond = unexplained_by_rounding(self.cascade, rounding, self.inputs, self.numbers)
        if not close and not failure and not beyond:
            beyond = self._steep(reference, expected, errors[1] / limit)
        unchecked = close and reference is None and run is None and not self.formats.stated
        itself = "itself in float64" if run is None else "its equations in float64"
        return ValidationReport(
            cascade=program.name,
            dtype=str(self.formats) or self.dtype,
            max_abs_error=errors[0],
            max_rel_error=errors[1],
            tolerance=limit,
            ok=None if unchecked or beyond else close,
            against=reference.name if reference else itself,
            independent=reference is not None,
            shapes=tuple(self.shapes.items()),
            failure=failure,
            beyond="; ".join(beyond),
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """Return the parameters, and the shapes that do not follow from inputs."""
        of_inputs = {r for t in self.cascade.program.inputs for r in t.ranks}
        of_inputs.update(self.cascade.program.parallel)
        sizes = {n: size for n, size in self.shapes.items() if n not in of_inputs}
        return {**sizes, **self.parameters}

    def _steep(
        self, reference: Reference | None, expected: Arrays, times: float
    ) -> tuple[str, ...]:
        """Return sentences that explain an error above the tolerance by rounding, or nothing.

        If a small change of the inputs changes the result much, so does every rounding error on the
        way.
        """
        rng = np.random.default_rng(0)
        moved = {
            n: a if a.dtype.kind == "i" else a * (1 + _MOVED * rng.choice([-1.0, 1.0], a.shape))
            for n, a in _in_type(self.inputs).items()
        }
        found = replace(self, inputs=moved)._expected(reference)
        steepness = _errors(expected, found)[1] / _MOVED
        if steepness < _STEEP or times > steepness:
            return ()
        return (f"what moves these inputs moves the result {steepness:.0f} times as far",)

    def _expected(self, reference: Reference | None) -> Arrays:
        program = self.cascade.program
        wide = _in_type(self.inputs)
        if reference is None:
            return self.cascade.evaluate(wide, dtype="float64", **self.numbers)
        taken = inspect.signature(reference.function).parameters
        sizes = {n: size for n, size in self.shapes.items() if n in taken and n not in wide}
        found = reference.function(**wide, **self.parameters, **sizes)
        if not isinstance(found, dict):
            found = {program.outputs[0]: found}
        if len(found) == len(program.outputs) == 1:
            # A single output needs no name.
            return {program.outputs[0]: np.asarray(next(iter(found.values())))}
        if missing := [n for n in program.outputs if n not in found]:
            what = f"reference '{reference.name}' does not give {', '.join(missing)}"
            raise EvaluationError(f"{what}; it gives {', '.join(found)}")
        return {n: np.asarray(found[n]) for n in program.outputs}


def _in_type(inputs: Mapping[str, Any], dtype: str = "float64") -> dict[str, Any]:
    """Return the inputs converted to a type; whole numbers keep theirs."""
    return {n: a if a.dtype.kind == "i" else a.astype(dtype_of(dtype)) for n, a in inputs.items()}


def _errors(expected: Arrays, found: Arrays) -> tuple[float, float]:
    """Return the largest absolute difference, and the largest relative to an output's magnitude."""
    absolute = relative = 0.0
    for name, wanted in expected.items():
        got = found[name].astype(float)
        if got.shape != wanted.shape:
            what = f"'{name}' has shape {got.shape}, but the reference gives {wanted.shape}"
            raise EvaluationError(what)
        with np.errstate(invalid="ignore"):
            difference = np.where(got == wanted, 0.0, np.abs(got - wanted))
        worst = float(np.max(difference, initial=0.0))
        scale = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
        absolute = max(absolute, worst)
        relative = max(relative, worst / scale if scale else math.inf if worst else 0.0)
    return absolute, relative


LAMBDA = 4.0
"""Number of standard deviations of the rounding error that the tolerance allows; see
``tolerance``."""

_ROUNDINGS_PER_POINT = 3
_UNIT_ROUNDOFF: Mapping[str, float] = MappingProxyType(
    {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
)


def tolerance(program: ir.Program, shapes: Mapping[str, int], dtype: str) -> float:
    """Return the relative error that rounding explains.

    Every Einsum rounds its result once to ``dtype`` (unit roundoff u_s). Before that it makes, in
    its working format (u_w), one rounding per reduced element and about three for its map. An
    Einsum in a recurrence does so at every step. Roundings are independent and as often up as down,
    so the errors of n of them grow as sqrt(n) (Higham and Mary, SIAM J. Sci. Comput. 41(5), 2019,
    where the factor in front is about 4, too). A tensor in a format of its own has that format's
    roundoff, and so has an input::

        LAMBDA * (u_s * sqrt(results) + u_w * sqrt(roundings inside))

    Parameters
    ----------
    program : Program
        The cascade; each of its Einsums is counted once, or once a step of a recurrence.
    shapes : mapping of str to int
        Elements by rank.
    dtype : str
        The type that tensors are stored in, one of ``ir.DTYPES``.

    Examples
    --------
    A product over four features in float16 rounds once to 11 bits (and in float32 before):

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("linear-layer").program
    >>> f"{tolerance(program, {'N': 4, 'D': 4, 'J': 4}, 'float16'):.6f}, {4 * 2**-11:.6f}"
    '0.001954, 0.001953'
    """
    precision = Precision(dtype_of(dtype), program.accumulate, program.formats)
    rank = program.rank_of_variable
    inputs = (program.formats.of(t.name) for t in program.inputs)
    stored = sum(unit_roundoff(fmt) ** 2 for fmt in inputs if fmt.name)
    inside = 0.0
    for step in schedule(program):
        for einsum in einsums_of(step):
            steps = shapes[rank[step.variable]] if isinstance(step, IterativeLoop) else 1
            narrow = precision.accumulator(einsum.name)
            working = narrow or precision.working(einsum.name)
            reduced = prod(shapes[rank[v]] for v in einsum.over)
            fmt = program.formats.of(einsum.name)
            stored += steps * (unit_roundoff(fmt) if fmt.name else _UNIT_ROUNDOFF[dtype]) ** 2
            inside += steps * (_ROUNDINGS_PER_POINT + reduced) * _UNIT_ROUNDOFF[working.name] ** 2
    return LAMBDA * (math.sqrt(stored) + math.sqrt(inside))


def decisions(program: ir.Program) -> tuple[str, ...]:
    """Return the tensors that hold positions (``<<``) or flags (``where(X > Y, 1, 0)`` of
    tensors)."""
    return tuple(e.name for e in program.einsums if e.select is not None or _is_flag(e))


def _is_flag(einsum: ir.Einsum) -> bool:
    match einsum.expression:
        case ir.Call(function="where", arguments=(condition, ir.Number(), ir.Number())):
            return not einsum.over and any(isinstance(n, ir.Access) for n in ir.walk(condition))
        case _:
            return False


def changes_decisions(
    cascade: Cascade, inputs: Mapping[str, Any], dtype: str, numbers: Mapping[str, Any]
) -> bool:
    """Return whether rounding to ``dtype`` changes a decision that a run in float64 makes.

    Parameters
    ----------
    cascade : Cascade
        Cascade to run.
    inputs, numbers : mapping
        Arrays, rounded to ``dtype`` already; sizes and parameters.
    dtype : str
        One of ``ir.DTYPES``.
    """
    names = decisions(cascade.program)
    if not names or dtype == "float64":
        return False
    wide = _in_type(inputs)
    try:
        narrow = cascade.evaluate(inputs, dtype=dtype, keep="all", **numbers)
    except NotANumberError:
        return False  # The caller reports the error; the input is not drawn again.
    exact = cascade.evaluate(wide, dtype="float64", keep="all", **numbers)
    return any(not np.array_equal(narrow[n].astype(float), exact[n]) for n in names)


def unexplained_by_rounding(
    cascade: Cascade, rounding: Cascade, inputs: Mapping[str, Any], numbers: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return sentences about effects of formats that the rounding of results does not explain.

    Parameters
    ----------
    cascade, rounding : Cascade
        Cascade that runs in float64, and the same cascade with formats.
    inputs, numbers : mapping
        Arrays as drawn; sizes and parameters.

    Returns
    -------
    tuple of str
        Selections and flags that come out otherwise, and tensors that would be larger than the
        largest value of their format, at which they stay.
    """
    wide = _in_type(inputs)
    exact = cascade.evaluate(wide, dtype="float64", keep="all", **numbers)
    narrow = rounding.evaluate(inputs, dtype="float32", keep="all", **numbers)
    found = [
        f"{name} is decided otherwise by scores that are rounded"
        for name in decisions(cascade.program)
        if not np.array_equal(np.asarray(narrow[name], dtype=float), exact[name])
    ]
    for name, values in (wide | exact).items():
        fmt = rounding.program.formats.of(name)
        if not fmt.name or values.dtype.kind != "f":
            continue
        most = float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))
        if most > largest(fmt):
            found.append(f"{name} comes to {most:.3g}, and {fmt.name} ends at {largest(fmt):.3g}")
    return tuple(found)
