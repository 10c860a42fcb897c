"""Numbers that the file of a machine and of its technology state, with the settings that change
them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from einsum_cascade.yaml.edit import NAME_KEYS, SettingSpan
from einsum_cascade.yaml.schema import Fields
from einsum_cascade.yaml.source import Path, YamlNode, YamlScalar

_WRITTEN = re.compile(r"([-+.0-9_eE]*[0-9.])(.*)", re.DOTALL)
"""Number, and blanks and unit, as a file writes both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedNumber:
    """Number of a file, by the path that ``--set`` takes."""

    field: str
    """Path of the field, with dots, below the kind of its file: ``architecture.clock``."""
    text: str
    """Number and unit as they are written."""
    whole: int | None
    """Number in its base unit if it must be whole, such as bytes or elements; else None."""
    is_set: bool = False
    """True if a setting gives the number, and no file."""

    @property
    def value(self) -> Fraction:
        """Number in the unit that is written."""
        return Fraction(self._parts[0].replace("_", ""))

    @property
    def _parts(self) -> tuple[str, str]:
        found = _WRITTEN.fullmatch(self.text)
        assert found is not None, f"{self.text} begins with a number"
        return found[1], found[2]

    def times(self, factor: Fraction) -> str | None:
        """Return another number near a multiple of this one, with the unit as it is written.

        Returns
        -------
        str or None
            A whole number is rounded; None if there is no other positive one.
        """
        if self.whole is not None:
            rounded = round(self.whole * factor)
            if rounded in (0, self.whole):
                return None
            factor = Fraction(rounded, self.whole)
        number = self.value * factor
        exact = _decimal(number) if self.whole is not None else f"{float(number):.15g}"
        return exact + self._parts[1]

    def ratio(self, text: str) -> float:
        """Return the ratio of another number in the same unit to this one."""
        return float(StatedNumber(field="", text=text, whole=None).value / self.value)


def _decimal(number: Fraction) -> str:
    """Return a fraction whose denominator has the factors 2 and 5 alone as a decimal number."""
    places = 0
    while number.denominator != 1 and places < 40:
        number, places = 10 * number, places + 1
    digits = str(int(number)).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def stated_numbers(fields: Fields, root: YamlNode, path: Path) -> Iterator[StatedNumber]:
    """Yield every number of a section in the order of its fields.

    Parameters
    ----------
    fields : Fields
        Checked fields of the section.
    root : YamlNode
        Tree of the file.
    path : Path
        Path of the section below the root.
    """
    yield from _numbers(fields, root.at(path), ".".join(map(str, path)))


def _numbers(value: Any, node: YamlNode | None, path: str) -> Iterator[StatedNumber]:
    if node is None or isinstance(value, bool | str):
        return
    if isinstance(value, int | float | Fraction):
        if isinstance(node, YamlScalar):
            whole = value if isinstance(value, int) else None
            is_set = isinstance(node.span, SettingSpan)
            yield StatedNumber(field=path, text=node.text, whole=whole, is_set=is_set)
    elif isinstance(value, tuple):
        for at, inner in enumerate(value):
            names = (getattr(inner, key, None) for key in NAME_KEYS)
            name = next((n for n in names if n is not None), at)
            yield from _numbers(inner, node.child(at), f"{path}.{name}")
    else:
        inside = value.items() if isinstance(value, dict) else _given(value)
        for key, inner in inside:
            yield from _numbers(inner, node.child(key), f"{path}.{key}")


def _given(fields: Any) -> Iterator[tuple[str, Any]]:
    """Yield the key and the value of each field that a file states; nothing of anything else."""
    if isinstance(fields, Fields):
        for name, known in type(fields).model_fields.items():
            if name in fields.model_fields_set:
                yield known.alias or name, getattr(fields, name)
