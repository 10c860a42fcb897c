"""Writer of mapping files: the inverse of ``load_mapping``.

``mapping_dict`` returns the content of the file as plain Python objects. ``mapping_text`` lays this
content out as people write it. Each Einsum, level and case has one line, or several if one would be
too long.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from einsum_cascade.errors import SpecError
from einsum_cascade.notation import quoted
from einsum_cascade.yaml.library import is_file_name
from einsum_cascade.yaml.source import resolve

from ..mapping import (
    BALANCED,
    FIT,
    REST,
    Case,
    ChoiceObjective,
    EinsumMapping,
    Factors,
    Mapping,
    NestLevel,
    PhaseTask,
    Schedule,
    SpatialRank,
    Spill,
    Tile,
)
from .mapping import KEY

Plain = dict[str, Any]

_WIDTH = 99
_LONGEST_ALIGNED = 16
"""Length of the longest name that may widen the column in which values begin."""
_OPENED = (("nest", 1), ("einsums", 1), ("keep", 1), ("choices", 1), ("cases", 2), ("nests", 3))
"""Sections written on several lines even where one would do, with the number of levels to open."""
_ALIGNED = ("einsums", "choices")
# Characters of a plain YAML scalar that is safe inside [ ] and { }, too.
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*")


def mapping_text(mapping: Mapping, folder: str | os.PathLike[str] = "") -> str:
    """Return the YAML text of a mapping file.

    Alternatives that binding chose are named in a comment: a file has no field for them. The text
    loads as a mapping that is equal in all other fields.

    Parameters
    ----------
    mapping : Mapping
        Mapping to write. If its cascade is a file, the path is relative to the working folder.
    folder : str or path
        Folder of the written file, from which its paths start; the working folder by default.

    Raises
    ------
    SpecError
        As ``mapping_dict``.
    """
    if folder and is_file_name(mapping.cascade) and not Path(mapping.cascade).is_absolute():
        mapping = replace(mapping, cascade=os.path.relpath(mapping.cascade, folder))
    lines = [*_comment(mapping.chosen), f"{KEY}:"]
    opened = dict(_OPENED)
    for key, value in mapping_dict(mapping).items():
        aligned = key in _ALIGNED
        lines += _field(f"{key}:", value, 2, opened=opened.get(key, 0), aligned=aligned)
    return "\n".join(lines) + "\n"


def mapping_dict(mapping: Mapping) -> Plain:
    """Return the content of a mapping file below ``mapping:``, ready for JSON.

    ``{"mapping": mapping_dict(m)}``, written as JSON or YAML, is a mapping file. A level of an
    Einsum's own loops without a loop is left out, as when a file is read.

    Raises
    ------
    SpecError
        No file can hold the mapping: a name occurs twice where a file has one place, or tiles of
        one rank are not next to each other.
    """
    head = _given(name=mapping.name, cascade=mapping.cascade, machine=mapping.machine or None)
    if mapping.nests:
        return head | {"nests": [_nest_fields(nest) for nest in mapping.nests]}
    return head | _nest_fields(mapping)


# ------------------------------------------------------------------------------ fields


def _nest_fields(mapping: Mapping) -> Plain:
    """Return the fields of one nest, as a file states them."""
    einsums = (
        (e.einsum, {name: value for name, value in _einsum_fields(e).items() if value})
        for e in mapping.einsums
    )
    kept = ((k.level, [*k.tensors]) for k in mapping.keep)
    return _given(
        choices=_by_name("choice", ((c.name, [*c.alternatives]) for c in mapping.choices)) or None,
        objective=_objective(mapping.objective),
        partition=_partition(mapping.tiles) or None,
        nest=_nest(mapping.nest) or None,
        einsums=_by_name("Einsum", einsums),
        keep=_by_name("what is kept in", kept) or None,
        schedule=_schedule(mapping.schedule),
        spill=_spill(mapping.spill),
        cases=[_case(c) for c in mapping.cases] or None,
    )


def _given(**fields: Any) -> Plain:
    return {name: value for name, value in fields.items() if value is not None}


def _by_name(what: str, pairs: Iterable[tuple[str, Any]]) -> Plain:
    found: Plain = {}
    for name, value in pairs:
        if name in found:
            raise SpecError(f"a mapping file has one place for {what} '{name}', not two")
        found[name] = value
    return found


def _one_or_more(names: Iterable[str]) -> str | list[str]:
    """Return a single name as text, and several names as a list."""
    found = [*names]
    return found[0] if len(found) == 1 else found


def _named(what: str, pairs: Iterable[tuple[str, Iterable[str]]]) -> Plain:
    return _by_name(what, ((name, _one_or_more(names)) for name, names in pairs))


def _partition(tiles: Iterable[Tile]) -> Plain:
    return _by_name(
        "the tiles of",
        (
            (rank, _by_name("tile", ((t.member, _size(t)) for t in members)))
            for rank, members in groupby(tiles, key=lambda t: t.rank)
        ),
    )


def _size(tile: Tile) -> int | str:
    return tile.size if isinstance(tile.size, int | str) else str(tile.size)


def _nest(nest: Iterable[NestLevel]) -> list[Plain]:
    return [
        {"level": n.level, "loops": [*n.loops]}
        | ({"spatial": _partitioned(n)} if n.spatial else {})
        | ({"ring": _one_or_more(n.ring)} if n.ring else {})
        for n in nest
    ]


def _partitioned(level: NestLevel) -> Plain:
    """Return the partitioned ranks by the name of their cores, with numbers of parts if any is
    stated."""
    found: Plain = {}
    for instances, ranks in groupby(level.spatial, key=lambda s: s.instances):
        parts = _by_name(f"{instances}: rank", ((s.rank, _parts(s)) for s in ranks))
        if instances in found:
            raise SpecError(f"a mapping file has one place for '{instances}', not two")
        stated = any(n != REST for n in parts.values())
        found[instances] = parts if stated else _one_or_more(parts)
    return found


def _parts(spatial_rank: SpatialRank) -> int | str:
    """Return the number of parts of a rank as a file states it."""
    if not spatial_rank.balanced:
        return spatial_rank.parts or REST
    return BALANCED if spatial_rank.parts is None else f"{spatial_rank.parts} {BALANCED}"


def _einsum_fields(e: EinsumMapping) -> Plain:
    return {
        "array": e.array,
        "spatial": _named(f"{e.einsum}: dimension", e.spatial),
        "loops": _own_loops(e),
        "outside": _one_or_more(e.outside),
        "bypass": _named(f"{e.einsum}: bypassed level", e.bypass),
    }


def _own_loops(e: EinsumMapping) -> list[str] | Plain:
    """Return an Einsum's own loops; they are a plain list if no level is named."""
    nest = [n for n in e.nest if n.loops]
    if [n.level for n in nest] in ([], [""]):
        return [rank for n in nest for rank in n.loops]
    return _named(f"{e.einsum}: the loops at", ((n.level, n.loops) for n in nest))


def _schedule(schedule: Schedule) -> Plain:
    stated = schedule.kind == "pipelined" or schedule.lookahead != FIT
    return _given(
        kind=schedule.kind,
        lookahead=schedule.lookahead if stated else None,
        groups=[[_task(t) for t in group] for group in schedule.groups] or None,
        exposes=None if schedule.exposes is None else [*schedule.exposes],
    )


def _task(task: PhaseTask) -> str:
    return f"{task.einsum}@{task.shift:+d}" if task.shift else task.einsum


def _spill(spill: Spill | None) -> Plain | None:
    if spill is None:
        return None
    return _given(
        level=spill.level or None,
        copies=_by_name("the copies of", spill.copies) or None,
        staged=_elements("what is staged of", spill.staged) or None,
    )


def _objective(objective: ChoiceObjective | None) -> Plain | None:
    if objective is None:
        return None
    return _given(
        latency_of=[*objective.latency_of] or None,
        start_cycles=_by_name("the start of", objective.start_cycles) or None,
        first_tiles=_elements("the first tiles of", objective.first_tiles) or None,
    )


def _elements(what: str, pairs: Iterable[tuple[str, Factors]]) -> Plain:
    return _by_name(what, ((name, [*factors]) for name, factors in pairs))


def _case(case: Case) -> Plain:
    patches = (
        (
            p.mapping.einsum,
            {name: v for name, v in _einsum_fields(p.mapping).items() if name in p.given},
        )
        for p in case.einsums
    )
    return _given(
        when=_named("a case about", case.when),
        partition=_partition(case.tiles) or None,
        nest=_nest(case.nest) or None,
        einsums=_by_name("Einsum", patches) or None,
        keep=_named("what is kept in", ((k.level, k.tensors) for k in case.keep)) or None,
        spill=_spill(case.spill),
        objective=_objective(case.objective),
    )


# ------------------------------------------------------------------------------ layout


def _comment(chosen: Iterable[tuple[str, str]]) -> list[str]:
    stated = ", ".join(f"{_scalar(name)} {_scalar(what)}" for name, what in chosen)
    text = f"Chosen by the objective: {stated}."
    return wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ") if stated else []


def _field(
    head: str, value: Any, indent: int, *, opened: int = 0, aligned: bool = False
) -> Iterator[str]:
    """Yield the lines of a field: one line if the value fits and its levels need not be opened."""
    start = " " * indent + head
    line = f"{start} {_flow(value)}"
    if not value or not isinstance(value, dict | list) or (opened < 1 and len(line) <= _WIDTH):
        yield line
    elif isinstance(value, dict):
        yield start.rstrip()
        yield from _fields(value, indent + 2, opened=opened - 1, aligned=aligned)
    elif any(isinstance(item, dict | list) for item in value):
        yield start.rstrip()
        for item in value:
            yield from _item(item, indent + 2, opened=opened - 1)
    else:
        yield from _wrapped(f"{start} [", value)


def _fields(value: Plain, indent: int, *, opened: int, aligned: bool = False) -> Iterator[str]:
    heads = {name: f"{_scalar(name)}:" for name in value}
    lengths = [len(h) for h in heads.values() if len(h) <= _LONGEST_ALIGNED]
    width = max(lengths, default=0) if aligned else 0
    for name, below in value.items():
        yield from _field(heads[name].ljust(width), below, indent, opened=opened)


def _item(item: Any, indent: int, *, opened: int) -> Iterator[str]:
    """Yield the lines of a list's item; an opened item's first field stands behind the dash."""
    fits = indent + 2 + len(_flow(item)) <= _WIDTH
    if not item or not isinstance(item, dict) or (opened < 1 and fits):
        yield from _field("-", item, indent)
        return
    first, *rest = _fields(item, indent + 2, opened=opened - 1)
    yield f"{' ' * indent}- {first.lstrip()}"
    yield from rest


def _wrapped(start: str, items: list[Any]) -> Iterator[str]:
    """Yield the lines of a list that needs several; items are aligned below the first one."""
    line, empty = start, True
    for text in (*(f"{_flow(item)}, " for item in items[:-1]), f"{_flow(items[-1])}]"):
        if not empty and len(line) + len(text.rstrip()) > _WIDTH:
            yield line.rstrip()
            line = " " * len(start)
        line, empty = line + text, False
    yield line


def _flow(value: Any) -> str:
    match value:
        case dict():
            return f"{{{', '.join(f'{_scalar(k)}: {_flow(v)}' for k, v in value.items())}}}"
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case str():
            return _scalar(value)
        case _:
            return str(value)


def _scalar(text: str) -> str:
    """Return a text as a YAML scalar: plain if YAML 1.1 and 1.2 both read it as that text."""
    return text if _PLAIN.fullmatch(text) and _is_word(text) else quoted(text)


def _is_word(text: str) -> bool:
    others = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], ())
    return resolve(text) == text and not any(pattern.match(text) for _, pattern in others)
