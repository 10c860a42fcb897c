"""From a bound mapping to the tasks of its event graph."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from einsum_cascade.ir import Access, Affine

from ..bound.barriers import producer_of, reads_earlier
from ..bound.record import Bound, BoundEinsum
from ..bound.reuse import width
from ..cost.accesses import EinsumCount
from ..cost.occupancy import busy_cycles, memory_bytes, reduction_latency, transfer_cycles
from ..space.iteration import first_tile
from ..spec.arch import Memory
from .event_graph import EventGraph, GraphDependency, GraphTask


@dataclass(frozen=True, kw_only=True)
class StepGraph:
    """The event graph of a fused mapping, and what happens once before and after it."""

    graph: EventGraph
    prologue: tuple[str, ...]
    """Einsums outside inner loops whose results the loops need."""
    epilogue: tuple[str, ...]
    """Einsums outside inner loops that wait for the loops."""


def outside_einsums(bound: Bound) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Einsums that stay out of some shared loop: (before, after) the steps they serve.

    Their work is cut into equal slices, one a step of the loops they stay out of.
    """
    out = {
        e.name for e in bound.einsums if any(_turns(bound, m) > 1 for m in stays_out_of(bound, e))
    }
    reads = {
        e.name: {a.tensor for a in e.einsum.reads if not _of_before(bound, a)}
        for e in bound.einsums
    }
    needed = {t for name, tensors in reads.items() if name not in out for t in tensors}
    while more := {t for name in out & needed for t in reads[name]} - needed:
        # What feeds an Einsum that the steps need is needed before them, too.
        needed |= more
    before = tuple(e.name for e in bound.einsums if e.name in out & needed)
    after = tuple(e.name for e in bound.einsums if e.name in out - needed)
    return before, after


def stays_out_of(bound: Bound, e: BoundEinsum) -> tuple[str, ...]:
    """Shared loops that an Einsum is outside of while others that run with it are inside."""
    if not e.outside:
        return ()
    others = [x for x in bound.einsums if not bound.apart(x.name, e.name)]
    return tuple(m for m in e.outside if any(m not in x.outside for x in others))


def _of_before(bound: Bound, access: Access) -> bool:
    """Whether an access reads what an earlier iteration of a shared loop has left."""
    return producer_of(bound, access) is not None and reads_earlier(bound, access)


def _turns(bound: Bound, member: str) -> int:
    return next(loop.bound for loop in bound.nest if loop.member == member)


def step_graph(bound: Bound, counts: tuple[EinsumCount, ...], lookahead: int) -> StepGraph:
    """Tasks, dependencies and in-flight limits of one step of the shared nest.

    Parameters
    ----------
    lookahead : int
        Tiles in flight on an array, and between a producer and a consumer on two arrays.
    """
    before, after = outside_einsums(bound)
    inside = [e for e in bound.einsums if e.name not in (*before, *after)]
    apart = first_fill(bound, tuple(e.name for e in inside)) + last_drain(bound)
    tasks = [
        _memory_task(bound, counts, m, Fraction(0) if i else apart)
        for i, m in enumerate(bound.architecture.memories)
    ]
    tasks = [t for t in tasks if t.occupancy > 0]
    memories = len(tasks)
    tasks += [_einsum_task(bound, e, e.name in (*before, *after)) for e in bound.einsums]
    number = {t.name: i for i, t in enumerate(tasks)}
    found: list[GraphDependency] = []
    for e in inside:
        for access in e.einsum.reads:
            if access.tensor in {p.name for p in inside}:
                found += _flow(bound, tasks, number, e, access, lookahead)
        for m in range(memories):
            found += _feed(counts, tasks, m, number[e.name], e, lookahead)
    found += _in_flight(tasks, [number[e.name] for e in inside], lookahead)
    graph = EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=bound.steps)
    return StepGraph(graph=graph, prologue=before, epilogue=after)


def _memory_task(
    bound: Bound, counts: tuple[EinsumCount, ...], memory: Memory, apart: Fraction
) -> GraphTask:
    """A step's share of what a memory moves, less what it moves before and after all steps."""
    cycles = transfer_cycles(bound, memory, memory_bytes(bound, counts, memory))
    share = max(cycles - apart, Fraction(0)) / bound.steps
    return GraphTask(name=memory.name, resource=memory.name, occupancy=share, latency=share)


def _einsum_task(bound: Bound, e: BoundEinsum, outside: bool) -> GraphTask:
    share = busy_cycles(bound, e)
    if outside:
        share -= alone(bound, e)
    share /= bound.steps
    return GraphTask(
        name=e.name,
        resource=e.array.name,
        occupancy=share,
        latency=share + reduction_latency(e),
    )


def alone(bound: Bound, e: BoundEinsum) -> Fraction:
    """Cycles of one run of an Einsum that stays outside inner loops.

    The first run of what the steps need, and the last of what needs them, have no steps
    beside them to hide in; the others are cut into slices.
    """
    runs = prod(loop.bound for loop in bound.nest if loop.member not in e.outside)
    return busy_cycles(bound, e) / runs


def _flow(
    bound: Bound,
    tasks: list[GraphTask],
    number: dict[str, int],
    e: BoundEinsum,
    access: Access,
    lookahead: int,
) -> list[GraphDependency]:
    """A consumer waits for its producer; a producer for room if they run on two arrays."""
    before, after = number[access.tensor], number[e.name]
    distance = read_distance(bound, e, access)
    if distance is None:
        return []
    producer = tasks[before]
    found = [
        GraphDependency(
            before=before,
            after=after,
            distance=distance,
            delay=producer.latency,
            why=f"{access.tensor} -> {e.name}",
        )
    ]
    if producer.resource != tasks[after].resource:
        found.append(
            GraphDependency(
                before=after,
                after=before,
                distance=distance + lookahead,
                delay=tasks[after].occupancy,
                why=f"room for {access.tensor} ({lookahead} tiles in flight)",
                room=True,
            )
        )
    return found


def read_distance(bound: Bound, reader: BoundEinsum, access: Access) -> int | None:
    """Steps between the writing of an element and its reading by ``access``.

    None where no step waits for another: an Einsum that goes along the whole rank within
    one step hands its running value on by itself.
    """
    shifts = read_shifts(bound, reader, access)
    if shifts is None:
        return None
    return sum(shift * bound.inner_bound(member) for member, shift in shifts)


def read_shifts(
    bound: Bound, reader: BoundEinsum, access: Access
) -> tuple[tuple[str, int], ...] | None:
    """How many iterations of which shared loops ago an element was written.

    None as in ``read_distance``.
    """
    writer = next(e for e in bound.einsums if e.name == access.tensor)
    found: list[tuple[str, int]] = []
    for written, read in zip(writer.einsum.target.indices, access.indices, strict=True):
        if not isinstance(written, Affine) or not isinstance(read, Affine):
            continue
        if written.offset is None or read.offset is None or read.variables != written.variables:
            continue
        variable = written.variables[0]
        inner = [loop.member for loop in bound.nest if loop.rank.lower() == variable][-1:]
        apart = [
            x
            for e in (writer, reader)
            for x in (*e.own, *e.spatial)
            if x.variable == variable and width(e, x) > 1
        ]
        shift = written.offset - read.offset
        if shift > 0 and (reader is writer or not apart):
            if not inner:
                return None
            found.append((inner[0], shift))
    return tuple(found)


def _feed(
    counts: tuple[EinsumCount, ...],
    tasks: list[GraphTask],
    memory: int,
    consumer: int,
    e: BoundEinsum,
    lookahead: int,
) -> list[GraphDependency]:
    """An Einsum waits for this step's share of a memory it reads; prefetch is bounded."""
    name = tasks[memory].name
    count = next(c for c in counts if c.einsum == e.name)
    if not any(a.place == name and a.reads for a in count.accesses):
        return []
    return [
        GraphDependency(
            before=memory,
            after=consumer,
            distance=0,
            delay=tasks[memory].latency,
            why=f"{name} -> {e.name}",
        ),
        GraphDependency(
            before=consumer,
            after=memory,
            distance=lookahead + 1,
            delay=tasks[consumer].occupancy,
            why=f"room to prefetch from {name}",
            room=True,
        ),
    ]


def _in_flight(tasks: list[GraphTask], inside: list[int], lookahead: int) -> list[GraphDependency]:
    """A tile enters an array when the one ``lookahead`` steps before has left it."""
    found: list[GraphDependency] = []
    for resource in dict.fromkeys(tasks[i].resource for i in inside):
        members = [i for i in inside if tasks[i].resource == resource]
        first, last = members[0], members[-1]
        found.append(
            GraphDependency(
                before=last,
                after=first,
                distance=lookahead,
                delay=tasks[last].occupancy,
                why=f"{lookahead} tiles in flight on {resource}",
                room=True,
            )
        )
    return found


def fitted_lookahead(bound: Bound) -> int:
    """The most tiles whose waiting values the registers of every array hold at once.

    A value waits where its consumer also needs something that another array makes of it:
    scores stay in the 2D array while the 1D array turns their maximum into the running
    one. Each tile in flight takes one register for each of them; every other value is used
    as it comes, and streaming operands pass through latches of their own.
    """
    used = [a for a in bound.architecture.arrays if any(e.array is a for e in bound.einsums)]
    waiting = {a.name: len(_waiting(bound, a.name)) for a in used}
    return max(1, min(a.registers.depth // max(1, waiting[a.name]) for a in used))


def _waiting(bound: Bound, array: str) -> set[str]:
    """Values in an array's registers that wait for what another array makes of them."""
    operands = {
        e.name: {a.tensor for a in e.einsum.reads if _of_this_step(bound, e, a)}
        for e in bound.einsums
    }
    where = {e.name: e.array.name for e in bound.einsums}
    found: set[str] = set()
    for value in operands:
        if array not in bound.residency.registers(value):
            continue
        abroad = _made_abroad(value, operands, where)
        consumers = [n for n, needs in operands.items() if value in needs and where[n] == array]
        if any(operands[n] & abroad for n in consumers):
            found.add(value)
    return found


def _of_this_step(bound: Bound, reader: BoundEinsum, access: Access) -> bool:
    written = access.tensor in bound.program.einsum_of
    return written and read_distance(bound, reader, access) == 0


def _made_abroad(value: str, operands: dict[str, set[str]], where: dict[str, str]) -> set[str]:
    """Einsums of the same step that follow from a value by way of another array."""
    home = where[value]
    reached: set[tuple[str, bool]] = {(value, False)}
    pending = [(value, False)]
    while pending:
        name, left = pending.pop()
        for follower, needs in operands.items():
            state = (follower, left or where[follower] != home)
            if name in needs and state not in reached:
                reached.add(state)
                pending.append(state)
    return {name for name, left in reached if left}


def first_fill(bound: Bound, inside: tuple[str, ...]) -> Fraction:
    """Cycles until the first step's operands have come from the outermost memory."""
    needed: dict[str, int] = {}
    for e in bound.einsums:
        waits = any(a.tensor in inside for a in e.einsum.reads)
        if e.name in inside and not waits:
            tile = first_tile(e.extents, e.shared)
            for f in e.reads:
                if bound.residency.memories(f.access.tensor)[:1] == (0,):
                    needed[f.access.tensor] = max(needed.get(f.access.tensor, 0), f.size(tile))
    return _outermost_cycles(bound, sum(needed.values()))


def last_drain(bound: Bound) -> Fraction:
    """Cycles until the last step's outputs have reached the outermost memory."""
    outputs = [e for e in bound.einsums if e.name in bound.program.outputs]
    return _outermost_cycles(
        bound, sum(e.write.size(first_tile(e.extents, e.shared)) for e in outputs)
    )


def _outermost_cycles(bound: Bound, elements: int) -> Fraction:
    memory = bound.architecture.memories[0]
    return transfer_cycles(bound, memory, elements * bound.architecture.word_bytes)
