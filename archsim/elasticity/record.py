"""Records of a sensitivity analysis: elasticities of a run by the machine's numbers, and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from pydantic import StrictBool

from einsum_cascade.errors import InputError
from einsum_cascade.source import Source
from einsum_cascade.yaml.schema import StoredFields, source_of, validate_json

from ..spec.files.fields import Real, Signed

Quantity = Literal["latency", "as_built", "energy", "area"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

LEAST_EFFECT = 0.005
"""Elasticity that tables show as zero: 1 % more of the number changes a quantity by 0.005 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals:
    """Quantities of a run of which the elasticities are."""

    latency_s: Real
    as_built_s: Real | None
    """Latency on the machine as built; None if it states no losses."""
    energy_pj: Real
    area_um2: Real

    def of(self, quantity: Quantity) -> float | None:
        """Return a quantity in its unit; None if it is unknown."""
        match quantity:
            case "latency":
                return self.latency_s
            case "as_built":
                return self.as_built_s
            case "energy":
                return self.energy_pj
            case "area":
                return self.area_um2


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """Elasticities of a run by one number: per cent of change for each per cent of the number."""

    field: str
    """Path of the number, as ``--set`` takes it."""
    value: str
    """Number with its unit, as the file writes it."""
    latency: Signed
    as_built: Signed | None
    energy: Signed
    area: Signed
    one_sided: StrictBool = False
    """True if only a larger, or only a smaller number is legal."""
    evidence: str | None = None
    """Kind of evidence for the number; None if the machine states none."""

    def of(self, quantity: Quantity) -> float:
        """Return the elasticity of a quantity; 0 if the quantity is unknown."""
        found: float | None = getattr(self, quantity)
        return found or 0.0

    @property
    def has_effect(self) -> bool:
        """True if any quantity changes by more than tables show."""
        return any(abs(self.of(quantity)) >= LEAST_EFFECT for quantity in QUANTITIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedNumber:
    """Number that was not varied, with the reason."""

    field: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityRecord:
    """Record of a sensitivity analysis: a run, and its elasticities by every number."""

    workload: str
    architecture: str
    mapping: str
    remapped: StrictBool
    """True if every varied machine chose its mapping anew; else all run the mapping of the base."""
    by: Quantity
    """Quantity that sorts the fields."""
    totals: RunTotals
    fields: tuple[Elasticity, ...]
    """Elasticities, the largest first."""
    not_varied: tuple[FixedNumber, ...] = ()

    @property
    def effective(self) -> tuple[Elasticity, ...]:
        """Elasticities of the numbers that have an effect."""
        return tuple(e for e in self.fields if e.has_effect)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Quantities that are known of the run."""
        return tuple(q for q in QUANTITIES if self.totals.of(q) is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``sensitivity --json``, which ``from_dict`` reads."""
        lists = ("fields", "not_varied")
        return asdict(self) | {name: [asdict(e) for e in getattr(self, name)] for name in lists}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the record that ``to_dict`` turned into ``data``.

        Raises
        ------
        InputError
            As ``from_json``.
        """
        return cls.from_json(source_of("sensitivity", data))

    @classmethod
    def from_json(cls, source: Source) -> Self:
        """Return the record in a JSON text.

        Raises
        ------
        InputError
            The text is no sensitivity analysis; says where.
        """
        found = validate_json(_SensitivityFields, source, InputError)
        return cls(**{name: getattr(found, name) for name in type(found).model_fields})


class _SensitivityFields(StoredFields):
    """JSON object of a sensitivity analysis."""

    workload: str
    architecture: str
    mapping: str
    remapped: StrictBool
    by: Quantity
    totals: RunTotals
    fields: tuple[Elasticity, ...]
    not_varied: tuple[FixedNumber, ...] = ()
