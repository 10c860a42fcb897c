"""Machines: memories, arrays of processing elements, and the technology that bills their actions.

Everything here is frozen data with its unit in the field name. Sizes and bandwidths are exact
(``int`` or ``Fraction``), so that cycle counts derived from them are exact too.

Each memory is inside of another one, by default the previous in the list; so a plain list is a
line. An array reads from some memories and writes to some, preferred ones first. Its data passes
these memories and all memories outside of them.

The order of the list is also the order of loops. A memory holds the data of the loops at this
memory and at all memories listed later. Of two sibling memories the first holds the larger tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite, prod
from numbers import Rational
from types import MappingProxyType
from typing import Any, Literal

from einsum_cascade.errors import SpecError, did_you_mean
from einsum_cascade.memo import Memoized, memoized
from einsum_cascade.number_formats import FORMATS
from einsum_cascade.operations import in_format, kind_and_format

from ..document import Document, Fact, first_names, names, numbers, table_of, texts
from ..quantities import byte_size, engineering
from .evidence import NOT_STATED, Evidence, Kind
from .losses import Losses
from .reading import Specification
from .technology import Technology


def _exact(value: float | Fraction, what: str) -> Fraction:
    """Return a positive number as a fraction; Python callers may pass a ``float``.

    Raises
    ------
    SpecError
        The value is not a positive number.
    """
    if isinstance(value, Fraction) and value > 0:
        return value
    if isinstance(value, int | float | Rational) and isfinite(value) and value > 0:
        return Fraction(value)
    raise SpecError(f"{what}: expected a positive number, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One memory level. ``None`` as its capacity or bandwidth means unlimited."""

    name: str
    energy: str
    """Memory class of the technology; an access of one line of ``line_bits`` is billed by it."""
    line_bits: int
    capacity_bytes: int | None = None
    bandwidth_bytes_per_s: Fraction | None = None
    """Bandwidth in bytes per second, for reads and writes together."""
    installed_bytes: int | None = None
    """Size of an outermost memory in bytes, which no mapping is checked against; None: unknown."""
    billed_bytes: int | None = None
    """Capacity in bytes by which energy and area are billed; None: ``capacity_bytes``."""
    write_buffer: int = 1
    """Number of steps whose results may wait for a write while operands of later steps are read.

    A deeper buffer keeps a late result from delaying the reads that follow.
    """
    instances: tuple[tuple[str, int], ...] = ()
    """Pairs of a name and a number of copies: cores (or chips) that this memory feeds.

    Everything inside the memory exists once per core.
    """
    multicast: bool = False
    """True if a value that several cores read is read once for all of them."""
    reduces: bool = False
    """True if partial sums of several cores are added on their way to the memory."""
    ring: bool = False
    """True if the memory stores nothing, but stands for links between neighbouring cores in a ring.

    The bandwidth is that of each link.
    """
    inside: str | None = None
    """Name of the memory directly outside of this one, which is listed earlier; None: the previous
    one."""

    def __post_init__(self) -> None:
        if self.bandwidth_bytes_per_s is not None:
            rate = _exact(self.bandwidth_bytes_per_s, f"{self.name}: bandwidth_bytes_per_s")
            object.__setattr__(self, "bandwidth_bytes_per_s", rate)
        for field_name in (
            "line_bits",
            "capacity_bytes",
            "installed_bytes",
            "billed_bytes",
            "write_buffer",
        ):
            if (size := getattr(self, field_name)) is not None:
                whole = _exact(size, f"{self.name}: {field_name}")
                if whole.denominator != 1:
                    text = f"{self.name}: {field_name}: expected a whole number, got {size}"
                    raise SpecError(text)
                object.__setattr__(self, field_name, int(whole))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Cost of one kind of operation on a processing element."""

    kind: str
    cycles: Fraction
    """Cycles for which one operation occupies the processing element."""
    bill: tuple[tuple[str, Fraction], ...]
    """Pairs of an action of the technology and how often one operation is billed for the action."""
    format: str = ""
    """Number format of the operands. If empty, the entry is for every format without its own entry.

    ``OF_WORDS`` is for values without a stated format, and only for these.
    """


OF_WORDS = "word"
"""Name in place of a format, for values without a stated format."""

STAND_INS: Mapping[str, str] = MappingProxyType(
    {"sub": "add", "mul": "mac", "add": "mac", "min": "max", "neg": "sub"}
)
"""Operation that replaces a missing operation, by the missing one.

A subtractor is an adder, and a multiplier or an adder is half of a multiply-accumulate.
Replacements chain: ``neg`` is ``sub`` from zero, hence ``add``, hence ``mac``.
"""


Overlap = bool | Literal["streams"]
"""Overlap of fills and drains with other work on a systolic array: all, none, or ``streams``.

With ``streams`` only fills and drains of streaming operands overlap. A load waits until the array
is drained.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """Axis of an array, with the latency of reductions along the axis."""

    name: str
    size: int
    reduction_latency_cycles: int = 0
    """Cycles by which the result of a reduction along the axis is late, at one result per cycle."""
    reduction_latency_axis: str | None = None
    """Axis whose size sets the reduction latency (one hop per processing element). None: the
    latency is a number of cycles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """Register file of one processing element."""

    depth: int
    energy: str = "register_file"
    width_bits: int | None = None
    """Width of one register in bits; None: the width of the machine's word."""
    billed: Literal["all", "one"] = "all"
    """Registers that are billed when an Einsum accesses its own array: those of all processing
    elements, or of a single one, as the published evaluation did."""


@dataclass(frozen=True, kw_only=True)
class ProcessingArray(Memoized):
    """Spatial array of identical processing elements."""

    name: str
    dimensions: tuple[Dimension, ...]
    registers: Registers
    operations: tuple[Operation, ...]
    units: tuple[str, ...] = ()
    """Functional units whose area each processing element has; empty: those of all its actions."""
    operands: Literal["broadcast", "systolic"] = "broadcast"
    """Delivery of operands to the processing elements: to all at once, or systolically (with row
    and column skew)."""
    overlap: Overlap = True
    """Overlap of one fold's fill and drain with the next fold (``systolic`` operands only)."""
    overhead_area_um2: float = 0.0
    """Area of the array's own network in um2, without its processing elements."""
    wider: bool = False
    """True if an operation in a missing format runs in another listed format: the narrowest one
    that holds all values of the missing one."""
    convert: tuple[tuple[str, str], ...] = ()
    """Pairs of a format and the other format in which its operations run."""
    reads: tuple[str, ...] = ()
    """Memories that hold the operands; empty: the innermost memory."""
    writes: tuple[str, ...] = ()
    """Memories that receive the results; empty: the memories in ``reads``."""

    @property
    def elements(self) -> int:
        """Number of processing elements."""
        return prod(d.size for d in self.dimensions)

    def dimension(self, name: str) -> Dimension | None:
        """Return the axis called ``name``, or None."""
        return next((d for d in self.dimensions if d.name == name), None)

    @memoized
    def operation(self, kind: str) -> Operation | None:
        """Return the operation with which a processing element does ``kind``; None if there is
        none.

        ``STAND_INS`` replaces an operation without an entry; the result has the kind of the
        replacement. A ``copy`` without an entry takes a cycle and bills nothing: it moves a value
        between registers, which are billed on their own.

        Examples
        --------
        An array that can only multiply and accumulate also adds and subtracts.

        >>> array = Architecture.load("flat").arrays[0]
        >>> [o.kind for kind in ("mac", "sub", "copy") if (o := array.operation(kind))]
        ['mac', 'add', 'copy']
        >>> array.operation("exp") is None
        True
        """
        listed = self.listed(kind)
        if listed is not None:
            return listed
        plain, fmt = kind_and_format(kind)
        if plain == "copy":
            return Operation(kind="copy", cycles=Fraction(1), bill=())
        return self.operation(in_format(STAND_INS[plain], fmt)) if plain in STAND_INS else None

    def listed(self, kind: str) -> Operation | None:
        """Return the entry that the operations table has for ``kind``, or None.

        Formats are tried in this order: the format of the operation itself, its format in
        ``convert``, a wider one if ``wider``, and the entry for any format.
        """
        plain, fmt = kind_and_format(kind)
        found = {o.format: o for o in self.operations if o.kind == plain}
        for name in (fmt or OF_WORDS, dict(self.convert).get(fmt, fmt)):
            if name in found:
                return found[name]
        if self.wider and fmt in FORMATS:
            able = [FORMATS[name] for name in found if name in FORMATS]
            wide = [f for f in able if f.holds(FORMATS[fmt])]
            if wide:
                return found[min(wide, key=lambda f: f.rank).name]
        return found.get("")

    def formats_of(self, kind: str) -> tuple[str, ...]:
        """Return the formats in which the table lists a kind of operation.

        An entry for any format does not count.
        """
        return tuple(o.format for o in self.operations if o.kind == kind and o.format in FORMATS)

    def cannot_do(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """Return the kinds of operation that the array can do neither by an entry nor by a
        replacement."""
        return tuple(kind for kind in kinds if self.operation(kind) is None)

    def cycles_of(self, operations: Iterable[tuple[str, int]]) -> Fraction:
        """Return the cycles that one processing element needs for operations one after the other.

        Parameters
        ----------
        operations : iterable of (kind, count)
            Operations, for example those of one point of an Einsum.

        Raises
        ------
        ValueError
            The array cannot do one of them.

        Examples
        --------
        An exponential is six multiply-accumulates on FuseMax's elements, a ``sub`` is an add.

        >>> array = Architecture.load("fusemax").arrays[0]
        >>> array.cycles_of([("exp", 1), ("sub", 1), ("mac", 2)])
        Fraction(9, 1)
        """
        total = Fraction(0)
        for kind, count in operations:
            found = self.operation(kind)
            if found is None:
                raise ValueError(f"{self.name} cannot do '{kind}'")
            total += count * found.cycles
        return total


@dataclass(frozen=True, slots=True)
class TreeProblem:
    """Problem of a memory tree: its text, and the memory or array and the field that cause it."""

    group: str
    at: int
    field: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class MemoryTree:
    """Tree of memories: where each memory lies, and which memories each array reads and writes.

    Memories are given by index, outermost first.
    """

    paths: tuple[tuple[int, ...], ...]
    """Path of each memory: indices from the outermost memory down to this memory."""
    reads: dict[str, tuple[int, ...]]
    """Indices of the memories that each array reads from, preferred ones first."""
    writes: dict[str, tuple[int, ...]]
    is_line: bool
    """True if all memories feed all arrays."""
    _operands: dict[str, frozenset[int]] = field(repr=False)
    _results: dict[str, frozenset[int]] = field(repr=False)

    def reach(self, array: str, *, result: bool, made: str | None = None) -> frozenset[int]:
        """Return the memories that an array's operand or result may pass.

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
        """Return the memories that some operand or result of an array may pass."""
        return self._operands[array] | self._results[array]

    def outside(self, level: int) -> int | None:
        """Return the memory directly outside of a memory; None for the outermost one."""
        return self.paths[level][-2] if level else None

    def common(self, levels: Iterable[int]) -> int:
        """Return the innermost memory that contains all of the given memories; it may be one of
        these.

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
        """Return the innermost memory that a tensor passes by default on its way to or from an
        array.

        A tensor produced in a memory that the array reads from comes from this memory. Other
        operands take the memories of the array in order: the first operand from the first memory,
        and so on.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture(Specification):
    """Machine: memories, outermost first, and arrays that work in parallel.

    Raises
    ------
    SpecError
        The clock is not a positive number, or the memories do not form a tree that feeds arrays.

    Examples
    --------
    >>> machine = Architecture.load("fusemax", ["arrays.array_2d.shape.rows=128"])
    >>> [(array.name, array.elements) for array in machine.arrays]
    [('array_2d', 32768), ('array_1d', 256)]
    """

    name: str
    technology: Technology
    clock_hz: Fraction
    word_bits: int
    memories: tuple[Memory, ...]
    arrays: tuple[ProcessingArray, ...]
    mapping: str | None = None
    """Mapping that the machine was designed for. It runs if a workload's default mapping is not
    legal."""
    power_limit_w: float | None = None
    """Average power in watts that the machine can sustain (TDP); None: unknown."""
    losses: Losses | None = None
    """Losses of the built machine; None: nothing is measured, and it is as designed."""
    source: str = field(default="", compare=False)
    evidence: Evidence = field(default=Evidence(), repr=False, compare=False)
    """Evidence for the numbers of the machine's file."""
    tree: MemoryTree = field(init=False, repr=False, compare=False)
    """Tree of the machine's memories, with the memories that each array reads and writes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock_hz", _exact(self.clock_hz, f"{self.name}: clock_hz"))
        if wrong := [p.text for p in tree_problems(self.memories, self.arrays)]:
            raise SpecError(f"{self.name}: {'; '.join(wrong)}")
        object.__setattr__(self, "tree", memory_tree(self.memories, self.arrays))

    def evidence_of(self, path: str) -> Kind | None:
        """Return the kind of evidence for a number; None if it is not stated.

        Parameters
        ----------
        path : str
            Path of the field as in a setting.

        Examples
        --------
        >>> machine = Architecture.load("fusemax", ["clock=1 GHz"])
        >>> [machine.evidence_of(p) for p in ("clock", "memories.global_buffer.capacity")]
        ['assumed', 'published']
        """
        return self.evidence.of(path)

    def resized(
        self, memories: tuple[Memory, ...], evidence: Evidence | None = None
    ) -> Architecture:
        """Return the machine with other capacities and bandwidths; its memory tree stays.

        Parameters
        ----------
        memories : tuple of Memory
            The machine's memories with other capacities and bandwidths. Nothing is checked.
        evidence : Evidence or None
            Evidence for the other numbers; None: that of the machine.
        """
        # Copy the slots directly: checking the tree again takes longer than everything else.
        found = object.__new__(Architecture)
        others = {"memories": memories, "evidence": evidence or self.evidence}
        for name in Architecture.__slots__:
            object.__setattr__(found, name, others.get(name) or getattr(self, name))
        return found

    @property
    def has_instances(self) -> bool:
        """True if some memory feeds several cores."""
        return any(m.instances for m in self.memories)

    @property
    def home_level(self) -> int:
        """Index of the outermost memory that stores data (a ring of links does not)."""
        return int(self.memories[0].ring)

    @property
    def home(self) -> Memory:
        """Outermost memory that stores data."""
        return self.memories[self.home_level]

    def copies(self, place: str) -> int:
        """Return how many copies of a memory or an array the machine has; for a ring, how many
        links.

        Examples
        --------
        >>> machine = Architecture.load("fusemax", ["memories.DRAM.instances.cores=4"])
        >>> [machine.copies(name) for name in ("DRAM", "global_buffer", "array_2d")]
        [1, 4, 4]
        """
        found = 1
        for memory in self.memories:
            if memory.name == place and not memory.ring:
                break
            found *= prod(n for _, n in memory.instances)
            if memory.name == place:
                break
        return found

    @property
    def word_bytes(self) -> Fraction:
        """Size in bytes of a machine word, which holds one tensor element of no stated format."""
        return Fraction(self.word_bits, 8)

    def memory(self, name: str) -> Memory | None:
        """Return the memory called ``name``, or None."""
        return next((m for m in self.memories if m.name == name), None)

    def array(self, name: str) -> ProcessingArray | None:
        """Return the array called ``name``, or None."""
        return next((a for a in self.arrays if a.name == name), None)

    def arrays_for(self, kinds: Iterable[str]) -> tuple[ProcessingArray, ...]:
        """Return the arrays that can do all given kinds of operation, in the machine's order.

        Examples
        --------
        Only the vector array of FLAT divides.

        >>> [array.name for array in Architecture.load("flat").arrays_for(["mul", "div"])]
        ['array_1d']
        """
        wanted = tuple(kinds)
        return tuple(array for array in self.arrays if not array.cannot_do(wanted))

    def card(self) -> Document:
        """Summarise a machine: clock, word, memories outermost first, arrays, operations."""
        sizes = ((m.name, _capacity(m), _bandwidth(m)) for m in self.memories)
        heads = (*names("memory"), *numbers("capacity", "bandwidth"))
        memories = table_of("memories", heads, sizes)
        # A kind of operation is listed once, whatever its formats.
        kinds = {a.name: dict.fromkeys(o.kind for o in a.operations) for a in self.arrays}
        able = ((a.name, _shape(a), first_names(kinds[a.name])) for a in self.arrays)
        words = (*names("array"), *texts("elements", "operations"))
        arrays = table_of("arrays", words, able)
        facts = [
            Fact("clock", engineering(float(self.clock_hz), "Hz", digits=3)),
            Fact("word", f"{self.word_bits} bit"),
            Fact("technology", self.technology.name, f"{self.technology.node_nm} nm"),
        ]
        if self.mapping is not None:
            facts.append(Fact("designed for", self.mapping))
        facts.append(self._evidence())
        return Document(
            title=f"architecture {self.name}", facts=tuple(facts), tables=((memories,), (arrays,))
        )

    def _evidence(self) -> Fact:
        """Summarise the evidence: how many numbers are of each kind, and which are assumed."""
        counts = ", ".join(f"{n} {kind}" for kind, n in self.evidence.counts())
        assumed = first_names(self.evidence.assumed())
        remark = f"assumed: {assumed}" if assumed else ""
        return Fact("evidence", counts or NOT_STATED, remark)

    def to_dict(self) -> dict[str, Any]:
        """Return the machine's name and technology, and the evidence for each number by its
        path."""
        kinds = {path: self.evidence_of(path) for path in self.evidence.numbers}
        return {"name": self.name, "technology": self.technology.name, "evidence": kinds}


def memory_tree(memories: Sequence[Memory], arrays: Sequence[ProcessingArray]) -> MemoryTree:
    """Return the memory tree of memories and arrays that ``tree_problems`` has found correct."""
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


def _outside(memories: Sequence[Memory], at: int) -> str | None:
    """Return the name of the memory directly outside of a memory; None for the outermost one."""
    if (inside := memories[at].inside) is not None:
        return inside
    return memories[at - 1].name if at else None


def _leaves(memories: Sequence[Memory]) -> list[str]:
    """Return the memories that contain no other memory."""
    outside = {_outside(memories, n) for n in range(len(memories))}
    return [m.name for m in memories if m.name not in outside]


def tree_problems(
    memories: Sequence[Memory], arrays: Sequence[ProcessingArray]
) -> Iterator[TreeProblem]:
    """Yield the problems of memories that do not form a tree, or of a branch that feeds no array.

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
    known: Sequence[str], memories: Sequence[Memory], arrays: Sequence[ProcessingArray]
) -> Iterator[TreeProblem]:
    for at, memory in enumerate(memories):
        if memory.inside is not None and memory.inside not in known:
            text = f"'{memory.inside}' is not a memory, so '{memory.name}' cannot be inside of it"
            others = [name for name in known if name != memory.name]
            hint = did_you_mean(memory.inside, others) if others else ""
            yield TreeProblem("memories", at, "inside", text, hint)
    for at, array in enumerate(arrays):
        for what, listed in (("reads", array.reads), ("writes", array.writes)):
            for name in listed:
                if name not in known:
                    how = "read from" if what == "reads" else "write to"
                    text = f"'{name}' is not a memory that '{array.name}' could {how}"
                    yield TreeProblem("arrays", at, what, text, did_you_mean(name, known))


def _order(known: Sequence[str], memories: Sequence[Memory]) -> Iterator[TreeProblem]:
    """Yield a problem for each cycle of memories inside one another, and for each memory that is
    listed before the memory it is inside of."""
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


def _unfed(memories: Sequence[Memory], arrays: Sequence[ProcessingArray]) -> Iterator[TreeProblem]:
    """Yield a problem for each array that must name one of several branches and does not. Also
    yield one for each branch that no array reads or writes."""
    leaves = _leaves(memories)
    named = {name for a in arrays for name in (*a.reads, *a.writes)}
    silent = [n for n, a in enumerate(arrays) if not a.reads]
    for at in silent if len(leaves) > 1 else ():
        sides = " and ".join(leaves)
        text = f"{sides} are side by side: '{arrays[at].name}' must say which it reads from"
        yield TreeProblem("arrays", at, "name", text, f"add 'reads: {leaves[0]}', or a list")
    if silent:
        named.update(leaves)
    for at, memory in enumerate(memories):
        if memory.name in leaves and memory.name not in named:
            text = f"no array reads from '{memory.name}' or writes to it, and nothing is inside"
            hint = f"add 'reads: {memory.name}' to an array, or take the memory out"
            yield TreeProblem("memories", at, "name", text, hint)


def _copied_in_part(
    memories: Sequence[Memory], arrays: Sequence[ProcessingArray]
) -> Iterator[TreeProblem]:
    """Yield a problem for each memory that feeds cores although something else is outside of the
    cores."""
    tree = memory_tree(memories, arrays)
    # A part neither inside nor outside of the memory would exist once, but the cores many times.
    for at, memory in enumerate(memories):
        if not memory.instances:
            continue
        elsewhere = [
            m.name
            for m, path in zip(memories, tree.paths, strict=True)
            if at not in path and path[-1] not in tree.paths[at]
        ]
        elsewhere += [
            a.name
            for a in arrays
            if not all(at in tree.paths[end] for end in (*tree.reads[a.name], *tree.writes[a.name]))
        ]
        if elsewhere:
            outside = ", ".join(elsewhere)
            text = f"'{memory.name}' feeds instances, but {outside} is not inside of it"
            hint = "give 'instances' to a memory that all arrays are inside of"
            yield TreeProblem("memories", at, "instances", text, hint)


def _open_rings(memories: Sequence[Memory]) -> Iterator[TreeProblem]:
    """Yield a problem for each ring of links that is not outermost.

    Also yield one if a ring does not link one kind of cores, or does not contain exactly one
    memory.
    """
    for at, memory in enumerate(memories):
        if not memory.ring:
            continue
        inside = [m.name for n, m in enumerate(memories) if _outside(memories, n) == memory.name]
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


def _capacity(memory: Memory) -> str:
    size = memory.capacity_bytes or memory.installed_bytes
    return "unlimited" if size is None else byte_size(size)


def _bandwidth(memory: Memory) -> str:
    found = memory.bandwidth_bytes_per_s
    return "unlimited" if found is None else engineering(float(found), "B/s")


def _shape(array: ProcessingArray) -> str:
    return " x ".join(f"{d.size} {d.name}" for d in array.dimensions)
