"""The machine: memories, arrays of processing elements, and the technology that bills them.

Everything here is frozen data with its unit in the field name. Sizes and bandwidths are
exact (``int`` or ``Fraction``), so that cycle counts derived from them are exact too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite, prod
from numbers import Rational
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from einsum_cascade.errors import SpecError
from einsum_cascade.memo import Memoized
from einsum_cascade.number_formats import FORMATS
from einsum_cascade.operations import in_format, kind_and_format

from ..document import Column, Document, Fact, Table, first_names, to_html
from ..quantities import byte_size, engineering
from .memory_tree import MemoryTree, memory_tree, tree_problems
from .reading import read
from .technology import Technology

if TYPE_CHECKING:
    from .overrides import Overriding


def _exact(value: float | Fraction, what: str) -> Fraction:
    """A number as it is; files give exact ones, Python perhaps a ``float``.

    Raises
    ------
    SpecError
        It is no positive number.
    """
    if isinstance(value, Fraction) and value > 0:
        return value
    if isinstance(value, int | float | Rational) and isfinite(value) and value > 0:
        return Fraction(value)
    raise SpecError(f"{what}: expected a positive number, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One storage level. ``None`` for capacity or bandwidth means unlimited."""

    name: str
    energy: str
    """Memory class of the technology that bills an access of one ``line_bits`` line."""
    line_bits: int
    capacity_bytes: int | None = None
    bandwidth_bytes_per_s: Fraction | None = None
    """Bytes per second, reads and writes together."""
    billed_bytes: int | None = None
    """Capacity whose energy and area are billed; None: its own."""
    write_buffer: int = 1
    """Steps whose results may wait to be written while operands of later ones are read: a
    deeper one keeps a late result from holding up what is read behind it."""
    instances: tuple[tuple[str, int], ...] = ()
    """By a name of theirs, how many copies of all that is inside of it this memory feeds."""
    multicast: bool = False
    """Whether what several instances read is read once for all of them."""
    reduces: bool = False
    """Whether partial sums of several instances are added on their way to it."""
    ring: bool = False
    """Whether it holds nothing, and stands for links of the instances that it feeds to their
    neighbours in a ring; its bandwidth is that of each."""
    inside: str | None = None
    """The memory outside of it, listed before; None: the one listed just before."""

    def __post_init__(self) -> None:
        if self.bandwidth_bytes_per_s is not None:
            rate = _exact(self.bandwidth_bytes_per_s, f"{self.name}: bandwidth_bytes_per_s")
            object.__setattr__(self, "bandwidth_bytes_per_s", rate)
        for field_name in ("line_bits", "capacity_bytes", "billed_bytes", "write_buffer"):
            if (size := getattr(self, field_name)) is not None:
                whole = _exact(size, f"{self.name}: {field_name}")
                if whole.denominator != 1:
                    text = f"{self.name}: {field_name}: expected a whole number, got {size}"
                    raise SpecError(text)
                object.__setattr__(self, field_name, int(whole))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one processing element does for one operation kind."""

    kind: str
    cycles: Fraction
    """Cycles the element is busy with one operation."""
    bill: tuple[tuple[str, Fraction], ...]
    """Actions of the technology billed per operation, and how often."""
    format: str = ""
    """Of its operands; empty: of any but those that other entries of the kind name.
    ``OF_WORDS``: of values whose format nobody states, and of those alone."""


OF_WORDS = "word"
"""Stands for the format of values that are words of the machine."""

STAND_INS: Mapping[str, str] = MappingProxyType(
    {"sub": "add", "mul": "mac", "add": "mac", "min": "max", "neg": "sub"}
)
"""What an element does for an operation its table lacks: a subtractor is an adder, a
multiplier or adder is half of a multiply-accumulate, and so on along the table (``neg`` is
``sub`` from zero, hence ``add``, hence ``mac``)."""


Overlap = bool | Literal["streams"]
"""Of fills and drains with other work on a systolic array: all of them, none, or those of what
streams by. Then a load waits until the array has drained, and takes its cycles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One axis of an array and, where reductions along it are late, by how much."""

    name: str
    size: int
    reduction_latency_cycles: int = 0
    """A spatial reduction along this axis gives one result a cycle, this many cycles late."""
    reduction_latency_axis: str | None = None
    """The axis whose size that latency is (one hop per element); None: it is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """The register file of one processing element."""

    depth: int
    energy: str = "register_file"
    width_bits: int | None = None
    """``None`` takes the word of the machine."""
    billed: Literal["all", "one"] = "all"
    """Whether an Einsum's accesses to its own array's registers are billed for every
    element or for a single one (as the published evaluation did)."""


@dataclass(frozen=True, kw_only=True)
class ProcessingArray(Memoized):
    """A spatial array of identical processing elements."""

    name: str
    dimensions: tuple[Dimension, ...]
    registers: Registers
    operations: tuple[Operation, ...]
    units: tuple[str, ...] = ()
    """Functional units whose area each element carries; empty: every action it can bill."""
    operands: Literal["broadcast", "systolic"] = "broadcast"
    """How operands reach the elements: without skew, or systolically (row and column skew)."""
    overlap: Overlap = True
    """For ``systolic`` operands: whether fill and drain of one fold hide behind the next."""
    overhead_area_um2: float = 0.0
    """Area of the array's own network, beside its elements."""
    wider: bool = False
    """Whether operations in a format that it lacks are done in the narrowest one it has that
    holds all of its values."""
    convert: tuple[tuple[str, str], ...] = ()
    """Pairs of a format that it may lack and the one in which its operations are done."""
    reads: tuple[str, ...] = ()
    """Memories that its operands come from; empty: the one that nothing is inside of."""
    writes: tuple[str, ...] = ()
    """Memories that its results go to; empty: those that it reads from."""

    @property
    def elements(self) -> int:
        """Number of processing elements."""
        return prod(d.size for d in self.dimensions)

    def dimension(self, name: str) -> Dimension | None:
        """The axis called ``name``, or None."""
        return next((d for d in self.dimensions if d.name == name), None)

    def operation(self, kind: str) -> Operation | None:
        """What an element does for ``kind``, or None if it cannot do it.

        An operation the table lacks is done by its stand-in (``STAND_INS``), whose kind the
        result then has. A ``copy`` that is not listed takes a cycle and bills nothing: it
        moves a value between registers, which are billed on their own.

        Examples
        --------
        An array that can only multiply and accumulate also adds and subtracts.

        >>> array = Architecture.load("flat").arrays[0]
        >>> [o.kind for kind in ("mac", "sub", "copy") if (o := array.operation(kind))]
        ['mac', 'add', 'copy']
        >>> array.operation("exp") is None
        True
        """
        return self.memo(_operation, kind)

    def listed(self, kind: str) -> Operation | None:
        """The entry for ``kind`` in the operations table itself, or None.

        One in a format is listed in it, in the one that it is converted to, in a wider one where
        those will do, or in any.
        """
        plain, fmt = kind_and_format(kind)
        wanted, anyhow = fmt or OF_WORDS, None
        for o in self.operations:
            if o.kind == plain:
                if o.format == wanted:
                    return o
                anyhow = anyhow if o.format else o
        if not fmt:
            return anyhow
        found = {o.format: o for o in self.operations if o.kind == plain}
        done_in = dict(self.convert).get(fmt, "")
        if done_in and done_in in found:
            return found[done_in]
        if self.wider and fmt in FORMATS:
            able = [FORMATS[name] for name in found if name in FORMATS]
            wide = [f for f in able if f.holds(FORMATS[fmt])]
            if wide:
                return found[min(wide, key=lambda f: f.rank).name]
        return anyhow

    def formats_of(self, kind: str) -> tuple[str, ...]:
        """The formats in which a kind of operation is listed, those of any format aside."""
        return tuple(o.format for o in self.operations if o.kind == kind and o.format in FORMATS)

    def does(self, kind: str) -> bool:
        """Whether a kind of operation is listed in some format."""
        return any(o.kind == kind for o in self.operations)

    def cannot_do(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """Those of some kinds of operation that an element cannot do, stand-ins counted in."""
        return tuple(kind for kind in kinds if self.operation(kind) is None)

    def cycles_of(self, operations: Iterable[tuple[str, int]]) -> Fraction:
        """Cycles in which one element does so many operations of each kind, one by one.

        Parameters
        ----------
        operations : iterable of (kind, count)
            Such as those of one point of an Einsum.

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


def _operation(array: ProcessingArray, kind: str) -> Operation | None:
    listed = array.listed(kind)
    if listed is not None:
        return listed
    plain, fmt = kind_and_format(kind)
    if plain == "copy":
        return Operation(kind="copy", cycles=Fraction(1), bill=())
    return array.operation(in_format(STAND_INS[plain], fmt)) if plain in STAND_INS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A machine: memories outermost first, and arrays that work side by side.

    Raises
    ------
    SpecError
        The clock is no positive number, or the memories are no tree that feeds the arrays.
    """

    name: str
    technology: Technology
    clock_hz: Fraction
    word_bits: int
    memories: tuple[Memory, ...]
    arrays: tuple[ProcessingArray, ...]
    mapping: str | None = None
    """The mapping it was designed for, where a workload's default one is not legal on it."""
    launch_s: float | None = None
    """What it takes to start a kernel: no latency includes it."""
    source: str = field(default="", compare=False)
    tree: MemoryTree = field(init=False, repr=False, compare=False)
    """Which memories are inside of which, and feed which arrays."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock_hz", _exact(self.clock_hz, f"{self.name}: clock_hz"))
        if wrong := [p.text for p in tree_problems(self.memories, self.arrays)]:
            raise SpecError(f"{self.name}: {'; '.join(wrong)}")
        object.__setattr__(self, "tree", memory_tree(self.memories, self.arrays))

    def resized(self, memories: tuple[Memory, ...]) -> Architecture:
        """The machine with memories that differ in capacity and bandwidth: its tree stays.

        Parameters
        ----------
        memories : tuple of Memory
            Its own, but for these numbers; that they are is taken for granted.
        """
        # Made field by field: to look for problems of the tree takes longer than all else.
        found = object.__new__(Architecture)
        for name in Architecture.__slots__:
            object.__setattr__(found, name, memories if name == "memories" else getattr(self, name))
        return found

    @property
    def has_instances(self) -> bool:
        """Whether some memory feeds several copies of what is inside of it."""
        return any(m.instances for m in self.memories)

    @property
    def home_level(self) -> int:
        """Index of the outermost memory that holds anything: a ring of links does not."""
        return int(self.memories[0].ring)

    @property
    def home(self) -> Memory:
        """The outermost memory that holds anything."""
        return self.memories[self.home_level]

    def copies(self, place: str) -> int:
        """How many of a memory or an array there are; of a ring its links.

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

    @classmethod
    def load(cls, name: str | PathLike[str], overrides: Overriding = ()) -> Architecture:
        """The built-in architecture of a name, or the one in a file.

        Parameters
        ----------
        name : str or path
            A built-in name; anything with a slash or ending in ``.yaml`` is a file.
        overrides : iterable of str
            Settings such as ``arrays.array_2d.shape.rows=128``; those of its technology
            begin with ``technology.``.

        Raises
        ------
        SpecError
            There is none, or it is wrong.

        Examples
        --------
        >>> machine = Architecture.load("fusemax", ["arrays.array_2d.shape.rows=128"])
        >>> [(array.name, array.elements) for array in machine.arrays]
        [('array_2d', 32768), ('array_1d', 256)]
        """
        return read(Architecture, name, overrides)

    def _repr_html_(self) -> str:
        return to_html(_card(self))

    @property
    def word_bytes(self) -> Fraction:
        """Bytes of one tensor element."""
        return Fraction(self.word_bits, 8)

    def memory(self, name: str) -> Memory | None:
        """The memory called ``name``, or None."""
        return next((m for m in self.memories if m.name == name), None)

    def array(self, name: str) -> ProcessingArray | None:
        """The array called ``name``, or None."""
        return next((a for a in self.arrays if a.name == name), None)

    def arrays_for(self, kinds: Iterable[str]) -> tuple[ProcessingArray, ...]:
        """The arrays that can do all of some kinds of operation, in the order of the machine.

        Examples
        --------
        Only the vector array of FLAT divides.

        >>> [array.name for array in Architecture.load("flat").arrays_for(["mul", "div"])]
        ['array_1d']
        """
        wanted = tuple(kinds)
        return tuple(array for array in self.arrays if not array.cannot_do(wanted))


def _card(machine: Architecture) -> Document:
    """Summarise a machine: clock, word, memories outermost first, arrays and their operations."""
    memories = Table(
        title="memories",
        columns=(Column("memory", "name"), Column("capacity"), Column("bandwidth")),
        rows=tuple((m.name, _capacity(m), _bandwidth(m)) for m in machine.memories),
    )
    arrays = Table(
        title="arrays",
        columns=(Column("array", "name"), Column("elements", "text"), Column("operations", "text")),
        rows=tuple(
            (a.name, _shape(a), first_names(o.kind for o in a.operations)) for a in machine.arrays
        ),
    )
    facts = [
        Fact("clock", engineering(float(machine.clock_hz), "Hz", digits=3)),
        Fact("word", f"{machine.word_bits} bit"),
        Fact("technology", machine.technology.name, f"{machine.technology.node_nm} nm"),
    ]
    if machine.mapping is not None:
        facts.append(Fact("designed for", machine.mapping))
    return Document(
        title=f"architecture {machine.name}",
        facts=tuple(facts),
        tables=((memories,), (arrays,)),
    )


def _capacity(memory: Memory) -> str:
    return "unlimited" if memory.capacity_bytes is None else byte_size(memory.capacity_bytes)


def _bandwidth(memory: Memory) -> str:
    found = memory.bandwidth_bytes_per_s
    return "unlimited" if found is None else engineering(float(found), "B/s")


def _shape(array: ProcessingArray) -> str:
    return " x ".join(f"{d.size} {d.name}" for d in array.dimensions)
