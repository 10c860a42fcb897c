"""Constraints on a mapspace (``map --fix``, ``map --forbid``): against all mappings of small
spaces, looked at one by one, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import prod
from pathlib import Path
from random import Random
from textwrap import dedent
from typing import Any

import pytest
from commands import refused
from places import ROOT
from portions import left
from test_exhaustive import LITTLE, mappings, small_space

from archsim import Architecture, Mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, NoLegalMappingError, SpecError
from mappers.exact.branch_and_bound import exhaustive
from mappers.exact.policy import THOROUGH
from mappers.problem.constraint_files import ConstraintFile, constraints_of
from mappers.problem.engine_run import run_mapping
from mappers.problem.incumbents import space_of
from mappers.problem.objectives import OBJECTIVES, objective_called
from mappers.problem.protocol import SearchProblem
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region, mapping_of
from mappers.workload_search import search_workload
from workloads import Workload, load

SEEDS = 18
NAIVE = "attention-naive"


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def drawn(space: Mapspace, random: Random) -> dict[str, Any]:
    """Some constraint on the mappings of a space."""
    program, machine = space.program, space.architecture
    e = random.choice(program.einsums)
    array = random.choice(machine.arrays)
    ranks = sorted({v.upper() for v in e.variables} | {*program.parallel})
    memory = random.choice(machine.memories).name
    common = sorted({v.upper() for x in program.einsums for v in x.variables})
    tensors = program.tensors
    found: list[dict[str, Any]] = [
        {"einsums": {e.name: {"array": [array.name]}}},
        {"keep": {random.choice([memory, array.name]): [random.choice(tensors)]}},
        {"einsums": {e.name: {"alone": random.random() < 0.5}}},
    ]
    if ranks and array.dimensions:
        dimension = random.choice(array.dimensions).name
        found.append({"einsums": {e.name: {"spatial": {dimension: [random.choice(ranks)]}}}})
    if ranks:
        found.append({"einsums": {e.name: {"innermost": [random.choice(ranks)]}}})
    if common:
        found.append({"shared": [random.choice(common)]})
    if len(common) > 1:
        found.append({"order": {memory: random.sample(common, 2)}})
    inner = [m.name for m in machine.memories[1:]]
    if inner and common:
        found.append({"tiles": {random.choice(inner): {random.choice(common): sized(random)}}})
    if ranks and array.dimensions:
        along = {random.choice(array.dimensions).name: {random.choice(ranks): sized(random)}}
        found.append({"einsums": {e.name: {"spatial": along}}})
    return random.choice(found)


def sized(random: Random) -> int | dict[str, int]:
    """Some sizes, as a file says them."""
    least, most = sorted(random.choices(range(1, 9), k=2))
    return random.choice([least, {"at_least": least}, {"at_most": most}])


def is_of(size: int, asked: int | dict[str, int]) -> bool:
    """Whether a size is one that a file asks for."""
    if isinstance(asked, int):
        return size == asked
    return asked.get("at_least", 1) <= size <= asked.get("at_most", size)


def tiles_in(bound: Bound, memory: str, rank: str) -> set[int]:
    """Sizes of a rank's tiles in a memory: what loops at memories further out leave, by Einsum,
    from the mapping's file alone."""
    tiling = bound.tiling
    outer = [m.name for m in bound.architecture.memories]
    outer = outer[: outer.index(memory)]
    innermost = bound.architecture.memories[-1].name
    found = set[int]()
    for e in bound.program.einsums:
        if rank.lower() in e.variables or rank in bound.program.parallel:
            how = bound.mapping.einsum(e.name)
            assert how is not None
            shared = [(n.level, m) for n in bound.mapping.nest for m in n.loops]
            shared = [(level, m) for level, m in shared if m not in how.outside]
            own = [(n.level or innermost, m) for n in how.nest for m in n.loops]
            loops = [tiling.members[m] for level, m in (*shared, *own) if level in outer]
            strides = [m.stride for m in loops if m.rank == rank]
            found.add(min([tiling.shapes[rank], *strides]))
    return found


def obeys(bound: Bound, said: dict[str, Any], *, must: bool) -> bool:
    """Whether a mapping obeys a constraint, from its file and the sizes of its loops alone."""
    ((kind, what),) = said.items()
    mapping, tiling = bound.mapping, bound.tiling
    if kind == "keep":
        ((level, (tensor,)),) = what.items()
        return must is any(k.level == level and tensor in k.tensors for k in mapping.keep)
    if kind == "tiles":
        ((memory, ((rank, asked),)),) = ((m, tuple(f.items())) for m, f in what.items())
        return must is all(is_of(n, asked) for n in tiles_in(bound, memory, rank))
    around: dict[str, int] = {}

    def goes(member: str) -> bool:
        rank = tiling.members[member].rank
        left = around.get(rank, tiling.shapes[rank])
        around[rank] = tiling.members[member].stride
        return left > tiling.members[member].stride

    nest = [
        (level.level, tiling.members[m].rank)
        for level in mapping.nest
        for m in level.loops
        if goes(m)
    ]
    if kind == "shared":
        return must is any(rank == what[0] for _, rank in nest)
    if kind == "order":
        ((memory, (first, second)),) = what.items()
        here = [rank for level, rank in nest if level == memory]
        pairs = {(a, b) for n, a in enumerate(here) for b in here[n + 1 :]}
        return ((second, first) if must else (first, second)) not in pairs
    ((name, ((field, value),)),) = ((n, tuple(f.items())) for n, f in what.items())
    how = next(e for e in mapping.einsums if e.einsum == name)
    if field == "array":
        return must is (how.array == value[0])
    if field == "alone":
        going = {loop.member for loop in bound.by_name[name].nonunit_loops}
        return (must is value) is bool(going & {*how.outside})
    if field == "spatial":
        ((dimension, ranks),) = value.items()
        (rank,) = ranks
        laid = [m for m in dict(how.spatial).get(dimension, ()) if tiling.members[m].rank == rank]
        if not isinstance(ranks, dict):
            return must is bool(laid)
        wide = prod(tiling.bounds[m] for m in laid)
        return must is (bool(laid) and is_of(wide, ranks[rank]))
    last = [loop.member for loop in bound.by_name[name].nonunit_loops][-1:]
    return must is any(tiling.members[m].rank in value for m in last)


def bound_mappings(space: Mapspace) -> Iterator[tuple[Region, Mapping, Bound]]:
    """All mappings of a space that are legal, bound."""
    for region, mapping in mappings(space):
        with suppress(MappingError):
            yield region, mapping, bind(space.program, mapping, space.architecture, region.given)


def constrained(
    space: Mapspace, said: Iterable[tuple[dict[str, Any], bool]], folder: Path
) -> Mapspace:
    """The space with some constraints, each from a file."""
    files = [
        ConstraintFile.read(written(folder, json.dumps({"constraints": s})), must=must)
        for s, must in said
    ]
    obeyed = constraints_of(files, space.program, space.architecture)
    return Mapspace.of(space.program, space.architecture, space.given, obeyed)


@pytest.mark.slow
def test_what_is_found_is_the_best_of_what_obeys(tmp_path: Path) -> None:
    objective = OBJECTIVES["energy"]
    compared = fewer = 0
    for seed in range(SEEDS):
        space, random = small_space(seed), Random(seed)
        every = [*bound_mappings(space)] if space is not None else []
        if space is None or not every:
            continue
        for _ in range(2):
            # Some mapping obeys, so that there is one to be found.
            _, _, one = random.choice(every)
            drawn_here = [drawn(space, random) for _ in range(random.choice((1, 2, 3)))]
            said = [(s, obeys(one, s, must=True)) for s in drawn_here]
            less = constrained(space, said, tmp_path)
            found = exhaustive(SearchProblem(less, objective, tolerance=0.0), THOROUGH)
            bound = bind(less.program, found.mapping, less.architecture, less.given)
            assert all(obeys(bound, s, must=m) for s, m in said), f"seed {seed}: {said}"
            if "aside" in found.certificate.strategy:
                continue
            # Layouts that lose to no better ones any more are in the smaller space alone.
            both = ([*bound_mappings(less)], every)
            mine, able = (
                [
                    run_mapping(region, mapping, objective).value
                    for region, mapping, b in mappings_of
                    if all(obeys(b, s, must=m) for s, m in said)
                ]
                for mappings_of in both
            )
            assert objective.of(found.result) == pytest.approx(min(mine), rel=1e-12), f"{seed}"
            assert min(mine) <= min(able) * (1 + 1e-12), f"seed {seed}: {said}"
            assert found.certificate.gap < 1e-12
            compared += 1
            fewer += len(able) < len(every)
    assert compared > 6
    assert fewer > 2


def tiled(space: Mapspace) -> Iterator[tuple[Mapping, Bound]]:
    """A legal mapping of each tiling of each subspace."""
    for region in space.regions(3):
        placements = {e: found[0] for e, found in region.placements.items()}
        places = {t: found[-1] for t, found in region.places.items()}
        for subspace in subspaces_of(region):
            for row in subspace.sizes:
                mapping = mapping_of(region, subspace.skeleton, row, placements, places)
                with suppress(MappingError):
                    yield mapping, bind(space.program, mapping, space.architecture, region.given)


@pytest.mark.parametrize(
    ("asked", "must", "sizes"),
    [
        (4, True, {4}),
        # No usual cut of 12 has tiles of five: a constraint that names them brings them in.
        (5, True, {5}),
        ({"at_most": 5}, True, {1, 2, 3, 4, 5}),
        ({"at_least": 5}, True, {5, 6, 12}),
        ({"at_least": 3, "at_most": 4}, True, {3, 4}),
        ({"at_most": 3}, False, {4, 6, 12}),
        (12, False, {1, 2, 3, 4, 6, 11}),
    ],
)
def test_tiles_that_obey_are_all_there_and_no_others(
    asked: int | dict[str, int], must: bool, sizes: set[int], tmp_path: Path
) -> None:
    program, machine = Cascade.load("linear-layer").program, Architecture.load("fusemax")
    space = Mapspace.of(program, machine, {"N": 12, "D": 3, "J": 1})
    said = {"tiles": {"global_buffer": {"N": asked}}}
    less = [*tiled(constrained(space, [(said, must)], tmp_path))]
    assert all(obeys(bound, said, must=must) for _, bound in less)
    assert {n for _, bound in less for n in tiles_in(bound, "global_buffer", "N")} == sizes
    every = [*tiled(space)]
    able = {m for m, bound in every if obeys(bound, said, must=must)}
    assert able <= {m for m, _ in less}
    assert len(able) < len(every)


def naive(**shapes: int) -> Workload:
    """A small workload whose space is searched in little time."""
    return load("bert-base", **{"batch": 2, "H": 2, "seq_len": 512, "cascade": NAIVE} | shapes)


@pytest.mark.slow
def test_a_known_mapping_that_breaks_a_constraint_neither_starts_nor_wins(tmp_path: Path) -> None:
    machine, objective = Architecture.load("fusemax"), objective_called("latency")
    free = search_workload(naive(), machine, objective, effort=LITTLE)
    (best,) = free.mappings
    (einsum, *_) = [e for e in best.einsums if e.array == "array_2d"]
    text = f"{{constraints: {{einsums: {{{einsum.einsum}: {{array: matrix}}}}}}}}"
    forbidden = (ConstraintFile.read(written(tmp_path, text), must=False),)
    less = search_workload(naive(), machine, objective, effort=LITTLE, constraints=forbidden)
    arrays = {e.einsum: e.array for e in less.mappings[0].einsums}
    assert arrays[einsum.einsum] == "array_1d"
    assert less.result.cycles > free.result.cycles
    certificate = less.certificate()
    assert certificate["constraints"] == [f"{einsum.einsum} must not run on array_2d"]
    assert free.result.cycles < certificate["bound"] <= less.result.cycles
    with pytest.raises(MappingError, match="breaks a constraint"):
        search_workload(naive(), machine, objective, start=(best,), constraints=forbidden)


def test_where_nothing_that_obeys_is_legal_the_constraints_are_told(tmp_path: Path) -> None:
    small = Architecture.load("fusemax", ["memories.global_buffer.capacity=1KiB"])
    text = "constraints:\n  tiles: {nearest: {M: {at_least: 128}}}\n  keep: {nearest: K}"
    fixed = (ConstraintFile.read(written(tmp_path, text), must=True),)
    with pytest.raises(NoLegalMappingError) as refusal:
        search_workload(
            naive(), small, objective_called("energy"), effort=LITTLE, constraints=fixed
        )
    told = str(refusal.value)
    assert "mine.yaml:2:24: tiles of M in global_buffer must have at least 128" in told
    assert "mine.yaml:3:19: K must be kept in global_buffer" in told


@pytest.mark.slow
def test_what_is_found_under_constraints_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mappers.cut.nest_search.USUAL", LITTLE)
    fixed = ConstraintFile.read(written(tmp_path, "{constraints: {keep: {DRAM: K}}}"), must=True)
    work, machine, objective = (
        naive(seq_len=64),
        Architecture.load("fusemax"),
        OBJECTIVES["latency"],
    )
    search_workload(work, machine, objective, constraints=(fixed,))
    assert not (tmp_path / "cache" / "mappings").exists()
    search_workload(work, machine, objective)
    assert (tmp_path / "cache" / "mappings").exists()


def test_the_file_that_the_page_shows_leaves_something(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^    constraints:\n(?:    .*\n)+", page, flags=re.MULTILINE)
    file = ConstraintFile.read(written(tmp_path, dedent(text)), must=True)
    (part,) = load("bert-base").parts
    space = space_of(part, Architecture.load("fusemax"), constraints=(file,))
    assert len(space.constraints.all) == 11
    assert space.regions(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("constraints: {}", "there is no constraint in this file"),
        ("constraints:\n  einsum: {}", "did you mean 'einsums'"),
        ("constraints:\n  einsums: {BQQ: {array: array_2d}}", r":2:13.*\n.*\n.*\n.*'BQK'"),
        ("constraints:\n  einsums:\n    BQK: {array: array_3d}", "did you mean 'array_"),
        ("constraints:\n  einsums:\n    BQK: {spatial: {colums: P}}", "did you mean 'columns'"),
        ("constraints:\n  einsums:\n    LM: {innermost: E}", "a rank that LM goes over"),
        ("constraints:\n  shared: [P, X]", r":2:15: 'X' is not a rank that Einsums go over"),
        ("constraints:\n  order: {DRAM: P}", "an order is of two ranks"),
        ("constraints:\n  order: {DRRAM: [P, M1]}", "did you mean 'DRAM'"),
        ("constraints:\n  tiles: {global_bufer: {P: 64}}", "did you mean 'global_buffer'"),
        ("constraints:\n  tiles: {global_buffer: {X: 64}}", r":2:27: 'X' is not a rank"),
        ("constraints:\n  tiles: {DRAM: {P: 64}}", "outermost memory: it holds all of a rank"),
        ("constraints:\n  tiles: {nearest: {P: 0}}", "greater than or equal to 1"),
        ("constraints:\n  tiles: {nearest: {P: {at_leest: 4}}}", "did you mean 'at_least'"),
        (
            "constraints:\n  tiles: {nearest: {P: {at_least: 8, at_most: 4}}}",
            "no size is at least 8 and at most 4",
        ),
        ("constraints:\n  einsums: {BQK: {spatial: {rows: {F: 4}}}}", "a rank that BQK goes over"),
        ("constraints:\n  keep: {global_bufer: K}", "did you mean 'global_buffer'"),
        ("constraints:\n  keep: {nearest: KK}", "'KK' is not a tensor of attention-1pass"),
    ],
)
def test_names_that_are_not_there_are_refused_where_they_stand(
    text: str, message: str, tmp_path: Path
) -> None:
    program, machine = Cascade.load("attention-1pass").program, Architecture.load("fusemax")
    with pytest.raises(SpecError, match=re.compile(message, re.DOTALL)):
        constraints_of((ConstraintFile.read(written(tmp_path, text), must=True),), program, machine)


@pytest.mark.parametrize(
    ("fixed", "forbidden", "messages"),
    [
        left(
            "{keep: {global_buffer: Q}}",
            "{keep: {nearest: [K, Q]}}",
            (
                "both of them",
                "Q must be kept in global_buffer",
                "Q must not be kept in global_buffer",
            ),
        ),
        pytest.param(
            "{shared: [P, M0]}",
            "",
            ("loops over M0 must be shared", "may be shared: P, M1"),
            marks=pytest.mark.slow,
        ),
        left("{einsums: {SLN: {array: array_2d, spatial: {lanes: M0}}}}", "", ("both of them",)),
        left(
            "{tiles: {nearest: {P: {at_least: 8192}}}}",
            "",
            ("tiles of P in global_buffer must have at least 8,192", "may have 256, 512"),
        ),
        (
            "{tiles: {nearest: {P: {at_most: 64}}}}",
            "{tiles: {nearest: {P: {at_most: 64}}}}",
            ("both of them", "must have at most 64", "must not have at most 64"),
        ),
        ("{shared: P}", "{keep: {DRAM: K}}", ("where K must not be kept in DRAM", "DRAM and")),
    ],
)
def test_constraints_that_leave_nothing_say_which_and_why(
    fixed: str, forbidden: str, messages: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = ["--fix", written(tmp_path, f"constraints: {fixed}", "fix.yaml")]
    if forbidden:
        text = f"constraints: {forbidden}"
        arguments += ["--forbid", written(tmp_path, text, "forbid.yaml")]
    few = [word for setting in ("batch=1", "H=1", "seq_len=512") for word in ("--set", setting)]
    told = refused("map", "bert-base", "fusemax", *few, *arguments, code=3)
    assert all(message in told for message in messages)
    assert "fix.yaml:1:" in told or "forbid.yaml:1:" in told
