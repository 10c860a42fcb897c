"""Whether a mapped nest finds every value it reads: by running it, value by value.

All Einsums run through the shared nest together, step by step, in the order they are
written (group after group where the schedule is sequential). An Einsum that stays
outside a loop runs in the loop's last turn, or in its first one if it waits for nothing
inside. The outermost level that keeps an intermediate holds one tile of it: what was
written under the current iteration of the loops outside that level. Registers hold one
value, so loops of an Einsum's own must stream in the order in which the values come.

A read goes wrong when its element is not complete, or no longer where it is kept. What
streams must not wait for its own future: each value knows the last iteration of every
Einsum it descends from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from nest_leavings import Leavings
from nest_loops import Element, Step, WalkedLoop

from einsum_cascade import ir

Turn = tuple[tuple[str, int], ...]
"""Loop names with indices, outermost first."""


@dataclass(frozen=True)
class _Copy:
    """One element where it is kept: when it was written, and in which loops' turn."""

    moment: int
    running: Turn
    streamed: Turn


@dataclass
class _Kept:
    """What the outermost level that keeps an intermediate holds."""

    due: Counter[Element]
    """Updates each element still lacks."""
    total: Counter[Element]
    tile: Turn | None = None
    running: list[Turn] = field(default_factory=list)
    """This turn of the loops of a running value's own rank, and the one before."""
    last: Turn | None = None
    elements: dict[Element, _Copy] = field(default_factory=dict)


class Lockstep:
    """One run of a mapping; ``run`` returns what went wrong first, or None."""

    def __init__(self, walker: Leavings) -> None:
        self.walker = walker
        self.program = walker.program
        self.steps = {e.name: walker.walk_steps(e) for e in self.program.einsums}
        self.loops = {e.name: walker.temporal(e) for e in self.program.einsums}
        self.kept = {e.name: self._unwritten(e) for e in self.program.einsums}
        self.origin: dict[tuple[str, Element], dict[str, Turn]] = {}

    def _unwritten(self, einsum: ir.Einsum) -> _Kept:
        total: Counter[Element] = Counter()
        for step in self.steps[einsum.name]:
            total.update(self.walker.element(einsum.target, at) for _, at in step.lanes)
        return _Kept(Counter(total), total)

    def run(self) -> str | None:
        """Run everything."""
        for moment, einsum, steps in self._schedule():
            for step in steps:
                wrong = self._reads(einsum, step, moment) or self._writes(einsum, step, moment)
                if wrong:
                    return wrong
        return None

    # ------------------------------------------------------------------ order

    def _schedule(self) -> list[tuple[int, ir.Einsum, list[Step]]]:
        names, nest = self._shared_indices()
        found: list[tuple[int, ir.Einsum, list[Step]]] = []
        for position, group in enumerate(self.walker.groups()):
            begin = position * len(nest)
            einsums = [self.program.einsum_of[n] for n in group]
            if len(einsums) == 1 and self.walker.mapping.schedule.kind == "sequential":
                found.append((begin, einsums[0], self.steps[group[0]]))
                continue
            grouped = {e.name: self._by_turn(e) for e in einsums}
            turns = {e.name: self._turns(e, names, nest) for e in einsums}
            for number in range(len(nest)):
                for e in einsums:
                    turn = turns[e.name].get(number)
                    if turn is not None and turn in grouped[e.name]:
                        found.append((begin + number, e, grouped[e.name][turn]))
        return found

    def _by_turn(self, einsum: ir.Einsum) -> dict[Turn, list[Step]]:
        groups: dict[Turn, list[Step]] = defaultdict(list)
        for step in self.steps[einsum.name]:
            groups[self._shared_turn(einsum, step)].append(step)
        return groups

    def _shared_indices(self) -> tuple[list[str], list[tuple[int, ...]]]:
        """Loops of the shared nest, and every iteration in which some Einsum runs."""
        names = [n for x in self.walker.mapping.nest for n in x.loops]
        return names, self.walker.shared_indices()

    def _shared_turn(self, einsum: ir.Einsum, step: Step) -> Turn:
        loops = zip(self.loops[einsum.name], step.index, strict=True)
        return tuple((x.name, i) for x, i in loops if x.shared)

    def _turns(
        self, einsum: ir.Einsum, names: list[str], nest: list[tuple[int, ...]]
    ) -> dict[int, Turn]:
        """At which steps of the shared nest an Einsum runs, and which of its turns."""
        mine = {x.name for x in self.loops[einsum.name] if x.shared}
        early = self._needed_inside(einsum)
        at: dict[Turn, tuple[tuple[int, ...], int]] = {}
        for number, index in enumerate(nest):
            turn = tuple((n, i) for n, i in zip(names, index, strict=True) if n in mine)
            pairs = zip(names, index, strict=True)
            rank = tuple(i if n in early else -i for n, i in pairs if n not in mine)
            if turn not in at or rank < at[turn][0]:
                at[turn] = (rank, number)
        return {number: turn for turn, (_, number) in at.items()}

    def _needed_inside(self, einsum: ir.Einsum) -> set[str]:
        """Shared loops inside which something waits, at first or second hand, for a result."""
        found: set[str] = set()
        seen = {einsum.name}
        stack = [einsum.name]
        while stack:
            name = stack.pop()
            for e in self.program.einsums:
                if self.walker.apart(einsum, e):
                    continue
                if e.name not in seen and any(a.tensor == name for a in e.reads):
                    seen.add(e.name)
                    stack.append(e.name)
                    found |= {x.name for x in self.loops[e.name] if x.shared}
        return found

    # ------------------------------------------------------------------ values

    def _home(self, tensor: str) -> int:
        memories = self.walker.memories(tensor)
        return memories[0] if memories else self.walker.registers

    def _turn(self, loops: list[WalkedLoop], step: Step, keep: set[str]) -> Turn:
        pairs = zip(loops, step.index, strict=True)
        return tuple((x.name, i) for x, i in pairs if x.name in keep)

    def _own(self, einsum: ir.Einsum, loop: WalkedLoop) -> bool:
        """Whether nobody else goes along a loop."""
        alone = all(self.walker.apart(einsum, e) for e in self.program.einsums if e is not einsum)
        fused = self.walker.mapping.schedule.kind != "sequential"
        return not loop.shared or (alone and not fused)

    def _reads(self, einsum: ir.Einsum, step: Step, moment: int) -> str | None:
        for access in einsum.reads:
            if access.tensor not in self.kept:
                continue
            kept = self.kept[access.tensor]
            for _, at in step.lanes:
                element = self.walker.element(access, at)
                if element not in kept.total:
                    continue  # from init, or beyond what is ever written
                what = f"{einsum.name} reads {access.tensor}{element}"
                if kept.due[element]:
                    return f"{what}, which is not complete"
                if element not in kept.elements:
                    return f"{what}, which is gone"
                copy = kept.elements[element]
                if not self._streams(einsum, access, step, copy, moment):
                    return f"{what} out of step"
                if copy.streamed and self._waits_ahead(einsum, access, element, at):
                    return f"{what} as it comes, and waits for what comes later"
        return None

    def _waits_ahead(
        self, einsum: ir.Einsum, access: ir.Access, element: Element, at: dict[str, int]
    ) -> bool:
        """Whether another operand descends from a later iteration of the same writer."""
        name = access.tensor
        here = self.origin[name, element][name]
        for other in einsum.reads:
            found = self.origin.get((other.tensor, self.walker.element(other, at)), {})
            if name in found and found[name] > here:
                return True
        return False

    def _descend(self, einsum: ir.Einsum, at: dict[str, int], turn: Turn) -> None:
        """Note whom a value descends from: its operands' ancestors, and its own iteration."""
        mine = self.origin.setdefault((einsum.name, self.walker.element(einsum.target, at)), {})
        for access in einsum.reads:
            theirs = self.origin.get((access.tensor, self.walker.element(access, at)), {})
            for name, last in theirs.items():
                mine[name] = max(mine.get(name, last), last)
        mine[einsum.name] = turn

    def _streams(
        self, einsum: ir.Einsum, access: ir.Access, step: Step, copy: _Copy, moment: int
    ) -> bool:
        """Registers: the reader is at the iteration of own loops that wrote the value, and
        values that stream do not last until a later step."""
        level = self._home(access.tensor)
        if level < self.walker.registers:
            return True
        loops = self.loops[einsum.name]
        stepping = self.walker.stepping(einsum, access, level)
        writer = self.program.einsum_of[access.tensor]
        while stepping and self.walker.unrolled((writer, writer.target), einsum, stepping[-1]):
            stepping.pop()
        own = self._turn(loops, step, self._streaming(writer, stepping))
        late = moment > copy.moment or self.walker.apart(einsum, writer)
        return own == copy.streamed and not (late and own)

    def _streaming(self, writer: ir.Einsum, loops: list[WalkedLoop]) -> set[str]:
        """Loops of its own in which a value streams; a running value lasts along its rank."""
        ranks = {r.lower() for r in self.program.iterative.get(writer.name, ())}
        return {x.name for x in loops if self._own(writer, x) and x.variable not in ranks}

    def _writes(self, einsum: ir.Einsum, step: Step, moment: int) -> str | None:
        kept = self.kept[einsum.name]
        level = self._home(einsum.name)
        loops = self.loops[einsum.name]
        ranks = {r.lower() for r in self.program.iterative.get(einsum.name, ())}
        outside = [x for x in loops if x.level < level]
        moving = [x for x in outside if x.variable in self.walker.moving(einsum.target) - ranks]
        registers = level == self.walker.registers
        apart = {x.name for x in moving if registers and self._own(einsum, x)}
        tile = self._turn(loops, step, {x.name for x in moving} - apart)
        along = [
            x for x in outside if x.variable in ranks and not (registers and self._own(einsum, x))
        ]
        running = self._turn(loops, step, {x.name for x in along})
        stepping = self.walker.stepping(einsum, einsum.target, level)
        streamed = self._turn(loops, step, self._streaming(einsum, stepping))
        whole = self._turn(loops, step, {x.name for x in moving})
        if tile != kept.tile:
            kept.elements.clear()
            kept.running.clear()
        if running not in kept.running:
            kept.running = [*kept.running[-1:], running]
            kept.elements = {e: c for e, c in kept.elements.items() if c.running in kept.running}
        stays = kept.last == whole or not registers
        touched: set[Element] = set()
        for _, at in step.lanes:
            element = self.walker.element(einsum.target, at)
            begun = kept.due[element] < kept.total[element] and element not in touched
            touched.add(element)
            if begun and not (stays and element in kept.elements):
                return f"{einsum.name} updates {element}, which is gone"
            kept.due[element] -= 1
            kept.elements[element] = _Copy(moment, running, streamed)
            self._descend(einsum, at, (("", moment), *streamed))
        kept.tile, kept.last = tile, whole
        return None
