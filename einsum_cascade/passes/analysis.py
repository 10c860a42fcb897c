"""Number of passes a cascade makes over a rank, and the barriers that cause them.

A *pass* over a fiber is one traversal of all its elements. Two Einsums need different passes under
two conditions. Both traverse fibers of the same tensor (directly, or through tensors computed from
it element by element). A dependence makes every element of the later Einsum wait for all elements
of the earlier one, whatever the mapping. The number of passes is one plus the longest chain of such
pairs (Nayak et al., MICRO 2024, section III). ``docs/passes.md`` defines passes with examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .. import ir
from ..algebra.reduction_laws import operator_problems
from ..analysis_report import Barrier, GrainKind, PassAnalysis, RankPasses, TensorPasses
from ..errors import CascadeError, raise_all
from ..functions import REDUCTIONS
from ..graphs import connected
from .nodes import PassNode, nodes_of
from .relations import ReadChain
from .traversals import Order, Pair, Traversals

MAX_EINSUMS = 500
"""Maximum number of Einsums that are analysed.

Each Einsum is compared with all its dependents; more Einsums take minutes.
"""


def analyze_passes(program: ir.Program) -> PassAnalysis:
    """Count the passes over every rank of a cascade.

    Parameters
    ----------
    program : Program
        Verified cascade.

    Returns
    -------
    PassAnalysis
        Passes over each traversed rank: plain ranks, families and their members.

    Raises
    ------
    CascadeError
        A declared reduction is not associative, so its elements would need one fixed order and
        grouping; or there are more than 500 Einsums.

    >>> from einsum_cascade import Cascade
    >>> found = analyze_passes(Cascade.load("attention-3pass").program).of("M")
    >>> found.count, [barrier.chain for barrier in found.barriers]
    (3, ['QK -> GM (max over m) -> SN', 'SN -> SD (sum over m) -> A'])
    """
    if len(program.einsums) > MAX_EINSUMS:
        text = f"{len(program.einsums)} Einsums are more than passes are counted of"
        hint = f"at most {MAX_EINSUMS}: take a part of it, such as one layer"
        raise CascadeError(text, program.span, hint)
    raise_all(operator_problems(program), CascadeError)
    traversals = Traversals.of(program, nodes_of(program))
    ranks = []
    others = []
    for name in _rank_names(program):
        traversing = traversals.along(name)
        if traversing:
            ranks.append(_RankAnalysis(traversals, name, traversing).report)
        else:
            others.append(_plain(name, 0, ()))
    # A parallel rank is an outer loop around the whole cascade, and no dependence crosses it.
    everything = tuple(dict.fromkeys(e.name for e in program.einsums))
    others.extend(_plain(name, 1, everything) for name in program.parallel)
    return PassAnalysis(cascade=program.name, ranks=tuple(ranks), others=tuple(others))


def _rank_names(program: ir.Program) -> tuple[str, ...]:
    """Return the declared ranks, each before its members, then ranks that only tensors name."""
    declared: list[str] = []
    for r in program.ranks:
        if r.family is None:
            declared.extend((r.name, *r.partition))
    used = (
        program.rank_of_variable.get(v, v.upper()) for e in program.einsums for v in e.variables
    )
    return tuple(n for n in dict.fromkeys((*declared, *used)) if n not in program.parallel)


def _plain(rank: str, count: int, einsums: tuple[str, ...]) -> RankPasses:
    numbers = tuple((e, 1) for e in einsums)
    return RankPasses(
        rank=rank, grain="rank", count=count, sweeps=count, pass_of=numbers, sweep_of=numbers
    )


@dataclass(frozen=True)
class _RankAnalysis:
    """Pass analysis of one rank, whose result is ``report``."""

    traversals: Traversals
    name: str
    traversing: dict[str, tuple[str, ...]]

    @property
    def report(self) -> RankPasses:
        pairs = self.traversals.pairs(self.name, self.traversing)
        numbers = self._level(pairs, sharing=True).numbers
        sweeps = self._level(pairs, sharing=False).numbers
        count, loops = max(numbers.values()), max(sweeps.values())
        # One pass cannot be too many, so the optimistic analysis, which doubles the cost, is
        # skipped.
        at_most = count > 1 and self._optimistic < count
        if count == loops:  # equal counts: prefer the assignment that no loop contradicts
            numbers = sweeps
        return RankPasses(
            rank=self.name,
            grain=self._grain,
            count=count,
            at_most=at_most,
            sweeps=loops,
            pass_of=self._by_einsum(numbers),
            sweep_of=self._by_einsum(sweeps),
            barriers=self._barriers(pairs, numbers),
            tensors=self._tensors(numbers),
        )

    @property
    def _optimistic(self) -> int:
        """Lower bound on the number of passes: every undecided question has the favourable
        answer.
        """
        pairs = self.traversals.optimistic.pairs(self.name, self.traversing)
        return max(self._level(pairs, sharing=True).numbers.values())

    @property
    def _grain(self) -> GrainKind:
        rank = self.traversals.program.rank_of.get(self.name)
        if rank is None:
            return "rank"
        return "family" if rank.partition else "member" if rank.family else "rank"

    def _level(self, pairs: tuple[Pair, ...], sharing: bool) -> Level:
        names = tuple(self.traversing)
        tied = {(p.earlier, p.later) for p in pairs}
        constraints = []
        for p in pairs:
            # An Einsum that waits for fibers of another tensor comes later, but visits its own
            # fiber once.
            order = p.order if p.shared or not sharing else None
            if order is Order.NEVER and (p.later, p.earlier) in tied:
                order = Order.UP  # one loop carries both; neither can wait for all of it
            constraints.append(replace(p, order=order))
        if not sharing:
            return Level(names, (frozenset(names),), tuple(constraints))
        first: dict[tuple[str, int], str] = {}
        common = [
            (first.setdefault(place, name), name)
            for name in names
            for place in self.traversals.places(name, self.traversing[name])
        ]
        return Level(names, connected(names, common), tuple(constraints))

    def _by_einsum(self, numbers: dict[str, int]) -> tuple[tuple[str, int], ...]:
        """Return the pass of each Einsum, in written order.

        A gather in a later pass determines the pass of its Einsum.
        """
        found: dict[str, int] = {}
        for node in self.traversals.dependences.nodes:
            number = numbers.get(node.name, 0)
            if number > 1 or (number and node.kind != "gather"):
                found[node.owner] = max(found.get(node.owner, 0), number)
        return tuple(found.items())

    def _barriers(self, pairs: tuple[Pair, ...], numbers: dict[str, int]) -> tuple[Barrier, ...]:
        """Return one barrier for each node that opens a pass.

        A node opens a pass if a traversal of the pass before forces it to, and no other such node
        comes before it in its pass. Of nodes that need one another the first written one opens.
        """
        position = {name: i for i, name in enumerate(numbers)}
        waits: dict[str, dict[str, Pair]] = {name: {} for name in numbers}
        for p in pairs:
            if p.earlier != p.later:
                waits[p.later][p.earlier] = p

        def ahead(name: str) -> set[str]:
            """Return the nodes of its pass that a node waits for."""
            return {
                n
                for n in waits[name]
                if numbers[n] == numbers[name]
                and (name not in waits[n] or position[n] < position[name])
            }

        opening: dict[str, list[Pair]] = {}
        for name, number in numbers.items():
            earlier = (p for n, p in waits[name].items() if numbers[n] == number - 1)
            forcing = [p for p in earlier if p.order is Order.NEVER]
            shared = [p for p in forcing if p.shared]
            # Without a dependence that forces it, only its direction keeps a node from pass 1.
            if shared or (number > 1 and not forcing and not ahead(name)):
                opening[name] = shared
        found = [
            self._explained(self.traversals.dependences.node_of[name], numbers[name], opening[name])
            for name in opening
            if not ahead(name) & opening.keys()
        ]
        return tuple(sorted(found, key=lambda b: b.opens))

    def _explained(self, node: PassNode, number: int, forcing: list[Pair]) -> Barrier:
        """Return the barrier before ``node``, explained by the dependences ``forcing`` it.

        The explanation follows the shortest path of reads. If no dependence forces the barrier, two
        loops run in opposite directions over the same fibers.
        """
        revisits = self._revisits(node, forcing)
        paths = [path for p in forcing if (path := self._path(p))]
        if paths:
            because, chain = self._waiting(min(paths, key=len), number, revisits)
        else:
            because, chain = self._opposite(node)
        return Barrier(
            rank=self.name,
            einsum=node.owner,
            opens=number,
            because=tuple(because),
            chain=chain,
            revisits=revisits,
        )

    def _path(self, pair: Pair) -> tuple[str, ...]:
        """Return the shortest path of node names that explains a dependence.

        Paths along which the later node needs all elements of the rank are preferred.
        """
        ends = tuple(itertools.product(self.traversing[pair.earlier], self.traversing[pair.later]))
        loses = self.traversals.loses
        lost = [s for s in pair.steps if any(loses(self.name, s, u, v) for u, v in ends)]
        return min((_names(s) for s in (lost or pair.steps)), key=len)

    def _revisits(self, node: PassNode, forcing: list[Pair]) -> tuple[str, ...]:
        """Return the tensors that ``node`` reads along fibers that earlier nodes traverse."""
        provenance = self.traversals.provenance
        earlier = {p.earlier for p in forcing}
        before = {place for n in earlier for place in self.traversals.places(n, self.traversing[n])}
        found = []
        for v in self.traversing[node.name]:
            for tensor, writes in provenance.own_tensors(node, v):
                if not writes and provenance.places_of(node, tensor, v) & before:
                    found.append(tensor)
        return tuple(dict.fromkeys(found))

    def _tensors(self, numbers: dict[str, int]) -> tuple[TensorPasses, ...]:
        written: dict[str, int] = {}
        read: dict[str, set[int]] = {}
        for name, number in numbers.items():
            node = self.traversals.dependences.node_of[name]
            for v in self.traversing[name]:
                for tensor, writes in self.traversals.provenance.own_tensors(node, v):
                    if writes:
                        written[tensor] = number
                    else:
                        read.setdefault(tensor, set()).add(number)
        names = tuple(dict.fromkeys((*read, *written)))
        return tuple(
            TensorPasses(tensor=t, written=written.get(t), read=tuple(sorted(read.get(t, ()))))
            for t in names
        )

    # ------------------------------------------------------------------------- words

    @property
    def _program(self) -> ir.Program:
        return self.traversals.program

    @property
    def _variables(self) -> tuple[str, ...]:
        """Variables of the rank and of its members."""
        known = self._program.rank_of.get(self.name)
        partition = known.partition if known is not None else ()
        return (self.name.lower(), *(m.lower() for m in partition))

    def _waiting(
        self, path: tuple[str, ...], number: int, revisits: tuple[str, ...]
    ) -> tuple[list[str], str]:
        """Return the sentences and the short form for a node that waits along a path of reads."""
        nodes = [self.traversals.dependences.node_of[name] for name in path]
        first, last = nodes[0], nodes[-1]
        sentences, links = self._beginning(first, nodes[1])
        for before, node, after in zip(nodes, nodes[1:-1], nodes[2:], strict=False):
            sentences.append(self._middle(before, node, after))
            links.append(self._link(node, after))
        sentences.append(self._end(nodes[-2], last, number, revisits))
        links.append(last.owner)
        return sentences, " -> ".join(dict.fromkeys(links))

    def _opposite(self, node: PassNode) -> tuple[list[str], str]:
        """Return the sentence and the short form for loops that run in opposite directions."""
        at = self.name.lower()
        what = (
            f"{node.owner} needs the elements along {at} in the opposite order to the loop "
            f"before it, so one traversal cannot serve both"
        )
        return [what], f"{node.owner} (opposite order of {at})"

    # -------------------------------------------------------------------- sentences

    def _beginning(self, first: PassNode, after: PassNode) -> tuple[list[str], list[str]]:
        """Return the first sentences of an explanation, and their links for the short form.

        The sentences name the tensor that the first node traverses, and say what the node does with
        it.
        """
        at = self.name.lower()
        inputs = {t.name for t in self._program.inputs}
        own = self.traversals.provenance.own_tensors
        tensors = [t for v in self._variables for t, w in own(first, v) if not w]
        tensor = next((t for t in tensors if t != first.tensor), None)
        sentences, links = [], []
        if tensor is not None:
            verb = "is read" if tensor in inputs else "is produced"
            sentences.append(f"{tensor} {verb} element by element along {at}")
            links.append(tensor)
        sentences.append(self._does(first, tensor, after))
        links.append(self._link(first, after))
        return sentences, links

    def _does(self, node: PassNode, tensor: str | None, after: PassNode) -> str:
        over = self._over(node)
        what = tensor or "its operand"
        if over:
            names = " and ".join(over)
            verb = "selects from" if self._program.einsum_of[node.owner].select else "reduces"
            return (
                f"{node.owner} {verb} {what} over {names} by {self._operator(node)}: "
                f"complete only when every {names} has been seen"
            )
        if self._at_stop(node, after):
            return (
                f"{node.owner} is carried from step to step along {self.name.lower()}: "
                f"the value at its stop is known only after the last step"
            )
        return f"{node.owner} is computed element by element along {self.name.lower()}"

    def _middle(self, before: PassNode, node: PassNode, after: PassNode) -> str:
        if self._over(node):
            return self._does(node, before.owner, after)
        if self._at_stop(node, after):
            return f"{self._does(node, None, after)}, and it needs {before.owner}"
        return f"{node.owner} needs {before.owner}"

    def _end(self, before: PassNode, node: PassNode, number: int, revisits: tuple[str, ...]) -> str:
        at = self.name.lower()
        needs = before.owner if before.owner != node.owner else "the positions that were chosen"
        if self._program.einsum_of[before.owner].select:
            needs = f"the positions in {before.owner}"
        if revisits:
            again = f" and touches {_listed(revisits)} along {at} again"
        else:
            again = f" and goes along {at}"
        return f"{node.owner} needs {needs}{again}: it can only start pass {number}"

    def _at_stop(self, node: PassNode, after: PassNode) -> bool:
        """Return whether ``after`` reads the last coordinate of a tensor carried along the rank."""
        if self.name not in self._program.iterative.get(node.tensor, ()):
            return False
        ranks = self._program.tensor_ranks[node.tensor]
        return any(
            rank == self.name and not form.variables and form.shape_terms
            for read in after.reads
            if read.tensor == node.tensor
            for rank, form in zip(ranks, read.forms, strict=False)
        )

    def _link(self, node: PassNode, after: PassNode) -> str:
        if over := self._over(node):
            return f"{node.owner} ({self._operator(node)} over {', '.join(over)})"
        if self._at_stop(node, after):
            return f"{node.owner} (at its stop)"
        return node.owner

    def _over(self, node: PassNode) -> tuple[str, ...]:
        """Return the variables along the rank that the node's Einsum reduces or selects over.

        A gather reduces nothing: its Einsum does, later.
        """
        if node.kind == "gather":
            return ()
        families = self.traversals.families
        own = {*self._variables, families.family_of(self.name.lower())}
        return tuple(v for v in self._program.einsum_of[node.owner].over if v in own)

    def _operator(self, node: PassNode) -> str:
        einsum = self._program.einsum_of[node.owner]
        row = REDUCTIONS.get(einsum.reduction)
        return einsum.select or (row.word if row else einsum.reduction)


MAX_SEARCHED = 7
"""Maximum number of traversals whose directions are all tried: 2**7 sequences per group."""


@dataclass(frozen=True)
class Level:
    """Einsums that wait for passes to be assigned, in groups that traverse common tensors.

    ``B`` has to wait for all of ``A``, and ``C`` reads both in one loop:

    >>> wait = Pair("A", "B", Order.NEVER)
    >>> together = Pair("B", "C", Order.ANY)
    >>> Level(("A", "B", "C"), (), (wait, together)).numbers
    {'A': 1, 'B': 2, 'C': 2}

    Two running sums in opposite directions over one tensor need two passes:

    >>> up, down = Pair("U", "U", Order.UP), Pair("D", "D", Order.DOWN)
    >>> Level(("U", "D"), (frozenset("UD"),), (up, down)).numbers
    {'U': 1, 'D': 2}
    """

    names: tuple[str, ...]
    groups: tuple[frozenset[str], ...]
    constraints: tuple[Pair, ...]

    @property
    def numbers(self) -> dict[str, int]:
        """Number of the pass of every Einsum, as early as its dependences allow."""
        orders: dict[str, tuple[Order, ...]] = {}
        best = self._assigned(orders)
        for group in self.groups:
            inside = (c for c in self.constraints if c.earlier in group and c.later in group)
            if {Order.UP, Order.DOWN} <= {c.order for c in inside}:
                best, orders = self._searched(group, orders)
        return best

    def _searched(
        self, group: frozenset[str], orders: Mapping[str, tuple[Order, ...]]
    ) -> tuple[dict[str, int], dict[str, tuple[Order, ...]]]:
        # One direction per present pass and three more; 2**7 sequences at most.
        length = min(max(self._assigned(orders).values()) + 3, MAX_SEARCHED)
        found: list[tuple[int, int, int]] = []
        for sequence in itertools.product((Order.UP, Order.DOWN), repeat=length):
            tried = {**orders, **dict.fromkeys(group, sequence)}
            numbers = self._assigned(tried)
            # Fewest passes first, then the smallest sum of pass numbers; the position in the list
            # breaks ties, so that ascending order, which is tried first, wins them.
            found.append((max(numbers.values()), sum(numbers.values()), len(found)))
            if found[-1] == min(found):
                best, chosen = numbers, tried
        return best, chosen

    def _assigned(self, orders: Mapping[str, tuple[Order, ...]]) -> dict[str, int]:
        numbers = dict.fromkeys(self.names, 1)
        # On a cycle of barriers the numbers would rise forever.
        limit = len(self.names) + MAX_SEARCHED
        changed = True
        while changed:
            changed = False
            for c in self.constraints:
                needed = _earliest(c, numbers, orders)
                if needed > numbers[c.later] and needed <= limit:
                    numbers[c.later] = needed
                    changed = True
        return numbers


def _earliest(c: Pair, numbers: Mapping[str, int], orders: Mapping[str, tuple[Order, ...]]) -> int:
    """Return the first possible pass of ``c.later``, given the present pass of ``c.earlier``."""
    here = max(numbers[c.earlier], numbers[c.later])
    if c.order is None or c.order is Order.ANY:
        return here
    if c.order is Order.NEVER:
        return max(here, numbers[c.earlier] + 1) if c.earlier != c.later else here
    # From here on the order is UP or DOWN. It is free if no directions were searched for this
    # group, and satisfied if ``later`` is in a later pass than ``earlier`` anyway.
    sequence = orders.get(c.later)
    if sequence is None or (c.earlier != c.later and here > numbers[c.earlier]):
        return here
    # A node that needs an order with itself has to find a traversal in its direction. With two
    # nodes, the later one only has to leave the pass of the earlier one: then the whole fiber has
    # been visited.
    while here <= len(sequence) and sequence[here - 1] is not c.order:
        here += 1
        if c.earlier != c.later:
            break
    return here


def _names(step: ReadChain | None) -> tuple[str, ...]:
    found: list[str] = []
    while step is not None:
        if step.node in found:  # after a loop on the way, only the node where it was left matters
            del found[found.index(step.node) + 1 :]
        else:
            found.append(step.node)
        step = step.before
    return tuple(reversed(found))


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
