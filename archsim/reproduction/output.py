"""What a study leaves in a folder: tables as CSV and Markdown, figures as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator

from ..document import Document, to_markdown
from .published import PublishedValue, beside_csv, beside_document
from .study import FigureData, Study
from .sweep import Finished, nothing, shared
from .tables import billings, figure_csv, figure_document, headline, means_csv, omissions, runs_csv


def texts(study: Study, published: tuple[PublishedValue, ...] = ()) -> Iterator[tuple[str, str]]:
    """Names and contents of all text files.

    Parameters
    ----------
    study : Study
        Its runs are done.
    published : tuple of PublishedValue
        Numbers of the publication to set ours beside; without them there is no
        ``published.csv``.

    Returns
    -------
    iterator of (str, str)
        ``report.md`` comes last, as it holds all tables before it.
    """
    yield "headline.csv", means_csv(study)
    yield "runs.csv", runs_csv(study)
    documents: list[Document] = [headline(study)]
    if published:
        yield "published.csv", beside_csv(study, published)
        documents.append(beside_document(study, published))
    documents += [d for d in (billings(study), omissions(study)) if d is not None]
    for figure in study.plan.figures:
        yield f"figure-{figure.number:02d}.csv", figure_csv(study.data(figure))
        documents.append(figure_document(study, figure))
    yield "report.md", "\n".join(to_markdown(d) for d in documents)


def drawn(
    study: Study, workers: int = 1, finished: Finished = nothing
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all pictures, drawn by several processes.

    Parameters
    ----------
    workers : int
        Processes; 1 draws in this one.
    finished : callable
        Told 1 for each figure that is done.

    Returns
    -------
    iterator of (str, bytes)
        Each figure in every form, in the order of the plan.
    """
    figures = study.plan.figures
    found = shared(_pictures, [study.data(figure) for figure in figures], workers)
    for figure, pictures in zip(figures, found, strict=True):
        finished(1)
        for form, picture in pictures.items():
            yield f"figure-{figure.number:02d}.{form}", picture


def _pictures(data: FigureData) -> dict[str, bytes]:
    # Not above: who draws nothing need not wait for matplotlib.
    from .figures import pictures

    return pictures(data)
