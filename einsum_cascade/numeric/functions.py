"""The rows of ``einsum_cascade.functions`` on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from ..functions import ARITHMETIC, COMPARISONS, FUNCTIONS, Arithmetic, Function, Relation, of
from .dtypes import Array


def _on_arrays(
    rows: Mapping[str, Function] | Mapping[str, Arithmetic] | Mapping[str, Relation],
) -> Mapping[str, Callable[..., Array]]:
    return MappingProxyType({name: of(np, row.numpy) for name, row in rows.items()})


CALLS = _on_arrays(FUNCTIONS)
"""Functions; one of any number of arguments takes two of them."""

BINARY = _on_arrays(ARITHMETIC)
"""Arithmetic operators."""

COMPARE = _on_arrays(COMPARISONS)
"""Comparisons inside conditions."""
