"""Quantities: exact, of the right dimension, and nothing that is no size."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from archsim.spec.files import fields
from archsim.spec.files.fields import parse_number, parse_quantity

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "measure", "value"),
    [
        ("400 GiB/s", fields.BANDWIDTH, 400 * GIB),
        ("8 TB/s", fields.BANDWIDTH, 8 * 10**12),
        ("8 Tb/s", fields.BANDWIDTH, 10**12),
        ("16 MiB", fields.CAPACITY, 2**24),
        ("16MiB", fields.CAPACITY, 2**24),
        ("1.5 KiB", fields.CAPACITY, 1536),
        ("131072 bit", fields.CAPACITY, 2**14),
        ("64 bit", fields.WIDTH, 64),
        ("8 B", fields.WIDTH, 64),
        ("940 MHz", fields.FREQUENCY, 940_000_000),
        ("0.94 GHz", fields.FREQUENCY, 940_000_000),
        ("1e3 kHz", fields.FREQUENCY, 10**6),
        ("3.9 pJ/bit", fields.ENERGY_PER_BIT, Fraction(39, 10)),
        ("31.2 pJ/B", fields.ENERGY_PER_BIT, Fraction(39, 10)),
        ("0 pJ", fields.ENERGY, 0),
        ("17.1645 pJ", fields.ENERGY, Fraction("17.1645")),
        ("1.2 nJ", fields.ENERGY, 1200),
        ("1545 um^2", fields.AREA, 1545),
        ("1.545e-3 mm²", fields.AREA, 1545),
        ("1545 µm**2", fields.AREA, 1545),
        ("45 nm", fields.NODE, 45),
    ],
)
def test_a_quantity_is_exact(
    text: str, measure: fields.QuantityKind, value: Fraction | int
) -> None:
    found = parse_quantity(text, measure)
    assert isinstance(found, Fraction)
    assert found == value


@given(st.integers(1, 10**9), st.integers(0, 6), st.sampled_from([("KiB", 10), ("GiB", 30)]))
def test_decimals_keep_every_digit(number: int, places: int, unit: tuple[str, int]) -> None:
    text = f"{number // 10**places}.{number % 10**places:0{places}d}" if places else str(number)
    expected = Fraction(number, 10**places) * 2 ** unit[1]
    assert parse_quantity(f"{text} {unit[0]}", fields.CAPACITY) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("16 MiB", "expected a frequency such as '940 MHz', 'MiB' is no unit of that"),
        ("MHz", "got 'MHz'"),
        ("fast", "got 'fast'"),
        ("", "got ''"),
        ("-1 MHz", "which is negative"),
        ("0 MHz", "which is nothing"),
        ("1e-40 MHz", "which is no size for it"),
        ("1e400 MHz", "which is no size for it"),
        ("1e999999999999 MHz", "which is no size for it"),
        ("9" * 80 + " MHz", "got '9999"),
        ("nan MHz", "which is not finite"),
        ("inf Hz", "which is not finite"),
        ("-Infinity Hz", "which is not finite"),
        ("940 MHz MHz", "is not a unit"),
        ("940 MHz^99", "is not a unit"),
        ("940 __import__('os')", "is not a unit"),
        ("٩٤٠ MHz", "got"),
        (float("nan"), "which is not finite"),
        (float("inf"), "which is not finite"),
        (0, "got '0', which is nothing"),
        ("0", "got '0', which is nothing"),
        (-3, "got '-3', which is negative"),
        ("-3", "got '-3', which is negative"),
        (10**400, "without a unit"),
        (-(10**400), "which is negative"),
        (True, "got true"),
        (None, "got nothing"),
        ([1], "got a list"),
        ({}, "got a mapping"),
    ],
)
def test_what_is_no_frequency_is_refused(value: object, reason: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse_quantity(value, fields.FREQUENCY)
    assert reason in caught.value.message()
    assert "a frequency" in caught.value.message()


@pytest.mark.parametrize(
    ("value", "measure", "hint"),
    [
        ("940", fields.FREQUENCY, "write '940 MHz'"),
        (940, fields.FREQUENCY, "write '940 MHz'"),
        (16.5, fields.CAPACITY, "write '16.5 MiB'"),
        ("16 mib", fields.CAPACITY, "did you mean 'MiB'?"),
        ("16 KB", fields.CAPACITY, "did you mean 'kB'?"),
        ("8 TB/sec", fields.BANDWIDTH, "did you mean 'TB/s'?"),
        ("940 mhz", fields.FREQUENCY, "did you mean 'MHz'?"),
        ("5 kHs", fields.FREQUENCY, "did you mean 'kHz'?"),
        ("5 kg", fields.FREQUENCY, ""),
    ],
)
def test_the_right_spelling_is_named(
    value: object, measure: fields.QuantityKind, hint: str
) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse_quantity(value, measure)
    assert caught.value.context is not None
    assert caught.value.context["hint"] == hint


@pytest.mark.parametrize(
    ("value", "number"), [(6, 6), (0, 0), (0.1, Fraction(1, 10)), ("2.50", Fraction(5, 2))]
)
def test_a_number_is_exact(value: object, number: Fraction | int) -> None:
    assert parse_number(value) == number


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.5,
        "-1",
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        -(10**400),
        "1e400",
        "x",
        "",
        True,
        None,
        [],
    ],
)
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="expected a number, zero or more"):
        parse_number(value)


_PREFIXES = {
    "kibi": ("Ki", 2**10),
    "mebi": ("Mi", 2**20),
    "gibi": ("Gi", 2**30),
    "tebi": ("Ti", 2**40),
    "kilo": ("k", 10**3),
    "mega": ("M", 10**6),
    "giga": ("G", 10**9),
    "tera": ("T", 10**12),
    "milli": ("m", "1 / 1000"),
    "micro": ("u = µ- = μ", "1 / 10**6"),
    "nano": ("n", "1 / 10**9"),
    "pico": ("p", "1 / 10**12"),
    "femto": ("f", "1 / 10**15"),
}
_UNITS = {
    "bit": ("b", "[information]", fields.WIDTH),
    "byte": ("B", "8 * bit", fields.WIDTH),
    "second": ("s", "[time]", fields.TIME),
    "hertz": ("Hz", "1 / second", fields.FREQUENCY),
    "joule": ("J", "[energy]", fields.ENERGY),
    "watt": ("W", "joule / second", fields.POWER),
    "meter": ("m", "[length]", fields.NODE),
}
_POWERS = ("", "^2", "**3", " ^ 1", "²")


@pytest.fixture(scope="module")
def registry() -> Any:
    """Return pint with these units and prefixes only."""
    found: Any = pint.UnitRegistry(None, non_int_type=Fraction, autoconvert_to_preferred=False)
    for name, (short, scale) in _PREFIXES.items():
        found.define(f"{name}- = {scale} = {short}-")
    for name, (short, definition, _) in _UNITS.items():
        found.define(f"{name} = {definition} = {short}")
    return found


_WORDS = [
    prefix + name
    for prefix in ("", *(x for n, (short, _) in _PREFIXES.items() for x in (n, short[0:2].strip())))
    for name in (x for n, (short, *_) in _UNITS.items() for x in (n, short, f"{n}s"))
]


@pytest.mark.parametrize("word", [*_WORDS, "µs", "μs", "Hzs"])
def test_every_spelling_is_what_pint_makes_of_it(word: str, registry: Any) -> None:
    one = registry.Quantity(Fraction(1), word)
    measure = next(m for *_, m in _UNITS.values() if one.is_compatible_with(m.unit))
    assert parse_quantity(f"1 {word}", measure) == one.to(measure.unit).magnitude


@given(
    st.lists(
        st.tuples(st.sampled_from("*/"), st.sampled_from(_WORDS), st.sampled_from(_POWERS)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([fields.BANDWIDTH, fields.ENERGY_PER_BIT, fields.AREA, fields.NODE]),
)
def test_products_of_units_are_what_pint_makes_of_them(
    registry: Any, words: list[tuple[str, str, str]], measure: fields.QuantityKind
) -> None:
    text = "".join(f"{sign}{word}{power}" for sign, word, power in words)[1:]
    one = registry.Quantity(Fraction(1), text.replace("²", "**2").replace("^", "**"))
    there = registry.Quantity(Fraction(1), measure.unit)
    if one.dimensionality != there.dimensionality:
        with pytest.raises(PydanticCustomError, match="no unit of that"):
            fields._factor(text, measure, "")
    else:
        assert fields._factor(text, measure, "") == one.to(measure.unit).magnitude


@pytest.mark.parametrize("text", ["MiBs", "MiB/", "/s", "", "MiB s", "MiB//s", "mm^0", "KB", "PB"])
def test_other_texts_are_no_units(text: str, registry: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_quantity(f"1 {text}", fields.CAPACITY)
    if text.isalpha():
        with pytest.raises(pint.UndefinedUnitError):
            registry.Quantity(1, text)
