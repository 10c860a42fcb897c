"""What one Einsum leaves at a level for another: tiles that are not fetched again."""

from __future__ import annotations

from nest_loops import Nest, WalkedLoop

from einsum_cascade import ir

_Turns = dict[tuple[int, ...], tuple[int, ...]]
"""Iterations of a writer's own loops, by the iteration of the loops it shares."""


def _latest(found: list[_Turns]) -> _Turns:
    shared = {key for turns in found for key in turns}
    return {key: max(turns[key] for turns in found if key in turns) for key in shared}


def _later(turns: _Turns, others: _Turns) -> bool:
    """Whether some come later than others in the same shared iteration."""
    return any(key in others and own > others[key] for key, own in turns.items())


class Leavings(Nest):
    """Whether the tile that an Einsum takes is where another one left it."""

    def _alike(
        self, left: tuple[ir.Einsum, ir.Access], taken: tuple[ir.Einsum, ir.Access], level: int
    ) -> bool:
        """Whether what one Einsum leaves at a level is all there when another takes it."""
        ended = self._ended(*left, taken[1])
        first = [x for x in self.stepping(*left, level) if x.variable not in ended]
        if first and self.apart(left[0], taken[0]):
            return False
        if level < self.registers:
            if not all(x.shared for x in first):
                return False
            turns = self.turns_of(taken[0])
            second = [x for x in self.temporal(taken[0]) if x.shared and x.level < level]
            second = [x for x in second if turns[x.name] > 1]
            moved = {x.variable for x in first} & self.moving(left[1])
            while second and second[-1].variable not in moved:
                second.pop()
        else:
            second = self.stepping(*taken, level)
            while second and self.unrolled(left, taken[0], second[-1]):
                second.pop()
        inside = {x.name for x in self.temporal(taken[0]) if x.shared}
        shared = {n for x in self.mapping.nest for n in x.loops}
        mine = {x.variable for x in (*self.temporal(taken[0]), *self.spatial(taken[0]))}
        together = [
            x for x in first if x.name in inside or x.name not in shared or x.variable in mine
        ]
        if [x.name for x in together] != [x.name for x in second]:
            return False
        if not all(x.shared == y.shared for x, y in zip(together, second, strict=True)):
            return False
        return left[1] is not left[0].target or self._stays(left, taken, first, second)

    def unrolled(
        self, left: tuple[ir.Einsum, ir.Access], taker: ir.Einsum, loop: WalkedLoop
    ) -> bool:
        """Whether another array holds, element beside element, what a loop goes through."""
        array = self.how(left[0]).array
        if array == self.how(taker).array or array not in self.arrays(left[1].tensor, left[0]):
            return False
        return loop.name in {x.name for x in self.spatial(left[0])}

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
            if not {*wrote.variables} & {*names}:
                # No loop brings another tile along it: all of its places are in this one.
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

    def _left_by(
        self, einsum: ir.Einsum, access: ir.Access, level: int
    ) -> list[tuple[ir.Einsum, ir.Access]]:
        """Who may have left a tile that an access takes: the writer, or an earlier reader.

        What a reader fetched after the writer was done with it is as good, except that of
        a running value another coordinate may have come since.
        """
        order = self.running_order()
        earlier = order[: order.index(einsum)]
        writer = self.program.einsum_of.get(access.tensor)
        found: list[tuple[ir.Einsum, ir.Access]] = []
        if writer is not None:
            found.append((writer, writer.target))
            lasting = access.tensor not in self.program.iterative and level < self.registers
            after = earlier[earlier.index(writer) + 1 :] if writer in earlier else []
            earlier = after if lasting else []
        found += [(e, a) for e in earlier for a in e.reads if a == access]
        return [
            (e, a)
            for e, a in found
            if level == self.registers or level in self.memories(access.tensor, e)
        ]

    def _is_left(self, einsum: ir.Einsum, access: ir.Access, level: int) -> bool:
        if level == self.registers and self._waits(einsum, access):
            return False
        return any(
            self._alike(left, (einsum, access), level)
            for left in self._left_by(einsum, access, level)
        )

    def _waits(self, einsum: ir.Einsum, access: ir.Access) -> bool:
        """Whether some operand of a reader comes of later values than the one it takes as
        they stream by: followed from value to value."""
        writer = self.program.einsum_of[access.tensor]
        order = self.running_order()
        if writer not in order[: order.index(einsum)]:
            return False
        loops = self.stepping(writer, writer.target, self.registers)
        names = {x.name: x.shared for x in loops}
        if all(names.values()):
            return False
        temporal = enumerate(self.temporal(writer))
        places = [(i, x.shared) for i, x in temporal if x.name in names]
        # By element, the last own iteration it comes of in each shared one.
        last: dict[tuple[str, object], _Turns] = {}
        for e in order[order.index(writer) : order.index(einsum) + 1]:
            for step in self.walk_steps(e):
                for _, at in step.lanes:
                    read = {a: last.get((a.tensor, self.element(a, at)), {}) for a in e.reads}
                    if e is einsum:
                        beside = last.get((access.tensor, self._beside(access, at)), {})
                        by_then = _latest([beside, read[access]])
                        if any(_later(turns, by_then) for turns in read.values()):
                            return True
                    mine = (e.name, self.element(e.target, at))
                    turns = [last.get(mine, {}), *read.values()]
                    if e is writer:
                        shared = tuple(step.index[i] for i, is_shared in places if is_shared)
                        own = tuple(step.index[i] for i, is_shared in places if not is_shared)
                        turns.append({shared: own})
                    last[mine] = _latest(turns)
        return False

    def _beside(self, access: ir.Access, at: dict[str, int]) -> object:
        """The element that is written in the iteration in which an access takes its own: of
        a running value, perhaps the next one."""
        target = self.program.einsum_of[access.tensor].target
        found = list(self.element(access, at))
        start = len(self.program.parallel)
        for number, (wrote, read) in enumerate(zip(target.indices, access.indices, strict=True)):
            affine = isinstance(wrote, ir.Affine) and isinstance(read, ir.Affine)
            if affine and wrote.offset == 1 and read.variables == wrote.variables:
                value = found[start + number]
                assert isinstance(value, int)
                found[start + number] = value + 1 - (read.offset or 0)
        return tuple(found)

    def _written(self, access: ir.Access) -> bool:
        return access.tensor in self.program.einsum_of
