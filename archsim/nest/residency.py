"""Residency: the memories that keep each tensor, and each tensor's routes on a tree of memories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property

from ..spec.arch import Architecture
from ..spec.mapping import EinsumMapping, Mapping
from ..spec.roles import ROLES
from .problems import NO_LEVEL, NO_TENSOR, EinsumProblem, unknown_names


@dataclass(frozen=True, slots=True)
class Home:
    """Level that keeps a tensor: a memory by index, or an array's registers."""

    name: str
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class Residency:
    """Homes of every tensor, outermost first; registers come last, in the order of the machine's
    arrays."""

    places: tuple[tuple[str, tuple[Home, ...]], ...]

    @cached_property
    def _by_tensor(self) -> dict[str, tuple[tuple[Home, ...], tuple[int, ...], tuple[str, ...]]]:
        """Homes of each tensor, then only the memories among these, then only the arrays."""
        found = {}
        for tensor, homes in self.places:
            memories = tuple(h.memory for h in homes if h.memory is not None)
            found[tensor] = homes, memories, tuple(h.name for h in homes if h.memory is None)
        return found

    def of(self, tensor: str) -> tuple[Home, ...]:
        """Return the homes of a tensor."""
        return self._by_tensor[tensor][0]

    def memories(self, tensor: str) -> tuple[int, ...]:
        """Return the indices of the memories that keep a tensor, outermost first."""
        return self._by_tensor[tensor][1]

    def registers(self, tensor: str) -> tuple[str, ...]:
        """Return the arrays whose registers keep a tensor, in the order of the machine."""
        return self._by_tensor[tensor][2]


def residency(
    program: Program, mapping: Mapping, architecture: Architecture, complaints: list[EinsumProblem]
) -> Residency:
    """Return the homes of every tensor; tensors without a home are added to ``complaints``.

    Raises
    ------
    SpecError
        ``keep`` names a level or a tensor that does not exist.
    """
    memories = {m.name: i for i, m in enumerate(architecture.memories)}
    arrays = [a.name for a in architecture.arrays]
    levels = [*memories, *arrays]
    wrong = [*_ring_problems(mapping, architecture)]
    found: dict[str, list[Home]] = {t: [] for t in program.tensors}
    for keep in mapping.keep:
        if keep.level not in levels:
            wrong += unknown_names(NO_LEVEL, [keep.level], levels, keep.span, ROLES)
            continue
        for tensor in keep.tensors:
            if tensor not in found:
                wrong += unknown_names(NO_TENSOR, [tensor], program.tensors, keep.span)
            elif keep.level in arrays and tensor not in program.einsum_of:
                text = f"{tensor} is an input: it comes from memory whenever it is used"
                hint = f"registers of {keep.level} keep what Einsums write; leave {tensor} out"
                wrong.append(Problem(text, keep.span, hint))
            else:
                found[tensor].append(Home(keep.level, memories.get(keep.level)))
    if wrong:
        raise SpecError(wrong)
    span = mapping.keep[0].span if mapping.keep else mapping.span
    for tensor, places in found.items():
        # Order registers, too: the first that hold an operand provide it.
        places.sort(key=lambda p: levels.index(p.name))
        produced = tensor in program.einsum_of
        ends = tensor in program.outputs or not produced
        if ends and (not places or places[0].memory != architecture.home_level):
            outermost, end = architecture.home.name, "output" if produced else "input"
            text = f" is an {end} of the cascade: {outermost} must keep it"
            hint = f"add {tensor} to 'keep: {{{outermost}: [...]}}'"
            # Each input has a problem of its own; problems of outputs are merged.
            complaint = (tensor, text) if produced else ("", f"{tensor}{text}")
            complaints.append(EinsumProblem(*complaint, span, hint))
        elif ends and architecture.memories[0].ring:
            # Data of other cores arrives over the links.
            places.insert(0, Home(architecture.memories[0].name, 0))
        elif not places:
            text, hint = f"no level keeps {tensor}", f"add {tensor} to a level under 'keep'"
            complaints.append(EinsumProblem("", text, span, hint))
    return Residency(places=tuple((t, tuple(p)) for t, p in found.items()))


def _ring_problems(mapping: Mapping, architecture: Architecture) -> Iterator[Problem]:
    """Yield a problem for each tensor kept in the links of a ring, which hold nothing. Also yield
    one for each bypass of the links or of the memory inside of them, and for a spill."""
    links, home = architecture.memories[0], architecture.home.name
    if not links.ring:
        return
    for keep in mapping.keep:
        if keep.level == links.name:
            text = f"{links.name} is a ring of links, which hold nothing"
            hint = f"keep {', '.join(keep.tensors)} in {home}, which is inside of it"
            yield Problem(text, keep.span, hint)
    for how in mapping.einsums:
        for level, tensors in how.bypass:
            if level in (links.name, home):
                text = f"{how.einsum} passes {', '.join(tensors)} by {level}"
                hint = f"what comes over the links of a ring goes through {home}"
                yield Problem(text, how.span, hint)
    if mapping.spill is not None:
        text = f"what spills from {mapping.spill.level} has no place outside of a ring of links"
        yield Problem(text, mapping.spill.span, "leave out 'spill'")


def tensors_of(program: Program, e: Einsum) -> tuple[str, ...]:
    """Return the tensors that an Einsum touches: operands in order, then tensors that its ``init``
    reads, then its result."""
    starts = (a.tensor for s in program.init if s.name == e.name for a in s.reads)
    reads = dict.fromkeys((*(a.tensor for a in e.reads), *starts))
    return (*(t for t in reads if t != e.name), e.name)


@dataclass(frozen=True)
class Routes:
    """Routes of tensors: the memories that each tensor passes between the outermost one and its
    Einsums."""

    program: Program
    architecture: Architecture
    arrays: dict[str, str]
    """Name of each Einsum's array, by Einsum."""

    @cached_property
    def homes(self) -> dict[tuple[str, str], int]:
        """Innermost memory on a tensor's route to an Einsum, by Einsum and tensor."""
        tree = self.architecture.tree
        found: dict[tuple[str, str], int] = {}
        for e in self.program.einsums:
            if (array := self.arrays.get(e.name)) is None:
                continue
            for number, tensor in enumerate(tensors_of(self.program, e)):
                own = tensor == e.name
                made = self.arrays.get(tensor)
                found[e.name, tensor] = tree.home(array, None if own else number, made)
        return found

    def ends(self, tensor: str, einsums: Iterable[str] | None = None) -> set[int]:
        """Return the innermost memories on a tensor's routes to the given Einsums. If none are
        given, all Einsums that touch the tensor count."""
        among = None if einsums is None else {*einsums}
        return {
            home
            for (name, t), home in self.homes.items()
            if t == tensor and (among is None or name in among)
        }

    def meeting(self, tensor: str) -> int:
        """Return the innermost memory that lies on a tensor's routes to all Einsums. Return the
        outermost memory if no Einsum touches the tensor."""
        return self.architecture.tree.common(self.ends(tensor) or {0})

    def nearest(self, tensor: str, einsums: Iterable[str] | None = None) -> set[int]:
        """Return the innermost memories on a tensor's routes. For a result that changes branches,
        the memory that joins these branches is included."""
        ends = self.ends(tensor, einsums)
        if len(ends) > 1 and tensor in self.program.einsum_of:
            return ends | {self.architecture.tree.common(ends)}
        return ends

    def everywhere(self, tensor: str) -> set[int]:
        """Return all memories on a tensor's routes, at least the outermost."""
        paths = self.architecture.tree.paths
        return {0, *(i for end in self.ends(tensor) for i in paths[end])}

    def reach(self, einsum: str, tensor: str) -> frozenset[int]:
        """Return the memories that an Einsum can read a tensor from, or write its result to."""
        return self.architecture.tree.reach(
            self.arrays[einsum], result=tensor == einsum, made=self.arrays.get(tensor)
        )

    def passed_memories(self, einsum: str, tensor: str, kept: Iterable[int]) -> tuple[int, ...]:
        """Return the memories that keep a tensor in the Einsum's reach, but off its route: it
        bypasses them.

        Other Einsums use the tensor there.

        Parameters
        ----------
        kept : iterable of int
            Memories that keep the tensor.
        """
        tree = self.architecture.tree
        reach = self.reach(einsum, tensor)
        path = tree.paths[self.homes[einsum, tensor]]
        return tuple(sorted(i for i in kept if i in reach and i not in path))


def branch_problems(
    program: Program, mapping: Mapping, architecture: Architecture, places: Residency
) -> Iterator[EinsumProblem]:
    """Yield the problems that arise where memories are siblings on the memory tree.

    A tensor may be out of reach, or come from two memories at once. A loop may be at a memory that
    feeds nothing of an Einsum.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    architecture : Architecture
    places : Residency
        Residency of all tensors.
    """
    tree = architecture.tree
    names = [m.name for m in architecture.memories]
    arrays = {how.einsum: how.array for how in mapping.einsums if architecture.array(how.array)}
    routes = Routes(program=program, architecture=architecture, arrays=arrays)
    reached: dict[str, set[int]] = {}
    for how in mapping.einsums:
        einsum = program.einsum_of.get(how.einsum)
        if einsum is None or how.einsum not in arrays:
            continue
        for tensor in tensors_of(program, einsum):
            kept = places.memories(tensor)
            reach = routes.reach(how.einsum, tensor)
            reached.setdefault(tensor, set()).update(reach)
            passed = {level for level, tensors in how.bypass if tensor in tensors}
            here = [i for i in kept if i in reach and names[i] not in passed]
            yield from _unreachable(how, tensor, kept[:1], here, routes)
            yield from _ambiguous_homes(how, tensor, here, architecture)
        feeding = [names[i] for i in sorted(tree.feeding(how.array))]
        for level in how.nest:
            # Loops at the last memory are inside of all tiles of every branch.
            if level.level in names and level.level not in (*feeding, names[-1]):
                text = f" has loops at {level.level}, which does not feed {how.array}"
                hint = f"{how.array} is fed by {', '.join(feeding)}"
                yield EinsumProblem(how.einsum, text, level.span or how.span, hint)
    for keep in mapping.keep:
        for tensor in keep.tensors if keep.level in names else ():
            if tensor in reached and names.index(keep.level) not in reached[tensor]:
                text = f": {keep.level} keeps it, but feeds nothing that touches it"
                yield EinsumProblem(tensor, text, keep.span)


def _unreachable(
    how: EinsumMapping, tensor: str, outermost: tuple[int, ...], here: list[int], routes: Routes
) -> Iterator[EinsumProblem]:
    """Yield a problem if the outermost memory of a tensor does not feed the Einsum's array."""
    if not outermost or outermost[0] in here:
        return
    architecture, (far,) = routes.architecture, outermost
    tree, reach = architecture.tree, routes.reach(how.einsum, tensor)
    if far in reach:
        return  # a bypass, which ``binder`` reports
    meeting = architecture.memories[max(i for i in tree.paths[far] if i in reach)].name
    far_name, does = architecture.memories[far].name, "writes" if tensor == how.einsum else "reads"
    toward = "takes nothing from" if tensor == how.einsum else "does not feed"
    text = f" {does} {tensor}, which {far_name} keeps, but {far_name} {toward} {how.array}"
    hint = f"keep {tensor} in {meeting}, too: it is outside of both"
    yield EinsumProblem(how.einsum, text, how.span, hint)


def _ambiguous_homes(
    how: EinsumMapping, tensor: str, here: list[int], architecture: Architecture
) -> Iterator[EinsumProblem]:
    """Yield a problem if two sibling memories keep a tensor for one Einsum."""
    paths = architecture.tree.paths
    for n, inner in enumerate(here[1:]):
        outer = here[n]
        if outer not in paths[inner]:
            one, other = (architecture.memories[i].name for i in (outer, inner))
            verb = "hands over" if tensor == how.einsum else "takes"
            text = f" {verb} {tensor} by {one} and by {other}, which are side by side"
            hint = f"keep {tensor} in one of them, or write 'bypass: {{{other}: {tensor}}}'"
            yield EinsumProblem(how.einsum, text, how.span, hint)
            return
