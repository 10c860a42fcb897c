"""What a study leaves in a folder: tables as CSV and Markdown, figures as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..document import Document, to_markdown
from .crew import Crew, Finished, nothing
from .plan import Figure
from .published import PublishedValue, beside_document, beside_sheet
from .study import Study
from .tables import (
    billings,
    figure_document,
    figure_sheet,
    headline,
    headline_sheet,
    omissions,
    runs_sheet,
    to_csv,
)


def texts(study: Study, published: tuple[PublishedValue, ...] = ()) -> Iterator[tuple[str, str]]:
    """Names and contents of all text files."""
    yield "headline.csv", to_csv(headline_sheet(study))
    yield "runs.csv", to_csv(runs_sheet(study))
    documents: list[Document] = [headline(study)]
    if published:
        yield "published.csv", to_csv(beside_sheet(study, published))
        documents.append(beside_document(study, published))
    documents += [d for d in (billings(study), omissions(study)) if d is not None]
    for figure in study.plan.figures:
        yield f"figure-{figure.number:02d}.csv", to_csv(figure_sheet(study, figure))
        documents.append(figure_document(study, figure))
    yield "report.md", "\n".join(to_markdown(d) for d in documents)


def drawn(study: Study, crew: Crew, finished: Finished = nothing) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all pictures."""
    figures = study.plan.figures
    found = crew.share(partial(_pictures, study), figures, finished=finished)
    for figure, pictures in zip(figures, found, strict=True):
        for form, data in pictures:
            yield f"figure-{figure.number:02d}.{form}", data


def _pictures(study: Study, figure: Figure) -> list[tuple[str, bytes]]:
    """One figure in every format."""
    from .figures import FORMATS, draw, rendered

    picture = draw(study, figure)
    return [(form, rendered(picture, form)) for form in FORMATS]
