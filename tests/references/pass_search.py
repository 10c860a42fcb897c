"""How many traversals of a fiber a cascade needs, by trying every order of its elements.

Nothing here is shared with the analysis. A cascade is unrolled into *events*, one per
point of every iteration space; an event needs every event that contributes to an element
it reads. One fiber of a rank is looked at a time: all other coordinates stand still, and
whatever does not belong to the fiber happens by itself as soon as it can. A *sweep* visits
the coordinates of the fiber once each, in some order, and at each visit does every event
of that coordinate that is ready. All orders of all sweeps are tried.

``sweeps_needed``  fewest sweeps in which everything that touches the rank gets done.
``passes_needed``  fewest passes when only sweeps over fibers of one common tensor count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from einsum_cascade import ir

Element = tuple[str, tuple[int, ...]]
MAX_SWEEPS = 6


@dataclass(frozen=True)
class Event:
    einsum: str
    kind: str
    point: tuple[tuple[str, int], ...]
    reads: tuple[Element, ...]
    writes: Element
    picks: tuple[tuple[str, int], ...] = ()

    def at(self, variable: str) -> int | None:
        return dict(self.point).get(variable)


@dataclass(frozen=True)
class Unrolled:
    """All events of a cascade for given shapes, and which need which."""

    program: ir.Program
    shapes: Mapping[str, int]
    events: tuple[Event, ...]
    needs: tuple[tuple[int, ...], ...] = field(repr=False)


# ---------------------------------------------------------------- unrolling


def unroll(program: ir.Program, shapes: Mapping[str, int]) -> Unrolled:
    events: list[Event] = []
    for kind, statements in (("init", program.init), ("einsum", program.einsums)):
        for einsum in statements:
            events.extend(_events(program, einsum, kind, shapes))
    writers: dict[Element, list[int]] = {}
    for number, event in enumerate(events):
        writers.setdefault(event.writes, []).append(number)
    needs = tuple(
        tuple(sorted({w for element in e.reads for w in writers.get(element, ())})) for e in events
    )
    return Unrolled(program, shapes, tuple(events), needs)


def _events(
    program: ir.Program, einsum: ir.Einsum, kind: str, shapes: Mapping[str, int]
) -> Iterable[Event]:
    names = einsum.variables
    for values in itertools.product(*(range(shapes[n.upper()]) for n in names)):
        point = dict(zip(names, values, strict=True))
        if einsum.where is not None and not _holds(einsum.where, point, shapes):
            continue
        if not _inside(program, point, shapes):
            continue
        reads: list[Element] = []
        for number, access in enumerate(einsum.reads):
            position = _position(access, point, shapes)
            gathers = [i for i in access.indices if isinstance(i, ir.Gather)]
            if not gathers:
                reads.append((access.tensor, position))
                continue
            picked = (f"{einsum.name}.pick{number}", tuple(point.values()))
            needs = [(g.access.tensor, _position(g.access, point, shapes)) for g in gathers]
            ranks = program.tensor_ranks[access.tensor]
            anywhere = [
                range(shapes[ranks[d]]) if isinstance(i, ir.Gather) else (position[d],)
                for d, i in enumerate(access.indices)
            ]
            own = tuple((v, point[v]) for v in access.variables)
            for chosen in itertools.product(*anywhere):  # the data may ask for any element
                at = tuple(
                    (ranks[d], chosen[d])
                    for d, i in enumerate(access.indices)
                    if isinstance(i, ir.Gather)
                )
                yield Event(einsum.name, "pick", own, ((access.tensor, chosen), *needs), picked, at)
            reads.append(picked)
        writes = (einsum.target.tensor, _position(einsum.target, point, shapes))
        yield Event(einsum.name, kind, tuple(point.items()), tuple(reads), writes)


def _inside(program: ir.Program, point: Mapping[str, int], shapes: Mapping[str, int]) -> bool:
    """Whether a point lies inside its families (the last tile may be cut short)."""
    for rank in program.ranks:
        members = rank.partition
        if members and all(m.lower() in point for m in members):
            place = 0
            for m in members:
                place = place * shapes[m] + point[m.lower()]
            if place >= shapes[rank.name]:
                return False
    return True


def _position(
    access: ir.Access, point: Mapping[str, int], shapes: Mapping[str, int]
) -> tuple[int, ...]:
    return tuple(_index(i, point, shapes) for i in access.indices)


def _index(index: ir.Index, point: Mapping[str, int], shapes: Mapping[str, int]) -> int:
    if isinstance(index, ir.Gather):
        return 0  # replaced by every position there is
    total = 0
    for t in index.terms:
        value = t.coefficient * (point[t.variable] if t.variable else 1)
        for s in t.shapes:
            value *= shapes[s]
        total += value
    return total


def _number(node: ir.Expression, point: Mapping[str, int], shapes: Mapping[str, int]) -> float:
    match node:
        case ir.Number(value=value):
            return value
        case ir.Name(name=name, kind="variable"):
            return point[name]
        case ir.Name(name=name):
            return shapes[name]
        case ir.Unary(operand=operand):
            return -_number(operand, point, shapes)
        case ir.Binary(operator=operator, left=left, right=right):
            a, b = _number(left, point, shapes), _number(right, point, shapes)
            return {"+": a + b, "-": a - b, "*": a * b}[operator]
    raise NotImplementedError(node)


def _holds(node: ir.Condition, point: Mapping[str, int], shapes: Mapping[str, int]) -> bool:
    if isinstance(node, ir.Logical):
        found = [_holds(o, point, shapes) for o in node.operands]
        return {"and": all(found), "or": any(found), "not": not found[0]}[node.operator]
    a, b = _number(node.left, point, shapes), _number(node.right, point, shapes)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[
        node.operator
    ]


# ---------------------------------------------------------------- one fiber


@dataclass(frozen=True)
class Fiber:
    """One fiber of a rank: its events by coordinate, and the delay a visit may have.

    ``held`` coordinates stay in hand after their visit (a window of bounded size).
    """

    unrolled: Unrolled
    coordinate: Mapping[int, int]
    held: int = 0

    def one_sweep(self, order: tuple[int, ...], done: frozenset[int], mine: frozenset[int]):
        """What is done after visiting the coordinates in ``order``; ``mine`` wait for visits."""
        state = set(done)
        self._free(state, mine)
        for step in range(len(order)):
            now = set(order[max(0, step - self.held) : step + 1])
            self._do(state, lambda n, now=now: n not in mine or self.coordinate[n] in now)
        return frozenset(state)

    def _free(self, state: set[int], mine: frozenset[int]) -> None:
        self._do(state, lambda n: n not in mine)

    def _do(self, state: set[int], allowed: Callable[[int], bool]) -> None:
        changed = True
        while changed:
            changed = False
            for n, needs in enumerate(self.unrolled.needs):
                if n not in state and allowed(n) and all(x in state for x in needs):
                    state.add(n)
                    changed = True

    @property
    def size(self) -> int:
        return max(self.coordinate.values()) + 1

    def fewest_sweeps(self, mine: frozenset[int]) -> int:
        frontier = {frozenset[int]()}
        orders = tuple(itertools.permutations(range(self.size)))
        for number in range(1, MAX_SWEEPS + 1):
            after = {self.one_sweep(o, s, mine) for s in frontier for o in orders}
            if any(mine <= s for s in after):
                return number
            frontier = {s for s in after if not any(s < t for t in after)}
        raise AssertionError("no number of sweeps is enough")


def fibers(
    unrolled: Unrolled, rank: str, held: int, tile: int, turned: frozenset[str]
) -> Iterable[Fiber]:
    """Every fiber of a rank: one for each choice of all other coordinates.

    ``turned`` are Einsums that run against the rank: step t is at position shape - 1 - t.
    """
    own = rank.lower()
    known = unrolled.program.rank_of[rank]
    moving = {own}
    if known.partition:
        moving |= {m.lower() for m in known.partition}
    elif known.family:
        members = unrolled.program.rank_of[known.family].partition
        moving |= {m.lower() for m in members[members.index(rank) :]}
    used = dict.fromkeys(v for e in unrolled.events for v, _ in e.point)
    outer = [v for v in used if v not in moving]
    for values in itertools.product(*(range(unrolled.shapes[v.upper()]) for v in outer)):
        here = dict(zip(outer, values, strict=True))
        coordinate = {
            n: c
            for n, e in enumerate(unrolled.events)
            if (c := _coordinate(unrolled, rank, e, tile, turned)) is not None
            and all(here.get(v, x) == x for v, x in e.point)
        }
        if coordinate:
            yield Fiber(unrolled, coordinate, held)


def _coordinate(
    unrolled: Unrolled, rank: str, event: Event, tile: int, turned: frozenset[str]
) -> int | None:
    """Where an event stands on a rank; the coordinate ``tile`` of a family stands for all."""
    if event.kind == "init":
        return None
    if rank in dict(event.picks):
        return dict(event.picks)[rank]
    members = unrolled.program.rank_of[rank].partition
    if members:
        places = [event.at(m.lower()) for m in members]
        return None if None in places else places[tile]
    here = event.at(rank.lower())
    if here is not None and event.einsum in turned:
        return unrolled.shapes[rank] - 1 - here
    return here


def sweeps_needed(
    program: ir.Program,
    rank: str,
    shapes: Mapping[str, int],
    held: int = 0,
    turned: Iterable[str] = (),
) -> int:
    """Fewest sweeps over the hardest fiber of ``rank``; 0 when nothing touches it."""

    def fewest(fiber: Fiber) -> int:
        return fiber.fewest_sweeps(frozenset(fiber.coordinate))

    return _hardest(program, rank, shapes, held, frozenset(turned), fewest)


def _hardest(
    program: ir.Program,
    rank: str,
    shapes: Mapping[str, int],
    held: int,
    turned: frozenset[str],
    fewest: Callable[[Fiber], int],
) -> int:
    """The most any fiber needs; a family may be cut into tiles along any of its members."""
    unrolled = unroll(program, shapes)
    tiles = range(max(1, len(program.rank_of[rank].partition)))
    return min(
        max((fewest(f) for f in fibers(unrolled, rank, held, tile, turned)), default=0)
        for tile in tiles
    )


# ---------------------------------------------------------------- passes over one tensor


def passes_needed(
    program: ir.Program,
    rank: str,
    shapes: Mapping[str, int],
    held: int = 0,
    turned: Iterable[str] = (),
) -> int:
    """Fewest passes over the hardest fiber of ``rank``.

    Einsums are put into passes so that what one needs is in no later pass, and so that any
    two of one pass that touch fibers of a common tensor can share one sweep.
    """
    return _hardest(program, rank, shapes, held, frozenset(turned), _passes)


def _passes(fiber: Fiber) -> int:
    by_einsum: dict[str, frozenset[int]] = {}
    for n in fiber.coordinate:
        e = fiber.unrolled.events[n]
        name = e.einsum if e.kind == "einsum" else e.writes[0]
        if e.kind != "init":
            by_einsum[name] = by_einsum.get(name, frozenset()) | {n}
    names = tuple(by_einsum)
    if not names:
        return 0
    places = {name: _carried(fiber, by_einsum[name]) for name in names}
    later = _later(fiber, by_einsum)
    fits: dict[frozenset[str], bool] = {}
    for count in range(1, len(names) + 1):
        for passes in itertools.product(range(count), repeat=len(names)):
            numbers = dict(zip(names, passes, strict=True))
            if any(numbers[a] > numbers[b] for a, b in later):
                continue
            groups = [
                frozenset({a, b})
                for a, b in itertools.combinations_with_replacement(names, 2)
                if numbers[a] == numbers[b] and places[a] & places[b]
            ]
            if all(_fits(fiber, by_einsum, group, fits) for group in groups):
                return count
    raise AssertionError("one pass for every Einsum is always enough")


def _fits(
    fiber: Fiber,
    by_einsum: Mapping[str, frozenset[int]],
    group: frozenset[str],
    known: dict[frozenset[str], bool],
) -> bool:
    if group not in known:
        mine = frozenset().union(*(by_einsum[n] for n in group))
        orders = itertools.permutations(range(fiber.size))
        known[group] = any(mine <= fiber.one_sweep(o, frozenset(), mine) for o in orders)
    return known[group]


def _later(fiber: Fiber, by_einsum: Mapping[str, frozenset[int]]) -> set[tuple[str, str]]:
    """Pairs of Einsums of which the second needs the first, inside this fiber."""
    needed: list[frozenset[int]] = [frozenset()] * len(fiber.unrolled.events)
    changed = True
    while changed:
        changed = False
        for n, needs in enumerate(fiber.unrolled.needs):
            found = frozenset(needs).union(*(needed[x] for x in needs))
            if found != needed[n]:
                needed[n], changed = found, True
    return {
        (a, b)
        for a, mine in by_einsum.items()
        for b, theirs in by_einsum.items()
        if a != b and any(needed[t] & mine for t in theirs)
    }


def _carried(fiber: Fiber, events: frozenset[int]) -> frozenset[tuple[str, int]]:
    """Tensors and dimensions whose position moves one to one with the fiber's coordinate.

    Followed from access to access: what the events of one coordinate read, what wrote
    that, what those read in turn, as long as no two coordinates meet at one position.
    """
    found: set[tuple[str, int]] = set()
    queue = [{c: {n for n in events if fiber.coordinate[n] == c} for c in range(fiber.size)}]
    seen: set[tuple[str, int, frozenset]] = set()
    while queue:
        groups = queue.pop()
        for slot in _slots(fiber, groups):
            touched = {c: _touched(fiber, g, slot) for c, g in groups.items()}
            touched = {c: elements for c, elements in touched.items() if elements}
            if len(touched) < 2:
                continue
            tensor = next(iter(next(iter(touched.values()))))[0]
            for d in range(len(next(iter(next(iter(touched.values()))))[1])):
                at = [{position[d] for _, position in s} for s in touched.values()]
                if any(x & y for x, y in itertools.combinations(at, 2)):
                    continue
                found.add((tensor, d))
                key = (tensor, d, frozenset(e for s in touched.values() for e in s))
                if key not in seen:
                    seen.add(key)
                    queue.append({c: _writers(fiber, s) for c, s in touched.items()})
    return frozenset(found)


def _slots(fiber: Fiber, groups: Mapping[int, set[int]]) -> set[tuple[str, str, int]]:
    """Every place where a tensor stands: Einsum, kind of event, and which read (-1: target)."""
    events = [fiber.unrolled.events[n] for g in groups.values() for n in g]
    return {(e.einsum, e.kind, k) for e in events for k in range(-1, len(e.reads))}


def _touched(fiber: Fiber, group: set[int], slot: tuple[str, str, int]) -> set[Element]:
    einsum, kind, k = slot
    events = [fiber.unrolled.events[n] for n in group]
    mine = [e for e in events if (e.einsum, e.kind) == (einsum, kind)]
    return {e.writes if k < 0 else e.reads[k] for e in mine}


def _writers(fiber: Fiber, elements: set[Element]) -> set[int]:
    return {n for n, e in enumerate(fiber.unrolled.events) if e.writes in elements}
