"""The row of a point: what is known of it once it was run, and how that is kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeVar

from einsum_cascade.yaml.source import Scalar

from .columns import NUMBERS, TEXTS, Status

J = TypeVar("J")

COLUMNS: Final = ("point", "key", *TEXTS, *NUMBERS, "bound_by", "axes", "members", "inputs")
"""Columns of the store."""

RowColumns = Sequence[Any]
"""Values of a row in the order of ``COLUMNS``: numbers, texts, and texts of JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """What is known of a point once it was run. Numbers are None where it was refused."""

    point: int
    key: str
    status: Status
    message: str
    workload: str
    architecture: str
    mapping: str
    axes: tuple[Scalar, ...]
    """The value on every axis, as its column shows it."""
    numbers: tuple[float | None, ...] = (None,) * 5
    """As ``columns.NUMBERS``."""
    members: tuple[tuple[str, float], ...] = ()
    """Columns of memories and arrays."""
    bound_by: str | None = None
    inputs: str = ""
    """All that it ran with, as JSON: mappings that were searched for stand there in full."""


def as_columns(row: PointRow) -> RowColumns:
    """What is kept of a row: texts and numbers."""
    return (
        *(row.point, row.key, *_texts(row), *row.numbers, row.bound_by),
        *(_json(row.axes), _json(dict(row.members)), row.inputs),
    )


def text_of(text: Any, kind: type[J]) -> J:
    """What a text of JSON holds: a file with a page that is damaged has something else there."""
    with suppress(TypeError, ValueError):
        if isinstance(found := json.loads(text), kind):
            return found
    raise sqlite3.DatabaseError("what it keeps of a point is damaged")


def as_row(found: RowColumns) -> PointRow:
    """The row of which this was kept. Raises sqlite3.DatabaseError where it is damaged."""
    point, key, *rest = found
    texts, numbers, others = rest[:_NUMBERS_AT], rest[_NUMBERS_AT:_OTHERS_AT], rest[_OTHERS_AT:]
    bound_by, axes, members, inputs = others
    return PointRow(
        point=point,
        key=key,
        numbers=tuple(numbers),
        bound_by=bound_by,
        axes=tuple(text_of(axes, list)),
        members=tuple(text_of(members, dict).items()),
        inputs=inputs,
        **dict(zip(TEXTS, texts, strict=True)),
    )


_texts = attrgetter(*TEXTS)
_json = json.JSONEncoder(ensure_ascii=False).encode
_NUMBERS_AT: Final = len(TEXTS)
_OTHERS_AT: Final = _NUMBERS_AT + len(NUMBERS)
"""Where columns begin, behind the point and its key."""
