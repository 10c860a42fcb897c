"""Whether a lowered mapping computes what its cascade says.

Three ways to go wrong: a fused loop crosses the boundary between two passes (an Einsum
inside the loop needs what is complete only after it); a tensor is gone when it is read
(no level that keeps it spans the loops between producer and consumer); a running value is
lost between two iterations of its rank.
"""

from __future__ import annotations

from einsum_cascade.errors import Problem
from einsum_cascade.ir import Access, Affine, Einsum

from .lattice import Loop
from .lower import Lowered, LoweredEinsum


def illegalities(lowered: Lowered) -> tuple[Problem, ...]:
    """Every reason why a mapping is not legal (capacity aside)."""
    return (*_crossed_passes(lowered), *_lost_tensors(lowered), *_lost_state(lowered))


def reads_stop(lowered: Lowered, access: Access, variable: str) -> bool:
    """Whether an iterative tensor is read after its rank is done (``RD[M1, p]``)."""
    ranks = lowered.program.iterative.get(access.tensor, ())
    if variable.upper() not in ranks:
        return False
    writer = lowered.program.einsum_of[access.tensor]
    for written, index in zip(writer.target.indices, access.indices, strict=True):
        if variable in written.variables and isinstance(index, Affine):
            return variable not in index.variables
    return False


def complete_after(lowered: Lowered, e: LoweredEinsum, access: Access, loop: Loop) -> bool:
    """Whether what ``access`` reads is complete only when ``loop`` is over."""
    if reads_stop(lowered, access, loop.variable):
        return True
    producer = _producer(lowered, access)
    if producer is None or producer is e:
        return False
    inside = any(p.member == loop.member for p in producer.shared)
    return inside and loop.variable in producer.einsum.over


def _producer(lowered: Lowered, access: Access) -> LoweredEinsum | None:
    return next((p for p in lowered.einsums if p.name == access.tensor), None)


def _crossed_passes(lowered: Lowered) -> list[Problem]:
    found: list[Problem] = []
    for shared in lowered.nest:
        after: dict[str, str] = {}
        for e in lowered.einsums:
            loop = next((x for x in e.shared if x.member == shared.member), None)
            probe = loop or _loop_like(lowered, shared.member)
            for access in e.einsum.reads:
                late = probe is not None and complete_after(lowered, e, access, probe)
                if late or (access.tensor in after and not _earlier(lowered, access)):
                    after[e.name] = access.tensor
            if e.name in after and loop is not None:
                found.append(_crossing(lowered, e, after, shared.member))
                del after[e.name]
    return found


def _loop_like(lowered: Lowered, member: str) -> Loop | None:
    return next((x for e in lowered.einsums for x in e.shared if x.member == member), None)


def _earlier(lowered: Lowered, access: Access) -> bool:
    """Whether an access reads a running value from before this iteration."""
    return (
        access.tensor in lowered.program.iterative
        and lowered.program.einsum_of[access.tensor].target != access
        and bool(access.variables)
    )


def _crossing(lowered: Lowered, e: LoweredEinsum, after: dict[str, str], member: str) -> Problem:
    chain = [e.name]
    while chain[-1] in after and after[chain[-1]] not in chain:
        chain.append(after[chain[-1]])
    how = lowered.mapping.einsum(e.name)
    path = " -> ".join(reversed(chain))
    return Problem(
        f"{e.name} runs inside the shared loop {member}, but needs {chain[-1]}, which is "
        f"complete only after {member} ({path}): a fused loop cannot cross the boundary "
        "between two passes",
        how.span if how else None,
        f"take {member} out of 'nest', or use a cascade that needs one pass less",
    )


def _lost_tensors(lowered: Lowered) -> list[Problem]:
    found: list[Problem] = []
    for consumer in lowered.einsums:
        for footing in consumer.reads:
            producer = _producer(lowered, footing.access)
            if producer is None or producer is consumer:
                continue
            level = _outermost(lowered, producer.name)
            wrote = _moving(producer, producer.einsum.target, level)
            reads = _moving(consumer, footing.access, level)
            if [x.member for x in wrote] == [x.member for x in reads]:
                continue
            wrote = tuple(x for x in wrote if not reads_stop(lowered, footing.access, x.variable))
            if [x.member for x in wrote] == [x.member for x in reads]:
                continue
            found.append(_gone(lowered, producer, consumer, wrote, reads))
    return found


def _outermost(lowered: Lowered, tensor: str) -> int:
    memories = lowered.residency.memories(tensor)
    return memories[0] if memories else lowered.register_level


def _moving(e: LoweredEinsum, access: Access, level: int) -> tuple[Loop, ...]:
    """Loops of more than one iteration that move a tensor outside the tiles of a level."""
    carried = {v for a in e.axes for v, _ in a.variables} & {
        x.variable for x in e.shared if x.variable not in e.einsum.variables
    }
    moving = {*access.variables, *carried}
    return tuple(x for x in e.outer(level) if x.variable in moving and _bound(e, x) > 1)


def _bound(e: LoweredEinsum, loop: Loop) -> int:
    extent = e.axes[loop.axis].extent
    for outer in e.temporal:
        if outer is loop:
            break
        if outer.axis == loop.axis:
            extent = min(extent, outer.stride)
    return -(-extent // loop.stride)


def _gone(
    lowered: Lowered,
    producer: LoweredEinsum,
    consumer: LoweredEinsum,
    wrote: tuple[Loop, ...],
    reads: tuple[Loop, ...],
) -> Problem:
    places = ", ".join(p.name for p in lowered.residency.of(producer.name))
    differing = [x.member for x in (*wrote, *reads)]
    only = [m for m in dict.fromkeys(differing) if differing.count(m) == 1] or differing
    how = lowered.mapping.einsum(consumer.name)
    return Problem(
        f"{producer.name} is kept in {places} only, one tile at a time, and is gone when "
        f"{consumer.name} reads it: they do not share the loop over {', '.join(only)}",
        how.span if how else None,
        f"keep {producer.name} in {lowered.architecture.memories[0].name}, or put "
        f"{only[0]} into the shared nest of both",
    )


def _lost_state(lowered: Lowered) -> list[Problem]:
    """Running values and partial sums must outlive the loops between their updates."""
    found: list[Problem] = []
    for e in lowered.einsums:
        ranks = {r.lower() for r in lowered.program.iterative.get(e.name, ())}
        returning = ranks | set(_reduced(e.einsum))
        level = _outermost(lowered, e.name)
        for number, loop in enumerate(e.shared):
            if loop.variable not in returning or _bound(e, loop) == 1:
                continue
            between = [
                x
                for x in e.temporal[number + 1 :]
                if x.level < level
                and x.variable in e.einsum.target.variables
                and x.variable not in ranks
                and _bound(e, x) > 1
            ]
            if between:
                places = ", ".join(p.name for p in lowered.residency.of(e.name))
                found.append(
                    Problem(
                        f"{e.name} is carried from one {loop.member} to the next, but {places} "
                        f"cannot hold it over the loop {between[0].member} in between",
                        hint=f"keep {e.name} in a memory outside {between[0].member}",
                    )
                )
    return found


def _reduced(einsum: Einsum) -> tuple[str, ...]:
    return tuple(v for v in einsum.over if v not in einsum.target.variables)
