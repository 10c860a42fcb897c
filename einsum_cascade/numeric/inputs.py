"""Check of user inputs, shapes and parameters, which yields the binding of an evaluation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ir
from ..domains import index_tensors, outside, repeated_entries
from ..errors import EvaluationError, Problem, did_you_mean, raise_all
from ..shapes import resolve_shapes
from .dtypes import Array, Precision, cast, common_dtype, is_floating, resolve_dtype


@dataclass(frozen=True)
class Binding:
    """Checked inputs, shapes and parameters of an evaluation.

    Attributes
    ----------
    inputs : mapping
        Arrays by name, in the storage type; index tensors are int64.
    shapes : mapping
        Shape of every rank.
    parallel : tuple of str
        Parallel ranks that the inputs carry: all of them, or none.
    parameters : mapping
        Value of every parameter.
    precision : Precision
        Number types of the computation.
    """

    inputs: Mapping[str, Array]
    shapes: Mapping[str, int]
    parallel: tuple[str, ...]
    parameters: Mapping[str, float]
    precision: Precision


def bind(
    program: ir.Program,
    inputs: Mapping[str, Any],
    dtype: Any,
    sizes: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> Binding:
    """Check the inputs, shapes and parameters that a user passes, and return their binding.

    Parameters
    ----------
    program : Program
    inputs : mapping
        Arrays, or anything numpy accepts as an array, by input name.
    dtype : str, type or None
        Storage type of tensors; None takes the widest floating type among the inputs.
    sizes : mapping
        Shapes, in elements, of ranks that no input has.
    parameters : mapping
        Numbers by name; missing ones take their defaults.

    Raises
    ------
    EvaluationError
        Something is missing, unknown, of the wrong kind, or contradictory; lists everything found.
    """
    problems: list[Problem] = []
    problems.extend(_names(program, inputs))
    indices = index_tensors(program)
    arrays: dict[str, Array] = {}
    for tensor in program.inputs:
        if tensor.name in inputs:
            found = _array(tensor.name, inputs[tensor.name], tensor.name in indices)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                arrays[tensor.name] = found
    values = dict(_parameters(program, parameters, problems))
    raise_all(problems, EvaluationError)
    # Checked last: after a wrong name or kind, wrong shapes would only be a consequence.
    parallel = _parallel(program, arrays)
    shapes = _shapes(program, arrays, parallel, sizes)
    _domains(program, {**values, **arrays}, shapes, parallel)
    wanted = common_dtype(arrays.values()) if dtype is None else resolve_dtype(dtype)
    precision = Precision(wanted, program.accumulate, program.formats)
    stored = {n: _stored(n, a, precision, n in indices) for n, a in arrays.items()}
    return Binding(stored, shapes, parallel, values, precision)


def _names(program: ir.Program, inputs: Mapping[str, Any]) -> Iterator[Problem]:
    known = {t.name: t for t in program.inputs}
    for name in inputs:
        if name not in known:
            hint = did_you_mean(str(name), known)
            yield Problem(f"'{name}' is not an input of '{program.name}'", hint=hint)
    for name, tensor in known.items():
        if name not in inputs:
            ranks = ", ".join((*program.parallel, *tensor.ranks))
            yield Problem(f"input '{name}' [{ranks}] is missing")


def _array(name: str, given: Any, is_index: bool) -> Array | Problem:
    try:
        array = np.asarray(given)
    except (TypeError, ValueError):
        return Problem(f"input '{name}' is not an array of numbers: its rows differ in length")
    kind = array.dtype.kind
    if not (kind in "biu" or is_floating(array.dtype)):
        return Problem(f"input '{name}' holds {array.dtype.name} values, not real numbers")
    if is_index and kind not in "iu":
        return Problem(f"input '{name}' holds coordinates; it needs whole numbers")
    if kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        return Problem(f"input '{name}' holds whole numbers beyond 2**63")
    if is_floating(array.dtype) and np.isnan(array).any():
        at = tuple(np.argwhere(np.isnan(array))[0].tolist())
        return Problem(f"input '{name}' is not a number at {list(at)}")
    return array


def _parameters(
    program: ir.Program, given: Mapping[str, Any], problems: list[Problem]
) -> Iterator[tuple[str, float]]:
    for parameter in program.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is None:
            problems.append(Problem(f"parameter '{parameter.name}' is missing"))
            continue
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool | str) or math.isnan(number):
            problems.append(Problem(f"parameter '{parameter.name}' is a number, not {value!r}"))
        else:
            yield parameter.name, number


def _parallel(program: ir.Program, arrays: Mapping[str, Array]) -> tuple[str, ...]:
    """Return the parallel ranks if every input carries them, or nothing if no input does."""
    extra = {t.name: arrays[t.name].ndim - len(t.ranks) for t in program.inputs}
    count = len(program.parallel)
    wrong = [t for t in program.inputs if extra[t.name] not in (0, count)]
    if wrong:
        raise EvaluationError([_dimensions(program, t, arrays[t.name]) for t in wrong])
    if len(set(extra.values())) > 1:
        with_ = ", ".join(n for n, e in extra.items() if e)
        without = ", ".join(n for n, e in extra.items() if not e)
        ranks = ", ".join(program.parallel)
        what = f"{with_} come with the parallel ranks [{ranks}] and {without} without"
        raise EvaluationError(what, hint="all inputs carry them, or none does")
    return program.parallel if any(extra.values()) else ()


def _dimensions(program: ir.Program, tensor: ir.Tensor, array: Array) -> Problem:
    plain = f"[{', '.join(tensor.ranks)}]"
    full = f"[{', '.join((*program.parallel, *tensor.ranks))}]"
    wanted = f"{full} or {plain}" if program.parallel else plain
    dimensions = f"{array.ndim} dimension" + "s" * (array.ndim != 1)
    return Problem(f"input '{tensor.name}' has {dimensions}; it is {wanted}")


def _shapes(
    program: ir.Program,
    arrays: Mapping[str, Array],
    parallel: tuple[str, ...],
    sizes: Mapping[str, Any],
) -> dict[str, int]:
    problems: list[Problem] = []
    found: dict[str, tuple[int, str]] = {}
    for tensor in program.inputs:
        ranks = (*parallel, *tensor.ranks)
        for rank, size in zip(ranks, arrays[tensor.name].shape, strict=True):
            known, other = found.setdefault(rank, (size, tensor.name))
            # The first input with a rank determines its shape; the others have to agree.
            if known != size:
                what = f"rank {rank} has shape {known} in '{other}' and {size} in '{tensor.name}'"
                problems.append(Problem(what))
    given = {rank: size for rank, (size, _) in found.items()}
    for rank, size in sizes.items():
        if rank in found and isinstance(size, int) and size != given[rank]:
            size_there, other = found[rank]
            what = f"rank {rank} has shape {size_there} in '{other}', but {size} is asked for"
            problems.append(Problem(what))
        elif rank not in found:
            given[rank] = size
    raise_all(problems, EvaluationError)
    return resolve_shapes(program, given, EvaluationError)


def _domains(
    program: ir.Program,
    given: Mapping[str, Any],
    shapes: Mapping[str, int],
    parallel: tuple[str, ...],
) -> None:
    """Reject values outside their domains; warn of equal entries where ``distinct`` is declared.

    Equal entries give correct results, but lower bounds then count more elements than are touched.
    """
    problems = []
    parameters = {p.name for p in program.parameters}
    for domain in program.domains:
        if wrong := outside(domain, given[domain.name], shapes):
            kind = "parameter" if domain.name in parameters else "input"
            problems.append(Problem(f"{kind} '{domain.name}' {wrong}"))
    for named in program.distinct:
        if wrong := repeated_entries(program, named, given[named.name], shapes, parallel):
            warnings.warn(f"input '{named.name}' {wrong}", stacklevel=2)
    raise_all(problems, EvaluationError)


def _stored(name: str, array: Array, precision: Precision, is_index: bool) -> Array:
    if is_index:
        return array.astype(np.int64)
    stored = cast(array, precision.storage)
    overflow = np.isinf(stored)
    if overflow.any():
        # An infinity in the input stays one.
        lost = overflow & np.isfinite(array.astype(np.float64))
        if lost.any():
            at = np.argwhere(lost)[0].tolist()
            value = array[tuple(at)]
            what = f"input '{name}' is {value} at {at}, too large for {precision.storage.name}"
            raise EvaluationError(what)
    return precision.kept(name, stored)


def split_named(
    program: ir.Program, named: Mapping[str, Any], taken: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort keyword arguments into shapes and parameters.

    Parameters
    ----------
    program : Program
    named : mapping
        Values by keyword.
    taken : iterable of str
        Further keywords of the caller, suggested if a name is misspelt.

    Returns
    -------
    tuple of dict
        Shapes by rank, and parameters by name.

    Raises
    ------
    EvaluationError
        A keyword is neither; the hint names the nearest valid one.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-softcap").program
    >>> split_named(program, {"M": 64, "cap": 30}, ())
    ({'M': 64}, {'cap': 30})
    """
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    parameters = tuple(p.name for p in program.parameters)
    problems = []
    for name in named:
        if name not in ranks and name not in parameters:
            known = (*ranks, *parameters, *taken)
            what = f"'{name}' is neither a rank nor a parameter of '{program.name}'"
            problems.append(Problem(what, hint=did_you_mean(name, known)))
    raise_all(problems, EvaluationError)
    return (
        {n: v for n, v in named.items() if n in ranks},
        {n: v for n, v in named.items() if n in parameters},
    )
