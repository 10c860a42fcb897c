"""A mapping written as a file: what is loaded is what was written, and people can read it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nest_cases import varied_case
from portions import examples, left, some

from archsim import Architecture
from archsim.legality.binding import bind
from archsim.spec.files.mapping import build_mapping
from archsim.spec.files.mapping_text import mapping_dict, mapping_text
from archsim.spec.mapping import (
    Case,
    Choice,
    ChoiceObjective,
    DimensionRef,
    EinsumMapping,
    EinsumPatch,
    Keep,
    Mapping,
    MinimumSize,
    NestLevel,
    PhaseTask,
    Schedule,
    SpatialRank,
    Spill,
    Tile,
)
from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from einsum_cascade.shapes import complete_shapes
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import builtin_names
from einsum_cascade.yaml.source import read_yaml
from mappers.construct.choices import candidates, choose
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from workloads import load

MACHINE = Architecture.load("fusemax")


def read(text: str) -> Mapping:
    return build_mapping(read_yaml(Source("written.yaml", text)))


def written(mapping: Mapping) -> str:
    """The text, after it was read as YAML 1.2, as YAML 1.1 and, from JSON, as a mapping again."""
    text, plain = mapping_text(mapping), {"mapping": mapping_dict(mapping)}
    expected = replace(mapping, chosen=())
    assert read(text) == expected
    assert yaml.safe_load(text) == plain
    for indent in (None, 2):
        assert read(json.dumps(plain, indent=indent)) == expected
    return text


# ------------------------------------------------------------------------- mappings there are


@pytest.mark.parametrize("name", some(builtin_names("mappings"), 3))
def test_built_in_mappings(name: str) -> None:
    mapping = Mapping.load(name)
    text = written(mapping)
    dumped = yaml.safe_dump({"mapping": mapping_dict(mapping)}, sort_keys=False)
    assert read(dumped) == mapping
    assert max(map(len, text.splitlines())) < 100


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 48, 1))
@pytest.mark.parametrize("size", [left(3), 700])
def test_mappings_made_for_every_cascade(name: str, size: int) -> None:
    program = Cascade.load(name).program
    alone = [r.name for r in program.ranks if not (r.family or r.like or r.shape)]
    shapes, _ = complete_shapes(program, dict.fromkeys((*program.parallel, *alone), size))
    text = written(einsum_by_einsum(program, MACHINE, shapes))
    assert max(map(len, text.splitlines())) < 100


@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("fusemax-binding", "fusemax"),
        ("fusemax-causal", "fusemax"),
        ("fusemax-cascade", "flat"),
        ("unfused", "flat"),
        ("flat", "flat"),
    ],
)
def test_bound_mappings(name: str, on: str) -> None:
    """Choices are made and tiles have their sizes; the same machine runs it the same way."""
    mapping, machine = Mapping.load(name), Architecture.load(on)
    program = Cascade.load(mapping.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    shapes = load("bert-base", seq_len=1024).shapes_for(ranks)
    lowered = bind(program, mapping, machine, shapes, choose=choose)
    text = written(lowered.mapping)
    assert text.startswith("# Chosen by the objective: ") == bool(mapping.choices)
    assert all(f"{name} {what}" in text for name, what in lowered.mapping.chosen)

    bounds = lowered.tiling.bounds
    sized = replace(
        lowered.mapping,
        tiles=tuple(replace(t, size=bounds[t.member]) for t in lowered.mapping.tiles),
    )
    again = bind(program, read(written(sized)), machine, shapes)
    assert again.nest == lowered.nest
    assert again.tiling.bounds == bounds


def test_every_combination_of_choices() -> None:
    """Tiles that cases add join those of their rank; the objective goes with the choices."""
    for candidate in candidates(Mapping.load("flat"))[::7]:
        assert candidate.mapping.chosen == candidate.chosen
        assert read(mapping_text(candidate.mapping)) == replace(candidate.mapping, chosen=())


@pytest.mark.parametrize("seed", range(50))
def test_random_mappings_of_random_cascades(seed: int) -> None:
    """Nests that the lowering takes; the cascade is a file, here, so its name is another."""
    written(replace(varied_case(seed).mapping, cascade="attention-3pass"))


def test_a_cascade_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is from the working folder, where the text belongs; an absolute one is the same."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my cascades"
    folder.mkdir()
    (folder / "on.yaml").write_text(Cascade.load("attention-1pass").text(), encoding="utf-8")
    for path in ("my cascades/on.yaml", str(folder / "on.yaml")):
        written(replace(Mapping.load("fusemax-binding"), cascade=path))


# -------------------------------------------------------------------- whatever a field can hold

MISREAD = ("on", "No", "null", "~", "true", "1e3", "1_0", "0x1f", "12", "1.5", ".inf", "2020-01-01")
"""Texts that YAML 1.1 or 1.2 takes for something else."""

IDENTIFIERS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True) | st.sampled_from(
    ("on", "No", "null", "true", "Y")
)
NAMES = IDENTIFIERS | st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,30}", fullmatch=True)
RANKS = st.from_regex(r"[A-Z][A-Z0-9_]{0,3}", fullmatch=True) | st.sampled_from(
    ("ON", "NO", "YES", "NULL", "TRUE", "Y", "N")
)
CHARACTERS = st.characters(max_codepoint=0x2FFF) | st.sampled_from("\"'\\:#,[]{}&*!|>%@`-? \n\t")
WORDS = NAMES | st.sampled_from(MISREAD) | st.text(CHARACTERS, max_size=12)
DIMENSIONS = st.builds(DimensionRef, array=NAMES, dimension=NAMES)
COUNTS = st.integers(1, 10**15)
SIZES = (
    COUNTS
    | DIMENSIONS
    | st.builds(MinimumSize, sizes=st.lists(COUNTS | DIMENSIONS, min_size=1, max_size=5).map(tuple))
    | st.sampled_from(("fit", "whole", "whole or one", "even"))
)
FACTORS = st.lists(WORDS | COUNTS, min_size=1, max_size=4).map(tuple)
SMALL = st.integers(0, 1000)


def some(of: st.SearchStrategy[Any], least: int = 0, most: int = 4) -> st.SearchStrategy[Any]:
    """Different things."""
    return st.lists(of, min_size=least, max_size=most, unique=True).map(tuple)


def pairs(
    names: st.SearchStrategy[str], values: st.SearchStrategy[Any], least: int = 0
) -> st.SearchStrategy[Any]:
    """Values of different names, in any order."""
    named = st.dictionaries(names, values, min_size=least, max_size=4)
    return named.map(lambda found: tuple(found.items()))


@st.composite
def tiles(draw: st.DrawFn) -> tuple[Tile, ...]:
    members = draw(some(RANKS, most=8))
    ranks = draw(some(RANKS.filter(lambda r: r not in members), least=1))
    of = sorted(draw(st.sampled_from(range(len(ranks)))) for _ in members)
    return tuple(
        Tile(rank=ranks[n], member=member, size=draw(SIZES))
        for n, member in zip(of, members, strict=True)
    )


@st.composite
def nests(draw: st.DrawFn) -> tuple[NestLevel, ...]:
    loops = draw(some(RANKS, most=6))
    levels = draw(some(NAMES, most=3))
    cuts = sorted(draw(st.integers(0, len(loops))) for _ in levels)
    ends = zip([0, *cuts], cuts, strict=False)
    spread = iter(draw(some(RANKS, most=4)))
    parts = st.none() | st.integers(1, 10**6)
    return tuple(
        NestLevel(
            level=level,
            loops=loops[start:end],
            spatial=tuple(
                SpatialRank(
                    instances=instances, rank=rank, parts=draw(parts), balanced=draw(st.booleans())
                )
                for instances in draw(some(NAMES, most=2))
                for rank in islice(spread, draw(st.integers(1, 2)))
            ),
        )
        for level, (start, end) in zip(levels, ends, strict=True)
    )


@st.composite
def einsum_mappings(
    draw: st.DrawFn, name: str, shared: tuple[str, ...], *, patch: bool = False
) -> EinsumMapping:
    outside = draw(some(st.sampled_from(shared))) if shared else ()
    own = RANKS.filter(lambda r: r in outside or r not in shared)
    ranks = list(draw(some(own, most=8)))

    def few() -> tuple[str, ...]:
        count = draw(st.integers(0, 3))
        taken, ranks[:] = tuple(ranks[:count]), ranks[count:]
        return taken

    spatial = tuple((dimension, few()) for dimension in draw(some(NAMES, most=2)))
    levels = [""] if draw(st.booleans()) else draw(some(NAMES | st.just(""), most=3))
    loops = [(level, few()) for level in levels]
    return EinsumMapping(
        einsum=name,
        array=draw(NAMES),
        spatial=spatial,
        nest=tuple(NestLevel(level=level, loops=found) for level, found in loops if found),
        outside=outside,
        bypass=draw(pairs(NAMES, some(WORDS))),
    )


@st.composite
def patches(draw: st.DrawFn, name: str) -> EinsumPatch:
    whole = draw(einsum_mappings(name, ()))
    fields = ("array", "spatial", "loops", "outside", "bypass")
    given = draw(st.frozensets(st.sampled_from(fields)))
    bare = EinsumMapping(einsum=name, array="")
    kept = {("nest" if f == "loops" else f) for f in given}
    return EinsumPatch(mapping=replace(bare, **{f: getattr(whole, f) for f in kept}), given=given)


@st.composite
def schedules(draw: st.DrawFn, names: tuple[str, ...]) -> Schedule:
    kind = draw(st.sampled_from(("sequential", "phases", "pipelined")))
    if kind == "pipelined":
        return Schedule(kind=kind, lookahead=draw(st.just("fit") | COUNTS))
    if kind == "sequential" and draw(st.booleans()):
        return Schedule(kind=kind)
    shifts = st.integers(-9999, 9999) if kind == "phases" else st.just(0)
    tasks = [PhaseTask(einsum=n, shift=draw(shifts)) for n in draw(st.permutations(names))]
    ends = sorted(draw(st.sets(st.integers(1, len(tasks)))) | {len(tasks)})
    groups = (tuple(tasks[a:b]) for a, b in zip([0, *ends], ends, strict=False))
    exposes = draw(st.none() | some(st.sampled_from(names))) if kind == "phases" else None
    return Schedule(kind=kind, groups=tuple(groups), exposes=exposes)


KEEPS = pairs(NAMES, some(WORDS)).map(
    lambda found: tuple(Keep(level=a, tensors=b) for a, b in found)
)
SPILLS = st.builds(
    Spill, level=st.just("") | NAMES, copies=pairs(WORDS, SMALL), staged=pairs(WORDS, FACTORS)
)
OBJECTIVES = st.builds(
    ChoiceObjective,
    latency_of=some(WORDS),
    start_cycles=pairs(WORDS, SMALL),
    first_tiles=pairs(WORDS, FACTORS),
)


@st.composite
def cases(draw: st.DrawFn, choices: tuple[Choice, ...]) -> Case:
    known = st.sampled_from(choices)
    asked = draw(st.lists(known, min_size=1, unique=True))
    names = draw(some(WORDS, most=3))
    return Case(
        when=tuple((c.name, draw(some(st.sampled_from(c.alternatives)))) for c in asked),
        tiles=draw(tiles()),
        nest=draw(nests()),
        einsums=tuple(draw(patches(n)) for n in names),
        keep=draw(KEEPS),
        spill=draw(st.none() | SPILLS),
        objective=draw(st.none() | OBJECTIVES),
    )


@st.composite
def open_choices(draw: st.DrawFn) -> dict[str, Any]:
    """Choices all of whose alternatives some case asks about, and what they go by."""
    found = draw(pairs(NAMES, some(WORDS, least=1)))
    if not found:
        return {}
    choices = tuple(Choice(name=name, alternatives=these) for name, these in found)
    asked = tuple(Case(when=((c.name, c.alternatives),)) for c in choices)
    return {
        "choices": choices,
        "cases": (*asked, *draw(st.lists(cases(choices), max_size=3))),
        "objective": draw(OBJECTIVES),
    }


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    """Any mapping that a file can hold."""
    names = draw(some(IDENTIFIERS, least=1, most=5))
    schedule = draw(schedules(names))
    if not schedule.groups:
        names = draw(some(WORDS, least=1))
    nest = draw(nests())
    shared = tuple(r for level in nest for r in level.loops)
    return Mapping(
        name=draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,20}", fullmatch=True)),
        cascade=draw(st.sampled_from(builtin_names("cascades"))),
        tiles=draw(tiles()),
        nest=nest,
        einsums=tuple(draw(einsum_mappings(n, shared)) for n in names),
        keep=draw(KEEPS),
        schedule=schedule,
        spill=draw(st.none() | SPILLS),
        chosen=draw(pairs(NAMES, WORDS)),
        **draw(open_choices()),
    )


@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(mappings())
def test_whatever_a_mapping_holds(mapping: Mapping) -> None:
    written(mapping)


@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(mappings(), st.data())
def test_every_field_is_written(mapping: Mapping, data: st.DataObject) -> None:
    """Mappings that differ have texts that differ."""
    other = data.draw(mappings())
    text = mapping_text(mapping)
    fields = ("tiles", "nest", "einsums", "keep", "schedule", "spill", "choices", "cases")
    for field in ("name", "cascade", *fields, "objective"):
        changed = replace(mapping, **{field: getattr(other, field)})
        assert (mapping_text(changed) == text) == (changed == mapping)


# --------------------------------------------------------------------------- what no file holds


def test_tiles_of_a_rank_stand_together() -> None:
    mapping = Mapping.load("fusemax-binding")
    m, *p = mapping.tiles
    with pytest.raises(SpecError, match="one place for the tiles of 'P', not two"):
        mapping_text(replace(mapping, tiles=(p[0], m, p[1])))


@pytest.mark.parametrize(
    ("field", "what"),
    [("tiles", "tile 'M0'"), ("einsums", "Einsum 'BQK'"), ("keep", "what is kept in 'outer'")],
)
def test_what_stands_twice_is_refused(field: str, what: str) -> None:
    """Never written as if it stood there once."""
    mapping = Mapping.load("fusemax-binding")
    first, *rest = getattr(mapping, field)
    with pytest.raises(SpecError, match=f"one place for {what}, not two"):
        mapping_dict(replace(mapping, **{field: (first, first, *rest)}))


# ---------------------------------------------------------------------------- how it looks

READABLE = """\
# Chosen by the objective: rows two, "1e3" "on".
mapping:
  name: "1e3"
  cascade: attention-3pass
  partition: {M: {M0: "min(matrix.rows, 64)"}, P: {P0: matrix.columns, P1: whole or one}}
  nest:
    - {level: outer, loops: [B, H, P2, P1, P0]}
  einsums:
    QK:
      array: matrix
      spatial: {columns: P0, rows: M0}
      loops: {outer: M1, nearest: [P1, E]}
      outside: [P1, P0]
      bypass: {nearest: QK}
    GM:   {array: vector, spatial: {lanes: M0}, loops: [M1]}
    "on": {array: vector}
  keep:
    outer: [tensor0, tensor1, tensor2, tensor3, tensor4, tensor5, tensor6, tensor7, tensor8,
            tensor9, tensor10, tensor11, tensor12, tensor13]
    vector: ["null"]
  schedule: {kind: phases, groups: [[QK, GM@-1], ["on"]], exposes: []}
  spill: {level: nearest, copies: {QK: 0}, staged: {Q: [2, P0, E]}}
"""


def test_the_text_is_for_people() -> None:
    base = Mapping.load("unfused")
    qk, gm, *_ = base.einsums
    size = MinimumSize(sizes=(DimensionRef(array="matrix", dimension="rows"), 64))
    many = tuple(f"tensor{n}" for n in range(14))
    tasks = (PhaseTask(einsum="QK"), PhaseTask(einsum="GM", shift=-1)), (PhaseTask(einsum="on"),)
    mapping = replace(
        base,
        name="1e3",
        tiles=(
            Tile(rank="M", member="M0", size=size),
            base.tiles[1],
            Tile(rank="P", member="P1", size="whole or one"),
        ),
        einsums=(qk, gm, EinsumMapping(einsum="on", array="vector")),
        keep=(Keep(level="outer", tensors=many), Keep(level="vector", tensors=("null",))),
        schedule=Schedule(kind="phases", groups=tasks, exposes=()),
        spill=Spill(level="nearest", copies=(("QK", 0),), staged=(("Q", (2, "P0", "E")),)),
        chosen=(("rows", "two"), ("1e3", "on")),
    )
    assert written(mapping) == READABLE


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_written_file_runs(suffix: str, tmp_path: Path) -> None:
    mapping = Mapping.load("fusemax-binding")
    path = tmp_path / f"found.{suffix}"
    text = json.dumps({"mapping": mapping_dict(mapping)})
    path.write_text(text if suffix == "json" else mapping_text(mapping), encoding="utf-8")
    arguments = ("simulate", "bert-base", "fusemax", "--json", "--mapping")
    found, expected = run(*arguments, str(path)), run(*arguments, "fusemax-binding")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout) == json.loads(expected.stdout)
