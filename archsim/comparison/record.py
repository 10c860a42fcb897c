"""Records of a comparison: machines side by side, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool

from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.schema import StoredFields, source_of, validate_json

from ..plan.job import Refusal
from ..result.reading import ResultFields, result_of
from ..result.record import Totals
from ..result.result import Result
from ..spec.files.fields import Real
from .scaling import Scaling

_PLAIN = ("label", "file", "speedup", "energy_ratio", "area_ratio")
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
    totals: Totals
    """Latency and energy that the comparison relates, as designed or as built."""
    speedup: float
    energy_ratio: float
    area_ratio: float
    scaling: Scaling | None = None
    """Scaling that brought the machine's area close to the first machine's; None without scaling.
    """
    file: str = ""
    """File of the machine, if the label is the name in it; a label of two files is the path."""
    copies: float = 1.0
    """Number of copies whose joint area, or joint power, is that of the first machine."""
    refused: tuple[Refusal, ...] = ()
    """Mappings that were tried before the one that ran, each with the reason why it is not legal.
    """
    left_out: tuple[str, ...] = ()
    """Sentences about features of the workload that the cascades lack (such as a mask), and
    about words that are billed at another width than the machine's."""

    @property
    def power_w(self) -> float:
        """Average power of one copy in watts."""
        return self.totals.energy_pj / 1e12 / self.totals.latency_s

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
    as_built: bool = False
    """True if latencies and energies are those of the machines with their losses."""

    @property
    def how(self) -> str:
        """Condition of the comparison in words; empty for machines as they are."""
        equal = "at equal area" if self.iso_area else "at equal power" if self.iso_power else ""
        return ", ".join(filter(None, (equal, "as built" if self.as_built else "")))

    @property
    def files(self) -> str:
        """End of a title that says of which file each machine is; empty without files."""
        found = ", ".join(f"{row.label} of {row.file}" for row in self.rows if row.file)
        return f": {found}" if found else ""

    @property
    def first(self) -> ComparedMachine:
        """First machine, to which all other machines are compared."""
        return self.rows[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as the JSON object of ``compare --json``, which ``from_dict``
        reads."""
        rows = [row.to_dict() for row in self.rows]
        return {
            "iso_area": self.iso_area,
            "iso_power": self.iso_power,
            **({"as_built": True} if self.as_built else {}),
            "rows": rows,
        }

    @classmethod
    def from_dict(cls, data: MappingOf[str, Any]) -> Self:
        """Return the comparison that ``to_dict`` turned into ``data``.

        Raises
        ------
        InputError
            As ``from_json``.
        """
        return cls.from_json(source_of("comparison", data))

    @classmethod
    def from_json(cls, source: Source) -> Self:
        """Return the comparison in a JSON text.

        Raises
        ------
        InputError
            The text is no comparison; says where.
        """
        found = validate_json(_ComparisonFields, source, InputError)
        results = [result_of(Result, row) for row in found.rows]
        rows = tuple(
            ComparedMachine(
                **{name: getattr(row, name) for name in (*_PLAIN, "copies", "scaling", "left_out")},
                result=result,
                totals=compared_totals(result, as_built=found.as_built),
                refused=row.refused_mappings,
            )
            for row, result in zip(found.rows, results, strict=True)
        )
        how = {name: getattr(found, name) for name in ("iso_area", "iso_power", "as_built")}
        return cls(rows=rows, **how)


def compared_totals(result: Result, *, as_built: bool) -> Totals:
    """Return the totals of a run that a comparison relates to those of other machines.

    Parameters
    ----------
    as_built : bool
        True for latency and energy of the machine as built, if it states losses.
    """
    built = result.as_built if as_built else None
    if built is None:
        return result.totals
    return replace(result.totals, latency_s=built.latency_s, energy_pj=built.energy_pj)


class _RowFields(ResultFields):
    """Row of a comparison: the fields of a result, and ratios."""

    label: str
    file: str = ""
    speedup: Real
    energy_ratio: Real
    area_ratio: Real
    scaling: Scaling | None
    refused_mappings: tuple[Refusal, ...]
    left_out: tuple[str, ...] = ()
    copies: Real = 1.0


class _ComparisonFields(StoredFields):
    """JSON object of a comparison."""

    iso_area: StrictBool
    iso_power: StrictBool = False
    as_built: StrictBool = False
    rows: Annotated[tuple[_RowFields, ...], Field(min_length=1)]
