"""Fusion: the ranks whose loops Einsums may share, and the subspaces that result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from archsim.legality.dependences import crossed_passes
from archsim.nest.binder import bind_loops, rebind_einsums
from archsim.nest.record import Bound, BoundEinsum
from archsim.nest.tiling import build_tiling
from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Access, Einsum, Gather, Program

from . import policy
from .factorisation import Factorisation, stepped_ranks
from .region import Region, Subspace, mapping_of, with_placements

_GOLDEN = 0.6180339887498949
"""Golden ratio; its multiples modulo 1 are evenly spread, however many there are."""


def subspaces_of(space: Region, crossed: dict[str, bool] | None = None) -> tuple[Subspace, ...]:
    """Return all subspaces of a region; those that share only common ranks come first.

    Parameters
    ----------
    crossed : dict, optional
        Memo of ``shareable_ranks``.

    Returns
    -------
    tuple of Subspace
        Subspaces, those with illegal loops included: tabulation finds them.
    """
    return tuple(allowed_subspaces(space, shareable_ranks(space, crossed)))


def allowed_subspaces(space: Region, ranks: Sequence[str]) -> Iterator[Subspace]:
    """Yield the subspaces that share loops over some of the given ranks and obey constraints."""
    einsums = space.program.einsums
    often = {r: 2 * sum(r.lower() in e.variables for e in einsums) > len(einsums) for r in ranks}
    choices = [tuple(r for n, r in enumerate(ranks) if m >> n & 1) for m in range(1 << len(ranks))]
    # Bits of m say which ranks are shared: three ranks have eight choices.
    choices.sort(
        key=lambda shared: sum(1 if often[r] else -1 for r in ranks if r in shared), reverse=True
    )
    found = (s for shared in choices for s in space.subspaces(shared))
    broken = space.constraints.broken_by_nest
    constrained = bool(space.constraints.of_nest)
    return (s for s in found if not constrained or broken(space.nest(s.skeleton)) is None)


def diversified(space: Region, subspaces: tuple[Subspace, ...]) -> list[Subspace]:
    """Reorder subspaces so that the first ones differ a lot, within the same shared ranks.

    Neighbours in the given order differ little: in the order of a loop, or in one more loop. With
    many memories, a few subspaces represent all of them badly. Subspaces with loops at the
    outermost and innermost memories only then come first.
    """
    shared = list(dict.fromkeys(s.skeleton.shared for s in subspaces))
    deep = len(space.architecture.memories) > policy.MAX_SHALLOW_MEMORIES
    order = [
        (shared.index(s.skeleton.shared), deep and not space.is_flat(s.skeleton), n * _GOLDEN % 1)
        for n, s in enumerate(subspaces)
    ]
    return [s for _, s in sorted(zip(order, subspaces, strict=True), key=lambda pair: pair[0])]


def shareable_ranks(space: Region, crossed: dict[str, bool] | None = None) -> tuple[str, ...]:
    """Return the ranks whose loops can be shared, as no boundary between passes crosses them.

    A boundary crosses a loop or not regardless of other loops, so that each rank is examined alone.
    Loops of a single Einsum are not shared if there are several. At most three ranks are returned.
    Ranks that constraints want come first, then ranks along which values run, then ranks with the
    most tiles.

    Parameters
    ----------
    crossed : dict, optional
        Memo over regions of one mapspace: whether a boundary crosses the loops of a rank. New ranks
        are added.
    """
    known = {} if crossed is None else crossed
    einsums = space.program.einsums
    often = {r: sum(r.lower() in e.variables for e in einsums) for r in space.factorisation_of}
    open_factorisations = (c for c in space.open_factorisations if not c.whole)
    ranks = [c for c in open_factorisations if often[c.rank] > 1 or len(einsums) == 1]
    found = [c for c in ranks if crossing(space, c.rank, known) is False]
    stepped = stepped_ranks(space.program)
    wanted = space.constraints.wanted

    def late(c: Factorisation) -> tuple[bool, bool, int]:
        return c.rank not in wanted, c.rank not in stepped, -c.coarse

    first = sorted(found, key=late)[: policy.MAX_SHARED_RANKS]
    return tuple(c.rank for c in found if c in first)


def einsums_alone(program: Program, shared: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """Return the sets of Einsums that may run outside of all shared loops; the first one is empty.

    Results of which some Einsum reads other coordinates of a shared rank are complete before its
    loops, or their readers come after. An Einsum whose values run along a shared rank, but which
    lacks another one, would run anew for each coordinate of that one.

    Parameters
    ----------
    shared : tuple of str
        Ranks with shared loops.

    Examples
    --------
    The gates of mLSTM do not run again for each part of the width F:

    >>> from einsum_cascade import Cascade
    >>> _, gates = einsums_alone(Cascade.load("mlstm-recurrent").program, ("F", "P"))
    >>> sorted(gates)
    ['DN', 'FA', 'HD', 'IA', 'KI', 'LF', 'MX', 'NS', 'QS']
    """
    readers: dict[str, set[str]] = {e.name: set() for e in program.einsums}
    writers: dict[str, set[str]] = {e.name: set() for e in program.einsums}
    lacking = {e.name for e in program.einsums if not _ranks(program, e).issuperset(shared)}
    early, late = set[str](), set[str]()
    for e in program.einsums:
        if e.name in lacking.intersection(program.iterative):
            early.update({e.name} if {*program.iterative[e.name]} & {*shared} else ())
        for access in e.reads:
            if access.tensor in readers:
                readers[access.tensor].add(e.name)
                writers[e.name].add(access.tensor)
                if _reads_others(program, access, shared):
                    early.add(access.tensor)
                    late.add(e.name)
    found = {frozenset[str](): None}
    for seeds, near in ((early, writers), (late, readers)):
        if seeds:
            # Those that lack a rank, too, need not be in the loops.
            apart = {name for name in lacking if _reached({name}, near) <= lacking}
            alone = _reached(seeds | apart, near)
            if not alone.union(lacking).issuperset(readers):
                found[alone] = None
    return tuple(found)


def _ranks(program: Program, e: Einsum) -> frozenset[str]:
    return frozenset((*program.parallel, *(v.upper() for v in e.variables)))


def _reads_others(program: Program, access: Access, shared: Sequence[str]) -> bool:
    """Return whether an access reads a result at other coordinates of a shared rank."""
    target = program.einsum_of[access.tensor].target
    for index, written in zip(access.indices, target.indices, strict=True):
        mine = [v for v in written.variables if v.upper() in shared]
        plain = not isinstance(index, Gather) and index.offset is not None
        if mine and index.variables and not (plain and index.variables == (mine[0],)):
            return True
    return False


def _reached(seeds: set[str], near: Mapping[str, set[str]]) -> frozenset[str]:
    """Return some Einsums and all that are connected to them in one direction."""
    found, left = set[str](), [*seeds]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += near[name]
    return frozenset(found)


def crossing(space: Region, rank: str, known: dict[str, bool]) -> bool | None:
    """Return whether a boundary between passes crosses a rank's shared loops.

    None means that the rank has no shared loops in this region.

    Parameters
    ----------
    known : dict
        Memo of ``shareable_ranks``.
    """
    if rank in known:
        return known[rank]

    def going(subspace: Subspace) -> int:
        return sum(map(len, subspace.skeleton.order))

    outer = {o for r in space.program.ranks for o in r.partition if rank in r.partition}
    outer &= {c.rank for c in space.open_factorisations}
    around = [c.rank for c in space.open_factorisations if c.rank in outer or c.rank == rank]
    # Einsums that take turns along a rank share its loops in any mapping.
    wanted = {*around[: around.index(rank) + 1], *space.turns}
    shared = tuple(c.rank for c in space.open_factorisations if c.rank in wanted)
    subspace = max(space.subspaces(shared), key=going, default=None)
    if subspace is None:
        return None
    try:
        known[rank] = bool(going(subspace) and crossed_passes(bound_subspace(space, subspace)))
    except MappingError:
        known[rank] = False
    return known[rank]


def bound_subspace(space: Region, subspace: Subspace) -> Bound:
    """Bind one mapping of a subspace: first tiling and placements, all tensors at every level.

    Raises
    ------
    MappingError
        Loops are out of order or missing.
    """
    everywhere = {t: found[-1] for t, found in space.all_places.items()}
    placements = {n: found[0] for n, found in space.placements.items()}
    mapping = mapping_of(space, subspace.skeleton, subspace.sizes[0], placements, everywhere)
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    given = {r: n for r, n in space.shapes.items() if r not in sizes}
    tiling = build_tiling(space.program, mapping, given, sizes)
    return bind_loops(space.program, mapping, space.architecture, tiling)


def bound_placements(
    space: Region, subspace: Subspace, like: Bound, alternative: int
) -> tuple[BoundEinsum, ...]:
    """Rebind a subspace's Einsums in their placement of a given number, if they have as many.

    Parameters
    ----------
    like : Bound
        Result of ``bound_subspace``.
    alternative : int
        Number of the placement of each Einsum.

    Raises
    ------
    MappingError
        Loops are out of order or missing.
    """
    able = {
        n: found[alternative] for n, found in space.placements.items() if alternative < len(found)
    }
    return rebind_einsums(like, with_placements(space, subspace.skeleton, like.mapping, able), able)
