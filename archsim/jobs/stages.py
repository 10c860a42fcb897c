"""Where a cascade falls into stages that had better be nests of their own.

What is picked is known once all that picks are chosen from is there, and a pass begins once the one
before has seen all. Einsums on both sides share no loops but those outside of that, and what is
handed from one side to the other is large: to keep it in inner memories leaves no room there for
anything else. Apart, each side has loops, tiles and parts as suit it best.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from einsum_cascade.algebra.excerpt import crossing, cut_blocks, inseparable, tiled_families
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Einsum, Gather, Program
from einsum_cascade.passes.analysis import analyze_passes

Names = tuple[str, ...]
"""Einsums of a nest, in the order of the cascade."""


def picked_inputs(program: Program) -> frozenset[str]:
    """Inputs of which some is picked."""
    return frozenset(
        a.tensor
        for e in program.einsums
        for a in e.reads
        if a.tensor not in program.einsum_of and any(isinstance(i, Gather) for i in a.indices)
    )


def stages_by_picks(program: Program, given: Collection[str]) -> tuple[Names, ...]:
    """Einsums up to what is picked, and those that read it, each with what feeds them alone.

    Parameters
    ----------
    program : Program
    given : collection of str
        Ranks whose sizes are given: of others that the cascade cuts nests would choose tiles of
        their own.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("mixture-of-block-attention").program
    >>> stages_by_picks(program, ("U",))
    (('KS', 'KC', 'GT', 'GS', 'IX'), ('X', 'GM', 'SN', 'SD', 'NV', 'O'))
    """
    made = program.einsum_of
    after = {
        (index.access.tensor, e.name)
        for e in program.einsums
        for a in e.reads
        for index in a.indices
        if isinstance(index, Gather) and index.access.tensor in made
    }
    return _stages(program, given, after)


def stages_by_passes(program: Program, given: Collection[str]) -> tuple[Names, ...]:
    """Einsums of one pass over what others of them make, each with what feeds them alone.

    Parameters
    ----------
    program, given
        As of ``stages_by_picks``.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> stages_by_passes(Cascade.load("attention-3pass").program, ())
    (('QK', 'GM'), ('SN', 'SD'), ('A', 'AV'))
    """
    made, after = program.einsum_of, set[tuple[str, str]]()
    with suppress(InputError):  # what is not associative has no passes
        # Parts of a rank that a cascade cuts are gone over again inside of one pass over it.
        for rank in (r for r in program.memo(analyze_passes).ranks if r.grain != "member"):
            for barrier in rank.barriers:
                if {*barrier.revisits} & made.keys():
                    reads = made[barrier.einsum].reads
                    after |= {(a.tensor, barrier.einsum) for a in reads}
    return _stages(program, given, after)


def handed_at(
    program: Program, given: Collection[str], sizes: Callable[[str], float]
) -> list[tuple[float, Names]]:
    """What crosses each place at which a cascade can be cut, and the Einsums before it.

    Parameters
    ----------
    program : Program
    sizes : callable
        That of a tensor.

    Returns
    -------
    list of tuple
        In the order of the cascade. A place with tiles in hand that nests would have to cut alike
        is none.
    """
    found: list[tuple[float, Names]] = []
    before: Names = ()
    for block in program.memo(cut_blocks)[:-1]:
        before = (*before, *block)
        handed = crossing(program, before)
        if not any(_is_cut_by_nests(program, tensor, given) for tensor in handed):
            found.append((sum(map(sizes, handed)), before))
    return found


def _stages(
    program: Program, given: Collection[str], after: Collection[tuple[str, str]]
) -> tuple[Names, ...]:
    """Groups of Einsums, each of them connected, where some of them come ``after`` a tensor that
    they read."""
    made, joined = program.einsum_of, program.memo(inseparable)
    level = dict.fromkeys(made, 0)
    # Einsums that hand on a value that runs along a rank are at one level. Those that need one
    # another across an edge would rise for ever: there are no more levels than edges.
    for _ in range(len(made)):
        before = dict(level)
        for e in program.einsums:
            needs = [level[t] + ((t, e.name) in after) for t in _needs(program, e)]
            for name in joined[e.name]:
                level[name] = max(level[name], min(max(needs, default=0), len(after)))
        if level == before:
            break
    return tuple(_in_order(program, _connected(program, given, level)))


def _needs(program: Program, e: Einsum) -> list[str]:
    """The Einsums whose results one reads, itself left out."""
    return [t for t in dict.fromkeys(a.tensor for a in e.reads) if t in program.einsum_of]


def _connected(program: Program, given: Collection[str], level: dict[str, int]) -> dict[str, str]:
    """By Einsum the first of its group: those of one level that hand something to one another, or
    tiles of a rank that the cascade cuts, which nests would have to cut alike."""
    first = {name: name for name in level}
    for e in program.einsums:
        near = {*program.memo(inseparable)[e.name]}
        near |= {
            t
            for t in _needs(program, e)
            if level[t] == level[e.name] or _is_cut_by_nests(program, t, given)
        }
        groups = {first[n] for n in near}
        lead = next(n for n in first if n in groups)
        first = {n: lead if g in groups else g for n, g in first.items()}
    return first


def _is_cut_by_nests(program: Program, tensor: str, given: Collection[str]) -> bool:
    families = (program.rank_of[r].partition for r in tiled_families(program, tensor))
    return any(member not in given for members in families for member in members[1:])


def _in_order(program: Program, first: dict[str, str]) -> Iterator[Names]:
    """Groups after those that they read from; those that need one another are one."""
    left: dict[str, set[str]] = {}
    for name, lead in first.items():
        left.setdefault(lead, set()).add(name)
    while left:
        ready = [
            lead
            for lead, group in left.items()
            if all(
                first[t] == lead or first[t] not in left
                for name in group
                for t in _needs(program, program.einsum_of[name])
            )
        ]
        group = left.pop(ready[0]) if ready else set().union(*left.values())
        yield tuple(name for name in first if name in group)
        if not ready:
            return
