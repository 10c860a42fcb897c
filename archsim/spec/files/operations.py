"""The operations of an array in a file: what each costs, in any format or format by format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import PlainValidator

from einsum_cascade.number_formats import FORMATS
from einsum_cascade.yaml.schema import Fields

from ..arch import OF_WORDS, Operation
from .fields import Number


class CostFields(Fields):
    """What an operation costs."""

    cycles: Number
    """How long an element is busy."""
    bill: dict[str, Number]
    """By action of the technology, how often it is billed."""


class FormatFields(Fields):
    """What an operation costs in each of some formats, and in no other."""

    fp32: CostFields | None = None
    tf32: CostFields | None = None
    bf16: CostFields | None = None
    fp16: CostFields | None = None
    fp8_e4m3: CostFields | None = None
    fp8_e5m2: CostFields | None = None
    fp4_e2m1: CostFields | None = None
    int32: CostFields | None = None
    int16: CostFields | None = None
    int8: CostFields | None = None
    int4: CostFields | None = None
    mxfp8: CostFields | None = None
    mxfp6: CostFields | None = None
    mxfp4: CostFields | None = None
    nvfp4: CostFields | None = None

    def by_format(self) -> Iterator[tuple[str, CostFields]]:
        """Formats in the order in which they are written, and what the operation costs in each."""
        for name in self.model_fields_set:
            cost = getattr(self, name)
            if name in FORMATS and cost is not None:
                yield name, cost


class OperationFields(FormatFields):
    """What an operation costs in any format, but for those that are named."""

    cycles: Number
    """How long an element is busy."""
    bill: dict[str, Number]
    """By action of the technology, how often it is billed."""


def _chosen(value: Any) -> FormatFields:
    named = isinstance(value, dict) and not FORMATS.keys().isdisjoint(value)
    plain = isinstance(value, dict) and not {"cycles", "bill"}.isdisjoint(value)
    model = FormatFields if named and not plain else OperationFields
    return model.model_validate(value)


AnyOperation = Annotated[
    OperationFields | FormatFields,
    PlainValidator(_chosen, json_schema_input_type=OperationFields | FormatFields),
]


def costs_of(fields: FormatFields) -> Iterator[tuple[str, CostFields | OperationFields]]:
    """What an operation costs by format; without a name, in any other."""
    if isinstance(fields, OperationFields):
        yield "", fields
    yield from sorted(fields.by_format(), key=lambda pair: [*FORMATS].index(pair[0]))


def operations(kind: str, fields: FormatFields, word_bits: int) -> Iterator[Operation]:
    """An operation in all formats that a file names.

    Where it names formats alone, one as wide as the word does values of no stated format.
    """
    for fmt, cost in costs_of(fields):
        yield Operation(kind=kind, cycles=cost.cycles, bill=(*cost.bill.items(),), format=fmt)
    if not isinstance(fields, OperationFields):
        for fmt, cost in costs_of(fields):
            if FORMATS[fmt].bits == word_bits:
                bill = (*cost.bill.items(),)
                yield Operation(kind=kind, cycles=cost.cycles, bill=bill, format=OF_WORDS)
                return
