"""Evidence in architecture files: paths of numbers and sections, listed by kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from einsum_cascade.errors import Problem, did_you_mean, nearest
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

    A number that a setting changed is assumed. An entry that another file states may cover no
    number: the machine that extends this file may lack the part.

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
    found = Evidence(entries=entries, numbers=tuple(numbers))
    problems = list(_problems(spec, known, place)) if spec else []
    changed = (path for path, number in numbers.items() if number.is_set)
    return found.assuming(*changed), problems


def _problems(spec: EvidenceFields, known: Collection[str], place: FilePlace) -> Iterator[Problem]:
    """Yield a problem for each path that covers no number, or is listed before."""
    first: dict[str, str] = {}
    for kind in KINDS:
        for at, path in enumerate(getattr(spec, kind)):
            here = place.below(kind)
            if not isinstance(place.root.at(here.path), YamlScalar):
                here = here.below(at)
            if path in first:
                yield here.problem(f"'{path}' is listed as {first[path]} already")
            elif path not in known and here.span.source == place.root.span.source:
                text = f"'{path}' is not a number of the machine, nor a section with numbers"
                yield here.problem(text, _nearest(path, known))
            first.setdefault(path, kind)


def _nearest(path: str, known: Collection[str]) -> str:
    """Return a hint that names the nearest path, or the paths at the first step that is wrong."""
    if nearest(path, known) is not None:
        return did_you_mean(path, known)
    above = next((p for p in _at_or_above([path]) if p in known), "")
    return did_you_mean(path, [p for p in known if p.rpartition(".")[0] == above])


def _at_or_above(paths: Iterable[str]) -> dict[str, None]:
    """Return the paths and those of all sections around them."""
    found: dict[str, None] = {}
    for path in paths:
        while path and path not in found:
            found[path] = None
            path = path.rpartition(".")[0]
    return found
