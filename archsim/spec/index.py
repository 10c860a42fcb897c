"""An index of what ships: which built-in mapping is for which cascade, without loading them.

Reading all built-in mapping files takes longer than most simulations. What a default is
chosen by stands in two fields of each, and what makes cascades interchangeable in one; these
are read by themselves. The files are part of the package, so the index is made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.errors import CascadeError
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import builtin_names, builtin_source, is_file_name
from einsum_cascade.yaml.source import read_yaml

from .mapping import Mapping, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingEntry:
    """What the index knows of a built-in mapping."""

    name: str
    """Its built-in name: ``Mapping.load`` takes it."""
    cascade: str
    """The built-in cascade that it maps."""
    schedule: str
    """The kind of its schedule: ``pipelined``, ``phases`` or ``sequential``."""
    machine: str = ""
    """The only architecture that it is for; empty: any that has the roles that it names."""

    def load(self) -> Mapping:
        """The whole mapping."""
        return Mapping.load(self.name)


@cache
def builtin_mappings() -> tuple[MappingEntry, ...]:
    """All built-in mappings in the order in which they are tried: pipelined first, then by name.

    Examples
    --------
    >>> [entry.name for entry in builtin_mappings() if entry.cascade == "attention-3pass"]
    ['flat', 'unfused']
    """
    found = (_entry(name) for name in builtin_names("mappings"))
    return tuple(sorted(found, key=lambda entry: (entry.schedule != "pipelined", entry.name)))


def mapping_entries(cascade: str) -> tuple[MappingEntry, ...]:
    """The built-in mappings of a cascade for any machine; the first is its default.

    Parameters
    ----------
    cascade : str
        A built-in name. A file has none, whatever its cascade is called.
    """
    return tuple(e for e in builtin_mappings() if e.cascade == cascade and not e.machine)


def interchangeable_entries(cascade: str) -> tuple[MappingEntry, ...]:
    """Built-in mappings of the cascades that compute what ``cascade`` does, in order of choice.

    Parameters
    ----------
    cascade : str
        A built-in name or a file.

    Raises
    ------
    CascadeError
        There is no such cascade, or it is a file that is wrong.

    Examples
    --------
    >>> [entry.name for entry in interchangeable_entries("lightning-attention-step")]
    ['lightning-attention-step']
    """
    reference_of(cascade)
    free = (e for e in builtin_mappings() if not e.machine)
    return tuple(e for e in free if compute_the_same(cascade, e.cascade))


def compute_the_same(cascade: str, other: str) -> bool:
    """Whether two cascades (built-in names or files) name the same reference, or are one.

    Raises
    ------
    CascadeError
        There is no such cascade, or it is a file that is wrong.

    Examples
    --------
    >>> compute_the_same("attention-1pass", "attention-3pass")
    True
    >>> compute_the_same("attention-1pass", "attention-causal")
    False
    """
    reference = reference_of(cascade)
    alike = bool(reference) and reference_of(other) == reference
    return other == cascade or alike


def reference_of(cascade: str) -> str:
    """The reference that a cascade names, which says what it computes; empty without one.

    Raises
    ------
    CascadeError
        There is no such cascade, or it is a file that is wrong.
    """
    if is_file_name(cascade):
        return Cascade.load(cascade).program.reference
    return _builtin_reference(cascade)


@cache
def _builtin_reference(cascade: str) -> str:
    source = builtin_source("cascades", cascade, CascadeError)
    return str(_fields(source, ("reference",), indent=0).get("reference", ""))


def _entry(name: str) -> MappingEntry:
    keys = ("cascade", "schedule", "machine")
    fields = _fields(builtin_source("mappings", name), keys, indent=2)
    # A file that says nothing of its schedule has that of any other mapping.
    schedule = fields.get("schedule", {"kind": Schedule().kind})
    return MappingEntry(
        name=name,
        cascade=fields["cascade"],
        schedule=schedule["kind"],
        machine=fields.get("machine", ""),
    )


def _fields(source: Source, keys: tuple[str, ...], indent: int) -> dict[str, Any]:
    """Some fields of a packaged file, which stand ``indent`` spaces from the left."""
    lines = list(_lines(source.text, keys, indent))
    found: dict[str, Any] = (
        read_yaml(Source(source.name, "\n".join(lines))).plain() if lines else {}
    )
    return found


def _lines(text: str, keys: tuple[str, ...], indent: int) -> Iterator[str]:
    """The lines of those fields, and what is indented below them."""
    heads = tuple(f"{' ' * indent}{key}:" for key in keys)
    inside = False
    for line in text.splitlines():
        if line.strip() and not line[: indent + 1].isspace():
            inside = line.startswith(heads)
        if inside:
            yield line
