"""A mapped loop nest written out: loops from names and sizes, every iteration, every element.

Nothing here knows a formula; coordinates outside the shapes are skipped one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Mapping
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


class Nest:
    """The loops of a mapping's Einsums, and where its tensors are kept.

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
        self.sizes = sizes
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

    def _variables(self, einsum: ir.Einsum) -> tuple[str, ...]:
        return (*(r.lower() for r in self.program.parallel), *einsum.variables)

    def temporal(self, einsum: ir.Einsum) -> list[WalkedLoop]:
        """Temporal loops of an Einsum, outermost first."""
        how = self.how(einsum)
        named = [
            (name, self.levels[level.level], True)
            for level in self.mapping.nest
            for name in level.loops
            if self.strides[name][0].lower() in self._variables(einsum) and name not in how.outside
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
        names = [name for _, ranks in self.how(einsum).spatial for name in ranks]
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

    def how(self, einsum: ir.Einsum) -> EinsumMapping:
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

    def turns_of(self, einsum: ir.Einsum) -> dict[str, int]:
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

    def element(self, access: ir.Access, at: dict[str, int]) -> Element:
        """The element an access addresses, parallel coordinates first."""
        carried = tuple(at[r.lower()] for r in self.program.parallel)
        return (*carried, *(c for i in access.indices for c in self._coordinates(i, at)))

    def _coordinates(self, index: ir.Index, at: dict[str, int]) -> tuple[object, ...]:
        """One, and around a gathered position where beside it."""
        if isinstance(index, ir.Gather) and index.offset.terms:
            return (self.element(index.access, at), self._coordinate(index.offset, at))
        return (self._coordinate(index, at),)

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

    def memories(self, tensor: str, einsum: ir.Einsum | None = None) -> list[int]:
        """Memories that keep a tensor (and are not passed by), outermost first."""
        return sorted(
            self.levels[k.level]
            for k in self.mapping.keep
            if k.level in self.levels
            and tensor in k.tensors
            and not self._passed_by(einsum, k.level, tensor)
            and self._feeds(einsum, k.level, tensor)
        )

    def _feeds(self, einsum: ir.Einsum | None, level: str, tensor: str) -> bool:
        """Whether the way from an Einsum's array out to the outermost memory leads through one."""
        if einsum is None:
            return True
        memories = self.architecture.memories
        array = next(a for a in self.architecture.arrays if a.name == self.how(einsum).array)
        outer = {b.name: b.inside or a.name for a, b in pairwise(memories)}
        ends = array.reads or (memories[-1].name,)
        if tensor == einsum.name and array.writes:
            ends = array.writes
        elif tensor in self.program.einsum_of:
            made = self.how(self.program.einsum_of[tensor]).array
            ends = (*ends, *array.writes) if made == array.name else ends
        for end in ends:
            while end != level and end in outer:
                end = outer[end]
            if end == level:
                return True
        return False

    def arrays(self, tensor: str, einsum: ir.Einsum | None = None) -> list[str]:
        """Arrays whose registers keep a tensor (and are not passed by)."""
        return [
            k.level
            for k in self.mapping.keep
            if k.level not in self.levels
            and tensor in k.tensors
            and not self._passed_by(einsum, k.level, tensor)
        ]

    def _passed_by(self, einsum: ir.Einsum | None, level: str, tensor: str) -> bool:
        passing = () if einsum is None else self.how(einsum).bypass
        return any(place == level and tensor in tensors for place, tensors in passing)

    def groups(self) -> list[list[str]]:
        """Einsums that run side by side, in the order of the groups."""
        names = [e.name for e in self.program.einsums]
        schedule = self.mapping.schedule
        if schedule.kind != "sequential":
            return [names]
        if not schedule.groups:
            return [[n] for n in names]
        return [[n for n in names if n in {t.einsum for t in g}] for g in schedule.groups]

    def apart(self, one: ir.Einsum, other: ir.Einsum) -> bool:
        """Whether one is all done before the other begins."""
        groups = self.groups()
        mine = [g for g in groups if one.name in g]
        return other.name not in mine[0]

    def running_order(self) -> list[ir.Einsum]:
        """Einsums group by group."""
        return [self.program.einsum_of[n] for group in self.groups() for n in group]

    def moving(self, access: ir.Access) -> set[str]:
        return {*access.variables, *(r.lower() for r in self.program.parallel)}

    def stepping(self, einsum: ir.Einsum, access: ir.Access, level: int) -> list[WalkedLoop]:
        """Loops that step through the tiles of a level: none inside the last that moves it."""
        moving = self.moving(access)
        turns = self.turns_of(einsum)
        loops = [x for x in self.temporal(einsum) if x.level < level and turns[x.name] > 1]
        while loops and loops[-1].variable not in moving:
            loops.pop()
        return loops
