"""Types of single fields in specification files: names, counts, quantities with units."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from einsum_cascade.errors import did_you_mean
from einsum_cascade.number_formats import FORMATS
from einsum_cascade.yaml.schema import MAX_NAME_LENGTH, expected
from einsum_cascade.yaml.source import shorten

from . import units

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > MAX_NAME_LENGTH:
        raise expected(f"expected a name of letters, digits, '_' and '-', got '{shorten(text)}'")
    return text


def _quantity(measure: units.QuantityKind) -> Callable[[Any], Fraction]:
    return lambda value: units.parse_quantity(value, measure)


def _whole(measure: units.QuantityKind, unit: str) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        quantity = units.parse_quantity(value, measure)
        if quantity.denominator != 1:
            raise expected(f"expected whole {unit}, got '{value}'")
        return int(quantity)

    return parse


def _float(measure: units.QuantityKind) -> Callable[[Any], float]:
    return lambda value: float(units.parse_quantity(value, measure))


def _told(measure: units.QuantityKind) -> WithJsonSchema:
    """Return the JSON schema of a quantity, with an example."""
    text = f"{measure.what} such as '{measure.example}'"
    return WithJsonSchema({"type": ["string", "number"], "description": text})


Name = Annotated[str, AfterValidator(_name)]
"""Name of a member, used by overrides and mappings."""
Words = str


def one_or_more(value: Any) -> Any:
    """Wrap a single text in a tuple."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]
"""One name, or a list of names."""

Frequency = Annotated[Fraction, PlainValidator(_quantity(units.FREQUENCY)), _told(units.FREQUENCY)]
Bandwidth = Annotated[Fraction, PlainValidator(_quantity(units.BANDWIDTH)), _told(units.BANDWIDTH)]
Bytes = Annotated[int, PlainValidator(_whole(units.CAPACITY, "bytes")), _told(units.CAPACITY)]
Bits = Annotated[int, PlainValidator(_whole(units.WIDTH, "bits")), _told(units.WIDTH)]
Seconds = Annotated[float, PlainValidator(_float(units.TIME)), _told(units.TIME)]
Picojoules = Annotated[float, PlainValidator(_float(units.ENERGY)), _told(units.ENERGY)]
PicojoulesPerBit = Annotated[
    float, PlainValidator(_float(units.ENERGY_PER_BIT)), _told(units.ENERGY_PER_BIT)
]
Watts = Annotated[float, PlainValidator(_float(units.POWER))]
WattsPerBit = Annotated[float, PlainValidator(_float(units.POWER_PER_BIT))]
SquareMicrometres = Annotated[float, PlainValidator(_float(units.AREA)), _told(units.AREA)]
Nanometres = Annotated[int, PlainValidator(_whole(units.NODE, "nanometres")), _told(units.NODE)]


def _format(value: Any) -> str:
    if value in FORMATS:
        return str(value)
    name = shorten(str(value))
    raise expected(f"expected a format of numbers, got '{name}'", did_you_mean(name, FORMATS))


Format = Annotated[str, PlainValidator(_format)]
"""Name of a number format."""

Number = Annotated[Fraction, PlainValidator(units.parse_number)]
"""Finite number, zero or more."""
