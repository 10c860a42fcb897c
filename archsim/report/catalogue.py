"""What there is to name: the built-in specifications and the files a user points at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from einsum_cascade.errors import Problem, SpecError, nearest
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import (
    Kind,
    builtin_names,
    builtin_source,
    is_file_name,
    read_source,
    similar_builtins,
)
from einsum_cascade.yaml.source import YamlMapping, YamlScalar, read_yaml


class SpecKind(NamedTuple):
    """A kind of specification: as users say it, as its file's key, as its folder."""

    plural: str
    singular: str
    folder: Kind


KINDS = (
    SpecKind("cascades", "cascade", "cascades"),
    SpecKind("architectures", "architecture", "architectures"),
    SpecKind("mappings", "mapping", "mappings"),
    SpecKind("workloads", "workload", "workloads"),
    SpecKind("technologies", "technology", "technology"),
    SpecKind("reproductions", "reproduction", "reproductions"),
)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One specification: its kind (in the singular), its name and its text."""

    kind: str
    name: str
    source: Source

    @property
    def description(self) -> str:
        """The file's ``title``, or an empty string."""
        return self._text("title")

    @property
    def unverified(self) -> str:
        """What the file says could not be compared with its source, or an empty string."""
        return self._text("unverified")

    def _text(self, key: str) -> str:
        root = read_yaml(self.source)
        for node in (root, root.child(self.kind)):
            text = node.child(key) if node is not None else None
            if isinstance(text, YamlScalar):
                return " ".join(text.text.split())
        return ""


def entries(plural: str) -> tuple[CatalogueEntry, ...]:
    """The built-in specifications of a kind, sorted by name.

    Parameters
    ----------
    plural : str
        As ``archsim list`` has it: one of ``KINDS``, such as ``architectures``.
    """
    kind = next(k for k in KINDS if k.plural == plural)
    return tuple(_builtin(kind, name) for name in builtin_names(kind.folder))


def find(name: str) -> tuple[CatalogueEntry, ...]:
    """Every specification a name may mean: a built-in of any kind, or one file.

    ``architecture/flat`` (or ``architectures/flat``) is the built-in of that kind alone. A
    reproduction, called after what it reproduces, gives way to anything else of its name.

    Raises
    ------
    SpecError
        There is none; says the nearest name.
    """
    word, _, rest = name.partition("/")
    for kind in KINDS:
        if word in kind and rest in builtin_names(kind.folder):
            return (_builtin(kind, rest),)
    if is_file_name(name):
        return (_file(Path(name)),)
    found = tuple(_builtin(k, name) for k in KINDS if name in builtin_names(k.folder))
    found = tuple(e for e in found if e.kind != "reproduction") or found
    if not found:
        close = nearest(name, sorted({n for k in KINDS for n in similar_builtins(k.folder, name)}))
        kinds = ", ".join(k.plural for k in KINDS)
        hint = f"did you mean '{close}'?" if close else f"'archsim list KIND' names all: {kinds}"
        raise SpecError(f"nothing built in is called '{name}'; {hint}")
    return found


def _builtin(kind: SpecKind, name: str) -> CatalogueEntry:
    return CatalogueEntry(kind.singular, name, builtin_source(kind.folder, name))


def _file(path: Path) -> CatalogueEntry:
    source = read_source(path)
    return CatalogueEntry(_kind_of(source), str(path), source)


def _kind_of(source: Source) -> str:
    """The kind a file's keys say; a workload and a mapping may name a cascade too."""
    root = read_yaml(source)
    keys = root.keys if isinstance(root, YamlMapping) else ()
    for kind in reversed(KINDS):
        if kind.singular in keys:
            return kind.singular
    if "model_type" in keys:
        return "workload"  # a model's own configuration
    expected = ", ".join(f"'{k.singular}'" for k in KINDS)
    raise SpecError(
        Problem(f"expected one of the keys {expected}, got {root.kind} without", root.span)
    )
