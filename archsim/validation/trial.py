"""One random input of a cascade: run on it, and compared with a reference."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from einsum_cascade import Cascade
from einsum_cascade.errors import EvaluationError, NotANumberError, Problem
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.numeric.dtypes import dtype_of

from .decisions import beyond_rounding
from .inputs import random_inputs, random_parameters, random_shapes
from .report import ValidationReport
from .tolerance import tolerance

_MOVED = 2.0**-30
"""How far inputs are moved, as a share of each, to see how far that moves the result."""

_STEEP = 16
"""How many times as far the result is moved where rounding is not held to its usual limit."""

Arrays = dict[str, np.ndarray[Any, Any]]


@runtime_checkable
class ReferenceLike(Protocol):
    """What a cascade is compared with: a function of its inputs and parameters by name."""

    @property
    def name(self) -> str:
        """The name under which a cascade file asks for it."""

    @property
    def function(self) -> Callable[..., Any]:
        """Takes arrays and scalars by keyword, gives arrays by output, or that of the only one.

        A keyword that is neither an input nor a parameter but a rank gets its shape: where
        the result depends on it (the size of a block), not only how it is computed.
        """


Runner = Callable[..., Arrays]
"""Runs a cascade as ``Cascade.evaluate`` does; a mapped loop nest is another one."""


@dataclass(frozen=True)
class Trial:
    """One random input."""

    cascade: Cascade
    dtype: str
    shapes: Mapping[str, int]
    parameters: Mapping[str, float]
    inputs: Mapping[str, Any]
    formats: TensorFormats = field(default=TensorFormats())
    """Formats to which the run rounds tensors; the inputs are as drawn then."""

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
        """Random shapes and inputs, rounded to ``dtype`` where no formats are stated."""
        program = cascade.program
        sizes = random_shapes(program, shapes, rng)
        inputs = random_inputs(program, sizes, rng)
        if not formats.stated:
            inputs = {
                n: a if a.dtype.kind == "i" else a.astype(dtype_of(dtype))
                for n, a in inputs.items()
            }
        numbers = random_parameters(program, parameters, rng, sizes)
        return cls(cascade, dtype, sizes, numbers, inputs, formats)

    def report(
        self, reference: ReferenceLike | None, run: Runner | None = None
    ) -> ValidationReport:
        """Run, and compare.

        Parameters
        ----------
        reference : ReferenceLike or None
            What the outputs ought to be; None compares with an evaluation in float64.
        run : callable
            What runs the cascade: a mapped loop nest; None is ``Cascade.evaluate``, which
            nothing is learned about when it is compared with itself.

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
            found = self._run(run or rounding.evaluate, self.inputs, self.dtype)
            errors = _errors(expected, found)
        except NotANumberError as wrong:
            failure = wrong.problems[0].message
        close = errors[1] <= limit
        beyond: tuple[str, ...] = ()
        if self.formats.stated and not close and not failure:
            beyond = beyond_rounding(self.cascade, rounding, self.inputs, self.numbers)
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
        """Parameters, and the shapes that no input carries."""
        carried = {r for t in self.cascade.program.inputs for r in t.ranks}
        carried.update(self.cascade.program.parallel)
        sizes = {n: size for n, size in self.shapes.items() if n not in carried}
        return {**sizes, **self.parameters}

    def _steep(
        self, reference: ReferenceLike | None, expected: Arrays, times: float
    ) -> tuple[str, ...]:
        """That rounding explains an error of so many times its limit, if it does, in words: where
        inputs that move a little move the result far, so does every rounding on the way."""
        rng = np.random.default_rng(0)
        moved = {
            n: a if a.dtype.kind == "i" else a.astype(float) * (1 + _MOVED * _signs(rng, a.shape))
            for n, a in self.inputs.items()
        }
        found = replace(self, inputs=moved)._expected(reference)
        steepness = _errors(expected, found)[1] / _MOVED
        if steepness < _STEEP or times > steepness:
            return ()
        return (f"what moves these inputs moves the result {steepness:.0f} times as far",)

    def _run(self, run: Runner, inputs: Mapping[str, Any], dtype: str) -> Arrays:
        return run(inputs, dtype=dtype, **self.numbers)

    def _expected(self, reference: ReferenceLike | None) -> Arrays:
        program = self.cascade.program
        wide = {n: a if a.dtype.kind == "i" else a.astype(float) for n, a in self.inputs.items()}
        if reference is None:
            return self._run(self.cascade.evaluate, wide, "float64")
        taken = inspect.signature(reference.function).parameters
        sizes = {n: size for n, size in self.shapes.items() if n in taken and n not in wide}
        found = reference.function(**wide, **self.parameters, **sizes)
        if not isinstance(found, dict):
            found = {program.outputs[0]: found}
        if len(found) == len(program.outputs) == 1:
            # One output needs no name to be recognised.
            return {program.outputs[0]: np.asarray(next(iter(found.values())))}
        if missing := [n for n in program.outputs if n not in found]:
            what = f"reference '{reference.name}' does not give {', '.join(missing)}"
            raise EvaluationError(Problem(f"{what}; it gives {', '.join(found)}"))
        return {n: np.asarray(found[n]) for n in program.outputs}


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Random numbers that are 1 or -1."""
    return rng.choice([-1.0, 1.0], shape)


def _errors(expected: Arrays, found: Arrays) -> tuple[float, float]:
    """The largest difference, and the largest in units of its output's magnitude."""
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
