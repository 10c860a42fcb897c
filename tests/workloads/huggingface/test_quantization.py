"""``quantization_config``: which weights have which format, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import refused
from family_cases import GLM_5_2, QWEN35
from model_cases import DEEPSEEK_V3, GPT_OSS, LLAMA, QWEN3_NEXT, model_of

from archsim import Architecture, simulate
from workloads import Part, Workload, load

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}


def of_fields(folder: Path, fields: dict[str, Any], **more: Any) -> Workload:
    path = folder / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return load(str(path), **more)


def formats(part: Part) -> dict[str, str]:
    return dict(part.formats.tensors)


def test_fp8_is_for_all_linear_layers_but_the_head_and_routers(tmp_path: Path) -> None:
    fields = DEEPSEEK_V3 | {"quantization_config": FP8}
    work = of_fields(tmp_path, fields, scope="model", phase="decode", cached_len=9)
    found = {part.name: formats(part) for part in work.parts}
    assert found["sparse.router"] == found["output-head"] == {}
    assert found["sparse.attention"] == {"WK": "fp8_e4m3", "WV": "fp8_e4m3"}
    assert found["sparse.expert-up"] == {"WG": "fp8_e4m3", "WU": "fp8_e4m3"}
    others = {name for name, given in found.items() if given.get("W") == "fp8_e4m3"}
    assert {"dense.ffn-down", "sparse.expert-down", "sparse.output-projection"} <= others
    assert any("experts fp8_e4m3; scales of blocks" in said for said in work.left_out)
    # A format that the workload states itself wins, and goes beside it.
    lines = ("formats.W=int8", "formats.default=bf16")
    stated = load(str(tmp_path / "config.json"), lines, scope="block", seq_len=9)
    own = {part.name: part.formats for part in stated.parts}
    assert own["ffn-down"].of("W").name == "int8"
    assert own["ffn-down"].of("X").name == "bf16"


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
    assert whole.bounds.traffic_bytes - half.bounds.traffic_bytes == pytest.approx(weights)
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
    assert found["gate-projection"] == found["output-projection"] == {"W": "fp8_e4m3"}
    said = "projections (but for beta-projection and decay-projection) fp8_e4m3"
    assert any(said in note for note in work.left_out)
    assert model_of(fields).parameters == model_of(QWEN35).parameters


def test_qwen3_next_has_both_in_one_module() -> None:
    kept = ("A_log", "dt_bias", "in_proj_ba", "norm")
    modules = [f"model.layers.{i}.linear_attn.{name}" for i in range(48) for name in kept]
    fields = QWEN3_NEXT | {"quantization_config": listed(*modules)}
    assert model_of(fields).weights.kept == ("beta-projection", "decay-projection")


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
    assert found["indexer-key-projection"] == {"W": "fp8_e4m3"}


@pytest.mark.parametrize(
    ("fields", "modules", "message"),
    [
        (QWEN35, qwen35_modules(range(63))[:-3], "is converted in layer 62: fp8 is for all"),
        (
            LLAMA,
            ["model.layers.0.linear_attn.in_proj_a"],
            "in_proj_a' is left out, and no layer has it",
        ),
        (LLAMA, ["model.layers.31.mlp.down_proj"], "down_proj' is left out"),
        (GLM_5_2, ["model.layers.77.mlp.down_proj"], "down_proj' is left out"),
        (QWEN35, ["model.layers.0.linear_attn.out_proj"], "linear_attn.out_proj' is left out"),
    ],
)
def test_projections_left_out_of_some_layers_are_refused(
    tmp_path: Path, fields: dict[str, Any], modules: list[str], message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields | {"quantization_config": listed(*modules)}))
    assert message in refused("show", str(path), "--summary")


def test_layers_behind_the_last_are_not_run() -> None:
    one, more = (
        LLAMA | {"quantization_config": value}
        for value in (FP8, listed("model.layers.32.mlp.down_proj"))
    )
    assert model_of(more) == model_of(one)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"quant_method": "gptq", "bits": 4},
            "weights quantised by 'gptq' are not read: their groups have scales and zero points",
        ),
        ({"quant_method": ["fp8"]}, "are not read"),
        ({"bits": 4}, "weights quantised by 'None' are not read"),
        (7, "weights quantised by 7 are not read"),
        (["fp8"], "are not read"),
        ({"quant_method": "mxfp4"}, "mxfp4 is for experts, and the model has none"),
        (FP8 | {"fmt": "e9"}, "fmt: expected e4m3 or e5m2, got 'e9'"),
        (FP8 | {"kv_cache_dtype": "fp8"}, "'kv_cache_dtype' is not read for 'fp8'"),
        (FP8 | {"ignored_layers": ["model.layers.0.self_attn"]}, "is left out, and fp8 is for"),
        (FP8 | {"modules_to_not_convert": 7}, "'7' is left out"),
        (FP8 | {"weight_block_size": 128}, "weight_block_size: expected two whole numbers above 0"),
        (FP8 | {"weight_block_size": [128, 0]}, "expected two whole numbers above 0, got [128, 0]"),
        (FP8 | {"activation_scheme": "none"}, "activation_scheme: expected dynamic or static"),
        (
            MXFP4 | {"modules_to_not_convert": ["model.layers.0.mlp.experts"]},
            "'model.layers.0.mlp.experts' is left out, and mxfp4 is for experts",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA | {"quantization_config": value}), encoding="utf-8")
    said = refused("show", str(path), "--summary")
    assert message in said
    assert "config.json:1" in said
