"""Protocols of a workload: parts, each a cascade on shapes of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from einsum_cascade.ir import Program
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span


class PartLike(Protocol):
    """What ``simulate`` needs of a part of a workload (``workloads.Part`` is one)."""

    @property
    def name(self) -> str:
        """Shown in the result."""
        ...

    @property
    def cascade(self) -> str:
        """The cascade, by built-in name or file."""
        ...

    @property
    def times(self) -> int:
        """How often the part runs."""
        ...

    @property
    def formats(self) -> TensorFormats:
        """Formats of the numbers in its tensors; nothing where none are stated."""
        ...

    @property
    def stage(self) -> str:
        """Of a request ``prefill`` or ``decode``; else empty."""
        ...

    def shapes_for(self, ranks: Collection[str], cascade: str = "", /) -> dict[str, int]:
        """Shapes of those ranks, of a cascade of that name, that are given."""
        ...

    def folded_for(self, ranks: Collection[str]) -> int:
        """How many query heads that share keys are taken together as rows of P."""
        ...

    def notes_for(self, ranks: Collection[str]) -> tuple[str, ...]:
        """What a cascade of those ranks leaves out of the part, in sentences."""
        ...

    def left_out_by(self, program: Program) -> tuple[str, ...]:
        """What the part has and a cascade lacks (a mask, a window), in sentences."""
        ...

    @property
    def stand_ins(self) -> Sequence[str]:
        """Cascades that compute the part, but for what ``left_out_by`` says of them."""
        ...


class RequestLike(Protocol):
    """Lengths of a request, in tokens of every sequence."""

    @property
    def prompt_len(self) -> int:
        """Tokens asked."""
        ...

    @property
    def answer_len(self) -> int:
        """Tokens answered."""
        ...


class WorkloadLike(Protocol):
    """What ``simulate`` needs of a workload (``workloads.Workload`` is one)."""

    @property
    def name(self) -> str:
        """Shown in the result."""
        ...

    @property
    def cascade(self) -> str:
        """The cascade of its attention, by built-in name or file."""
        ...

    @property
    def shapes(self) -> tuple[tuple[str, int], ...]:
        """Shapes by rank, shown where parts have shapes of their own."""
        ...

    @property
    def tokens(self) -> int | None:
        """Tokens of all sequences that a whole model computes; None of a part of one."""
        ...

    @property
    def request(self) -> RequestLike | None:
        """The request that it is, if it is one; its parts have stages then."""
        ...

    @property
    def parts(self) -> Sequence[PartLike]:
        """What runs, one after the other."""
        ...

    @property
    def formats(self) -> TensorFormats:
        """Formats of numbers, by tensors of any of its parts."""
        ...

    @property
    def formats_at(self) -> Sequence[tuple[str, Span]]:
        """Where each format is written."""
        ...

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """Shapes of those ranks that its attention has."""
        ...

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the parts leave out of the workload, in sentences."""
        ...


def own_part(workload: WorkloadLike) -> PartLike:
    """The part that runs the cascade of the workload's attention.

    Parameters
    ----------
    workload : WorkloadLike
        A model of several kinds of layer has several attentions; ``cascade`` is that of the
        chosen layer, and some part always runs it.
    """
    return next(part for part in workload.parts if part.cascade == workload.cascade)
