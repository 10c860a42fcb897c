"""Memory tree: which memories feed each array, and which memories the data passes.

Each memory is inside of another one, by default the previous in the list; so a plain list is a
line. An array reads from some memories and writes to some, preferred ones first. Its data passes
these memories and all memories outside of them.

The order of the list is also the order of loops. A memory holds the data of the loops at itself and
at all memories listed later. Of two sibling memories the first holds the larger tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Protocol

from einsum_cascade.errors import did_you_mean


class TreeMemory(Protocol):
    """Fields of a memory that the tree needs."""

    @property
    def name(self) -> str:
        """Name of the memory."""

    @property
    def inside(self) -> str | None:
        """Name of the memory outside of this one; None: the previous one in the list."""

    @property
    def instances(self) -> Sized:
        """Cores that the memory feeds, by name."""

    @property
    def ring(self) -> bool | None:
        """True if the memory stands for links between the cores."""


class TreeArray(Protocol):
    """Fields of an array that the tree needs."""

    @property
    def name(self) -> str:
        """Name of the array."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Memories that hold operands; empty: the only leaf."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Memories that receive results; empty: those of ``reads``."""


@dataclass(frozen=True, slots=True)
class TreeProblem:
    """Problem of a tree: its text and the member (of ``memories`` or ``arrays``) and field at
    fault."""

    group: str
    at: int
    field: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class MemoryTree:
    """Memories by index, outermost first, and the memories that each array reads and writes."""

    paths: tuple[tuple[int, ...], ...]
    """Path of each memory: indices from the outermost memory to the memory itself."""
    reads: dict[str, tuple[int, ...]]
    """Indices of the memories that each array reads from, preferred ones first."""
    writes: dict[str, tuple[int, ...]]
    is_line: bool
    """True if all memories feed all arrays."""
    _operands: dict[str, frozenset[int]] = field(repr=False)
    _results: dict[str, frozenset[int]] = field(repr=False)

    def reach(self, array: str, *, result: bool, made: str | None = None) -> frozenset[int]:
        """Return the memories that an operand or a result of an array may pass.

        Parameters
        ----------
        array : str
            Name of the array.
        result : bool
            True for a result; its partial and running values return from these memories, too.
        made : str or None
            Array that produces an operand. An array may read its own results where they are.
        """
        if result:
            return self._results[array]
        return self.feeding(array) if made == array else self._operands[array]

    def feeding(self, array: str) -> frozenset[int]:
        """Return the memories passed by any operand or result of an array."""
        return self._operands[array] | self._results[array]

    def outside(self, level: int) -> int | None:
        """Return the memory outside of a memory; None for the outermost."""
        return self.paths[level][-2] if level else None

    def common(self, levels: Iterable[int]) -> int:
        """Return the innermost memory that contains all of some memories (or is one of them).

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
        """Return the innermost memory that a tensor passes by default.

        A tensor produced in a memory that the array reads from comes from there. Other operands
        take the memories of the array in order: the first operand from the first memory, and so on.

        Parameters
        ----------
        array : str
            Array that reads or writes the tensor.
        number : int or None
            Position among the operands; None for a result.
        made : str or None
            Array that produces the tensor; None for an input of the cascade.
        """
        if number is None:
            return self.writes[array][0]
        reads = self.reads[array]
        if made is not None and (there := self.writes[made][0]) in reads:
            return there
        return reads[min(number, len(reads) - 1)]


def memory_tree(memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]) -> MemoryTree:
    """Return the tree of memories and arrays that have no problems (``tree_problems``)."""
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
    """Return the name of the memory outside of a memory."""
    if (inside := memories[at].inside) is not None:
        return inside
    return memories[at - 1].name if at else None


def _leaves(memories: Sequence[TreeMemory]) -> list[str]:
    """Return the memories that contain no other memory."""
    outside = {_outside(memories, n) for n in range(len(memories))}
    return [m.name for m in memories if m.name not in outside]


def tree_problems(
    memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]
) -> Iterator[TreeProblem]:
    """Yield the problems of memories that do not form a tree whose every branch feeds an array.

    Parameters
    ----------
    memories, arrays : sequence
        Members with distinct names.
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
    """Yield loops, and memories listed before the memory they are inside of."""
    explicit = {m.name: m.inside for m in memories if m.inside is not None}
    reported: set[str] = set()
    for at, memory in enumerate(memories):
        # Follow explicit statements only. If a loop also uses the order of the list, it has a
        # memory listed before the one it is inside of. The second branch reports that memory.
        chain = [memory.name]
        while (outside := explicit.get(chain[-1])) is not None and outside not in chain:
            chain.append(outside)
        if outside == memory.name:
            if reported.isdisjoint(chain):
                way = ", which is inside of ".join(f"'{name}'" for name in (*chain[1:], outside))
                text = f"'{memory.name}' is inside of {way}: no memory is outside of such a loop"
                yield TreeProblem("memories", at, "inside", text)
            reported.update(chain)
        elif memory.inside is not None and known.index(memory.inside) > at and outside is None:
            text = f"'{memory.name}' is listed before '{memory.inside}', which it is inside of"
            yield TreeProblem("memories", at, "inside", text, "outer memories come first")


def _unfed(memories: Sequence[TreeMemory], arrays: Sequence[TreeArray]) -> Iterator[TreeProblem]:
    """Yield arrays that do not name one of several branches, and branches without readers."""
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
    """Yield memories that feed cores while other memories or arrays are outside of the cores."""
    tree = memory_tree(memories, arrays)
    # A part neither inside nor outside of the memory would exist once, but the cores many times.
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
    """Yield rings with a memory outside, without one kind of cores, or without one memory
    inside."""
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
