"""Combinations of a mapping's open choices, and the mappings they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TypeVar

from archsim.spec.mapping import (
    Case,
    ChoiceObjective,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Mapping,
    Spill,
    Tile,
)
from einsum_cascade.memo import cached_property
from einsum_cascade.source import Span


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One combination of alternatives, and the mapping it makes."""

    open: Mapping
    """The mapping with its choices."""
    chosen: tuple[tuple[str, str], ...]
    active: tuple[int, ...]
    """Positions of the cases that apply."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that apply."""
        return tuple(self.open.cases[n] for n in self.active)

    @cached_property
    def shaping(self) -> tuple[int, ...]:
        """Positions of those that change loops: candidates alike in them differ in places only."""
        cases = zip(self.active, self.cases, strict=True)
        return tuple(n for n, case in cases if case.tiles or case.nest or case.einsums)

    @cached_property
    def mapping(self) -> Mapping:
        """The mapping with the cases that apply, one after the other."""
        return _patched(self.open, self.chosen, self.cases)

    @cached_property
    def objective(self) -> ChoiceObjective:
        """What the combination is priced by."""
        found = _with_objectives(self.open.objective, self.cases)
        assert found is not None, "a mapping with choices has an objective"
        return found


def candidates(mapping: Mapping) -> tuple[Candidate, ...]:
    """Combinations that make different mappings, in order."""
    return _candidates(mapping, mapping.choices[0].span if mapping.choices else None)


@lru_cache(maxsize=8)
def _candidates(mapping: Mapping, _: Span | None) -> tuple[Candidate, ...]:
    """As ``candidates``; mappings alike of two files are told apart by a place in them."""
    return tuple(_combinations(mapping))


def _combinations(mapping: Mapping) -> Iterator[Candidate]:
    names = [c.name for c in mapping.choices]
    seen: set[tuple[int, ...]] = set()
    # Per alternative, the cases that it does not rule out.
    allowed = {
        (c.name, alternative): frozenset(
            n
            for n, case in enumerate(mapping.cases)
            if alternative in dict(case.when).get(c.name, (alternative,))
        )
        for c in mapping.choices
        for alternative in c.alternatives
    }
    for picked in product(*(c.alternatives for c in mapping.choices)):
        chosen = dict(zip(names, picked, strict=True))
        active = tuple(sorted(frozenset.intersection(*(allowed[p] for p in chosen.items()))))
        if active not in seen:
            seen.add(active)
            # What no case that applies asks about makes no difference.
            asked = {name for number in active for name, _ in mapping.cases[number].when}
            picks = tuple((n, a) for n, a in chosen.items() if n in asked)
            yield Candidate(open=mapping, chosen=picks, active=active)


def _patched(
    mapping: Mapping, chosen: tuple[tuple[str, str], ...], cases: tuple[Case, ...]
) -> Mapping:
    nests = [c.nest for c in cases if c.nest]
    return replace(
        mapping,
        tiles=_with_tiles(mapping.tiles, (t for case in cases for t in case.tiles)),
        nest=nests[-1] if nests else mapping.nest,
        einsums=_with_einsums(mapping.einsums, tuple(p for c in cases for p in c.einsums)),
        keep=_with_keep(mapping.keep, tuple(k for c in cases for k in c.keep)),
        spill=_with_spills(mapping.spill, cases),
        objective=None,
        choices=(),
        cases=(),
        chosen=chosen,
    )


def _with_tiles(tiles: Iterable[Tile], more: Iterable[Tile]) -> tuple[Tile, ...]:
    """Tiles of a rank stand together, as a file would have them."""
    found: dict[str, dict[str, Tile]] = {}
    for tile in (*tiles, *more):
        found.setdefault(tile.rank, {})[tile.member] = tile
    return tuple(tile for members in found.values() for tile in members.values())


def _with_einsums(
    einsums: tuple[EinsumMapping, ...], patches: tuple[EinsumPatch, ...]
) -> tuple[EinsumMapping, ...]:
    found = {e.einsum: e for e in einsums}
    for patch in patches:
        name = patch.mapping.einsum
        if name not in found:
            found[name] = patch.mapping
            continue
        # A file calls loops what the record calls a nest.
        changes = {
            field: getattr(patch.mapping, "nest" if field == "loops" else field)
            for field in patch.given
        }
        if "loops" in changes:
            changes["nest"] = changes.pop("loops")
        found[name] = replace(found[name], **changes)
    return tuple(found.values())


def _with_keep(keep: tuple[Keep, ...], more: tuple[Keep, ...]) -> tuple[Keep, ...]:
    found = {k.level: k for k in keep}
    for k in more:
        before = found.get(k.level, replace(k, tensors=()))
        tensors = tuple(dict.fromkeys((*before.tensors, *k.tensors)))
        found[k.level] = replace(before, tensors=tensors)
    return tuple(found.values())


def _with_spills(spill: Spill | None, cases: tuple[Case, ...]) -> Spill | None:
    given = [s for s in (spill, *(c.spill for c in cases)) if s is not None]
    if not given:
        return None
    return Spill(
        level=next((s.level for s in reversed(given) if s.level), ""),
        copies=_merged(s.copies for s in given),
        staged=_merged(s.staged for s in given),
        span=given[0].span,
    )


def _with_objectives(
    objective: ChoiceObjective | None, cases: tuple[Case, ...]
) -> ChoiceObjective | None:
    given = [o for o in (objective, *(c.objective for c in cases)) if o is not None]
    if not given:
        return None
    return ChoiceObjective(
        latency_of=next((o.latency_of for o in reversed(given) if o.latency_of), ()),
        start_cycles=_merged(o.start_cycles for o in given),
        first_tiles=_merged(o.first_tiles for o in given),
        span=given[0].span,
    )


_V = TypeVar("_V")


def _merged(parts: Iterable[tuple[tuple[str, _V], ...]]) -> tuple[tuple[str, _V], ...]:
    """Pairs of all parts; later ones replace those of the same name."""
    return tuple({name: value for part in parts for name, value in part}.items())
