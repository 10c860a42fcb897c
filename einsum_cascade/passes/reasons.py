"""Barriers in words: which reads force an Einsum to wait for a whole fiber."""

from __future__ import annotations

from .. import ir
from ..analysis_report import Barrier
from ..functions import REDUCTIONS
from .nodes import PassNode
from .relations import ReadChain
from .traversals import Pair, Traversals


def explain(
    traversals: Traversals,
    rank: str,
    traversing: dict[str, tuple[str, ...]],
    node: PassNode,
    number: int,
    forcing: list[Pair],
) -> Barrier:
    """The barrier before ``node``, which opens pass ``number``, from the pairs that force it.

    The shortest path of reads is told. No pair means that no dependence forces the
    barrier: two loops run in opposite directions over the same fibers.

    Parameters
    ----------
    traversals : Traversals
    rank : str
    traversing : dict of str to tuple of str
        By node the variables with which it goes along the rank.
    node : PassNode
    number : int
        From 2.
    forcing : list of Pair
        Of each an earlier node, ``node``, and the reads between the two that need the whole fiber.
    """
    words = _Words(traversals, rank)
    revisits = _revisits(traversals, traversing, node, forcing)
    paths = [path for p in forcing if (path := _path(traversals, rank, p, traversing))]
    if not paths:
        return words.opposite(node, number, revisits)
    path = min(paths, key=len)
    return words.barrier(path, number, revisits)


def _path(
    traversals: Traversals, rank: str, pair: Pair, traversing: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Node names from the earlier to the later one, along the reads that lose the rank."""
    ends = [(u, v) for u in traversing[pair.earlier] for v in traversing[pair.later]]
    lost = [s for s in pair.steps if any(traversals.loses(rank, s, u, v) for u, v in ends)]
    return min((_names(s) for s in (lost or pair.steps)), key=len)


def _names(step: ReadChain | None) -> tuple[str, ...]:
    found: list[str] = []
    while step is not None:
        if step.node in found:  # a loop on the way: only where it was left matters
            del found[found.index(step.node) + 1 :]
        else:
            found.append(step.node)
        step = step.before
    return tuple(reversed(found))


def _revisits(
    traversals: Traversals,
    traversing: dict[str, tuple[str, ...]],
    node: PassNode,
    forcing: list[Pair],
) -> tuple[str, ...]:
    """Tensors ``node`` reads along the rank whose fibers the earlier ones traverse."""
    before = {
        place
        for p in forcing
        for v in traversing[p.earlier]
        for place in traversals.provenance.of(traversals.dependences.node_of[p.earlier], v)
    }
    found = []
    for v in traversing[node.name]:
        for tensor, writes in traversals.provenance.own_tensors(node, v):
            if not writes and traversals.provenance.places_of(node, tensor, v) & before:
                found.append(tensor)
    return tuple(dict.fromkeys(found))


class _Words:
    """Sentences about the nodes of one cascade and one of its ranks."""

    def __init__(self, traversals: Traversals, rank: str) -> None:
        self._traversals = traversals
        self._rank = rank
        known = traversals.program.rank_of.get(rank)
        partition = known.partition if known is not None else ()
        self._variables = (rank.lower(), *(m.lower() for m in partition))
        self._einsums = traversals.program.einsum_of

    def barrier(self, path: tuple[str, ...], number: int, revisits: tuple[str, ...]) -> Barrier:
        nodes = [self._traversals.dependences.node_of[name] for name in path]
        first, last = nodes[0], nodes[-1]
        sentences, links = self._beginning(first, nodes[1])
        for before, node, after in zip(nodes, nodes[1:-1], nodes[2:], strict=False):
            sentences.append(self._middle(before, node, after))
            links.append(self._link(node, after))
        sentences.append(self._end(nodes[-2], last, number, revisits))
        links.append(last.owner)
        chain = " -> ".join(dict.fromkeys(links))
        return Barrier(
            rank=self._rank,
            einsum=last.owner,
            opens=number,
            because=tuple(sentences),
            chain=chain,
            revisits=revisits,
        )

    def opposite(self, node: PassNode, number: int, revisits: tuple[str, ...]) -> Barrier:
        at = self._rank.lower()
        what = (
            f"{node.owner} needs the elements along {at} in the opposite order to the loop "
            f"before it, so one traversal cannot serve both"
        )
        return Barrier(
            rank=self._rank,
            einsum=node.owner,
            opens=number,
            because=(what,),
            chain=f"{node.owner} (opposite order of {at})",
            revisits=revisits,
        )

    # -------------------------------------------------------------------- sentences

    def _beginning(self, first: PassNode, after: PassNode) -> tuple[list[str], list[str]]:
        """What the first node traverses, and what it does."""
        at = self._rank.lower()
        program = self._traversals.program
        inputs = {t.name for t in program.inputs}
        tensors = [
            t
            for v in self._variables
            for t, w in self._traversals.provenance.own_tensors(first, v)
            if not w
        ]
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
        einsum = self._einsums.get(node.owner)
        over = self._over(einsum)
        what = tensor or "its operand"
        if einsum is not None and over:
            names = " and ".join(over)
            by = "topk" if einsum.select else einsum.reduction
            verb = "selects from" if einsum.select else "reduces"
            return (
                f"{node.owner} {verb} {what} over {names} by {_operator(by)}: "
                f"complete only when every {names} has been seen"
            )
        if self._at_stop(node, after):
            return (
                f"{node.owner} is carried from step to step along {self._rank.lower()}: "
                f"the value at its stop is known only after the last step"
            )
        return f"{node.owner} is computed element by element along {self._rank.lower()}"

    def _middle(self, before: PassNode, node: PassNode, after: PassNode) -> str:
        over = self._over(self._einsums.get(node.owner))
        if over:
            return self._does(node, before.owner, after)
        if self._at_stop(node, after):
            return f"{self._does(node, None, after)}, and it needs {before.owner}"
        return f"{node.owner} needs {before.owner}"

    def _end(self, before: PassNode, node: PassNode, number: int, revisits: tuple[str, ...]) -> str:
        at = self._rank.lower()
        needs = before.owner if before.owner != node.owner else "the positions that were chosen"
        einsum = self._einsums.get(before.owner)
        if einsum is not None and einsum.select:
            needs = f"the positions in {before.owner}"
        if revisits:
            again = f" and touches {_listed(revisits)} along {at} again"
        else:
            again = f" and goes along {at}"
        return f"{node.owner} needs {needs}{again}: it can only start pass {number}"

    def _at_stop(self, node: PassNode, after: PassNode) -> bool:
        """Whether ``after`` reads the last coordinate of a tensor carried along the rank."""
        if self._rank not in self._traversals.program.iterative.get(node.tensor, ()):
            return False
        ranks = self._traversals.program.tensor_ranks[node.tensor]
        return any(
            rank == self._rank and not form.variables and form.shape_terms
            for read in after.reads
            if read.tensor == node.tensor
            for rank, form in zip(ranks, read.forms, strict=False)
        )

    def _link(self, node: PassNode, after: PassNode) -> str:
        einsum = self._einsums.get(node.owner)
        over = self._over(einsum)
        if einsum is not None and over:
            by = "topk" if einsum.select else einsum.reduction
            return f"{node.owner} ({_operator(by)} over {', '.join(over)})"
        if self._at_stop(node, after):
            return f"{node.owner} (at its stop)"
        return node.owner

    def _over(self, einsum: ir.Einsum | None) -> tuple[str, ...]:
        if einsum is None:
            return ()
        families = self._traversals.families
        own = {*self._variables, families.family_of(self._rank.lower())}
        return tuple(v for v in einsum.over if v in own)


def _operator(name: str) -> str:
    return REDUCTIONS[name].word if name in REDUCTIONS else name


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
