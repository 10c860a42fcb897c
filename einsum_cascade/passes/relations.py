"""Distances between two coordinates, as far as they are known: intervals, and how they add up."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..affine import Families, Form
from ..graphs import connected, on_cycles
from ..memo import cached_property
from .nodes import PassNode, Read

# A mark rather than a size: sums come out as small whole numbers, as this, or as infinity.
BOUNDED = 1e9


@dataclass(frozen=True)
class Interval:
    """``sign`` +1: ``u - v`` is in ``[low, high]``; -1: ``u + v - (shape - 1)`` is.

    A reader at ``v`` of ``u = v - 1`` that is read at ``w`` with ``v`` in ``w..w+2``:

    >>> Interval(-1, -1).then(Interval(0, 2))
    Interval(low=-1, high=1, sign=1)

    Read backwards twice is forwards again:

    >>> Interval(0, 1, -1).then(Interval(0, 0, -1))
    Interval(low=0, high=1, sign=1)
    """

    low: float
    high: float
    sign: int = 1

    def then(self, other: Interval) -> Interval:
        """``u`` to ``v`` by this interval, ``v`` to ``w`` by ``other``: ``u`` to ``w``."""
        if other is EQUAL:  # the common case, not worth an addition
            return self
        # Backwards u + w is (u + v) - (v - w), so the second interval counts negative.
        low, high = (other.low, other.high) if self.sign > 0 else (-other.high, -other.low)
        return Interval(add(self.low, low), add(self.high, high), self.sign * other.sign)

    @property
    def everything(self) -> bool:
        """Whether the interval says nothing."""
        return self.low == -math.inf and self.high == math.inf

    def inside(self, other: Interval) -> bool:
        """Whether ``other`` allows all this one does."""
        return self.sign == other.sign and other.low <= self.low and self.high <= other.high

    def meet(self, other: Interval) -> Interval:
        """Both hold. Intervals of opposite sign cannot be combined; the first stays."""
        if self.sign != other.sign:
            return self
        return Interval(max(self.low, other.low), min(self.high, other.high), self.sign)

    def cover(self, other: Interval) -> Interval | None:
        """Either holds; None when that is everything."""
        if self.sign != other.sign:
            return None
        found = Interval(min(self.low, other.low), max(self.high, other.high), self.sign)
        return None if found.everything else found


def add(a: float, b: float) -> float:
    """A bounded width stays bounded whatever whole number is added to it.

    >>> add(BOUNDED, -3), add(-3, -BOUNDED), add(BOUNDED, math.inf)
    (1000000000.0, -1000000000.0, inf)
    """
    if math.isinf(a) or math.isinf(b):
        return a if math.isinf(a) else b
    total = a + b
    if abs(total) >= BOUNDED / 2:
        return math.copysign(BOUNDED, total)
    if abs(a) >= BOUNDED / 2 or abs(b) >= BOUNDED / 2:  # opposite widths: either sign
        return math.copysign(BOUNDED, a if abs(a) >= BOUNDED / 2 else b)
    return total


EQUAL = Interval(0, 0)


def coarser(whole: Interval) -> Interval:
    """A shift of elements as a shift of tiles.

    The next element is in the same tile or a later one:

    >>> coarser(Interval(1, 1)), coarser(Interval(-1, 0))
    (Interval(low=0.0, high=1000000000.0, sign=1), Interval(low=-1000000000.0, high=0.0, sign=1))
    """
    low = whole.low if math.isinf(whole.low) else (0.0 if whole.low >= 0 else -BOUNDED)
    high = whole.high if math.isinf(whole.high) else (0.0 if whole.high <= 0 else BOUNDED)
    return Interval(low, high, whole.sign)


def finer(outer: Interval) -> Interval:
    """A shift of tiles as a shift of elements; inside a tile any element may be meant."""
    low = outer.low if math.isinf(outer.low) else -BOUNDED
    high = outer.high if math.isinf(outer.high) else BOUNDED
    return Interval(low, high, outer.sign)


# Per node; past it what is known is joined to what all agree on. Knowing less can only ask for
# more passes, never for fewer.
MAX_STATES = 24


_AFTER, _UNTIL = Interval(-math.inf, 0), Interval(0, math.inf)
START, STOP = "#start", "#stop"
"""Where coordinate 0 and the last coordinate of a source's own rank stand."""

SINCE = "since "
"""Before a source coordinate: the values other variables had when a chain of reads that
still knew this coordinate first came to them."""


def since(u: str, v: str) -> str:
    """What stands for the value ``v`` had when a chain first came to it that knew ``u``.

    Of a ``v`` that is not itself a position along the fiber of ``u``.
    """
    return f"{SINCE}{u}: {v}"


State = tuple[tuple[tuple[str, str], Interval], ...]
"""What is known of pairs (source variable, reader variable), sorted; absent: nothing."""

Ties = Mapping[tuple[str, str], Interval]


# ------------------------------------------------------------------ one read


def ties_of(written: tuple[Form, ...], read: Read) -> dict[tuple[str, str], Interval]:
    """Relations between the writer's variables and the reader's, from equal positions.

    Parameters
    ----------
    written : tuple of Form
        Where the writer puts an element, by dimension.
    read : Read
        Of the same tensor.

    Returns
    -------
    dict
        By (variable written, variable read) the interval of their difference. Dimensions that tie
        one pair twice both hold.

    >>> from ..affine import Term
    >>> at = lambda v, c: Form((Term(1, (), v), Term(c)))
    >>> ties_of((Form((Term(1, (), "i"),)),), Read("X", (at("i", -1),)))  # X[i], read as X[i - 1]
    {('i', 'i'): Interval(low=-1.0, high=-1.0, sign=1)}
    """
    found: dict[tuple[str, str], Interval] = {}
    for to, at in zip(written, read.forms, strict=False):
        for pair, interval in _dimension(to, at):
            known = found.get(pair)
            found[pair] = interval if known is None else known.meet(interval)
    return found


def _dimension(to: Form, at: Form) -> list[tuple[tuple[str, str], Interval]]:
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


def _fixed(v: str, to: Form, at: Form) -> list[tuple[tuple[str, str], Interval]]:
    """``v`` stands at one place: near the start (a number) or the stop (its shape)."""
    place = at.minus(Form(tuple(t for t in to.terms if t.variable != v)))
    if not place.shape_terms:
        return [((v, START), Interval(place.constant, place.constant))]
    # A stop is read at the shape, one past the last coordinate.
    if [t.shapes for t in place.shape_terms] == [(v.upper(),)]:
        return [((v, STOP), Interval(place.constant + 1, place.constant + 1))]
    return []


def _against(at: Form, w: str, to: Form, v: str) -> Interval | None:
    """The relation of the written variable ``v`` to ``w``, one of those that read."""
    coefficient = at.coefficient(w)
    # Both stand at one position: v + (rest of to) = +-w + (rest of at), so that v - w, or v + w, is
    # what is left when the one rest is taken from the other.
    if coefficient not in (1, -1):
        return None
    others = Form(tuple(t for t in at.terms if t.variable != w))
    rest = others.minus(Form(tuple(t for t in to.terms if t.variable != v)))
    low = high = float(rest.constant)
    own = ((v.upper(),), (w.upper(),))
    turned = False
    for t in rest.terms:
        # Another variable adds anything from 0 to the end of its own rank.
        if t.variable:
            low, high = (
                (low, add(high, BOUNDED)) if t.coefficient > 0 else (add(low, -BOUNDED), high)
            )
        elif t.shapes in own and coefficient < 0 and t.coefficient == 1 and not turned:
            # v + w = S + c is told as v + w - (S - 1) = c + 1: the shape goes into the sign.
            # That of a rank of neither would be taken for theirs when it is turned back.
            turned, low, high = True, add(low, 1), add(high, 1)
        elif t.shapes:
            low, high = add(low, -BOUNDED), add(high, BOUNDED)
    if coefficient < 0:
        return Interval(low, high, -1) if turned else None
    return Interval(low, high) if low or high else EQUAL


# ------------------------------------------------------------------ inside a node


def closed(
    known: dict[tuple[str, str], Interval],
    node: PassNode,
    families: Families,
    moving: frozenset[str],
    is_optimistic: bool = False,
) -> State:
    """Add what masks and the make-up of families imply, and where the chain meets new ranks.

    A rank along which nothing is shifted (not in ``moving``) cannot have moved on since then.

    Parameters
    ----------
    known : dict
        Intervals by (source variable, variable of ``node``), as a read brings them.
    node : PassNode
        The reader.
    families : Families
    moving : frozenset of str
        Variables that some read shifts (``Dependences.moving``).
    hopeful : bool, default False
        Take masks that no order follows from for the most they can say.

    Returns
    -------
    State
        Sorted, without pairs of which nothing is known.
    """
    found = dict(known)
    tied = {u for u, v in known if v not in (START, STOP) and not u.startswith(SINCE)}
    for u in tied:
        for v in node.variables:
            if v in moving and (u, v) not in known:
                found.setdefault((since(u, v), v), EQUAL)
    _families(found, node, families)
    if node.masks:
        _masked(found, node, families)
    if is_optimistic:
        _optimistic(found, node)
    return tuple(sorted((k, i) for k, i in found.items() if not i.everything))


def _masked(found: dict[tuple[str, str], Interval], node: PassNode, families: Families) -> None:
    """A source coordinate tied to one side of ``m <= p`` is tied to the other from there on.

    True of every point a mask lets through, so of every chain of reads over this node. The
    orders may follow from one another (``m <= p and p <= q``), hence once for each.
    """
    _alike_families(found, node, families)
    for _ in node.masks:
        for mask in node.masks:
            for u in {u for u, _ in found if not u.startswith(SINCE)}:
                _tie(found, (u, mask.first), Interval(-math.inf, -mask.gap), mask.second)
                _tie(found, (u, mask.second), Interval(mask.gap, math.inf), mask.first)
    _families(found, node, families)


def _optimistic(found: dict[tuple[str, str], Interval], node: PassNode) -> None:
    """The most a mask can say that no order follows from: what it compares is close together.

    Not where the other position belongs to the source too: then the mask bounds the fiber.
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
    """Go on from a known relation by one step to ``v``."""
    if known in found and not (new := found[known].then(step)).everything:
        old = found.get((known[0], v))
        found[known[0], v] = new if old is None else old.meet(new)


def _alike_families(
    found: dict[tuple[str, str], Interval], node: PassNode, families: Families
) -> None:
    """Two families whose members are equal, one by one, stand at the same position."""
    for (whole, members), (other, others) in itertools.product(families.members, repeat=2):
        pairs = tuple(zip(members, others, strict=False))
        alike = other in node.variables and len(members) == len(others) > 0
        if alike and all(found.get(pair) == EQUAL for pair in pairs):
            found.setdefault((whole, other), EQUAL)


def _families(found: dict[tuple[str, str], Interval], node: PassNode, families: Families) -> None:
    """A family coordinate ties its members, and the outermost member ties the family."""
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
    """A state, of which there is one object however often it is reached, and its number."""

    state: State
    number: int

    @cached_property
    def known(self) -> dict[tuple[str, str], Interval]:
        """The state by pairs; no pair of which nothing is known."""
        return dict(self.state)

    @cached_property
    def ends(self) -> bool:
        """Whether the state says anything of the start or the stop of a rank."""
        return any(v in (START, STOP) for _, v in self.known)

    @cached_property
    def still(self) -> bool:
        """Whether the state lets any two coordinates be the same."""
        return not self.ends and all(
            i.sign <= 0 or i.low <= 0 <= i.high for i in self.known.values()
        )


@dataclass(frozen=True, eq=False)
class ReadChain:
    """How a state was reached: from which node, in which state."""

    node: str
    at: KnownState
    before: ReadChain | None


@dataclass(frozen=True)
class ReadEdge:
    """``reader`` reads what ``writer`` wrote; ``looping`` when both are on a cycle."""

    writer: str
    reader: str
    ties: tuple[tuple[tuple[str, str], Interval], ...]
    looping: bool

    @cached_property
    def onward(self) -> dict[str, list[tuple[str, Interval]]]:
        """From a written variable to those that read it."""
        found: dict[str, list[tuple[str, Interval]]] = {}
        for (written, read), tie in self.ties:
            found.setdefault(written, []).append((read, tie))
        return found


@dataclass(frozen=True, eq=False)
class Dependences:
    """Every read of a cascade, and what can be reached from where."""

    nodes: tuple[PassNode, ...]
    families: Families
    edges: tuple[ReadEdge, ...]
    is_optimistic: bool = False
    """Take from masks the most they can say, right or wrong: a bound on what was missed."""

    @cached_property
    def node_of(self) -> dict[str, PassNode]:
        """Nodes by name."""
        return {n.name: n for n in self.nodes}

    @cached_property
    def _leaving(self) -> dict[str, list[tuple[int, ReadEdge]]]:
        """By node its edges, each with a number: that of all behind which the same is known."""
        numbers: dict[object, int] = {}
        found: dict[str, list[tuple[int, ReadEdge]]] = {n.name: [] for n in self.nodes}
        for edge in self.edges:
            n = self.node_of[edge.reader]
            alike = (edge.ties, edge.looping, n.variables, n.masks, n.compared)
            found[edge.writer].append((numbers.setdefault(alike, len(numbers)), edge))
        return found

    @cached_property
    def _states(self) -> dict[State, KnownState]:
        return {}

    def _known(self, state: State) -> KnownState:
        """The one object of a state."""
        return self._states.setdefault(state, KnownState(state, len(self._states)))

    @cached_property
    def _after(self) -> dict[tuple[int, int], KnownState]:
        return {}

    def _along(self, at: KnownState, number: int, edge: ReadEdge) -> KnownState:
        """The state behind an edge: it is the same of all sources that come in one state."""
        found = self._after.get((at.number, number))
        if found is None:
            found = self._known(self._closed(_carried(at.state, edge), self.node_of[edge.reader]))
            self._after[at.number, number] = found
        return found

    def _closed(self, known: dict[tuple[str, str], Interval], node: PassNode) -> State:
        return closed(known, node, self.families, self.moving, self.is_optimistic)

    @cached_property
    def reached(self) -> dict[str, dict[str, tuple[ReadChain, ...]]]:
        """Per node, what depends on it."""
        return {n.name: self._reached(n) for n in self.nodes}

    @cached_property
    def moving(self) -> frozenset[str]:
        """Variables that a read shifts, or others they are tied to; a family as one."""
        pairs = [pair for e in self.edges for pair, _ in e.ties]
        pairs.extend((f, m) for f, members in self.families.members for m in members)
        shifted = {v for e in self.edges for pair, tie in e.ties if tie != EQUAL for v in pair}
        return frozenset(v for part in connected((), pairs) if part & shifted for v in part)

    @cached_property
    def optimistic(self) -> Dependences:
        """The same with the most that masks can say; itself where that is nothing new."""
        if not any(n.compared for n in self.nodes):
            return self
        return replace(self, is_optimistic=True)

    def _reached(self, source: PassNode) -> dict[str, tuple[ReadChain, ...]]:
        """Every node that depends on ``source``, with the states it may be in."""
        start = self._known(self._closed({(v, v): EQUAL for v in source.variables}, source))
        steps: dict[str, list[ReadChain]] = {}
        # Breadth first: of two chains to one state the shorter is kept, which is the one to tell.
        queue = deque([ReadChain(source.name, start, None)])
        while queue:
            step = queue.popleft()
            for number, edge in self._leaving[step.node]:
                reached = ReadChain(edge.reader, self._along(step.at, number, edge), step)
                self._visit(steps.setdefault(edge.reader, []), queue, reached)
        return {name: tuple(found) for name, found in steps.items()}

    def _visit(self, found: list[ReadChain], queue: deque[ReadChain], step: ReadChain) -> None:
        """Keep a state unless one that allows more is there; join when there are too many."""
        if any(old.at is step.at or _implied(step.at.known, old.at) for old in found):
            return
        if len(found) >= MAX_STATES:
            joined = step.at.state
            for old in found:
                joined = _generalized(joined, old.at.state)
            step = ReadChain(step.node, self._known(joined), step.before)
            found.clear()
        found.append(step)
        queue.append(step)


def _carried(state: State, edge: ReadEdge) -> dict[tuple[str, str], Interval]:
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
    """A shift on a cycle repeats without end.

    ``v - 1`` is ``v - 2`` after one more turn, and any earlier one after enough of them:

    >>> _repeated(EQUAL, Interval(-1, -1))
    Interval(low=-inf, high=-1, sign=1)
    """
    new = known.then(tie)
    low, high = (tie.low, tie.high) if known.sign > 0 else (-tie.high, -tie.low)
    return Interval(-math.inf if low < 0 else new.low, math.inf if high > 0 else new.high, new.sign)


def relation(step: ReadChain, u: str, v: str) -> Interval | None:
    """What a state says of a source coordinate ``u`` and a coordinate ``v`` of a rank.

    Returns None when it says nothing: ``v`` needs every ``u``.
    """
    known = step.at.known
    result = known.get((u, v))
    if step.at.ends:
        # u = c from the start and v >= 0: u - v is at most c. From the stop it is at least c.
        for at, way in ((START, _AFTER), (STOP, _UNTIL)):
            if (u, at) in known and not (end := known[u, at].then(way)).everything:
                result = end if result is None else result.meet(end)
    return result


def _implied(mine: Mapping[tuple[str, str], Interval], other: KnownState) -> bool:
    """Whether a state allows no more than another: all that the other says holds in it."""
    return all(k in mine and mine[k].inside(i) for k, i in other.state)


def _generalized(a: State, b: State) -> State:
    """What two states agree on: of a pair that one says nothing of, nothing is known."""
    theirs = dict(b)
    both = ((k, i.cover(theirs[k])) for k, i in a if k in theirs)
    return tuple((k, i) for k, i in both if i is not None)


def dependences_of(nodes: tuple[PassNode, ...], families: Families) -> Dependences:
    """Connect every read to the statements that write the tensor."""
    writers: dict[str, list[PassNode]] = {}
    for node in nodes:
        writers.setdefault(node.tensor, []).append(node)
    plain = [
        (writer, reader, tuple(sorted(ties_of(writer.target, read).items(), key=str)))
        for reader in nodes
        for read in reader.reads
        # Two of them where the tensor is iterative: its init and its step.
        for writer in writers.get(read.tensor, ())
    ]
    cycles = on_cycles((w.name, r.name) for w, r, _ in plain)
    edges = tuple(
        ReadEdge(w.name, r.name, ties, (w.name, r.name) in cycles) for w, r, ties in plain
    )
    return Dependences(nodes, families, tuple(dict.fromkeys(edges)))
