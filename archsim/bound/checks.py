"""What a mapping must get right before its loops make sense: names, cover, order, operations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from einsum_cascade.errors import Problem, did_you_mean
from einsum_cascade.ir import Program, variables_of
from einsum_cascade.operations import Operations, kind_and_format

from ..space.iteration import Axis, Loop
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import EinsumMapping, Mapping
from ..spec.roles import ARRAY_ROLES, MEMORY_ROLES
from .complaints import Complaint
from .tiling import Tiling

_A_FEW = 3


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
    if len(strange) > _A_FEW:
        # Not a slip of the pen: the mapping is for another cascade.
        listed = ", ".join(e.einsum for e in strange)
        text = f"the cascade '{program.name}' has no Einsums {listed}"
        yield Problem(text, strange[0].span, f"it has {', '.join(known)}")
        return
    for e in mapping.einsums:
        if e.einsum not in known:
            hint = did_you_mean(e.einsum, known)
            yield Problem(f"the cascade has no Einsum '{e.einsum}'", e.span, hint)
        if e.array not in arrays:
            hint = did_you_mean(e.array, [*arrays, *ARRAY_ROLES])
            yield Problem(f"the machine has no array '{e.array}'", e.span, hint)
    own = [level for e in mapping.einsums for level in e.nest]
    for level in (*mapping.nest, *own):
        if level.level and level.level not in levels:
            hint = did_you_mean(level.level, [*levels, *MEMORY_ROLES])
            yield Problem(f"the machine has no memory '{level.level}'", level.span, hint)
        for name in level.loops:
            if name not in tiling.members:
                hint = did_you_mean(name, tiling.members)
                yield Problem(f"no rank or tile is called '{name}'", level.span, hint)


def nest_problems(program: Program, mapping: Mapping, tiling: Tiling) -> Iterator[Complaint]:
    """Shared loops that no Einsum runs in."""
    walked = {r.lower() for r in program.parallel}
    walked |= {v for e in program.einsums for v in e.variables}
    for level in mapping.nest:
        for name in level.loops:
            rank = tiling.members[name].rank
            if rank.lower() not in walked:
                text = f"no Einsum iterates over {rank}, so none runs in the loop {name}"
                yield Complaint("", text, level.span)


def placed(how: EinsumMapping) -> tuple[str, ...]:
    """Members that an Einsum goes over by itself: its own loops and those laid out."""
    own = tuple(name for level in how.nest for name in level.loops)
    return (*own, *(name for _, names in how.spatial for name in names))


def cover_problems(
    how: EinsumMapping, axes: tuple[Axis, ...], loops: tuple[Loop, ...], tiling: Tiling
) -> Iterator[Complaint]:
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
        yield Complaint(how.einsum, f" loops over {name} twice", how.span)
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
            yield Complaint(how.einsum, text, how.span)
        for (variable, _), rank in zip(axis.variables, ranks, strict=True):
            missing = [m.name for m in rank if m.name not in names and tiling.bound(m) > 1]
            if missing:
                yield Complaint(
                    how.einsum,
                    f" iterates over {variable}, but no loop covers {', '.join(missing)}",
                    how.span,
                    f"add {missing[0]} to 'loops' or 'spatial' of {how.einsum}",
                )


def level_problems(
    how: EinsumMapping, loops: tuple[Loop, ...], architecture: Architecture
) -> Iterator[Complaint]:
    """The first loop at an outer level that lies inside one at an inner level."""
    names = [m.name for m in architecture.memories]
    for outer, inner in pairwise(loops):
        if inner.level < outer.level:
            yield Complaint(
                how.einsum,
                f": {inner.member} at level {names[inner.level]} is inside "
                f"{outer.member} at level {names[outer.level]}, outer levels come first",
                how.span,
            )
            return


def operation_problems(
    how: EinsumMapping, array: ProcessingArray, operations: Operations
) -> Iterator[Complaint]:
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
        yield Complaint("", f"{text}, which {how.einsum} needs", how.span, hint)
