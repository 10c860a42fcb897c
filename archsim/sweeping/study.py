"""Points that a search asks for: an Optuna study beside the store.

Points are asked for in generations of a fixed size, and every one with a seed of its own, so that
the points do not depend on how many processes run them, or on how often the sweep is killed. A
trial is told to the study after its row is in the store: who starts again finds trials that
were asked for and not told, and runs those that have no row.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from einsum_cascade.errors import InputError

from .columns import NUMBERS
from .points import Point, places_at, shuffled
from .rows import PointRow
from .run import BatchDone
from .spec import SearchedPoints, Sweep, SweepAxis
from .store import Store
from .values import measured

FILE: Final = "study.sqlite"
_GENERATION: Final = 8
"""Points that are asked for together, before any of them is told."""
_ASKED_AT_MOST: Final = 16
"""Times a point is asked for that was run before; then one that was not is drawn."""
_POINT: Final = "point"
_STATUS: Final = "status"
"""The constraint of a trial: refused and excluded points are alike."""


class StudyPoints:
    """The points of a search, as they are asked for.

    Parameters
    ----------
    store : Store
        The study is kept beside it, and brought up to it.

    Raises
    ------
    InputError
        Optuna is not installed.
    """

    def __init__(self, sweep: Sweep, choice: SearchedPoints, store: Store) -> None:
        try:
            import optuna
        except ImportError:
            text = "a search needs Optuna, which is not installed: pip install 'archsim[optuna]'"
            raise InputError(text) from None
        self._optuna: Any = optuna
        self._sweep, self._choice = sweep, choice
        self._study = self._opened(store)
        self._waiting: deque[Point] = deque()
        self._open: dict[int, Any] = {}
        self._taken: set[tuple[int, ...]] = set()
        self._next = 0
        self._draw = 0
        for trial in self._study.get_trials(deepcopy=False):
            self._resume(trial, store)

    def next(self, most: int) -> tuple[Point, ...]:
        """The next point to run; none while results are awaited, and after the last."""
        if most and not self._waiting and not self._open:
            last = min(self._next + _GENERATION, self._choice.trials)
            for number in range(self._next, last):
                self._ask(number)
        return (self._waiting.popleft(),) if most and self._waiting else ()

    def done(self, batch: BatchDone) -> None:
        """Tell the study what points gave, once their rows are in the store."""
        for row in batch.rows:
            self._tell(row)

    def _tell(self, row: PointRow) -> None:
        trial = self._open.pop(row.point)
        with warnings.catch_warnings():
            # It was set already if the last run ended just here; it was the same.
            warnings.simplefilter("ignore")
            trial.set_constraint(_STATUS, 0.0 if row.status == "ok" else 1.0)
        self._study.tell(trial, self._values(row))

    def _opened(self, store: Store) -> Any:
        """The study of the folder, made if it is not there."""
        from sqlalchemy import URL

        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = URL.create("sqlite", database=str((store.folder / FILE).absolute()))
        return optuna.create_study(
            study_name=self._sweep.name,
            storage=url.render_as_string(),
            directions=["minimize"] * len(self._choice.objectives),
            sampler=self._sampler(0, 0),
            load_if_exists=True,
        )

    def _resume(self, trial: Any, store: Store) -> None:
        """Take up a trial of an earlier run."""
        states = self._optuna.trial.TrialState
        number = trial.user_attrs.get(_POINT)
        if number is None:
            # Asked for a point that was taken, or ended before it was known which.
            if trial.state == states.RUNNING:
                self._study.tell(trial.number, state=states.FAIL)
            return
        places = tuple(trial.params[axis.name] for axis in self._sweep.axes)
        self._taken.add(places)
        self._next = max(self._next, number + 1)
        if trial.state != states.RUNNING:
            return
        self._open[number] = self._optuna.trial.Trial(self._study, trial._trial_id)
        row = store.row(number)
        if row is None:
            self._waiting.append(Point(number, places))
        else:
            self._tell(row)

    def _ask(self, number: int) -> None:
        """Ask for one more point, one that was not run before."""
        for attempt in range(_ASKED_AT_MOST + 1):
            if attempt == _ASKED_AT_MOST:
                self._enqueue_another()
            self._study.sampler = self._sampler(number, attempt)
            trial = self._study.ask()
            places = tuple(_suggested(trial, axis) for axis in self._sweep.axes)
            if places not in self._taken:
                break
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        trial.set_user_attr(_POINT, number)
        self._taken.add(places)
        self._open[number] = trial
        self._waiting.append(Point(number, places))
        self._next = number + 1

    def _enqueue_another(self) -> None:
        """Have the study ask for a point that was not run: the next in a random order."""
        grid = self._sweep.grid
        while True:
            places = places_at(self._sweep, shuffled(self._draw, grid, self._choice.seed))
            self._draw += 1
            if places not in self._taken:
                names = (axis.name for axis in self._sweep.axes)
                self._study.enqueue_trial(dict(zip(names, places, strict=True)))
                return

    def _sampler(self, number: int, attempt: int) -> Any:
        """A sampler whose choice follows from the seed and the point alone."""
        text = f"{self._choice.seed}:{number}:{attempt}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")
        return self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def _values(self, row: PointRow) -> list[float]:
        """What is to be small; of a refused point, which is no candidate, zeros."""
        named = dict(zip(NUMBERS, row.numbers, strict=True)) | dict(row.members)
        return [named.get(name) or 0.0 for name in self._choice.objectives]


def _suggested(trial: Any, axis: SweepAxis) -> int:
    """The place on an axis that a trial has."""
    last = len(axis.values) - 1
    if _in_order(axis):
        return int(trial.suggest_int(axis.name, 0, last))
    return int(trial.suggest_categorical(axis.name, range(last + 1)))


def _in_order(axis: SweepAxis) -> bool:
    """Whether neighbouring values of an axis are near to one another: numbers that rise."""
    found = [measured(v.shown) for v in axis.values]
    numbers: Iterator[Any] = (m.number for m in found if m is not None)
    return all(m is not None for m in found) and all(a < b for a, b in pairwise(numbers))
