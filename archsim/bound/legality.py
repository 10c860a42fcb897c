"""Whether a bound mapping computes what its cascade says.

Four ways to go wrong: a fused loop crosses the boundary between two passes (an Einsum
inside the loop needs what is complete only after it); Einsums that take turns do not share
the loop; a tensor is gone when it is read (no level that keeps it spans the loops between
producer and consumer); a running value is lost between two iterations of its rank.
"""

from __future__ import annotations

from collections.abc import Iterable

from einsum_cascade.errors import Problem
from einsum_cascade.ir import Access, Affine, Einsum, Index

from ..space.iteration import Loop
from .barriers import producer_of, reads_earlier, reads_stop, streaming, up_to, waiting
from .record import Bound, BoundEinsum
from .reuse import hands_over, moving_variables, stepping, width


def illegalities(bound: Bound) -> tuple[Problem, ...]:
    """Why a mapping is not legal (capacity aside): all problems of the first kind found.

    An order that cannot be run loses tensors, too, but that is no news.
    """
    kinds = (
        crossed_passes(bound),
        _read_ahead(bound),
        _crossed_streams(bound),
        [*_broken_recursions(bound), *_split_recursions(bound)],
        [*_lost_tensors(bound), *_lost_state(bound)],
    )
    return next((tuple(dict.fromkeys(found)) for found in kinds if found), ())


def complete_after(bound: Bound, e: BoundEinsum, access: Access, loop: Loop) -> bool:
    """Whether what ``access`` reads is complete only when ``loop`` is over."""
    producer = producer_of(bound, access)
    if producer is not None and bound.apart(producer.name, e.name):
        return False
    if reads_stop(bound, access, loop.variable):
        return True
    if producer is None or producer is e:
        return False
    mine = next((x for x in producer.shared if x.member == loop.member), None)
    if mine is not None and loop.member in e.outside and loop.variable in access.variables:
        # It takes the whole rank while its producer goes along it.
        return True
    if loop.variable not in producer.einsum.over:
        return False
    return mine is not None and not (
        reads_earlier(bound, access) and _inside_its_rank(bound, producer, mine)
    )


def _inside_its_rank(bound: Bound, e: BoundEinsum, loop: Loop) -> bool:
    """Whether a loop is inside all loops over the ranks a running value goes along."""
    ranks = {r.lower() for r in bound.program.iterative.get(e.name, ())}
    within = e.temporal[e.temporal.index(loop) :]
    return not any(x.variable in ranks and width(e, x) > 1 for x in within)


def crossed_passes(bound: Bound) -> list[Problem]:
    """Shared loops that the boundary between two passes crosses."""
    found: list[Problem] = []
    for shared in bound.nest:
        if shared.bound == 1:
            continue
        after: dict[str, str] = {}
        for e in bound.einsums:
            after = {n: t for n, t in after.items() if not bound.apart(n, e.name)}
            loop = next((x for x in e.shared if x.member == shared.member), None)
            probe = loop or _loop_like(bound, shared.member)
            for access in e.einsum.reads:
                late = probe is not None and complete_after(bound, e, access, probe)
                if late or (access.tensor in after and not reads_earlier(bound, access)):
                    after[e.name] = access.tensor
            if e.name in after and loop is not None:
                found.append(_crossing(bound, e, after, shared.member))
                del after[e.name]
    return found


def _loop_like(bound: Bound, member: str) -> Loop | None:
    return next((x for e in bound.einsums for x in e.shared if x.member == member), None)


def _crossing(
    bound: Bound, e: BoundEinsum, after: dict[str, str], member: str, what: str = ""
) -> Problem:
    chain = [e.name]
    while chain[-1] in after and after[chain[-1]] not in chain:
        chain.append(after[chain[-1]])
    how = bound.mapping.einsum(e.name)
    path = " -> ".join(reversed(chain))
    begin = what or f"{e.name} runs inside the shared loop {member}"
    hint = f"take {member} out of 'nest', or use a cascade that needs one pass less"
    return Problem(
        f"{begin}, but needs {chain[-1]}, which is complete only after {member} ({path}): a "
        "fused loop cannot cross the boundary between two passes",
        how.span if how else None,
        "keep it in a memory, or use a cascade that needs one pass less" if what else hint,
    )


def _crossed_streams(bound: Bound) -> list[Problem]:
    """What streams through registers cannot wait for the end of the loop it streams in."""
    found: list[Problem] = []
    for consumer in bound.einsums:
        for access in consumer.einsum.reads:
            if (stream := crossed_stream(bound, consumer, access)) is not None:
                loop, after = stream
                what = (
                    f"{consumer.name} takes {access.tensor} from registers as it comes, loop "
                    f"{loop.member} by {loop.member}"
                )
                found.append(_crossing(bound, consumer, after, loop.member, what))
    return found


def crossed_stream(
    bound: Bound, consumer: BoundEinsum, access: Access
) -> tuple[Loop, dict[str, str]] | None:
    """The loop that an operand streams in and that its consumer waits for the end of, and
    what waits for what there. None: nothing streams, or nothing waits."""
    producer = producer_of(bound, access)
    if producer is None or bound.residency.memories(access.tensor):
        return None
    loops = stepping(bound, producer, producer.einsum.target, bound.register_level)
    between = up_to(bound, producer, consumer)
    for loop in streaming(producer, loops):
        if consumer.name in (after := waiting(bound, producer, between, loop)):
            return loop, after
    return None


def _read_ahead(bound: Bound) -> list[Problem]:
    """Inside a shared loop nothing may be read that a later iteration writes."""
    found: list[Problem] = []
    for e in bound.einsums:
        for access in e.einsum.reads:
            producer = producer_of(bound, access)
            if producer is None or producer is e or bound.apart(producer.name, e.name):
                continue
            members = {x.member for x in e.shared if width(e, x) > 1}
            loops = [x for x in producer.shared if x.member in members and width(producer, x) > 1]
            pairs = zip(producer.einsum.target.indices, access.indices, strict=True)
            ahead = [
                x.member
                for wrote, read in pairs
                for x in loops
                if x.variable in wrote.variables and not _written_by_now(wrote, read)
            ]
            if ahead:
                how = bound.mapping.einsum(e.name)
                text = (
                    f"{e.name} reads {producer.name} where a later iteration of {ahead[0]} writes "
                    f"it, but shares the loop over {ahead[0]}"
                )
                hint = f"take {ahead[0]} out of 'nest'"
                found.append(Problem(text, how.span if how else None, hint))
    return found


def _written_by_now(wrote: Index, read: Index) -> bool:
    """Whether a read stays at the coordinate just written, or behind it."""
    if read == wrote:
        return True
    if not isinstance(wrote, Affine) or not isinstance(read, Affine):
        return False
    if not read.variables:
        # The start of a rank is written first; what lies beyond the end is another matter.
        return not read.terms or wrote.offset == 1
    if wrote.offset is None or read.offset is None:
        return False
    return read.variables == wrote.variables and read.offset <= wrote.offset


def _lost_tensors(bound: Bound) -> list[Problem]:
    """An intermediate must outlive, where it is kept, the loops between its two ends."""
    return [
        _gone(bound, consumer, access_map.access)
        for consumer in bound.einsums
        for access_map in consumer.reads
        if not is_there(bound, consumer, access_map.access)
    ]


def is_there(bound: Bound, consumer: BoundEinsum, access: Access) -> bool:
    """Whether what an Einsum reads is still kept anywhere when it does."""
    producer = producer_of(bound, access)
    if producer is None or _reads_init(bound, producer, access):
        return True
    level = _outermost(bound, producer.name)
    return hands_over(bound, producer, consumer, access, level)


def _reads_init(bound: Bound, producer: BoundEinsum, access: Access) -> bool:
    """Whether an access reads coordinate 0 of an iterative tensor and nothing else."""
    shapes = dict(bound.shapes)
    return any(
        isinstance(wrote, Affine)
        and isinstance(read, Affine)
        and wrote.offset == 1
        and (not read.terms or (read.offset == 0 and shapes[wrote.variables[0].upper()] == 1))
        for wrote, read in zip(producer.einsum.target.indices, access.indices, strict=True)
    )


def _outermost(bound: Bound, tensor: str) -> int:
    memories = bound.residency.memories(tensor)
    return memories[0] if memories else bound.register_level


def _gone(bound: Bound, consumer: BoundEinsum, access: Access) -> Problem:
    producer = producer_of(bound, access)
    assert producer is not None, "what comes from outside is never gone"
    level = _outermost(bound, producer.name)
    places = ", ".join(p.name for p in bound.residency.of(producer.name))
    wrote = [x.member for x in stepping(bound, producer, producer.einsum.target, level)]
    reads = [x.member for x in stepping(bound, consumer, access, level)]
    how = bound.mapping.einsum(consumer.name)
    fused = ""
    if bound.apart(producer.name, consumer.name):
        why = f"{producer.name} has run over {_listed((*wrote, *reads))} by then"
        fused = "; or fuse the two: in one group of the schedule they share the nest"
    elif differing := [m for m in (*wrote, *reads) if (m in wrote) != (m in reads)]:
        why = f"they do not share the loop over {_listed(differing)}"
    elif wrote != reads:
        why = f"their loops over {_listed(wrote)} are not in the same order"
    elif any(x.member in wrote for x in (*producer.own, *consumer.own)):
        why = f"the loop over {_listed(wrote)} is not in the nest they share"
    else:
        why = f"it reads beyond the tile of {_listed(wrote)}"
    return Problem(
        f"{producer.name} is kept in {places} only, one tile at a time, and is gone when "
        f"{consumer.name} reads it: {why}",
        how.span if how else None,
        f"keep {producer.name} in {bound.architecture.memories[0].name}, or in a memory "
        f"outside these loops{fused}",
    )


def _listed(members: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(members))


def _lost_state(bound: Bound) -> list[Problem]:
    """Running values and partial sums must outlive the loops between their updates."""
    found: list[Problem] = []
    for e in bound.einsums:
        if (between := interruption(bound, e)) is not None:
            over, inside = between
            how = bound.mapping.einsum(e.name)
            places = ", ".join(p.name for p in bound.residency.of(e.name))
            found.append(
                Problem(
                    f"{e.name} is carried from one {over.member} to the next, but {places} "
                    f"cannot hold it over the loop {inside.member} in between",
                    how.span if how else None,
                    f"keep {e.name} in a memory outside {inside.member}",
                )
            )
    return found


def interruption(bound: Bound, e: BoundEinsum) -> tuple[Loop, Loop] | None:
    """The loops between which a running value or partial sum is lost: the one over whose
    iterations it is carried, and one inside that brings other tiles. None: it is not lost."""
    ranks = {r.lower() for r in bound.program.iterative.get(e.name, ())}
    returning = ranks | set(_reduced(e.einsum))
    moving = moving_variables(bound, e.einsum.target) - ranks
    level = _outermost(bound, e.name)
    for number, loop in enumerate(e.temporal):
        if loop.variable in returning and width(e, loop) > 1:
            for x in e.temporal[number + 1 :]:
                if x.level < level and x.variable in moving and width(e, x) > 1:
                    return loop, x
    return None


def _broken_recursions(bound: Bound) -> list[Problem]:
    """Einsums that feed one another from iteration to iteration must run in step."""
    position = {e.name: i for i, e in enumerate(bound.einsums)}
    return [
        _out_of_step(bound, e, access.tensor, loop)
        for e in bound.einsums
        for access in e.einsum.reads
        if position.get(access.tensor, -1) >= position[e.name]
        for loop in _apart(bound, e, access.tensor)[:1]
    ]


def _split_recursions(bound: Bound) -> list[Problem]:
    """A running value must be complete before the next iteration: no partial sums outside."""
    found: list[Problem] = []
    position = {e.name: i for i, e in enumerate(bound.einsums)}
    for e in bound.einsums:
        ranks = {r.lower() for r in bound.program.iterative.get(e.name, ())}
        readers = [r for r in bound.einsums if any(a.tensor == e.name for a in r.einsum.reads)]
        if not any(position[r.name] <= position[e.name] for r in readers):
            continue
        loops = [x for x in e.temporal if width(e, x) > 1]
        inner = [i for i, x in enumerate(loops) if x.variable in ranks]
        before = loops[: inner[-1]] if inner else []
        sums = [x.member for x in before if x.variable in _reduced(e.einsum)]
        if sums:
            how = bound.mapping.einsum(e.name)
            member = loops[inner[-1]].member
            text = (
                f"{e.name} is complete only after {sums[0]}, but every {member} inside that loop "
                "needs the one before"
            )
            span = how.span if how else None
            found.append(Problem(text, span, f"put {sums[0]} inside {member}"))
    return found


def _apart(bound: Bound, e: BoundEinsum, tensor: str) -> list[Loop]:
    """Loops over which an Einsum cannot take turns with the one that writes a tensor."""
    ranks = {r.lower() for r in bound.program.iterative.get(tensor, ())}
    loops = e.spatial
    if tensor != e.name:
        alone = bound.apart(tensor, e.name)
        loops = (*(e.temporal if alone else e.own), *loops)
    return [x for x in loops if x.variable in ranks and width(e, x) > 1]


def _out_of_step(bound: Bound, e: BoundEinsum, tensor: str, loop: Loop) -> Problem:
    how = bound.mapping.einsum(e.name)
    span = how.span if how else None
    member = loop.member
    if loop.dimension is not None:
        return Problem(
            f"{e.name} needs {tensor} of the {member} before, but {member} is laid out along "
            f"{loop.dimension}, where all run at the same time",
            span,
            f"make {member} a loop",
        )
    text = f"{e.name} needs {tensor} of the {member} before, and {tensor} needs {e.name}: "
    if bound.apart(tensor, e.name):
        text += f"they take turns at every {member} and cannot run one after the other"
        return Problem(text, span, "choose another 'schedule'")
    text += f"they take turns at every {member}, which must be a loop they share"
    return Problem(text, span, f"add {member} to 'nest'")


def _reduced(einsum: Einsum) -> tuple[str, ...]:
    return tuple(v for v in einsum.over if v not in einsum.target.variables)
