"""Records of a comparison: machines side by side, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import asdict, dataclass
from typing import Any, Self

from einsum_cascade.errors import InputError

from ..plan.job import Refusal
from ..result.result import Result
from .scaling import Change, Scaling

_PLAIN = ("label", "speedup", "energy_ratio", "area_ratio")
"""Fields of a compared machine that JSON repeats as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMachine:
    """Run of one machine, relative to the run of the first machine.

    ``speedup`` is the first machine's latency over this machine's (above 1: this machine is
    faster). ``energy_ratio`` and ``area_ratio`` are this machine's values over the first machine's
    (below 1: this machine needs less). If several copies of a machine are compared, ``speedup``
    counts their joint throughput and ``area_ratio`` their total area; the energy of a piece of work
    is the same.
    """

    label: str
    result: Result
    speedup: float
    energy_ratio: float
    area_ratio: float
    scaling: Scaling | None = None
    """Scaling that brought the machine's area close to the first machine's; None without scaling.
    """
    copies: float = 1.0
    """Number of copies whose joint area, or joint power, is that of the first machine."""
    refused: tuple[Refusal, ...] = ()
    """Mappings that were tried before the one that ran, each with the reason why it is not legal.
    """
    left_out: tuple[str, ...] = ()
    """Sentences about features of the workload that the cascades lack (such as a mask), and
    about words that are billed at another width than the machine's."""

    def to_dict(self) -> dict[str, Any]:
        """Return a row of ``compare --json``: the result's object and the ratios."""
        scaled = None
        if self.scaling is not None:
            scaled = asdict(self.scaling) | {"residual": self.scaling.residual}
            scaled["changes"] = list(scaled["changes"])
        return self.result.to_dict() | {
            **{name: getattr(self, name) for name in (*_PLAIN, "copies")},
            "scaling": scaled,
            "refused_mappings": [asdict(r) for r in self.refused],
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRecord:
    """Record of a comparison: machines side by side, with ratios relative to the first machine."""

    iso_area: bool
    rows: tuple[ComparedMachine, ...]
    iso_power: bool = False

    @property
    def first(self) -> ComparedMachine:
        """First machine, to which all other machines are compared."""
        return self.rows[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as the JSON object of ``compare --json``, which ``from_dict``
        reads."""
        rows = [row.to_dict() for row in self.rows]
        return {"iso_area": self.iso_area, "iso_power": self.iso_power, "rows": rows}

    @classmethod
    def from_dict(cls, data: MappingOf[str, Any]) -> Self:
        """Return the comparison that ``to_dict`` turned into ``data``.

        Raises
        ------
        InputError
            The data are no such object.
        """
        try:
            iso_area, iso_power = data["iso_area"], data.get("iso_power", False)
            rows = tuple(_read_row(r) for r in data["rows"])
            return cls(iso_area=iso_area, rows=rows, iso_power=iso_power)
        except (KeyError, TypeError, AttributeError) as wrong:
            raise InputError(f"this is not the JSON object of a comparison: {wrong}") from None


def _read_row(data: MappingOf[str, Any]) -> ComparedMachine:
    scaling = data["scaling"]
    if scaling is not None:
        fields = {k: v for k, v in scaling.items() if k != "residual"}
        scaling = Scaling(**fields | {"changes": tuple(Change(**c) for c in fields["changes"])})
    return ComparedMachine(
        **{name: data[name] for name in _PLAIN},
        result=Result.from_dict(data),
        scaling=scaling,
        refused=tuple(Refusal(**r) for r in data["refused_mappings"]),
        left_out=tuple(data.get("left_out", ())),
        copies=data.get("copies", 1.0),
    )
