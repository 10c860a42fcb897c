"""What is drawn: a sweep's folder, a table of one, or a result that was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from einsum_cascade.errors import InputError, Problem

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..comparison.compare import Comparison
    from ..result.record import Result

    Drawable: TypeAlias = DataFrame | Result | Comparison

_STORE: Final = "store.sqlite"
_JSON: Final = ("result.json", "compare.json")
_TABLES: Final = (".csv", ".parquet")


def load_drawable(place: Path) -> Drawable:
    """What a folder or a file holds.

    Parameters
    ----------
    place : Path
        The ``--out`` of ``sweep``, ``simulate`` or ``compare``, or one of the files in it.

    Raises
    ------
    InputError
        It holds nothing that can be drawn; says what was looked for.
    """
    if place.is_dir():
        if (place / _STORE).exists():
            return _sweep(place)
        for name in _JSON:
            if (place / name).exists():
                return _written(place / name)
        known = f"{_STORE} of a sweep, {' or '.join(_JSON)}"
        raise InputError(f"{place} holds nothing to draw: it has no {known}")
    if not place.exists():
        raise InputError(f"there is no folder and no file {place}")
    if place.suffix.lower() in _TABLES:
        # The store beside it knows units, and which settings are of the work.
        beside = place.name.startswith("results.") and (place.parent / _STORE).exists()
        return _sweep(place.parent) if beside else _table(place)
    if place.suffix.lower() == ".json":
        return _written(place)
    text = f"cannot draw {place}: expected a folder, .csv, .parquet or .json"
    raise InputError(
        Problem(text, hint="archsim sweep SWEEP.yaml --out DIR; archsim plot DIR pareto")
    )


def _sweep(folder: Path) -> DataFrame:
    from ..sweeping.frame import load_sweep

    return load_sweep(folder)


def _table(path: Path) -> DataFrame:
    import pandas as pd

    reader = pd.read_csv if path.suffix.lower() == ".csv" else pd.read_parquet
    try:
        frame = reader(path)
    except (ValueError, OSError, ImportError) as wrong:
        # pandas says all that is wrong with a table by errors that are ValueErrors.
        raise InputError(f"cannot read {path}: {str(wrong).splitlines()[0]}") from None
    frame.columns = [str(c) for c in frame.columns]
    return frame


def _written(path: Path) -> Result | Comparison:
    from ..comparison.compare import Comparison
    from ..result.record import Result

    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise InputError(f"cannot read {path}: {str(wrong).splitlines()[0]}") from None
    if isinstance(data, dict) and "rows" in data:
        return Comparison.from_dict(data)
    return Result.from_dict(data)
