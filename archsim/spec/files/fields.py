"""Types of single fields in specification files: names, formats, and quantities with units.

Users write quantities as ``400 GiB/s``, ``16 MiB`` or ``3.9 pJ/bit``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import isfinite
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from einsum_cascade.errors import nearest
from einsum_cascade.yaml.schema import MAX_NAME_LENGTH, Fields, expected, format_value
from einsum_cascade.yaml.source import shorten


class _Unit(NamedTuple):
    """Unit of measurement: a factor, and the powers of information, time, energy and length."""

    factor: Fraction
    powers: tuple[int, int, int, int]


_PREFIXES = (
    (("kibi", "Ki"), Fraction(1024)),
    (("mebi", "Mi"), Fraction(1024**2)),
    (("gibi", "Gi"), Fraction(1024**3)),
    (("tebi", "Ti"), Fraction(1024**4)),
    (("kilo", "k"), Fraction(10**3)),
    (("mega", "M"), Fraction(10**6)),
    (("giga", "G"), Fraction(10**9)),
    (("tera", "T"), Fraction(10**12)),
    (("milli", "m"), Fraction(1, 10**3)),
    (("micro", "u", "µ", "μ"), Fraction(1, 10**6)),
    (("nano", "n"), Fraction(1, 10**9)),
    (("pico", "p"), Fraction(1, 10**12)),
    (("femto", "f"), Fraction(1, 10**15)),
)
_UNITS = (
    (("bit", "b"), _Unit(Fraction(1), (1, 0, 0, 0))),
    (("byte", "B"), _Unit(Fraction(8), (1, 0, 0, 0))),
    (("second", "s"), _Unit(Fraction(1), (0, 1, 0, 0))),
    (("hertz", "Hz"), _Unit(Fraction(1), (0, -1, 0, 0))),
    (("joule", "J"), _Unit(Fraction(1), (0, 0, 1, 0))),
    (("watt", "W"), _Unit(Fraction(1), (0, -1, 1, 0))),
    (("meter", "m"), _Unit(Fraction(1), (0, 0, 0, 1))),
)
"""Pairs of a unit's names (long and short) and the unit."""


def _spellings() -> Iterator[tuple[str, _Unit]]:
    """Yield each spelling of each unit, with any prefix; long names also have a plural."""
    prefixes = [("", Fraction(1)), *((p, scale) for names, scale in _PREFIXES for p in names)]
    for (prefix, scale), (names, unit) in product(prefixes, _UNITS):
        for name in (*names, *(f"{name}s" for name in names if len(name) > 1)):
            yield prefix + name, unit._replace(factor=scale * unit.factor)


_SPELLED = MappingProxyType(dict(_spellings()))

_FACTOR = re.compile(r"\s*([/*]?)\s*([A-Za-zµμ]+)(?:\s*(?:\^|\*\*)\s*([1-9])|(²))?")


def _read_unit(text: str) -> _Unit | None:
    """Parse a product of units, such as ``GiB/s``; return None if a word in it is not a unit."""
    total, powers, end = Fraction(1), (0, 0, 0, 0), 0
    while end < len(text):
        found = _FACTOR.match(text, end)
        if found is None or found[2] not in _SPELLED or bool(found[1]) != bool(end):
            return None
        unit = _SPELLED[found[2]]
        power = int(found[3] or (2 if found[4] else 1)) * (-1 if found[1] == "/" else 1)
        total *= unit.factor**power
        a, b, c, d = (p + power * q for p, q in zip(powers, unit.powers, strict=True))
        powers, end = (a, b, c, d), found.end()
    return _Unit(total, powers) if end else None


_LARGEST_EXPONENT = 30
_NUMBER_TEXT = re.compile(r"([-+]?)([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE]([-+]?[0-9]+))?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.?(inf|infinity|nan)\b", re.IGNORECASE)
_WORD = r"[A-Za-zµμ]+(?:\s*(?:\^|\*\*)\s*[1-9]|[²])?"
_UNIT = re.compile(rf"{_WORD}(?:\s*[/*]\s*{_WORD})*")
_MOST_CHARACTERS = 60

_SPELLINGS = (
    *("bit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"),
    *("Hz", "kHz", "MHz", "GHz", "s", "J", "pJ", "fJ", "nJ"),
    *("W", "mW", "uW", "nW", "pW", "m", "nm", "um", "mm"),
)
"""Common spellings of units, to suggest one for a misspelled unit."""


@dataclass(frozen=True, slots=True)
class QuantityKind:
    """Kind of quantity, such as a bandwidth: its name, its unit and an example."""

    what: str
    unit: str
    example: str
    zero: bool = False
    """True if the quantity may be zero."""
    limit: Fraction = Fraction(10) ** 30


FREQUENCY = QuantityKind("a frequency", "Hz", "940 MHz")
CAPACITY = QuantityKind("a size in bytes", "byte", "16 MiB")
WIDTH = QuantityKind("a width in bits", "bit", "16 bit")
BANDWIDTH = QuantityKind("a bandwidth", "byte/s", "400 GB/s")
ENERGY = QuantityKind("an energy", "pJ", "17.1645 pJ", zero=True)
ENERGY_PER_BIT = QuantityKind("an energy per bit", "pJ/bit", "3.9 pJ/bit", zero=True)
POWER = QuantityKind("a power", "W", "2 uW", zero=True)
POWER_LIMIT = QuantityKind("a power", "W", "700 W")
POWER_PER_BIT = QuantityKind("a power per bit", "W/bit", "10 pW/bit", zero=True)
AREA = QuantityKind("an area", "um**2", "1545 um^2", zero=True)
TIME = QuantityKind("a time", "s", "10 s")
NODE = QuantityKind("a length", "nm", "45 nm")


def parse_quantity(value: Any, measure: QuantityKind) -> Fraction:
    """Parse a written quantity and return its number in ``measure.unit``.

    Parameters
    ----------
    value : str
        A number and a unit, ``16 MiB`` or ``16MiB``.
    measure : QuantityKind
        Kind of quantity that is expected.

    Raises
    ------
    PydanticCustomError
        Not a quantity of that dimension, or not a finite (positive) one.

    Examples
    --------
    >>> parse_quantity("400 GiB/s", BANDWIDTH)
    Fraction(429496729600, 1)
    >>> parse_quantity("3.9 pJ/bit", ENERGY_PER_BIT)
    Fraction(39, 10)
    """
    wanted = f"expected {measure.what} such as '{measure.example}'"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise expected(f"{wanted}, got {format_value(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise expected(f"{wanted}, got {format_value(value)}, which is not finite")
    if isinstance(value, str):
        text = value.strip()
        if _NOT_A_NUMBER.match(text):
            raise expected(f"{wanted}, got '{shorten(text)}', which is not finite")
        found = _NUMBER_TEXT.match(text)
        if found is None or len(text) > _MOST_CHARACTERS:
            raise expected(f"{wanted}, got '{shorten(text)}'")
        number, unit = _number(found, wanted), text[found.end() :].strip()
    else:
        text = f"{value:g}" if isinstance(value, float) else shorten(str(value))
        number, unit = Fraction(value), ""
    if unit:
        number *= _factor(unit, measure, wanted)
    if number < 0:
        raise expected(f"{wanted}, got '{text}', which is negative")
    if number == 0 and not measure.zero:
        raise expected(f"{wanted}, got '{text}', which is nothing")
    if not unit:
        example = measure.example.rpartition(" ")[2]
        raise expected(f"{wanted}, got a number without a unit", f"write '{text} {example}'")
    if number > measure.limit or (number and number < 1 / measure.limit):
        raise expected(f"{wanted}, got '{text}', which is no size for it")
    return number


def parse_number(value: Any) -> Fraction:
    """Parse a finite number of at least 0 and return exactly the decimal number written.

    Raises
    ------
    PydanticCustomError
        The value is not such a number.
    """
    wanted = "expected a number, zero or more"
    if isinstance(value, str) and (found := _NUMBER_TEXT.fullmatch(value.strip())):
        number = _number(found, wanted)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise expected(f"{wanted}, got {format_value(value)}")
    elif abs(value) > 10**_LARGEST_EXPONENT or not isfinite(value):
        raise expected(f"{wanted}, got {format_value(value)}, which is no size for it")
    else:
        number = _exact(repr(value), 0)
    if number < 0:
        raise expected(f"{wanted}, got {format_value(value)}")
    return number


def _number(found: re.Match[str], wanted: str) -> Fraction:
    sign, digits, exponent = found.groups()
    if exponent and (len(exponent) > 4 or abs(int(exponent)) > _LARGEST_EXPONENT):
        raise expected(f"{wanted}, got '{shorten(found[0])}', which is no size for it")
    return _exact(f"{sign}{digits.replace('_', '').rstrip('.')}", int(exponent or 0))


@lru_cache(maxsize=4096)
def _exact(digits: str, exponent: int) -> Fraction:
    """Return a decimal number as a fraction; it is cached, because machines of a sweep share
    numbers."""
    return Fraction(digits) * Fraction(10) ** exponent


@lru_cache(maxsize=1024)
def _factor(unit: str, measure: QuantityKind, wanted: str) -> Fraction:
    """Return the exact factor that converts ``unit`` to the unit of ``measure``."""
    one, other = _read_unit(unit), _read_unit(measure.unit)
    if one is None:
        hint = _nearest_unit(unit, measure) if _UNIT.fullmatch(unit) else ""
        raise expected(f"{wanted}, '{shorten(unit)}' is not a unit", hint)
    if other is None or one.powers != other.powers:
        raise expected(f"{wanted}, '{unit}' is no unit of that")
    return one.factor / other.factor


def _nearest_unit(unit: str, measure: QuantityKind) -> str:
    words = re.split(r"\s*([/*])\s*", unit)
    target = _read_unit(measure.unit)
    fitting = [s for s in _SPELLINGS if target and _SPELLED[s].powers == target.powers]
    known = fitting if len(words) == 1 else _SPELLINGS
    right = [w if w in "/*" else nearest(w, known) or w for w in words]
    close = "".join(right)
    return f"did you mean '{close}'?" if close != unit else ""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > MAX_NAME_LENGTH:
        raise expected(f"expected a name of letters, digits, '_' and '-', got '{shorten(text)}'")
    return text


def _quantity(measure: QuantityKind) -> Callable[[Any], Fraction]:
    return lambda value: parse_quantity(value, measure)


def _whole(measure: QuantityKind, unit: str) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        quantity = parse_quantity(value, measure)
        if quantity.denominator != 1:
            raise expected(f"expected whole {unit}, got '{value}'")
        return int(quantity)

    return parse


def _float(measure: QuantityKind) -> Callable[[Any], float]:
    return lambda value: float(parse_quantity(value, measure))


def _schema(measure: QuantityKind) -> WithJsonSchema:
    """Return the JSON schema of a quantity; its description has an example."""
    text = f"{measure.what} such as '{measure.example}'"
    return WithJsonSchema({"type": ["string", "number"], "description": text})


Name = Annotated[str, AfterValidator(_name)]
"""Name of a memory, array or similar, by which overrides and mappings refer to it."""


def given_fields(model: Fields) -> dict[str, Any]:
    """Return the fields that a file gives, by the names of attributes; mappings become pairs."""
    return {
        name: tuple(value.items()) if isinstance(value, dict) else value
        for name, value in vars(model).items()
        if value is not None
    }


def one_or_more(value: Any) -> Any:
    """Return a single text as a tuple of one; any other value is returned as it is."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]
"""One name, or a list of names."""

Frequency = Annotated[Fraction, PlainValidator(_quantity(FREQUENCY)), _schema(FREQUENCY)]
Bandwidth = Annotated[Fraction, PlainValidator(_quantity(BANDWIDTH)), _schema(BANDWIDTH)]
Bytes = Annotated[int, PlainValidator(_whole(CAPACITY, "bytes")), _schema(CAPACITY)]
Bits = Annotated[int, PlainValidator(_whole(WIDTH, "bits")), _schema(WIDTH)]
Seconds = Annotated[float, PlainValidator(_float(TIME)), _schema(TIME)]
Picojoules = Annotated[float, PlainValidator(_float(ENERGY)), _schema(ENERGY)]
PicojoulesPerBit = Annotated[float, PlainValidator(_float(ENERGY_PER_BIT)), _schema(ENERGY_PER_BIT)]
Watts = Annotated[float, PlainValidator(_float(POWER))]
SustainedWatts = Annotated[float, PlainValidator(_float(POWER_LIMIT)), _schema(POWER_LIMIT)]
WattsPerBit = Annotated[float, PlainValidator(_float(POWER_PER_BIT))]
SquareMicrometres = Annotated[float, PlainValidator(_float(AREA)), _schema(AREA)]
Nanometres = Annotated[int, PlainValidator(_whole(NODE, "nanometres")), _schema(NODE)]

Number = Annotated[Fraction, PlainValidator(parse_number)]
"""Finite number, zero or more."""


_LARGEST, _SMALLEST = 10**60, 1e-60
"""Bounds of the numbers of a stored result: products and ratios of a few of them are finite."""
_LONGEST = 500


def _stored(least: float, *types: type) -> PlainValidator:
    what = "a number" if float in types else "a whole number"

    def parse(value: Any) -> Any:
        in_range = type(value) in types and least <= value <= _LARGEST
        if not in_range or 0 < abs(value) < _SMALLEST:
            raise expected(f"expected {what} from {least:g} to 1e60, got {format_value(value)}")
        return value

    return PlainValidator(parse)


def _label(text: str) -> str:
    if not text.isprintable() or "$" in text or len(text) > _LONGEST:
        raise expected(f"expected a name, got '{shorten(text)}'")
    return text


def _pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, dict):
        raise expected(f"expected a mapping, got {format_value(value)}")
    return tuple(value.items())


def _rows(value: Any) -> Iterator[tuple[Any, ...]]:
    for key, inner in _pairs(value):
        below = ((x,) for x in inner) if isinstance(inner, list | tuple) else _pairs(inner)
        yield from ((key, *rest) for rest in below)


def keyed_by(field: str) -> BeforeValidator:
    """Return a reader of a mapping of records as a list; each record's key becomes a field."""
    return BeforeValidator(
        lambda value: tuple(dict(_pairs(inner)) | {field: key} for key, inner in _pairs(value))
    )


Real = Annotated[float, _stored(0, int, float)]
"""Number of a stored result, zero or more."""
Positive = Annotated[float, _stored(_SMALLEST, int, float)]
Signed = Annotated[float, _stored(-_LARGEST, int, float)]
Whole = Annotated[int, _stored(0, int)]
PositiveWhole = Annotated[int, _stored(1, int)]
Label = Annotated[str, AfterValidator(_label)]
"""Name of a component, an Einsum or a part in a stored result."""

PAIRS = BeforeValidator(_pairs)
"""Reader of a mapping as pairs of a key and a value."""

ROWS = BeforeValidator(lambda value: tuple(_rows(value)))
"""Reader of a mapping of lists or mappings as tuples of a key, and a value or a pair below it."""
