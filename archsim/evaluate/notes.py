"""What a result says in sentences: what was chosen, assumed, left out, and not billed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from einsum_cascade.ir import Name, Parameter, walk
from einsum_cascade.operations import kind_and_format, operation_label
from einsum_cascade.rewrites.products import hoistable

from ..bound.record import Bound
from ..cost.estimators import unlike_word
from ..cost.leakage import leakage_w
from ..cost.spill import spill_note
from ..spec.arch import ProcessingArray


def _stand_ins(bound: Bound, array: ProcessingArray) -> str:
    """Which operations the array's table lacks, and what is done and billed instead."""
    found: list[str] = []
    for name in _needed(bound, array):
        if array.listed(name) is None:
            operation = array.operation(name)
            assert operation is not None, "operations are checked when binding"
            unlisted = kind_and_format(name)[0] == "copy"
            how = "a cycle, unbilled" if unlisted else f"done as {operation.kind}"
            found.append(f"{operation_label(name)} is not listed ({how})")
    return "; ".join(found)


def _needed(bound: Bound, array: ProcessingArray) -> list[str]:
    """Names of the operations that a mapping does on an array."""
    return sorted({n for e in bound.einsums if e.array.name == array.name for n, _ in e.operations})


def _formats(bound: Bound) -> tuple[str, ...]:
    """What is said of formats: the same at any size."""
    return tuple(_told_formats(bound))


def _told_formats(bound: Bound) -> Iterator[str]:
    """The formats of tensors, and in which others operations are done or priced."""
    if not bound.program.formats.stated:
        yield from unlike_word(bound.architecture)
        return
    yield f"formats: {bound.program.formats}"
    for array in bound.architecture.arrays:
        anyhow: dict[str, None] = {}
        formats: dict[str, None] = {}
        for name in _needed(bound, array):
            kind, fmt = kind_and_format(name)
            operation = array.operation(name)
            if operation is None or kind == "copy":
                continue
            if not operation.format:
                anyhow[kind], formats[fmt or "words"] = None, None
            elif fmt and operation.format != fmt:
                yield f"{array.name}: {operation_label(name)} is done in {operation.format}"
        if anyhow:
            named = ", ".join(formats)
            yield (
                f"{array.name} names no formats of its own for {', '.join(anyhow)}, which cost the"
                f" same in {named}"
            )


def _mask_parameters(bound: Bound) -> list[Parameter]:
    """Parameters on which masks, and so the counts, depend."""
    used = {
        node.name
        for e in bound.einsums
        if e.einsum.where is not None
        for node in walk(e.einsum.where)
        if isinstance(node, Name)
    }
    return [p for p in bound.program.parameters if p.name in used and p.default is not None]


def _instances(bound: Bound) -> Iterator[str]:
    """What runs on how many instances of what."""
    spread = bound.instances.spread if bound.instances is not None else ()
    for number, memory in enumerate(bound.architecture.memories):
        for name, count in memory.instances:
            here = [s for s in spread if (s.level, s.instances) == (number, name)]
            parts = ", ".join(f"{s.rank} in {s.parts} parts of {s.told}" for s in here)
            used = prod(s.parts for s in here)
            yield f"{used} of {count} {name} are used" + (f": {parts}" if parts else "")
    yield from _in_a_ring(bound)
    for s in spread:
        made = [e.name for e in bound.einsums if (e.name, s.rank) in _remade(bound)]
        if made:
            yield f"each of {s.parts} {s.instances} makes {', '.join(made)} for itself"


def _remade(bound: Bound) -> frozenset[tuple[str, str]]:
    return bound.instances.remade if bound.instances is not None else frozenset()


def _in_a_ring(bound: Bound) -> Iterator[str]:
    """What each of several instances holds, where links in a ring are all that is between them."""
    instances = bound.instances
    if instances is None or not bound.architecture.memories[0].ring:
        return
    ring = instances.ring
    ((name, _),) = bound.architecture.memories[0].instances
    if ring.tensors:
        parts = ", ".join(
            f"{tensor} in {ring.parts} parts of {rank}" for tensor, rank in ring.tensors
        )
        yield f"each of {ring.parts} {name} passes on to the next what it has: {parts}"
    if ring.copied:
        yield f"each of {ring.parts} {name} has a copy of {', '.join(ring.copied)} before it begins"


def notes_of(bound: Bound) -> tuple[str, ...]:
    """What the machine's data and the mapping leave unbilled, in sentences."""
    found: list[str] = []
    if bound.mapping.chosen:
        picked = ", ".join(f"{name} {what}" for name, what in bound.mapping.chosen)
        found.append(f"chosen by the mapping's objective: {picked}")
    found.extend(bound.mapping.moved)
    found.extend(_instances(bound))
    found.extend(bound.once_of_any_size(_formats))
    if note := spill_note(bound):
        found.append(note)
    found.extend(bound.unskipped)
    found += [f"{p.name} = {p.default:g}" for p in _mask_parameters(bound)]
    masked = [e.name for e in bound.einsums if e.window is not None]
    if masked:
        found.append(
            f"{', '.join(masked)}: tiles that the mask leaves without a point are not run; the "
            "others are run whole"
        )
    found += [h.note(bound.program) for h in bound.program.memo(hoistable)]
    found.extend(bound.once_of_any_size(_of_machine))
    return tuple(found)


def _of_machine(bound: Bound) -> tuple[str, ...]:
    """What the machine's data leave unbilled, whatever the sizes are."""
    architecture = bound.architecture
    found: list[str] = []
    for array in architecture.arrays:
        stood_in = _stand_ins(bound, array)
        if stood_in:
            found.append(f"{array.name}: {stood_in}")
        if array.registers.billed == "one":
            found.append(
                f"{array.name}: register accesses of its own Einsums are billed for one element "
                f"of {array.elements}"
            )
    for memory in architecture.memories:
        if memory.bandwidth_bytes_per_s is None:
            found.append(f"{memory.name}: bandwidth is taken as unlimited")
    if architecture.launch_s is not None:
        micro = 1e6 * architecture.launch_s
        found.append(f"to start a kernel takes {micro:.3g} us more, in no latency here")
    leaking = "" if leakage_w(architecture) else "leakage, "
    found.append(f"{leaking}clock and on-chip network energy are not billed")
    return tuple(found)
