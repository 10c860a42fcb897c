"""Random machines, and random mappings of a cascade on them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

from archsim.spec.arch import Architecture, Dimension, Memory, Operation, ProcessingArray, Registers
from archsim.spec.files.architecture import OPERATION_KINDS
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, PhaseTask, Schedule, Tile
from archsim.spec.technology import Technology
from einsum_cascade.ir import Einsum, Program

# ------------------------------------------------------------------ machines


def random_machine(random: Random) -> Architecture:
    """One to four memories, one to three arrays of up to three dimensions."""
    memories = tuple(
        Memory(
            name=f"L{i}",
            energy="none",
            line_bits=64,
            bandwidth_bytes_per_s=random.choice((None, Fraction(random.randint(1, 50)))),
        )
        for i in range(random.randint(1, 4))
    )
    arrays = tuple(_array(random, f"A{i}") for i in range(random.randint(1, 3)))
    technology = Technology(name="none", node_nm=1, actions=(), memories=())
    return Architecture(
        name="machine",
        technology=technology,
        clock_hz=Fraction(random.randint(1, 5)),
        word_bits=random.choice((8, 16)),
        memories=memories,
        arrays=arrays,
    )


def _array(random: Random, name: str) -> ProcessingArray:
    dimensions = tuple(
        Dimension(
            name=f"d{i}",
            size=random.choice((1, 2, 3, 4)),
            reduction_latency_cycles=random.choice((0, 0, 1, 5)),
        )
        for i in range(random.choice((0, 1, 1, 2, 2, 3)))
    )
    operations = tuple(
        Operation(kind=k, cycles=Fraction(random.randint(1, 3)), bill=()) for k in OPERATION_KINDS
    )
    return ProcessingArray(
        name=name,
        dimensions=dimensions,
        registers=Registers(depth=random.randint(2, 20)),
        operations=operations,
    )


# ------------------------------------------------------------------ mappings


def random_mapping(
    random: Random, program: Program, architecture: Architecture, shapes: dict[str, int]
) -> tuple[Mapping, dict[str, int]]:
    """Cuts, a shared nest, loops and bindings; outer tiles outside inner ones."""
    tiles, chains, sizes = _cuts(random, program, shapes)
    levels = [m.name for m in architecture.memories]
    walked = {v.upper() for e in program.einsums for v in e.variables} | {*program.parallel}
    shared = _shared(random, [[m for m in c if m[1] in walked] for c in chains])
    nest = _levelled(random, shared, levels, 0)
    last = max((levels.index(n.level) for n in nest), default=0)
    einsums = []
    for e in program.einsums:
        variables = {*(r.lower() for r in program.parallel), *e.variables}
        rest = [m for c in chains for m in c if m[0] not in shared and m[1].lower() in variables]
        array = random.choice(architecture.arrays)
        spatial, taken = _spatial(random, array, rest, chains, shapes)
        own = _shuffled(random, [m for m in rest if m not in taken], chains)
        outside = [n for n in shared if _rank_in(chains, n).lower() not in variables]
        einsums.append(
            EinsumMapping(
                einsum=e.name,
                array=array.name,
                spatial=spatial,
                nest=_levelled(random, own, levels, last),
                outside=tuple(outside) if random.random() < 0.3 else (),
            )
        )
    keep = _keep(random, program, architecture)
    kind = random.choice(("sequential", "pipelined", "pipelined"))
    mapping = Mapping(
        name="random",
        cascade="random",
        tiles=tiles,
        nest=nest,
        einsums=tuple(einsums),
        keep=keep,
        schedule=Schedule(kind=kind),
    )
    return mapping, sizes


def varied(random: Random, program: Program, mapping: Mapping) -> Mapping:
    """The mapping with groups if it is sequential, perhaps with fewer tiles in flight if it is
    pipelined, and tensors that pass by inner levels."""
    schedule = mapping.schedule
    if schedule.kind == "sequential":
        schedule = replace(schedule, groups=_groups(random, program))
    einsums = []
    for how in mapping.einsums:
        einsum = program.einsum_of[how.einsum]
        touched = {a.tensor for a in (*einsum.reads, einsum.target)}
        passed = []
        for number, keep in enumerate(mapping.keep):
            outer = {t for k in mapping.keep[:number] for t in k.tensors}
            tensors = [t for t in keep.tensors if t in touched & outer and random.random() < 0.4]
            if tensors:
                passed.append((keep.level, tuple(tensors)))
        how = _stepped_out(random, how, mapping, einsum, program)
        einsums.append(replace(how, bypass=tuple(passed)))
    if schedule.kind == "pipelined" and random.random() < 0.7:
        schedule = replace(schedule, lookahead=1)
    return replace(mapping, einsums=tuple(einsums), schedule=schedule)


def _stepped_out(
    random: Random, how: EinsumMapping, mapping: Mapping, einsum: Einsum, program: Program
) -> EinsumMapping:
    """An Einsum that goes over the innermost shared loop by itself, here and there."""
    variables = {*(r.lower() for r in program.parallel), *einsum.variables}
    shared = [n for x in mapping.nest for n in x.loops]
    ranks = {m: t.rank for t in mapping.tiles for m in (t.member,)}
    last = shared[-1:]
    mine = [n for n in last if ranks.get(n, n).lower() in variables]
    if not mine or random.random() < 0.5 or not how.nest:
        return how
    own = (replace(how.nest[0], loops=(*mine, *how.nest[0].loops)), *how.nest[1:])
    return replace(how, nest=own, outside=(*how.outside, *mine))


def _groups(random: Random, program: Program) -> tuple[tuple[PhaseTask, ...], ...]:
    """Einsums in groups of one and more, none before what it reads."""
    groups: list[list[str]] = []
    place: dict[str, int] = {}
    for e in program.einsums:
        first = max((place[a.tensor] for a in e.reads if a.tensor in place), default=0)
        place[e.name] = at = random.randint(first, max(first, len(groups)))
        while len(groups) <= at:
            groups.append([])
        groups[at].append(e.name)
    return tuple(tuple(PhaseTask(einsum=n) for n in group) for group in groups if group)


_Member = tuple[str, str, int]
"""Name, rank and stride."""


def _cuts(
    random: Random, program: Program, shapes: dict[str, int]
) -> tuple[tuple[Tile, ...], list[list[_Member]], dict[str, int]]:
    """Tiles, and per axis its members outermost first."""
    sizes: dict[str, int] = {}
    tiles: list[Tile] = []
    chains: list[list[_Member]] = []
    families = {r.name: r.partition for r in program.ranks if r.partition}
    inner = {m for p in families.values() for m in p}
    for family, members in families.items():
        for member in members[1:]:
            sizes[member] = shapes[member]
            tiles.append(Tile(rank=family, member=member, size=shapes[member]))
        chains.append([m for r in members for m in _chain(random, r, shapes, sizes, tiles)])
    for rank in (*program.parallel, *(r.name for r in program.ranks)):
        if rank not in families and rank not in inner:
            chains.append(_chain(random, rank, shapes, sizes, tiles))
    return tuple(tiles), chains, sizes


def _chain(
    random: Random, rank: str, shapes: dict[str, int], sizes: dict[str, int], tiles: list[Tile]
) -> list[_Member]:
    count = random.choice((0, 0, 1, 1, 2)) if shapes[rank] > 1 else random.choice((0, 0, 0, 1))
    stride = 1
    found: list[_Member] = []
    for number in range(count):
        name = f"{rank}{number}"
        sizes[name] = random.choice((1, 2, 2, 3, 4))
        tiles.append(Tile(rank=rank, member=name, size=sizes[name]))
        found.append((name, rank, stride))
        stride *= sizes[name]
    found.append((f"{rank}{count}" if count else rank, rank, stride))
    return found[::-1]


def _shared(random: Random, chains: list[list[_Member]]) -> list[str]:
    picked = [m for c in chains for m in c[: random.choice((0, 0, 1, 1, 2, 3))]]
    return _shuffled(random, picked, chains)


def _shuffled(random: Random, members: list[_Member], chains: list[list[_Member]]) -> list[str]:
    """Any order in which outer members of an axis come first."""
    queues = [[m for m in c if m in members] for c in chains]
    found: list[str] = []
    while any(queues):
        queue = random.choice([q for q in queues if q])
        found.append(queue.pop(0)[0])
    return found


def _levelled(
    random: Random, loops: list[str], levels: list[str], first: int
) -> tuple[NestLevel, ...]:
    chosen = sorted(random.randrange(first, len(levels)) for _ in loops)
    found: dict[str, list[str]] = {level: [] for level in levels}
    for loop, at in zip(loops, chosen, strict=True):
        found[levels[at]].append(loop)
    return NestLevel.nest(found.items())


def _spatial(
    random: Random,
    array: ProcessingArray,
    rest: list[_Member],
    chains: list[list[_Member]],
    shapes: dict[str, int],
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], list[_Member]]:
    """Innermost members that fit the array's dimensions."""
    taken: list[_Member] = []
    placed: list[tuple[str, list[str]]] = []
    for dimension in array.dimensions:
        room = dimension.size
        names: list[str] = []
        ends = [[m for m in c if m in rest and m not in taken] for c in chains]
        ends = [c for c in ends if c]
        random.shuffle(ends)
        for chain in ends[: random.choice((0, 1, 1, 2))]:
            width = _width(chain[-1], chains, shapes)
            if width <= room:
                room //= width
                names.insert(0, chain[-1][0])
                taken.append(chain[-1])
        if names:
            placed.append((dimension.name, names))
    # Outer members of an axis stand in outer loops: dimensions were filled inside out.
    return tuple((d, tuple(n)) for d, n in reversed(placed)), taken


def _width(member: _Member, chains: list[list[_Member]], shapes: dict[str, int]) -> int:
    extent = shapes[member[1]]
    for other in (m for c in chains for m in c if m[1] == member[1]):
        if other == member:
            break
        extent = min(extent, other[2])
    return -(-extent // member[2])


def _rank_in(chains: list[list[_Member]], name: str) -> str:
    return next(m[1] for c in chains for m in c if m[0] == name)


def _keep(random: Random, program: Program, architecture: Architecture) -> tuple[Keep, ...]:
    memories = [m.name for m in architecture.memories]
    places = [*memories, *(a.name for a in architecture.arrays)]
    kept: dict[str, list[str]] = {p: [] for p in places}
    # In written order: that of a set differs from run to run, and a seed would mean nothing.
    inputs = [t.name for t in program.inputs]
    for tensor in (*inputs, *(e.name for e in program.einsums)):
        chosen = {p for p in places if random.random() < 0.4}
        if tensor in inputs:
            # Registers keep what Einsums write.
            chosen &= {*memories}
        if tensor in inputs or tensor in program.outputs:
            chosen.add(memories[0])
        elif not chosen:
            chosen.add(random.choice(places))
        for place in chosen:
            kept[place].append(tensor)
    return tuple(Keep(level=p, tensors=tuple(sorted(t))) for p, t in kept.items() if t)
