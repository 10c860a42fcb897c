"""Tensors on a tree of memories: what they pass where nobody says, and what they cannot.

An Einsum takes and hands over what it touches by memories that feed its array. Of those a tensor
passes one inside of the other; and the outermost that keeps it is one that all who touch it reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property

from ..spec.arch import Architecture
from ..spec.mapping import EinsumMapping
from ..spec.mapping import Mapping as MachineMapping
from .complaints import Complaint
from .residency import Residency


def touched_by(program: Program, e: Einsum) -> tuple[str, ...]:
    """Tensors an Einsum touches: its operands in order, what its ``init`` reads, its result."""
    starts = (a.tensor for s in program.init if s.name == e.name for a in s.reads)
    reads = dict.fromkeys((*(a.tensor for a in e.reads), *starts))
    return (*(t for t in reads if t != e.name), e.name)


@dataclass(frozen=True)
class Routes:
    """The memories that tensors pass if each goes as near as it can to where it is used."""

    program: Program
    architecture: Architecture
    arrays: Mapping[str, str]
    """By Einsum the array that it runs on."""

    @cached_property
    def homes(self) -> dict[tuple[str, str], int]:
        """By Einsum and tensor, the innermost memory on the way."""
        tree = self.architecture.tree
        found: dict[tuple[str, str], int] = {}
        for e in self.program.einsums:
            if (array := self.arrays.get(e.name)) is None:
                continue
            for number, tensor in enumerate(touched_by(self.program, e)):
                own = tensor == e.name
                made = self.arrays.get(tensor)
                found[e.name, tensor] = tree.home(array, None if own else number, made)
        return found

    def ends(self, tensor: str, einsums: Iterable[str] | None = None) -> set[int]:
        """Innermost memories of a tensor, of all that touch it or of some of these."""
        among = None if einsums is None else {*einsums}
        return {
            home
            for (name, t), home in self.homes.items()
            if t == tensor and (among is None or name in among)
        }

    def meeting(self, tensor: str) -> int:
        """The innermost memory that a tensor passes for all that touch it; the outermost if
        nobody does."""
        return self.architecture.tree.common(self.ends(tensor) or {0})

    def nearest(self, tensor: str, einsums: Iterable[str] | None = None) -> set[int]:
        """Memories that keep a tensor as near as they can, and the one in which it changes from
        one branch to another."""
        ends = self.ends(tensor, einsums)
        if len(ends) > 1 and tensor in self.program.einsum_of:
            return ends | {self.architecture.tree.common(ends)}
        return ends

    def everywhere(self, tensor: str) -> set[int]:
        """All memories on all ways of a tensor; the outermost at least."""
        paths = self.architecture.tree.paths
        return {0, *(i for end in self.ends(tensor) for i in paths[end])}

    def reach(self, einsum: str, tensor: str) -> frozenset[int]:
        """Memories that an Einsum can take a tensor from, or hand it to."""
        return self.architecture.tree.reach(
            self.arrays[einsum], result=tensor == einsum, made=self.arrays.get(tensor)
        )

    def strays(self, einsum: str, tensor: str, kept: Iterable[int]) -> tuple[int, ...]:
        """Memories that an Einsum passes a tensor by: they keep it for others, and its array could
        reach them, but its way is another.

        Parameters
        ----------
        kept : iterable of int
            Memories that keep the tensor.
        """
        tree = self.architecture.tree
        reach = self.reach(einsum, tensor)
        way = tree.paths[self.homes[einsum, tensor]]
        return tuple(sorted(i for i in kept if i in reach and i not in way))


def branch_problems(
    program: Program, mapping: MachineMapping, places: Residency, architecture: Architecture
) -> Iterator[Complaint]:
    """What memories side by side make impossible: tensors that are out of reach, or come from
    two at once, and loops at memories that feed nothing of an Einsum.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    places : Residency
        What each level keeps.
    architecture : Architecture
        One in a line has no such problems.
    """
    tree = architecture.tree
    if tree.is_line:
        return
    names = [m.name for m in architecture.memories]
    arrays = {how.einsum: how.array for how in mapping.einsums if architecture.array(how.array)}
    routes = Routes(program=program, architecture=architecture, arrays=arrays)
    reached: dict[str, set[int]] = {}
    for how in mapping.einsums:
        einsum = program.einsum_of.get(how.einsum)
        if einsum is None or how.einsum not in arrays:
            continue
        for tensor in touched_by(program, einsum):
            kept = places.memories(tensor)
            reach = routes.reach(how.einsum, tensor)
            reached.setdefault(tensor, set()).update(reach)
            passed = {level for level, tensors in how.bypass if tensor in tensors}
            here = [i for i in kept if i in reach and names[i] not in passed]
            yield from _unreachable(how, tensor, kept[:1], here, routes)
            yield from _two_ways(how, tensor, here, architecture)
        # Loops at the last memory are inside of all tiles, of whatever branch.
        fed = {*(names[i] for i in tree.feeding(how.array)), *names[-1:]}
        for level in how.nest:
            if level.level in names and level.level not in fed:
                text = f" has loops at {level.level}, which does not feed {how.array}"
                yield Complaint(
                    how.einsum, text, level.span or how.span, _fed_by(architecture, how)
                )
    for keep in mapping.keep:
        for tensor in keep.tensors if keep.level in names else ():
            if tensor in reached and names.index(keep.level) not in reached[tensor]:
                text = f": {keep.level} keeps it, but feeds nothing that touches it"
                yield Complaint(tensor, text, keep.span)


def _fed_by(architecture: Architecture, how: EinsumMapping) -> str:
    fed = sorted(architecture.tree.feeding(how.array))
    return f"{how.array} is fed by {', '.join(architecture.memories[i].name for i in fed)}"


def _unreachable(
    how: EinsumMapping,
    tensor: str,
    outermost: tuple[int, ...],
    here: list[int],
    routes: Routes,
) -> Iterator[Complaint]:
    """A tensor whose outermost memory does not feed the array of an Einsum."""
    if not outermost or outermost[0] in here:
        return
    architecture, (far,) = routes.architecture, outermost
    tree, reach = architecture.tree, routes.reach(how.einsum, tensor)
    if far in reach:
        return  # passed by, which ``groups.bypass_problems`` tells
    meeting = architecture.memories[max(i for i in tree.paths[far] if i in reach)].name
    far_name, does = architecture.memories[far].name, "writes" if tensor == how.einsum else "reads"
    toward = "takes nothing from" if tensor == how.einsum else "does not feed"
    text = f" {does} {tensor}, which {far_name} keeps, but {far_name} {toward} {how.array}"
    hint = f"keep {tensor} in {meeting}, too: it is outside of both"
    yield Complaint(how.einsum, text, how.span, hint)


def _two_ways(
    how: EinsumMapping, tensor: str, here: list[int], architecture: Architecture
) -> Iterator[Complaint]:
    """A tensor that two memories side by side have for one Einsum."""
    paths = architecture.tree.paths
    for n, inner in enumerate(here[1:]):
        outer = here[n]
        if outer not in paths[inner]:
            one, other = (architecture.memories[i].name for i in (outer, inner))
            verb = "hands over" if tensor == how.einsum else "takes"
            text = f" {verb} {tensor} by {one} and by {other}, which are side by side"
            hint = f"keep {tensor} in one of them, or write 'bypass: {{{other}: {tensor}}}'"
            yield Complaint(how.einsum, text, how.span, hint)
            return
