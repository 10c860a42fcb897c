"""Result of a simulation: the record of a run, with the methods that show and save it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .export import result_frame, result_from_dict, result_row, result_to_dict
from .record import ResultPicture, RunRecord

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..document import Document
    from ..figure_style import Picture


class Result(RunRecord):
    """Everything a simulation found out.

    Reports and figures take the record. They are imported when a result shows itself: no command
    should wait for matplotlib that draws nothing.
    """

    __slots__ = ()

    def table(self) -> Document:
        """The one-screen report; prints as text and shows as HTML in Jupyter."""
        from .report import report

        return report(self)

    def explain(self) -> Document:
        """Where each cycle, each byte and each picojoule came from."""
        from .report import explain

        return explain(self)

    def plot_time(self) -> Picture:
        """How each array spends the run, by Einsum or part (a matplotlib figure)."""
        from .figures import plot_time

        return plot_time(self)

    def plot_waterfall(self, width: float = 7.0) -> Picture:
        """From the floor to the latency: what costs how much (a matplotlib figure).

        Parameters
        ----------
        width : float
            In inches: 3.3 is a column of a paper, 7 a page.
        """
        return self._drawn("waterfall", width)

    def plot_breakdown(self, width: float = 7.0) -> Picture:
        """Time of each array and energy, by Einsum or part, and energy by component."""
        return self._drawn("breakdown", width)

    def plot_capacity(self, width: float = 7.0) -> Picture:
        """What live tiles take of the memories."""
        return self._drawn("capacity", width)

    def _drawn(self, kind: ResultPicture, width: float) -> Picture:
        from .figures import draw_result

        return draw_result(self, kind, width)

    def plot_utilization(self) -> Picture:
        """Useful work of each array as shares of elapsed time, Einsum by Einsum."""
        from .figures import plot_utilization

        return plot_utilization(self)

    def plot_roofline(self) -> Picture:
        """Every Einsum and the run under the roofs of arrays and memories.

        Raises
        ------
        InputError
            The result does not say what the machine can do (it was made by hand).
        """
        from .roofline import plot_roofline

        return plot_roofline(self)

    def plot_energy(self) -> Picture:
        """Energy by component, and by Einsum or part (a matplotlib figure)."""
        from .figures import plot_energy

        return plot_energy(self)

    def _repr_html_(self) -> str:
        from ..document import to_html

        return to_html(self.table())

    def to_row(self) -> dict[str, str | float]:
        """What ran, and its totals, under the names that columns of a sweep have."""
        return result_row(self)

    def to_frame(self) -> DataFrame:
        """Cycles, energy and traffic of every Einsum, a row each, as a pandas frame."""
        return result_frame(self)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``simulate --json``; ``from_dict`` reads it."""
        return result_to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """The result that ``data``, from ``to_dict`` or its JSON, was made of.

        Raises
        ------
        InputError
            It is not such an object.
        """
        return result_from_dict(data, cls)
