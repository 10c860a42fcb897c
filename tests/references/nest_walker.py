"""Counts of a mapped loop nest by walking every iteration and every array element.

Nothing here knows a formula: loops are built from names and sizes, coordinates outside the
shapes are skipped one by one, and tiles are sets of elements. The rules it counts by:

* A level holds one tile of a tensor. The tile changes when the index of a loop that moves
  the tensor (its variable stands in the access) differs from the step before.
* A changing input tile is read from the next level outside that keeps the tensor.
* A result arrives in tiles. An element that arrives again was read back before.
* A tile that an earlier Einsum left at a level, and that both step through alike, is not
  fetched again.
* Registers: an operand is read at every use and written at every change; a result is
  written at every update, and read back at all but an element's first in that register.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

from archsim.arch import Architecture
from archsim.mapping import EinsumMapping, Mapping
from einsum_cascade import ir

Element = tuple[object, ...]
Tag = tuple[int, ...]


@dataclass(frozen=True)
class WalkedLoop:
    """One loop as the walker sees it; ``level`` is a memory's index, ``width`` iterations."""

    name: str
    variable: str
    stride: int
    width: int
    level: int
    shared: bool


@dataclass
class Step:
    """One temporal iteration: loop indices, and the array elements at work in it."""

    index: Tag
    lanes: list[tuple[Tag, dict[str, int]]]


@dataclass
class EinsumWalk:
    """What one Einsum did; ``accesses`` by (tensor, place, "read" or "write")."""

    points: int = 0
    allowed: int = 0
    iterations: int = 0
    accesses: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    registers: Counter[str] = field(default_factory=Counter)
    registers_of_one: Counter[str] = field(default_factory=Counter)
    live: dict[tuple[str, int], int] = field(default_factory=dict)
    """Elements held at once by (tensor, memory index), running values in one copy."""
    whole: dict[tuple[str, int], int] = field(default_factory=dict)
    """The same with all coordinates of running values."""


class NestWalker:
    """Walks the Einsums of a mapping.

    Parameters
    ----------
    shapes : dict
        Of every rank: parallel ones, families and their members.
    sizes : dict
        Of every tile the mapping names.
    """

    def __init__(
        self,
        program: ir.Program,
        mapping: Mapping,
        architecture: Architecture,
        shapes: dict[str, int],
        sizes: dict[str, int],
    ) -> None:
        self.program = program
        self.mapping = mapping
        self.architecture = architecture
        self.shapes = shapes
        self.levels = {m.name: i for i, m in enumerate(architecture.memories)}
        self.registers = len(self.levels)
        self.strides = self._member_strides(sizes)
        self.turns: dict[str, dict[str, int]] = {}
        self.position = {e.name: i for i, e in enumerate(program.einsums)}

    def _member_strides(self, sizes: dict[str, int]) -> dict[str, tuple[str, int]]:
        """Rank and stride of everything a loop can be named after."""
        own = {m for r in self.program.ranks for m in r.partition}
        cut: dict[str, list[str]] = {}
        for tile in self.mapping.tiles:
            if tile.member not in own:
                cut.setdefault(tile.rank, []).append(tile.member)
        found = {rank: (rank, 1) for rank in self.shapes if rank not in cut}
        for rank, members in cut.items():
            stride = 1
            for number in range(len(members)):
                found[f"{rank}{number}"] = (rank, stride)
                stride *= sizes[f"{rank}{number}"]
            found[f"{rank}{len(members)}"] = (rank, stride)
        return found

    # ------------------------------------------------------------------ the nest

    def _variables(self, einsum: ir.Einsum) -> tuple[str, ...]:
        return (*(r.lower() for r in self.program.parallel), *einsum.variables)

    def temporal(self, einsum: ir.Einsum) -> list[WalkedLoop]:
        """Temporal loops of an Einsum, outermost first."""
        how = self._how(einsum)
        named = [
            (name, self.levels[level.level], True)
            for level in self.mapping.nest
            for name in level.loops
            if self.strides[name][0].lower() in self._variables(einsum)
        ]
        named += [
            (name, self.levels.get(level.level, len(self.levels) - 1), False)
            for level in how.nest
            for name in level.loops
        ]
        return self._sized(named, {})

    def spatial(self, einsum: ir.Einsum) -> list[WalkedLoop]:
        """Loops laid out on the array."""
        inner = {loop.variable: loop.stride for loop in self.temporal(einsum)}
        names = [name for _, ranks in self._how(einsum).spatial for name in ranks]
        return self._sized([(name, self.registers, False) for name in names], inner)

    def _sized(self, named: list[tuple[str, int, bool]], inner: dict[str, int]) -> list[WalkedLoop]:
        covers = dict(inner)
        found: list[WalkedLoop] = []
        for name, level, shared in named:
            rank, stride = self.strides[name]
            extent = min(self.shapes[rank], covers.get(rank.lower(), self.shapes[rank]))
            width = -(-extent // stride)
            covers[rank.lower()] = stride
            found.append(WalkedLoop(name, rank.lower(), stride, width, level, shared))
        return found

    def _how(self, einsum: ir.Einsum) -> EinsumMapping:
        how = self.mapping.einsum(einsum.name)
        assert how is not None
        return how

    def exists(self, at: dict[str, int]) -> bool:
        """Whether coordinates lie inside the shapes, members of a family together."""
        if any(c >= self.shapes[v.upper()] for v, c in at.items()):
            return False
        for rank in self.program.ranks:
            present = [m for m in rank.partition if m.lower() in at]
            if present and tuple(present) == rank.partition[: len(present)]:
                place = 0
                for member in rank.partition:
                    place = place * self.shapes[member] + at.get(member.lower(), 0)
                if place >= self.shapes[rank.name]:
                    return False
        return True

    def walk_steps(self, einsum: ir.Einsum) -> list[Step]:
        """Every temporal iteration with the array elements that work in it."""
        outer, inner = self.temporal(einsum), self.spatial(einsum)
        variables = self._variables(einsum)
        steps: list[Step] = []
        for index in product(*(range(x.width) for x in outer)):
            lanes: list[tuple[Tag, dict[str, int]]] = []
            for lane in product(*(range(x.width) for x in inner)):
                at = dict.fromkeys(variables, 0)
                for loop, i in zip([*outer, *inner], (*index, *lane), strict=True):
                    at[loop.variable] += i * loop.stride
                if self.exists(at):
                    lanes.append((lane, at))
            if lanes:
                steps.append(Step(index, lanes))
        return steps

    def _turns(self, einsum: ir.Einsum) -> dict[str, int]:
        """How often each temporal loop really turns inside the loops around it."""
        if einsum.name not in self.turns:
            indices = [step.index for step in self.walk_steps(einsum)]
            names = [x.name for x in self.temporal(einsum)]
            most = {n: max(i[at] for i in indices) + 1 for at, n in enumerate(names)}
            self.turns[einsum.name] = most
        return self.turns[einsum.name]

    def shared_indices(self) -> list[Tag]:
        """Every iteration of the shared nest."""
        named = [(n, self.levels[x.level], True) for x in self.mapping.nest for n in x.loops]
        loops = self._sized(named, {})
        found: list[Tag] = []
        for index in product(*(range(x.width) for x in loops)):
            at = dict.fromkeys((x.variable for x in loops), 0)
            for loop, i in zip(loops, index, strict=True):
                at[loop.variable] += i * loop.stride
            if self.exists(at):
                found.append(index)
        return found

    # ------------------------------------------------------------------ elements

    def element(self, access: ir.Access, at: dict[str, int]) -> Element:
        """The element an access addresses, parallel coordinates first."""
        carried = tuple(at[r.lower()] for r in self.program.parallel)
        return (*carried, *(self._coordinate(i, at) for i in access.indices))

    def _coordinate(self, index: ir.Index, at: dict[str, int]) -> object:
        if isinstance(index, ir.Gather):
            return self.element(index.access, at)
        total = 0
        for term in index.terms:
            value = term.coefficient * (at[term.variable] if term.variable else 1)
            for shape in term.shapes:
                value *= self.shapes[shape]
            total += value
        return total

    def _one_copy(self, access: ir.Access, at: dict[str, int]) -> Element:
        """The element without its coordinates along ranks the tensor iterates over."""
        whole = self.element(access, at)
        writer = self.program.einsum_of.get(access.tensor)
        if writer is None:
            return whole
        ranks = self.program.iterative.get(access.tensor, ())
        start = len(self.program.parallel)
        kept = list(whole[:start])
        for index, value in zip(writer.target.indices, whole[start:], strict=True):
            if not any(v.upper() in ranks for v in index.variables):
                kept.append(value)
        return tuple(kept)

    # ------------------------------------------------------------------ residency

    def memories(self, tensor: str) -> list[int]:
        """Memories that keep a tensor, outermost first."""
        return sorted(
            self.levels[k.level]
            for k in self.mapping.keep
            if k.level in self.levels and tensor in k.tensors
        )

    def arrays(self, tensor: str) -> list[str]:
        """Arrays whose registers keep a tensor."""
        return [
            k.level for k in self.mapping.keep if k.level not in self.levels and tensor in k.tensors
        ]

    def moving(self, access: ir.Access) -> set[str]:
        return {*access.variables, *(r.lower() for r in self.program.parallel)}

    def stepping(self, einsum: ir.Einsum, access: ir.Access, level: int) -> list[WalkedLoop]:
        """Loops that step through the tiles of a level: none inside the last that moves it."""
        moving = self.moving(access)
        turns = self._turns(einsum)
        loops = [x for x in self.temporal(einsum) if x.level < level and turns[x.name] > 1]
        while loops and loops[-1].variable not in moving:
            loops.pop()
        return loops

    def _alike(
        self,
        left: tuple[ir.Einsum, ir.Access],
        taken: tuple[ir.Einsum, ir.Access],
        level: int,
    ) -> bool:
        """Whether what one Einsum leaves at a level is all there when another takes it."""
        ended = self._ended(*left, taken[1])
        first = [x for x in self.stepping(*left, level) if x.variable not in ended]
        if self.mapping.schedule.kind == "sequential" and left[0] is not taken[0] and first:
            return False
        if level < self.registers:
            if not all(x.shared for x in first):
                return False
            turns = self._turns(taken[0])
            second = [x for x in self.temporal(taken[0]) if x.shared and x.level < level]
            second = [x for x in second if turns[x.name] > 1]
            moved = {x.variable for x in first} & self.moving(left[1])
            while second and second[-1].variable not in moved:
                second.pop()
        else:
            second = self.stepping(*taken, level)
        inside = {x.name for x in self.temporal(taken[0]) if x.shared}
        shared = {n for x in self.mapping.nest for n in x.loops}
        together = [x.name for x in first if x.name in inside or x.name not in shared]
        if together != [x.name for x in second]:
            return False
        return left[1] is not left[0].target or self._stays(left, taken, first, second)

    def _ended(self, einsum: ir.Einsum, left: ir.Access, taken: ir.Access) -> set[str]:
        """Variables along which a running value is taken at its end."""
        if left is not einsum.target:
            return set()
        pairs = zip(left.indices, taken.indices, strict=True)
        return {
            wrote.variables[0]
            for wrote, read in pairs
            if isinstance(wrote, ir.Affine) and wrote.offset == 1 and not read.variables
        }

    def _stays(
        self,
        left: tuple[ir.Einsum, ir.Access],
        taken: tuple[ir.Einsum, ir.Access],
        first: list[WalkedLoop],
        second: list[WalkedLoop],
    ) -> bool:
        """Whether a read addresses the tile just written: by the same index, or a running
        value one iteration later with no other tile in between, or at its end."""
        names = [x.variable for x in first]
        stepped = {*names}
        if any(not x.shared for x in (*first, *second)):
            stepped |= {x.variable for x in second}
        for wrote, read in zip(left[1].indices, taken[1].indices, strict=True):
            if read == wrote or not stepped & {*wrote.variables, *read.variables}:
                continue
            running = isinstance(wrote, ir.Affine) and wrote.offset == 1
            if not running or not isinstance(read, ir.Affine):
                return False
            if not read.variables:
                continue
            if read.as_variable not in wrote.variables:
                return False
            v = read.as_variable
            if v in names and set(names[names.index(v) :]) != {v}:
                return False
        return True

    def _left_by(self, einsum: ir.Einsum, access: ir.Access) -> list[tuple[ir.Einsum, ir.Access]]:
        """Who may have left a tile that an access takes: the writer, or an earlier reader."""
        writer = self.program.einsum_of.get(access.tensor)
        if writer is not None:
            return [(writer, writer.target)]
        earlier = self.program.einsums[: self.position[einsum.name]]
        return [(e, a) for e in earlier for a in e.reads if a == access]

    def _is_left(self, einsum: ir.Einsum, access: ir.Access, level: int) -> bool:
        return any(
            self._alike(left, (einsum, access), level) for left in self._left_by(einsum, access)
        )

    def _written(self, access: ir.Access) -> bool:
        return access.tensor in self.program.einsum_of

    # ------------------------------------------------------------------ counting

    def walk(self, einsum: ir.Einsum) -> EinsumWalk:
        """Everything one Einsum does."""
        steps = self.walk_steps(einsum)
        found = EinsumWalk(iterations=len(steps))
        for step in steps:
            found.points += len(step.lanes)
            found.allowed += sum(self._allowed(einsum, at) for _, at in step.lanes)
        for access in einsum.reads:
            self._operand(einsum, access, steps, found)
        self._result(einsum, steps, found)
        for access in (*einsum.reads, einsum.target):
            for level in self.memories(access.tensor):
                key = (access.tensor, level)
                one = self._largest(einsum, access, steps, level, self._one_copy)
                found.live[key] = max(found.live.get(key, 0), one)
                all_copies = self._largest(einsum, access, steps, level, self.element)
                found.whole[key] = max(found.whole.get(key, 0), all_copies)
        return found

    # ------------------------------------------------------------------ capacity

    def required(self, level: int) -> int:
        """Elements a memory must hold at once."""
        walks = [(e, self.walk(e)) for e in self.program.einsums]
        moments: list[dict[str, int]] = []
        for number, (_, walk) in enumerate(walks):
            held = {t: self._held(walk, t, at) for t, at in walk.live if at == level}
            for earlier, before in walks[:number]:
                later = [e for e, _ in walks[number + 1 :]]
                needed = any(a.tensor == earlier.name for e in later for a in e.reads)
                if needed and self.memories(earlier.name)[:1] == [level]:
                    size = self._held(before, earlier.name, level)
                    held[earlier.name] = max(held.get(earlier.name, 0), size)
            moments.append(held)
        if self.mapping.schedule.kind == "sequential":
            return max(sum(held.values()) for held in moments)
        tensors = {t for held in moments for t in held}
        return sum(max(held.get(t, 0) for held in moments) for t in tensors)

    def _held(self, walk: EinsumWalk, tensor: str, level: int) -> int:
        walked_alike = self._goes_along(tensor, level)
        return (walk.live if walked_alike else walk.whole)[tensor, level]

    def _goes_along(self, tensor: str, level: int) -> bool:
        """Whether all who touch a running value take its iterations in turn, so that one
        copy is enough for them."""
        ranks = {r.lower() for r in self.program.iterative.get(tensor, ())}
        touching = [
            e
            for e in self.program.einsums
            if e.name == tensor
            or any(a.tensor == tensor and ranks & {*a.variables} for a in e.reads)
        ]
        if not ranks or len(touching) < 2:
            return True
        if self.mapping.schedule.kind == "sequential":
            return False
        for e in touching:
            if any(x.variable in ranks and x.width > 1 for x in self.spatial(e)):
                return False
            turns = self._turns(e)
            own = [x for x in self.temporal(e) if not x.shared and x.level >= level]
            if any(x.variable in ranks and turns[x.name] > 1 for x in own):
                return False
        return True

    def _allowed(self, einsum: ir.Einsum, at: dict[str, int]) -> bool:
        return einsum.where is None or bool(self._holds(einsum.where, at))

    def _holds(self, node: ir.Condition | ir.Expression, at: dict[str, int]) -> float:
        """The value of a condition, or of a number inside it."""
        match node:
            case ir.Number(value=value):
                return value
            case ir.Name(name=name, kind="variable"):
                return at[name]
            case ir.Name(name=name):
                return self.shapes[name]
            case ir.Binary(operator=operator, left=left, right=right):
                a, b = self._holds(left, at), self._holds(right, at)
                return {"+": a + b, "-": a - b, "*": a * b}[operator]
            case ir.Comparison(operator=operator, left=left, right=right):
                a, b = self._holds(left, at), self._holds(right, at)
                return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]
            case ir.Logical(operator="and", operands=operands):
                return all(self._holds(o, at) for o in operands)
        raise AssertionError(node)

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

    def _largest(
        self,
        einsum: ir.Einsum,
        access: ir.Access,
        steps: list[Step],
        level: int,
        name: Callable[[ir.Access, dict[str, int]], Element],
    ) -> int:
        outer = [i for i, x in enumerate(self.temporal(einsum)) if x.level < level]
        held: dict[Tag, set[Element]] = {}
        for step in steps:
            tile = held.setdefault(tuple(step.index[i] for i in outer), set())
            tile.update(name(access, at) for _, at in step.lanes)
        return max(len(tile) for tile in held.values())

    def _operand(
        self, einsum: ir.Einsum, access: ir.Access, steps: list[Step], found: EinsumWalk
    ) -> None:
        array = self._how(einsum).array
        left = self._written(access) and self._is_left(einsum, access, self.registers)
        memories = self.memories(access.tensor)
        arrays = self.arrays(access.tensor)
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
            moved = sum(len(t) for t in self.arrivals(einsum, access, steps, level))
            found.accesses[access.tensor, at, "read"] += moved
            if place + 1 < len(chain):
                found.accesses[access.tensor, chain[place + 1][0], "write"] += moved

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
        array = self._how(einsum).array
        memories = self.memories(access.tensor)
        places = [(name[i], i) for i in memories]
        inner = [(a, self.registers) for a in self.arrays(access.tensor) if a != array]
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
