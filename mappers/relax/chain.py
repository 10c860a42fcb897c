"""Chain relaxation: a machine with a memory tree, searched with its memories in a line.

Loops go from memory to memory in the order in which a machine lists them, side by side or not; so
a mapping of the line, all memories of it or those on the way to some array alone, is one of the
machine itself once its tensors pass the memories of their own branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from archsim.legality.dependences import is_still_held
from archsim.legality.footprint import limited_requirements
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Keep, Mapping
from einsum_cascade.errors import InputError

from ..construct.memory_trees import by_branches
from ..exact.policy import BRIEF, USUAL
from ..exact.search import Exhaustive
from ..local.local_search import with_place
from ..problem.certificate import Searched
from ..problem.protocol import Mapper, Progress, SearchProblem
from ..space.mapspace import Mapspace
from .relaxation import Relaxation, RelaxedSearch, first_incumbent, projected_constraints

CHAIN_SUFFIX = ", with memories in a line"
"""What is searched of such a machine, as certificates say it behind the strategy."""

_FAR = 1.1
"""How many times the floor the best of brief searches may cost, to be good enough."""

_NEARLY = 1.05
"""How many times the best of a line a mapping may cost to be as good as promised."""


def chain_search(strategy: Mapper, problem: SearchProblem, progress: Progress) -> Searched:
    """The best mapping of those that are best with a machine's memories in a line.

    Parameters
    ----------
    problem : SearchProblem
        Its space is that of the machine itself, whose own mappings are not enumerated.

    Returns
    -------
    Searched
        Its certificate counts the mappings of the lines; the gap is against the floor of any
        mapping on the machine itself.

    Raises
    ------
    NoLegalMappingError
        No mapping is known, and none was found legal.
    """
    # The best of a line is not proven to be anything here.
    brief = Exhaustive(effort=BRIEF) if strategy == Exhaustive() else strategy
    search, whole = RelaxedSearch(brief, problem, CHAIN_SUFFIX), problem.space
    promised: list[tuple[float, int, Relaxation]] = []
    for number, line in enumerate(chains_of(whole.architecture)):
        if search.best is not None and (search.is_done or _as_promised(search)):
            break
        try:
            other = chain_relaxation(whole, line)
        except InputError as wrong:
            search.refused.append(wrong)
            continue
        looked = len(search.certificates)
        _look_at(search, other, progress)
        promised += [(c.value, number, other) for c in search.certificates[looked:]]
    if promised and brief != strategy and _is_far(search):
        # Energy in a line tells little of energy here: who is as fast is not told apart by it.
        search.strategy = Exhaustive(effort=replace(USUAL, again=0))
        _look_at(search, min(promised, key=lambda p: p[:2])[2], progress)
    search.settle()
    return search.found()


def chain_relaxations(space: Mapspace, memory: str = "") -> Iterator[Callable[[], Relaxation]]:
    """What makes the space of each line that has a memory. Raises as ``Mapspace.of``."""
    lines = (
        line
        for line in chains_of(space.architecture)
        if not memory or memory in [m.name for m in line.memories]
    )
    return (partial(chain_relaxation, space, line) for line in lines)


def chain_relaxation(whole: Mapspace, line: Architecture) -> Relaxation:
    """The space of a line, and what brings its mappings to the machine itself. Raises as
    ``Mapspace.of``."""
    obeyed = projected_constraints(whole, line, whole.given)
    space = Mapspace.of(whole.program, line, whole.given, obeyed, slow=whole.slow)
    return Relaxation(space=space, lifted=partial(lifted_from_chain, whole, line))


def _look_at(search: RelaxedSearch, other: Relaxation, progress: Progress) -> None:
    """Search a line, and run what is found on the machine itself."""
    search.look_at(
        other.space, first_incumbent(other.space, search.problem), other.lifted, progress
    )


def _is_far(search: RelaxedSearch) -> bool:
    """Whether a longer search of the line that promises most is worth its time."""
    best = search.best
    if best is None or search.is_done:
        return best is None
    return best.value > _FAR * search.problem.objective.floor(best.result)


def _as_promised(search: RelaxedSearch) -> bool:
    """Whether the best is nearly as good as the best in a line: other lines promise no more."""
    best, lines = search.best, search.certificates
    return best is not None and any(best.value <= _NEARLY * line.value for line in lines)


def chains_of(architecture: Architecture) -> Iterator[Architecture]:
    """The machine with all its memories in a line, and with those on the way to an array alone.

    Examples
    --------
    >>> from dataclasses import replace
    >>> machine = Architecture.load("fusemax")
    >>> dram, buffer = machine.memories
    >>> own = [replace(buffer, name=name, inside="DRAM") for name in ("left", "right")]
    >>> arrays = [replace(a, reads=(m.name,)) for a, m in zip(machine.arrays, own)]
    >>> split = replace(machine, memories=(dram, *own), arrays=tuple(arrays))
    >>> [[m.name for m in line.memories] for line in chains_of(split)]
    [['DRAM', 'left', 'right'], ['DRAM', 'left'], ['DRAM', 'right']]
    """
    tree, memories = architecture.tree, architecture.memories
    ends = [levels[0] for a in architecture.arrays for levels in (tree.reads[a.name],)]
    ends += [levels[0] for a in architecture.arrays for levels in (tree.writes[a.name],)]
    for levels in dict.fromkeys((tuple(range(len(memories))), *(tree.paths[n] for n in ends))):
        yield replace(
            architecture,
            memories=tuple(replace(memories[n], inside=None) for n in levels),
            arrays=tuple(replace(a, reads=(), writes=()) for a in architecture.arrays),
            mapping=None,
        )


def lifted_from_chain(space: Mapspace, line: Architecture, mapping: Mapping) -> Iterator[Mapping]:
    """A mapping of a line on the machine itself, its tensors in the memories of their branches:
    memories that are not in the line hold nothing, or all that passes them. One that names roles
    finds its branches itself.

    Parameters
    ----------
    space : Mapspace
        Of the machine itself.
    """
    program, architecture = space.program, space.architecture
    arrays = {a.name for a in architecture.arrays}
    if any(how.array not in arrays for how in mapping.einsums):
        yield mapping
        return
    yield _with_all(space, by_branches(program, architecture, mapping))
    known = {m.name for m in line.memories}
    others = [m.name for m in architecture.memories if m.name not in known]
    if others:
        tensors = (*(t.name for t in program.inputs), *(e.name for e in program.einsums))
        more = tuple(Keep(level=name, tensors=tensors) for name in others)
        everywhere = replace(mapping, keep=(*mapping.keep, *more))
        yield _with_all(space, by_branches(program, architecture, everywhere))


def _with_all(space: Mapspace, mapping: Mapping) -> Mapping:
    """A mapping whose outermost memory keeps what would be gone before it is read, as in the line a
    memory of another branch kept it, and what a memory here has no room for."""
    outer = space.architecture.memories[0].name
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    given = {r: n for r, n in space.given.items() if r not in {t.member for t in mapping.tiles}}
    # Each time the outermost memory keeps more, or another less, so that it ends.
    while True:
        try:
            tiling = build_tiling(space.program, mapping, given, sizes)
            bound = bind_loops(space.program, mapping, space.architecture, tiling)
        except InputError:
            return mapping  # who runs it says why
        kept = {t for k in mapping.keep if k.level == outer for t in k.tensors}
        gone = [
            operand.producer
            for e in bound.einsums
            for number, operand in enumerate(e.operands)
            if operand.producer and not is_still_held(bound, e, number)
        ]
        missing = tuple(t for t in dict.fromkeys(gone) if t not in kept)
        if missing:
            keep = Keep(level=outer, tensors=(*sorted(kept), *missing))
            others = tuple(k for k in mapping.keep if k.level != outer)
            mapping = replace(mapping, keep=(keep, *others))
            continue
        lighter = _without_largest(bound, mapping)
        if lighter == mapping:
            return mapping
        mapping = lighter


def _without_largest(bound: Bound, mapping: Mapping) -> Mapping:
    """A mapping without the tensor that takes most of the first memory that is too full, which goes
    to the outermost one if it is nowhere else; the same where none is."""
    full = next((r for r in limited_requirements(bound) if not r.fits), None)
    outer = bound.architecture.memories[0].name
    if full is None or full.level == outer:
        return mapping
    most = max(full.tensors, key=lambda t: t[1])[0]
    if not any(most in k.tensors for k in mapping.keep if k.level == full.level):
        return mapping
    lighter = with_place(mapping, most, full.level)
    kept = any(most in k.tensors for k in lighter.keep)
    return lighter if kept else with_place(lighter, most, outer)
