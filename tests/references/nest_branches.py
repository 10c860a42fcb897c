"""Random cases on machines whose memories are side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from nest_cases import Case, random_case

from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, NestLevel


def branched_case(seed: int) -> Case | None:
    """A random case, its memories as a random tree, its tensors somewhere on the ways there;
    None where all memories come to be in a line."""
    random = Random(seed)
    case = random_case(seed)
    machine = _branched(random, case.architecture)
    return None if machine is None else _kept_on_ways(random, replace(case, architecture=machine))


def _branched(random: Random, machine: Architecture) -> Architecture | None:
    """A machine of up to five memories, each inside of one that is listed before it."""
    more = range(len(machine.memories), random.randint(3, 5))
    machine = replace(
        machine,
        memories=(*machine.memories, *(replace(machine.memories[0], name=f"L{n}") for n in more)),
    )
    names = [m.name for m in machine.memories]
    inside = {name: random.choice(names[:n]) for n, name in enumerate(names) if n}
    leaves = [name for name in names if name not in inside.values()]
    if len(leaves) < 2:
        return None
    ends: list[tuple[list[str], list[str]]] = []
    for _ in machine.arrays:
        reads = random.sample(names[1:], random.choice((1, 1, 2)))
        writes = [random.choice(names)] if random.random() < 0.4 else []
        ends.append((reads, writes))
    unread = [n for n in leaves if not any(n in (*r, *w) for r, w in ends)]
    ends[0][0].extend(unread)
    return replace(
        machine,
        memories=tuple(replace(m, inside=inside.get(m.name)) for m in machine.memories),
        arrays=tuple(
            replace(a, reads=tuple(r), writes=tuple(w))
            for a, (r, w) in zip(machine.arrays, ends, strict=True)
        ),
    )


def _way(machine: Architecture, end: str) -> list[str]:
    """Memories from the outermost to one of them."""
    inside = {m.name: m.inside for m in machine.memories}
    found = [end]
    while (outer := inside[found[0]]) is not None:
        found.insert(0, outer)
    return found


def _ways(case: Case, how: EinsumMapping, tensor: str) -> Iterator[list[str]]:
    machine = case.architecture
    array = next(a for a in machine.arrays if a.name == how.array)
    here = {x.einsum for x in case.mapping.einsums if x.array == how.array}
    ends = (*array.reads, *array.writes) if tensor in here else array.reads
    for end in (array.writes or array.reads) if tensor == how.einsum else ends:
        yield _way(machine, end)


def _kept_on_ways(random: Random, case: Case) -> Case:
    """Every Einsum takes each tensor by one way, and some memories of it keep the tensor; so does
    the outermost that all ways have in common."""
    machine, program = case.architecture, case.program
    names = [m.name for m in machine.memories]
    touched = {
        e.name: [*dict.fromkeys(a.tensor for a in (*e.reads, e.target))] for e in program.einsums
    }
    way = {
        (how.einsum, tensor): random.choice([*_ways(case, how, tensor)])
        for how in case.mapping.einsums
        for tensor in touched[how.einsum]
    }
    kept: dict[str, set[str]] = {}
    registers = {t: k for k in case.mapping.keep if k.level not in names for t in k.tensors}
    for tensor in dict.fromkeys(t for ts in touched.values() for t in ts):
        ways = [w for (_, t), w in way.items() if t == tensor]
        common = [n for n in names if all(n in w for w in ways)]
        if tensor in program.outputs or tensor not in program.einsum_of:
            first = names[0]
        elif tensor in registers and random.random() < 0.5:
            continue
        else:
            first = random.choice(common)
        inner = {n for w in ways for n in w[w.index(first) + 1 :] if random.random() < 0.6}
        kept[tensor] = {first, *inner}
    einsums = []
    for how in case.mapping.einsums:
        passed: dict[str, list[str]] = {}
        for tensor in touched[how.einsum]:
            reached = {n for w in _ways(case, how, tensor) for n in w}
            for level in sorted(kept.get(tensor, set()) & reached - {*way[how.einsum, tensor]}):
                passed.setdefault(level, []).append(tensor)
        reached = {n for t in (how.einsum, "") for w in _ways(case, how, t) for n in w}
        fed = all(level.level in reached for level in how.nest)
        loops = tuple(name for level in how.nest for name in level.loops)
        # Where theirs feeds nothing of the Einsum, loops are inside of all memories.
        nest = how.nest if fed else (NestLevel(level="", loops=loops),)
        bypass = tuple((level, tuple(ts)) for level, ts in passed.items())
        einsums.append(replace(how, bypass=bypass, nest=nest))
    keep = [
        Keep(level=n, tensors=tuple(t for t, found in kept.items() if n in found)) for n in names
    ]
    keep += [k for k in case.mapping.keep if k.level not in names]
    return replace(
        case,
        mapping=replace(
            case.mapping, einsums=tuple(einsums), keep=tuple(k for k in keep if k.tensors)
        ),
    )
