"""The parts of a model's layers: their weights, their tokens, how often they run."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import DEEPSEEK_V3, PUBLISHED, T5

from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.library import builtin_names
from workloads import Part, Workload, load
from workloads.models import Experts, Layer, SelectiveScan
from workloads.parts.model import expected_experts, expert_groups

SHIPPED = tuple(name for name in builtin_names("workloads") if load(name).model is not None)
RETNET = {
    "model_type": "retnet",
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_heads": 8,
    "vocab_size": 32000,
}
CASES = {case.name: case.fields for case in PUBLISHED} | {"retnet-1.3b": RETNET}
PRODUCTS = {"linear-layer-swiglu": 2, "linear-layer-swiglu-clamped": 2}


def of_fields(folder: Path, fields: dict[str, Any], **more: Any) -> Workload:
    path = folder / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return load(str(path), **more)


def weights_of(part: Part) -> int:
    """Of one run: matrices, the taps of a convolution, and what unfolds latents inside."""
    shape = dict(part.shapes)
    if part.cascade.startswith("linear-layer"):
        return PRODUCTS.get(part.cascade, 1) * shape["D"] * shape["J"]
    if part.cascade.startswith("depthwise-convolution"):
        return shape["T"] * shape["C"]
    inside = part.shapes_for(("H", "D", "L", "F"))
    return inside["H"] * inside["L"] * (inside["D"] + inside["F"]) if "mla" in part.cascade else 0


def weights_read(work: Workload) -> int:
    return sum(part.times * weights_of(part) for part in work.parts)


def active(layer: Layer, width: int) -> int:
    """What one token meets of a layer's weights. S6 reads A, one of them, in its scan."""
    ffn, mixer = layer.ffn, layer.mixer
    found = mixer.weights(width)
    if isinstance(mixer, SelectiveScan):
        found -= mixer.inner * mixer.state
    if ffn is not None:
        found += ffn.weights(width)
        if isinstance(ffn, Experts):
            found -= (ffn.experts - ffn.per_token) * ffn.products * width * ffn.inner
    return found + (layer.cross.weights(width) if layer.cross else 0)


@pytest.mark.parametrize("name", SHIPPED)
def test_one_token_reads_the_active_parameters_of_a_shipped_model(name: str) -> None:
    """All parameters but embeddings, norms and biases, and but the experts not chosen."""
    work = load(name, scope="model", seq_len=1, batch=1)
    model = work.model
    assert model is not None
    assert model.parameters is not None
    idle = other = 0
    for run in model.runs:
        other += run.count * run.layer.other_parameters
        ffn, mixer = run.layer.ffn, run.layer.mixer
        if isinstance(mixer, SelectiveScan):
            other += run.count * mixer.inner * mixer.state  # A, in its scan
        if isinstance(ffn, Experts):
            products = 3 if ffn.gated else 2
            each = products * model.width * ffn.inner
            idle += run.count * (ffn.experts - ffn.per_token) * each
    outside = (model.embedding_parameters or 0) + model.other_parameters
    head = model.width * (model.head_width or 0)
    assert weights_read(work) == model.parameters - outside - other - idle + head


@pytest.mark.parametrize(
    ("name", "published", "embeddings"),
    [
        # 37B activated with the input embedding, too; 45.9B without either; 12.9B with both.
        ("deepseek-v3", 37.5e9, 1),
        ("minimax-text-01", 45.9e9, -1),
        ("mixtral-8x7b", 12.9e9, 1),
        ("gpt-oss-20b", 3.6e9, 0),
    ],
)
def test_active_parameters_are_those_published(
    tmp_path: Path, name: str, published: float, embeddings: int
) -> None:
    work = of_fields(tmp_path, CASES[name], scope="model", seq_len=1)
    assert work.model is not None
    table = work.model.width * (work.model.vocab_size or 0)
    assert weights_read(work) + embeddings * table == pytest.approx(published, rel=0.01)


ENCODERS = (
    *("bert-base-uncased", "vit-base-patch16-224", "modernbert-base"),
    *("FacebookAI/roberta-base", "distilbert/distilbert-base-uncased"),
)


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        (name, phase)
        for name in CASES
        for phase in ("prefill", "decode", "chunked-prefill")
        if phase == "prefill" or name not in ENCODERS
    ],
)
def test_every_family_reads_the_weights_of_its_layers(
    tmp_path: Path, name: str, phase: str
) -> None:
    """Also where latent attention is absorbed; keys of an encoder are projected once."""
    cached = {} if phase == "prefill" else {"cached_len": 7}
    length = {} if phase == "decode" else {"seq_len": 1}
    work = of_fields(tmp_path, CASES[name], scope="model", phase=phase, **cached, **length)
    model = work.model
    assert model is not None
    expected = model.width * (model.head_width or 0)
    for run in model.runs:
        layer = run.layer
        if phase != "prefill" and CASES[name]["model_type"] in ("t5", "whisper"):
            if layer.cross is None:
                continue
            # Keys and values of the encoder's output, half of the four projections.
            expected -= run.count * layer.cross.weights(model.width) // 2
        expected += run.count * active(layer, model.width)
    assert weights_read(work) == expected


@settings(deadline=None)
@given(experts=st.integers(1, 300), per_token=st.integers(1, 300), tokens=st.integers(1, 5000))
def test_tokens_are_spread_over_the_experts_they_reach(
    experts: int, per_token: int, tokens: int
) -> None:
    """Against fractions, and dealing assignments out one by one."""
    per_token = min(per_token, experts)
    ffn = Experts(experts=experts, per_token=per_token, inner=8)
    missed = float((1 - Fraction(per_token, experts)) ** tokens)
    assert expected_experts(ffn, tokens) == pytest.approx(experts * (1 - missed), rel=1e-9)
    running = max(per_token, round(expected_experts(ffn, tokens)))
    dealt = [0] * running
    for assignment in range(tokens * per_token if tokens * per_token < 10**5 else 0):
        dealt[assignment % running] += 1
    groups = expert_groups(ffn, tokens)
    sizes = sorted(size for _, count, size in groups for _ in range(count))
    assert sum(sizes) == tokens * per_token
    assert sizes == sorted(dealt) or not sum(dealt)
    assert max(sizes) <= tokens
    assert len({name for name, _, _ in groups}) == len(groups)


def named(work: Workload) -> dict[str, Part]:
    found = {part.name: part for part in work.parts}
    assert len(found) == len(work.parts)
    return found


def test_a_mixture_of_experts() -> None:
    """100 tokens to 8 of 256 experts: 800 assignments to 245, 3 each and 65 more."""
    parts = named(load("deepseek-v3", scope="block", layer=5, seq_len=100))
    assert dict(parts["router"].shapes) == {"N": 100, "D": 7168, "J": 256}
    assert dict(parts["shared-expert-up"].shapes) == {"N": 100, "D": 7168, "J": 2048}
    assert (parts["fuller-expert-up"].times, parts["expert-up"].times) == (65, 180)
    assert dict(parts["fuller-expert-up"].shapes) == {"N": 4, "D": 7168, "J": 2048}
    assert dict(parts["expert-down"].shapes) == {"N": 3, "D": 2048, "J": 7168}
    note = "sends 100 tokens to 245.3 of 256 experts: 245 run, 4 or 3 tokens each"
    work = load("deepseek-v3", scope="block", layer=5, seq_len=100)
    assert any(note in said for said in work.left_out)
    few = load("deepseek-v3", scope="block", layer=5, phase="decode", cached_len=9, batch=4)
    # 256 (1 - (31/32)^4) = 30.53.
    assert any("30.53 of 256 experts: 31 run, 2 or 1 tokens" in said for said in few.left_out)
    assert (named(few)["fuller-expert-up"].times, named(few)["expert-up"].times) == (1, 30)


def test_latent_attention_unfolds_keys_or_absorbs_queries() -> None:
    prefill = named(load("deepseek-v3", scope="block", seq_len=100))
    assert dict(prefill["query-down-projection"].shapes) == {"N": 100, "D": 7168, "J": 1536}
    assert dict(prefill["query-up-projection"].shapes) == {"N": 100, "D": 1536, "J": 128 * 192}
    assert dict(prefill["latent-projection"].shapes) == {"N": 100, "D": 7168, "J": 576}
    assert dict(prefill["output-projection"].shapes) == {"N": 100, "D": 128 * 128, "J": 7168}
    fields: dict[str, Any] = {"scope": "block", "phase": "chunked-prefill"}
    piece = named(load("deepseek-v3", seq_len=50, cached_len=1000, **fields))
    assert dict(piece["latent-projection"].shapes)["N"] == 50
    # The cache holds latents: those of all 1050 keys are unfolded.
    assert dict(piece["key-unfolding"].shapes) == {"N": 1050, "D": 512, "J": 128 * 128}
    assert dict(piece["value-unfolding"].shapes) == {"N": 1050, "D": 512, "J": 128 * 128}
    step: dict[str, Any] = {"scope": "block", "phase": "decode", "cached_len": 99, "batch": 4}
    inside = named(load("deepseek-v3", **step))
    assert not [name for name in inside if "unfolding" in name or "absorption" in name]
    beside = named(load("deepseek-v3", cascade="attention-1pass", **step))
    assert beside["query-absorption"].times == beside["value-unfolding"].times == 128
    assert dict(beside["query-absorption"].shapes) == {"N": 4, "D": 128, "J": 512}
    assert dict(beside["value-unfolding"].shapes) == {"N": 4, "D": 512, "J": 128}


def test_latent_attention_without_a_latent_of_queries(tmp_path: Path) -> None:
    fields = DEEPSEEK_V3 | {"q_lora_rank": None}
    parts = named(of_fields(tmp_path, fields, scope="block", seq_len=3))
    assert dict(parts["query-projection"].shapes) == {"N": 3, "D": 7168, "J": 128 * 192}


def test_a_cascade_on_the_latent_unfolds_by_itself() -> None:
    """Its inputs WK and WV are what would be read in parts of their own."""
    said = "projections into and out of the latent are not counted"
    assert said in load("deepseek-v3", cascade="attention-1pass").parts[0].notes
    assert said not in load("deepseek-v3", cascade="mla-naive").parts[0].notes
    assert not any(said in p.notes for p in load("deepseek-v3", scope="block").parts)
    work = load("deepseek-v3", scope="block", cascade="mla-naive", seq_len=3)
    assert not [name for name in named(work) if "unfolding" in name or "absorption" in name]
    model = work.model
    assert model is not None
    assert weights_read(work) == active(model.layer(0), model.width)


def test_recurrent_layers() -> None:
    lightning = named(load("minimax-text-01", scope="block", seq_len=10, batch=2))
    assert dict(lightning["gate-projection"].shapes) == {"N": 20, "D": 6144, "J": 8192}
    assert lightning["attention"].cascade == "lightning-attention-2-prefill"
    dual = named(load("mamba-2-2.7b", scope="block", seq_len=10, batch=2))
    # Z and X of 5120, B and C of 128, and 80 steps.
    assert dict(dual["input-projection"].shapes) == {"N": 20, "D": 2560, "J": 10240 + 256 + 80}
    wanted = {"B": 2, "P": 10, "M": 13, "T": 4, "C": 5120 + 256}
    assert dict(dual["convolution"].shapes) == wanted
    assert dict(dual["output-projection"].shapes) == {"N": 20, "D": 5120, "J": 2560}
    assert not [name for name in dual if "ffn" in name]


def test_a_selective_scan(tmp_path: Path) -> None:
    parts = named(of_fields(tmp_path, CASES["mamba-130m"], scope="block", seq_len=10))
    assert [(name, dict(p.shapes).get("J")) for name, p in parts.items()] == [
        ("input-projection", 3072),
        ("convolution", None),
        ("selection-projection", 48 + 32),
        ("step-projection", 1536),
        ("attention", None),
        ("output-projection", 768),
    ]


def test_a_decoder_attends_to_its_encoder(tmp_path: Path) -> None:
    prefill = of_fields(tmp_path, T5, scope="model", seq_len=8)
    parts = named(prefill)
    assert {part.times for name, part in parts.items() if name != "output-head"} == {6}
    assert dict(parts["output-head"].shapes) == {"N": 1, "D": 512, "J": 32128}
    assert dict(parts["decoder.cross-key-projection"].shapes) == {"N": 8, "D": 512, "J": 512}
    order = [name for name in parts if name.startswith("decoder.")]
    assert order.index("decoder.cross-attention") > order.index("decoder.output-projection")
    assert not any("causal" in n for n in parts["decoder.cross-attention"].notes)
    decode = of_fields(tmp_path, T5, scope="model", phase="decode", cached_len=99)
    assert decode.layer == 6
    names = named(decode)
    assert "cross-attention" in names
    assert "cross-key-projection" not in names
    assert dict(names["cross-attention"].shapes)["M"] == 100
    said = " ".join(decode.left_out)
    assert "the 6 decoder layers, of 12: the encoder ran before" in said
    assert "the encoder's output is taken to be 100 tokens long, its keys and values" in said


def test_kinds_of_layers_have_names() -> None:
    def kinds(name: str) -> dict[str, int]:
        work = load(name, scope="model", phase="decode", cached_len=9)
        return {
            part.name.partition(".")[0]: part.times
            for part in work.parts
            if part.name.endswith(".attention")
        }

    assert kinds("minimax-text-01") == {"lightning": 70, "GQA": 10}
    assert kinds("gemma-2-9b") == {"window-4096": 21, "full": 21}
    assert kinds("deepseek-v3") == {"sparse": 58, "dense": 3}
    assert kinds("llama-3-8b") == {}


def test_kinds_that_differ_in_nothing_that_has_a_name(tmp_path: Path) -> None:
    """BERT as a decoder has one kind; two of T5's decoders would differ by other parameters."""
    bert = {**CASES["bert-base-uncased"], "is_decoder": True, "add_cross_attention": True}
    parts = named(of_fields(tmp_path, bert, scope="model"))
    assert parts.pop("output-head").times == 1
    assert {part.times for part in parts.values()} == {12}


@pytest.mark.parametrize(
    ("name", "fields", "wanted"),
    [
        ("deepseek-v3", {"scope": "block", "H": 8}, "H: given by hand, and projections of MLA"),
        ("minimax-text-01", {"scope": "block", "E": 64}, "E: given by hand, and projections of"),
        ("mamba-2-2.7b", {"scope": "model", "F": 1}, "F: given by hand, and projections of SSD"),
        ("minimax-text-01", {"scope": "model", "P": 8}, "P: given by hand for one kind of layer"),
    ],
)
def test_shapes_by_hand_that_projections_do_not_follow(
    name: str, fields: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        assert load(name, **fields).parts


@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v3", "mamba-2-2.7b", "minimax-text-01"])
def test_tokens_of_all_sequences_that_are_too_many(name: str) -> None:
    with pytest.raises(SpecError, match=r"N: these sizes together make 1e\+16, more than 1e15"):
        assert load(name, scope="model", batch=10**8, seq_len=10**8).parts
