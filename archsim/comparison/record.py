"""Records of a comparison: machines side by side, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import asdict, dataclass
from typing import Any, Self

from einsum_cascade.errors import InputError

from ..plan.job import Refusal
from ..result.result import Result
from .scaling import Change, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMachine:
    """One machine's run, relative to the first machine's.

    ``speedup`` is the first's latency over this one's (above 1: this one is faster);
    ``energy_ratio`` and ``area_ratio`` are this one's over the first's (below 1: it needs
    less). Of several copies ``speedup`` is that of what they do together, ``area_ratio`` of all
    their areas; the energy of a piece of work is the same.
    """

    label: str
    result: Result
    speedup: float
    energy_ratio: float
    area_ratio: float
    scaling: Scaling | None = None
    """What was done to bring its area close to the first's; None: nothing."""
    copies: float = 1.0
    """Machines of its kind that together have the area, or draw the power, of the first."""
    refused: tuple[Refusal, ...] = ()
    """Mappings that were tried before the one that ran, and why they are not legal."""
    left_out: tuple[str, ...] = ()
    """What the workload has and the cascades that ran lack (a mask), and what is billed as if the
    machine's words were of another width, in sentences."""

    def to_dict(self) -> dict[str, Any]:
        """A row of ``compare --json``: the result's object and the ratios."""
        scaled = None
        if self.scaling is not None:
            scaled = asdict(self.scaling) | {"residual": self.scaling.residual}
            scaled["changes"] = list(scaled["changes"])
        return self.result.to_dict() | {
            "label": self.label,
            "speedup": self.speedup,
            "energy_ratio": self.energy_ratio,
            "area_ratio": self.area_ratio,
            "copies": self.copies,
            "scaling": scaled,
            "refused_mappings": [asdict(r) for r in self.refused],
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRecord:
    """Machines side by side; ratios are relative to the first."""

    iso_area: bool
    rows: tuple[ComparedMachine, ...]
    iso_power: bool = False

    @property
    def first(self) -> ComparedMachine:
        """The machine that the others are measured by."""
        return self.rows[0]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``compare --json``; ``from_dict`` reads it."""
        rows = [row.to_dict() for row in self.rows]
        return {"iso_area": self.iso_area, "iso_power": self.iso_power, "rows": rows}

    @classmethod
    def from_dict(cls, data: MappingOf[str, Any]) -> Self:
        """The comparison that ``data``, from ``to_dict`` or its JSON, was made of.

        Raises
        ------
        InputError
            It is not such an object.
        """
        try:
            return cls(
                iso_area=data["iso_area"],
                rows=tuple(_read_row(r) for r in data["rows"]),
                iso_power=data.get("iso_power", False),
            )
        except (KeyError, TypeError, AttributeError) as wrong:
            raise InputError(f"this is not the JSON object of a comparison: {wrong}") from None


def _read_row(data: MappingOf[str, Any]) -> ComparedMachine:
    scaling = data["scaling"]
    if scaling is not None:
        fields = {k: v for k, v in scaling.items() if k != "residual"}
        scaling = Scaling(**fields | {"changes": tuple(Change(**c) for c in fields["changes"])})
    return ComparedMachine(
        label=data["label"],
        result=Result.from_dict(data),
        speedup=data["speedup"],
        energy_ratio=data["energy_ratio"],
        area_ratio=data["area_ratio"],
        scaling=scaling,
        refused=tuple(Refusal(**r) for r in data["refused_mappings"]),
        left_out=tuple(data.get("left_out", ())),
        copies=data.get("copies", 1.0),
    )
