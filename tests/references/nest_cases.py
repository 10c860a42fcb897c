"""Random small cascades, mappings and machines for the nest walker, from a seed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

from archsim.arch import (
    Architecture,
    Dimension,
    Memory,
    Operation,
    ProcessingArray,
    Registers,
)
from archsim.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from archsim.spec.architectures import OPERATION_KINDS
from archsim.technology import Technology
from einsum_cascade import Cascade
from einsum_cascade.ir import Program

_PLAIN = ("P", "E", "F", "K")


@dataclass(frozen=True)
class Case:
    """A mapping with everything it is bound to."""

    program: Program
    mapping: Mapping
    architecture: Architecture
    shapes: dict[str, int]
    sizes: dict[str, int]

    @property
    def given(self) -> dict[str, int]:
        """Shapes a user would give: the mapping's tiles fix members."""
        members = {m for r in self.program.ranks for m in r.partition}
        return {r: s for r, s in self.shapes.items() if r not in members}


@dataclass
class _Draft:
    """A cascade being written."""

    random: Random
    shapes: dict[str, int]
    families: dict[str, tuple[str, ...]]
    variables: list[str]
    inputs: dict[str, list[str]] = field(default_factory=dict)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Index texts of what is written, a moved one as ``m1+1``."""
    init: list[str] = field(default_factory=list)
    equations: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)


def random_case(seed: int) -> Case:
    """A case; the same one for the same seed."""
    random = Random(seed)
    parallel = random.choice(([], [], ["B"], ["B", "H"]))
    draft = _ranks(random, parallel)
    for number in range(random.randint(1, 5)):
        _equation(draft, f"T{number}")
    _use_families(draft)
    program = _program(draft, parallel)
    shapes = {r: s for r, s in draft.shapes.items() if r in {*parallel, *_names(program)}}
    architecture = random_machine(random)
    mapping, sizes = random_mapping(random, program, architecture, shapes)
    return Case(program, mapping, architecture, shapes, sizes)


def _names(program: Program) -> list[str]:
    return [r.name for r in program.ranks]


# ------------------------------------------------------------------ cascades


def _ranks(random: Random, parallel: list[str]) -> _Draft:
    shapes = {r: random.choice((1, 2, 2, 3)) for r in parallel}
    shapes |= {r: random.choice((1, 2, 3, 4, 5, 7)) for r in _PLAIN}
    shapes["W"] = 64
    families: dict[str, tuple[str, ...]] = {}
    variables = [r.lower() for r in random.sample(_PLAIN, random.randint(1, 3))]
    if random.random() < 0.6:
        inner = random.choice((1, 2, 3, 4))
        shapes |= {"M": random.choice((1, 3, 4, 6, 7, 10)), "M0": inner}
        shapes["M1"] = -(-shapes["M"] // inner)
        families["M"] = ("M1", "M0")
        variables += ["m1", "m0"]
    if random.random() < 0.25:
        middle, inner = random.choice((1, 2, 3)), random.choice((1, 2, 3))
        shapes |= {"N": random.choice((2, 5, 7, 11)), "N1": middle, "N0": inner}
        shapes["N2"] = -(-shapes["N"] // (middle * inner))
        families["N"] = ("N2", "N1", "N0")
        variables += ["n2", "n1", "n0"]
    return _Draft(random, shapes, families, variables)


def _equation(draft: _Draft, name: str) -> None:
    random = draft.random
    steps = [v for v in draft.variables if v in ("m1", "k", "p")]
    if steps and random.random() < 0.25:
        _running(draft, name, random.choice(steps))
        return
    operands = [_operand(draft) for _ in range(random.choice((1, 2, 2, 3)))]
    free = sorted({v for _, variables in operands for v in variables})
    kept = [v for v in free if random.random() < 0.6]
    random.shuffle(kept)
    text = _combined(random, [t for t, _ in operands])
    reduced = [v for v in free if v not in kept]
    if reduced and random.random() < 0.3:
        text += f" :: max[{', '.join(reduced)}]"
    plain = [v for v in free if v in ("p", "e", "f", "k")]
    if "m1" in free and "m0" in free:
        plain.append("m1*M0 + m0")
    if len(plain) >= 2 and "n1" not in free and random.random() < 0.2:
        text += f" where {plain[-1]} {random.choice(('<=', '<', '>='))} {plain[0]}"
    left = f"{name}[{', '.join(kept)}]" if kept else name
    draft.equations.append(f"{left} = {text}")
    draft.written[name] = tuple(kept)
    draft.unread.add(name)


def _use_families(draft: _Draft) -> None:
    """Every member of a family that is mentioned must be: read one more input."""
    for members in draft.families.values():
        variables = [m.lower() for m in members]
        text = " ".join(draft.equations)
        if any(v in text for v in variables) and not all(v in text for v in variables):
            name = f"I{len(draft.inputs)}"
            draft.inputs[name] = variables
            draft.equations.append(
                f"T9{members[0]}[{variables[0]}] = {_access(name, variables)[0]}"
            )
            draft.written[f"T9{members[0]}"] = (variables[0],)
            draft.unread.add(f"T9{members[0]}")


def _combined(random: Random, operands: list[str]) -> str:
    if len(operands) == 1:
        return random.choice(("{}", "exp({})", "{} * {}")).format(*operands * 2)
    if len(operands) == 2:
        return random.choice(("{} * {}", "{} + {}", "exp({} - {})", "max({}, {})")).format(
            *operands
        )
    return random.choice(("{} * {} * {}", "{} * {} + {}")).format(*operands)


def _running(draft: _Draft, name: str, variable: str) -> None:
    """A running value along a variable, over an input or an earlier tensor."""
    random = draft.random
    others = [v for v in draft.variables if v[0] != variable[0] or v == "m0"]
    kept = random.sample(others, min(len(others), random.randint(0, 2)))
    operand, read = _input(draft, [variable, *kept])
    missing = [v for v in kept if v not in read]
    kept = [v for v in kept if v not in missing]
    now = ", ".join([variable, *kept])
    later = ", ".join([f"{variable}+1", *kept])
    start = ", ".join(["0", *kept])
    draft.init.append(f"{name}[{start}] = 0")
    draft.equations.append(f"{name}[{later}] = {name}[{now}] + {operand}")
    draft.written[name] = (f"{variable}+1", *kept)
    draft.unread.add(name)


def _operand(draft: _Draft) -> tuple[str, set[str]]:
    random = draft.random
    if draft.written and random.random() < 0.6:
        name = random.choice(sorted(draft.unread) or sorted(draft.written))
        return _intermediate(draft, name)
    if draft.inputs and random.random() < 0.15:
        name = random.choice(sorted(draft.inputs))
        return _again(draft, name)
    count = random.randint(0, 3)
    picked = random.sample(draft.variables, min(count, len(draft.variables)))
    return _input(draft, picked)


def _intermediate(draft: _Draft, name: str) -> tuple[str, set[str]]:
    random = draft.random
    draft.unread.discard(name)
    indices: list[str] = []
    for index in draft.written[name]:
        if index.endswith("+1"):
            rank = index[:-2].upper()
            indices.append(random.choice((index, index[:-2], rank)))
        elif random.random() < 0.08:
            other = random.choice(draft.variables)
            indices.append(random.choice((f"{index} + {other}", f"2*{index}", "0")))
        else:
            indices.append(index)
    return _access(name, indices)


def _again(draft: _Draft, name: str) -> tuple[str, set[str]]:
    return _access(name, draft.inputs[name])


def _access(name: str, indices: list[str]) -> tuple[str, set[str]]:
    words = re.sub(r"[^A-Za-z0-9]", " ", " ".join(indices)).split()
    found = {w for w in words if w.islower()}
    return (f"{name}[{', '.join(indices)}]" if indices else name), found


def _input(draft: _Draft, picked: list[str]) -> tuple[str, set[str]]:
    """A new input addressed by some variables, here and there in an odd way."""
    random = draft.random
    indices: list[str] = []
    rest = list(picked)
    while rest:
        variable = rest.pop(0)
        style = random.random()
        family = next((f for f, m in draft.families.items() if variable.upper() in m), None)
        if family and style < 0.5:
            members = draft.families[family]
            rest = [v for v in rest if v.upper() not in members]
            whole = " + ".join(
                "*".join([m.lower(), *members[i + 1 :]]) for i, m in enumerate(members)
            )
            if random.random() < 0.15:
                whole += f" + {random.choice(draft.variables)}"
            indices.append(whole)
        elif rest and style > 0.8:
            indices.append(
                random.choice(("{} + {}", "2*{} + {}", "3*{} + 2*{}")).format(variable, rest[0])
            )
            if random.random() < 0.6:
                rest.pop(0)
        elif style > 0.76:
            indices.append(f"2*{variable} + 1")
        elif style > 0.72:
            gathered = f"G{len(draft.inputs)}"
            draft.inputs[gathered] = [variable]
            indices.append(f"{gathered}[{variable}]")
        else:
            indices.append(variable)
    name = f"I{len(draft.inputs)}"
    draft.inputs[name] = indices
    return _access(name, indices)


def _rank_of(draft: _Draft, index: str) -> str:
    if index.isidentifier():
        return index.upper()
    for family, members in draft.families.items():
        whole = " + ".join("*".join([m.lower(), *members[i + 1 :]]) for i, m in enumerate(members))
        if index == whole:
            return family
    return index[2].upper() if index.startswith("2*") and index.endswith(" + 1") else "W"


def _program(draft: _Draft, parallel: list[str]) -> Program:
    inputs = {
        n: ["W" if "2*" in i and "+ 1" in i else _rank_of(draft, i) for i in indices]
        for n, indices in draft.inputs.items()
    }
    text = "\n".join((*draft.init, *draft.equations))
    words = set(
        text.replace("[", " ")
        .replace("]", " ")
        .replace(",", " ")
        .replace("*", " ")
        .replace("+", " ")
        .replace("(", " ")
        .replace(")", " ")
        .split()
    )
    used = {r for r in draft.shapes if r.lower() in words or r in words}
    used |= {r for ranks in inputs.values() for r in ranks}
    ranks: list[str] = []
    for rank in draft.shapes:
        family = next((f for f, m in draft.families.items() if rank in m), None)
        if rank in draft.families:
            if used & {rank, *draft.families[rank]}:
                ranks.append(f"{rank}: {{is: x, partition: [{', '.join(draft.families[rank])}]}}")
        elif family is None and rank in used and rank not in parallel:
            ranks.append(f"{rank}: x")
    yaml = [
        "cascade: random",
        *([f"parallel: [{', '.join(parallel)}]"] if parallel else []),
        f"ranks: {{{', '.join(ranks)}}}",
        "inputs: {" + ", ".join(f"{n}: [{', '.join(r)}]" for n, r in inputs.items()) + "}",
        f"output: [{', '.join(sorted(draft.unread))}]",
        *(["init: |", *(f"  {line}" for line in draft.init)] if draft.init else []),
        "einsums: |",
        *(f"  {line}" for line in draft.equations),
    ]
    return Cascade.parse("\n".join(yaml) + "\n").program


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
    mapping = Mapping(
        name="random",
        cascade="random",
        tiles=tiles,
        nest=nest,
        einsums=tuple(einsums),
        keep=_keep(random, program, architecture),
        schedule=Schedule(kind=random.choice(("sequential", "pipelined", "pipelined"))),
    )
    return mapping, sizes


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
    return tuple(
        NestLevel(
            level=levels[i],
            loops=tuple(n for n, at in zip(loops, chosen, strict=True) if at == i),
        )
        for i in sorted(set(chosen))
    )


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
    inputs = {t.name for t in program.inputs}
    for tensor in (*inputs, *(e.name for e in program.einsums)):
        chosen = {p for p in places if random.random() < 0.4}
        if tensor in inputs or tensor in program.outputs:
            chosen.add(memories[0])
        elif not chosen:
            chosen.add(random.choice(places))
        for place in chosen:
            kept[place].append(tensor)
    return tuple(Keep(level=p, tensors=tuple(sorted(t))) for p, t in kept.items() if t)
