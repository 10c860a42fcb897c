"""Data frames to draw: rows that ran, settings, units, and the choice of columns for a chart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeVar

from einsum_cascade.errors import InputError, did_you_mean

from ..document import picture_text
from ..sweeping.columns import AS_BUILT, FITS, INHERITED, LEVELS, NUMBERS, TEXTS, unit_of
from ..sweeping.spec import measured
from .scales import label_of, short

if TYPE_CHECKING:
    from pandas import DataFrame, Series


SMALLEST_IN, LARGEST_IN = 2.0, 40.0
"""Smallest and largest width of a picture, in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotOptions:
    """Columns for the axes, colours and panels of a chart; None means a default choice."""

    x: str | None = None
    y: str | None = None
    colour: str | None = None
    facet: str | None = None
    baseline: str | None = None
    """Value of the colour's column to which all bars are relative."""
    width_in: float = 7.0

    def check(self, kind: str, taken: Collection[str]) -> None:
        """Raise an error for options that a kind of chart does not have.

        Raises
        ------
        InputError
            An option is given that would do nothing, or the width is not one of a picture.
        """
        if not SMALLEST_IN <= self.width_in <= LARGEST_IN:
            text = f"a picture is from {SMALLEST_IN:g} to {LARGEST_IN:g} inches wide"
            raise InputError(f"{text}, not {self.width_in:g}")
        for option in fields(self):
            given = option.name != "width_in" and getattr(self, option.name) is not None
            if given and option.name not in taken:
                known = ", ".join(taken) or "none of them"
                text = f"a picture of kind '{kind}' has no '{option.name}'"
                raise InputError(text, hint=f"it takes {known}")


RESULTS: Final = ("point", "status", "message", "bound_by", *NUMBERS, *AS_BUILT, INHERITED, FITS)
"""Columns of results in a sweep, which are never settings."""

WORK_FIELDS: Final = ("workload", "seq_len", "batch", "phase", "scope")
"""Names of settings that change the computation, for frames that do not list such settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameView:
    """Rows of a data frame to draw, with the settings that vary and the units."""

    frame: DataFrame
    """Rows that ran and that satisfy all conditions."""
    axes: tuple[str, ...]
    """Columns of settings with at least two different values."""
    work: frozenset[str]
    """Axes that change the computation: rows with different values here cannot replace one
    another."""
    units: Mapping[str, str]
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Names of values to show instead of the values, by column."""
    notes: tuple[str, ...] = ()
    """Sentences about rows that the picture omits."""

    def where(self, column: str | None, value: Any) -> FrameView:
        """Return the view limited to rows with a value in a column; without a column, the whole
        view."""
        if column is None:
            return self
        return replace(self, frame=self.frame[self.frame[column] == value])

    @property
    def fits(self) -> Series:
        """True for each row whose workload the memory holds; rows that do not tell fit."""
        return self.frame.reindex(columns=[FITS])[FITS].ne(False)

    def fitting(self) -> FrameView:
        """Return the view limited to rows that fit the memory."""
        return replace(self, frame=self.frame[self.fits])

    def with_note(self, note: str) -> FrameView:
        """Return the view with a further remark below the picture."""
        return replace(self, notes=(*self.notes, note))

    def column(self, name: str, place: str) -> str:
        """Return the column of a frame with a given name.

        Raises
        ------
        InputError
            There is none; says the nearest.
        """
        named = [str(c) for c in self.frame.columns]
        if name not in named:
            hint = did_you_mean(name, named)
            raise InputError(f"{place}: there is no column '{name}'", hint=hint)
        if not self.frame[name].notna().any():
            raise InputError(f"{place}: the column '{name}' is empty in all rows that ran")
        return name

    def numbers(self, column: str, place: str) -> tuple[float, ...]:
        """Return the numbers of a column, which must have a number in every row.

        Raises
        ------
        InputError
            It has none, or not in all rows.
        """
        found = measured_numbers(self.frame[column])
        if found is None:
            shown = self.frame[column].iloc[0]
            raise InputError(
                f"{place}: '{column}' holds no numbers ('{shown}'), and is to be measured"
            )
        if missing := sum(not isfinite(n) for n in found):
            text = f"{place}: '{column}' has no finite number in {missing} of {len(found)} rows"
            raise InputError(text, hint=f'frame.dropna(subset=["{column}"]) leaves them out')
        return found

    def values(self, column: str | None) -> tuple[Any, ...]:
        """Return the distinct values of a column: numbers ascending, others in order of occurrence.

        Parameters
        ----------
        column : str or None
            Column of the frame; rows without a value are left out. Without a column all rows have
            one value, None.
        """
        if column is None:
            return (None,)
        present = self.frame[column].dropna().drop_duplicates()
        numbers = numbers_of(present)
        if numbers is None:
            return tuple(map(plain_value, present))
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        return tuple(plain_value(present.iloc[at]) for at in order)

    def is_ordered(self, column: str) -> bool:
        """Return whether the values of a column are numbers, which have an order."""
        return numbers_of(self.frame[column].dropna().drop_duplicates()) is not None

    def measure(self, given: str | None, place: str, but: Iterable[str] = ()) -> str:
        """Return the column of numbers to draw; by default the first result that varies.

        Raises
        ------
        InputError
            There is no such column, or the frame has no numbers.
        """
        if given is not None:
            return self.column(given, place)
        named = [str(c) for c in self.frame.columns]
        others = [c for c in named if c not in self.axes and c not in (*but, "point")]
        ranked = [c for c in NUMBERS if c in others and c not in ("floor_latency_s", "cycles")]
        found = [
            c for c in (*ranked, *others) if measured_numbers(self.frame[c].dropna()) is not None
        ]
        moving = [c for c in found if self.frame[c].nunique() > 1] or found
        if not moving:
            besides = f" beside {', '.join(but)}" if (but := tuple(but)) else ""
            what = f"{place}: the frame has no numbers to measure{besides}"
            raise InputError(what, hint=f"its columns are {', '.join(named)}")
        return moving[0]

    def measured_column(self, given: str | None, place: str, but: Iterable[str] = ()) -> str:
        """Return the column of ``measure``. Raises InputError if a cell is no finite number."""
        column = self.measure(given, place, but)
        self.numbers(column, place)
        return column

    def shown(self, column: str | None, value: Any) -> str:
        """Return a value as text for a reader; an empty text without a column."""
        if column is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return picture_text(self.names.get(column, {}).get(str(value), str(value)))
        return short(value, self.units.get(column))


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
    ran, notes = _ran(frame)
    axes = tuple(c for c in _settings(ran) if ran[c].nunique(dropna=True) > 1)
    whole = ran.dropna(subset=list(axes)).reset_index(drop=True)
    if len(whole) < len(ran):
        notes = (*notes, f"not drawn: {len(ran) - len(whole)} without a setting")
    named_columns = frame.attrs.get("work_axes")
    work = frozenset(
        a for a in axes if a in (WORK_FIELDS if named_columns is None else named_columns)
    )
    units = {c: u for c in map(str, frame.columns) if (u := unit_of(c))}
    units |= dict(frame.attrs.get("units", {}))
    names = {c: n for c, n in frame.attrs.get("names", {}).items() if c in axes}
    files = [(n, v) for c in names for v, n in names[c].items() if n != v]
    notes = (*(f"{name}: {file}" for name, file in files), *notes)
    return FrameView(frame=whole, axes=axes, work=work, units=units, names=names, notes=notes)


def _ran(frame: DataFrame) -> tuple[DataFrame, tuple[str, ...]]:
    """Return the rows that ran, and remarks about the rows left out."""
    if "status" not in frame.columns:
        return frame.reset_index(drop=True), ()
    counts = frame["status"].value_counts()
    notes = tuple(f"{counts[s]} {s}" for s in ("excluded", "refused") if counts.get(s))
    rows = frame[frame["status"] == "ok"].reset_index(drop=True)
    if not len(rows):
        raise InputError(f"there is nothing to draw: of {len(frame)} points none is ok")
    return rows, ((f"not drawn: {' and '.join(notes)}",) if notes else ())


def _settings(frame: DataFrame) -> list[str]:
    """Return the columns of settings: those that the frame lists, or else all columns but
    results."""
    named_columns = frame.attrs.get("axes")
    if named_columns is not None:
        return [a for a in named_columns if a in frame.columns]
    named = [str(c) for c in frame.columns]
    others = [c for c in named if c not in RESULTS and not c.startswith(LEVELS)]
    return others if "point" in named else [c for c in others if _is_setting(frame[c])]


def _is_setting(values: Series) -> bool:
    """Return whether a column of a frame made by hand holds settings: texts, or whole numbers that
    occur repeatedly."""
    if values.dtype.kind == "f":
        return False
    return values.name in TEXTS or values.dtype.kind not in "iu" or values.nunique() < len(values)


def numbers_of(values: Series) -> tuple[float, ...] | None:
    """Return the numbers of a column; texts such as ``4K`` and ``1 MiB`` count as numbers.

    Examples
    --------
    >>> from pandas import Series
    >>> numbers_of(Series(["1K", "4K"])), numbers_of(Series(["a", "b"]))
    ((1024.0, 4096.0), None)
    """
    if values.dtype.kind in "iuf":
        return tuple(map(float, values))
    return numbers_written([plain_value(value) for value in values])


def measured_numbers(values: Series) -> tuple[float, ...] | None:
    """Return the numbers of a column to draw to scale; None if it has texts."""
    texts = values.dtype.kind not in "iuf" and any(isinstance(value, str) for value in values)
    return None if texts else numbers_of(values)


def numbers_written(values: Sequence[Any]) -> tuple[float, ...] | None:
    """Return some values as numbers; None if a value is no number, or if they mix quantities.

    Parameters
    ----------
    values : sequence
        Numbers, or written ones: there is no order of 1K and 1 MiB.
    """
    found = [one for one in map(measured, values) if one is not None]
    if len(found) < len(values) or len({one.kind for one in found}) > 1:
        return None
    return tuple(float(one.number) for one in found)


def plain_value(value: Any) -> Any:
    """Return a cell of a frame as a Python value."""
    return value.item() if hasattr(value, "item") else value


def higher_is_better(column: str) -> bool:
    """Return whether a higher number is better: true of utilizations, while other columns are
    costs."""
    return column.startswith("utilization.")


MOST_PANELS: Final = 12
MOST_COLOURS: Final = 14
"""Number of colours in the palette."""
MOST_SHADES: Final = 64
"""Largest number of colours on a ramp; a reader tells them apart by their order."""
_FEW_PANELS, _FEW_COLOURS = 6, 8
"""Largest numbers of panels and of colours in a default choice."""


Column = TypeVar("Column", bound="str | None")


@dataclass(slots=True)
class AxisChoice:
    """Axes of a frame that a chart uses already; all other axes are free."""

    view: FrameView
    taken: list[str] = field(default_factory=list)

    def free(self) -> tuple[str, ...]:
        """Return the axes that the chart does not use yet."""
        return tuple(a for a in self.view.axes if a not in self.taken)

    def take(self, column: Column) -> Column:
        """Use a column, if one is given, and return it."""
        if column is not None:
            self.taken.append(column)
        return column

    def first(self, *wishes: Callable[[str], bool]) -> str | None:
        """Return the first free axis for the first wish that any free axis satisfies, or None."""
        for wish in wishes:
            for axis in self.free():
                if wish(axis):
                    return axis
        return None

    def most(self, *merits: Callable[[str], float]) -> str | None:
        """Return the free axis of the greatest merit, or None; later merits decide ties."""
        return max(self.free(), key=lambda a: [merit(a) for merit in merits], default=None)

    def size(self, axis: str) -> int:
        """Return the number of values of an axis."""
        return len(self.view.values(axis))

    def facet(self, given: str | None) -> str | None:
        """Take the column with one panel per value; by default an axis that changes the work.

        Raises
        ------
        InputError
            There is no such column, or it has too many values.
        """
        if given is None:
            work = self.view.work
            return self.take(self.first(lambda a: a in work and self.size(a) <= _FEW_PANELS))
        return self._given(given, "facet", MOST_PANELS, "panels")

    def colour(self, given: str | None) -> str | None:
        """Take the column with one colour per value.

        By default it is an axis that changes the work, else one of names, else one of numbers.

        Raises
        ------
        InputError
            There is no such column, or it has too many values.
        """
        view = self.view
        if given is not None:
            ordered = view.is_ordered(view.column(given, "colour"))
            most = MOST_SHADES if ordered else MOST_COLOURS
            return self._given(given, "colour", most, "colours")
        few = [a for a in self.free() if self.size(a) <= _FEW_COLOURS]
        work = [a for a in few if a in view.work]
        names = [a for a in few if not view.is_ordered(a)]
        return self.take(next(iter((*work, *names, *few)), None))

    def _given(self, column: str, place: str, most: int, what: str) -> str:
        size = self.size(self.view.column(column, place))
        if size > most:
            text = f"{place}: '{column}' has {size} values, a picture has at most {most} {what}"
            few = [a for a in self.view.axes if self.size(a) <= most]
            raise InputError(text, hint=f"of few values: {', '.join(few)}" if few else "")
        return self.take(column)

    def rows_of_one_workload(self) -> FrameView:
        """Return the rows of a single workload: every free axis of the work keeps its last value.

        Rows with different computations cannot be compared.
        """
        view = self.view
        for axis in self.free():
            if axis in view.work:
                last = view.values(axis)[-1]
                note = f"{axis} = {view.shown(axis, last)}"
                view = view.where(axis, last).with_note(note)
        return view

    def best(self, measure: str) -> FrameView:
        """Return the best row for every combination of the taken axes, over all other axes.

        A row that fits the memory is better than all rows that do not.

        Parameters
        ----------
        measure : str
            Small is best, but of utilizations.
        """
        view = self.rows_of_one_workload()
        keys = list(dict.fromkeys(self.taken))
        over = [a for a in self.free() if a not in view.work]
        rank = measure if numbers_of(view.frame[measure]) is not None else "latency_s"
        if rank not in view.frame.columns:
            return view
        ascending = [False, not higher_is_better(rank)]
        rows = view.frame.assign(**{FITS: view.fits}).sort_values([FITS, rank], ascending=ascending)
        kept = rows.drop_duplicates(keys) if keys else rows.head(1)
        note = f"best {label_of(rank)}" + (f" over {', '.join(over)}" if over else "")
        best = replace(view, frame=kept.sort_index())
        if short_of_memory := sum(~best.fits):
            best = best.with_note(f"{short_of_memory} of {len(kept)} shown do not fit the memory")
        return best if len(kept) == len(rows) else best.with_note(note)
