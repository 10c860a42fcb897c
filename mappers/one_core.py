"""The machine of one core: what a core sees of what it shares with others.

One memory stands for all that several cores share, as slow as the slowest of what comes through
there. A core is a smaller machine, which is searched like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from math import prod

from archsim.jobs.best_parts import Spreading
from archsim.jobs.partial_results import whole_rank_of
from archsim.jobs.spreading import part_of, seen_by_one
from archsim.spec.arch import Architecture, Memory
from archsim.spec.words import words_of
from einsum_cascade.ir import Program


def shapes_of_part(
    spreading: Spreading, given: Sizes[str, int], program: Program
) -> dict[str, int]:
    """Shapes of a core's part: the cascade's cuts as given, if none of their parts is spread.

    Parameters
    ----------
    spreading : Spreading
    given : mapping
        Shapes of the whole work in elements by rank.
    program : Program
    """
    spread = (program.rank_of.get(s.rank) for _, ranks in spreading for s in ranks)
    of_cut = any(declared is not None and declared.family for declared in spread)
    return part_of(spreading, given, program if of_cut else None)


@dataclass(frozen=True, slots=True)
class _CompulsoryTensor:
    """A tensor that comes or goes once: elements in bits, and the ranks it varies along."""

    bits: Fraction
    ranks: frozenset[str]
    users: frozenset[str]
    """The ranks of all Einsums that read or write it: of others one core has a part, and no other
    core needs it."""
    result: bool


def one_core(
    program: Program, architecture: Architecture, spreading: Spreading, given: Sizes[str, int]
) -> Architecture:
    """The machine of one core: one memory in the place of all that several cores share.

    It is as fast as the slowest of them is for one core where each tensor comes once: what cores
    share is counted once for all, but in a memory that feeds them without multicast once for each,
    beside what comes into it.

    Parameters
    ----------
    given : mapping
        Shapes of the whole work in elements by rank.

    Examples
    --------
    Of 108 cores those of a row share X, those of a column W. L2 gives each of them both, so that
    a core has little more than a 120th of its bandwidth:

    >>> from archsim.spec.mapping import SpreadRank
    >>> from einsum_cascade import Cascade
    >>> machine = Architecture.load("a100-80gb")
    >>> ways = [SpreadRank(instances="sms", rank=r, parts=n) for r, n in (("N", 12), ("J", 9))]
    >>> layer = Cascade.load("linear-layer").program
    >>> shapes = {"N": 1200, "D": 1000, "J": 900}
    >>> core = one_core(layer, machine, (("L2", tuple(ways)),), shapes)
    >>> [m.name for m in core.memories]
    ['HBM', 'L1']
    >>> round(7219.2e9 / core.memories[0].bandwidth_bytes_per_s)
    118
    """
    if architecture.memories[0].ring:
        # A chip holds what it works on: it is the machine, or has cores of its own.
        chip = _inside_of(architecture, 0, architecture.memories[1])
        return one_core(program, chip, spreading, given)
    feeding = [n for n, m in enumerate(architecture.memories) if m.instances]
    last = max(feeding, default=0)
    if last and last == len(architecture.memories) - 1:
        # Nothing is inside of it but arrays: it is the core's own memory, in parts.
        seen = seen_by_one(architecture, spreading)
        return replace(seen, memories=tuple(map(alone, seen.memories)))
    spread = [
        (n, s.rank, s.parts or 1)
        for n, m in enumerate(architecture.memories)
        for name, ranks in spreading
        if name == m.name
        for s in ranks
    ]
    shapes = shapes_of_part(spreading, given, program)
    moved = _compulsory(program, architecture, shapes)
    speeds = [
        m.bandwidth_bytes_per_s * _share(n, m, moved, spread)
        for n, m in enumerate(architecture.memories[: last + 1])
        if m.bandwidth_bytes_per_s is not None
    ]
    outermost = replace(
        alone(architecture.memories[0]), bandwidth_bytes_per_s=min(speeds, default=None)
    )
    return _inside_of(architecture, last, outermost)


def _inside_of(architecture: Architecture, last: int, outermost: Memory) -> Architecture:
    """A machine of what is inside of a memory, with another in the place of all that is outside."""
    gone = {m.name for m in architecture.memories[: last + 1]} | {outermost.name}
    inner = (m for m in architecture.memories[last + 1 :] if m.name != outermost.name)
    memories = (replace(m, inside=outermost.name) if m.inside in gone else m for m in inner)
    whole = (replace(outermost, inside=None), *memories)
    return replace(architecture, memories=whole, mapping=None)


def alone(memory: Memory) -> Memory:
    return replace(memory, instances=(), multicast=False, reduces=False)


def _compulsory(
    program: Program, architecture: Architecture, shapes: Sizes[str, int]
) -> tuple[_CompulsoryTensor, ...]:
    """Inputs and outputs of a core's part."""
    bits = words_of(program, architecture.word_bits)
    found = [(t.name, (*program.parallel, *t.ranks), False) for t in program.inputs]
    for name in program.outputs:
        named = (v.upper() for v in program.einsum_of[name].target.variables)
        ranks = dict.fromkeys(whole_rank_of(program, rank) for rank in named)
        found.append((name, (*program.parallel, *ranks), True))
    return tuple(
        _CompulsoryTensor(
            bits=Fraction(prod(shapes.get(r, 1) for r in ranks)) * bits.of(name),
            ranks=_with_parts(program, ranks),
            users=_users(program, name),
            result=result,
        )
        for name, ranks, result in found
    )


def _users(program: Program, tensor: str) -> frozenset[str]:
    """Ranks of the Einsums that read or write a tensor."""
    using = (e for e in program.einsums if tensor in (e.name, *(a.tensor for a in e.reads)))
    named = {whole_rank_of(program, v.upper()) for e in using for v in e.variables}
    return _with_parts(program, (*program.parallel, *named))


def _with_parts(program: Program, ranks: Collection[str]) -> frozenset[str]:
    """Ranks, and what the cascade cuts them into: who has a part of that has a part of the rank."""
    declared = (program.rank_of.get(rank) for rank in ranks)
    return frozenset(chain(ranks, *(d.partition for d in declared if d is not None)))


def _share(
    number: int,
    memory: Memory,
    moved: Sequence[_CompulsoryTensor],
    spread: Sequence[tuple[int, str, int]],
) -> Fraction:
    """The share of a memory's bandwidth that a core has, where all do the same at once."""

    # What is spread outside of it tells copies of the memory apart, each with a bandwidth.
    ways = [(level, rank, parts) for level, rank, parts in spread if level >= number]

    def served(tensor: _CompulsoryTensor) -> int:
        once = memory.reduces if tensor.result else memory.multicast
        all_of = (
            parts
            for level, rank, parts in ways
            if rank in tensor.ranks or (level == number and not once and rank in tensor.users)
        )
        return prod(all_of)

    def filled(tensor: _CompulsoryTensor) -> int:
        """Copies of an operand that come into it, where something is outside."""
        if tensor.result or not number:
            return 0
        return prod(parts for _, rank, parts in ways if rank in tensor.ranks)

    one = sum((t.bits for t in moved), start=Fraction(0))
    every = sum(t.bits * (served(t) + filled(t)) for t in moved)
    return one / every if every else Fraction(1)
