"""How often a cascade has to pass over a rank, and why.

A *pass* over a fiber is one traversal of all its elements. Two Einsums need different
passes when both traverse fibers of the same tensor (directly, or through tensors computed
from it element by element) and a dependence makes every element the later one traverses
wait for all elements the earlier one traverses, whatever the mapping. The number of passes
is one plus the longest chain of such pairs (Nayak et al., MICRO 2024, section III).
``docs/passes.md`` holds the definition with examples.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import ir
from ..algebra.scalar import operator_problems
from ..analysis_report import Barrier, GrainKind, PassAnalysis, RankPasses, TensorPasses
from ..errors import CascadeError, Problem
from ..graphs import connected
from .levels import Constraint, Level
from .nodes import nodes_of
from .reasons import explain
from .traversals import Order, Pair, Traversals

MAX_EINSUMS = 500
"""Every Einsum is compared with all that depend on it: more would take minutes."""


def analyze_passes(program: ir.Program) -> PassAnalysis:
    """Count the passes over every rank of a cascade.

    Parameters
    ----------
    program : Program
        A verified cascade.

    Returns
    -------
    PassAnalysis
        A report per rank that is traversed: plain ranks, families and their members.

    Raises
    ------
    CascadeError
        A declared reduction is not associative, so that its elements would have to come
        in one fixed order and grouping; or there are more than 500 Einsums.

    >>> from einsum_cascade import Cascade
    >>> found = analyze_passes(Cascade.load("attention-3pass").program).of("M")
    >>> found.count, [barrier.chain for barrier in found.barriers]
    (3, ['QK -> GM (max over m) -> SN', 'SN -> SD (sum over m) -> A'])
    """
    if len(program.einsums) > MAX_EINSUMS:
        text = f"{len(program.einsums)} Einsums are more than passes are counted of"
        hint = f"at most {MAX_EINSUMS}: take a part of it, such as one layer"
        raise CascadeError(Problem(text, program.span, hint))
    if problems := tuple(operator_problems(program)):
        raise CascadeError(problems)
    traversals = Traversals.of(program, nodes_of(program))
    ranks = []
    others = []
    for name in _rank_names(program):
        traversing = traversals.along(name)
        if traversing:
            ranks.append(_RankAnalysis(traversals, name, traversing).report)
        else:
            others.append(_plain(name, 0, ()))
    # A parallel rank is an outer loop around all of the cascade, and nothing crosses it.
    everything = tuple(dict.fromkeys(e.name for e in program.einsums))
    others.extend(_plain(name, 1, everything) for name in program.parallel)
    return PassAnalysis(cascade=program.name, ranks=tuple(ranks), others=tuple(others))


def _rank_names(program: ir.Program) -> tuple[str, ...]:
    """Declared ranks, a family before its members, then ranks only tensors name."""
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
    """The analysis of one rank."""

    traversals: Traversals
    name: str
    traversing: dict[str, tuple[str, ...]]

    @property
    def report(self) -> RankPasses:
        pairs = self.traversals.pairs(self.name, self.traversing)
        tied = {(p.earlier, p.later) for p in pairs}
        strict = self._level(pairs, tied, sharing=True)
        sweep = self._level(pairs, tied, sharing=False)
        numbers, sweeps = strict.numbers, sweep.numbers
        count, loops = max(numbers.values()), max(sweeps.values())
        # One pass cannot be too many, so hope, which costs as much again, is not asked there.
        at_most = count > 1 and self._hoped < count
        if count == loops:  # the same number: prefer the assignment that no loop contradicts
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
    def _hoped(self) -> int:
        """Passes if all were true that could not be shown; what is shown is no less."""
        pairs = self.traversals.hoped.pairs(self.name, self.traversing)
        tied = {(p.earlier, p.later) for p in pairs}
        return max(self._level(pairs, tied, sharing=True).numbers.values())

    @property
    def _grain(self) -> GrainKind:
        rank = self.traversals.program.rank_of.get(self.name)
        if rank is None:
            return "rank"
        return "family" if rank.partition else "member" if rank.family else "rank"

    def _level(self, pairs: tuple[Pair, ...], tied: set[tuple[str, str]], sharing: bool) -> Level:
        names = tuple(self.traversing)
        constraints = []
        for p in pairs:
            # What waits for fibers of another tensor comes later, but over its own it goes once.
            order = p.order if p.shared or not sharing else None
            if order is Order.NEVER and (p.later, p.earlier) in tied:
                order = Order.UP  # one loop carries both; neither can wait for all of it
            constraints.append(Constraint(p.earlier, p.later, order))
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
        """Passes by Einsum in written order; a later pick counts for its Einsum."""
        found: dict[str, int] = {}
        for node in self.traversals.dependences.nodes:
            number = numbers.get(node.name, 0)
            if number > 1 or (number and node.kind != "pick"):
                found[node.owner] = max(found.get(node.owner, 0), number)
        return tuple(found.items())

    def _barriers(self, pairs: tuple[Pair, ...], numbers: dict[str, int]) -> tuple[Barrier, ...]:
        """One for every node that opens a pass: nothing it depends on is in that pass."""
        found: list[Barrier] = []
        waits: dict[str, list[Pair]] = {}
        for p in pairs:
            if p.earlier != p.later:
                waits.setdefault(p.later, []).append(p)
        for later, number in numbers.items():
            before = waits.get(later, [])
            if number == 1 or any(numbers[p.earlier] == number for p in before):
                continue
            forcing = [
                p for p in before if numbers[p.earlier] == number - 1 and p.order is Order.NEVER
            ]
            if forcing and not any(p.shared for p in forcing):
                continue  # it has to wait, but for fibers no pass has been over yet
            forcing = [p for p in forcing if p.shared]
            node = self.traversals.dependences.node_of[later]
            found.append(
                explain(self.traversals, self.name, self.traversing, node, number, forcing)
            )
        return tuple(sorted(found, key=lambda b: b.opens))

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
