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
    """Results of a simulation.

    Reports and figures take the record. They are imported when a result shows itself, because no
    command should wait for matplotlib unless it draws.
    """

    __slots__ = ()

    def table(self) -> Document:
        """Return the one-screen report; it prints as text and shows as HTML in Jupyter."""
        from .report import report

        return report(self)

    def explain(self) -> Document:
        """Return the sources of each cycle, each byte and each picojoule."""
        from .report import explain

        return explain(self)

    def plot_time(self) -> Picture:
        """Draw how each array spends the run, by Einsum or part (a matplotlib figure)."""
        from .figures import plot_time

        return plot_time(self)

    def plot_waterfall(self, width: float = 7.0) -> Picture:
        """Draw the latency from the floor upwards, one bar for each cost (a matplotlib figure).

        Parameters
        ----------
        width : float
            In inches: 3.3 is a column of a paper, 7 a page.
        """
        return self._drawn("waterfall", width)

    def plot_breakdown(self, width: float = 7.0) -> Picture:
        """Draw time of each array and energy by Einsum or part, and energy by component."""
        return self._drawn("breakdown", width)

    def plot_capacity(self, width: float = 7.0) -> Picture:
        """Draw the share of each memory that live tiles take."""
        return self._drawn("capacity", width)

    def _drawn(self, kind: ResultPicture, width: float) -> Picture:
        from .figures import draw_result

        return draw_result(self, kind, width)

    def plot_utilization(self) -> Picture:
        """Draw useful work of each array as shares of elapsed time, by Einsum."""
        from .figures import plot_utilization

        return plot_utilization(self)

    def plot_roofline(self) -> Picture:
        """Draw each Einsum and the run under the roofs of arrays and memories.

        Raises
        ------
        InputError
            The result has no roofs, as one made by hand.
        """
        from .roofline import plot_roofline

        return plot_roofline(self)

    def plot_energy(self) -> Picture:
        """Draw energy by component, and by Einsum or part (a matplotlib figure)."""
        from .figures import plot_energy

        return plot_energy(self)

    def _repr_html_(self) -> str:
        from ..document import to_html

        return to_html(self.table())

    def to_row(self) -> dict[str, str | float]:
        """Return names and totals of the run, keyed as the columns of a sweep."""
        return result_row(self)

    def to_frame(self) -> DataFrame:
        """Return cycles, energy and traffic of every Einsum as a pandas frame with a row each."""
        return result_frame(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``simulate --json``; ``from_dict`` reads it."""
        return result_to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """Return the result that ``to_dict``, or its JSON, was made from.

        Raises
        ------
        InputError
            The data is no such object.
        """
        return result_from_dict(data, cls)
