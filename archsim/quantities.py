"""Numbers for people: four significant digits and an engineering unit.

The JSON of a result has exact values; numbers here are rounded for reading. Bytes use binary
prefixes (1 MiB is 1,048,576 bytes), everything else decimal ones.
"""

from __future__ import annotations

LARGE = ("", "k", "M", "G", "T", "P", "E")
SMALL = ("", "m", "µ", "n", "p", "f", "a")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_UM2_PER_MM2 = 1e6
_PJ_PER_J = 1e12


def engineering(value: float, unit: str, *, digits: int = 4) -> str:
    """Return ``value`` with a decimal prefix: ``engineering(0.00262, "s")`` is ``2.620 ms``.

    Parameters
    ----------
    value : float
        A finite number in ``unit``.
    unit : str
        The unit's symbol without a prefix; empty for a bare count, of which a whole number
        below 1000 is written as it is.
    digits : int
        Significant digits.
    """
    if value == 0:
        return f"0 {unit}".rstrip()
    if not unit and value == int(value) and abs(value) < 1000:
        return f"{value:.0f}"
    power = _exponent(value, digits) // 3
    power = max(1 - len(SMALL), min(power, len(LARGE) - 1))
    prefix = LARGE[power] if power >= 0 else SMALL[-power]
    return f"{_significant(value / 1000.0**power, digits)} {prefix}{unit}".rstrip()


def byte_size(value: float, *, digits: int = 4) -> str:
    """Return ``value`` bytes with a binary prefix.

    Parameters
    ----------
    value : float
        Bytes.
    digits : int
        Significant digits where the number is not whole.

    Examples
    --------
    >>> byte_size(16777216), byte_size(1536)
    ('16 MiB', '1.500 KiB')
    """
    power = 0
    while abs(value) / 1024.0**power >= 1024 and power < len(BINARY) - 1:
        power += 1
    scaled = value / 1024.0**power
    text = f"{scaled:.0f}" if scaled == int(scaled) else _significant(scaled, digits)
    return f"{text} {BINARY[power]}"


def count(value: float) -> str:
    """Return a count with thousands separators; below 100,000 a fraction keeps four decimals.

    Parameters
    ----------
    value : float
        Number; from 1e15 on it is written as a power of ten.
    """
    if abs(value) >= 1e15:
        return f"{value:.6e}"
    if value == int(value) or abs(value) >= 1e5:
        return f"{value:,.0f}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def percent(share: float) -> str:
    """Return a share of one as a percentage: ``percent(0.0129)`` is ``1.3 %``.

    Parameters
    ----------
    share : float
        Share of one, which may exceed 1.
    """
    return f"{100 * share:.1f} %"


def ratio(value: float) -> str:
    """Return a ratio such as ``1.04x``.

    Parameters
    ----------
    value : float
        Three digits of it are shown.
    """
    return f"{_significant(value, 3)}x"


def energy(picojoules: float) -> str:
    """Return picojoules in the nearest unit: ``energy(2.5e9)`` is ``2.500 mJ``.

    Parameters
    ----------
    picojoules : float
        Value of a field ``..._pj``.
    """
    return engineering(picojoules / _PJ_PER_J, "J")


def area(square_micrometres: float) -> str:
    """Return square micrometres as ``mm²`` (``µm²`` below a thousandth of one).

    Parameters
    ----------
    square_micrometres : float
        Value of a field ``..._um2``: ``area(1.2e6)`` is ``1.200 mm²``.
    """
    if 0 < square_micrometres < _UM2_PER_MM2 / 1000:
        return f"{_significant(square_micrometres, 4)} µm²"
    return f"{_significant(square_micrometres / _UM2_PER_MM2, 4)} mm²"


def seconds(value: float) -> str:
    """Return seconds in the nearest unit, but never kiloseconds.

    Parameters
    ----------
    value : float
        Seconds: ``seconds(0.0297)`` is ``29.70 ms``, ``seconds(7200)`` is ``7,200 s``.
    """
    return f"{_significant(value, 4)} s" if value >= 1000 else engineering(value, "s")


def bar(share: float, width: int = 20) -> str:
    """Return a share of one as a bar of ``width`` cells.

    Parameters
    ----------
    share : float
        Share of one; values outside 0 to 1 are clamped.
    width : int
        Characters.

    Examples
    --------
    >>> bar(0.25, width=8)
    '██░░░░░░'
    """
    full = round(max(0.0, min(1.0, share)) * width)
    return "█" * full + "░" * (width - full)


def _exponent(value: float, digits: int) -> int:
    """Return the power of ten of a value that is rounded to ``digits``."""
    return int(f"{abs(value):.{digits - 1}e}".split("e")[1])


def _significant(value: float, digits: int) -> str:
    """Return ``value`` in fixed notation with ``digits`` significant digits."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, digits - 1 - _exponent(value, digits))}f}"
