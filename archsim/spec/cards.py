"""Short cards of specifications, as Jupyter shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..document import Column, Document, Fact, Table
from ..quantities import byte_size, engineering

if TYPE_CHECKING:
    from .arch import Architecture, Memory, ProcessingArray
    from .mapping import Mapping
    from .technology import Technology


def architecture_card(machine: Architecture) -> Document:
    """A machine: clock and word, its memories outermost first, its arrays and what they do."""
    memories = Table(
        title="memories",
        columns=(Column("memory", "name"), Column("capacity"), Column("bandwidth")),
        rows=tuple((m.name, _capacity(m), _bandwidth(m)) for m in machine.memories),
    )
    arrays = Table(
        title="arrays",
        columns=(Column("array", "name"), Column("elements", "text"), Column("operations", "text")),
        rows=tuple((a.name, _shape(a), _few(o.kind for o in a.operations)) for a in machine.arrays),
    )
    facts = [
        Fact("clock", engineering(float(machine.clock_hz), "Hz", digits=3)),
        Fact("word", f"{machine.word_bits} bit"),
        Fact("technology", machine.technology.name, f"{machine.technology.node_nm} nm"),
    ]
    if machine.mapping is not None:
        facts.append(Fact("designed for", machine.mapping))
    return Document(
        title=f"architecture {machine.name}",
        facts=tuple(facts),
        tables=((memories,), (arrays,)),
    )


def _capacity(memory: Memory) -> str:
    return "unlimited" if memory.capacity_bytes is None else byte_size(memory.capacity_bytes)


def _bandwidth(memory: Memory) -> str:
    found = memory.bandwidth_bytes_per_s
    return "unlimited" if found is None else engineering(float(found), "B/s")


def _shape(array: ProcessingArray) -> str:
    return " x ".join(f"{d.size} {d.name}" for d in array.dimensions)


def _few(names: Iterable[str], most: int = 12) -> str:
    """Some names, and how many more there are."""
    found = list(names)
    more = f", and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def mapping_card(mapping: Mapping) -> Document:
    """A mapping: its cascade and schedule, its tiles, shared loops and Einsums by array."""
    arrays: dict[str, list[str]] = {}
    for e in mapping.einsums:
        arrays.setdefault(e.array, []).append(e.einsum)
    facts = [
        Fact("cascade", mapping.cascade),
        Fact("schedule", mapping.schedule.kind, f"lookahead {mapping.schedule.lookahead}")
        if mapping.schedule.kind == "pipelined"
        else Fact("schedule", mapping.schedule.kind),
    ]
    if mapping.tiles:
        facts.append(Fact("tiles", ", ".join(f"{t.member} = {t.size}" for t in mapping.tiles)))
    for level in mapping.nest:
        facts.append(Fact(f"loops at {level.level}", ", ".join(level.loops) or "none"))
    facts += [Fact(f"on {array}", _few(einsums)) for array, einsums in arrays.items()]
    if mapping.choices:
        facts.append(Fact("open choices", ", ".join(c.name for c in mapping.choices)))
    return Document(title=f"mapping {mapping.name}", facts=tuple(facts))


def technology_card(technology: Technology) -> Document:
    """A technology: its node, how many actions and classes of memory it bills."""
    facts = (
        Fact("node", f"{technology.node_nm} nm"),
        Fact("actions", str(len(technology.actions)), _few(a.name for a in technology.actions)),
        Fact("memories", str(len(technology.memories)), _few(m.name for m in technology.memories)),
    )
    return Document(title=f"technology {technology.name}", facts=facts)
