"""Random small cascades, mappings and machines for the nest walker, from a seed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from math import prod
from random import Random

from nest_mappings import random_machine, random_mapping, varied

from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from archsim.spec.technology import Technology
from einsum_cascade import Cascade
from einsum_cascade.ir import Program

_PLAIN = ("P", "E", "F", "K")
_POINTS = 400
"""Of all Einsums of a case together. What a case may go wrong in, it does in tens of them."""


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


@cache
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
    _lighten(program, shapes)
    architecture = random_machine(random)
    mapping, sizes = random_mapping(random, program, architecture, shapes)
    return Case(program, mapping, architecture, shapes, sizes)


def _lighten(program: Program, shapes: dict[str, int]) -> None:
    """Halve the longest of the plain ranks until there are few enough points to walk."""
    used = [
        {v.upper() for a in (e.target, *e.reads) for i in a.indices for v in i.variables}
        for e in program.einsums
    ]
    while sum(prod(shapes[r] for r in ranks) for ranks in used) > _POINTS:
        longest = max((r for r in _PLAIN if r in shapes), key=lambda r: shapes[r])
        if shapes[longest] == 1:
            return
        shapes[longest] //= 2


def varied_case(seed: int) -> Case:
    """A random case whose sequential mappings have groups, and whose Einsums pass tensors by
    levels that keep them."""
    case = random_case(seed)
    return replace(case, mapping=varied(Random(seed), case.program, case.mapping))


def billed_case(seed: int) -> Case:
    """A random case on a machine whose accesses and operations cost something."""
    case = random_case(seed)
    random = Random(seed)
    technology = Technology.load("accelergy-45nm")
    memories = tuple(
        replace(m, energy="sram", capacity_bytes=2**20, line_bits=64)
        if i
        else replace(m, energy="dram_hbm2")
        for i, m in enumerate(case.architecture.memories)
    )
    arrays = tuple(
        replace(
            a,
            registers=replace(a.registers, billed=random.choice(("all", "one"))),
            operations=tuple(
                replace(o, bill=(("mac", Fraction(1)), ("max", Fraction(1, 2))))
                for o in a.operations
            ),
        )
        for a in case.architecture.arrays
    )
    machine = replace(case.architecture, technology=technology, memories=memories, arrays=arrays)
    return replace(case, architecture=machine)


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
    if reduced:
        text += f" :: {'max' if random.random() < 0.3 else '+'}[{', '.join(reduced)}]"
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
    summed = ", ".join(v for v in read if v not in (variable, *kept))
    reduction = f" :: +[{summed}]" if summed else ""
    draft.equations.append(f"{name}[{later}] = {name}[{now}] + {operand}{reduction}")
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
            moved = f"*3 + {draft.variables[0]}" if len(draft.inputs) % 2 else ""
            indices.append(f"{gathered}[{variable}]{moved}")
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
