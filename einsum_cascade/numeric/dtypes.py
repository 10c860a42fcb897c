"""Number types by name, and in which type an Einsum computes, accumulates and stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ir
from ..errors import EvaluationError, Problem, did_you_mean
from ..number_formats import TensorFormats

Array = npt.NDArray[Any]
DType = np.dtype[Any]

_NARROW = ("float16", "bfloat16")

SUMS: Mapping[str, str] = MappingProxyType(
    {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
)
"""Formats that sums are run in, and the types that are the same."""


def dtype_of(name: str) -> DType:
    """The numpy type of one of ``ir.DTYPES``.

    Returns
    -------
    dtype
        ``bfloat16`` comes from ml_dtypes, which is imported for it alone.
    """
    if name == "bfloat16":
        import ml_dtypes

        found: DType = np.dtype(ml_dtypes.bfloat16)
        return found
    return np.dtype(str(name))


def resolve_dtype(wanted: Any) -> DType:
    """The number type a user means, by name (``"float16"``), numpy type or class.

    Raises
    ------
    EvaluationError
        It is none of ``ir.DTYPES``.
    """
    name = wanted
    if not isinstance(wanted, str):
        try:
            name = np.dtype(wanted).name
        except TypeError:
            name = repr(wanted)
    if name not in ir.DTYPES:
        problem = Problem(f"'{name}' is not a number type here", hint=did_you_mean(name, ir.DTYPES))
        raise EvaluationError(problem)
    return dtype_of(name)


def common_dtype(arrays: Iterable[Array]) -> DType:
    """The type that holds every floating input; float64 when there is none.

    Raises
    ------
    EvaluationError
        The inputs have a type that cannot be computed in.
    """
    floating = [a.dtype for a in arrays if is_floating(a.dtype)]
    return resolve_dtype(np.result_type(*floating)) if floating else np.dtype(np.float64)


def is_floating(dtype: DType) -> bool:
    """Whether a type holds real numbers; bfloat16 is not below ``np.floating``."""
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


@dataclass(frozen=True)
class Precision:
    """The types of one evaluation.

    Every tensor is stored in ``storage``. An Einsum reads its operands from storage and
    computes in its *working* type: its ``accumulate`` type if the cascade names one, else
    float32 for the two 16-bit types and ``storage`` itself otherwise. The result is
    rounded to ``storage`` once. When the cascade asks for a 16-bit accumulator, the map
    is computed in float32 and the running result of the reduction is rounded to 16 bits
    after each step, in the order of the coordinates.
    """

    storage: DType
    accumulate: tuple[tuple[str, str], ...] = ()
    formats: TensorFormats = field(default=TensorFormats())
    """Formats to which tensors are rounded besides; in ``storage`` they are kept."""

    def working(self, tensor: str) -> DType:
        """The type ``tensor`` is computed in."""
        name = dict(self.accumulate).get(tensor, self.storage.name)
        return np.dtype(np.float32) if name in _NARROW else dtype_of(name)

    def accumulator(self, tensor: str) -> DType | None:
        """The 16-bit type the reduction of ``tensor`` is rounded to, if any."""
        name = dict(self.accumulate).get(tensor) or SUMS.get(self.formats.accumulate)
        return dtype_of(name) if name in _NARROW else None

    def kept(self, tensor: str, values: Array) -> Array:
        """Values of a tensor in its format, where one is stated."""
        fmt = self.formats.of(tensor)
        if not fmt.name:
            return values
        # Not above: few evaluations are of formats.
        from .rounding import rounded

        return rounded(values, fmt)


def cast(values: Array, dtype: DType) -> Array:
    """``values`` rounded to ``dtype``; what is too large becomes infinite.

    Parameters
    ----------
    values : array of any shape
    dtype : dtype

    Returns
    -------
    array
        ``values`` itself, not a copy, where it has the type.
    """
    if values.dtype == dtype:
        return values
    with np.errstate(all="ignore"):
        return values.astype(dtype)
