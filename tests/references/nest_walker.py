"""Counts of a mapped loop nest by walking every iteration and every array element.

Tiles are sets of elements. The rules they are counted by:

* A level holds one tile of a tensor. The tile changes when the index of a loop that moves
  the tensor (its variable stands in the access) differs from the step before.
* A changing input tile is read from the next level outside that keeps the tensor.
* A result arrives in tiles. An element that arrives again was read back before.
* A tile that an earlier Einsum left at a level is not fetched again.
* Registers: an operand is read at every use and written at every change; a result is
  written at every update, and read back at all but an element's first in that register.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

from nest_leavings import Leavings
from nest_loops import Element, Step, Tag

from einsum_cascade import ir


@dataclass
class EinsumWalk:
    """What one Einsum did; ``accesses`` by (tensor, place, "read" or "write")."""

    points: int = 0
    allowed: int = 0
    iterations: int = 0
    accesses: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    fills: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Writes of what comes from outside, by (tensor, place)."""
    registers: Counter[str] = field(default_factory=Counter)
    registers_of_one: Counter[str] = field(default_factory=Counter)


class NestWalker(Leavings):
    """Counts what the Einsums of a mapping do."""

    def walk(self, einsum: ir.Einsum) -> EinsumWalk:
        """Everything one Einsum does."""
        steps = self.active(einsum)
        found = EinsumWalk(iterations=len(steps))
        for step in steps:
            found.points += len(step.lanes)
            found.allowed += sum(allowed(einsum, at, self.shapes) for _, at in step.lanes)
        for access in einsum.reads:
            self._operand(einsum, access, steps, found)
        self._result(einsum, steps, found)
        return found

    def active(self, einsum: ir.Einsum) -> list[Step]:
        """The iterations that are run: all of them."""
        return self.walk_steps(einsum)

    def _tags(self, einsum: ir.Einsum, access: ir.Access, level: int) -> list[int]:
        """Positions of the loops whose indices name the tile at a level."""
        moving = self.moving(access)
        loops = enumerate(self.temporal(einsum))
        return [i for i, x in loops if x.level < level and x.variable in moving]

    def _tiles(
        self, einsum: ir.Einsum, access: ir.Access, steps: list[Step], level: int
    ) -> dict[Tag, set[Element]]:
        """Elements under every iteration of the loops outside a level."""
        outer = [i for i, x in enumerate(self.temporal(einsum)) if x.level < level]
        found: dict[Tag, set[Element]] = {}
        for step in steps:
            tile = found.setdefault(tuple(step.index[i] for i in outer), set())
            tile.update(self.element(access, at) for _, at in step.lanes)
        return found

    def arrivals(
        self, einsum: ir.Einsum, access: ir.Access, steps: list[Step], level: int
    ) -> Iterator[set[Element]]:
        """Tiles as they arrive at a level, step by step."""
        tiles = self._tiles(einsum, access, steps, level)
        outer = [i for i, x in enumerate(self.temporal(einsum)) if x.level < level]
        tags = self._tags(einsum, access, level)
        held: Tag | None = None
        for step in steps:
            tag = tuple(step.index[i] for i in tags)
            if tag != held:
                held = tag
                yield tiles[tuple(step.index[i] for i in outer)]

    def _operand(
        self, einsum: ir.Einsum, access: ir.Access, steps: list[Step], found: EinsumWalk
    ) -> None:
        array = self.how(einsum).array
        left = self._written(access) and self._is_left(einsum, access, self.registers)
        memories = self.memories(access.tensor, einsum)
        arrays = self.arrays(access.tensor, einsum)
        mine = self._written(access) and array in arrays and (left or not memories)
        self._operand_registers(einsum, access, steps, found, filled=not mine)
        if mine:
            return
        name = {i: n for n, i in self.levels.items()}
        others = [a for a in arrays if a != array]
        if self._written(access) and others and (left or not memories):
            chain: list[tuple[str, int]] = [(others[0], self.registers)]
        else:
            deepest = [i for i in memories if self._is_left(einsum, access, i)]
            start = max(deepest, default=memories[0])
            chain = [(name[i], i) for i in memories if i >= start]
        below = [level for _, level in chain[1:]] + [self.registers]
        for place, ((at, _), level) in enumerate(zip(chain, below, strict=True)):
            tiles = list(self.arrivals(einsum, access, steps, level))
            moved = sum(len(t) for t in tiles)
            read = sum(self._fetched(einsum, access, t, at) for t in tiles)
            found.accesses[access.tensor, at, "read"] += read
            if place + 1 < len(chain):
                found.accesses[access.tensor, chain[place + 1][0], "write"] += moved
                found.fills[access.tensor, chain[place + 1][0]] += moved

    def _fetched(self, einsum: ir.Einsum, access: ir.Access, tile: set[Element], at: str) -> int:
        """Words that a memory reads for a tile; every run of gathered words in whole lines."""
        memory = next((m for m in self.architecture.memories if m.name == at), None)
        if memory is None or not any(isinstance(i, ir.Gather) for i in access.indices):
            return len(tile)
        formats = self.program.formats
        bits = formats.bits_of(access.tensor) if formats.stated else self.architecture.word_bits
        line = Fraction(memory.line_bits) / bits
        if line <= 1:
            return len(tile)
        behind = self._plain_behind(einsum, access)
        runs: dict[Element, list[int]] = {}
        for element in tile:
            address = 0
            for value, size in zip(element[len(element) - len(behind) :], behind, strict=True):
                address = address * size + value
            runs.setdefault(element[: len(element) - len(behind)], []).append(address)
        words = 0
        for addresses in runs.values():
            ordered = sorted(addresses)
            breaks = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
            for first, last in pairwise([0, *breaks, len(ordered)]):
                words += ceil(ceil((last - first) / line) * line)
        return words

    def _plain_behind(self, einsum: ir.Einsum, access: ir.Access) -> list[int]:
        """Shapes of the ranks behind the last gather, as far as each has a variable of its own."""
        sizes: list[int] = []
        families = [{m.lower() for m in r.partition} for r in self.program.ranks if r.partition]
        walked = {*einsum.variables}
        for index in reversed(access.indices):
            moved = index.offset if isinstance(index, ir.Gather) else index
            variable = moved.as_variable
            mine = next((f for f in families if variable in f), {variable})
            if variable is None or len(mine & walked) > 1:
                break
            sizes.insert(0, self.shapes[variable.upper()])
            if moved is not index:
                break
        return sizes

    def _operand_registers(
        self,
        einsum: ir.Einsum,
        access: ir.Access,
        steps: list[Step],
        found: EinsumWalk,
        *,
        filled: bool,
    ) -> None:
        tags = self._tags(einsum, access, self.registers)
        held: Tag | None = None
        for step in steps:
            tag = tuple(step.index[i] for i in tags)
            found.registers["read"] += len(step.lanes)
            found.registers_of_one["read"] += 1
            if tag != held and filled:
                found.registers["write"] += len(step.lanes)
                found.registers_of_one["write"] += 1
            held = tag

    def _result(self, einsum: ir.Einsum, steps: list[Step], found: EinsumWalk) -> None:
        access = einsum.target
        self._result_registers(einsum, steps, found)
        name = {i: n for n, i in self.levels.items()}
        array = self.how(einsum).array
        memories = self.memories(access.tensor, einsum)
        places = [(name[i], i) for i in memories]
        inner = [(a, self.registers) for a in self.arrays(access.tensor, einsum) if a != array]
        below = [*list(memories[1:]), self.registers]
        for number, ((place, _), level) in enumerate(zip(places, below, strict=False)):
            children = [places[number + 1]] if number + 1 < len(places) else inner
            self._collect(einsum, steps, found, place, level, [c for c, _ in children])
        for place, _ in inner:
            self._collect(einsum, steps, found, place, self.registers, [])

    def _collect(
        self,
        einsum: ir.Einsum,
        steps: list[Step],
        found: EinsumWalk,
        place: str,
        level: int,
        children: list[str],
    ) -> None:
        """Tiles of a result arrive at a place; what was there before was handed down."""
        seen: set[Element] = set()
        for tile in self.arrivals(einsum, einsum.target, steps, level):
            for element in tile:
                found.accesses[einsum.name, place, "write"] += 1
                if element in seen:
                    found.accesses[einsum.name, place, "read"] += 1
                    for child in children:
                        found.accesses[einsum.name, child, "write"] += 1
                        found.fills[einsum.name, child] += 1
                seen.add(element)

    def _result_registers(self, einsum: ir.Einsum, steps: list[Step], found: EinsumWalk) -> None:
        tags = self._tags(einsum, einsum.target, self.registers)
        first = (0,) * len(self.spatial(einsum))
        seen: set[tuple[Tag, Element]] = set()
        held: Tag | None = None
        for step in steps:
            tag = tuple(step.index[i] for i in tags)
            for lane, at in step.lanes:
                element = (lane, self.element(einsum.target, at))
                actions = ["write"]
                if element in seen:
                    actions += ["read"] if tag == held else ["read", "write"]
                seen.add(element)
                found.registers.update(actions)
                if lane == first:
                    found.registers_of_one.update(actions)
            held = tag


def allowed(einsum: ir.Einsum, at: dict[str, int], shapes: dict[str, int]) -> bool:
    """Whether an Einsum's mask lets a point through."""
    return einsum.where is None or bool(value_of(einsum.where, at, shapes))


def value_of(
    node: ir.Condition | ir.Expression, at: dict[str, int], shapes: dict[str, int]
) -> float | Fraction:
    """The value of a condition, or of a number inside it."""
    match node:
        case ir.Number(value=value):
            return value
        case ir.Name(name=name, kind="variable"):
            return at[name]
        case ir.Name(name=name):
            return shapes[name]
        case ir.Binary(operator=operator, left=left, right=right):
            a, b = value_of(left, at, shapes), value_of(right, at, shapes)
            if operator == "/":
                return Fraction(a) / Fraction(b)
            return {"+": a + b, "-": a - b, "*": a * b}[operator]
        case ir.Call(function="floor", arguments=(inside,)):
            return floor(value_of(inside, at, shapes))
        case ir.Relational(operator=operator, left=left, right=right):
            a, b = value_of(left, at, shapes), value_of(right, at, shapes)
            return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b}[operator]
        case ir.Logical(operator="and", operands=operands):
            return all(value_of(o, at, shapes) for o in operands)
    raise AssertionError(node)
