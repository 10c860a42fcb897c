"""Files as their authors publish them, which leave fields out, and classes that run a part."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import run
from family_cases import COHERE2, MINIMAX_M2, QWEN2_MOE, QWEN35, SIGLIP, decoder
from hybrid_cases import LFM2, NEMOTRON_9B
from later_cases import QWEN3_VL_MOE
from model_cases import DEEPSEEK_V3, KIMI_LINEAR, LLAMA, MINIMAX, QWEN3_NEXT, model_of

from archsim import simulate
from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from workloads import load, summarize


def gemma3(**text: Any) -> dict[str, Any]:
    """A file of Gemma 3: only what differs from the defaults of the class stands in it."""
    common = {"model_type": "gemma3_text", "sliding_window": 1024}
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 255999,
        "mm_tokens_per_image": 256,
        "model_type": "gemma3",
        "text_config": common | {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}} | text,
        "vision_config": SIGLIP,
    }


GEMMA3_4B = gemma3(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34)
T5_XXL = {
    "architectures": ["T5EncoderModel"],
    "classifier_dropout": 0.0,
    "d_ff": 10240,
    "d_kv": 64,
    "d_model": 4096,
    "decoder_start_token_id": 0,
    "dense_act_fn": "gelu_new",
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": True,
    "is_gated_act": True,
    "model_type": "t5",
    "num_decoder_layers": 24,
    "num_heads": 64,
    "num_layers": 24,
    "output_past": True,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "vocab_size": 32128,
}
VIT = decoder("vit", 768, 3072, 12, 12)
MODERNBERT = decoder("modernbert", 768, 1152, 22, 12, vocab_size=50368)
CODESTRAL = {
    "model_type": "mamba2",
    "expand": 2,
    "head_dim": 64,
    "hidden_size": 4096,
    "n_groups": 8,
    "num_heads": 128,
    "num_hidden_layers": 64,
    "state_size": 128,
    "tie_word_embeddings": False,
    "vocab_size": 32768,
}
SCOUT = {
    "model_type": "llama4",
    "text_config": decoder("llama4_text", 5120, 8192, 48, 40, vocab_size=202048)
    | {"intermediate_size_mlp": 16384, "layer_types": ["chunked_attention"] * 48},
}


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        # Totals as the hub gives them: encoders of images with the rest, heads once.
        (GEMMA3_4B, 4_300_079_472),
        (
            gemma3(
                hidden_size=3840,
                intermediate_size=15360,
                num_attention_heads=16,
                num_hidden_layers=48,
                num_key_value_heads=8,
            ),
            12_187_325_040,
        ),
    ],
)
def test_files_of_gemma_leave_the_vocabulary_to_the_class(
    fields: dict[str, Any], parameters: int, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert summarize(load(str(path))).parameters == parameters


def test_a_vocabulary_that_is_said_outside() -> None:
    text = {name: value for name, value in QWEN35["text_config"].items() if name != "vocab_size"}
    moved = QWEN35 | {"text_config": text, "vocab_size": 248320}
    assert model_of(moved) == model_of(QWEN35)
    assert model_of(QWEN35 | {"vocab_size": None}) == model_of(QWEN35)


def test_the_encoder_of_t5_by_itself() -> None:
    """The text encoder of diffusion models: its file still has the decoder's fields."""
    model = model_of(T5_XXL)
    d, inner = 4096, 10240
    layer = 4 * d * 64 * 64 + 3 * d * inner + 2 * d
    assert model.parameters == 24 * layer + d + 32 * 64 + 32128 * d == 4_762_310_656
    assert model.layer_count == 24
    assert model.head_width is None
    both = model_of(T5_XXL | {"architectures": ["T5ForConditionalGeneration"]})
    assert both.layer_count == 48
    assert both.head_width == 32128
    assert model_of(T5_XXL | {"is_encoder_decoder": False}) == model
    with pytest.raises(SpecError, match="is_encoder_decoder: only 'T5EncoderModel'"):
        model_of(T5_XXL | {"architectures": ["T5Model"], "is_encoder_decoder": False})


@pytest.mark.parametrize("name", ["LlamaModel", "LlamaForSequenceClassification"])
def test_classes_without_a_head_over_words(name: str, tmp_path: Path) -> None:
    whole = model_of(LLAMA | {"architectures": ["LlamaForCausalLM"]})
    bare = model_of(LLAMA | {"architectures": [name]})
    assert whole == model_of(LLAMA)
    assert (whole.parameters or 0) - (bare.parameters or 0) == 128256 * 4096
    assert bare.head_width is None
    path = tmp_path / "config.json"
    few = {"num_hidden_layers": 1, "architectures": [name]}
    path.write_text(json.dumps(LLAMA | few), encoding="utf-8")
    found = simulate(str(path), "fusemax", seq_len=64, scope="model")
    assert "output-head" not in [part.name for part in found.parts]
    assert any("output head are not counted" in note for note in found.notes)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "GPT2DoubleHeadsModel", "AnyForMaskedLM"])
def test_classes_with_a_head_over_words(name: str) -> None:
    assert model_of(LLAMA | {"architectures": [name]}).predicts


def test_what_is_no_part_of_the_layers_is_said(tmp_path: Path) -> None:
    """Layers that predict further tokens, and encoders of images."""
    one = "1 layer that predicts further tokens: neither counted nor run"
    images = "the encoder of images counts as parameters, and is not run"
    assert model_of(DEEPSEEK_V3 | {"num_nextn_predict_layers": 1}).omitted == (one,)
    assert model_of(DEEPSEEK_V3 | {"num_nextn_predict_layers": 0}).omitted == ()
    assert model_of(QWEN35).omitted == (one, images)
    assert model_of(MINIMAX_M2).omitted == (
        one.replace("1 layer that predicts", "3 layers that predict"),
    )
    assert model_of(MINIMAX_M2 | {"use_mtp": False}).omitted == ()
    for field in ("num_nextn_predict_layers", "mtp_num_hidden_layers"):
        assert model_of(QWEN3_NEXT | {field: 1}).omitted == (one,)
    assert one in load("qwen3-next-80b-a3b", scope="model", seq_len=64).left_out
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QWEN35), encoding="utf-8")
    text = " ".join(run("show", str(path), "--summary").stdout.split())
    assert one in text
    assert images in text
    whole = load(str(path), scope="model", seq_len=64)
    assert {one, images} <= set(whole.left_out)
    assert not {one, images} & set(load(str(path), seq_len=64).left_out)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (DEEPSEEK_V3, "num_nextn_predict_layers"),
        (MINIMAX_M2, "num_mtp_modules"),
        (QWEN35["text_config"], "mtp_num_hidden_layers"),
    ],
)
@pytest.mark.parametrize(("value", "got"), [(-1, "-1"), ("x", "the text 'x'"), (True, "True")])
def test_a_number_of_layers_that_is_none(
    fields: dict[str, Any], name: str, value: Any, got: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields | {name: value}), encoding="utf-8")
    text = f"{name}: expected how many layers predict further tokens, a whole number from 0"
    with pytest.raises(SpecError, match=rf"config\.json:1:\d+: {text}, got {re.escape(got)}"):
        load(str(path))


@pytest.mark.parametrize("fields", [VIT, GEMMA3_4B])
def test_images_larger_than_any(fields: dict[str, Any], tmp_path: Path) -> None:
    """The file and the field, and no rank that follows from it."""
    path = tmp_path / "config.json"
    size = 16 * 14 * 10**9
    huge: dict[str, Any] = {"image_size": size}
    if "vision_config" in fields:
        huge = {"vision_config": fields["vision_config"] | huge}
    path.write_text(json.dumps(fields | huge), encoding="utf-8")
    text = rf"image_size: {size} pixels a side are .* patches of 1[46], more than 1e15"
    with pytest.raises(SpecError, match=rf"config\.json:1:\d+: {text}"):
        load(str(path))


def test_the_clamps_of_gpt_oss_are_computed() -> None:
    """A minimum and a maximum of one product, a minimum of the other, and one more addition."""
    work = load("gpt-oss-20b", scope="block", seq_len=64, batch=1)
    (up,) = (part for part in work.parts if part.name == "expert-up")
    assert up.cascade == "linear-layer-swiglu-clamped"
    assert not any("activation" in note for note in work.left_out)
    counts = Cascade.load(up.cascade).analyze().operations
    plain = Cascade.load("linear-layer-swiglu").analyze().operations
    more = {str(k): str(v - plain.get(k, 0)) for k, v in counts.items() if v != plain.get(k, 0)}
    assert more == {"min": "2*J*N", "max": "J*N", "add": "J*N", "mul": "2*J*N"}


@pytest.mark.parametrize("fields", [LLAMA, DEEPSEEK_V3, MINIMAX_M2])
def test_clamps_of_other_families_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="'swiglu_limit' is not read for"):
        model_of(fields | {"swiglu_limit": 7.0})
    assert model_of(fields | {"swiglu_limit": None}) == model_of(fields)


def test_a_shared_expert_of_minimax_is_weighed() -> None:
    """By one number a token, which a weight a channel makes in every layer."""
    shared = model_of(MINIMAX | {"shared_intermediate_size": 9216}).parameters
    plain = model_of(MINIMAX).parameters
    assert shared is not None
    assert plain is not None
    assert shared - plain == 80 * (3 * 6144 * 9216 + 6144)


@pytest.mark.parametrize(
    ("fields", "below"), [(QWEN35, "text_config"), (KIMI_LINEAR, "linear_attn_config")]
)
def test_hints_on_fields_below_a_field_can_be_followed(
    fields: dict[str, Any], below: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    odd = fields | {below: fields[below] | {"odd": 3}}
    path.write_text(json.dumps(odd), encoding="utf-8")
    with pytest.raises(SpecError, match="'odd' is not read") as caught:
        load(str(path))
    (problem,) = caught.value.problems
    assert problem.hint is not None
    setting = problem.hint.rpartition("--set ")[2]
    assert setting == f"workload.config.{below}.odd=null"
    found = load(str(path), setting.removeprefix("workload.")).model
    assert found == model_of(fields)


def test_biases_of_a_head_are_counted() -> None:
    usual = model_of(MODERNBERT).parameters or 0
    assert model_of(MODERNBERT | {"decoder_bias": False}).parameters == usual - 50368
    assert model_of(MODERNBERT | {"classifier_bias": True}).parameters == usual + 768


def test_the_expanded_width_may_be_repeated() -> None:
    model = model_of(CODESTRAL)
    assert model.parameters == 7_285_403_648
    assert model_of(CODESTRAL | {"intermediate_size": 8192}) == model


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (CODESTRAL | {"intermediate_size": 8193}, "intermediate_size: expected 8192"),
        (
            GEMMA3_4B | {"text_config": GEMMA3_4B["text_config"] | {"model_type": "gemma2"}},
            "model_type: the language model is 'gemma3' or 'gemma3_text', got 'gemma2'",
        ),
        (
            QWEN35 | {"text_config": QWEN35["text_config"] | {"model_type": "qwen3_next"}},
            "the language model is 'qwen3_5' or 'qwen3_5_text', got 'qwen3_next'",
        ),
        (
            GEMMA3_4B | {"vision_config": SIGLIP | {"model_type": "clip_vision_model"}},
            "the encoder of images is 'siglip_vision_model', got 'clip_vision_model'",
        ),
        (
            GEMMA3_4B | {"vision_config": SIGLIP | {"vision_use_head": True}},
            "vision_use_head: expected false",
        ),
        (
            QWEN3_VL_MOE | {"vision_config": {"model_type": "pixtral"}},
            "the encoder of images is 'qwen3_5*' or 'qwen3_vl*', got 'pixtral'",
        ),
        (
            SCOUT | {"text_config": SCOUT["text_config"] | {"no_rope_layers": [1]}},
            "no_rope_layers: expected one entry for each of 48 layers",
        ),
        (MINIMAX_M2 | {"attn_type_list": [1]}, "attn_type_list: expected one entry for each of 62"),
        (QWEN2_MOE | {"mlp_only_layers": [24]}, "mlp_only_layers: the layers are 0 to 23, got 24"),
        (
            QWEN3_VL_MOE
            | {"text_config": QWEN3_VL_MOE["text_config"] | {"mlp_only_layers": [0, 48]}},
            "mlp_only_layers: the layers are 0 to 47, got 48",
        ),
        (LFM2 | {"full_attn_idxs": [2, 16]}, "full_attn_idxs: the layers are 0 to 15, got 16"),
        (
            QWEN35 | {"text_config": QWEN35["text_config"] | {"tie_word_embeddings": True}},
            "tie_word_embeddings: text_config says otherwise",
        ),
        (QWEN35 | {"vocab_size": 5}, "vocab_size: text_config says otherwise"),
        (
            NEMOTRON_9B | {"layers_block_type": ["mamba", "moe"] * 28},
            "hybrid_override_pattern: layers_block_type says otherwise",
        ),
        (DEEPSEEK_V3 | {"n_group": 7}, "n_group: 7 does not divide n_routed_experts, 256"),
        (
            DEEPSEEK_V3 | {"n_group": 8, "topk_group": 9},
            "topk_group: a token goes to 9 groups, there are 8",
        ),
        (
            DEEPSEEK_V3 | {"n_group": 64, "topk_group": 1},
            "num_experts_per_tok: a token goes to 8 experts, its groups have 4",
        ),
        (COHERE2 | {"output_gate": True}, "'output_gate' is not read for 'cohere2'"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        model_of(fields)


def test_another_family_keeps_the_fields_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA), encoding="utf-8")
    found = load(str(path), "config.model_type=qwen3").model
    assert found is not None
    assert found == model_of(LLAMA | {"model_type": "qwen3"})
    assert found.family == "qwen3"


def test_a_token_uses_one_row_of_the_input_embedding() -> None:
    model = load("llama-3-8b").model
    assert model is not None
    assert model.parameters is not None
    assert model.active_parameters == model.parameters - (128256 - 1) * 4096
    tied = load("gemma-2-9b").model
    assert tied is not None
    assert tied.active_parameters == tied.parameters
