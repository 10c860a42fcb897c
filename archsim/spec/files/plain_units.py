"""The units a machine needs, and the usual spellings of them read without pint.

pint reads every spelling and explains the wrong ones, but takes longer to import than most
files take to simulate. ``MiB``, ``GB/s`` and ``um^2`` need no more than a product.
"""

from __future__ import annotations

import re
from fractions import Fraction
from types import MappingProxyType

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
    (("bit", "b"), "[information]", Fraction(1), (1, 0, 0, 0)),
    (("byte", "B"), "8 * bit", Fraction(8), (1, 0, 0, 0)),
    (("second", "s"), "[time]", Fraction(1), (0, 1, 0, 0)),
    (("hertz", "Hz"), "1 / second", Fraction(1), (0, -1, 0, 0)),
    (("joule", "J"), "[energy]", Fraction(1), (0, 0, 1, 0)),
    (("watt", "W"), "joule / second", Fraction(1), (0, -1, 1, 0)),
    (("meter", "m"), "[length]", Fraction(1), (0, 0, 0, 1)),
)
"""Names, what pint is told, and the same as a factor and powers of the four dimensions."""

_Powers = tuple[int, int, int, int]
_NONE: _Powers = (0, 0, 0, 0)

_SPELLED = MappingProxyType(
    {
        prefix + name: (scale * factor, powers)
        for prefixes, scale in (((("",), Fraction(1))), *_PREFIXES)
        for prefix in prefixes
        for names, _, factor, powers in _UNITS
        for name in names
        # Long names go with long names: 'megabyte' and 'MB', not 'mebiB'.
        if not prefix or (prefix == prefixes[0]) == (name == names[0])
    }
)

_FACTOR = re.compile(r"\s*([/*]?)\s*([A-Za-zµμ]+)\s*(?:(?:\^|\*\*)\s*([1-9])|(²))?")


def definitions() -> tuple[str, ...]:
    """What pint is told, a line for each prefix and unit."""
    prefixes = (
        f"{names[0]}- = {scale.numerator} / {scale.denominator} = "
        + " = ".join(f"{name}-" for name in names[1:])
        for names, scale in _PREFIXES
    )
    units = (f"{names[0]} = {told} = {names[1]}" for names, told, _, _ in _UNITS)
    return (*prefixes, *units)


def plain_factor(unit: str, target: str) -> Fraction | None:
    """How many ``target`` one ``unit`` is; None where a spelling or a dimension is not plain.

    Examples
    --------
    >>> plain_factor("KiB", "bit"), plain_factor("kB", "bit")
    (Fraction(8192, 1), Fraction(8000, 1))
    >>> plain_factor("GB/s", "Hz") is None
    True
    """
    one, other = _read(unit), _read(target)
    if one is None or other is None or one[1] != other[1]:
        return None
    return one[0] / other[0]


def _read(text: str) -> tuple[Fraction, _Powers] | None:
    """The product a text stands for; None if it is none of the usual spellings."""
    total, powers, end = Fraction(1), _NONE, 0
    while end < len(text):
        found = _FACTOR.match(text, end)
        if found is None or found[2] not in _SPELLED or bool(found[1]) != bool(end):
            return None
        factor, own = _SPELLED[found[2]]
        power = int(found[3] or (2 if found[4] else 1)) * (-1 if found[1] == "/" else 1)
        total *= factor**power
        a, b, c, d = (p + power * q for p, q in zip(powers, own, strict=True))
        powers, end = (a, b, c, d), found.end()
    return (total, powers) if end else None
