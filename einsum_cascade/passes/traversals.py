"""Traversals of a rank: fibers that an Einsum traverses, and dependences between two Einsums."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

from .. import ir
from ..affine import Families
from ..masks import Before
from ..memo import Memoized, cached_property, memoized
from .nodes import PassNode, Read
from .relations import BOUNDED, Dependences, Interval, ReadChain, dependences_of, relation, since

Place = tuple[str, int]
"""Tensor and number of a dimension; the pair stands for the tensor's fibers along it."""


@dataclass(frozen=True, eq=False)
class Provenance(Memoized):
    """Finder of the fibers that a node traverses, element by element back to the inputs."""

    nodes: tuple[PassNode, ...]
    families: Families

    @cached_property
    def _writers(self) -> dict[str, tuple[PassNode, ...]]:
        found: dict[str, tuple[PassNode, ...]] = {}
        for node in self.nodes:
            found[node.tensor] = (*found.get(node.tensor, ()), node)
        return found

    @memoized
    def of(self, node: PassNode, variable: str) -> dict[Place, int]:
        """Return the fibers that ``node`` traverses along ``variable``, each with its direction.

        The fibers belong to tensors that the node reads or writes at this coordinate. Tensors from
        which these are computed element by element count too.
        """
        return self._walked([(node, variable, 1)])

    def places_of(self, node: PassNode, tensor: str, variable: str) -> frozenset[Place]:
        """Return the fibers along ``variable`` that ``node`` traverses by reading one tensor."""
        reads = (read for read in node.reads if read.tensor == tensor)
        return frozenset(self._walked([(read, variable, 1) for read in reads]))

    def own_tensors(self, node: PassNode, variable: str) -> tuple[tuple[str, bool], ...]:
        """Return the tensors that the node itself traverses along ``variable``.

        Each comes with a flag, True if the node writes the tensor.
        """
        found = []
        if node.kind != "gather" and any(True for _ in self._along(node.written, variable)):
            found.append((node.tensor, True))
        for read in node.reads:
            if any(True for _ in self._along(read, variable)):
                found.append((read.tensor, False))
        return tuple(dict.fromkeys(found))

    def _walked(self, pending: list[tuple[PassNode | Read, str, int]]) -> dict[Place, int]:
        """Return the fibers that nodes and reads traverse, depth first back to the inputs."""
        found: dict[Place, int] = {}
        seen: set[tuple[str, str]] = set()
        while pending:
            at, variable, sign = pending.pop(0)
            deeper: list[tuple[PassNode | Read, str, int]] = []
            if isinstance(at, Read):
                for dimension, s in self._along(at, variable):
                    # The first path to a place determines its direction: -1 if it is read
                    # backwards.
                    found.setdefault((at.tensor, dimension), sign * s)
                    for writer in self._writers.get(at.tensor, ()):
                        v = self._inside(writer.target[dimension], variable)
                        if v is not None:
                            deeper.append((writer, v, sign * s))
            elif (at.name, variable) not in seen:
                seen.add((at.name, variable))
                for v in at.same_as(variable):
                    if at.kind != "gather":
                        for dimension, s in self._along(at.written, v):
                            found.setdefault((at.tensor, dimension), sign * s)
                    deeper += [(read, v, sign) for read in at.reads]
            pending[:0] = deeper
        return found

    def _along(self, read: Read, variable: str) -> Iterator[tuple[int, int]]:
        """Yield each dimension of ``read`` that varies with ``variable``, with its direction."""
        members = self.families.members_of(variable)
        used = read.used
        # A tensor with some members only (``LM[m1, p]``) has one element per tile: traversing it is
        # no pass over the family's fibers.
        whole = not members or variable in used or set(members) <= used
        names = {variable, self.families.family_of(variable), *(members if whole else ())}
        if used.isdisjoint(names):
            return
        for dimension, v, sign in read.moving:
            if v in names:
                yield dimension, sign

    def _inside(self, form: ir.Affine, variable: str) -> str | None:
        """Return the variable in the writer's index of a dimension, or None for a constant.

        If it belongs to the same partitioned rank as ``variable``, ``variable`` is returned.
        """
        if not form.variables:
            return None
        v = form.single or form.variables[0]
        if variable in self.families.members_of(v) or v in self.families.members_of(variable):
            return variable
        return v


class Order(Enum):
    """Order of the elements in which two dependent Einsums can share a traversal."""

    ANY = "in any order of the elements"
    UP = "when elements come in ascending order"
    DOWN = "when elements come in descending order"
    NEVER = "not at all: the later one needs every element of the earlier one"


@dataclass(frozen=True)
class Pair:
    """Dependence of the node ``later`` on ``earlier`` at equal coordinates of all other ranks.

    ``later`` is in the same pass or in a later one; it must be in a later one if ``order`` forbids
    a common traversal. If ``order`` is None, only the sequence of the two nodes counts. ``shared``
    is True if both nodes traverse fibers of one tensor.
    """

    earlier: str
    later: str
    order: Order | None
    shared: bool = True
    steps: tuple[ReadChain, ...] = ()


@dataclass(frozen=True, eq=False)
class Traversals:
    """Dependences and fibers of one cascade, from which its ranks are analysed."""

    program: ir.Program
    dependences: Dependences
    provenance: Provenance
    """Fibers that every node traverses."""
    is_optimistic: bool = False

    @classmethod
    def of(cls, program: ir.Program, nodes: tuple[PassNode, ...]) -> Traversals:
        """Return the dependences and fibers of a program whose statements are ``nodes``."""
        families = Families.of(program)
        return cls(program, dependences_of(nodes, families), Provenance(nodes, families))

    @property
    def families(self) -> Families:
        """Partitioned ranks of the cascade, with their members."""
        return self.dependences.families

    @cached_property
    def optimistic(self) -> Traversals:
        """Version of the data that assumes the favourable answer to every open question."""
        return replace(self, dependences=self.dependences.optimistic, is_optimistic=True)

    # ------------------------------------------------------------ who traverses a rank

    def coordinates(self, node: PassNode, rank: str) -> tuple[str, ...]:
        """Return the variables of ``node`` that are positions along ``rank``."""
        family = self.program.rank_of[rank].family if rank in self.program.rank_of else None
        gathered = tuple(v for v, of in node.gathered if of in (rank, family))
        own = rank.lower()
        return ((own,) if own in node.variables else ()) + gathered

    def along(self, rank: str) -> dict[str, tuple[str, ...]]:
        """Return the nodes that traverse ``rank``, with their variables along it.

        If no Einsum uses the variable of the rank, the variables that index the rank in tensors
        count.
        """
        # Statements of init run before any traversal.
        nodes = [n for n in self.dependences.nodes if n.kind != "init"]
        found = {n.name: self.coordinates(n, rank) for n in nodes}
        if not any(found.values()):
            found = {n.name: self._through_tensors(n, rank) for n in nodes}
        return {name: coordinates for name, coordinates in found.items() if coordinates}

    def _through_tensors(self, node: PassNode, rank: str) -> tuple[str, ...]:
        ranks = self.program.tensor_ranks
        return tuple(
            dict.fromkeys(
                v
                for read in node.reads
                for form, of in zip(read.forms, ranks.get(read.tensor, ()), strict=False)
                if of == rank
                for v in form.variables
                if form.coefficient(v) in (1, -1)
            )
        )

    # ------------------------------------------------------------ what separates two

    def pairs(self, rank: str, traversing: dict[str, tuple[str, ...]]) -> tuple[Pair, ...]:
        """Return every dependence between two nodes that traverse ``rank``."""
        found = []
        directions = self.directions(traversing)
        places = {name: self.places(name, own) for name, own in traversing.items()}
        nodes, points = self.dependences.node_of, self._point_sets
        known: dict[object, tuple[Order, tuple[int, ...]]] = {}
        for earlier in traversing:
            for later, steps in self.dependences.reached[earlier].items():
                if later not in traversing:
                    continue
                ends = (traversing[earlier], traversing[later])
                signs = tuple(
                    [(directions[earlier, a], directions[later, b]) for a, b in product(*ends)]
                )
                # Pairs with equal keys have equal results, which saves most of the work in long
                # cascades.
                states = tuple([s.at for s in steps])
                key = (ends, signs, states, points[earlier], points[later])
                if key not in known:
                    between = (nodes[earlier], nodes[later])
                    known[key] = self._kept(rank, between, ends, signs, steps)
                order, kept = known[key]
                if kept:
                    shared = not places[earlier].isdisjoint(places[later])
                    chains = tuple([steps[i] for i in kept])
                    found.append(Pair(earlier, later, order, shared, chains))
        return tuple(found)

    def places(self, name: str, coordinates: tuple[str, ...]) -> frozenset[Place]:
        """Return the fibers that a node traverses along any of the given variables."""
        node = self.dependences.node_of[name]
        return frozenset(place for v in coordinates for place in self.provenance.of(node, v))

    @cached_property
    def _point_sets(self) -> dict[str, int]:
        """Number for each node, equal for nodes with equal variables and masks."""
        numbers: dict[object, int] = {}
        nodes = self.dependences.nodes
        return {n.name: numbers.setdefault((n.variables, n.masks), len(numbers)) for n in nodes}

    def _kept(
        self,
        rank: str,
        nodes: tuple[PassNode, PassNode],
        coordinates: tuple[tuple[str, ...], tuple[str, ...]],
        signs: tuple[tuple[int, int], ...],
        steps: tuple[ReadChain, ...],
    ) -> tuple[Order, tuple[int, ...]]:
        """Return the order in which two nodes can share a traversal, and the chains imposing it.

        Only chains of reads count that are possible at equal coordinates of all other ranks. A
        chain is given by its number in ``steps``.
        """
        source, reader = nodes
        starts, ends = coordinates
        outer = self._outer(rank, reader, (*starts, *ends))
        kept = tuple(
            i
            for i, s in enumerate(steps)
            if s.at.still or all(_same_possible(s, v, starts) for v in outer)
        )
        steps = tuple(steps[i] for i in kept)
        still = (self._outer(rank, source, (*starts, *ends)), outer)
        order = Order.ANY
        for (a, b), turns in zip(product(starts, ends), signs, strict=True):
            moving = steps
            if self.is_optimistic:
                beyond = _on_either_side(source.masks, reader.masks, (a, b), outer)
                moving = tuple(s for s in steps if not beyond and not _pinned(s, (a, b), still))
            order = _stricter(order, self._order(rank, moving, (a, b), turns))
        return order, kept

    def directions(self, traversing: dict[str, tuple[str, ...]]) -> dict[tuple[str, str], int]:
        """Return the direction, 1 or -1, of each loop over fibers that loops have in common.

        A loop that reads ``X[T-1-t]`` traverses the fibers downwards that a loop reading ``X[t]``
        traverses upwards.
        """
        loops = [(name, v) for name, coordinates in traversing.items() for v in coordinates]
        provenance = {
            at: self.provenance.of(self.dependences.node_of[at[0]], at[1]) for at in loops
        }
        # A place passes its direction on once: all other loops along it have one then.
        along: dict[Place, list[tuple[str, str]]] = {}
        for at in loops:
            for place in provenance[at]:
                along.setdefault(place, []).append(at)
        found: dict[tuple[str, str], int] = {}
        for start in loops:
            queue = [start] if start not in found else []
            found.setdefault(start, 1)
            while queue:
                at = queue.pop()
                for place in sorted(provenance[at]):
                    for other in along.pop(place, ()):
                        if other not in found:
                            turn = provenance[at][place] * provenance[other][place]
                            found[other] = found[at] * turn
                            queue.append(other)
        return found

    def _outer(self, rank: str, reader: PassNode, own: tuple[str, ...]) -> tuple[str, ...]:
        """Return the reader's variables that are constant while a fiber of the rank is
        traversed.
        """
        inner = {*own, rank.lower()}
        known = self.program.rank_of.get(rank)
        if known is not None and known.partition:
            inner |= {m.lower() for m in known.partition}
        elif known is not None and known.family:
            members = self.program.rank_of[known.family].partition
            inner |= {known.family.lower()}
            inner |= {m.lower() for m in members[members.index(rank) :]}
        return tuple(v for v in reader.variables if v not in inner)

    def loses(self, rank: str, step: ReadChain, a: str, b: str) -> bool:
        """Return whether one chain of reads makes a reader at ``b`` need every ``a``.

        Parameters
        ----------
        rank : str
        step : ReadChain
            Last read of the chain.
        a, b : str
            Variables of the source and of the reader.
        """
        return self._order(rank, (step,), (a, b)) is Order.NEVER

    def _order(
        self,
        rank: str,
        steps: Sequence[ReadChain],
        ends: tuple[str, str],
        signs: tuple[int, int] = (1, 1),
    ) -> Order:
        """Return the order in which a dependence lets two nodes share a traversal.

        The order is in the direction of the shared tensor's fibers.
        """
        a, b = ends
        found = _order([_oriented(relation(s, a, b), *signs) for s in steps])
        # A reader may need a whole tile but no other tile, or the same position of all tiles. Then
        # the coordinates of the family say nothing, but those of one member do.
        members = self.program.rank_of[rank].partition if rank in self.program.rank_of else ()
        if found is Order.NEVER and members and a == b == rank.lower():
            for m in (x.lower() for x in members):  # kept as long as one member is related
                inner = _order([relation(s, m, m) for s in steps])
                if inner is not Order.NEVER:
                    return Order.ANY
        return found


def _same_possible(step: ReadChain, variable: str, starts: tuple[str, ...]) -> bool:
    """Return whether a chain of reads can start and end at equal coordinates of another rank.

    A chain that met the rank while it moved along a fiber must not have moved along the rank since.
    Work of an earlier outer step on the fiber precedes all passes of this step.
    """
    for u in (variable, *(since(a, variable) for a in starts)):
        known = relation(step, u, variable)
        if known is not None and known.sign > 0 and not known.low <= 0 <= known.high:
            return False
    return True


def _pinned(
    step: ReadChain, ends: tuple[str, str], still: tuple[tuple[str, ...], tuple[str, ...]]
) -> bool:
    """Return whether constant outer coordinates bound the distance to one end of a dependence.

    The needed element could then come first, or its only reader last. A distance between the two
    ends themselves does not count, because it bounds the fiber.
    """
    at_reader = [(ends[0], v) for v in still[1]]
    at_source = [(u, ends[1]) for u in still[0]]
    known = [relation(step, u, v) for u, v in (*at_reader, *at_source)]
    return any(k is not None and k.low > -BOUNDED and k.high < BOUNDED for k in known)


def _on_either_side(
    earlier: tuple[Before, ...],
    later: tuple[Before, ...],
    ends: tuple[str, str],
    outer: tuple[str, ...],
) -> bool:
    """Return whether masks separate two traversals at a coordinate of an outer rank.

    The result is True also if a mask leaves one of the traversals a single element.
    """
    a, b = ends
    mine, theirs = ({(m.first, m.second) for m in masks} for masks in (earlier, later))
    return any(
        ((a, o) in mine and (o, b) in theirs)
        or ((o, a) in mine and (b, o) in theirs)
        or {(a, o), (o, a)} <= mine
        or {(b, o), (o, b)} <= theirs
        for o in outer
    )


def _oriented(known: Interval | None, sign_a: int, sign_b: int) -> Interval | None:
    """Return an interval of loop variables as an interval of positions in a tensor.

    A loop that runs down is at position S - 1 - a, so differences change sign. If only one of the
    two loops runs down, only the sum of the positions is known, and the result is None.
    """
    if known is None or known.sign * sign_a * sign_b < 0:
        return None
    if sign_a > 0:
        return Interval(known.low, known.high)
    return Interval(-known.high, -known.low)


def _order(intervals: list[Interval | None]) -> Order:
    if not intervals:
        return Order.ANY
    low, high = math.inf, -math.inf
    for i in intervals:
        if i is None or i.sign < 0:
            return Order.NEVER
        low, high = min(low, i.low), max(high, i.high)
    # Everything before, and a bounded distance ahead: ready in time if elements ascend.
    if low == -math.inf:
        return Order.NEVER if high == math.inf else Order.UP
    return Order.DOWN if high == math.inf else Order.ANY


def _stricter(a: Order, b: Order) -> Order:
    if a is Order.ANY or a is b:
        return b
    return a if b is Order.ANY else Order.NEVER
