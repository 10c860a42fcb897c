"""Dependences of a bound mapping: whether the mapping computes its cascade.

A mapping is illegal if a fused loop crosses the boundary between two passes, or if Einsums that
alternate do not share the loop. A mapping is also illegal if a tensor is no longer held when it is
read. A running value must not be lost between two iterations of its rank, nor be read before its
step is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from einsum_cascade.errors import Problem
from einsum_cascade.ir import Einsum
from einsum_cascade.source import Span

from ..iteration.loops import Loop
from ..nest.dataflow import Operand
from ..nest.record import Bound, BoundEinsum
from .reuse import awaited_stream, is_still_held_for


def illegalities(bound: Bound) -> tuple[Problem, ...]:
    """Return the reasons, other than capacity, why a mapping is illegal.

    Checks of different kinds run in order, and only the reasons of the first kind that fails are
    returned. For example, an impossible order of loops also loses tensors, but only the order is
    reported.

    Parameters
    ----------
    bound : Bound

    Returns
    -------
    tuple of Problem
        Distinct problems; empty if the mapping computes its cascade.
    """
    kinds = (
        (crossed_passes,),
        (_read_ahead,),
        (_crossed_streams,),
        (_broken_recursions, _split_recursions, _waiting_recursions, _unfinished_steps),
        (_lost_tensors, _lost_state),
    )
    for checks in kinds:
        if found := tuple(dict.fromkeys(p for check in checks for p in check(bound))):
            return found
    return ()


def loses_tensors(bound: Bound) -> bool:
    """Return whether a mapping is illegal because of where its tensors are kept.

    Loops and their order decide everything else that ``illegalities`` checks.

    Parameters
    ----------
    bound : Bound
        Mapping whose loops are legal.
    """
    checks = (_crossed_streams, _lost_tensors, _lost_state)
    return any(True for check in checks for _ in check(bound))


def complete_after(bound: Bound, e: BoundEinsum, operand: Operand, loop: Loop) -> bool:
    """Return whether an operand of an Einsum is complete only after a loop.

    Parameters
    ----------
    bound : Bound
        The mapping.
    e : BoundEinsum
        Einsum that reads the operand.
    operand : Operand
        Operand of the Einsum.
    loop : Loop
        Shared loop, in which ``e`` may or may not run.

    Returns
    -------
    bool
        False for an input, and for a tensor that another group of the schedule writes.
    """
    producer = bound.producer(operand)
    if producer is None or bound.in_different_groups(producer.name, e.name):
        return False
    if loop.variable in operand.ends:
        return True
    if producer is e:
        return False
    mine = _shared_loop(producer, loop.member)
    only_producer = mine is not None and _shared_loop(e, loop.member) is None
    if only_producer and loop.variable in producer.einsum.target.variables and not operand.initial:
        # The reader takes the whole rank, by this variable or another, while the producer iterates
        # over it.
        return True
    if loop.variable not in producer.einsum.over:
        return False
    return mine is not None and not (operand.earlier and _inside_its_rank(bound, producer, mine))


def _shared_loop(e: BoundEinsum, member: str) -> Loop | None:
    """Return the shared loop over a partitioned rank (member); None if the Einsum does not run in
    one."""
    # A cascade of 25 Einsums asks a hundred thousand times; a plain loop takes half the time.
    for loop in e.shared:
        if loop.member == member:
            return loop
    return None


def _inside_its_rank(bound: Bound, e: BoundEinsum, loop: Loop) -> bool:
    """Return whether a loop is inside all loops over the iterative ranks of the Einsum's result."""
    ranks = bound.iterative_variables(e.name)
    within = e.temporal[e.temporal.index(loop) :]
    return not any(x.variable in ranks and e.trip_counts[x.member] > 1 for x in within)


def crossed_passes(bound: Bound) -> list[Problem]:
    """Return a problem for each shared loop that crosses the boundary between two passes.

    Parameters
    ----------
    bound : Bound
        The mapping, legal or not.

    Returns
    -------
    list of Problem
        One problem for each loop and each Einsum that begins a pass inside the loop.
    """
    found: list[Problem] = []
    for shared in bound.nest:
        if shared.bound == 1:
            continue
        # For each Einsum, the tensor that it waits for until the loop is over, directly or
        # indirectly.
        after: dict[str, str] = {}
        anyones = next((x for e in bound.einsums if (x := _shared_loop(e, shared.member))), None)
        for e in bound.einsums:
            after = {n: t for n, t in after.items() if not bound.in_different_groups(n, e.name)}
            loop = _shared_loop(e, shared.member)
            probe = loop or anyones
            for operand in e.operands:
                tensor = operand.access.tensor
                late = probe is not None and complete_after(bound, e, operand, probe)
                if late or (tensor in after and not operand.earlier):
                    after[e.name] = tensor
            if e.name in after and loop is not None:
                found.append(_crossing_problem(bound, e, after, shared.member))
                # Report an Einsum once: its readers would repeat the complaint.
                del after[e.name]
    return found


def _span(bound: Bound, e: BoundEinsum) -> Span | None:
    """Return the place of an Einsum in the mapping's file."""
    how = bound.mapping.einsum(e.name)
    return how.span if how else None


def _crossing_problem(
    bound: Bound, e: BoundEinsum, after: dict[str, str], member: str, what: str = ""
) -> Problem:
    chain = [e.name]
    while chain[-1] in after and after[chain[-1]] not in chain:
        chain.append(after[chain[-1]])
    path = " -> ".join(reversed(chain))
    begin = what or f"{e.name} runs inside the shared loop {member}"
    hint = f"take {member} out of 'nest', or use a cascade that needs one pass less"
    return Problem(
        f"{begin}, but needs {chain[-1]}, which is complete only after {member} ({path}): a "
        "fused loop cannot cross the boundary between two passes",
        _span(bound, e),
        "keep it in a memory, or use a cascade that needs one pass less" if what else hint,
    )


def _crossed_streams(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each operand that streams from registers in a loop whose end it must
    await."""
    for consumer, number, producer in bound.results_read():
        stream = crossed_stream(bound, consumer, consumer.operands[number])
        if stream is not None:
            loop, after = stream
            what = (
                f"{consumer.name} takes {producer.name} from registers as it comes, loop "
                f"{loop.member} by {loop.member}"
            )
            yield _crossing_problem(bound, consumer, after, loop.member, what)


def crossed_stream(
    bound: Bound, consumer: BoundEinsum, operand: Operand
) -> tuple[Loop, dict[str, str]] | None:
    """Return the loop in which an operand streams although its consumer waits for the loop's end.

    The second value maps each waiting Einsum to the tensor it waits for. The result is None if the
    operand does not stream, or the consumer does not wait.

    Parameters
    ----------
    bound : Bound
    consumer : BoundEinsum
    operand : Operand
        Operand of the consumer; a tensor that any memory keeps does not stream.
    """
    producer = bound.producer(operand)
    if producer is None or bound.residency.memories(producer.name):
        return None
    return awaited_stream(bound, producer, consumer, operand)


def _read_ahead(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each read of an element that is written later in a shared loop."""
    for e, number, producer in bound.results_read():
        operand = e.operands[number]
        if producer is e or not operand.ahead or bound.in_different_groups(producer.name, e.name):
            continue
        members = {x.member for x in e.shared if e.trip_counts[x.member] > 1}
        loops = [x for x in producer.shared if x.member in members and x in producer.nonunit_loops]
        ahead = [x.member for moved in operand.ahead for x in loops if x.variable in moved]
        if ahead:
            text = (
                f"{e.name} reads {producer.name} where a later iteration of {ahead[0]} writes "
                f"it, but shares the loop over {ahead[0]}"
            )
            yield Problem(text, _span(bound, e), f"take {ahead[0]} out of 'nest'")


def _lost_tensors(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each intermediate that is no longer held when it is read."""
    for consumer, number, producer in bound.results_read():
        if is_still_held(bound, consumer, number):
            continue
        level = _outermost(bound, producer.name)
        places = ", ".join(p.name for p in bound.residency.of(producer.name))
        wrote = [x.member for x in producer.stepping(producer.write, level)]
        reads = [x.member for x in consumer.stepping(consumer.reads[number], level)]
        fused = ""
        if bound.in_different_groups(producer.name, consumer.name):
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
        yield Problem(
            f"{producer.name} is kept in {places} only, one tile at a time, and is gone when "
            f"{consumer.name} reads it: {why}",
            _span(bound, consumer),
            f"keep {producer.name} in {bound.architecture.home.name}, or in a memory "
            f"outside these loops{fused}",
        )


def is_still_held(bound: Bound, consumer: BoundEinsum, number: int) -> bool:
    """Return whether some level still holds an operand when its Einsum reads it.

    Parameters
    ----------
    bound : Bound
        The mapping.
    consumer : BoundEinsum
        Einsum that reads.
    number : int
        Position of the operand.
    """
    operand = consumer.operands[number]
    producer = bound.producer(operand)
    if producer is None or _reads_init(bound, operand):
        return True
    # The outermost home holds the largest tiles: a tensor that is lost there is lost everywhere.
    return is_still_held_for(bound, consumer, number, _outermost(bound, producer.name))


def lost_results(bound: Bound) -> tuple[str, ...]:
    """Return the results of Einsums that no level still holds when another Einsum reads them."""
    read = bound.results_read()
    return tuple(dict.fromkeys(p.name for e, n, p in read if not is_still_held(bound, e, n)))


def _reads_init(bound: Bound, operand: Operand) -> bool:
    """Return whether an operand reads only the initial value of an iterative tensor, at coordinate
    0."""
    if operand.initial or not operand.initial_if_single:
        return operand.initial
    return any(bound.tiling.shapes[v.upper()] == 1 for v in operand.initial_if_single)


def _outermost(bound: Bound, tensor: str) -> int:
    memories = bound.residency.memories(tensor)
    return memories[0] if memories else bound.register_level


def _listed(members: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(members))


def _lost_state(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each running value or partial sum that is lost between two updates."""
    for e in bound.einsums:
        if (between := interruption(bound, e)) is not None:
            over, inside = between
            places = ", ".join(p.name for p in bound.residency.of(e.name))
            yield Problem(
                f"{e.name} is carried from one {over.member} to the next, but {places} "
                f"cannot hold it over the loop {inside.member} in between",
                _span(bound, e),
                f"keep {e.name} in a memory outside {inside.member}",
            )


def interruption(bound: Bound, e: BoundEinsum) -> tuple[Loop, Loop] | None:
    """Return the two loops between which an Einsum's running value or partial sum is lost; or None.

    The tensor is carried over iterations of the first loop. The second loop, inside the first,
    brings other tiles.

    Parameters
    ----------
    bound : Bound
    e : BoundEinsum
        Einsum that writes the tensor.
    """
    ranks = bound.iterative_variables(e.name)
    returning = ranks | set(_reduced(e.einsum))
    moving = e.write.moving - ranks
    level = _outermost(bound, e.name)
    for number, loop in enumerate(e.nonunit_loops):
        # A loop inside brings other tiles, so this tile is gone before its next update.
        if loop.variable in returning:
            for x in e.nonunit_loops[number + 1 :]:
                if x.level < level and x.variable in moving:
                    return loop, x
    return None


def _broken_recursions(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each Einsum that feeds a later iteration of another one out of step with
    it."""
    position = bound.position
    yield from (
        _out_of_step(bound, e, producer.name, loop)
        for e, _, producer in bound.results_read()
        if position[producer.name] >= position[e.name]
        for loop in _loops_that_cannot_alternate(bound, e, producer.name)[:1]
    )


def _split_recursions(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each running value whose next iteration begins before its sum is
    complete."""
    back = {
        producer.name
        for e, _, producer in bound.results_read()
        if bound.position[e.name] <= bound.position[producer.name]
    }
    for e in bound.einsums:
        if e.name not in back:
            continue
        ranks = bound.iterative_variables(e.name)
        loops = e.nonunit_loops
        inner = [i for i, x in enumerate(loops) if x.variable in ranks]
        before = loops[: inner[-1]] if inner else []
        sums = [x.member for x in before if x.variable in _reduced(e.einsum)]
        if sums:
            member = loops[inner[-1]].member
            text = (
                f"{e.name} is complete only after {sums[0]}, but every {member} inside that loop "
                "needs the one before"
            )
            yield Problem(text, _span(bound, e), f"put {sums[0]} inside {member}")


def _waiting_recursions(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each Einsum that waits for the end of a loop whose iterations need its
    result.

    ``Y[p+1] = X[p, J]``, where X is a recursion over j that starts from ``Y[p]``: with the loop
    over J outside of the loop over P the first step of every p would need Y of the p before.
    """
    for e, position, producer in bound.results_read() if bound.program.iterative else ():
        for number, loop in enumerate(producer.shared if producer is not e else ()):
            inside = [x for x in producer.shared[number + 1 :] if _shared_loop(e, x.member)]
            if not inside or _shared_loop(e, loop.member):
                continue
            if not complete_after(bound, e, e.operands[position], loop):
                continue
            ranks = _ranks_between(bound, e, producer) - {loop.variable}
            late = [x for x in inside if x.variable in ranks and e.trip_counts[x.member] > 1]
            if late:
                text = (
                    f"{e.name} is complete only after {loop.member}, but every "
                    f"{late[0].member} inside that loop needs the one before"
                )
                hint = f"put {loop.member} inside {late[0].member}"
                yield Problem(text, _span(bound, e), hint)


def _ranks_between(bound: Bound, e: BoundEinsum, producer: BoundEinsum) -> set[str]:
    """Return the iterative ranks of the cycle that leads from an Einsum back to its producer.
    Return an empty set if there is no cycle."""
    needed = _ancestors(bound, producer)
    if e.name not in needed:
        return set()
    around = needed & _ancestors(bound, e) | {e.name, producer.name}
    return {r.lower() for name in around for r in bound.program.iterative.get(name, ())}


def _ancestors(bound: Bound, e: BoundEinsum) -> set[str]:
    """Return the names of all Einsums whose results an Einsum needs, directly or indirectly."""
    found: set[str] = set()
    waiting = [e]
    while waiting:
        reads = {operand.producer for operand in waiting.pop().operands if operand.producer}
        waiting += [bound.by_name[name] for name in reads - found]
        found |= reads
    return found


def _loops_that_cannot_alternate(bound: Bound, e: BoundEinsum, tensor: str) -> list[Loop]:
    """Return the loops over iterative ranks in which an Einsum cannot alternate with a tensor's
    producer."""
    ranks = bound.iterative_variables(tensor)
    loops = e.spatial
    others: list[Loop] = []
    if tensor != e.name:
        alone = bound.in_different_groups(tensor, e.name)
        loops = (*(e.temporal if alone else e.own), *loops)
        # The producer must not loop over the rank by itself either while this Einsum is in a shared
        # loop.
        producer = bound.by_name[tensor]
        others = [x for x in producer.own if producer.trip_counts[x.member] > 1]
    going = [*(x for x in loops if e.trip_counts[x.member] > 1), *others]
    return [x for x in going if x.variable in ranks]


def _out_of_step(bound: Bound, e: BoundEinsum, tensor: str, loop: Loop) -> Problem:
    member = loop.member
    if loop.dimension is not None:
        return Problem(
            f"{e.name} needs {tensor} of the {member} before, but {member} is laid out along "
            f"{loop.dimension}, where all run at the same time",
            _span(bound, e),
            f"make {member} a loop",
        )
    text = f"{e.name} needs {tensor} of the {member} before, and {tensor} needs {e.name}: "
    if bound.in_different_groups(tensor, e.name):
        text += f"they take turns at every {member} and cannot run one after the other"
        return Problem(text, _span(bound, e), "choose another 'schedule'")
    text += f"they take turns at every {member}, which must be a loop they share"
    return Problem(text, _span(bound, e), f"add {member} to 'nest'")


def _reduced(einsum: Einsum) -> tuple[str, ...]:
    return tuple(v for v in einsum.over if v not in einsum.target.variables)


def _unfinished_steps(bound: Bound) -> Iterator[Problem]:
    """Yield a problem for each Einsum that reads a step of its running value before it is all
    written.

    ``X[s+1, p] = X[s, p] - L[p, s] * X[s, s]``: with the loop over P outside of the loop over S a
    row would run all steps before the next row had its first.

    Parameters
    ----------
    bound : Bound

    Yields
    ------
    Problem
        One problem for each Einsum with such an order of loops.
    """
    for e in bound.einsums:
        ranks = bound.iterative_variables(e.name)
        ahead = {v for o in e.operands if o.producer == e.name for moved in o.ahead for v in moved}
        for number, loop in enumerate(e.nonunit_loops if ahead else ()):
            steps = [x.member for x in e.nonunit_loops[number + 1 :] if x.variable in ranks]
            if loop.variable in ahead - ranks and steps:
                text = (
                    f"{e.name} reads {e.name} where a later iteration of {loop.member} writes it, "
                    f"and every {steps[0]} inside that loop needs all of the one before"
                )
                hint = f"put {loop.member} inside {steps[0]}"
                yield Problem(text, _span(bound, e), hint)
                break
