"""Choice of the columns of a chart: axes, colours, panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from einsum_cascade.errors import InputError, Problem

from ..document import picture_text
from ..sweeping.columns import NUMBERS
from .frame import (
    FrameView,
    column_called,
    higher_is_better,
    is_ordered,
    numbers_of,
    values_of_axis,
)
from .scales import label_of, short

if TYPE_CHECKING:
    from pandas import DataFrame


MOST_PANELS: Final = 12
MOST_COLOURS: Final = 14
"""Number of colours in the palette."""
MOST_SHADES: Final = 64
"""Limit of shades of numbers, which their order tells apart."""
_FEW_PANELS, _FEW_COLOURS = 6, 8
"""Limits of panels and colours that are chosen by default."""


@dataclass(frozen=True, slots=True)
class AxisChoice:
    """Axes of a frame that are taken by a place of the chart, and those that are free."""

    view: FrameView
    taken: tuple[str, ...] = ()

    def free(self) -> tuple[str, ...]:
        """Return the axes that are not taken."""
        return tuple(a for a in self.view.axes if a not in self.taken)

    def take(self, column: str | None) -> AxisChoice:
        """Return the choice with one more axis taken."""
        return self if column is None else replace(self, taken=(*self.taken, column))

    def first(self, *wishes: Callable[[str], bool]) -> str | None:
        """Return the first free axis that satisfies a wish, earlier wishes first."""
        for wish in wishes:
            for axis in self.free():
                if wish(axis):
                    return axis
        return None

    def longest(self, *, ordered: bool) -> str | None:
        """Return the free axis with most values, among ordered axes only if ``ordered``."""
        found = [a for a in self.free() if not ordered or is_ordered(self.view, a)]
        return max(found, key=self.size, default=None)

    def longest_choice(self) -> str | None:
        """Return the free axis with most values; numbers and axes that keep the work come first."""

        def rank(axis: str) -> tuple[bool, bool, int]:
            return (is_ordered(self.view, axis), axis not in self.view.work, self.size(axis))

        return max(self.free(), key=rank, default=None)

    def size(self, axis: str) -> int:
        """Return the number of values of an axis."""
        return len(values_of_axis(self.view, axis))


def facet_of(slots: AxisChoice, given: str | None) -> str | None:
    """Return the column that has a panel for each value; by default an axis of the work.

    Raises
    ------
    InputError
        There is no such column, or it has too many values.
    """
    view = slots.view
    if given is None:
        return slots.first(lambda a: a in view.work and slots.size(a) <= _FEW_PANELS)
    column_called(view, given, "facet")
    return _at_most(slots, given, MOST_PANELS, "facet", "panels")


def colour_of(slots: AxisChoice, given: str | None) -> str | None:
    """Return the column that has a colour for each value; by default work, then names, then
    numbers.

    Raises
    ------
    InputError
        There is no such column, or it has too many values.
    """
    view = slots.view
    if given is not None:
        column_called(view, given, "colour")
        most = MOST_SHADES if is_ordered(view, given) else MOST_COLOURS
        return _at_most(slots, given, most, "colour", "colours")
    return slots.first(
        lambda a: a in view.work and slots.size(a) <= _FEW_COLOURS,
        lambda a: not is_ordered(view, a) and slots.size(a) <= _FEW_COLOURS,
        lambda a: slots.size(a) <= _FEW_COLOURS,
    )


def _at_most(slots: AxisChoice, column: str, most: int, place: str, what: str) -> str:
    size = slots.size(column)
    if size > most:
        text = f"{place}: '{column}' has {size} values, a picture has at most {most} {what}"
        few = [a for a in slots.view.axes if slots.size(a) <= most]
        raise InputError(Problem(text, hint=f"of few values: {', '.join(few)}" if few else ""))
    return column


def measure_of(view: FrameView, given: str | None, place: str, but: Iterable[str] = ()) -> str:
    """Return a column of numbers to measure; by default the first result that varies.

    Raises
    ------
    InputError
        There is no such column, or the frame has no numbers.
    """
    if given is not None:
        return column_called(view, given, place)
    named = [str(c) for c in view.frame.columns]
    others = [c for c in named if c not in view.axes and c not in (*but, "point")]
    ranked = [c for c in NUMBERS if c in others and c not in ("floor_latency_s", "cycles")]
    found = [c for c in (*ranked, *others) if numbers_of(view.frame[c].dropna()) is not None]
    moving = [c for c in found if view.frame[c].nunique() > 1] or found
    if not moving:
        beside = f" beside {', '.join(but)}" if (but := tuple(but)) else ""
        what = f"{place}: the frame has no numbers to measure{beside}"
        raise InputError(Problem(what, hint=f"its columns are {', '.join(named)}"))
    return moving[0]


def rows_of_one_workload(view: FrameView, slots: AxisChoice) -> FrameView:
    """Return the rows of one workload: every free axis of the work keeps its last value.

    Rows that compute different things are no alternatives of one another.
    """
    for axis in slots.free():
        if axis in view.work:
            last = values_of_axis(view, axis)[-1]
            view = view.only(view.frame[axis] == last).telling(
                f"{axis} = {shown(view, axis, last)}"
            )
    return view


def best_of(view: FrameView, slots: AxisChoice, measure: str) -> FrameView:
    """Return one row for every combination of the taken axes: the best over all other axes.

    Parameters
    ----------
    measure : str
        Small is best, but of utilizations.
    """
    view = rows_of_one_workload(view, slots)
    keys = list(dict.fromkeys(slots.taken))
    over = [a for a in slots.free() if a not in view.work]
    rank = measure if numbers_of(view.frame[measure]) is not None else "latency_s"
    if rank not in view.frame.columns:
        return view
    kept = _best_rows(view.frame, keys, rank)
    if len(kept) == len(view.frame):
        return replace(view, frame=kept)
    told = f"best {label_of(rank)} over {', '.join(over)}" if over else f"best {label_of(rank)}"
    return replace(view, frame=kept).telling(told)


def _best_rows(frame: DataFrame, keys: Sequence[str], measure: str) -> DataFrame:
    ranked = frame.sort_values(measure, ascending=not higher_is_better(measure), kind="stable")
    kept = ranked.drop_duplicates(keys) if keys else ranked.head(1)
    return kept.sort_index()


def shown(view: FrameView, column: str, value: Any) -> str:
    """Return a value as people write it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return picture_text(str(value))
    return short(value, view.units.get(column))
