"""Configurations of every family: their layers by hand, their sizes as published, bad ones."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fresh_cases import FRESH
from ignored_fields import BESIDE, TEXT
from model_cases import (
    DEEPSEEK_V3,
    GEMMA2,
    GPT_OSS,
    KIMI_LINEAR,
    LLAMA,
    MAMBA2,
    MINIMAX,
    MISTRAL,
    PUBLISHED,
    QWEN3_NEXT,
    RWKV7,
    T5,
    Published,
    model_of,
)

from einsum_cascade.errors import SpecError
from workloads import load
from workloads.huggingface.read import readers
from workloads.models import (
    DecayAttention,
    DeltaAttention,
    Experts,
    FeedForward,
    LatentAttention,
    SelectiveScan,
    SoftmaxAttention,
    StateSpaceDual,
)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.name)
def test_parameters_are_those_of_the_published_weights(case: Published) -> None:
    assert model_of(case.fields).parameters == case.parameters


def test_every_reader_is_checked_against_a_published_model() -> None:
    checked = {str(case.fields["model_type"]) for case in PUBLISHED}
    apart = {"minimax", "minimax_m1", "retnet", "transnormer"}
    # Of them ``test_further_families`` has cases.
    apart |= {"bailing_moe", "bailing_moe_v2", "hunyuan_v1_dense", "hunyuan_v1_moe"}
    # What a model of several inputs has inside.
    checked |= {
        case.fields["text_config"]["model_type"]
        for case in PUBLISHED
        if "text_config" in case.fields
    }
    assert checked | apart == set(readers()), "the others are checked by hand below"


def test_llama() -> None:
    model = model_of(LLAMA | {"rope_theta": 5e5, "torch_dtype": "bfloat16"})
    assert (model.family, model.width, model.layer_count) == ("llama", 4096, 32)
    (run,) = model.runs
    assert run.layer.mixer == SoftmaxAttention(heads=32, kv_heads=8, qk_width=128, v_width=128)
    assert run.layer.mixer.group == 4
    assert run.layer.ffn == FeedForward(inner=14336, gated=True)
    # Projections 4096 x (4096 + 1024 + 1024 + 4096), three products, two norms.
    assert run.layer.parameters(4096) == 4096 * 10240 + 3 * 4096 * 14336 + 2 * 4096
    # Without the field there are as many heads of keys as of queries.
    mixer = model_of({k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}).layer(0).mixer
    assert isinstance(mixer, SoftmaxAttention)
    assert (mixer.kv_heads, mixer.kind) == (32, "MHA")


def test_biases_of_llama() -> None:
    plain, biased = model_of(LLAMA), model_of(LLAMA | {"attention_bias": True, "mlp_bias": True})
    more = (4096 + 2 * 1024 + 4096) + (2 * 14336 + 4096)
    assert biased.layer_parameters - plain.layer_parameters == 32 * more


def windows(fields: dict[str, Any]) -> list[int | None]:
    model = model_of(fields)
    mixers = [model.layer(i).mixer for i in range(model.layer_count)]
    return [m.window for m in mixers if isinstance(m, SoftmaxAttention)]


def test_windows_of_each_family() -> None:
    assert windows(MISTRAL) == [4096] * 32, "the default of MistralConfig"
    assert windows(MISTRAL | {"sliding_window": None}) == [None] * 32
    assert windows(GEMMA2) == [4096, None] * 21
    gemma3 = next(c.fields for c in PUBLISHED if c.name == "gemma-3-1b")
    assert windows(gemma3) == ([512] * 5 + [None]) * 4 + [512] * 2
    qwen = next(c.fields for c in PUBLISHED if c.name == "qwen2-7b")
    assert windows(qwen) == [None] * 28
    on = {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 20}
    assert windows(qwen | on) == [None] * 20 + [100] * 8
    assert windows(GPT_OSS) == [128, None] * 12
    named = ["full_attention"] * 41 + ["sliding_attention"]
    assert windows(GEMMA2 | {"layer_types": named}) == [None] * 41 + [4096]


def test_runs_group_equal_layers() -> None:
    model = model_of(GEMMA2)
    assert len(model.runs) == 42
    assert [run.count for run in model.kinds()] == [21, 21]
    assert [run.count for run in model_of(DEEPSEEK_V3).runs] == [3, 58]
    assert [run.count for run in model_of(MINIMAX).runs] == [7, 1] * 10


def test_softcaps_sinks_and_norms_are_kept() -> None:
    gemma, oss = model_of(GEMMA2).layer(0).mixer, model_of(GPT_OSS).layer(0).mixer
    assert isinstance(gemma, SoftmaxAttention)
    assert isinstance(oss, SoftmaxAttention)
    assert (gemma.softcap, gemma.sinks, gemma.qk_norm) == (50.0, False, False)
    assert (oss.softcap, oss.sinks) == (None, True)
    qwen = model_of(next(c.fields for c in PUBLISHED if c.name == "qwen3-8b")).layer(0).mixer
    assert isinstance(qwen, SoftmaxAttention)
    assert qwen.qk_norm


def test_text_inside_a_model_of_several_inputs() -> None:
    """Gemma 3's own files leave out what equals the defaults of ``Gemma3TextConfig``."""
    inner = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    model = model_of({"model_type": "gemma3", "text_config": inner, "vision_config": {}})
    assert model == model_of(inner | {"model_type": "gemma3"})
    assert model.layer(5).mixer == SoftmaxAttention(
        heads=8, kv_heads=4, qk_width=256, v_width=256, qk_norm=True
    )


def test_encoders_and_decoders() -> None:
    model = model_of(T5 | {"num_decoder_layers": 4})
    encoder, decoder = model.runs
    assert (encoder.count, decoder.count) == (6, 4)
    assert encoder.layer.cross is None
    assert decoder.layer.cross == SoftmaxAttention(
        heads=8, kv_heads=8, qk_width=64, v_width=64, causal=False
    )
    mixers = [run.layer.mixer for run in model.runs]
    assert [m.causal for m in mixers if isinstance(m, SoftmaxAttention)] == [False, True]
    vit = model_of(next(c.fields for c in PUBLISHED if c.name == "vit-base-patch16-224"))
    assert vit.tokens == 197


def test_deepseek() -> None:
    model = model_of(DEEPSEEK_V3)
    dense, sparse = model.layer(2), model.layer(3)
    assert dense.ffn == FeedForward(inner=18432, gated=True)
    assert sparse.ffn == Experts(experts=256, per_token=8, inner=2048, shared_inner=2048)
    assert sparse.mixer == LatentAttention(
        heads=128, q_rank=1536, kv_rank=512, nope_width=128, rope_width=64, v_width=128
    )
    # 37 billion parameters meet a token, of which 0.9 in the input embedding do not multiply.
    idle = 58 * (256 - 8) * 3 * 7168 * 2048
    assert model.parameters is not None
    assert model.parameters - idle == 37_552_297_472
    assert sparse.ffn.idle_parameters(7168) == idle // 58


def test_minimax() -> None:
    model = model_of(MINIMAX)
    assert isinstance(model.layer(0).mixer, DecayAttention)
    assert model.layer(7).mixer == SoftmaxAttention(heads=64, kv_heads=8, qk_width=128, v_width=128)
    native = {k: v for k, v in MINIMAX.items() if k != "attn_type_list"}
    kinds = (["linear_attention"] * 7 + ["full_attention"]) * 10
    again = model_of(native | {"model_type": "minimax", "layer_types": kinds})
    assert again.runs == model.runs
    assert model_of(MINIMAX | {"model_type": "minimax_m1"}) == model
    alternating = model_of(native | {"model_type": "minimax", "num_hidden_layers": 4})
    assert [run.layer.mixer.kind for run in alternating.runs] == ["GQA", "lightning"] * 2


def test_state_spaces() -> None:
    assert model_of(MAMBA2).layer(0).mixer == StateSpaceDual(
        heads=80, head_width=64, state=128, groups=1, conv_width=4, chunk=256
    )
    mamba = next(c.fields for c in PUBLISHED if c.name == "mamba-130m")
    assert model_of(mamba).layer(0).mixer == SelectiveScan(
        inner=1536, state=16, dt_rank=48, conv_width=4
    )
    mixer = model_of(mamba | {"time_step_rank": 10}).layer(0).mixer
    assert isinstance(mixer, SelectiveScan)
    assert mixer.dt_rank == 10


def test_retention_by_either_naming() -> None:
    model = model_of(
        {
            "model_type": "retnet",
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "num_heads": 8,
            "vocab_size": 32000,
        }
    )
    layer = model.layer(0)
    assert isinstance(layer.mixer, DecayAttention)
    assert (layer.mixer.qk_width, layer.mixer.v_width) == (256, 512)
    assert layer.ffn == FeedForward(inner=2816, gated=True)
    # Q, K, V, gate and output: (1 + 1 + 2 + 2 + 2) x 2048 x 2048.
    assert layer.parameters(2048) == 8 * 2048**2 + 3 * 2048 * 2816 + 2 * 2048 + 512
    other = model_of(
        {
            "model_type": "retnet",
            "decoder_embed_dim": 2048,
            "decoder_value_embed_dim": 4096,
            "decoder_retention_heads": 8,
            "decoder_ffn_embed_dim": 2816,
            "decoder_layers": 24,
        }
    )
    assert other.layer(0).mixer == layer.mixer
    assert other.parameters is None, "the vocabulary is not given"


def test_a_class_name_says_the_family_too() -> None:
    fields = {k: v for k, v in LLAMA.items() if k != "model_type"}
    assert model_of(fields | {"architectures": ["LlamaForCausalLM"]}) == model_of(LLAMA)
    oss = {k: v for k, v in GPT_OSS.items() if k != "model_type"}
    assert model_of(oss | {"architectures": ["GptOssForCausalLM"]}).family == "gpt_oss"
    neox = next(c.fields for c in PUBLISHED if c.name == "pythia-70m")
    plain = {k: v for k, v in neox.items() if k != "model_type"}
    assert model_of(plain | {"architectures": ["GPTNeoXForCausalLM"]}) == model_of(neox)


NOT_SIZES = (0, -1, 2.5, 4096.0, True, False, "32", "4K", None, [32], {}, 10**16)


@pytest.mark.parametrize("wrong", NOT_SIZES, ids=str)
@pytest.mark.parametrize("field", ["hidden_size", "num_attention_heads", "intermediate_size"])
def test_what_is_no_size(tmp_path: Path, field: str, wrong: object) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA | {field: wrong}, indent=1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load(str(path))
    where = list(LLAMA).index(field) + 2
    assert re.search(
        rf"config\.json:{where}:\d+: {field}: expected a whole number", str(caught.value)
    )


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"num_attention_heads": 33}, "num_attention_heads: 33 does not divide hidden_size, 4096"),
        (
            {"num_key_value_heads": 5},
            "num_key_value_heads: 5 does not divide num_attention_heads, 32",
        ),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers: expected a whole number up to 100000"),
        ({"model_type": "lama"}, "models of type 'lama' are not read"),
        ({"model_type": "rwkv6"}, "are not read: RWKV-6 lets a receptance gate"),
        ({"model_type": "zzz"}, "known: bailing_moe, bailing_moe_v2, bamba, bert"),
        ({"model_type": 3}, "model_type: expected a text, got the number 3"),
        ({"model_type": None}, "model_type: expected a text, got nothing"),
        ({"attention_bias": "yes"}, "attention_bias: expected true or false"),
    ],
)
def test_fields_that_do_not_fit(change: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        model_of(LLAMA | change)
    assert wanted in str(caught.value)
    assert re.search(r"config\.json:\d+:\d+: ", str(caught.value))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (MINIMAX | {"attn_type_list": [0, 1]}, "expected one entry for each of 80 layers"),
        (MINIMAX | {"attn_type_list": [2] * 80}, "entry 0: expected 0 or 1, got 2"),
        (MINIMAX | {"attn_type_list": [0, True] * 40}, "entry 1: expected 0 or 1, got true"),
        (MINIMAX | {"attn_type_list": 0}, "expected a list with an entry a layer, got 0"),
        (GEMMA2 | {"layer_types": ["full_attention"]}, "one entry for each of 42 layers"),
        (GEMMA2 | {"layer_types": ["full_atention"] * 42}, "did you mean 'full_attention'?"),
        (
            MISTRAL | {"layer_types": ["sliding_attention"] * 32, "sliding_window": None},
            "'sliding_attention' needs a sliding_window",
        ),
        (GEMMA2 | {"attn_logit_softcapping": -1}, "expected a number above 0"),
        (GEMMA2 | {"attn_logit_softcapping": "50"}, "expected a number, got the text '50'"),
        (DEEPSEEK_V3 | {"num_experts_per_tok": 257}, "goes to 257 experts, there are 256"),
        (MAMBA2 | {"head_dim": 63}, "80 heads of head_dim 63 are not the expanded width"),
        (MAMBA2 | {"n_groups": 3}, "n_groups: 3 does not divide num_heads, 80"),
        (T5 | {"feed_forward_proj": "half-gelu"}, "such as 'relu' or 'gated-gelu'"),
        (T5 | {"d_kv": -64}, "d_kv: expected a whole number, at least 1, got -64"),
        (MAMBA2 | {"model_type": "vit"}, "'num_attention_heads' is missing"),
        (
            {
                "model_type": "mamba",
                "hidden_size": 8,
                "num_hidden_layers": 1,
                "time_step_rank": "x",
            },
            "time_step_rank: expected a whole number, got the text 'x'",
        ),
        ({"model_type": "gemma3", "text_config": 3}, "got the number 3"),
        ({"hidden_size": 3}, "the field 'model_type' is missing"),
        ({"architectures": []}, "the field 'model_type' is missing"),
        ({"architectures": ["GPTJForCausalLM"]}, "models of type 'GPTJForCausalLM'"),
    ],
)
def test_what_else_is_refused(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError) as caught:
        model_of(fields)
    assert wanted in str(caught.value)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.name)
def test_what_published_files_have_beside_changes_nothing(case: Published) -> None:
    beside = BESIDE.get(str(case.fields["model_type"]), TEXT)
    # Layers that predict further tokens are named, and not counted.
    found = replace(model_of(beside | case.fields), omitted=())
    assert found == replace(model_of(case.fields), omitted=())


OF_OTHERS: dict[str, Any] = {
    "num_local_experts": 8,
    "num_experts": 128,
    "n_routed_experts": 256,
    "moe_intermediate_size": 768,
    "attn_type_list": [0, 1],
    "kv_lora_rank": 512,
    "ssm_state_size": 16,
    "attention_chunk_size": 8192,
    "use_qk_norm": True,
    "cross_attention_layers": [3, 8],
    "a_field_of_tomorrow": 1,
}


@pytest.mark.parametrize("field", OF_OTHERS)
@pytest.mark.parametrize("base", [LLAMA, GEMMA2, T5, MAMBA2], ids=lambda base: base["model_type"])
def test_a_field_that_may_change_what_is_computed_is_not_passed_over(
    base: dict[str, Any], field: str
) -> None:
    with pytest.raises(SpecError) as caught:
        model_of(base | {field: OF_OTHERS[field]})
    text = str(caught.value)
    assert f"'{field}' is not read for '{base['model_type']}', and may change" in text
    assert f"--set workload.config.{field}=null" in text
    # What turns it off is no other model.
    for off in (None, False, 0, [], {}, ""):
        assert model_of(base | {field: off}) == model_of(base)


def test_the_hint_turns_a_field_off(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA | {"a_field_of_tomorrow": 1}), encoding="utf-8")
    with pytest.raises(SpecError, match="'a_field_of_tomorrow' is not read"):
        load(str(path))
    assert load(str(path), "config.a_field_of_tomorrow=null").model == model_of(LLAMA)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (LLAMA | {"layer_types": ["sliding_attention"] * 32}, "no layers of 'sliding_attention'"),
        (LLAMA | {"layer_types": ["full_attention"] * 3}, "one entry for each of 32 layers"),
        (GPT_OSS | {"hidden_act": "gelu"}, "expected 'silu'"),
        (GPT_OSS | {"experts_per_token": 2}, "experts_per_token: expected 4"),
        (DEEPSEEK_V3 | {"num_key_value_heads": 8}, "num_key_value_heads: expected 128"),
        (
            {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1, "d_inner": 8},
            "d_inner: 8 is not the expanded width, 2 x 8",
        ),
        (LLAMA | {"quantization_config": {"bits": 4}}, "weights quantised by 'None' are not read"),
    ],
)
def test_fields_that_were_passed_over_are_refused(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        model_of(fields)


def test_layer_types_and_activations_are_honoured() -> None:
    assert model_of(LLAMA | {"layer_types": ["full_attention"] * 32}) == model_of(LLAMA)
    mixtral = next(c.fields for c in PUBLISHED if c.name == "mixtral-8x7b")
    kinds = ["full_attention"] * 31 + ["sliding_attention"]
    assert windows(mixtral | {"layer_types": kinds, "sliding_window": 9}) == [None] * 31 + [9]
    relu = model_of(LLAMA | {"hidden_act": "relu"}).layer(0).ffn
    assert relu == FeedForward(inner=14336, gated=True, activation="relu")
    bert = next(c.fields for c in PUBLISHED if c.name == "bert-base-uncased")
    plain = model_of(bert | {"hidden_act": "relu"}).layer(0).ffn
    assert plain == FeedForward(inner=3072, gated=False, activation="relu")


def test_experts_of_qwen3_moe() -> None:
    fields = next(c.fields for c in PUBLISHED if c.name == "qwen3-30b-a3b")
    some = model_of(fields | {"decoder_sparse_step": 2, "mlp_only_layers": [1]})
    kinds = [type(some.layer(index).ffn) for index in range(4)]
    assert kinds == [FeedForward, FeedForward, FeedForward, Experts]
    assert model_of(fields | {"num_experts": 0}).layer(0).ffn == FeedForward(inner=6144, gated=True)


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        (FRESH["meta-llama/Llama-3.2-1B"][1], "llama"),
        (FRESH["Qwen/Qwen3-1.7B"][1] | {"a_field_of_tomorrow": 1}, "qwen3"),
        (DEEPSEEK_V3, "kimi_k2"),
        (FRESH["ai21labs/AI21-Jamba-1.5-Mini"][1], "jamba"),
    ],
)
def test_the_hint_names_the_family_with_most_fields(fields: dict[str, Any], meant: str) -> None:
    with pytest.raises(SpecError, match=f"fields are those of {meant}: --set"):
        model_of(fields | {"model_type": "zzz"})


def test_fields_of_no_family_have_no_hint() -> None:
    with pytest.raises(SpecError) as caught:
        model_of({"model_type": "zzz", "hidden_size": 8, "depths": [2, 2], "stem": 3})
    assert "fields are those" not in str(caught.value)


@pytest.mark.parametrize("family", sorted(readers()))
def test_missing_fields_are_all_named(family: str) -> None:
    """An empty configuration of a family names several fields, never only the first."""
    with pytest.raises(SpecError) as caught:
        model_of({"model_type": family})
    missing = re.findall(r"the field '(\w+)' is missing", str(caught.value))
    assert len(missing) >= 2
    assert len(set(missing)) == len(missing)


def test_layers_of_qwen3_next_and_kimi_linear() -> None:
    model = model_of(QWEN3_NEXT)
    kinds = [model.layer(i).mixer.kind for i in range(8)]
    assert kinds == ["gated-delta", "gated-delta", "gated-delta", "GQA"] * 2
    delta = model.layer(0).mixer
    assert delta == DeltaAttention(heads=32, key_heads=16, qk_width=128, v_width=128, conv_width=4)
    # Queries, keys, values, gate and output; a correction and a decay a head; four taps.
    assert delta.weights(2048) == 2048 * (2 * 2048 + 3 * 4096 + 2 * 32) + 8192 * 4
    full = model.layer(3).mixer
    assert isinstance(full, SoftmaxAttention)
    assert full.gated
    assert full.weights(2048) == 2048 * 256 * (16 + 2 + 2 + 16 + 16)
    listed = ["linear_attention", "full_attention"] * 24
    assert model_of(QWEN3_NEXT | {"layer_types": listed}).layer(1).mixer == full
    kimi = model_of(KIMI_LINEAR)
    assert [kimi.layer(i).mixer.kind for i in (0, 2, 3, 25, 26)] == [
        *("KDA", "KDA", "MLA", "KDA", "MLA")
    ]
    assert type(kimi.layer(0).ffn) is FeedForward
    assert isinstance(kimi.layer(1).ffn, Experts)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (QWEN3_NEXT | {"linear_num_value_heads": 24}, "16 does not divide linear_num_value_heads"),
        (QWEN3_NEXT | {"layer_types": ["mamba"] * 48}, "expected 'full_attention' or 'linear_att"),
        (QWEN3_NEXT | {"num_experts_per_tok": 513}, "a token goes to 513 experts, there are 512"),
        (RWKV7 | {"num_heads": 32}, "hidden_size 768 has 12 heads of head_dim 64, not 32"),
        (RWKV7 | {"attn": {"layers": [3]}}, "'attn' is not read for 'rwkv7'"),
        (RWKV7 | {"hidden_act": "relu"}, "expected 'sqrelu', 'relu2', got 'relu'"),
        (RWKV7 | {"value_dim": [768] * 11}, "expected one entry for each of 12 layers"),
        (RWKV7 | {"value_dim": 767}, "12 does not divide value_dim, 767"),
        (QWEN3_NEXT | {"full_attention_interval": 0}, "at least 1, got 0"),
        (
            KIMI_LINEAR
            | {"linear_attn_config": KIMI_LINEAR["linear_attn_config"] | {"kda_layers": [1]}},
            "together are not the layers 1 to 27, each once",
        ),
        (
            KIMI_LINEAR | {"linear_attn_config": KIMI_LINEAR["linear_attn_config"] | {"mode": 7}},
            "'mode' is not read",
        ),
        (KIMI_LINEAR | {"linear_attn_config": 7}, "linear_attn_config"),
    ],
)
def test_bad_fields_of_hybrids(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        model_of(fields)
