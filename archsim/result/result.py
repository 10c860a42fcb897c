"""Result of a simulation: the record of a run, with the methods that show and save it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.schema import source_of, validate_json

from ..document import Document, to_html
from .reading import ResultFields, result_of
from .record import RunRecord
from .report import explain, report

if TYPE_CHECKING:
    from ..figure_style import Picture


class Result(RunRecord):
    """Result of a simulation.

    Figures are imported when a result draws itself: no other command should wait for matplotlib.
    """

    __slots__ = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the result that ``to_dict`` turned into a JSON object.

        Raises
        ------
        InputError
            As ``from_json``.
        """
        return cls.from_json(source_of("result", data))

    @classmethod
    def from_json(cls, source: Source) -> Self:
        """Return the result in a JSON text.

        Raises
        ------
        InputError
            The text is no result, or of another schema version; says where.
        """
        return result_of(cls, validate_json(ResultFields, source, InputError))

    def table(self) -> Document:
        """Return the one-screen report; it prints as text and shows as HTML in Jupyter."""
        return report(self)

    def explain(self) -> Document:
        """Return tables that divide cycles, bytes and picojoules by their sources."""
        return explain(self)

    def plot_time(self) -> Picture:
        """Draw how each array spends the run, by Einsum or part (a matplotlib figure)."""
        return self._drawn("time")

    def plot_waterfall(self, width: float = 7.0) -> Picture:
        """Draw the latency as a waterfall, from the lower bound of any mapping (a matplotlib
        figure).

        Parameters
        ----------
        width : float
            In inches: 3.3 is a column of a paper, 7 a page.
        """
        return self._drawn("waterfall", width)

    def plot_breakdown(self, width: float = 7.0) -> Picture:
        """Draw the time of each array and the energy by Einsum or part, and energy by component."""
        return self._drawn("breakdown", width)

    def plot_capacity(self, width: float = 7.0) -> Picture:
        """Draw the share of each memory that live tiles take."""
        return self._drawn("capacity", width)

    def _drawn(self, kind: str, width: float | None = None) -> Picture:
        from .figures import draw_result

        return draw_result(self, kind, width)

    def plot_utilization(self) -> Picture:
        """Draw useful work of each array as shares of elapsed time, by Einsum."""
        return self._drawn("utilization")

    def plot_roofline(self) -> Picture:
        """Draw each Einsum and the whole run under the roofs of arrays and memories.

        Raises
        ------
        InputError
            The result has no roofs, as one made by hand.
        """
        return self._drawn("roofline")

    def plot_energy(self) -> Picture:
        """Draw energy by component, and by Einsum or part (a matplotlib figure)."""
        return self._drawn("energy")

    def _repr_html_(self) -> str:
        return to_html(self.table())
