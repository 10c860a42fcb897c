"""The tree that memories form: which feed which array, and through what its data passes.

A memory is inside of another, the one listed before it where nothing is said; so a plain list is
a line. An array reads from some memories and writes to some, in the order in which it prefers
them. What it touches passes through these and through what is outside of them.

The order of the list is the order of loops, too: a memory holds what the loops at itself, and at
memories listed after it, go over. Of two that are side by side the first holds the larger tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Protocol

from einsum_cascade.errors import did_you_mean


class TreeMemory(Protocol):
    """What the tree asks of a memory."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def inside(self) -> str | None:
        """The memory outside of it; None: the one listed before."""

    @property
    def instances(self) -> Sized:
        """Copies that it feeds, by their names."""

    @property
    def ring(self) -> bool | None:
        """Whether it stands for links between these."""


class TreeArray(Protocol):
    """What the tree asks of an array."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Memories that operands come from; empty: the only one with nothing inside."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Memories that results go to; empty: those that it reads from."""


@dataclass(frozen=True, slots=True)
class TreeProblem:
    """What is wrong with a tree, and where: a member of ``memories`` or ``arrays``, its field."""

    group: str
    at: int
    field: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class MemoryTree:
    """Memories by their index, outermost first, and what each array reads from and writes to."""

    paths: tuple[tuple[int, ...], ...]
    """By memory, all that data passes on the way from the outermost to it, both included."""
    reads: dict[str, tuple[int, ...]]
    """By array."""
    writes: dict[str, tuple[int, ...]]
    is_line: bool
    """Whether all memories feed all arrays."""
    _operands: dict[str, frozenset[int]] = field(repr=False)
    _results: dict[str, frozenset[int]] = field(repr=False)

    def reach(self, array: str, *, result: bool, made: str | None = None) -> frozenset[int]:
        """Memories that an operand, or a result, of an array may pass through.

        Parameters
        ----------
        array : str
            Its name.
        result : bool
            Of what it writes; partial and running values of that come back from there, too.
        made : str or None
            The array that makes an operand: its own results it may take from where they are.
        """
        if result:
            return self._results[array]
        return self.feeding(array) if made == array else self._operands[array]

    def feeding(self, array: str) -> frozenset[int]:
        """Memories that anything passes through which an array reads or writes."""
        return self._operands[array] | self._results[array]

    def outside(self, level: int) -> int | None:
        """The memory that one is inside of; None for the outermost."""
        return self.paths[level][-2] if level else None

    def common(self, levels: Iterable[int]) -> int:
        """The innermost memory that some are inside of, or that is one of them.

        Examples
        --------
        >>> from archsim import Architecture
        >>> tree = Architecture.load("fusemax").tree
        >>> tree.paths, tree.common([0, 1]), tree.common([1])
        (((0,), (0, 1)), 0, 1)
        """
        first, *others = (self.paths[level] for level in levels)
        return max(i for i in first if all(i in path for path in others))

    def home(self, array: str, number: int | None, made: str | None) -> int:
        """The innermost memory that a tensor passes where nobody says which.

        What was made in a memory that the array reads from comes from there. Other operands come
        from its memories one by one: the first from the first, as many as there are.

        Parameters
        ----------
        array : str
            The one that reads or writes it.
        number : int or None
            Its place among the operands; None of a result.
        made : str or None
            The array that makes it; None of an input.
        """
        if number is None:
            return self.writes[array][0]
        reads = self.reads[array]
        if made is not None and (there := self.writes[made][0]) in reads:
            return there
        return reads[min(number, len(reads) - 1)]


def memory_tree(memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]) -> MemoryTree:
    """The tree of memories and arrays that have no problems (``tree_problems``)."""
    index = {m.name: n for n, m in enumerate(memories)}
    paths: list[tuple[int, ...]] = []
    for n in range(len(memories)):
        outside = _outside(memories, n)
        paths.append((*(paths[index[outside]] if outside is not None else ()), n))
    leaf = _leaves(memories)[-1]
    reads = {a.name: tuple(index[m] for m in dict.fromkeys(a.reads or (leaf,))) for a in arrays}
    writes = {
        a.name: tuple(index[m] for m in dict.fromkeys(a.writes)) or reads[a.name] for a in arrays
    }

    def through(ends: dict[str, tuple[int, ...]]) -> dict[str, frozenset[int]]:
        return {a: frozenset(i for end in found for i in paths[end]) for a, found in ends.items()}

    operands, results = through(reads), through(writes)
    everything = frozenset(range(len(memories)))
    line = paths[-1] == tuple(range(len(memories)))
    return MemoryTree(
        paths=tuple(paths),
        reads=reads,
        writes=writes,
        is_line=line and all(r == everything for r in (*operands.values(), *results.values())),
        _operands=operands,
        _results=results,
    )


def _outside(memories: Sequence[TreeMemory], at: int) -> str | None:
    """The name of the memory that one is inside of."""
    if (inside := memories[at].inside) is not None:
        return inside
    return memories[at - 1].name if at else None


def _leaves(memories: Sequence[TreeMemory]) -> list[str]:
    """Memories that nothing is inside of."""
    outside = {_outside(memories, n) for n in range(len(memories))}
    return [m.name for m in memories if m.name not in outside]


def tree_problems(
    memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]
) -> Iterator[TreeProblem]:
    """What keeps memories from being a tree whose every branch feeds an array.

    Parameters
    ----------
    memories, arrays : sequence
        Of different names each.
    """
    known = [m.name for m in memories]
    wrong = [*_unknown(known, memories, arrays)] or [*_order(known, memories)]
    wrong = wrong or [*_unfed(memories, arrays)] or [*_copied_in_part(memories, arrays)]
    yield from wrong or _open_rings(memories)


def _unknown(
    known: Sequence[str], memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]
) -> Iterator[TreeProblem]:
    for at, memory in enumerate(memories):
        if memory.inside is not None and memory.inside not in known:
            text = f"'{memory.inside}' is not a memory, so '{memory.name}' cannot be inside of it"
            others = [name for name in known if name != memory.name]
            yield TreeProblem(
                "memories",
                at,
                "inside",
                text,
                did_you_mean(memory.inside, others) if others else "",
            )
    for at, array in enumerate(arrays):
        for what, names in (("reads", array.reads), ("writes", array.writes)):
            for name in names:
                if name not in known:
                    how = "read from" if what == "reads" else "write to"
                    text = f"'{name}' is not a memory that '{array.name}' could {how}"
                    yield TreeProblem("arrays", at, what, text, did_you_mean(name, known))


def _order(known: Sequence[str], memories: Sequence[TreeMemory]) -> Iterator[TreeProblem]:
    """Loops, and memories that are listed before what they are inside of."""
    said = {m.name: m.inside for m in memories if m.inside is not None}
    told: set[str] = set()
    for at, memory in enumerate(memories):
        # By what is said alone: a loop that goes by the order of the list, too, has a memory that
        # is listed before what it is said to be inside of, which is told below.
        chain = [memory.name]
        while (outside := said.get(chain[-1])) is not None and outside not in chain:
            chain.append(outside)
        if outside == memory.name:
            if told.isdisjoint(chain):
                way = ", which is inside of ".join(f"'{name}'" for name in (*chain[1:], outside))
                text = f"'{memory.name}' is inside of {way}: no memory is outside of such a loop"
                yield TreeProblem("memories", at, "inside", text)
            told.update(chain)
        elif memory.inside is not None and known.index(memory.inside) > at and outside is None:
            text = f"'{memory.name}' is listed before '{memory.inside}', which it is inside of"
            yield TreeProblem("memories", at, "inside", text, "outer memories come first")


def _unfed(memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]) -> Iterator[TreeProblem]:
    """Arrays that do not say which of several branches they read, and branches nobody reads."""
    leaves = _leaves(memories)
    named = {name for a in arrays for name in (*a.reads, *a.writes)}
    silent = [n for n, a in enumerate(arrays) if not a.reads]
    for at in silent if len(leaves) > 1 else ():
        text = (
            f"{' and '.join(leaves)} are side by side: '{arrays[at].name}' must say which it "
            "reads from"
        )
        yield TreeProblem("arrays", at, "name", text, f"add 'reads: {leaves[0]}', or a list")
    if silent:
        named.update(leaves)
    for at, memory in enumerate(memories):
        if memory.name in leaves and memory.name not in named:
            text = f"no array reads from '{memory.name}' or writes to it, and nothing is inside"
            hint = f"add 'reads: {memory.name}' to an array, or take the memory out"
            yield TreeProblem("memories", at, "name", text, hint)


def _copied_in_part(
    memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]
) -> Iterator[TreeProblem]:
    """Memories that feed instances, beside others or arrays that are not inside of them."""
    tree = memory_tree(memories, arrays)
    # What is neither inside of it nor outside of it would be there once, and its copies many times.
    for at, memory in enumerate(memories):
        if not memory.instances:
            continue
        beside = [
            m.name
            for m, path in zip(memories, tree.paths, strict=True)
            if at not in path and path[-1] not in tree.paths[at]
        ]
        beside += [
            a.name
            for a in arrays
            if not all(at in tree.paths[end] for end in (*tree.reads[a.name], *tree.writes[a.name]))
        ]
        if beside:
            text = f"'{memory.name}' feeds instances, but {', '.join(beside)} is not inside of it"
            hint = "give 'instances' to a memory that all arrays are inside of"
            yield TreeProblem("memories", at, "instances", text, hint)


def _open_rings(memories: Sequence[TreeMemory]) -> Iterator[TreeProblem]:
    """Links in a ring that have something outside, nothing to pass on from, or two memories to."""
    for at, memory in enumerate(memories):
        if not memory.ring:
            continue
        inside = [
            m.name
            for n, m in enumerate(memories)
            if n and (m.inside or memories[n - 1].name) == memory.name
        ]
        text = hint = ""
        if at:
            text = f"'{memory.name}' is a ring of links, but inside of '{memories[0].name}'"
            hint = "what is outside of all others may be one"
        elif len(memory.instances) != 1:
            text = f"'{memory.name}' is a ring of links of one kind of instances"
            hint = "give it 'instances: {chips: 4}'"
        elif len(inside) != 1:
            found = " and ".join(inside) or "nothing"
            text = f"'{memory.name}' is a ring of links, which hold nothing, and {found} is inside"
            hint = "one memory has to be inside of it, which holds what an instance has"
        if text:
            yield TreeProblem("memories", at, "ring", text, hint)
