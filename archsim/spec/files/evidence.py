"""Evidence in architecture files: paths of numbers and sections, listed by kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from einsum_cascade.errors import Problem
from einsum_cascade.yaml.schema import Fields
from einsum_cascade.yaml.source import FilePlace, YamlScalar

from ..evidence import KINDS, Evidence
from .fields import Names
from .numbers import StatedNumber


class EvidenceFields(Fields):
    """Fields for the evidence of a machine's numbers.

    Each lists paths of fields or of sections; the longest path that covers a number counts.
    """

    measured: Names = ()
    """Numbers measured on silicon, or fitted to such measurements."""
    published: Names = ()
    """Numbers that the vendor or a paper states."""
    derived: Names = ()
    """Numbers computed from published ones."""
    assumed: Names = ()
    """Numbers without a source."""


def read_evidence(
    spec: EvidenceFields | None, numbers: Mapping[str, StatedNumber], place: FilePlace
) -> tuple[Evidence, list[Problem]]:
    """Return the evidence for the numbers of a machine, and the problems of its entries.

    A number that a setting changed is assumed. An entry may cover no number: a machine that extends
    the file, or a setting, may lack the part or call it otherwise.

    Parameters
    ----------
    spec : EvidenceFields or None
        Fields of the section; None if the file has none.
    numbers : mapping of str to StatedNumber
        All numbers of the machine, by their paths below it.
    place : FilePlace
        Place of the section.
    """
    known = _at_or_above(numbers)
    listed = [(path, kind) for kind in KINDS for path in getattr(spec, kind, ())]
    entries = tuple((path, kind) for path, kind in listed if path in known)
    changed = (path for path, number in numbers.items() if number.is_set)
    found = Evidence(entries=entries, numbers=tuple(numbers)).assuming(*changed)
    return found, list(_problems(spec, place)) if spec else []


def _problems(spec: EvidenceFields, place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each path that is listed before."""
    first: dict[str, str] = {}
    for kind in KINDS:
        for at, path in enumerate(getattr(spec, kind)):
            if path in first:
                here = place.below(kind)
                if not isinstance(place.root.at(here.path), YamlScalar):
                    here = here.below(at)
                yield here.problem(f"'{path}' is listed as {first[path]} already")
            first.setdefault(path, kind)


def _at_or_above(paths: Iterable[str]) -> dict[str, None]:
    """Return the paths and those of all sections around them."""
    found: dict[str, None] = {}
    for path in paths:
        while path and path not in found:
            found[path] = None
            path = path.rpartition(".")[0]
    return found
