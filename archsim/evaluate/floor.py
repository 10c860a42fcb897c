"""What no mapping of a cascade on a machine does with less of: the floor.

Every Einsum runs on the array that suits all together best, all elements of an array at work and
all arrays side by side, and costs the energy of where that is least; every input that is touched
and every output crosses the outermost memory once.
Each operand is read from registers at each point, and a result is written to them.
What comes into a systolic array comes over one of its edges, an element at a time. What arrives
at elements of an array is read once for those that can share it (``delivering``).
Points that a mask takes out are not computed, whatever the tiles are, nor steps that are provably
idle without them. Where a cascade itself cuts a rank and a mapping chooses the size
(``M: [M1, M0]``), an Einsum is counted at the size at which it has the fewest points. The bounds
of a result (``Bounds``) are of its mapping; the floor is of its work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import prod

from einsum_cascade.affine import Form, Term, digits
from einsum_cascade.ir import Gather, Program
from einsum_cascade.masks import AtMostZero, inequalities

from ..bound.addressing import Addressing
from ..bound.initial import with_initial
from ..bound.least import least_nests
from ..bound.record import Bound, BoundEinsum
from ..cost.accesses import EinsumCount, RegisterUses, Uses
from ..cost.energy import PriceList, operations_pj
from ..cost.estimators import memory_access
from ..cost.leakage import leakage_charges
from ..cost.meter import EXACT
from ..result.record import Floor
from ..space.access_map import AccessMap
from ..space.exact import total
from ..space.nest import LoopNest
from ..spec.arch import Architecture, ProcessingArray
from ..spec.words import TensorWords
from .assigned import busiest_array
from .delivering import Delivering, delivering_of


@dataclass(frozen=True, slots=True)
class Entering:
    """What an Einsum takes in of the input of which it uses each value least often."""

    points: int
    """At the least."""
    uses: int
    """Points at which one value is of use, at the most; of an Einsum without inputs all."""


@dataclass(frozen=True, kw_only=True)
class LeastWork:
    """What no mapping of a cascade's work on the arrays of a machine does with less of."""

    words: Fraction
    """Of inputs and outputs: each crosses the outermost memory once."""
    counts: tuple[EinsumCount, ...]
    """With as few operations as any mapping does."""
    shares: tuple[tuple[str, Fraction], ...]
    """By Einsum what the best sizes of the cascade's tiles leave of it (``least_shares``)."""
    entering: tuple[tuple[str, Entering], ...]
    """By Einsum what comes into whatever array runs it."""
    delivering: tuple[tuple[str, Delivering], ...]
    """By Einsum what arrives at its elements, and what leaves them in parts."""
    cycles: Fraction
    """Of the busiest array, each Einsum on one of them, all elements at work."""


def least_work(bound: Bound, counts: tuple[EinsumCount, ...]) -> LeastWork:
    """The least work of any mapping; as ``floor_of``. Speeds of memories do not matter to it.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade.
    counts : tuple of EinsumCount
        Its operations.
    """
    machine = bound.architecture
    nests = least_nests(bound, _cut_ranks(bound))
    touched = _touched(bound, nests)
    shares = least_shares(bound)
    # Einsums of one instance may be in another order than those of the whole.
    of = {e.name: e for e in bound.einsums}
    least = tuple(_least(of[c.einsum], c, nests[c.einsum]) for c in counts)
    made = bound.program.einsum_of
    points = {c.einsum: _least_points(of[c.einsum], c, nests[c.einsum]) for c in counts}
    entering = {name: _entering(bound, of[name], n, made) for name, n in points.items()}
    # Tiles of a cascade's own may reach beyond the end of a tensor, at other sizes less far.
    words = {
        name: min(size, _elements(bound, name)) * Fraction(bound.words.of(name))
        for name, size in touched.items()
    }
    return LeastWork(
        words=sum(words.values(), Fraction(0)),
        counts=least,
        shares=tuple(shares.items()),
        entering=tuple(entering.items()),
        delivering=tuple(_delivering(bound, points, shares, words)),
        cycles=busiest_array(_by_array(machine, least, shares, entering), len(machine.arrays)),
    )


def floor_of(bound: Bound, counts: tuple[EinsumCount, ...], work: LeastWork | None = None) -> Floor:
    """The floor of a mapping's work: the same for every mapping of the cascade.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade: of it only the cascade, its shapes and the machine are
        looked at.
    counts : tuple of EinsumCount
        Its operations, which are the same by any mapping but for sizes of the cascade's own
        tiles and steps that are left out.
    work : LeastWork, optional
        That of the same cascade on a machine of the same arrays, if known.

    Returns
    -------
    Floor
        Seconds, and pJ.
    """
    machine = bound.architecture
    work = work or least_work(bound, counts)
    compulsory = work.words * machine.word_bytes
    bandwidth = machine.home.bandwidth_bytes_per_s
    if bandwidth is not None:
        bandwidth *= machine.copies(machine.home.name)  # of chips in a ring each has its own
    compute = float(work.cycles / machine.clock_hz)
    transfer = float(compulsory / bandwidth) if bandwidth is not None else 0.0
    latency = max(compute, transfer)
    return Floor(
        latency_s=latency,
        compute_s=compute,
        bandwidth_s=transfer,
        energy_pj=partial(_energy, machine, bound.words, work, latency),
    )


def _least(e: BoundEinsum, count: EinsumCount, nests: tuple[LoopNest, ...]) -> EinsumCount:
    """The count of an Einsum with as few operations as any mapping does."""
    points = _least_points(e, count, nests)
    read, written = Uses(points, 0), Uses(0, points)
    used = [*((m, read) for m in e.reads), (e.write, written)]
    return replace(
        count,
        operations=tuple((kind, n * points) for kind, n in e.operations),
        registers_by_tensor=tuple((m.access.tensor, RegisterUses(uses, uses)) for m, uses in used),
    )


def _least_points(e: BoundEinsum, count: EinsumCount, nests: tuple[LoopNest, ...]) -> int:
    """The points of an Einsum by the mapping that has fewest."""
    if e.einsum.where is not None:
        return count.allowed  # all that its mask lets through, whatever the tiles are
    return min(nest.delivered((True,) * len(nest.loops), prod) for nest in nests)


def _entering(bound: Bound, e: BoundEinsum, points: int, made: Collection[str]) -> Entering:
    """What comes into an array for an Einsum, however its points are laid out.

    A value is what has coordinates of its own along all ranks that move an input, as ``folds_of``
    has it. It is of use at a point for each of the other ranks' coordinates; of ranks that the
    cascade cuts as a mapping says these are as many as the whole rank has, at any size.
    """
    program, free, sizes = bound.program, bound.once(_cut_by_mapping), dict(bound.shapes)
    found = points
    for access_map in e.reads:
        if access_map.access.tensor in made:
            continue  # an array's own results may wait where they are used
        uses = 1
        for variable in e.variables - access_map.moving:
            rank = program.rank_of_variable.get(variable, variable.upper())
            family, _ = _cut_of(program, rank)
            uses *= sizes[family if family in free else rank]
        found = min(found, uses)
    return Entering(points, max(found, 1))


def _delivering(
    bound: Bound,
    points: Mapping[str, int],
    shares: Mapping[str, Fraction],
    words: Mapping[str, Fraction],
) -> Iterator[tuple[str, Delivering]]:
    """What arrives by Einsum, of which any mapping runs so many points, of words that cross."""
    program, free = bound.program, _cut_by_mapping(bound)
    crossing = {name: n for name, n in words.items() if name not in program.einsum_of}
    for e in bound.einsums:
        chosen = {v for v in e.variables if _member_of(program, v)[0] in free}
        settled = not (e.initial or e.name in program.iterative)
        # What stays where a mask leaves tiles out is another question, and so is what is taken in
        # by an Einsum of which some tiles of the cascade's leave next to nothing.
        if shares[e.name] == 1 and all(x.where is None for x in program.einsums):
            yield e.name, delivering_of(e, points[e.name], crossing, chosen, settled)
        else:
            yield e.name, Delivering(points=0)


def compulsory_words(bound: Bound) -> int | Fraction:
    """Words of all inputs and outputs that a mapping's tiles touch: each moved once at least.

    A mask leaves out the tiles that it leaves empty. Of what a gather picks those are counted
    that are certain to differ.
    """
    touched = _touched(bound, {e.name: (e.whole,) for e in bound.einsums})
    return sum(size * bound.words.of(name) for name, size in touched.items())


def _touched(bound: Bound, nests: Mapping[str, tuple[LoopNest, ...]]) -> dict[str, int]:
    """Elements of inputs and outputs that are touched under some nest of every Einsum."""
    sizes: dict[str, int] = {}
    ends = {*(t.name for t in bound.program.inputs), *bound.program.outputs}
    for e in with_initial(bound):
        under = (e.whole,) if e.is_initial else nests[e.name]
        for access_map in (*e.reads, e.write):
            name = access_map.access.tensor
            if name in ends:
                certain = _certain(bound, e, access_map)
                elements = min(
                    EXACT.touched(e, nest, _moving(nest, certain), certain) for nest in under
                )
                # Whether Einsums touch the same elements is not asked: the most that one touches
                # is moved in any case.
                sizes[name] = max(sizes.get(name, 0), elements)
    return sizes


def _certain(bound: Bound, e: BoundEinsum, access_map: AccessMap) -> AccessMap:
    """What an access is certain to touch: where it gathers, the picks that differ."""
    access = access_map.access
    if not any(isinstance(index, Gather) for index in access.indices):
        return access_map
    from einsum_cascade.counting.traffic import certain_access

    certain = certain_access(bound.program, e.einsum, access)
    return Addressing(bound.program, bound.tiling, e.axes).of(certain)


def _elements(bound: Bound, tensor: str) -> int:
    """Elements that a tensor has, with the coordinate that an iterative one begins at."""
    program, sizes = bound.program, dict(bound.shapes)
    begun = program.iterative.get(tensor, ())
    ranks = (*program.parallel, *program.tensor_ranks[tensor])
    return prod(sizes[rank] + (rank in begun) for rank in ranks)


def least_shares(bound: Bound) -> dict[str, Fraction]:
    """The share of each Einsum's points that is left at the best sizes of the cascade's tiles.

    An Einsum that goes over all members of a cut rank has as many points at any size. One that
    goes over some of them alone (a running maximum over M1) could have a single tile, or tiles
    of a single element: those have a size of one. Under a mask there may be nothing left of it at
    some size, unless the mask is of positions alone.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade.

    Returns
    -------
    dict of str to Fraction
        By Einsum: 1 where no size makes a difference.

    Examples
    --------
    Of one-pass attention with 4 tiles of 256 keys, ``RM[m1+1, p]`` is left with a quarter.
    """
    free = bound.once(_cut_by_mapping)
    masked = any(x.where is not None for x in bound.program.einsums)
    return {e.name: _share(bound, e, free, masked) for e in bound.einsums}


def _share(
    bound: Bound, e: BoundEinsum, free: dict[str, tuple[str, ...]], masked: bool
) -> Fraction:
    """The least share of an Einsum's points."""
    sizes = dict(bound.shapes)
    extents: dict[str, list[int]] = {family: [] for family in free}
    gone: dict[str, list[str]] = {family: [] for family in free}
    for axis in e.axes:
        family, _ = _member_of(bound.program, axis.variables[0][0])
        if family in free:
            members = [_member_of(bound.program, v)[1] for v, _ in axis.variables]
            # Members that together are positions of the rank are one axis, as long at any size;
            # M2 and M1 of three are an axis of as many tiles of M0 as there are.
            if len(members) < len(free[family]):
                extents[family].append(axis.extent)
                gone[family] += members
    whole = _of_positions(bound.program, e)
    share = Fraction(1)
    for family, found in extents.items():
        if family == whole:
            continue  # each position of the rank once, however it is cut
        # Members each on an axis of its own: M1 and M0 have M points together at the least,
        # whatever their sizes; M1 alone may be 1, so that nothing of its extent is left.
        times = min(gone[family].count(member) for member in free[family])
        share *= Fraction(sizes[family] ** times, prod(found))
        if found and masked:
            return Fraction(0)  # at some sizes there may be no tile that has to be run
    return min(share, Fraction(1))


def _of_positions(program: Program, e: BoundEinsum) -> str:
    """The cut rank of which an Einsum's mask lets through each position once, and leaves out what
    the last tile has beyond the end; empty where it has another mask, or none.

    An example: ``where p1*M0 + m0 < P`` of an Einsum over p1 and m0, where M0 is as long as P0.
    So many points are P, whatever P0 is.
    """
    if e.einsum.where is None or len(conditions := inequalities(e.einsum.where)) != 1:
        return ""
    (condition,) = conditions
    if not isinstance(condition, AtMostZero):
        return ""
    mine = [(v, *_member_of(program, v)) for axis in e.axes for v, _ in axis.variables]
    for family in dict.fromkeys(family for _, family, _ in mine if family):
        names = {v: member.lower() for v, of, member in mine if of == family}
        members = program.rank_of[family].partition
        within = digits(members).plus(Form((Term(1), Term(-1, (family,)))))
        once = sorted(names.values()) == sorted(m.lower() for m in members)
        if once and _terms(program, condition.form, names) == _terms(program, within, {}):
            return family
    return ""


def _terms(
    program: Program, form: Form, names: Mapping[str, str]
) -> frozenset[tuple[int, tuple[str, ...], str | None]]:
    """The terms of a form, with ranks that are alike called by the first, and variables renamed."""
    return frozenset(
        (
            t.coefficient,
            tuple(sorted(_cut_of(program, shape)[1] for shape in t.shapes)),
            names.get(t.variable or "", t.variable),
        )
        for t in form.terms
    )


def _member_of(program: Program, variable: str) -> tuple[str, str]:
    """The cut rank that a variable goes over a member of, and the member."""
    return _cut_of(program, program.rank_of_variable.get(variable, variable.upper()))


def _cut_by_mapping(bound: Bound) -> dict[str, tuple[str, ...]]:
    """Ranks that the cascade cuts into sizes that are not the workload's, and their members."""
    program = bound.program
    chosen = {*(t.member for t in bound.mapping.tiles), *(u.name for u in program.usual)}
    # Where picks are of tiles, their size is part of what is computed.
    reads = (i for e in program.einsums for a in e.reads for i in a.indices)
    scaled = {shape for i in reads if isinstance(i, Gather) for shape in i.shapes}
    cut = [
        r
        for r in program.ranks
        if r.partition and not chosen.isdisjoint(r.partition) and scaled.isdisjoint(r.partition)
    ]
    families = {_cut_of(program, r.partition[0])[0] for r in cut}
    return {family: program.rank_of[family].partition for family in families}


def _cut_ranks(bound: Bound) -> frozenset[str]:
    """The same ranks, and those that are cut like them."""
    free, ranks = bound.once(_cut_by_mapping), (r for r in bound.program.ranks if r.partition)
    return frozenset(r.name for r in ranks if _cut_of(bound.program, r.partition[0])[0] in free)


def _cut_of(program: Program, rank: str) -> tuple[str, str]:
    """The cut rank that a member is of, and the member; of ranks alike, those of the first."""
    declared = program.rank_of.get(rank)
    if declared is not None and declared.like is not None:
        return _cut_of(program, declared.like)
    family = program.rank_of.get(declared.family or "") if declared is not None else None
    if family is None:
        return "", rank
    first = program.rank_of[family.like] if family.like is not None else family
    if not first.partition:
        return family.name, rank
    return first.name, first.partition[family.partition.index(rank)]


def _moving(nest: LoopNest, access_map: AccessMap) -> tuple[bool, ...]:
    return tuple(loop.variable in access_map.moving for loop in nest.loops)


def _energy(machine: Architecture, words: TensorWords, work: LeastWork, latency_s: float) -> float:
    """The least energy of some work that takes so long at the least, in pJ."""
    shares, delivering = dict(work.shares), dict(work.delivering)
    compulsory = work.words * machine.word_bytes
    outermost = machine.home
    price = memory_access(machine, outermost)
    prices = PriceList(machine, words)
    # The cheaper direction: a floor need not know which lines are read and which written.
    found = float(compulsory * 8 / outermost.line_bits) * min(price.read_pj, price.write_pj)
    for count in work.counts:
        able = machine.arrays_for(kind for kind, _ in count.operations)
        least = min(
            sum(operations_pj(machine, array, count.operations))
            + _registers_pj(machine, prices, array, count)
            + delivering[count.einsum].energy_pj(machine, array, words)
            for array in able
        )
        found += least * float(shares[count.einsum])
    return found + sum(charge.energy_pj for charge in leakage_charges(machine, latency_s))


def _registers_pj(
    machine: Architecture, prices: PriceList, array: ProcessingArray, count: EinsumCount
) -> float:
    """Least energy of an Einsum's own registers on an array, in pJ."""
    found = 0.0
    for tensor, uses in count.registers_by_tensor:
        price = prices.at(array.name, tensor).energy
        found += uses.of_all.reads * price.read_pj + uses.of_all.writes * price.write_pj
    # Where one element alone is billed, it has no less to do than an equal part of all.
    alone = array.registers.billed == "one"
    return found / (machine.copies(array.name) * array.elements) if alone else found


def _by_array(
    machine: Architecture,
    counts: tuple[EinsumCount, ...],
    shares: dict[str, Fraction],
    entering: dict[str, Entering],
) -> list[dict[int, Fraction]]:
    """Cycles of every Einsum's share on the arrays that can do it, all elements at work.

    Nor is a systolic array done before the values of an input are in it (``cost.folds``). What
    elements share along an axis comes in once for them, in each point's time as many values as the
    others have elements. What each has for itself is loaded along an axis, a cycle an element. In
    a row of elements each is at the edge.
    """
    kinds = dict.fromkeys(kind for c in counts for kind, _ in c.operations)
    found: list[dict[int, Fraction]] = [{} for _ in counts]
    for number, array in enumerate(machine.arrays):
        able = {kind: done.cycles for kind in kinds if (done := array.operation(kind))}
        for count, cycles in zip(counts, found, strict=True):
            if all(kind in able for kind, _ in count.operations):
                busy = total((times, able[kind]) for kind, times in count.operations)
                if array.operands == "systolic" and len(array.dimensions) > 1:
                    came = entering[count.einsum]
                    hops = min(d.size for d in array.dimensions)
                    least = min(Fraction(came.points), Fraction(busy))
                    busy = max(busy, least * Fraction(hops, came.uses))
                elements = array.elements * machine.copies(array.name)
                cycles[number] = shares[count.einsum] * busy / elements
    return found
