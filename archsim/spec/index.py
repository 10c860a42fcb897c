"""Index of the built-in mappings: finds the mappings of a cascade without loading them.

Reading all built-in mapping files takes longer than most simulations. The index therefore reads
only the few fields that decide a default mapping, and the reference of each cascade. The files are
part of the package, so the index is built once.
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
    """Entry of a built-in mapping: the fields that decide whether it is a default."""

    name: str
    """Built-in name, as ``Mapping.load`` takes it."""
    cascade: str
    """Built-in cascade that the mapping is for."""
    schedule: str
    """Kind of the mapping's schedule: ``pipelined``, ``phases`` or ``sequential``."""
    machine: str = ""
    """Only machine that the mapping is for; empty: any machine with the roles that the mapping
    names."""

    def load(self) -> Mapping:
        """Load the whole mapping."""
        return Mapping.load(self.name)


@cache
def builtin_mappings() -> tuple[MappingEntry, ...]:
    """Return all built-in mappings in the order they are tried: pipelined first, then by name.

    Examples
    --------
    >>> [entry.name for entry in builtin_mappings() if entry.cascade == "attention-3pass"]
    ['flat', 'flat-granularities', 'unfused']
    """
    found = (_entry(name) for name in builtin_names("mappings"))
    return tuple(sorted(found, key=lambda entry: (entry.schedule != "pipelined", entry.name)))


def mapping_entries(cascade: str) -> tuple[MappingEntry, ...]:
    """Return the built-in mappings of a cascade for any machine; the first is the default.

    Parameters
    ----------
    cascade : str
        A built-in name. A cascade file has no built-in mappings.
    """
    return tuple(e for e in builtin_mappings() if e.cascade == cascade and not e.machine)


def interchangeable_entries(cascade: str) -> tuple[MappingEntry, ...]:
    """Return the mappings of all built-in cascades that name the reference of the given cascade.

    They come in the order in which they are tried.

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
    """Return whether two cascades (built-in names or files) are equal or name an equal reference.

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
    """Return the name of a cascade's reference function; empty if it has none.

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
    # A file without a schedule has the default one.
    schedule = fields.get("schedule", {"kind": Schedule().kind})
    cascade, kind, machine = fields["cascade"], schedule["kind"], fields.get("machine", "")
    return MappingEntry(name=name, cascade=cascade, schedule=kind, machine=machine)


def _fields(source: Source, keys: tuple[str, ...], indent: int) -> dict[str, Any]:
    """Return the values of some fields of a packaged file; ``indent`` is that of their names."""
    lines = list(_lines(source.text, keys, indent))
    found: dict[str, Any] = (
        read_yaml(Source(source.name, "\n".join(lines))).plain() if lines else {}
    )
    return found


def _lines(text: str, keys: tuple[str, ...], indent: int) -> Iterator[str]:
    """Yield the lines that begin the fields ``keys``, and the lines indented below these."""
    heads = tuple(f"{' ' * indent}{key}:" for key in keys)
    inside = False
    for line in text.splitlines():
        if line.strip() and not line[: indent + 1].isspace():
            inside = line.startswith(heads)
        if inside:
            yield line
