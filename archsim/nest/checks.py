"""Checks of a mapping's names, cover, order, operations, groups, bypasses and spills."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
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
from .problems import EinsumProblem
from .record import BoundEinsum
from .residency import Residency
from .tiling import Tiling


def selection_problems(program: Program, tiling: Tiling) -> Iterator[Problem]:
    """Selections of more than there is."""
    for e in program.einsums:
        if e.select is None:
            continue
        taken = next(v for v in e.target.variables if v not in variables_of(e.expression))
        size, of = (tiling.shapes[program.rank_of_variable[v]] for v in (taken, *e.over))
        if size > of:
            text = f"{e.name} selects {size} of {of} elements"
            hint = f"{taken.upper()} must not be larger than {e.over[0].upper()}"
            yield Problem(text, e.target.span, hint)


def name_problems(
    program: Program, mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> Iterator[Problem]:
    """Names that exist nowhere.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    architecture : Architecture
    tiling : Tiling
        Whose members loops may be over.
    """
    known = [e.name for e in program.einsums]
    arrays = [a.name for a in architecture.arrays]
    levels = [m.name for m in architecture.memories]
    strange = [e for e in mapping.einsums if e.einsum not in known]
    if len(strange) > MAX_UNKNOWN_EINSUMS:
        # Not a slip of the pen: the mapping is for another cascade.
        listed = ", ".join(e.einsum for e in strange)
        text = f"the cascade '{program.name}' has no Einsums {listed}"
        yield Problem(text, strange[0].span, f"it has {', '.join(known)}")
        return
    for e in mapping.einsums:
        yield from unknown_names("the cascade has no Einsum", [e.einsum], known, e.span)
        what = "the machine has no array"
        yield from unknown_names(what, [e.array], arrays, e.span, ARRAY_ROLES)
    own = [level for e in mapping.einsums for level in e.nest]
    for level in (*mapping.nest, *own):
        named = [level.level] if level.level else []
        what = "the machine has no memory"
        yield from unknown_names(what, named, levels, level.span, MEMORY_ROLES)
        yield from _unknown_members(tiling, level.loops, level.span)


def nest_problems(program: Program, mapping: Mapping, tiling: Tiling) -> Iterator[EinsumProblem]:
    """Shared loops that no Einsum runs in."""
    walked = {r.lower() for r in program.parallel}
    walked |= {v for e in program.einsums for v in e.variables}
    for level in mapping.nest:
        for name in level.loops:
            rank = tiling.members[name].rank
            if rank.lower() not in walked:
                text = f"no Einsum iterates over {rank}, so none runs in the loop {name}"
                yield EinsumProblem("", text, level.span)


def placed(how: EinsumMapping) -> tuple[str, ...]:
    """Members that an Einsum goes over by itself: its own loops and those laid out."""
    own = tuple(name for level in how.nest for name in level.loops)
    return (*own, *(name for _, names in how.spatial for name in names))


def cover_problems(
    how: EinsumMapping, axes: tuple[Axis, ...], loops: tuple[Loop, ...], tiling: Tiling
) -> Iterator[EinsumProblem]:
    """Loops that come twice, out of order, or not at all.

    Parameters
    ----------
    how : EinsumMapping
    axes : tuple of Axis
        Of the Einsum.
    loops : tuple of Loop
        All that it has, shared, own and side by side, outermost first.
    tiling : Tiling
    """
    names = [loop.member for loop in loops]
    twice = [n for n in names if names.count(n) > 1] if len({*names}) < len(names) else []
    for name in dict.fromkeys(twice):
        yield EinsumProblem(how.einsum, f" loops over {name} twice", how.span)
    for number, axis in enumerate(axes):
        on = [loop.member for loop in loops if loop.axis == number]
        ranks = [tiling.of_rank(variable.upper()) for variable, _ in axis.variables]
        members = [m.name for rank in ranks for m in rank]
        if on == members:
            continue
        places = [members.index(name) for name in on]
        if places != sorted(places):
            order = " inside ".join(reversed(on))
            text = f": {order} is out of order, outer tiles come first"
            yield EinsumProblem(how.einsum, text, how.span)
        for (variable, _), rank in zip(axis.variables, ranks, strict=True):
            missing = [m.name for m in rank if m.name not in names and tiling.bound(m) > 1]
            if missing:
                yield EinsumProblem(
                    how.einsum,
                    f" iterates over {variable}, but no loop covers {', '.join(missing)}",
                    how.span,
                    f"add {missing[0]} to 'loops' or 'spatial' of {how.einsum}",
                )


def level_problems(
    how: EinsumMapping, loops: tuple[Loop, ...], architecture: Architecture
) -> Iterator[EinsumProblem]:
    """The first loop at an outer level that lies inside one at an inner level."""
    names = [m.name for m in architecture.memories]
    for outer, inner in pairwise(loops):
        if inner.level < outer.level:
            yield EinsumProblem(
                how.einsum,
                f": {inner.member} at level {names[inner.level]} is inside "
                f"{outer.member} at level {names[outer.level]}, outer levels come first",
                how.span,
            )
            return


def operation_problems(
    how: EinsumMapping, array: ProcessingArray, operations: Operations
) -> Iterator[EinsumProblem]:
    """Operations that an array cannot do.

    Parameters
    ----------
    how : EinsumMapping
    array : ProcessingArray
        On which it runs.
    operations : Operations
        Kinds with their formats, and how often each is done at a point.
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


def groups_of(
    program: Program, mapping: Mapping, complaints: list[EinsumProblem]
) -> tuple[tuple[str, ...], ...]:
    """The groups of a mapping in the order they run, Einsums in the order of the cascade.

    An Einsum in a later group than one that reads it joins ``complaints``.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    complaints : list of Complaint
        Changed.

    Raises
    ------
    SpecError
        A group names no Einsum, or an Einsum is in no group or in two.
    """
    names = [e.name for e in program.einsums]
    if mapping.schedule.kind != "sequential":
        return (tuple(names),)
    if not mapping.schedule.groups:
        return tuple((n,) for n in names)
    written = [[t.einsum for t in group] for group in mapping.schedule.groups]
    wrong = [*_group_names(mapping, written, names)]
    if wrong:
        raise SpecError(wrong)
    groups = tuple(tuple(n for n in names if n in group) for group in written)
    complaints.extend(_disorder(program, mapping, groups))
    return groups


def _group_names(mapping: Mapping, groups: list[list[str]], names: list[str]) -> Iterator[Problem]:
    span = mapping.schedule.span
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


def _disorder(
    program: Program, mapping: Mapping, groups: tuple[tuple[str, ...], ...]
) -> Iterator[EinsumProblem]:
    """Einsums that run in an earlier group than what they read.

    Running values that Einsums pass on to one another are for the legality check.
    """
    place = {name: number for number, group in enumerate(groups) for name in group}
    for position, e in enumerate(program.einsums):
        before = {p.name for p in program.einsums[:position]}
        for tensor in dict.fromkeys(a.tensor for a in e.reads):
            if tensor in before and place[tensor] > place[e.name]:
                text = f" runs in an earlier group than {tensor}, which it needs"
                yield EinsumProblem(e.name, text, mapping.schedule.span)


def in_order(
    einsums: tuple[BoundEinsum, ...], groups: tuple[tuple[str, ...], ...]
) -> tuple[BoundEinsum, ...]:
    """Einsums as they run: group by group."""
    by_name = {e.name: e for e in einsums}
    return tuple(by_name[n] for group in groups for n in group)


def bypass_problems(
    program: Program, mapping: Mapping, places: Residency, architecture: Architecture
) -> Iterator[EinsumProblem]:
    """What an Einsum cannot pass by: what is not there, or the outermost home of a tensor.

    Parameters
    ----------
    program : Program
    mapping : Mapping
    places : Residency
        What each level keeps.
    architecture : Architecture
    """
    levels = [m.name for m in architecture.memories] + [a.name for a in architecture.arrays]
    for how in mapping.einsums:
        einsum = program.einsum_of.get(how.einsum)
        touched = [] if einsum is None else [a.tensor for a in (*einsum.reads, einsum.target)]
        for level, tensors in how.bypass:
            if level not in levels:
                hint = did_you_mean(level, [*levels, *ROLES])
                yield EinsumProblem("", f"the machine has no level '{level}'", how.span, hint)
                continue
            for tensor in tensors:
                problem = _passed_by(tensor, level, touched, places)
                if problem:
                    text = f" cannot pass {tensor} by {level}: {problem}"
                    yield EinsumProblem(how.einsum, text, how.span)


def _passed_by(tensor: str, level: str, touched: Iterable[str], places: Residency) -> str:
    if tensor not in touched:
        return f"it neither reads nor writes {tensor}"
    kept = [p.name for p in places.of(tensor)]
    if level not in kept:
        return f"{level} does not keep it"
    if level == kept[0]:
        return "nothing outside holds it"
    return ""


def spill_problems(
    program: Program, mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> Iterator[Problem]:
    """A spill at no level, at one that cannot, or of what does not exist.

    Parameters
    ----------
    program : Program
        The cascade, for its tensors.
    mapping : Mapping
        The mapping as written; one that spills nothing is fine.
    architecture : Architecture
        The machine; its outermost memory has none to spill to.
    tiling : Tiling
        The tile members that amounts may name.
    """
    spill = mapping.spill
    if spill is None:
        return
    inner = [m.name for m in architecture.memories[1:]]
    if not spill.level:
        yield Problem("'spill' says at which level", spill.span, "add 'level: ...' to it")
    elif spill.level not in inner:
        hint = did_you_mean(spill.level, inner) or f"such a level is {', '.join(inner)}"
        text = f"'{spill.level}' is no memory with another outside it, so nothing spills there"
        yield Problem(text, spill.span, hint if inner else "the machine has one memory only")
    yield from tensor_problems(program, spill.span, (t for t, _ in (*spill.copies, *spill.staged)))
    yield from factor_problems(tiling, spill.span, spill.staged)


def unknown_names(
    what: str,
    names: Iterable[str],
    known: Collection[str],
    span: Span | None,
    also: Collection[str] = (),
) -> Iterator[Problem]:
    """Yield a problem for each name that is unknown, once.

    Parameters
    ----------
    what : str
        Text before the quoted name, such as ``the cascade has no tensor``.
    names : iterable of str
        Names that a mapping uses.
    known : collection of str
        Names that exist.
    span : Span or None
        Place in the mapping's file.
    also : collection of str
        Further names that a hint may suggest.
    """
    for name in dict.fromkeys(names):
        if name not in known:
            yield Problem(f"{what} '{name}'", span, did_you_mean(name, [*known, *also]))


def tensor_problems(
    program: Program, span: Span | None, tensors: Iterable[str]
) -> Iterator[Problem]:
    """Yield the tensors that the cascade does not have."""
    known = [*(t.name for t in program.inputs), *(e.name for e in program.einsums)]
    yield from unknown_names("the cascade has no tensor", tensors, known, span)


def einsum_problems(program: Program, span: Span | None, names: Iterable[str]) -> Iterator[Problem]:
    """Yield the Einsums that the cascade does not have."""
    known = [e.name for e in program.einsums]
    yield from unknown_names("the cascade has no Einsum", names, known, span)


def factor_problems(
    tiling: Tiling, span: Span | None, amounts: Iterable[tuple[str, Factors]]
) -> Iterator[Problem]:
    """Tile members that do not exist.

    Parameters
    ----------
    tiling : Tiling
        The cut ranks, whose members are known.
    span : Span or None
        Where the mapping's file names them.
    amounts : iterable of (str, factors)
        By tensor, a product of numbers and names of members.
    """
    names = (f for _, factors in amounts for f in factors if isinstance(f, str))
    yield from _unknown_members(tiling, names, span)


def _unknown_members(tiling: Tiling, names: Iterable[str], span: Span | None) -> Iterator[Problem]:
    for name in dict.fromkeys(names):
        if name not in tiling.members:
            hint = did_you_mean(name, tiling.members)
            yield Problem(f"no rank or tile is called '{name}'", span, hint)
