"""Protocols of a workload and its parts, each a cascade with its own shapes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from einsum_cascade.ir import Program
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span


class PartLike(Protocol):
    """Part of a workload, as ``simulate`` takes it (``workloads.Part`` is one)."""

    @property
    def name(self) -> str:
        """Name in the result."""
        ...

    @property
    def cascade(self) -> str:
        """Cascade, by built-in name or file."""
        ...

    @property
    def times(self) -> int:
        """Number of runs of the part."""
        ...

    @property
    def formats(self) -> TensorFormats:
        """Number formats of its tensors; empty if none are stated."""
        ...

    @property
    def stage(self) -> str:
        """Stage of a request, ``prefill`` or ``decode``; else empty."""
        ...

    def shapes_for(self, ranks: Collection[str], cascade: str = "", /) -> dict[str, int]:
        """Return the given shapes of some ranks of a cascade."""
        ...

    def folded_for(self, ranks: Collection[str]) -> int:
        """Return the number of query heads with shared keys that are folded into rows of P."""
        ...

    def notes_for(self, ranks: Collection[str]) -> tuple[str, ...]:
        """Return sentences about features of the part that a cascade of some ranks lacks."""
        ...

    def left_out_by(self, program: Program) -> tuple[str, ...]:
        """Return sentences about features of the part that a cascade lacks (a mask, a window)."""
        ...

    @property
    def stand_ins(self) -> Sequence[str]:
        """Cascades that compute the part, except for what ``left_out_by`` reports."""
        ...


class RequestLike(Protocol):
    """Lengths of a request, in tokens of every sequence."""

    @property
    def prompt_len(self) -> int:
        """Tokens of the prompt."""
        ...

    @property
    def answer_len(self) -> int:
        """Tokens of the answer."""
        ...


class WorkloadLike(Protocol):
    """Workload, as ``simulate`` takes it (``workloads.Workload`` is one)."""

    @property
    def name(self) -> str:
        """Name in the result."""
        ...

    @property
    def cascade(self) -> str:
        """Cascade of its attention, by built-in name or file."""
        ...

    @property
    def shapes(self) -> tuple[tuple[str, int], ...]:
        """Shapes by rank, which the result shows if parts have shapes of their own."""
        ...

    @property
    def tokens(self) -> int | None:
        """Tokens of all sequences that a whole model computes; None for a part of a model."""
        ...

    @property
    def request(self) -> RequestLike | None:
        """Request, if the workload is one; its parts then have stages."""
        ...

    @property
    def parts(self) -> Sequence[PartLike]:
        """Parts, which run one after the other."""
        ...

    @property
    def formats(self) -> TensorFormats:
        """Number formats by tensor of any part."""
        ...

    @property
    def formats_at(self) -> Sequence[tuple[str, Span]]:
        """Place of each format in a file."""
        ...

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """Return the given shapes of some ranks of its attention."""
        ...

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences about features of the workload that its parts lack."""
        ...


def own_part(workload: WorkloadLike) -> PartLike:
    """Return the part that runs the cascade of the workload's attention.

    Parameters
    ----------
    workload : WorkloadLike
        A model of several kinds of layer has several attentions; ``cascade`` is that of the
        chosen layer, and some part always runs it.
    """
    return next(part for part in workload.parts if part.cascade == workload.cascade)
