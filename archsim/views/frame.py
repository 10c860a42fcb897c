"""Frames to draw: rows that ran, settings, units, and options of a chart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from einsum_cascade.errors import InputError, Problem, did_you_mean

from ..sweeping.columns import LEVELS, NUMBERS, TEXTS, unit_of
from ..sweeping.values import measured

if TYPE_CHECKING:
    from pandas import DataFrame, Series


SMALLEST_IN, LARGEST_IN = 2.0, 40.0
"""Limits of a picture's width in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotOptions:
    """Columns in the places of a chart; None for a default choice."""

    x: str | None = None
    y: str | None = None
    colour: str | None = None
    facet: str | None = None
    baseline: str | None = None
    """Value of the colour's column that bars are relative to."""
    width_in: float = 7.0

    def check(self, kind: str, taken: Collection[str]) -> None:
        """Refuse options that a kind of chart does not have.

        Raises
        ------
        InputError
            An option is given that would do nothing, or the width is not one of a picture.
        """
        if not SMALLEST_IN <= self.width_in <= LARGEST_IN:
            text = f"a picture is from {SMALLEST_IN:g} to {LARGEST_IN:g} inches wide"
            raise InputError(Problem(f"{text}, not {self.width_in:g}"))
        for option in fields(self):
            given = option.name != "width_in" and getattr(self, option.name) is not None
            if given and option.name not in taken:
                known = ", ".join(taken) or "none of them"
                text = f"a picture of kind '{kind}' has no '{option.name}'"
                raise InputError(Problem(text, hint=f"it takes {known}"))


RESULTS: Final = ("point", "status", "message", "bound_by", *NUMBERS)
"""Columns of a sweep that are never an axis."""

WORK_FIELDS: Final = ("workload", "seq_len", "batch", "phase", "scope")
"""Fields of the work, if a frame does not name its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """Rows of a frame to draw, with their axes and units."""

    frame: DataFrame
    """Rows that ran and that no condition excludes."""
    axes: tuple[str, ...]
    """Columns of settings that have two values or more."""
    work: frozenset[str]
    """Axes that change the computation: rows that differ in them are no alternatives."""
    units: Mapping[str, str]
    told: tuple[str, ...] = ()
    """Sentences about rows that the picture omits."""

    def only(self, rows: Any) -> FrameView:
        """Return the view of some of the rows."""
        return replace(self, frame=self.frame[rows])

    def telling(self, *told: str) -> FrameView:
        """Return the view with further remarks below the picture."""
        return replace(self, told=(*self.told, *(text for text in told if text)))


def view_of(frame: DataFrame) -> FrameView:
    """Return the rows of a frame that can be drawn, and the settings that vary.

    Parameters
    ----------
    frame : pandas.DataFrame
        Frame of ``load_sweep``, or any with columns of settings and of numbers.

    Raises
    ------
    InputError
        There is no row to draw.
    """
    if not len(frame.columns) or not len(frame):
        raise InputError("there is nothing to draw: the frame has no rows")
    ran, told = _ran(frame)
    axes = tuple(c for c in _settings(ran) if ran[c].nunique(dropna=True) > 1)
    whole = ran.dropna(subset=list(axes)).reset_index(drop=True)
    if len(whole) < len(ran):
        told = (*told, f"not drawn: {len(ran) - len(whole)} without a setting")
    said = frame.attrs.get("work_axes")
    work = frozenset(a for a in axes if a in (WORK_FIELDS if said is None else said))
    units = {c: u for c in map(str, frame.columns) if (u := unit_of(c))}
    units |= dict(frame.attrs.get("units", {}))
    return FrameView(frame=whole, axes=axes, work=work, units=units, told=told)


def _ran(frame: DataFrame) -> tuple[DataFrame, tuple[str, ...]]:
    """Return the rows that ran, and remarks about the others."""
    if "status" not in frame.columns:
        return frame.reset_index(drop=True), ()
    counts = frame["status"].value_counts()
    told = tuple(f"{counts[s]} {s}" for s in ("excluded", "refused") if counts.get(s))
    rows = frame[frame["status"] == "ok"].reset_index(drop=True)
    if not len(rows):
        raise InputError(f"there is nothing to draw: of {len(frame)} points none is ok")
    return rows, ((f"not drawn: {' and '.join(told)}",) if told else ())


def _settings(frame: DataFrame) -> list[str]:
    """Return the columns of settings: those that a frame names, else all columns but results."""
    said = frame.attrs.get("axes")
    if said is not None:
        return [a for a in said if a in frame.columns]
    named = [str(c) for c in frame.columns]
    if "point" in named:
        return [c for c in named if c not in RESULTS and not c.startswith(LEVELS)]
    # Settings of a frame made by hand are texts, and whole numbers that occur repeatedly.
    return [c for c in named if _is_setting(frame, c)]


def _is_setting(frame: DataFrame, column: str) -> bool:
    if column in RESULTS or column.startswith(LEVELS):
        return False
    values = frame[column]
    if values.dtype.kind == "f":
        return False
    return column in TEXTS or values.dtype.kind not in "iu" or values.nunique() < len(values)


def column_called(view: FrameView, name: str, place: str) -> str:
    """Return a column of a frame by name.

    Raises
    ------
    InputError
        There is none; says the nearest.
    """
    named = [str(c) for c in view.frame.columns]
    if name not in named:
        hint = did_you_mean(name, named)
        raise InputError(Problem(f"{place}: there is no column '{name}'", hint=hint))
    if not view.frame[name].notna().any():
        raise InputError(f"{place}: the column '{name}' is empty in all rows that ran")
    return name


def numbers_of(values: Series) -> tuple[float, ...] | None:
    """Return the numbers of a column, including written ones such as ``4K`` and ``1 MiB``.

    Examples
    --------
    >>> from pandas import Series
    >>> numbers_of(Series(["1K", "4K"])), numbers_of(Series(["a", "b"]))
    ((1024.0, 4096.0), None)
    """
    if values.dtype.kind in "iuf":
        return tuple(map(float, values))
    return numbers_written([plain_value(value) for value in values])


def numbers_written(values: Sequence[Any]) -> tuple[float, ...] | None:
    """Return the numbers of some values; None if one is no number, or they are of several kinds.

    Parameters
    ----------
    values : sequence
        Numbers, or written ones: there is no order of 1K and 1 MiB.
    """
    found = [measured(value) for value in values]
    kinds = {one.kind for one in found if one is not None}
    if len(kinds) > 1:
        return None
    numbers = tuple(float(one.number) for one in found if one is not None)
    return numbers if len(numbers) == len(found) else None


def plain_value(value: Any) -> Any:
    """Return a cell of a frame as a Python value."""
    return value.item() if hasattr(value, "item") else value


def need_numbers(view: FrameView, column: str, place: str) -> tuple[float, ...]:
    """Return the numbers of a column that is measured.

    Raises
    ------
    InputError
        It has none, or not in all rows.
    """
    found = numbers_of(view.frame[column])
    if found is None:
        shown = view.frame[column].iloc[0]
        raise InputError(f"{place}: '{column}' holds no numbers ('{shown}'), and is to be measured")
    if not all(map(isfinite, found)):
        missing = sum(not isfinite(n) for n in found)
        text = f"{place}: '{column}' has no finite number in {missing} of {len(found)} rows"
        raise InputError(Problem(text, hint=f'frame.dropna(subset=["{column}"]) leaves them out'))
    return found


def values_of_axis(view: FrameView, column: str) -> tuple[Any, ...]:
    """Return the distinct values of a column: numbers ascending, others in their order.

    Parameters
    ----------
    column : str
        Column of the frame; rows without a value are left out.
    """
    present = view.frame[column].dropna().drop_duplicates()
    numbers = numbers_of(present)
    if numbers is None:
        return tuple(map(plain_value, present))
    pairs = sorted(zip(numbers, map(plain_value, present), strict=True), key=lambda pair: pair[0])
    return tuple(value for _, value in pairs)


def is_ordered(view: FrameView, column: str) -> bool:
    """Return whether the values of a column are numbers, which have an order."""
    return numbers_of(view.frame[column].dropna().drop_duplicates()) is not None


def higher_is_better(column: str) -> bool:
    """Return whether more is better: true of utilizations; every other column is a cost."""
    return column.startswith("utilization.")
