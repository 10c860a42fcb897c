"""Intervals of the distance between two coordinates, and how distances add up along reads."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..affine import Families
from ..graphs import connected, on_cycles
from ..ir import Affine
from ..memo import Memoized, cached_property, memoized
from .nodes import PassNode, Read

# A marker, not a size: sums are small integers, this marker, or infinity.
BOUNDED = 1e9


@dataclass(frozen=True)
class Interval:
    """Interval that holds a distance between two coordinates u and v of one rank.

    The distance is ``u - v`` if ``sign`` is +1, and ``u + v - (shape - 1)`` if ``sign`` is -1. A
    reader at ``v`` of ``u = v - 1`` that is read at ``w`` with ``v`` in ``w..w+2``:

    >>> Interval(-1, -1).then(Interval(0, 2))
    Interval(low=-1, high=1, sign=1)

    Reversing the direction twice restores it:

    >>> Interval(0, 1, -1).then(Interval(0, 0, -1))
    Interval(low=0, high=1, sign=1)
    """

    low: float
    high: float
    sign: int = 1

    def then(self, other: Interval) -> Interval:
        """Return the interval between ``u`` and ``w``, given two that meet at ``v``.

        This interval lies between ``u`` and ``v``; ``other`` lies between ``v`` and ``w``.
        """
        if other is EQUAL:  # the common case, not worth an addition
            return self
        # With sign -1, u + w is (u + v) - (v - w), so the second interval counts negative.
        low, high = (other.low, other.high) if self.sign > 0 else (-other.high, -other.low)
        return Interval(add(self.low, low), add(self.high, high), self.sign * other.sign)

    @property
    def everything(self) -> bool:
        """True if the interval has neither a lower nor an upper bound."""
        return self.low == -math.inf and self.high == math.inf

    def inside(self, other: Interval) -> bool:
        """Return whether ``other`` contains this interval."""
        return self.sign == other.sign and other.low <= self.low and self.high <= other.high

    def meet(self, other: Interval) -> Interval:
        """Return the intersection of two intervals; if signs differ, return this interval."""
        if self.sign != other.sign:
            return self
        return Interval(max(self.low, other.low), min(self.high, other.high), self.sign)

    def cover(self, other: Interval) -> Interval | None:
        """Return the smallest interval that contains both intervals, or None if it has no bound.

        The result is None also if the signs differ.
        """
        if self.sign != other.sign:
            return None
        found = Interval(min(self.low, other.low), max(self.high, other.high), self.sign)
        return None if found.everything else found


def add(a: float, b: float) -> float:
    """Return the sum of two bounds; adding an integer to the bound ``BOUNDED`` gives ``BOUNDED``.

    >>> add(BOUNDED, -3), add(-3, -BOUNDED), add(BOUNDED, math.inf)
    (1000000000.0, -1000000000.0, inf)
    """
    if math.isinf(a) or math.isinf(b):
        return a if math.isinf(a) else b
    total = a + b
    if abs(total) >= BOUNDED / 2:
        return math.copysign(BOUNDED, total)
    if abs(a) >= BOUNDED / 2 or abs(b) >= BOUNDED / 2:  # opposite widths: either sign is correct
        return math.copysign(BOUNDED, a if abs(a) >= BOUNDED / 2 else b)
    return total


EQUAL = Interval(0, 0)


def coarser(whole: Interval) -> Interval:
    """Return a distance in elements as a distance in tiles.

    The next element is in the same tile or in a later one:

    >>> coarser(Interval(1, 1)), coarser(Interval(-1, 0))
    (Interval(low=0.0, high=1000000000.0, sign=1), Interval(low=-1000000000.0, high=0.0, sign=1))
    """
    low = whole.low if math.isinf(whole.low) else (0.0 if whole.low >= 0 else -BOUNDED)
    high = whole.high if math.isinf(whole.high) else (0.0 if whole.high <= 0 else BOUNDED)
    return Interval(low, high, whole.sign)


def finer(outer: Interval) -> Interval:
    """Return a distance in tiles as a distance in elements; any element of a tile may be meant."""
    low = outer.low if math.isinf(outer.low) else -BOUNDED
    high = outer.high if math.isinf(outer.high) else BOUNDED
    return Interval(low, high, outer.sign)


# Maximum number of states per node; beyond it states are merged to their common knowledge. Knowing
# less can only increase the number of passes, never decrease it.
MAX_STATES = 24


_AFTER, _UNTIL = Interval(-math.inf, 0), Interval(0, math.inf)
START, STOP = "#start", "#stop"
"""Names that stand for coordinate 0 and for the last coordinate of a rank."""

SINCE = "since "
"""Prefix of the names that ``since`` makes."""


def since(u: str, v: str) -> str:
    """Return a name for the value that ``v`` had when a chain of reads first met it.

    The chain knows the source coordinate ``u``; ``v`` is not a position along the fiber of ``u``.
    """
    return f"{SINCE}{u}: {v}"


State = tuple[tuple[tuple[str, str], Interval], ...]
"""Known intervals by pair (source variable, reader variable), sorted; a missing pair is unknown."""


# ------------------------------------------------------------------ one read


def ties_of(written: tuple[Affine, ...], read: Read) -> dict[tuple[str, str], Interval]:
    """Return how a writer's and a reader's variables relate if both mean the same element.

    Parameters
    ----------
    written : tuple of Affine
        Forms of the writer's target, by dimension.
    read : Read
        Read of the same tensor.

    Returns
    -------
    dict
        Interval of the difference by (variable written, variable read). If two dimensions relate
        one pair, both relations hold.

    >>> from ..ir import AffineTerm
    >>> at = lambda v, c: Affine((AffineTerm(1, (), v), AffineTerm(c)))
    >>> ties_of((at("i", 0),), Read("X", (at("i", -1),)))  # X[i], read as X[i - 1]
    {('i', 'i'): Interval(low=-1.0, high=-1.0, sign=1)}
    """
    found: dict[tuple[str, str], Interval] = {}
    for to, at in zip(written, read.forms, strict=False):
        for pair, interval in _dimension(to, at):
            known = found.get(pair)
            found[pair] = interval if known is None else known.meet(interval)
    return found


def _dimension(to: Affine, at: Affine) -> list[tuple[tuple[str, str], Interval]]:
    v = to.single
    if v is None:
        same = to == at and any(to.coefficient(x) is None for x in to.variables)
        return [((x, x), EQUAL) for x in to.variables] if same else []
    if not at.variables:
        return _fixed(v, to, at)
    found = []
    for w in at.variables:
        interval = _against(at, w, to, v)
        if interval is not None and not interval.everything:
            found.append(((v, w), interval))
    return found


def _fixed(v: str, to: Affine, at: Affine) -> list[tuple[tuple[str, str], Interval]]:
    """Return the distance of ``v`` from the start or the stop of its rank, for a constant index."""
    place = at.minus(Affine(tuple(t for t in to.terms if t.variable != v)))
    if not place.shape_terms:
        return [((v, START), Interval(place.constant, place.constant))]
    # A stop is read at the shape, one past the last coordinate.
    if [t.shapes for t in place.shape_terms] == [(v.upper(),)]:
        return [((v, STOP), Interval(place.constant + 1, place.constant + 1))]
    return []


def _against(at: Affine, w: str, to: Affine, v: str) -> Interval | None:
    """Return the interval between the written variable ``v`` and the read variable ``w``."""
    coefficient = at.coefficient(w)
    # Both refer to one position: v + (rest of to) = +-w + (rest of at), so v - w, or v + w, is the
    # difference of the two rests.
    if coefficient not in (1, -1):
        return None
    others = Affine(tuple(t for t in at.terms if t.variable != w))
    rest = others.minus(Affine(tuple(t for t in to.terms if t.variable != v)))
    low = high = float(rest.constant)
    own = ((v.upper(),), (w.upper(),))
    turned = False
    for t in rest.terms:
        # Another variable adds anything from 0 to the end of its rank.
        if t.variable:
            low, high = (
                (low, add(high, BOUNDED)) if t.coefficient > 0 else (add(low, -BOUNDED), high)
            )
        elif t.shapes in own and coefficient < 0 and t.coefficient == 1 and not turned:
            # v + w = S + c is written v + w - (S - 1) = c + 1: the shape goes into the sign. The
            # shape of another rank would be mistaken for theirs when the direction is reversed
            # again.
            turned, low, high = True, add(low, 1), add(high, 1)
        elif t.shapes:
            low, high = add(low, -BOUNDED), add(high, BOUNDED)
    if coefficient < 0:
        return Interval(low, high, -1) if turned else None
    return Interval(low, high) if low or high else EQUAL


# ------------------------------------------------------------------ inside a node


def _masked(found: dict[tuple[str, str], Interval], node: PassNode, families: Families) -> None:
    """Extend relations with one side of a mask such as ``m <= p`` to the other side.

    The order holds at every point that the mask keeps, and thus for every chain of reads through
    this node. Orders may follow from one another (``m <= p and p <= q``), hence one round per mask.
    """
    _equal_families(found, node, families)
    for _ in node.masks:
        for mask in node.masks:
            for u in {u for u, _ in found if not u.startswith(SINCE)}:
                _tie(found, (u, mask.first), Interval(-math.inf, -mask.gap), mask.second)
                _tie(found, (u, mask.second), Interval(mask.gap, math.inf), mask.first)
    _families(found, node, families)


def _optimistic(found: dict[tuple[str, str], Interval], node: PassNode) -> None:
    """Assume that two positions are close together if a mask compares them without an order.

    The assumption is not made if the second position belongs to the source too, because the mask
    then bounds the fiber.
    """
    for c in node.compared:
        for one, other in ((c.one, c.other), (c.other, c.one)):
            tied = {u for u, v in found if v == other and not u.startswith(SINCE)}
            for u in {u for u, v in found if v == one and not u.startswith(SINCE)}:
                if not tied - {u}:
                    _tie(found, (u, one), Interval(-BOUNDED, BOUNDED, c.sign), other)


def _tie(
    found: dict[tuple[str, str], Interval], known: tuple[str, str], step: Interval, v: str
) -> None:
    """Derive a relation to ``v``, if possible, from the relation ``known`` and ``step``."""
    if known in found and not (new := found[known].then(step)).everything:
        old = found.get((known[0], v))
        found[known[0], v] = new if old is None else old.meet(new)


def _equal_families(
    found: dict[tuple[str, str], Interval], node: PassNode, families: Families
) -> None:
    """Equate two partitioned ranks whose members are equal one by one."""
    for (whole, members), (other, others) in itertools.product(families.members, repeat=2):
        pairs = tuple(zip(members, others, strict=False))
        matching = other in node.variables and len(members) == len(others) > 0
        if matching and all(found.get(pair) == EQUAL for pair in pairs):
            found.setdefault((whole, other), EQUAL)


def _families(found: dict[tuple[str, str], Interval], node: PassNode, families: Families) -> None:
    """Derive relations of members from their rank, and of the rank from its outermost member."""
    for family, members in families.members:
        if family not in node.variables or not members:
            continue
        whole = found.get((family, family))
        if whole is not None:
            same = whole == EQUAL
            for position, m in enumerate(members):
                if same:
                    found[(m, m)] = EQUAL
                elif position == 0 and (m, m) not in found:
                    found[(m, m)] = coarser(whole)
        elif all(found.get((m, m)) == EQUAL for m in members):
            found[(family, family)] = EQUAL
        elif (outer := found.get((members[0], members[0]))) is not None:
            found[(family, family)] = finer(outer)


# ------------------------------------------------------------------ along reads


@dataclass(frozen=True, eq=False)
class KnownState:
    """State of a chain of reads; equal states share one such object."""

    state: State

    @cached_property
    def known(self) -> dict[tuple[str, str], Interval]:
        """Intervals by pair (source variable, reader variable); unknown pairs are missing."""
        return dict(self.state)

    @cached_property
    def ends(self) -> bool:
        """True if the state relates a coordinate to the start or the stop of a rank."""
        return any(v in (START, STOP) for _, v in self.known)

    @cached_property
    def still(self) -> bool:
        """True if every known interval contains 0, so that any two coordinates may be equal."""
        return not self.ends and all(
            i.sign <= 0 or i.low <= 0 <= i.high for i in self.known.values()
        )


@dataclass(frozen=True, eq=False)
class ReadChain:
    """Chain of reads: the last node, the state there, and the chain of the reads before."""

    node: str
    at: KnownState
    before: ReadChain | None


@dataclass(frozen=True)
class ReadEdge:
    """Dependence of ``reader`` on ``writer`` through a read of the written tensor.

    ``looping`` is True if the edge is part of a cycle.
    """

    writer: str
    reader: str
    ties: tuple[tuple[tuple[str, str], Interval], ...]
    looping: bool

    @cached_property
    def onward(self) -> dict[str, list[tuple[str, Interval]]]:
        """Read variables with their intervals, by written variable."""
        found: dict[str, list[tuple[str, Interval]]] = {}
        for (written, read), tie in self.ties:
            found.setdefault(written, []).append((read, tie))
        return found


@dataclass(frozen=True, eq=False)
class Dependences(Memoized):
    """Graph of all reads of a cascade, with the dependents of each node."""

    nodes: tuple[PassNode, ...]
    families: Families
    edges: tuple[ReadEdge, ...]
    is_optimistic: bool = False
    """True if masks are assumed to imply as much as possible; this bounds the analysis's error."""

    @cached_property
    def node_of(self) -> dict[str, PassNode]:
        """Nodes by name."""
        return {n.name: n for n in self.nodes}

    @cached_property
    def _leaving(self) -> dict[str, list[tuple[int, ReadEdge]]]:
        """Edges by writer; edges with one number lead from equal states to equal states."""
        numbers: dict[object, int] = {}
        found: dict[str, list[tuple[int, ReadEdge]]] = {n.name: [] for n in self.nodes}
        for edge in self.edges:
            n = self.node_of[edge.reader]
            key = (edge.ties, edge.looping, n.variables, n.masks, n.compared)
            found[edge.writer].append((numbers.setdefault(key, len(numbers)), edge))
        return found

    @memoized
    def _known(self, state: State) -> KnownState:
        """Return the one object that stands for a state."""
        return KnownState(state)

    @cached_property
    def _after(self) -> dict[tuple[KnownState, int], KnownState]:
        return {}

    def _along(self, at: KnownState, number: int, edge: ReadEdge) -> KnownState:
        """Return the state at the reader of an edge, given the state at its writer.

        The result is cached for all edges with equal ``number``.
        """
        found = self._after.get((at, number))
        if found is None:
            found = self._known(self.closed(_after_edge(at.state, edge), self.node_of[edge.reader]))
            self._after[at, number] = found
        return found

    def closed(self, known: dict[tuple[str, str], Interval], node: PassNode) -> State:
        """Return a state extended by everything that masks and partitioned ranks imply at a node.

        The state also records ranks that the chain meets here for the first time. A rank without
        any shift (not in ``moving``) cannot have changed since then.

        Parameters
        ----------
        known : dict
            Intervals by (source variable, variable of ``node``), as a read brings them.
        node : PassNode
            Reader.

        Returns
        -------
        State
            Sorted, without unbounded pairs.
        """
        found = dict(known)
        tied = {u for u, v in known if v not in (START, STOP) and not u.startswith(SINCE)}
        for u in tied:
            for v in node.variables:
                if v in self.moving and (u, v) not in known:
                    found.setdefault((since(u, v), v), EQUAL)
        _families(found, node, self.families)
        if node.masks:
            _masked(found, node, self.families)
        if self.is_optimistic:
            _optimistic(found, node)
        return tuple(sorted((k, i) for k, i in found.items() if not i.everything))

    @cached_property
    def reached(self) -> dict[str, dict[str, tuple[ReadChain, ...]]]:
        """Dependents of each node, with the chains of reads that lead to them."""
        return {n.name: self._reached(n) for n in self.nodes}

    @cached_property
    def moving(self) -> frozenset[str]:
        """Variables that some read shifts, with all variables related to them."""
        pairs = [pair for e in self.edges for pair, _ in e.ties]
        pairs.extend((f, m) for f, members in self.families.members for m in members)
        shifted = {v for e in self.edges for pair, tie in e.ties if tie != EQUAL for v in pair}
        return frozenset(v for part in connected((), pairs) if part & shifted for v in part)

    @cached_property
    def optimistic(self) -> Dependences:
        """Optimistic version of the dependences; the same object if masks decide every question."""
        if not any(n.compared for n in self.nodes):
            return self
        return replace(self, is_optimistic=True)

    def _reached(self, source: PassNode) -> dict[str, tuple[ReadChain, ...]]:
        """Return every node that depends on ``source``, with the chains to its possible states."""
        start = self._known(self.closed({(v, v): EQUAL for v in source.variables}, source))
        steps: dict[str, list[ReadChain]] = {}
        # Breadth first: of two chains to one state the shorter one is kept for explanations.
        queue = deque([ReadChain(source.name, start, None)])
        while queue:
            step = queue.popleft()
            for number, edge in self._leaving[step.node]:
                reached = ReadChain(edge.reader, self._along(step.at, number, edge), step)
                self._visit(steps.setdefault(edge.reader, []), queue, reached)
        return {name: tuple(found) for name, found in steps.items()}

    def _visit(self, found: list[ReadChain], queue: deque[ReadChain], step: ReadChain) -> None:
        """Add the chain ``step`` to ``found`` unless a state there already allows as much.

        If there are too many states, one state with their common knowledge replaces them.
        """
        if any(old.at is step.at or _implied(step.at.known, old.at) for old in found):
            return
        if len(found) >= MAX_STATES:
            merged = step.at.state
            for old in found:
                merged = _generalized(merged, old.at.state)
            step = ReadChain(step.node, self._known(merged), step.before)
            found.clear()
        found.append(step)
        queue.append(step)


def _after_edge(state: State, edge: ReadEdge) -> dict[tuple[str, str], Interval]:
    found = {pair: known for pair, known in state if pair[1] in (START, STOP)}
    for (u, v), known in state:
        for read, tie in edge.onward.get(v, ()):
            if tie is EQUAL:
                new = known
            else:
                new = _repeated(known, tie) if edge.looping else known.then(tie)
            old = found.get((u, read))
            found[(u, read)] = new if old is None else old.meet(new)
    return found


def _repeated(known: Interval, tie: Interval) -> Interval:
    """Return the interval of a distance after a cycle repeats a shift any number of times.

    ``v - 1`` is ``v - 2`` after one more round, and any earlier position after enough rounds:

    >>> _repeated(EQUAL, Interval(-1, -1))
    Interval(low=-inf, high=-1, sign=1)
    """
    new = known.then(tie)
    low, high = (tie.low, tie.high) if known.sign > 0 else (-tie.high, -tie.low)
    return Interval(-math.inf if low < 0 else new.low, math.inf if high > 0 else new.high, new.sign)


def relation(step: ReadChain, u: str, v: str) -> Interval | None:
    """Return the interval between a source coordinate ``u`` and a coordinate ``v`` of a rank.

    None means that the distance is unknown: the element at ``v`` needs every ``u``.
    """
    known = step.at.known
    result = known.get((u, v))
    if step.at.ends:
        # u = c from the start and v >= 0 give u - v <= c; from the stop, u - v >= c.
        for at, way in ((START, _AFTER), (STOP, _UNTIL)):
            if (u, at) in known and not (end := known[u, at].then(way)).everything:
                result = end if result is None else result.meet(end)
    return result


def _implied(mine: Mapping[tuple[str, str], Interval], other: KnownState) -> bool:
    """Return whether a state satisfies all intervals of another one, so that it allows no more."""
    return all(k in mine and mine[k].inside(i) for k, i in other.state)


def _generalized(a: State, b: State) -> State:
    """Return a state with the knowledge that two states share.

    A pair that one of the states does not know stays unknown.
    """
    theirs = dict(b)
    both = ((k, i.cover(theirs[k])) for k, i in a if k in theirs)
    return tuple((k, i) for k, i in both if i is not None)


def dependences_of(nodes: tuple[PassNode, ...], families: Families) -> Dependences:
    """Return the dependences that connect every read to the statements that write its tensor."""
    writers: dict[str, list[PassNode]] = {}
    for node in nodes:
        writers.setdefault(node.tensor, []).append(node)
    plain = [
        (writer, reader, tuple(sorted(ties_of(writer.target, read).items(), key=str)))
        for reader in nodes
        for read in reader.reads
        # An iterative tensor has two writers: its init and its step.
        for writer in writers.get(read.tensor, ())
    ]
    cycles = on_cycles((w.name, r.name) for w, r, _ in plain)
    edges = tuple(
        ReadEdge(w.name, r.name, ties, (w.name, r.name) in cycles) for w, r, ties in plain
    )
    return Dependences(nodes, families, tuple(dict.fromkeys(edges)))
