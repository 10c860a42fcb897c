"""What a thing is called, and in which order keys are written, changes no number of a result."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from brief_search import BRIEFLY
from evaluated import evaluate_mapping
from nest_cases import Case, billed_case, varied_case
from odd_machines import loaded, odd_machine, renamed, shuffled
from portions import portions

from archsim import Architecture, Result, simulate
from archsim.plan.selection import mapping_called
from archsim.spec.mapping import EINSUM_BY_EINSUM, Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from mappers.problem.objectives import OBJECTIVES
from mappers.workload_search import search_workload
from workloads import load
from workloads.workload import Workload

WORDS = (
    "vpu",
    "mxu",
    "hbm",
    "unified_buffer",
    "zz",
    "aa",
    "B7",
    "q9",
    "mm",
    "pe",
    "e4",
    "x2",
    "k5",
)
WORK = (
    ("attention-1pass", {"seq_len": 30, "batch": 2, "H": 3, "E": 8, "F": 8}),
    ("attention-3pass", {"seq_len": 25, "batch": 1, "H": 2, "E": 8, "F": 8}),
    ("attention-causal-1pass", {"seq_len": 33, "batch": 1, "H": 2, "E": 8, "F": 8}),
    ("linear-layer", {"N": 21, "D": 40, "J": 33}),
    ("linear-attention-causal", {"seq_len": 19, "batch": 1, "H": 2, "E": 5, "F": 6}),
)


def told(result: Result | InputError, back: dict[str, str] | None = None) -> str:
    """All that a result or a refusal says, names put back."""
    text = str(result) if isinstance(result, InputError) else json.dumps(result.to_dict())
    if back:
        words = "|".join(map(re.escape, back))
        text = re.sub(rf"\b({words})\b", lambda found: back[found[1]], text)
    return text


def evaluated(case: Case, mapping: Mapping, machine: Architecture) -> Result | InputError:
    try:
        return evaluate_mapping(case.program, mapping, machine, case.given)
    except InputError as wrong:
        return wrong


def simulated(work: Workload, machine: Architecture) -> Result | InputError:
    try:
        return simulate(work, machine)
    except InputError as wrong:
        return wrong


# ------------------------------------------------------------------ a mapping


def called(
    machine: Architecture, mapping: Mapping, names: dict[str, str]
) -> tuple[Architecture, Mapping]:
    """A machine with other names, and a mapping that means the same on it."""
    memories = tuple(replace(m, name=names[m.name]) for m in machine.memories)
    arrays = tuple(
        replace(
            a,
            name=names[a.name],
            dimensions=tuple(replace(d, name=names[d.name]) for d in a.dimensions),
        )
        for a in machine.arrays
    )
    einsums = tuple(
        replace(
            e,
            array=names[e.array],
            spatial=tuple((names[d], loops) for d, loops in e.spatial),
            nest=tuple(replace(n, level=names[n.level]) for n in e.nest),
            bypass=tuple((names[level], tensors) for level, tensors in e.bypass),
        )
        for e in mapping.einsums
    )
    nest = tuple(replace(n, level=names[n.level]) for n in mapping.nest)
    keep = tuple(replace(k, level=names[k.level]) for k in mapping.keep)
    return (
        replace(machine, memories=memories, arrays=arrays),
        replace(mapping, nest=nest, einsums=einsums, keep=keep),
    )


@pytest.mark.parametrize("first", portions(60, 30))
def test_a_mapping_may_call_parts_anything_and_list_them_in_any_order(first: int) -> None:
    legal = refused = 0
    for seed in range(first, first + 30):
        case = varied_case(seed) if seed % 2 else billed_case(seed)
        random, machine, mapping = Random(seed), case.architecture, case.mapping
        expected = evaluated(case, mapping, machine)
        legal += isinstance(expected, Result)
        refused += isinstance(expected, InputError)

        parts = [*machine.memories, *machine.arrays]
        old = [*(p.name for p in parts), "d0", "d1", "d2"]
        names = dict(zip(old, random.sample(WORDS, len(old)), strict=True))
        other, same = called(machine, mapping, names)
        back = {new: name for name, new in names.items()}
        assert told(evaluated(case, same, other), back) == told(expected), f"seed {seed}"

        if isinstance(expected, InputError):
            continue
        turned = replace(mapping, keep=mapping.keep[::-1], einsums=mapping.einsums[::-1])
        assert told(evaluated(case, turned, machine)) == told(expected), f"seed {seed}"

        axes = (tuple(random.sample(a.dimensions, len(a.dimensions))) for a in machine.arrays)
        pairs = zip(machine.arrays, axes, strict=True)
        moved = replace(machine, arrays=tuple(replace(a, dimensions=x) for a, x in pairs))
        assert told(evaluated(case, mapping, moved)) == told(expected), f"seed {seed}"
    assert legal > 8
    assert refused > 3


def test_registers_that_keep_an_operand_give_it_in_the_order_of_the_machine() -> None:
    """Both arrays keep A for a third one to read: the first of the machine gives it."""
    seeds = range(60)
    cases = [billed_case(seed) for seed in seeds]
    asked = 0
    for seed, case in zip(seeds, cases, strict=True):
        keep = [k for k in case.mapping.keep if case.architecture.array(k.level) is not None]
        shared = {t for k in keep for t in k.tensors if sum(t in o.tensors for o in keep) > 1}
        depths = {a.registers.depth for a in case.architecture.arrays}
        if not shared or len(depths) == 1:
            continue
        turned = replace(case.mapping, keep=case.mapping.keep[::-1])
        one, other = (evaluated(case, m, case.architecture) for m in (case.mapping, turned))
        asked += isinstance(one, Result)
        assert told(one) == told(other), f"seed {seed}"
    assert asked > 3


# ------------------------------------------------------------------ where nobody says how


@pytest.mark.parametrize("seed", portions(10, 1, quick=2))
def test_default_mappings_ask_for_no_names_and_no_order_of_keys(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    tree = odd_machine(random)
    machine = loaded(tree, tmp_path)
    names = dict(zip(("L0", "L1", "L2", "A0", "A1"), random.sample(WORDS[:10], 5), strict=True))
    # The roles of mapping files know axes by these names, else by their order.
    names |= {"columns": "cc", "rows": "bb", "lanes": "ll"} if seed % 2 else {}
    other = loaded(renamed(tree, names), tmp_path)
    mixed = loaded(shuffled(tree, random), tmp_path)
    back = {new: name for name, new in names.items()}
    for cascade, shapes in random.sample(WORK, 2):
        work = load("bert-base", cascade=cascade, **shapes)
        expected = simulated(work, machine)
        assert told(simulated(work, other), back) == told(expected)
        found = simulated(work, mixed)
        assert isinstance(expected, Result)
        assert isinstance(found, Result)
        assert (found.cycles, found.floor, found.bounds) == (
            expected.cycles,
            expected.floor,
            expected.bounds,
        )
        assert found.traffic == expected.traffic
        assert found.energy_pj == pytest.approx(expected.energy_pj, rel=1e-12)


@pytest.mark.parametrize("seed", portions(8, 1, quick=3))
def test_axes_may_be_written_in_any_order(seed: int, tmp_path: Path) -> None:
    """Where no role stands for them: the mapping is made for the machine."""
    random = Random(seed)
    tree = odd_machine(random)
    turned = deepcopy(tree)
    for array in turned["architecture"]["arrays"]:
        array["shape"] = dict(reversed(array["shape"].items()))
    cascade, shapes = random.choice(WORK)
    work = load("bert-base", cascade=cascade, **shapes)
    found = []
    for machine in (loaded(tree, tmp_path), loaded(turned, tmp_path)):
        mapping = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
        found.append(simulate(work, machine, mapping))
    one, other = found
    assert (one.cycles, one.traffic, one.floor) == (other.cycles, other.traffic, other.floor)


ATTENTION = """
cascade: plain
parallel: [B]
ranks: {E: width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M]}
output: A
einsums: |
  S[m, p] = Q[p, e] * K[m, e] where m <= p
  G[p] = S[m, p] :: max[m]
  N[m, p] = exp(S[m, p] - G[p])
  D[p] = N[m, p]
  A[p] = N[m, p] / D[p] * V[m]
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_cascade_may_call_ranks_and_tensors_anything(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    machine = loaded(odd_machine(random), tmp_path)
    shapes = {"B": 2, "E": 5, "P": 19, "M": 19}
    ranks = dict(zip(shapes, random.sample("CFHJLORUWX", 4), strict=True))
    names = ranks | {r.lower(): n.lower() for r, n in ranks.items()}
    words = [word.title() + "0" for word in random.sample(WORDS, 8)]
    names |= dict(zip("QKVSGNDA", words, strict=True))
    other = re.sub(r"\b[A-Za-z]\b", lambda found: names.get(found[0], found[0]), ATTENTION)
    results = []
    for text, given in ((ATTENTION, shapes), (other, {ranks[r]: n for r, n in shapes.items()})):
        program = Cascade.parse(text).program
        mapping = einsum_by_einsum(program, machine, given)
        results.append(evaluate_mapping(program, mapping, machine, given))
    one, same = results
    assert (one.cycles, one.energy_pj, one.traffic) == (same.cycles, same.energy_pj, same.traffic)
    assert (one.floor, one.bounds) == (same.floor, same.bounds)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_search_asks_for_no_names(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    tree = odd_machine(random)
    names = dict(zip(("L0", "L1", "L2", "A0", "A1"), random.sample(WORDS, 5), strict=True))
    work = load("bert-base", cascade="linear-layer", N=6, D=4, J=4)
    objective = OBJECTIVES["edp"]
    found = [
        search_workload(work, loaded(t, tmp_path), objective, effort=BRIEFLY).result
        for t in (tree, renamed(tree, names))
    ]
    assert found[0].cycles == found[1].cycles
    assert found[0].energy_pj == found[1].energy_pj
