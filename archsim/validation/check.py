"""Validation: a cascade run in a number type against what it ought to compute."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from einsum_cascade import ir
from einsum_cascade.errors import EvaluationError, NotANumberError, Problem

from .decisions import decides_otherwise
from .inputs import random_inputs, random_parameters, random_shapes

if TYPE_CHECKING:
    import numpy as np

    from einsum_cascade import Cascade

    Arrays = dict[str, np.ndarray[Any, Any]]

TRIALS = 3
"""Random inputs tried, each with shapes of its own."""

LAMBDA = 4.0
"""How many deviations of the rounding error are allowed; see ``tolerance``."""

_ROUNDINGS_PER_POINT = 3
_MOST_DRAWS = 100
_UNIT_ROUNDOFF: Mapping[str, float] = MappingProxyType(
    {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
)
_NONE: Mapping[str, Any] = MappingProxyType({})


class Reference(Protocol):
    """What a cascade is compared with: a function of its inputs and parameters by name."""

    @property
    def name(self) -> str:
        """The name under which a cascade file asks for it."""

    @property
    def function(self) -> Callable[..., Arrays]:
        """Takes arrays and scalars by keyword, gives arrays by output.

        A keyword that is neither an input nor a parameter but a rank gets its shape: where
        the result depends on it (the size of a block), not only how it is computed.
        """


Runner = Callable[..., "Arrays"]
"""Runs a cascade as ``Cascade.evaluate`` does; a mapped loop nest is another one."""


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """How far a cascade is from what it ought to compute.

    Attributes
    ----------
    cascade, dtype : str
        What was run, and the type its tensors were stored in.
    max_abs_error : float
        The largest difference of any element of any output, over all trials.
    max_rel_error : float
        The same over the largest magnitude of that output in that trial.
    tolerance : float
        What ``max_rel_error`` may be.
    ok : bool
        It is not larger.
    against : str
        The reference's name, or ``"itself in float64"``.
    independent : bool
        The cascade was compared with a reference, not with itself.
    shapes : tuple of (rank, shape)
        Shapes of the worst trial.
    failure : str
        Why there is no error to report: the run gave what is not a number.
    set_aside : int
        Inputs of all trials that were drawn again, because rounding to ``dtype`` alone
        changes what the cascade selects (see ``validation_decisions``).
    """

    cascade: str
    dtype: str
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    ok: bool
    against: str
    independent: bool
    shapes: tuple[tuple[str, int], ...]
    failure: str = ""
    set_aside: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The object of ``validate --json``; an error that is not finite is null."""
        return {
            "cascade": self.cascade,
            "dtype": self.dtype,
            "max_abs_error": _finite(self.max_abs_error),
            "max_rel_error": _finite(self.max_rel_error),
            "tolerance": self.tolerance,
            "ok": self.ok,
            "against": self.against,
            "independent": self.independent,
            "shapes": dict(self.shapes),
            "failure": self.failure,
            "set_aside": self.set_aside,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def validate_cascade(
    cascade: Cascade,
    *,
    reference: Reference | None = None,
    shapes: Mapping[str, int] = _NONE,
    parameters: Mapping[str, float] = _NONE,
    dtype: str = "float64",
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
    reference : Reference, optional
        An independent function, ``workloads.references.find_reference`` of the name in
        the cascade file. Without one the cascade is compared with its own evaluation in
        float64, and the report says so.
    shapes, parameters : mapping
        Shapes and parameters to use; the rest is drawn.
    dtype : str
        One of ``ir.DTYPES``.
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
    import numpy as np

    from einsum_cascade.numeric.dtypes import resolve_dtype

    name = resolve_dtype(dtype).name
    _check_asked(cascade, parameters, trials)
    if reference is not None:
        _check_fits(cascade.program, reference)
    rng = np.random.default_rng(seed)
    done: list[ValidationReport] = []
    set_aside = 0
    for _ in range(trials):
        trial, again = _settled(cascade, rng, shapes, parameters, name)
        set_aside += again
        done.append(trial.report(reference, run or cascade.evaluate))
    worst = max(done, key=lambda r: (not r.ok, r.max_rel_error / r.tolerance))
    return replace(worst, set_aside=set_aside)


def _check_asked(cascade: Cascade, parameters: Mapping[str, float], trials: int) -> None:
    """Refuse parameters that the cascade has not, and no trials at all."""
    known = {p.name for p in cascade.program.parameters}
    unknown = [Problem(f"'{n}' is not a parameter") for n in parameters if n not in known]
    if unknown or trials < 1:
        raise EvaluationError(unknown or Problem("at least one trial is needed"))


def _settled(
    cascade: Cascade,
    rng: np.random.Generator,
    shapes: Mapping[str, int],
    parameters: Mapping[str, float],
    dtype: str,
) -> tuple[_Trial, int]:
    """A trial in which rounding decides nothing, and how many were drawn before it.

    After ``_MOST_DRAWS`` the last one is taken as it is, and will fail.
    """
    for again in range(_MOST_DRAWS):
        trial = _Trial.drawn(cascade, rng, shapes, parameters, dtype)
        if not decides_otherwise(cascade, trial.inputs, dtype, trial.numbers):
            return trial, again
    return trial, _MOST_DRAWS


def tolerance(program: ir.Program, shapes: Mapping[str, int], dtype: str) -> float:
    """How large a relative error rounding explains.

    Every Einsum rounds its result once to ``dtype`` (unit roundoff u_s); before that it
    makes, in its working type (u_w), one rounding per reduced element and about three for
    its map. An Einsum in a recurrence does so at every step. Roundings are independent
    and as often up as down, so the errors of n of them grow as sqrt(n) (Higham and Mary,
    SIAM J. Sci. Comput. 41(5), 2019, where the factor in front is about 4, too)::

        LAMBDA * (u_s * sqrt(results) + u_w * sqrt(roundings inside))
    """
    from einsum_cascade.numeric.dtypes import Precision, dtype_of
    from einsum_cascade.numeric.schedule import Loop, einsums_of, schedule

    precision = Precision(dtype_of(dtype), program.accumulate)
    rank = program.rank_of_variable
    stored = inside = 0.0
    for step in schedule(program):
        for einsum in einsums_of(step):
            steps = shapes[rank[step.variable]] if isinstance(step, Loop) else 1
            narrow = precision.accumulator(einsum.name)
            working = narrow or precision.working(einsum.name)
            reduced = prod(shapes[rank[v]] for v in einsum.over)
            stored += steps * _UNIT_ROUNDOFF[dtype] ** 2
            inside += steps * (_ROUNDINGS_PER_POINT + reduced) * _UNIT_ROUNDOFF[working.name] ** 2
    return LAMBDA * (math.sqrt(stored) + math.sqrt(inside))


def _check_fits(program: ir.Program, reference: Reference) -> None:
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


@dataclass(frozen=True)
class _Trial:
    """One random input."""

    cascade: Cascade
    dtype: str
    shapes: Mapping[str, int]
    parameters: Mapping[str, float]
    inputs: Mapping[str, Any]

    @classmethod
    def drawn(
        cls,
        cascade: Cascade,
        rng: np.random.Generator,
        shapes: Mapping[str, int],
        parameters: Mapping[str, float],
        dtype: str,
    ) -> _Trial:
        """Random shapes and inputs, rounded to ``dtype``."""
        from einsum_cascade.numeric.dtypes import dtype_of

        program = cascade.program
        sizes = random_shapes(program, shapes, rng)
        inputs = random_inputs(program, sizes, rng)
        rounded = {
            n: a if a.dtype.kind == "i" else a.astype(dtype_of(dtype)) for n, a in inputs.items()
        }
        numbers = random_parameters(program, parameters, rng, sizes)
        return cls(cascade, dtype, sizes, numbers, rounded)

    def report(self, reference: Reference | None, run: Runner) -> ValidationReport:
        """Run, and compare."""
        program = self.cascade.program
        expected = self._expected(reference)
        limit = tolerance(program, self.shapes, self.dtype)
        failure, errors = "", (math.inf, math.inf)
        try:
            errors = _errors(expected, self._run(run, self.inputs, self.dtype))
        except NotANumberError as wrong:
            failure = wrong.problems[0].message
        return ValidationReport(
            cascade=program.name,
            dtype=self.dtype,
            max_abs_error=errors[0],
            max_rel_error=errors[1],
            tolerance=limit,
            ok=errors[1] <= limit,
            against=reference.name if reference else "itself in float64",
            independent=reference is not None,
            shapes=tuple(self.shapes.items()),
            failure=failure,
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """Parameters, and the shapes that no input carries."""
        carried = {r for t in self.cascade.program.inputs for r in t.ranks}
        carried.update(self.cascade.program.parallel)
        sizes = {n: size for n, size in self.shapes.items() if n not in carried}
        return {**sizes, **self.parameters}

    def _run(self, run: Runner, inputs: Mapping[str, Any], dtype: str) -> Arrays:
        return run(inputs, dtype=dtype, **self.numbers)

    def _expected(self, reference: Reference | None) -> Arrays:
        import numpy as np

        program = self.cascade.program
        wide = {n: a if a.dtype.kind == "i" else a.astype(float) for n, a in self.inputs.items()}
        if reference is None:
            return self._run(self.cascade.evaluate, wide, "float64")
        taken = inspect.signature(reference.function).parameters
        sizes = {n: size for n, size in self.shapes.items() if n in taken and n not in wide}
        found = reference.function(**wide, **self.parameters, **sizes)
        if len(found) == len(program.outputs) == 1:
            # One output needs no name to be recognised.
            return {program.outputs[0]: np.asarray(next(iter(found.values())))}
        if missing := [n for n in program.outputs if n not in found]:
            what = f"reference '{reference.name}' does not give {', '.join(missing)}"
            raise EvaluationError(Problem(f"{what}; it gives {', '.join(found)}"))
        return {n: np.asarray(found[n]) for n in program.outputs}


def _errors(expected: Arrays, found: Arrays) -> tuple[float, float]:
    """The largest difference, and the largest in units of its output's magnitude."""
    import numpy as np

    absolute = relative = 0.0
    for name, wanted in expected.items():
        got = found[name].astype(float)
        if got.shape != wanted.shape:
            what = f"'{name}' has shape {got.shape}, but the reference gives {wanted.shape}"
            raise EvaluationError(Problem(what))
        with np.errstate(invalid="ignore"):
            difference = np.where(got == wanted, 0.0, np.abs(got - wanted))
        worst = float(np.max(difference, initial=0.0))
        scale = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
        absolute = max(absolute, worst)
        relative = max(relative, worst / scale if scale else math.inf if worst else 0.0)
    return absolute, relative
