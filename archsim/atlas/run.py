"""One run of the atlas."""

from __future__ import annotations

from dataclasses import dataclass

from ..result.record import Result


@dataclass(frozen=True, kw_only=True)
class AtlasRun:
    """A cascade under one mapping on one machine at one length, or why it does not run."""

    machine: str
    mapping: str
    length: str
    result: Result | None
    refusal: str = ""
