"""A sweep's results as a pandas frame."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from einsum_cascade.source import Source

from .export import RowValues, columns_of, units_of
from .file import read_sweep
from .store import Store, opened

if TYPE_CHECKING:
    from pandas import DataFrame


def load_sweep(folder: str | PathLike[str]) -> DataFrame:
    """The results of a sweep, finished or not: a row for each point that was run.

    Parameters
    ----------
    folder : str or path
        What was given as ``--out``.

    Returns
    -------
    pandas.DataFrame
        Columns as in ``results.csv``; ``attrs["units"]`` has the unit of every column that has
        one, ``attrs["sweep"]`` the sweep's name, ``attrs["points"]`` how many points it has,
        ``attrs["axes"]`` the columns of its axes and ``attrs["work_axes"]`` those of them that
        change what is computed, and not how.

    Raises
    ------
    InputError
        The folder holds no sweep.
    """
    with opened(Path(folder)) as store:
        return frame_of(store)


def frame_of(store: Store) -> DataFrame:
    """The frame of a store that is open."""
    # Not above: it takes longer to import than most commands take to run.
    from pandas import DataFrame

    meta = store.meta()
    sweep = read_sweep(Source(meta.source, meta.text))
    columns = columns_of(store, sweep)
    rows = list(map(RowValues(sweep, columns).of, store.results()))
    frame = DataFrame(rows, columns=list(columns))
    frame.attrs |= {
        "sweep": meta.name,
        "version": meta.version,
        "points": meta.total,
        "units": units_of(sweep, columns),
        "axes": [axis.name for axis in sweep.axes],
        "work_axes": [axis.name for axis in sweep.axes if axis.varies_work],
    }
    return frame
