"""Contradictions that only show once workload, mapping and machine meet."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from places import ROOT

from archsim import Architecture, Mapping, simulate
from archsim.spec.index import mapping_entries
from einsum_cascade.errors import InputError, SpecError
from workloads import load


def test_a_tile_that_workload_and_mapping_size_differently() -> None:
    machine, mapping = Architecture.load("fusemax"), Mapping.load("fusemax-binding")
    agreed = simulate(load("bert-base", seq_len=1024, M0=256), machine, mapping)
    assert ("M0", 256) in agreed.shape
    unsaid = simulate(load("bert-base", seq_len=1024), machine, mapping)
    assert agreed == replace(unsaid, shape=agreed.shape)
    with pytest.raises(InputError, match="the workload sets M0 = 128, this makes it 256"):
        simulate(load("bert-base", seq_len=1024, M0=128), machine, mapping)


def test_a_machine_on_which_nothing_takes_time() -> None:
    machine = Architecture.load("fusemax")
    arrays = tuple(
        replace(
            a,
            dimensions=tuple(replace(d, reduction_latency_cycles=0) for d in a.dimensions),
            operations=tuple(replace(o, cycles=Fraction(0)) for o in a.operations),
        )
        for a in machine.arrays
    )
    memories = tuple(replace(m, bandwidth_bytes_per_s=None) for m in machine.memories)
    with pytest.raises(InputError, match="nothing takes time"):
        simulate(
            load("bert-base", seq_len=16, batch=1, H=1),
            replace(machine, arrays=arrays, memories=memories),
            "fusemax-binding",
        )


def test_a_wrong_entry_does_not_make_its_list_too_short(tmp_path: Path) -> None:
    built_in = Path("specs/architectures/fusemax.yaml")
    text = (ROOT / built_in).read_text(encoding="utf-8")
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace("rows: 256", "rows: -3").replace("depth: 32", "depth: 0"))
    with pytest.raises(InputError) as caught:
        Architecture.load(path)
    assert "got -3" in str(caught.value)
    assert "got 0" in str(caught.value)
    assert "at least one entry" not in str(caught.value)
    path.write_text(text[: text.index("  arrays:")] + "  arrays: []\n")
    with pytest.raises(InputError, match="expected at least one entry, got a list"):
        Architecture.load(path)


def test_einsums_that_end_before_the_next_are_told_how_to_fuse() -> None:
    """A nest that is shared fuses nothing when Einsums run one after the other."""
    machine, work = Architecture.load("flat"), load("bert-base", seq_len=512)
    apart = Mapping.load("flat", ["schedule={kind: sequential}"])
    with pytest.raises(InputError, match=r"QK has run over B, H by then") as no:
        simulate(work, machine, apart)
    assert "or fuse the two: in one group of the schedule" in str(no.value)
    group = "schedule={kind: sequential, groups: [[QK, GM, SN, SD, A, AV]]}"
    assert simulate(work, machine, Mapping.load("flat", [group])).latency_s > 0


def test_a_mapping_for_another_cascade_is_told_apart_from_what_that_lacks() -> None:
    """What lacks the rank is the mapping's cascade, and the mapping's file is named."""
    with pytest.raises(InputError) as no:
        simulate(load("bert-base"), Architecture.load("fusemax"), Mapping.load("linear-layer"))
    first, second, *_ = no.value.problems
    assert re.match(r"\S*specs/mappings/linear-layer\.yaml:\d+:\d+: ", str(first))
    said = "mapping 'linear-layer' is for cascade 'linear-layer', not 'attention-1pass'"
    assert first.message == said
    assert first.hint == "mappings of 'attention-1pass': " + ", ".join(
        entry.name for entry in mapping_entries("attention-1pass")
    )
    assert second.message == "cascade 'linear-layer' has no rank 'H'"
    # One of its own cascade may still lack a rank that was asked for.
    with pytest.raises(InputError, match=r"cascade 'attention-1pass' has no rank 'Z'") as own:
        simulate(load("bert-base", Z=3), Architecture.load("fusemax"))
    assert "is for cascade" not in str(own.value)


def test_a_mapping_for_another_cascade_is_named_where_shapes_are_missing(tmp_path: Path) -> None:
    """What is missing is known once the mapping is bound, and it is the mapping's cascade's."""
    file = tmp_path / "mine.yaml"
    file.write_text("workload: {name: mine, cascade: layer-norm, shape: {N: 256, D: 512}}")
    with pytest.raises(SpecError, match="shapes are missing: 'H'") as no:
        simulate(
            *(load(file), Architecture.load("fusemax"), Mapping.load("projections")),
            approximate=True,
        )
    said = "mapping 'projections' is for cascade 'projections', not 'layer-norm'"
    assert [p.message for p in no.value.problems[:1]] == [said]


def test_a_cascade_is_no_workload_and_the_way_to_one_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("cascade:\n  name: mine\n")
    with pytest.raises(SpecError, match="this is a cascade: what is computed, without") as no:
        load(file)
    assert f"--set cascade={file}" in str(no.value)
    with pytest.raises(SpecError, match="--set cascade=attention-3pass"):
        load("attention-3pass")


@pytest.mark.parametrize(("typed", "meant"), [("1k", "1K"), ("2m", "2M"), ("1kk", ""), ("k", "")])
def test_a_binary_number_in_lower_case_is_told_how_to_write(typed: str, meant: str) -> None:
    with pytest.raises(SpecError, match="expected a whole number such as 4096 or '4K'") as no:
        load("bert-base", f"seq_len={typed}")
    assert no.value.problems[0].hint == (f"did you mean '{meant}'?" if meant else None)


def test_bytes_follow_the_word_and_operations_do_not() -> None:
    wide, narrow = (
        simulate(load("bert-base"), Architecture.load("fusemax", [f"word={bits} bit"]))
        for bits in (16, 8)
    )
    assert narrow.traffic_bytes * 2 == wide.traffic_bytes
    spent, less = dict(wide.energy_by_component), dict(narrow.energy_by_component)
    assert less["DRAM"] * 2 == pytest.approx(spent["DRAM"])
    for part in ("array_2d", "array_1d", "array_2d.registers"):
        assert less[part] == spent[part]
    assert narrow.area_by_component == wide.area_by_component
    # The energies are for numbers of another width, and the result says so.
    said = "words are of 8 bit, but energy and area of operations are those of numbers of 16 or 32"
    assert any(note.startswith(said) for note in narrow.notes)
    assert not any(note.startswith("words are of") for note in wide.notes)


def test_a_mask_that_lets_nothing_through_is_told(tmp_path: Path) -> None:
    own = tmp_path / "none.yaml"
    own.write_text(
        "cascade: none\ntitle: t\nsource: s\nranks: {P: q, M: k, E: e}\n"
        "inputs: {Q: [P, E], K: [M, E]}\noutput: S\n"
        "einsums: |\n  S[p, m] = Q[p, e] * K[m, e] where m < p - 100\n",
        encoding="utf-8",
    )
    work = load("bert-base", cascade=str(own), seq_len=50)
    with pytest.raises(InputError, match="the masks let no point through"):
        simulate(work, Architecture.load("fusemax"))
    assert simulate(load("bert-base", cascade=str(own), seq_len=102), Architecture.load("fusemax"))
