"""Reader of the JSON objects of results: every field is checked, and errors say where they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, PlainValidator, model_validator

from einsum_cascade.errors import did_you_mean
from einsum_cascade.yaml.schema import StoredFields, expected, format_value

from ..spec.files.fields import ROWS, Label, Positive, PositiveWhole, Real, keyed_by
from .note import Note, NoteKind
from .record import (
    SCHEMA_VERSION,
    ArrayUse,
    AsBuilt,
    Bounds,
    EinsumUse,
    Floor,
    Folds,
    LevelBuffer,
    LevelTraffic,
    MemoryNeed,
    Named,
    PartUse,
    RequestUse,
    Roofs,
    RunRecord,
    ScheduleReport,
    Sizes,
    Texts,
    Totals,
)

R = TypeVar("R", bound=RunRecord)

Levels = Annotated[tuple[LevelTraffic, ...], keyed_by("level")]


def _version(value: Any) -> int:
    if value != SCHEMA_VERSION or isinstance(value, bool):
        raise expected(f"expected version {SCHEMA_VERSION}, got version {format_value(value)}")
    return SCHEMA_VERSION


class TotalFields(StoredFields):
    """Energy or area by component, and energy by Einsum."""

    by_component: Named
    by_einsum: Named = ()


class NoteFields(StoredFields):
    """Note with its subject and part."""

    part: str
    kind: NoteKind
    text: str


class PartFields(StoredFields):
    """Part of a workload with its own result."""

    name: Label
    times: PositiveWhole
    result: ResultFields
    stage: str = ""
    together: PositiveWhole = 1


class ResultFields(StoredFields):
    """JSON object of a result, as ``RunRecord.to_dict`` makes it."""

    schema_version: Annotated[int, PlainValidator(_version)]
    workload: str
    architecture: str
    mapping: str
    engine: str
    shape: Sizes
    core_tile: Sizes = ()
    latency_s: Positive
    cycles: Positive
    bound_by: Label
    tokens: PositiveWhole | None = None
    formats: Texts = ()
    request: RequestUse | None = None
    before_rewrite: Totals | None = None
    as_built: AsBuilt | None = None
    utilization: Annotated[dict[Label, Real], Field(min_length=1)]
    busy_cycles: dict[Label, Real]
    occupied_cycles: dict[Label, Real]
    traffic_bytes: Levels
    buffer_bytes: Annotated[tuple[LevelBuffer, ...], keyed_by("level")]
    energy_pj: TotalFields
    area_um2: TotalFields
    bounds: Bounds
    floor: Floor = Floor()
    einsums: tuple[EinsumUse, ...]
    schedule: ScheduleReport
    tiles: Sizes
    resident_bytes: Real = 0.0
    capacity: tuple[MemoryNeed, ...] = ()
    notes: tuple[NoteFields, ...]
    charges_pj: Annotated[tuple[tuple[Label, Label, Real], ...], ROWS]
    roofs: Roofs = Roofs()
    folds: tuple[Folds, ...] = ()
    einsum_traffic_bytes: dict[Label, Levels]
    parts: tuple[PartFields, ...] = ()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Raise an error for a name that another field should have too."""
        arrays = self.utilization.keys()
        einsums = {e.name for e in self.einsums}
        named = {
            "utilization": {e.array for e in self.einsums} | {r.array for r in self.roofs.arrays},
            "busy_cycles": arrays,
            "occupied_cycles": arrays,
            "einsum_traffic_bytes": einsums,
        }
        for field, names in named.items():
            _check_names(field, names, getattr(self, field))
        for part in self.parts:
            _check_names(f"utilization of {part.name}", arrays, part.result.utilization)
        if not self.parts:
            _check_names("einsums", dict(self.energy_pj.by_einsum), einsums)
        if all(level.links for level in self.traffic_bytes):
            raise expected("traffic_bytes: expected a memory, got none")
        return self


def _check_names(field: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise expected(f"{field}: there is no '{name}'", did_you_mean(name, known))


def result_of(kind: type[R], given: ResultFields) -> R:
    """Return a result from its checked fields.

    Parameters
    ----------
    kind : type
        Class of the result and of the results of its parts.
    """
    traffic = given.einsum_traffic_bytes
    same = {f.name for f in fields(kind)} & vars(given).keys()
    return kind(
        **{name: getattr(given, name) for name in same - {"einsums", "notes", "parts"}},
        arrays=tuple(
            ArrayUse(
                array=name,
                occupied_cycles=given.occupied_cycles[name],
                busy_cycles=given.busy_cycles[name],
                utilization=utilization,
            )
            for name, utilization in given.utilization.items()
        ),
        traffic=given.traffic_bytes,
        buffers=given.buffer_bytes,
        energy_by_component=given.energy_pj.by_component,
        energy_by_einsum=given.energy_pj.by_einsum,
        area_by_component=given.area_um2.by_component,
        einsums=tuple(replace(e, traffic=traffic[e.name]) for e in given.einsums),
        notes=tuple(Note(n.text, n.kind, n.part) for n in given.notes),
        charges=given.charges_pj,
        parts=tuple(
            PartUse(
                name=p.name,
                times=p.times,
                result=result_of(kind, p.result),
                stage=p.stage,
                together=p.together,
            )
            for p in given.parts
        ),
    )
