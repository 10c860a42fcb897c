"""Picture of a sensitivity analysis. Import this module only to draw: it loads matplotlib."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from ..document import picture_text
from ..figure_style import PALETTE, Picture, caption, headline, look, name_bars, note_bar
from .record import LEAST_EFFECT, SensitivityRecord
from .report import TITLES

_MAX_BARS = 30
"""Largest number of fields in a picture, which is as high as a page then."""

_HEIGHT = 0.6


def plot_sensitivity(found: SensitivityRecord, width_in: float) -> Picture:
    """Draw the elasticities of each quantity side by side, a bar for every number with an effect.

    Parameters
    ----------
    width_in : float
        In inches.
    """
    known = found.quantities
    largest = sorted(found.effective, key=lambda e: -max(abs(e.of(q)) for q in known))[:_MAX_BARS]
    shown = [e for e in found.effective if e in largest]
    with look():
        figure = Picture(figsize=(width_in, 0.9 + 0.19 * max(4, len(shown))), layout="constrained")
        panels = figure.subplots(1, len(known), sharex=True, sharey=True, squeeze=False).ravel()
        every = [0.0, *(e.of(quantity) for e in shown for quantity in known)]
        wide = max(max(every) - min(every), 0.1)
        panels[0].set_xlim(min(every) - 0.05 * wide, max(every) + 0.5 * wide)
        for axes, quantity, colour in zip(panels, known, PALETTE, strict=False):
            for at, size in enumerate(e.of(quantity) for e in shown):
                axes.barh(at, size, _HEIGHT, color=colour)
                if abs(size) >= LEAST_EFFECT:
                    note_bar(axes, max(size, 0), at, f"{size:+.2f}")
            axes.axvline(0, color="0.6", linewidth=0.8)
            axes.set_title(TITLES[quantity], loc="left")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.xaxis.set_major_locator(MaxNLocator(3))
        name_bars(panels[0], [picture_text(f"{e.field} = {e.value}") for e in shown])
        subject = f"elasticities of {found.workload} on {found.architecture}"
        headline(figure, f"{subject}: % of change for each % more of the number")
        left = len(found.effective) - len(shown)
        if left:
            caption(figure, [f"{left} fields with smaller effects are left out"])
    return figure
