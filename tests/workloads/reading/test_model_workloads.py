"""Workloads from models: which layer, which tokens, how shared heads are computed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_cases import DEEPSEEK_V3, LLAMA, MAMBA2, MINIMAX, PUBLISHED, T5, model_of

from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from workloads import load
from workloads.attention.phases import Phase

CAUSAL = "grouped-query-attention-causal"
RANKS = ("B", "H", "E", "F", "P", "M")
MODELS = (
    "llama-3-8b",
    "llama-3-70b",
    "qwen3-8b",
    "qwen3-30b-a3b",
    "mistral-7b",
    "gemma-2-9b",
    "deepseek-v3",
    "minimax-text-01",
    "mamba-2-2.7b",
    "transnormerllm-15b",
    "vit-b-16",
)


def write(folder: Path, fields: dict[str, Any], name: str = "config.json") -> str:
    path = folder / name
    path.write_text(json.dumps(fields, indent=1), encoding="utf-8")
    return str(path)


def shapes(name: str, ranks: tuple[str, ...] = RANKS, **fields: Any) -> dict[str, int]:
    return load(name, **fields).shapes_for(ranks)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "mamba-2-2.7b"])
def test_shipped_models_have_their_published_size_and_a_source(name: str) -> None:
    work = load(name)
    known = {case.name: case.parameters for case in PUBLISHED} | {"vit-b-16": 85_798_656}
    assert work.model is not None
    assert work.name == name
    if name == "transnormerllm-15b":
        assert work.model.parameters == pytest.approx(15e9, rel=0.01)
        assert "unverified" in work.source
    else:
        assert work.model.parameters == known[name]
        assert "arXiv" in work.source


def test_another_cascade_may_be_named() -> None:
    assert load("mamba-2-2.7b").cascade == "ssd-chunked-prefill"
    work = load("mamba-2-2.7b", cascade="lightning-attention", seq_len=100)
    assert work.model is not None
    assert work.model.parameters == 2_702_599_680
    # C and B are queries and keys 128 wide, X the values, 64 wide.
    assert work.shapes_for(RANKS) == {"B": 1, "H": 80, "E": 128, "F": 64, "P": 100, "M": 100}


def test_a_configuration_is_a_workload(tmp_path: Path) -> None:
    path = write(tmp_path, LLAMA)
    work = load(path, batch=2, seq_len="1K")
    assert (work.name, work.cascade, work.phase) == (path, CAUSAL, "prefill")
    assert (work.model_width, work.ffn_width) == (4096, 14336)
    assert dict(work.shapes) == {"B": 2, "H": 32, "E": 128, "F": 128, "P": 1024, "M": 1024}
    assert load(path).shape("P") == 4096
    assert "seq_len was not given: 4096 tokens are taken" in load(path).notes
    # The same text is YAML, may stand inside a workload, and may be named by one.
    yaml = tmp_path / "same.yaml"
    yaml.write_text((tmp_path / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert load(str(yaml)).shapes == load(path).shapes
    inside = write(tmp_path, {"workload": {"config": LLAMA, "seq_len": 7}}, "in.json")
    assert load(inside).shape("M") == 7
    beside = write(tmp_path, {"workload": {"config": "config.json", "seq_len": 7}}, "by.json")
    assert load(beside).model == load(inside).model
    over = write(tmp_path, {"workload": {"model": "./config.json", "seq_len": 7}}, "over.json")
    assert load(over).model == load(inside).model


def test_phases() -> None:
    assert shapes("llama-3-70b", seq_len=100)["M"] == 100
    decode = load("llama-3-70b", phase="decode", cached_len=8191, batch=3)
    assert dict(decode.shapes) == {"B": 3, "H": 64, "E": 128, "F": 128, "P": 1, "M": 8192}
    chunk = load("llama-3-70b", phase="chunked-prefill", cached_len=1000, seq_len=24)
    assert (chunk.shape("P"), chunk.shape("M")) == (24, 1024)
    start = load("llama-3-70b", phase="chunked-prefill", cached_len=0, seq_len=24)
    assert (start.shape("P"), start.shape("M")) == (24, 24)
    # Phases are not only for models.
    xl = load("trxl-wt103", phase="decode", cached_len=9)
    assert (xl.shape("P"), xl.shape("M"), xl.shape("H")) == (1, 10, 16)
    assert load("trxl-wt103", phase="decode", cached_len=9, M=4).shape("M") == 4


@pytest.mark.parametrize("phase", ["decode", "chunked-prefill"])
def test_an_encoder_has_no_cache(phase: Phase, tmp_path: Path) -> None:
    """It sees all tokens at once: one after a cache would be another model's."""
    bert = write(tmp_path, next(c.fields for c in PUBLISHED if c.name == "bert-base-uncased"))
    for name in ("bert-base", "t5-small", "xlm", "vit-b-16", bert):
        with pytest.raises(SpecError, match=f"an encoder computes all tokens .*'{phase}'") as no:
            load(name, phase=phase, cached_len=9)
        assert "hint: phase=prefill" in str(no.value)
    # A decoder that attends to an encoder has one, and so has BERT as a decoder.
    t5 = write(tmp_path, T5, "t5.json")
    assert load(t5, phase=phase, cached_len=9).cached_len == 9
    with pytest.raises(SpecError, match="an encoder computes all tokens"):
        load(t5, phase=phase, cached_len=9, layer=0)
    decoder = load(bert, "config.is_decoder=true", phase=phase, cached_len=9)
    assert decoder.cached_len == 9


@pytest.mark.parametrize(
    ("name", "setting", "wanted"),
    [
        ("bert-base", "layer=3", "bert-base has no 'config', this changes nothing"),
        ("bert-base", "layers=3", "scope 'attention' runs attention alone"),
    ],
)
def test_settings_that_nothing_reads_are_refused(name: str, setting: str, wanted: str) -> None:
    with pytest.raises(SpecError, match=wanted):
        load(name, setting)


def test_one_layer_is_as_it_is_however_many_there_are() -> None:
    with pytest.raises(SpecError, match="scope 'block' runs one layer, this changes nothing"):
        load("bert-base", ["scope=block", "layers=3"])
    assert load("bert-base", ["scope=model", "layers=3"]).layers == 3
    with pytest.raises(SpecError, match="scope 'model' runs all layers, this changes nothing"):
        load("llama-3-8b", ["scope=model", "layer=3"])
    assert load("llama-3-8b", ["scope=block", "layer=3"]).layer == 3


def test_a_phase_lies_over_the_lengths_of_a_file(tmp_path: Path) -> None:
    fields = {"model": "llama-3-8b", "phase": "decode", "cached_len": 5}
    path = write(tmp_path, {"workload": fields})
    assert load(path).shape("M") == 6
    assert load(path, cached_len=7).shape("M") == 8
    again = load(path, phase="prefill", seq_len=3)
    assert (again.shape("P"), again.shape("M")) == (3, 3)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"phase": "decode"}, "phase: 'decode' needs cached_len"),
        ({"phase": "chunked-prefill"}, "phase: 'chunked-prefill' needs cached_len"),
        ({"cached_len": 3}, "cached_len: a prefill starts from an empty cache"),
        ({"phase": "decode", "cached_len": 3, "seq_len": 3}, "seq_len: decoding computes one"),
        ({"phase": "decoding", "cached_len": 3}, "did you mean 'decode'?"),
        ({"phase": "decode", "cached_len": -1}, "at least 0, got -1"),
        ({"phase": "decode", "cached_len": 2.5}, "expected a whole number, got 2.5"),
        ({"phase": 3}, "phase: expected 'prefill'"),
        ({"layer": 32}, "layer: the model's layers are 0 to 31, got 32"),
        ({"layer": -1}, "layer: expected a whole number, at least 0"),
        ({"H": 30}, "H: 30 query heads are not groups of 4"),
    ],
)
def test_what_does_not_fit(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        load("llama-3-8b", **fields)


def test_layers_are_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAX)
    assert (load(path).layer, load(path).cascade) == (0, "lightning-attention-2-prefill")
    softmax = load(path, layer=7)
    assert (softmax.cascade, softmax.shapes_for(RANKS)["H"]) == (CAUSAL, 8)
    assert load(write(tmp_path, T5)).layer == 0
    mostly = MINIMAX | {"attn_type_list": [0] + [1] * 79}
    assert load(write(tmp_path, mostly)).layer == 1


RETNET = {"model_type": "retnet", "hidden_size": 64, "num_hidden_layers": 2, "num_heads": 2}
MAMBA = {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("fields", "chunks", "decode"),
    [
        (MINIMAX, "lightning-attention-2", "lightning-attention-step"),
        (RETNET, "retnet-chunked", "retnet-step"),
        (MAMBA2, "ssd-chunked", "ssd-step"),
        (MAMBA, "mamba-s6", "mamba-s6-step"),
    ],
)
def test_recurrent_layers_by_phase(
    tmp_path: Path, fields: dict[str, Any], chunks: str, decode: str
) -> None:
    path = write(tmp_path, fields)
    whole = load(path, seq_len=24)
    assert (whole.cascade, whole.shape("P")) == (f"{chunks}-prefill", 24)
    step = load(path, phase="decode", cached_len=1000)
    assert step.cascade == decode
    assert any("is read and written" in note for note in step.notes)
    piece = load(path, phase="chunked-prefill", cached_len=1000, seq_len=24)
    # The state stands for the thousand tokens before; other cascades would see their keys.
    assert (piece.cascade, piece.shape("M")) == (f"{chunks}-resumed", 1024)
    # Chunks that leave no state behind say so, and those that do have nothing to say.
    for work, said in ((whole, "is not written at the end"), (piece, "is neither read nor")):
        (part,) = work.parts
        assert part.left_out_by(Cascade.load(work.cascade).program) == ()
        (note,) = part.left_out_by(Cascade.load(chunks).program)
        assert said in note
    assert "M" not in {r.name for r in Cascade.load(piece.cascade).program.ranks}
    for work in (whole, step, piece):
        program = Cascade.load(work.cascade).program
        own = {r.name for r in program.ranks if r.family is None and r.like is None}
        assert own | set(program.parallel) == set(work.shapes_for([*own, *program.parallel]))


@pytest.mark.parametrize("phase", ["prefill", "chunked-prefill", "decode"])
def test_heads_of_a_group_share_b_and_c(phase: str) -> None:
    work = load("mamba-2-2.7b", phase=phase, cached_len=0 if phase == "prefill" else 9)
    wanted = {"B": 1, "H": 80, "S": 80, "E": 128, "F": 64}
    assert work.shapes_for(("B", "H", "G", "S", "E", "F")) == wanted
    # Their values are their own: in a cascade without groups they are heads, and no rows.
    assert work.shapes_for(RANKS)["H"] == 80
    assert work.parts[0].folded_for(RANKS) == 1
    # Of the model's own chunks nothing is left, where there are any.
    said = "chunks are as long as the mapping makes them, not 256 tokens" in " ".join(work.notes)
    assert said == (phase != "decode")


def test_heads_that_share_keys_are_rows_of_one() -> None:
    work = load("llama-3-8b", seq_len=100)
    assert work.shapes_for(RANKS) == {"B": 1, "H": 8, "E": 128, "F": 128, "P": 400, "M": 100}
    (note,) = (n for n in work.parts[0].notes_for(RANKS) if "share" in n)
    assert "H = 32 / 4, P = 4 x 100" in note
    # A cascade with ranks for such heads is given them: H cut into G groups of S.
    assert work.shapes_for((*RANKS, "G", "S")) == {
        "B": 1,
        "H": 32,
        "S": 4,
        "E": 128,
        "F": 128,
        "P": 100,
        "M": 100,
    }
    assert work.parts[0].folded_for((*RANKS, "G", "S")) == 1
    # Without a rank for all of them together, it is given both.
    apart = ("B", "G", "S", "E", "F", "P", "M")
    found = work.shapes_for(apart)
    assert (found["G"], found["S"], found["P"]) == (8, 4, 100)
    assert [load("llama-3-8b", H=8).shapes_for(apart)[r] for r in "GS"] == [2, 4]
    assert [load("bert-base").shapes_for(apart)[r] for r in "GS"] == [12, 1]
    assert [load("bert-base", G=3).shapes_for(apart)[r] for r in "GS"] == [3, 4]
    assert [load("bert-base", S=3).shapes_for(apart)[r] for r in "GS"] == [4, 3]
    for wrong in ({"G": 5}, {"S": 5}, {"G": 4, "S": 4}, {"S": 13}):
        with pytest.raises(SpecError, match="do not make up H = 12 query heads"):
            load("bert-base", **wrong).shapes_for(apart)
    # Part of the heads, as on one of several machines.
    assert shapes("llama-3-8b", H=8, P=3)["H"] == 2
    assert shapes("llama-3-8b", H=8, P=3)["P"] == 12
    assert shapes("bert-base")["H"] == 12
    assert load("bert-base").parts[0].notes_for(RANKS) == ()


def test_folding_computes_the_same_numbers() -> None:
    """Against attention with keys and values repeated for every query head."""
    batch, heads, kv_heads, tokens, keys, width = 2, 6, 2, 3, 8, 4
    rng = np.random.default_rng(0)
    q = rng.normal(size=(batch, heads, tokens, width))
    k, v = rng.normal(size=(2, batch, kv_heads, keys, width))
    attention, group = Cascade.load("attention-1pass"), heads // kv_heads
    repeated = {"Q": q, "K": k.repeat(group, axis=1), "V": v.repeat(group, axis=1)}
    whole = attention.evaluate(repeated, M0=4)["AV"]
    rows = q.reshape(batch, kv_heads, group * tokens, width)
    folded = attention.evaluate({"Q": rows, "K": k, "V": v}, M0=4)["AV"]
    np.testing.assert_allclose(np.reshape(folded, whole.shape), whole, rtol=1e-13)


def test_an_image_has_its_own_length() -> None:
    assert (load("vit-b-16").shape("P"), load("vit-b-16").batch) == (197, 64)
    larger = load("vit-b-16", seq_len=577)
    assert larger.shape("M") == 577


def test_fields_of_the_model_are_changed_by_a_setting() -> None:
    from einsum_cascade.yaml.edit import parse_setting

    def changed(*texts: str) -> Any:
        return load("llama-3-8b", [parse_setting(text) for text in texts])

    assert changed("config.num_key_value_heads=1").shapes_for(RANKS)["H"] == 1
    assert changed("config.num_hidden_layers=3").model.layer_count == 3
    with pytest.raises(SpecError, match=r"--set config.num_attention_heads=33: "):
        changed("config.num_attention_heads=33")
    with pytest.raises(SpecError, match="did you mean 'config'"):
        changed("confg.num_hidden_layers=3")


def test_another_model_takes_nothing_of_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, LLAMA)
    path = write(tmp_path, {"workload": {"model": "bert-base", "config": "config.json"}}, "w.json")
    work = load(path)
    assert (work.shape("H"), work.shape("E"), work.model_width) == (32, 128, 4096)
    assert work.batch == 64, "how much is computed is no part of a model"


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ("none.json", "there is no file"),
        ([1], "expected the fields of a model or a file, got a list"),
        (3, "expected the fields of a model or a file, got the number 3"),
        (None, "expected the fields of a model or a file, got nothing"),
        ({}, "the field 'model_type' is missing"),
        ("w.json", "is no model's configuration"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, config: Any, wanted: str) -> None:
    path = write(tmp_path, {"workload": {"config": config}}, "w.json")
    with pytest.raises(SpecError, match=wanted) as caught:
        load(path)
    assert re.search(r"w\.json:\d+:\d+: ", str(caught.value))


def test_models_of_one_shape_everywhere() -> None:
    """The model in a workload is the one that its fields alone give."""
    assert load("deepseek-v3").model is not None
    fields = model_of(DEEPSEEK_V3)
    shipped = load("deepseek-v3", "config.quantization_config=null").model
    assert shipped is not None
    assert (shipped.runs, shipped.width) == (fields.runs, fields.width)
    assert model_of(MAMBA2).layer_count == 64


def test_sizes_that_together_are_too_large(tmp_path: Path) -> None:
    """Each of them may be as large, what they make may not."""
    vit = {
        "model_type": "vit",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "image_size": 10**15,
        "patch_size": 1,
    }
    with pytest.raises(SpecError, match=r"image_size: .* are 1e\+30 patches of 1, more than 1e15"):
        load(write(tmp_path, vit))
    with pytest.raises(SpecError, match=r"P: these sizes together make 4e\+15"):
        shapes("llama-3-8b", seq_len=10**15)
    assert load("llama-3-8b", phase="decode", cached_len=10**15 - 1).shape("M") == 10**15
    with pytest.raises(SpecError, match="M: these sizes"):
        load("llama-3-8b", phase="decode", cached_len=10**15)


def test_a_json_file_that_is_no_workload(tmp_path: Path) -> None:
    path = write(tmp_path, {"d_model": 2560, "n_layer": 64})
    with pytest.raises(
        SpecError, match=r"config\.json:1:1: .* a model's fields with its 'model_type'"
    ):
        load(path)


def test_scopes_of_a_decoding_model() -> None:
    work = load("llama-3-8b", scope="model", phase="decode", cached_len=99, batch=4)
    parts = {part.name: part for part in work.parts}
    head = parts.pop("output-head")
    assert (head.times, dict(head.shapes)) == (1, {"N": 4, "D": 4096, "J": 128256})
    assert {part.times for part in parts.values()} == {32}
    assert work.tokens == 4
    assert dict(parts["key-projection"].shapes) == {"N": 4, "D": 4096, "J": 1024}
    assert parts["attention"].shapes_for(RANKS)["M"] == 100
    assert parts["attention"].shapes_for(RANKS)["P"] == 4
    assert parts["ffn-up"].cascade == "linear-layer-swiglu"
    said = "the output head for the last token of each sequence; embeddings are looked up"
    assert f"all 32 layers; {said}" in work.left_out
    assert not any("alone" in note for part in work.parts for note in part.notes)
    assert any("alone: 32 of the model's 32 layers" in n for n in load("llama-3-8b").parts[0].notes)


def test_a_stack_of_two_kinds_of_layers() -> None:
    work = load("gemma-2-9b", scope="model", phase="decode", cached_len=9999)
    grouped = "grouped-query-attention-softcap"
    keys = [(p.times, dict(p.shapes)["M"]) for p in work.parts if p.cascade == grouped]
    assert keys == [(21, 4096), (21, 10000)]
    prefill = load("gemma-2-9b", scope="model", seq_len=9999).parts
    masked = [(p.cascade, dict(p.shapes).get("W")) for p in prefill if "grouped" in p.cascade]
    assert masked == [(f"{grouped}-window", 4096), (grouped, None)]
    notes = [p.left_out_by(Cascade.load("attention-1pass").program) for p in prefill]
    # The mask, and the cap.
    assert [len(n) for n in notes if n] == [2, 2]
    assert "the gate's activation function, gelu, is counted as SiLU" in work.left_out
    with pytest.raises(SpecError, match="M: given by hand for one kind of layer"):
        assert load("gemma-2-9b", scope="model", M=5000).parts


@pytest.mark.parametrize(
    ("name", "fields", "wanted"),
    [
        ("llama-3-8b", {"layers": 3}, "layers: the model's configuration says this"),
        ("llama-3-8b", {"ffn_width": 3}, "ffn_width: the model's configuration says this"),
    ],
)
def test_what_scopes_do_not_have(name: str, fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        assert load(name, **fields).parts


@pytest.mark.parametrize(
    ("config", "trained"),
    [
        ({"max_position_embeddings": 4096}, "4,096"),
        # As meta-llama/Llama-3.1-8B: the larger of both.
        ({"max_position_embeddings": 4096, "rope_scaling": {"factor": 8.0}}, "4,096"),
        (
            {
                "max_position_embeddings": 1024,
                "rope_scaling": {"original_max_position_embeddings": 512, "factor": 8.0},
            },
            "4,096",
        ),
    ],
)
def test_lengths_beyond_those_of_training_are_noted(
    tmp_path: Path, config: dict[str, Any], trained: str
) -> None:
    path = write(tmp_path, LLAMA | config)
    decode = {"phase": "decode", "cached_len": 4096}
    text = f"tokens are beyond the trained length, {trained}"
    for beyond in (
        {"seq_len": 4097},
        decode,
        {"phase": "request", "prompt_len": 4096, "answer_len": 1},
    ):
        assert f"4,097 {text}" in load(path, **beyond).parts[0].notes
        whole = load(path, scope="block", **beyond)
        assert any(f"4,097 {text}" in part.notes for part in whole.parts)
    for within in ({"seq_len": 4096}, decode | {"cached_len": 4095}):
        assert not any(text in note for note in load(path, **within).parts[0].notes)


def test_shipped_models_know_the_lengths_of_their_training() -> None:
    text = "9,001 tokens are beyond the trained length, 8,192"
    assert text in load("llama-3-8b", seq_len=9001).parts[0].notes
    assert not any("beyond" in note for note in load("kimi-k2", seq_len=9001).parts[0].notes)
