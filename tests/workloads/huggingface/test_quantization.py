"""``quantization_config``: which weights have which format, and what is refused.

The fields are those of published files: deepseek-ai/DeepSeek-V3 (fp8), openai/gpt-oss-20b (mxfp4),
moonshotai/Kimi-K2-Thinking (compressed-tensors), nvidia/DeepSeek-R1-FP4 (modelopt),
Qwen/Qwen2.5-7B-Instruct-AWQ, and Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import refused
from family_cases import GLM_5_2, QWEN35
from model_cases import DEEPSEEK_V3, GPT_OSS, LLAMA, QWEN3_NEXT, model_of

from archsim import Architecture, simulate
from archsim.result.result import Result
from workloads import Part, Workload, load
from workloads.models import ModelConfig
from workloads.summary import summarize

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}


def of_fields(folder: Path, fields: dict[str, Any], **more: Any) -> Workload:
    path = folder / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return load(str(path), **more)


def formats(part: Part) -> dict[str, str]:
    return dict(part.formats.tensors)


FP8_PRODUCT = {"W": "fp8_e4m3", "X": "fp8_e4m3"}


def test_fp8_is_for_all_linear_layers_but_the_head_and_routers(tmp_path: Path) -> None:
    fields = DEEPSEEK_V3 | {"quantization_config": FP8}
    work = of_fields(tmp_path, fields, scope="model", phase="decode", cached_len=9)
    found = {part.name: formats(part) for part in work.parts}
    assert found["sparse.router"] == found["output-head"] == {}
    assert found["sparse.attention"] == {"WK": "fp8_e4m3", "WV": "fp8_e4m3"}
    assert found["sparse.expert-up"] == dict.fromkeys(("WG", "WU", "X"), "fp8_e4m3")
    others = {name for name, given in found.items() if given == FP8_PRODUCT}
    assert {"dense.ffn-down", "sparse.expert-down", "sparse.output-projection"} <= others
    # A format that the workload states itself wins, and goes beside it.
    lines = ("formats.W=int8", "formats.X=fp16", "formats.default=bf16")
    stated = load(str(tmp_path / "config.json"), lines, scope="block", seq_len=9)
    own = {part.name: part.formats for part in stated.parts}
    assert own["ffn-down"].of("W").name == "int8"
    assert own["ffn-down"].of("X").name == "fp16"
    assert own["ffn-down"].of("Z").name == "bf16"


def test_mxfp4_is_for_experts(tmp_path: Path) -> None:
    work = of_fields(tmp_path, GPT_OSS | {"quantization_config": MXFP4}, scope="block", seq_len=9)
    found = {part.name: formats(part) for part in work.parts if formats(part)}
    up = {"WG": "mxfp4", "WU": "mxfp4"}
    assert {name.split("-")[-1] for name in found} == {"up", "down"}
    assert all("expert" in name for name in found)
    assert all(
        given == (up if name.endswith("up") else {"W": "mxfp4"}) for name, given in found.items()
    )


def test_weights_of_half_the_width_are_half_the_traffic(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"scope": "block", "phase": "decode", "cached_len": 9}
    machine = Architecture.load("fusemax")
    whole = simulate(of_fields(tmp_path, LLAMA, **fields), machine)
    half = simulate(of_fields(tmp_path, LLAMA | {"quantization_config": FP8}, **fields), machine)
    weights = 4096 * (4096 * 2 + 1024 * 2) + 3 * 4096 * 14336
    inputs = 3 * 4096 + 4096 + 4096 + 14336
    fewer = whole.bounds.traffic_bytes - half.bounds.traffic_bytes
    assert fewer == pytest.approx(weights + inputs)
    assert half.latency_s < 0.6 * whole.latency_s


def test_what_changes_nothing() -> None:
    plain = model_of(LLAMA)
    for value in (None, {}, FP8 | {"dequantize": True}):
        assert model_of(LLAMA | {"quantization_config": value}) == plain
    kept = ["lm_head", "model.layers.0.mlp.gate", "model.layers.0.input_layernorm"]
    fields = LLAMA | {"quantization_config": FP8}
    kept_too = LLAMA | {"quantization_config": FP8 | {"modules_to_not_convert": kept}}
    assert model_of(kept_too) == model_of(fields) != plain
    assert model_of(fields).parameters == plain.parameters


def listed(*modules: str) -> dict[str, Any]:
    return FP8 | {"modules_to_not_convert": list(modules)}


def qwen35_modules(layers: range) -> list[str]:
    """As Qwen3.5-27B-FP8 names them, for the layers of the gated delta rule among these."""
    stem = "model.language_model.layers"
    names = ("conv1d", "in_proj_a", "in_proj_b")
    return [f"{stem}.{i}.linear_attn.{name}" for i in layers if (i + 1) % 4 != 0 for name in names]


def test_small_projections_that_a_file_leaves_out_everywhere_stay_wide(tmp_path: Path) -> None:
    # Read in the public repositories that keep its list: also the head, the embedding, all of
    # the encoder of images, and the projection of the layer that predicts further tokens.
    beside = ["lm_head", "model.visual.merger.linear_fc1", "mtp.fc"]
    beside += ["model.language_model.embed_tokens", "mtp.layers.0.mlp.down_proj"]
    fields = QWEN35 | {"quantization_config": listed(*beside, *qwen35_modules(range(64)))}
    work = of_fields(tmp_path, fields, scope="model", phase="decode", cached_len=9)
    found = {part.name.split(".")[-1]: formats(part) for part in work.parts}
    assert found["beta-projection"] == found["decay-projection"] == found["convolution"] == {}
    assert found["gate-projection"] == found["output-projection"] == FP8_PRODUCT
    assert not any("no part here" in note for note in work.left_out)
    assert model_of(fields).parameters == model_of(QWEN35).parameters


def test_qwen3_next_has_both_in_one_module() -> None:
    kept = ("A_log", "dt_bias", "in_proj_ba", "norm")
    modules = [f"model.layers.{i}.linear_attn.{name}" for i in range(48) for name in kept]
    model = model_of(QWEN3_NEXT | {"quantization_config": listed(*modules)})
    assert kept_parts(model, 0) == {"beta-projection", "decay-projection"}
    assert kept_parts(model, 3) == set()


def kept_parts(model: ModelConfig, index: int) -> set[str]:
    return {part for part, own in model.layer(index).weights.others if own == ("", "")}


def test_weights_of_the_indexer_as_glm_5_2_names_them(tmp_path: Path) -> None:
    # Its list has a module in every layer, whether it has an indexer or takes picks; layer 78
    # predicts a further token.
    modules = [f"model.layers.{i}.self_attn.indexers_proj" for i in range(79)]
    beside = ("indexer.k_norm", "indexer.k_norm.bias")
    modules += [f"model.layers.0.self_attn.{name}" for name in beside]
    modules += ["model.layers.78.eh_proj", "model.layers.0.mlp.gate.e_score_correction_bias"]
    fields = GLM_5_2 | {"quantization_config": listed(*modules)}
    work = of_fields(tmp_path, fields, scope="block", layer=6, phase="decode", cached_len=9)
    found = {part.name: formats(part) for part in work.parts}
    assert found["indexer-weight-projection"] == {}
    assert found["indexer-key-projection"] == FP8_PRODUCT


def test_layers_whose_modules_are_left_out_are_layers_of_their_own() -> None:
    model = model_of(LLAMA | {"quantization_config": listed("model.layers.31.mlp.down_proj")})
    assert [run.count for run in model.runs] == [31, 1]
    assert kept_parts(model, 31) == {"ffn-down"}
    assert kept_parts(model, 30) == set()


@pytest.mark.parametrize(
    ("module", "shown"),
    [("model.layers.0.linear_attn.in_proj_a", True), ("lm_head", False), ("re:.*mlp.gate$", False)],
)
def test_modules_that_are_no_part_are_named(module: str, shown: bool) -> None:
    model = model_of(LLAMA | {"quantization_config": listed(module)})
    text = f"quantization_config names modules that are no part here: {module}"
    assert (text in model.omitted) == shown


# As moonshotai/Kimi-K2-Thinking: experts alone have four bits, in groups of 32.
KIMI = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "ignore": [
        *("lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"),
        r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
    ],
    "config_groups": {
        "group_0": {
            "input_activations": None,
            "targets": ["Linear"],
            "weights": {"group_size": 32, "num_bits": 4, "strategy": "group", "type": "int"},
        }
    },
    "kv_cache_scheme": None,
}
NVFP4 = {
    "quant_method": "modelopt",
    "producer": {"name": "modelopt", "version": "0.33.0"},
    "quant_algo": "NVFP4",
    "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
    "ignore": ["lm_head", *(f"model.layers.{i}.self_attn*" for i in range(62))],
}
HF_QUANT = {
    "quantization": {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": NVFP4["ignore"],
    }
}
EIGHT = {"num_bits": 8, "type": "float", "strategy": "tensor"}
MIXED = {
    "quant_method": "modelopt",
    "quant_algo": "MIXED_PRECISION",
    "quantized_layers": {
        **{f"model.layers.{i}.self_attn.o_proj": {"quant_algo": "FP8"} for i in range(61)},
        **{
            f"model.layers.{i}.mlp.experts.{expert}.{name}_proj": {"quant_algo": "NVFP4"}
            for i in range(61)
            for expert in range(9)
            for name in ("gate", "up", "down")
        },
    },
}


@pytest.mark.parametrize(
    ("value", "attention", "experts", "shared", "cache"),
    [
        (KIMI, {}, {"W": "int4_g32"}, {}, ""),
        (NVFP4, {}, {"W": "nvfp4", "X": "nvfp4"}, {"W": "nvfp4", "X": "nvfp4"}, "fp8_e4m3"),
        (HF_QUANT, {}, {"W": "nvfp4", "X": "nvfp4"}, {"W": "nvfp4", "X": "nvfp4"}, "fp8_e4m3"),
        (MIXED, FP8_PRODUCT, {"W": "nvfp4", "X": "nvfp4"}, {}, ""),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
            *({"W": "int4_g128"}, {"W": "int4_g128"}, {"W": "int4_g128"}, ""),
        ),
        (
            {"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": False},
            *({"W": "int8"}, {"W": "int8"}, {"W": "int8"}, ""),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "ignore": ["lm_head"],
                "config_groups": {"group_0": {"weights": EIGHT, "input_activations": EIGHT}},
            },
            *(FP8_PRODUCT, FP8_PRODUCT, FP8_PRODUCT, ""),
        ),
    ],
)
def test_methods_and_what_they_leave_out(
    tmp_path: Path, value: Any, attention: Any, experts: Any, shared: Any, cache: str
) -> None:
    fields = DEEPSEEK_V3 | {"quantization_config": value}
    more: dict[str, Any] = {"scope": "block", "layer": 5, "phase": "decode", "cached_len": 9}
    work = of_fields(tmp_path, fields, **more)
    found = {part.name: part for part in work.parts}
    names = ("output-projection", "expert-down", "shared-expert-down")
    own = [{t: f for t, f in formats(found[name]).items() if t in "WX"} for name in names]
    assert own == [attention, experts, shared]
    assert formats(found["attention"]).get("C", "") == cache
    assert not any("no part here" in said for said in model_of(fields).omitted)
    # What a user sets wins.
    mine = load(str(tmp_path / "config.json"), ("formats.C=int8", "formats.W=bf16"), **more)
    parts = {part.name: formats(part) for part in mine.parts}
    assert parts["attention"]["C"] == "int8"
    assert parts["expert-down"]["W"] == "bf16"
    assert model_of(fields).parameters == model_of(DEEPSEEK_V3).parameters


def test_a_cache_of_eight_bits_is_half_of_one_of_sixteen() -> None:
    scheme = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    sixteen, eight = (
        summarize(load("llama-3-8b", f"config.quantization_config={json.dumps(value)}"))
        for value in (FP8, FP8 | scheme)
    )
    assert sixteen.cache_bytes_per_token == 2 * eight.cache_bytes_per_token


def test_layers_behind_the_last_are_not_run() -> None:
    one, more = (
        LLAMA | {"quantization_config": value}
        for value in (FP8, listed("model.layers.32.mlp.down_proj"))
    )
    assert model_of(more) == model_of(one)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"quant_method": "hqq", "bits": 4}, "weights quantised by 'hqq' are not read"),
        ({"quant_method": ["fp8"]}, "are not read"),
        ({"bits": 4}, "weights quantised by 'None' are not read"),
        (7, "expected fields, got 7"),
        (["fp8"], "expected fields, got ['fp8']"),
        ({"quant_method": "gptq", "bits": 3}, "values of 3 bits in groups of -1 are not read"),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 48},
            "values of 4 bits in groups of 48 are not read",
        ),
        (FP8 | {"ignored_layers": ["re:("]}, "'re:(' is no pattern"),
        ({"quant_method": "modelopt", "quant_algo": "FP7"}, "quantised by 'FP7' are not read"),
        (FP8 | {"kv_cache_quant_algo": "FP7"}, "quantised by 'FP7' are not read"),
    ],
)
def test_what_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA | {"quantization_config": value}), encoding="utf-8")
    said = refused("show", str(path), "--summary")
    assert message in said
    assert "config.json:1" in said


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        *((name, "fp8_e4m3 and 16-bit words") for name in ("deepseek-v3", "kimi-k2", "minimax-m2")),
        *((f"gpt-oss-{size}", "mxfp4 and 16-bit words") for size in ("20b", "120b")),
        ("llama-3-8b", "16-bit words"),
    ],
)
def test_shipped_models_run_as_published(name: str, weights: str) -> None:
    work = load(name, scope="block", layer=5, phase="decode", cached_len=64)
    result = simulate(work, Architecture.load("fusemax"))
    assert result.to_dict()["formats"] == {"weights": weights, "caches": "16-bit words"}
    assert f"formats: weights {weights}; caches 16-bit words" in result._repr_html_()
    assert Result.from_dict(result.to_dict()) == result


def test_reports_name_the_formats_that_are_set() -> None:
    lines = ("formats.default=bf16", "formats.K=fp8_e4m3", "formats.V=fp8_e4m3")
    work = load("llama-3-8b", lines, scope="block", phase="decode", cached_len=64)
    formats = simulate(work, Architecture.load("fusemax")).to_dict()["formats"]
    assert formats == {"weights": "bf16", "caches": "fp8_e4m3"}
