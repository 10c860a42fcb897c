"""Notes of results: their parts and kinds, and shapes of the workload and of one core."""

from __future__ import annotations

import pickle
from math import prod

import pytest

import archsim
from archsim.result.note import Note
from archsim.result.report import report
from einsum_cascade.errors import SpecError


def test_notes_name_the_parts_that_they_are_about() -> None:
    result = archsim.simulate("llama-3-8b", "fusemax", scope="block", seq_len=256)
    names = {p.name for p in result.parts}
    notes = result.to_dict()["notes"]
    assert all([*note] == ["part", "kind", "text"] for note in notes)
    assert {note["kind"] for note in notes} >= {"scope", "mask", "price"}
    about = [{*note["part"].split(", ")} for note in notes if note["part"]]
    assert about
    assert all(parts < names for parts in about)
    texts = [note["text"] for note in notes]
    assert len({*texts}) == len(texts)
    # What holds for all parts names none.
    assert {n["part"] for n in notes if n["kind"] == "price"} == {""}
    masked = next(n for n in result.notes if n.kind == "mask")
    assert f"attention: {masked}" in report(result).notes


def test_a_note_is_its_text_and_survives_a_copy() -> None:
    note = Note("times are rounded", "timing", "attention")
    again = pickle.loads(pickle.dumps(note))
    assert again == note == "times are rounded"
    assert (again.kind, again.part) == ("timing", "attention")


def test_the_shape_is_the_workloads_and_one_cores_tile_has_a_line_of_its_own() -> None:
    machine = archsim.Architecture.load("tpu-v4i-board")
    result = archsim.simulate("bert-base", machine, "einsum-by-einsum", seq_len=256, batch=32)
    assert dict(result.shape)["B"] == 32
    assert dict(result.shape)["H"] == 12
    tile = dict(result.core_tile)
    assert 32 * 12 % (tile["B"] * tile["H"]) == 0
    assert prod(tile[rank] for rank in "BHPM") < 32 * 12 * 256 * 256
    assert result.to_dict()["core_tile"] == tile
    assert f"one core: B={tile['B']}" in report(result).subtitle
    alone = archsim.simulate("bert-base", "fusemax", seq_len=1024)
    assert "core_tile" not in alone.to_dict()
    assert "one core" not in report(alone).subtitle


def test_a_mapping_of_another_computation_is_refused_unless_wanted() -> None:
    with pytest.raises(SpecError, match="does not compute what") as refused:
        archsim.simulate("llama-3-8b", "fusemax", mapping="gqa-decode", seq_len=256)
    assert "--approximate" in str(refused.value)
    wanted = archsim.simulate(
        "llama-3-8b", "fusemax", mapping="gqa-decode", seq_len=256, approximate=True
    )
    assert next(n for n in wanted.notes if n.kind == "approximation")
