"""What a model is, to a person: its parameters, and what a token takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..document import Column, Document, Fact, Table
from ..quantities import byte_size, engineering

if TYPE_CHECKING:
    from workloads import ModelSummary


def summary_report(summary: ModelSummary) -> Document:
    """The summary of a model as ``archsim show --summary`` prints it.

    Parameters
    ----------
    summary : ModelSummary
        What ``workloads.summarize`` returned.
    """
    return Document(
        title=summary.name,
        subtitle=summary.source,
        facts=(
            Fact("parameters", f"{summary.parameters:,}", "embeddings and output head included"),
            Fact("active", f"{summary.active_parameters:,}", "without experts not chosen"),
            Fact(
                "cache",
                f"{byte_size(summary.cache_bytes_per_token)} a token",
                f"of a sequence, in all layers; {_of_encoder(summary)}{_state(summary)}",
            ),
        ),
        tables=((_layers(summary), _operations(summary)),),
        notes=(_of_one(summary), *summary.beside),
    )


def _of_encoder(summary: ModelSummary) -> str:
    each = summary.encoder_cache_bytes_per_token
    return f"{byte_size(each)} a token of the encoder; " if each else ""


def _state(summary: ModelSummary) -> str:
    if not summary.state_bytes:
        return "no state beside it"
    return f"beside it a state of {byte_size(summary.state_bytes)}, however long"


def _of_one(summary: ModelSummary) -> str:
    if summary.decoded:
        return (
            f"operations are of one token decoded after {summary.keys - 1:,} others, in all layers"
            " and the output head: --set seq_len=N for another length"
        )
    return f"operations are of one of {summary.keys:,} tokens computed at once, on average"


def _layers(summary: ModelSummary) -> Table:
    return Table(
        title="layers",
        columns=(Column("kind", "name"), Column("layers")),
        rows=tuple((kind, f"{count:,}") for kind, count in summary.layers),
    )


def _operations(summary: ModelSummary) -> Table:
    return Table(
        title="operations of a token",
        columns=(Column("kind", "name"), Column("operations")),
        rows=tuple((kind, engineering(n, "")) for kind, n in summary.operations),
    )
