"""Proof of a rewrite: passes and operations are counted, and both cascades are run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .. import domains
from ..algebra.terms import variables_of
from ..errors import EvaluationError
from ..ir import Affine, Parameter, Program
from ..libraries import np, sympy
from ..numeric.reference import evaluate
from ..operations import einsum_operations
from ..passes.analysis import analyze_passes

_SWEPT_SHAPE = 12
_MEMBER_SHAPES = {2: (3, 4), 3: (3, 2, 2), 4: (3, 2, 2, 1)}
_OTHER_SHAPES = (3, 4, 5, 2)
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Counted and measured effects of a derivation.

    Attributes
    ----------
    passes : tuple of (rank, before, after)
        Passes over every rank that both cascades have.
    operations : tuple of (kind, before, after)
        Operations as text in the shapes, without the effect of masks.
    error_float64 : float
        Largest difference of any output relative to the largest value of that output, in float64 on
        random inputs.
    error_float16_before, error_float16_after : float
        Same measure for the original and the rewritten cascade in float16, against the original in
        float64 on the same (float16) inputs.
    shapes : tuple of (rank, size)
        Shapes of the runs.
    """

    passes: tuple[tuple[str, int, int], ...]
    operations: tuple[tuple[str, str, str], ...]
    error_float64: float
    error_float16_before: float
    error_float16_after: float
    shapes: tuple[tuple[str, int], ...]

    @property
    def holds(self) -> bool:
        """True if the two cascades computed the same values in float64."""
        return self.error_float64 <= _TOLERANCE

    def text(self) -> str:
        """Return the proof as a table of text."""
        rows = [("", "before", "after")]
        rows += [(f"passes over {r}", str(b), str(a)) for r, b, a in self.passes]
        before, after = (f"{e:.1e}" for e in (self.error_float16_before, self.error_float16_after))
        rows += [
            *self.operations,
            ("float64 error", "", f"{self.error_float64:.1e}"),
            ("float16 error", before, after),
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        shapes = ", ".join(f"{r}={n}" for r, n in self.shapes)
        return "\n".join([*(line.rstrip() for line in lines), f"(run with {shapes})"])


def prove(before: Program, after: Program, seed: int = 0) -> Proof:
    """Count and run two cascades that should be equal.

    Parameters
    ----------
    before, after : Program
        Programs with the same inputs and outputs; ``after`` may have more ranks.
    seed : int
        Seed of the random inputs.
    """
    shapes = proof_shapes(after)
    errors = _errors(before, after, shapes, seed)
    return Proof(
        passes=_passes(before, after),
        operations=_operations(before, after),
        error_float64=errors[0],
        error_float16_before=errors[1],
        error_float16_after=errors[2],
        shapes=tuple(shapes.items()),
    )


def proof_shapes(program: Program) -> dict[str, int]:
    """Return small shapes for a run: a dozen for an iterative rank, 2 to 5 for any other rank.

    Shapes are larger if the cascade requires it.
    """
    shapes: dict[str, int] = dict.fromkeys(program.parallel, 2)
    swept = {r for ranks in program.iterative.values() for r in ranks}
    others = itertools.cycle(_OTHER_SHAPES)
    for rank in program.ranks:
        if rank.partition:
            members = _MEMBER_SHAPES.get(len(rank.partition), (2,) * len(rank.partition))
            shapes.update(zip(rank.partition, members, strict=True))
            shapes[rank.name] = math.prod(members)
        elif rank.shape is not None:
            shapes[rank.name] = rank.shape
        elif rank.family is None:
            other = next(others)
            shapes[rank.name] = _SWEPT_SHAPE if rank.name in swept else other
    _equate_like_ranks(program, shapes)
    for einsum in program.einsums:
        if einsum.select is not None:
            # A selection cannot have more entries than candidates.
            kept = {program.rank_of_variable[v] for v in einsum.target.variables}
            kept -= {program.rank_of_variable[v] for v in variables_of(einsum.expression)}
            chosen = program.rank_of_variable[einsum.over[0]]
            shapes[chosen] = max(shapes[chosen], *(shapes[r] for r in kept))
            for family in program.ranks:
                if chosen in family.partition:
                    shapes[family.name] = math.prod(shapes[m] for m in family.partition)
        for index in einsum.scattered:
            along = program.scatters_along(index)
            if along is not None:
                places = math.prod(shapes[r] for r in domains.scattered_by(program, einsum, index))
                shapes[along] = max(shapes[along], places)
    for name, needed in domains.places_needed(program, shapes):
        shapes[name] = max(shapes[name], needed)
    _equate_like_ranks(program, shapes)
    _cover_windows(program, shapes)
    return shapes


def _cover_windows(program: Program, shapes: dict[str, int]) -> None:
    """Enlarge the shapes of inputs read at sums (``p + t``) to the index's range, in place."""
    inputs = {t.name for t in program.inputs}
    reads = (a for e in program.einsums if e.where is None for a in e.reads)
    for access in (a for a in reads if a.tensor in inputs):
        for name, index in zip(program.tensor_ranks[access.tensor], access.indices, strict=True):
            rank = program.rank_of[name]
            if rank.partition or rank.like is not None or rank.shape is not None:
                continue
            if isinstance(index, Affine) and len(index.variables) > 1:
                shapes[name] = max(shapes[name], domains.last_value(program, index, shapes) + 1)


def _equate_like_ranks(program: Program, shapes: dict[str, int]) -> None:
    """Make the shapes of ranks that are declared alike equal, in place.

    A rank takes the shape of the rank that it is declared like (its model). If only the rank has a
    fixed shape or members, the model takes the shape of the rank.
    """
    for rank in program.ranks:
        if rank.like is None:
            continue
        model = program.rank_of[rank.like]
        if rank.shape is None and (model.partition or not rank.partition):
            shapes[rank.name] = shapes[model.name]
            continue
        shapes[model.name] = shapes[rank.name]
        if model.family is not None:
            members = program.rank_of[model.family].partition
            shapes[model.family] = math.prod(shapes[m] for m in members)


# --------------------------------------------------------------------------- running


def random_inputs(
    program: Program, shapes: dict[str, int], seed: int, *, positive: bool = False
) -> dict[str, np.ndarray[Any, Any]]:
    """Return random inputs; index tensors hold coordinates of the rank that they index.

    Parameters
    ----------
    program : Program
    shapes : dict of str to int
        Shape of every rank, in elements.
    seed : int
    positive : bool
        Whether all numbers lie between 0.5 and 1.5; otherwise they are normally distributed.

    Returns
    -------
    dict of str to array
        Arrays of float16, so that every number type represents the same values.
    """
    rng = np.random.default_rng(seed)
    coordinates = domains.coordinate_bounds(program, shapes)
    inputs = {}
    for tensor in program.inputs:
        size = tuple(shapes[r] for r in (*program.parallel, *tensor.ranks) if r in shapes)
        if (drawn := domains.draw_input(program, tensor, rng, shapes)) is not None:
            whole = drawn.dtype.kind == "i"
            inputs[tensor.name] = drawn if whole else drawn.astype(np.float16)
        elif tensor.name in coordinates:
            inputs[tensor.name] = rng.integers(0, coordinates[tensor.name], size)
        elif positive:
            inputs[tensor.name] = rng.uniform(0.5, 1.5, size).astype(np.float16)
        else:
            inputs[tensor.name] = rng.normal(size=size).astype(np.float16)
    return inputs


def _errors(
    before: Program, after: Program, shapes: dict[str, int], seed: int
) -> tuple[float, float, float]:
    for positive in (False, True):
        inputs = random_inputs(before, shapes, seed, positive=positive)
        wide = {k: v.astype("float64") if v.dtype.kind == "f" else v for k, v in inputs.items()}
        try:
            truth = _run(before, wide, shapes, "float64")
        except EvaluationError:
            # NaN on inputs of both signs, such as the root of a negative number.
            if positive:
                raise
            continue
        if all(np.isfinite(v).all() for v in truth.values()):
            break

    def error(program: Program, given: dict[str, Any], dtype: str) -> float:
        try:
            return _difference(truth, _run(program, given, shapes, dtype))
        except EvaluationError:
            return math.inf

    narrow = error(before, inputs, "float16"), error(after, inputs, "float16")
    return error(after, wide, "float64"), *narrow


def _run(
    program: Program, inputs: dict[str, Any], shapes: dict[str, int], dtype: str
) -> dict[str, np.ndarray[Any, Any]]:
    own = {r.name for r in program.ranks} | set(program.parallel)
    sizes: dict[str, Any] = {k: v for k, v in shapes.items() if k in own}
    parameters = {p.name: _number(program, p, shapes) for p in program.parameters}
    with np.errstate(all="ignore"):
        return evaluate(program, inputs, dtype=dtype, sizes=sizes, parameters=parameters)


def _number(program: Program, parameter: Parameter, shapes: dict[str, int]) -> float:
    """Return the value of a parameter: its default, a number from its domain, or 3/4."""
    domain = program.domain(parameter.name)
    if parameter.default is not None or domain is None:
        return 0.75 if parameter.default is None else parameter.default
    return float(domains.draw(domain, np.random.default_rng(0), (), shapes))


def _difference(truth: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the largest difference between two runs, relative to each output's largest value."""
    worst = 0.0
    for name, value in truth.items():
        right = value.astype("float64")
        wrong = other[name].astype("float64").reshape(right.shape)
        same = (right == wrong) | (np.isnan(right) & np.isnan(wrong))
        with np.errstate(invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(right - wrong))
        gap = np.where(np.isnan(gap), np.inf, gap)
        scale = max(float(np.max(np.abs(right[np.isfinite(right)]), initial=0.0)), 1e-300)
        worst = max(worst, float(np.max(gap, initial=0.0)) / scale)
    return worst


# -------------------------------------------------------------------------- counting


def _passes(before: Program, after: Program) -> tuple[tuple[str, int, int], ...]:
    counts = {r.rank: r.count for r in analyze_passes(after).ranks}
    old = analyze_passes(before).ranks
    return tuple((r.rank, r.count, counts[r.rank]) for r in old if r.rank in counts)


def _operations(before: Program, after: Program) -> tuple[tuple[str, str, str], ...]:
    families = {
        sympy.Symbol(r.name, positive=True): sympy.prod(
            sympy.Symbol(m, positive=True) for m in r.partition
        )
        for r in after.ranks
        if r.partition
    }
    old = {k: v.subs(families) for k, v in count_operations(before)}
    new = {k: v.subs(families) for k, v in count_operations(after)}
    zero = sympy.Integer(0)
    return tuple(
        (kind, _text(old.get(kind, zero)), _text(new.get(kind, zero)))
        for kind in sorted({*old, *new})
    )


def count_operations(program: Program) -> Iterable[tuple[str, Any]]:
    """Return the number of operations of each kind, as polynomials in the shapes.

    Masks are ignored: whole iteration spaces count.
    """
    totals: dict[str, Any] = {}
    for einsum in program.einsums:
        points = sympy.prod(
            sympy.Symbol(program.rank_of_variable[v], positive=True) for v in einsum.variables
        )
        for kind, count in einsum_operations(program, einsum):
            totals[kind] = totals.get(kind, sympy.Integer(0)) + count * points
    return totals.items()


def _text(value: Any) -> str:
    return str(sympy.factor_terms(sympy.expand(value)))
