"""Checks of a mapping's names, loop cover and order, operations, groups, bypasses and spills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Program, variables_of
from einsum_cascade.operations import Operations, kind_and_format
from einsum_cascade.source import Span

from ..iteration.loops import Axis, Loop
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EinsumMapping, Factors, Mapping
from ..spec.roles import ARRAY_ROLES, MEMORY_ROLES, ROLES
from .policy import MAX_UNKNOWN_EINSUMS
from .problems import NO_LEVEL, NO_MEMBER, NO_TENSOR, EinsumProblem, unknown_names
from .residency import Residency
from .tiling import Tiling


def selection_problems(program: Program, tiling: Tiling) -> Iterator[Problem]:
    """Yield a problem for each Einsum that selects more elements than its rank has."""
    for e in program.einsums:
        if e.select is None:
            continue
        taken = next(v for v in e.target.variables if v not in variables_of(e.expression))
        size, of = (tiling.shapes[program.rank_of_variable[v]] for v in (taken, *e.over))
        if size > of:
            text = f"{e.name} selects {size} of {of} elements"
            hint = f"{taken.upper()} must not be larger than {e.over[0].upper()}"
            yield Problem(text, e.target.span, hint)


@dataclass(frozen=True)
class MappingChecks:
    """Checks of a mapping of a cascade to a machine.

    ``tiling`` has the partitioned ranks (members) that loops may name.
    """

    program: Program
    mapping: Mapping
    architecture: Architecture
    tiling: Tiling

    def name_problems(self) -> Iterator[Problem]:
        """Yield a problem for each name in the mapping that does not exist."""
        known = [e.name for e in self.program.einsums]
        arrays = [a.name for a in self.architecture.arrays]
        levels = [m.name for m in self.architecture.memories]
        strange = [e for e in self.mapping.einsums if e.einsum not in known]
        if len(strange) > MAX_UNKNOWN_EINSUMS:
            # So many unknown names are no slip of the pen: the mapping is for another cascade.
            listed = ", ".join(e.einsum for e in strange)
            text = f"the cascade '{self.program.name}' has no Einsums {listed}"
            yield Problem(text, strange[0].span, f"it has {', '.join(known)}")
            return
        for e in self.mapping.einsums:
            yield from unknown_names("the cascade has no Einsum", [e.einsum], known, e.span)
            what = "the machine has no array"
            yield from unknown_names(what, [e.array], arrays, e.span, ARRAY_ROLES)
        own = [level for e in self.mapping.einsums for level in e.nest]
        for level in (*self.mapping.nest, *own):
            named = [level.level] if level.level else []
            what = "the machine has no memory"
            yield from unknown_names(what, named, levels, level.span, MEMORY_ROLES)
            yield from unknown_names(NO_MEMBER, level.loops, self.tiling.members, level.span)

    def nest_problems(self) -> Iterator[EinsumProblem]:
        """Yield a problem for each shared loop that no Einsum runs in."""
        program = self.program
        walked = {*program.parallel_variables, *(v for e in program.einsums for v in e.variables)}
        for level in self.mapping.nest:
            for name in level.loops:
                rank = self.tiling.members[name].rank
                if rank.lower() not in walked:
                    text = f"no Einsum iterates over {rank}, so none runs in the loop {name}"
                    yield EinsumProblem("", text, level.span)

    def cover_problems(
        self, how: EinsumMapping, axes: tuple[Axis, ...], loops: tuple[Loop, ...]
    ) -> Iterator[EinsumProblem]:
        """Yield a problem for each loop of an Einsum that comes twice, out of order, or not at all.

        Parameters
        ----------
        how : EinsumMapping
        axes : tuple of Axis
            Axes of the Einsum.
        loops : tuple of Loop
            Shared, own and spatial loops, outermost first.
        """
        names = [loop.member for loop in loops]
        twice = [n for n in names if names.count(n) > 1] if len({*names}) < len(names) else []
        for name in dict.fromkeys(twice):
            yield EinsumProblem(how.einsum, f" loops over {name} twice", how.span)
        for number, axis in enumerate(axes):
            on = [loop.member for loop in loops if loop.axis == number]
            ranks = [self.tiling.of_rank(variable.upper()) for variable, _ in axis.variables]
            members = [m.name for rank in ranks for m in rank]
            if on == members:
                continue
            places = [members.index(name) for name in on]
            if places != sorted(places):
                order = " inside ".join(reversed(on))
                text = f": {order} is out of order, outer tiles come first"
                yield EinsumProblem(how.einsum, text, how.span)
            for (variable, _), rank in zip(axis.variables, ranks, strict=True):
                missing = [m.name for m in rank if m.name not in names and self.tiling.bound(m) > 1]
                if missing:
                    text = f" iterates over {variable}, but no loop covers {', '.join(missing)}"
                    hint = f"add {missing[0]} to 'loops' or 'spatial' of {how.einsum}"
                    yield EinsumProblem(how.einsum, text, how.span, hint)

    def level_problems(
        self, how: EinsumMapping, loops: tuple[Loop, ...]
    ) -> Iterator[EinsumProblem]:
        """Yield a problem for the first loop at an outer level inside a loop at an inner level."""
        names = [m.name for m in self.architecture.memories]
        for outer, inner in pairwise(loops):
            if inner.level < outer.level:
                yield EinsumProblem(
                    how.einsum,
                    f": {inner.member} at level {names[inner.level]} is inside "
                    f"{outer.member} at level {names[outer.level]}, outer levels come first",
                    how.span,
                )
                return

    def groups(self, complaints: list[EinsumProblem]) -> tuple[tuple[str, ...], ...]:
        """Return the groups of a mapping in the order they run, with Einsums in the order of the
        cascade.

        A problem is added to ``complaints`` for each Einsum that runs in a later group than its
        reader.

        Parameters
        ----------
        complaints : list of EinsumProblem
            Problems; the list is changed.

        Raises
        ------
        SpecError
            A group names no Einsum, or an Einsum is in no group or in two.
        """
        names = [e.name for e in self.program.einsums]
        if self.mapping.schedule.kind != "sequential":
            return (tuple(names),)
        if not self.mapping.schedule.groups:
            return tuple((n,) for n in names)
        written = [[t.einsum for t in group] for group in self.mapping.schedule.groups]
        wrong = [*self._group_names(written, names)]
        if wrong:
            raise SpecError(wrong)
        groups = tuple(tuple(n for n in names if n in group) for group in written)
        complaints += self._disorder(groups)
        return groups

    def _group_names(self, groups: list[list[str]], names: list[str]) -> Iterator[Problem]:
        """Yield a problem for each Einsum in no group or in two, and for each name that is no
        Einsum."""
        span = self.mapping.schedule.span
        listed = [n for group in groups for n in group]
        for name in dict.fromkeys(listed):
            if name not in names:
                yield Problem(f"a group names '{name}'", span, did_you_mean(name, names))
            elif listed.count(name) > 1:
                yield Problem(f"{name} is in two groups", span)
        for name in names:
            if name not in listed:
                hint = f"'[{name}]' would be a group of its own"
                yield Problem(f"no group runs {name}", span, hint)

    def _disorder(self, groups: tuple[tuple[str, ...], ...]) -> Iterator[EinsumProblem]:
        """Yield a problem for each Einsum that runs in an earlier group than a tensor it reads.

        The legality check covers running values that Einsums pass to one another.
        """
        place = {name: number for number, group in enumerate(groups) for name in group}
        for position, e in enumerate(self.program.einsums):
            before = {p.name for p in self.program.einsums[:position]}
            for tensor in dict.fromkeys(a.tensor for a in e.reads):
                if tensor in before and place[tensor] > place[e.name]:
                    text = f" runs in an earlier group than {tensor}, which it needs"
                    yield EinsumProblem(e.name, text, self.mapping.schedule.span)

    def bypass_problems(self, places: Residency) -> Iterator[EinsumProblem]:
        """Yield a problem for each bypass of a level that does not exist, or of a tensor's
        outermost memory.

        Parameters
        ----------
        places : Residency
            Residency of all tensors.
        """
        machine = self.architecture
        levels = [*(m.name for m in machine.memories), *(a.name for a in machine.arrays)]
        for how in self.mapping.einsums:
            einsum = self.program.einsum_of.get(how.einsum)
            accessed = [] if einsum is None else [a.tensor for a in (*einsum.reads, einsum.target)]
            for level, tensors in how.bypass:
                if level not in levels:
                    hint = did_you_mean(level, [*levels, *ROLES])
                    yield EinsumProblem("", f"{NO_LEVEL} '{level}'", how.span, hint)
                    continue
                for tensor in tensors:
                    problem = _passed_by(tensor, level, accessed, places)
                    if problem:
                        text = f" cannot pass {tensor} by {level}: {problem}"
                        yield EinsumProblem(how.einsum, text, how.span)

    def spill_problems(self) -> Iterator[Problem]:
        """Yield a problem for each spill from a level that does not exist or cannot spill, and for
        each unknown tensor of a spill."""
        spill = self.mapping.spill
        if spill is None:
            return
        inner = [m.name for m in self.architecture.memories[1:]]
        if not spill.level:
            yield Problem("'spill' says at which level", spill.span, "add 'level: ...' to it")
        elif spill.level not in inner:
            hint = did_you_mean(spill.level, inner) or f"such a level is {', '.join(inner)}"
            text = f"'{spill.level}' is no memory with another outside it, so nothing spills there"
            yield Problem(text, spill.span, hint if inner else "the machine has one memory only")
        tensors = (t for t, _ in (*spill.copies, *spill.staged))
        yield from tensor_problems(self.program, spill.span, tensors)
        yield from factor_problems(self.tiling, spill.span, spill.staged)


def placed(how: EinsumMapping) -> tuple[str, ...]:
    """Return the partitioned ranks (members) in an Einsum's own loops and along its array."""
    own = tuple(name for level in how.nest for name in level.loops)
    return (*own, *(name for _, names in how.spatial for name in names))


def operation_problems(
    how: EinsumMapping, array: ProcessingArray, operations: Operations
) -> Iterator[EinsumProblem]:
    """Yield a problem for each operation that an Einsum's array cannot do.

    Parameters
    ----------
    how : EinsumMapping
    array : ProcessingArray
        Array of the Einsum.
    operations : Operations
        Kinds with their formats, and the number of each at a point.
    """
    for name in array.cannot_do(kind for kind, _ in operations):
        kind, fmt = kind_and_format(name)
        formats = ", ".join(array.formats_of(kind))
        known = ", ".join(dict.fromkeys(o.kind for o in array.operations))
        text, hint = f"{array.name} cannot do '{kind}'", f"it does: {known}"
        if formats and fmt:
            text += f" in {fmt}"
            hint = f"it does {kind} in {formats}; 'convert' or 'wider' of the array say what else"
        elif formats:
            text += " on words, as no format of their width is listed"
            hint = f"it does {kind} in {formats}: state formats, for example formats.default="
            hint += array.formats_of(kind)[0]
        yield EinsumProblem("", f"{text}, which {how.einsum} needs", how.span, hint)


def _passed_by(tensor: str, level: str, accessed: Iterable[str], places: Residency) -> str:
    if tensor not in accessed:
        return f"it neither reads nor writes {tensor}"
    kept = [p.name for p in places.of(tensor)]
    if level not in kept:
        return f"{level} does not keep it"
    if level == kept[0]:
        return "nothing outside holds it"
    return ""


def tensor_problems(
    program: Program, span: Span | None, tensors: Iterable[str]
) -> Iterator[Problem]:
    """Yield a problem for each named tensor that the cascade does not have."""
    known = [*(t.name for t in program.inputs), *(e.name for e in program.einsums)]
    yield from unknown_names(NO_TENSOR, tensors, known, span)


def einsum_problems(program: Program, span: Span | None, names: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each named Einsum that the cascade does not have."""
    known = [e.name for e in program.einsums]
    yield from unknown_names("the cascade has no Einsum", names, known, span)


def factor_problems(
    tiling: Tiling, span: Span | None, amounts: Iterable[tuple[str, Factors]]
) -> Iterator[Problem]:
    """Yield a problem for each partitioned rank (member) that amounts name and the tiling lacks.

    Parameters
    ----------
    tiling : Tiling
        Tiling with all members.
    span : Span or None
        Place in the mapping's file.
    amounts : iterable of (str, factors)
        Pairs of a tensor and a product of numbers and members.
    """
    names = (f for _, factors in amounts for f in factors if isinstance(f, str))
    yield from unknown_names(NO_MEMBER, names, tiling.members, span)
