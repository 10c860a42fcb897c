"""Number types of an Einsum (computed, accumulated, stored), and rounding to number formats.

Floating-point formats round to nearest, ties to even, and clip finite values to the largest number;
infinities stay. An integer format has one scale per tensor, which maps the largest magnitude to the
largest integer. Block-scaled formats have scales along the last rank. The scales of the OCP
Microscaling specification (1.0, section 6.3) are powers of two. The scales of nvfp4 are in fp8_e4m3
under one scale for the whole tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ir
from ..errors import EvaluationError, Problem, did_you_mean
from ..number_formats import FORMATS, NumberFormat, TensorFormats

Array = npt.NDArray[Any]
DType = np.dtype[Any]

_NARROW = ("float16", "bfloat16")

SUMS: Mapping[str, str] = MappingProxyType(
    {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
)
"""Number type by the name of the format in which sums are accumulated."""


def dtype_of(name: str) -> DType:
    """Return the numpy type of a name such as ``bfloat16``, which comes from ml_dtypes."""
    if hasattr(np, name):
        return np.dtype(name)
    import ml_dtypes

    found: DType = np.dtype(getattr(ml_dtypes, name))
    return found


def resolve_dtype(wanted: Any) -> DType:
    """Return the numpy type that a user asks for by name (``"float16"``), numpy type or class.

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
    """Return the type that can hold every floating-point input; float64 if there is none.

    Raises
    ------
    EvaluationError
        The inputs have a type that cannot be computed in.
    """
    floating = [a.dtype for a in arrays if is_floating(a.dtype)]
    return resolve_dtype(np.result_type(*floating)) if floating else np.dtype(np.float64)


def is_floating(dtype: DType) -> bool:
    """Return whether a type holds real numbers, including bfloat16, which numpy does not count."""
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


@dataclass(frozen=True)
class Precision:
    """Number types of one evaluation.

    Every tensor is stored in ``storage``. An Einsum reads its operands from storage and computes in
    its *working* type: its ``accumulate`` type if the cascade names one, else float32 for the two
    16-bit types and ``storage`` itself otherwise. The result is rounded to ``storage`` once. A
    16-bit accumulator computes the map in float32. It rounds the running result of the reduction to
    16 bits after each step, in the order of the coordinates.
    """

    storage: DType
    accumulate: tuple[tuple[str, str], ...] = ()
    formats: TensorFormats = field(default=TensorFormats())
    """Number formats to which tensors are rounded in addition; the arrays keep type ``storage``."""

    def working(self, tensor: str) -> DType:
        """Return the number type in which ``tensor`` is computed."""
        name = dict(self.accumulate).get(tensor, self.storage.name)
        return np.dtype(np.float32) if name in _NARROW else dtype_of(name)

    def accumulator(self, tensor: str) -> DType | None:
        """Return the 16-bit type to which each step of a tensor's reduction is rounded, or None."""
        name = dict(self.accumulate).get(tensor) or SUMS.get(self.formats.accumulate)
        return dtype_of(name) if name in _NARROW else None

    def kept(self, tensor: str, values: Array) -> Array:
        """Return the values of a tensor rounded to its number format, if the user states one."""
        fmt = self.formats.of(tensor)
        if not fmt.name:
            return values

        return rounded(values, fmt)


def cast(values: Array, dtype: DType) -> Array:
    """Return ``values`` rounded to ``dtype``; values that are too large become infinite.

    The result is ``values`` itself, not a copy, if it has the type already.
    """
    if values.dtype == dtype:
        return values
    with np.errstate(all="ignore"):
        return values.astype(dtype)


_ELEMENTS = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp8_e4m3": "float8_e4m3fn",
    "fp8_e5m2": "float8_e5m2",
    "fp4_e2m1": "float4_e2m1fn",
    "mxfp8": "float8_e4m3fn",
    "mxfp6": "float6_e2m3fn",
    "mxfp4": "float4_e2m1fn",
    "nvfp4": "float4_e2m1fn",
}
_TF32_BITS = FORMATS["tf32"].significand


def rounded(values: Array, fmt: NumberFormat) -> Array:
    """Return values rounded to a number format, in the type they had before.

    Parameters
    ----------
    values : array of float32 or float64
        Any shape; blocks lie along the last axis.
    fmt : NumberFormat
        One of ``FORMATS``.

    Examples
    --------
    The largest value of a block of 32 decides its scale, here 1; 5 is not representable:

    >>> rounded(np.array([6.0, 4.9, 0.2, 1.1]), FORMATS["mxfp4"]).tolist()
    [6.0, 4.0, 0.0, 1.0]
    >>> rounded(np.array([1.0, -0.5, 0.1]), FORMATS["int4"]).round(4).tolist()
    [1.0, -0.5714, 0.1429]
    """
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    with np.errstate(all="ignore"):
        if fmt.block > 1:
            found = _in_blocks(known, fmt)
        elif fmt.exponent == 0:
            found = _whole(known, fmt)
        else:
            found = _floating(known, fmt)
    kept: Array = np.where(finite, found, values).astype(values.dtype)
    return kept


def unit_roundoff(fmt: NumberFormat) -> float:
    """Return a format's largest rounding error, relative to a value or its block's largest.

    >>> [unit_roundoff(FORMATS[name]) for name in ("bf16", "mxfp4", "mxfp8")]
    [0.00390625, 0.25, 0.125]
    """
    if fmt.exponent == 0:
        return 0.5 / _largest_whole(fmt)
    half: float = 2.0**-fmt.significand
    if fmt.block == 1:
        return half
    # Values between the largest element and the next power of two are clipped to the largest.
    element = _element(fmt)
    return float(max(half, 1 - _largest_element(element) / 2.0 ** _exponent_above(element)))


def largest(fmt: NumberFormat) -> float:
    """Return the largest value that a format can hold; infinity if its values have a scale.

    >>> [largest(FORMATS[name]) for name in ("fp8_e4m3", "fp16", "mxfp8", "int8")]
    [448.0, 65504.0, inf, inf]
    """
    if fmt.exponent == 0 or fmt.block > 1 or fmt.name == "tf32":
        return float("inf")
    return _largest_element(_element(fmt))


def _floating(values: Array, fmt: NumberFormat) -> Array:
    if fmt.name == "tf32":
        fraction, exponent = np.frexp(values)
        # Exponents are those of float32; fractions in [0.5, 1) keep 11 bits.
        scale = 2.0**_TF32_BITS
        return np.asarray(np.ldexp(np.rint(fraction * scale) / scale, exponent))
    element = _element(fmt)
    most = _largest_element(element)
    return np.clip(values, -most, most).astype(element).astype(np.float64)


def _largest_whole(fmt: NumberFormat) -> int:
    return int(2 ** (fmt.element_bits - 1) - 1)


def _whole(values: Array, fmt: NumberFormat) -> Array:
    most = _largest_whole(fmt)
    scale = float(np.max(np.abs(values), initial=0.0)) / most
    return values if not scale else np.clip(np.rint(values / scale), -most, most) * scale


def _in_blocks(values: Array, fmt: NumberFormat) -> Array:
    """Return values rounded with one scale per block along the last axis.

    The last block is padded with zeros.
    """
    flat = np.atleast_1d(values).astype(np.float64)
    length = flat.shape[-1]
    rest = -length % fmt.block
    padded = np.pad(flat, [*[(0, 0)] * (flat.ndim - 1), (0, rest)])
    blocks = padded.reshape(*padded.shape[:-1], -1, fmt.block)
    if fmt.exponent == 0:
        found = np.apply_along_axis(_whole, -1, blocks, fmt)
        return np.asarray(found.reshape(padded.shape)[..., :length].reshape(values.shape))
    largest = np.max(np.abs(blocks), axis=-1, keepdims=True, initial=0.0)
    element = _element(fmt)
    most = _largest_element(element)
    # Example mxfp4 (largest element 6, so top = 3): a block with maximum 100 = 0.78 * 2**7 has
    # scale 2**(7 - 3) = 16, and 100 / 16 = 6.25 becomes 6.
    scale = _scales(largest, most, _exponent_above(element), fmt)
    inside = np.clip(np.where(scale > 0, blocks / np.where(scale > 0, scale, 1), 0), -most, most)
    found = inside.astype(element).astype(np.float64) * scale
    return np.asarray(found.reshape(padded.shape)[..., :length].reshape(values.shape))


def _scales(largest: Array, most: float, top: int, fmt: NumberFormat) -> Array:
    if fmt.name != "nvfp4":
        # The specification subtracts the exponent of the largest element from floor(log2 maximum).
        # Both exponents of frexp are one larger, so their difference is the same.
        _, exponent = np.frexp(largest)
        return np.asarray(np.where(largest > 0, np.ldexp(1.0, exponent - top), 0.0))
    eight = FORMATS["fp8_e4m3"]
    # One scale per tensor maps the largest block scale to 448, the largest value of fp8_e4m3.
    whole = float(np.max(largest, initial=0.0)) / (most * _largest_element(_element(eight)))
    return _floating(largest / most / whole, eight) * whole if whole else largest


def _element(fmt: NumberFormat) -> DType:
    return dtype_of(_ELEMENTS[fmt.name])


@cache
def _largest_element(element: DType) -> float:
    """Return the largest finite value of the number type of a block's elements."""
    import ml_dtypes

    limits: Any = ml_dtypes.finfo
    return float(limits(element).max)


def _exponent_above(element: DType) -> int:
    """Return the exponent of the smallest power of two above an element type's largest value."""
    return int(np.frexp(_largest_element(element))[1])
