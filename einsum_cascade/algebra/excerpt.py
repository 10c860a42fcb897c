"""Excerpts: some Einsums of a cascade as a cascade of their own, and legal cuts of a cascade.

Tensors that an excerpt reads from other Einsums are its inputs. Tensors that other Einsums read
from the excerpt are its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..ir import Access, Domain, Einsum, Program, Rank, Tensor, shapes_of, walk
from .conditions import with_masks


def excerpt(program: Program, names: tuple[str, ...]) -> Program:
    """Return a cascade that consists of some Einsums of another one, for ``Program.memo``.

    Masks are written out, because masks inherited from other Einsums would be lost. Ranks that no
    Einsum of the excerpt uses are dropped; parameters stay. Ranks declared alike become independent
    if no tensor is read along both (``sizes_of_excerpt``).

    Parameters
    ----------
    names : tuple of str
        Einsums. None may read an element that another one writes later (``cut_blocks`` gives groups
        that belong together).

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-3pass").program
    >>> part = excerpt(program, ("SN", "SD"))
    >>> [t.name for t in part.inputs], part.outputs, [r.name for r in part.ranks]
    (['QK', 'GM'], ('SN', 'SD'), ['P', 'M'])
    """
    masked = with_masks(program)
    inside = tuple(e for e in masked.einsums if e.name in names)
    init = tuple(e for e in masked.init if e.name in names)
    others = (e for e in masked.einsums if e.name not in names)
    wanted = {a.tensor for e in others for a in e.reads}
    declared = {t.name: t for t in program.inputs}
    read = dict.fromkeys(a.tensor for e in (*inside, *init) for a in e.reads)
    inputs = tuple(
        declared.get(name) or Tensor(name=name, ranks=program.tensor_ranks[name])
        for name in read
        if name not in names
    )
    domains = (
        *(d for d in program.domains if d.name in read or d.name not in declared),
        *_positions(program, inside, {t.name for t in inputs}),
    )
    ranks = _ranks(replace(program, domains=domains), (*inside, *init), inputs)
    return replace(
        program,
        ranks=tuple(
            r if _requires_model(program, r, (*inside, *init)) else replace(r, like=None)
            for r in program.ranks
            if r.name in ranks
        ),
        inputs=inputs,
        outputs=tuple(e.name for e in inside if e.name in {*program.outputs, *wanted}),
        domains=domains,
        distinct=tuple(d for d in program.distinct if d.name in read),
        usual=tuple(u for u in program.usual if u.name in ranks or u.name not in program.rank_of),
        init=init,
        einsums=inside,
        reference="",
    )


def _positions(program: Program, einsums: tuple[Einsum, ...], inputs: set[str]) -> Iterator[Domain]:
    """Yield the domains of scatter positions that a selection outside the excerpt computes.

    The domain bounds the positions by the rank that the selection selects over.
    """
    for index in dict.fromkeys(i.access.tensor for e in einsums for i in e.scattered):
        selection = program.einsum_of.get(index)
        if index in inputs and selection is not None:
            rank = program.rank_of_variable[selection.over[0]]
            yield Domain(name=index, low=0, high=-1, whole=True, rank=rank)


def sizes_of_excerpt(program: Program, part: Program, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of an excerpt's ranks and parameters from those of the whole cascade.

    Parameters
    ----------
    program : Program
        Whole cascade.
    part : Program
        Result of ``excerpt``.
    sizes : mapping
        Sizes of ranks and parameters by name.

    Examples
    --------
    There are as many keys as queries. If no tensor is read along both, the ranks are independent:

    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("forgetting-attention").program
    >>> part = excerpt(program, ("QK",))
    >>> [r.like for r in part.ranks], sizes_of_excerpt(program, part, {"P": 64, "E": 8})
    ([None, None, None], {'P': 64, 'E': 8, 'M': 64})
    """
    known = {*part.settable}
    found = {name: size for name, size in sizes.items() if name in known}
    for rank in part.ranks:
        whole = program.rank_of[rank.name]
        if whole.like is None or rank.like is not None:
            continue
        sized = [r for r in (rank.name, whole.like) if r in sizes]
        for name in (rank.name, whole.like) if sized else ():
            if name in known:
                found.setdefault(name, sizes[sized[0]])
    return found


def _requires_model(program: Program, rank: Rank, einsums: tuple[Einsum, ...]) -> bool:
    """Return whether Einsums require a rank to be as long as the rank it is declared like.

    They require it if a tensor is read along both ranks, or if both ranks are partitioned. A rank
    declared like a tile stays so, because a mapping chooses the tile's size.
    """
    model = program.rank_of.get(rank.like or "")
    if model is None:
        return False
    if model.family is not None or (rank.partition and model.partition):
        return True
    either = {rank.name, model.name}

    nodes = (node for e in einsums for root in e.roots for node in walk(root))
    accesses = [node for node in nodes if isinstance(node, Access)]
    if any(d.rank in either for a in accesses if (d := program.domain(a.tensor)) is not None):
        return True  # positions along one of them
    for access in accesses:
        ranks = program.tensor_ranks[access.tensor]
        for declared, index in zip(map(program.whole_rank, ranks), access.indices, strict=False):
            names = (program.rank_of_variable.get(v, v.upper()) for v in index.variables)
            over = {program.whole_rank(name) for name in names}
            if declared in either and over & (either - {declared}):
                return True
    return False


def _ranks(program: Program, einsums: tuple[Einsum, ...], inputs: tuple[Tensor, ...]) -> set[str]:
    """Return the ranks that Einsums or inputs use, by variable or by shape.

    Partitioned ranks, their members, and the ranks that these are declared like are included.
    """
    pending = [r for t in inputs for r in t.ranks]
    pending += [d.rank for t in inputs if (d := program.domain(t.name)) is not None]
    bodies = (*(f.body for f in program.functions), *(r.body for r in program.reductions))
    for e in einsums:
        pending += [program.rank_of_variable.get(v, v.upper()) for v in e.variables]
        pending += shapes_of(*e.roots)
    pending += shapes_of(*bodies)
    found: set[str] = set()
    while pending:
        rank = program.rank_of.get(pending.pop())
        if rank is not None and rank.name not in found:
            found.add(rank.name)
            pending += [*rank.partition, rank.family or "", rank.like or ""]
    return found


def crossing(program: Program, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tensors that the named Einsums write and other Einsums read, in cascade order."""
    outside = {a.tensor for e in program.einsums if e.name not in names for a in e.reads}
    return tuple(e.name for e in program.einsums if e.name in names and e.name in outside)


def cut_blocks(program: Program) -> tuple[tuple[str, ...], ...]:
    """Return the shortest runs of Einsums between which a cascade can be cut (for
    ``Program.memo``).

    The Einsums between the writer and the readers of an iterative tensor stay together: readers
    need some of its steps, and its writer needs the last one.

    Returns
    -------
    tuple of tuple of str
        All Einsums in the order of the cascade, each once.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> cut_blocks(Cascade.load("attention-3pass").program)
    (('QK',), ('GM',), ('SN',), ('SD',), ('A',), ('AV',))
    >>> [len(block) for block in cut_blocks(Cascade.load("mla-absorbed").program)]
    [1, 1, 1, 1, 1, 5, 5, 1]
    """
    place = {e.name: number for number, e in enumerate(program.einsums)}
    ends = {number: number for number in place.values()}
    for name in program.iterative:
        readers = [place[e.name] for e in program.einsums if any(a.tensor == name for a in e.reads)]
        run = [place[name], *readers]
        first, last = min(run), max(run)
        ends[first] = max(ends[first], last)
    names, found, first = [*place], list[tuple[str, ...]](), 0
    while first < len(names):
        # Extend the block as far as any of its Einsums reaches: overlapping runs are one block.
        last, at = ends[first], first
        while at <= last:
            last = max(last, ends[at])
            at += 1
        found.append(tuple(names[first : last + 1]))
        first = last + 1
    return tuple(found)


def inseparable(program: Program) -> dict[str, frozenset[str]]:
    """Return, for each Einsum, the Einsums that stay in its loop nest wherever the cascade is cut.

    The Einsum itself is included. An iterative tensor is written in the nest that reads it.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> found = Cascade.load("attention-causal-1pass").program.memo(inseparable)
    >>> sorted(found["LM"]), sorted(found["RM"])
    (['LM'], ['PRM', 'RM', 'SLN'])
    """
    group = {e.name: e.name for e in program.einsums}
    for name in program.iterative:
        if name in group:
            readers = [e.name for e in program.einsums if any(a.tensor == name for a in e.reads)]
            merged = {group[n] for n in (name, *readers)}
            group = {n: group[name] if g in merged else g for n, g in group.items()}
    return {n: frozenset(m for m, of in group.items() if of == g) for n, g in group.items()}


def tiled_families(program: Program, tensor: str) -> tuple[str, ...]:
    """Return the ranks of a tensor that the cascade itself partitions and whose members index it.

    The writer and all readers of the tensor have to tile these ranks alike.

    Examples
    --------
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> tiled_families(program, "BQK"), tiled_families(program, "AV")
    (('M',), ())
    """
    ranks = (program.rank_of.get(r) for r in program.tensor_ranks[tensor])
    return tuple(dict.fromkeys(r.family for r in ranks if r is not None and r.family is not None))
