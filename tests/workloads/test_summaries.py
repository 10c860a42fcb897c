"""Summaries of models: parameters as published, cache and operations of a token by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from model_cases import DEEPSEEK_V3, LLAMA, MAMBA2, T5
from portions import left

from archsim import Architecture, Result, simulate
from einsum_cascade.yaml.library import builtin_names
from workloads import ModelSummary, load, summarize

BILLION = 1e9
PUBLISHED: dict[str, tuple[float, float]] = {
    # Parameters and those a token meets, in billions, as model cards and papers say them.
    "llama-3-8b": (8.03, 8.03),
    "llama-3-70b": (70.6, 70.6),
    "qwen3-8b": (8.2, 8.2),
    "qwen3-30b-a3b": (30.5, 3.35),
    "mistral-7b": (7.24, 7.24),
    "gemma-2-9b": (9.24, 9.24),
    "deepseek-v3": (671, 37.6),
    "minimax-text-01": (456, 48.4),  # 45.9 without its two embeddings of 1.23 each
    "mamba-2-2.7b": (2.7, 2.7),
    "transnormerllm-15b": (15, 15),
    "vit-b-16": (0.086, 0.086),
    "gpt-oss-20b": (20.91, 4.19),
    "gpt-oss-120b": (116.83, 5.75),
    "qwen3-235b-a22b": (235, 22.2),
    "mixtral-8x7b": (46.7, 12.9),
    "glm-4.5": (355, 33.6),  # the layer that predicts further tokens is not read
    "glm-4.5-air": (106, 13.4),
    "kimi-k2": (1030, 32.86),
    "olmo-2-13b": (13.7, 13.7),
    "falcon-mamba-7b": (7.27, 7.27),
    "jamba-v0.1": (52, 12.1),
    "llama-4-maverick": (400, 17.2),
    "whisper-large-v3": (1.55, 1.55),
    "deepseek-v3.2": (671, 38.4),
    "modernbert-base": (0.149, 0.149),
    "qwen3-next-80b-a3b": (80, 3.87),
    "kimi-linear-48b-a3b": (49.1, 3.48),
    "rwkv-7-2.9b": (2.947735040, 2.947735040),
    "qwen3.5-27b": (26.9, 26.9),  # of 27.8 an encoder of images and a further layer are 0.9
    "minimax-m2": (228.7, 11.03),  # 9.8 without its two embeddings of 0.61 each
    "glm-5.2": (744, 41.25),
    "nemotron-3-nano-30b-a3b": (31.6, 3.58),
}
WITHOUT_EMBEDDINGS: dict[str, tuple[float, int]] = {
    # Active parameters where authors leave out the input embedding (1), both (2) or none (0).
    "minimax-text-01": (45.9, 2),
    "gpt-oss-20b": (3.61, 1),
    "gpt-oss-120b": (5.13, 1),
    "glm-4.5": (32, 2),
    "qwen3-235b-a22b": (22, 0),
    "mixtral-8x7b": (12.9, 0),
    "minimax-m2": (9.8, 2),
    "glm-5.2": (39.4, 2),
    "nemotron-3-nano-30b-a3b": (3.23, 1),
}
SHIPPED = tuple(name for name in builtin_names("workloads") if load(name).model is not None)


def of(folder: Path, fields: dict[str, Any], **more: Any) -> ModelSummary:
    path = folder / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    return summarize(load(str(path), **more))


@pytest.mark.parametrize("name", SHIPPED)
def test_parameters_are_those_its_authors_publish(name: str) -> None:
    found = summarize(load(name))
    parameters, active = PUBLISHED[name]
    assert found.parameters == pytest.approx(parameters * BILLION, rel=0.01)
    model = load(name).model
    assert model is not None
    # The table counts the whole input embedding, of which a token uses one row.
    one_table = model.tied_embeddings or not model.vocab_size
    unused = 0 if one_table else (model.vocab_size - 1) * model.width
    assert found.active_parameters + unused == pytest.approx(active * BILLION, rel=0.01)
    assert sum(count for _, count in found.layers) == model.layer_count


def test_biases_of_experts_not_chosen_are_not_active() -> None:
    """gpt-oss: 5.13 and 3.61 billion, to all digits that its card has (arXiv 2508.10925)."""
    for name, active in {"gpt-oss-120b": 5_132_849_472, "gpt-oss-20b": 3_608_307_264}.items():
        model = load(name).model
        assert model is not None
        assert model.active_parameters == active + model.width


@pytest.mark.parametrize("name", WITHOUT_EMBEDDINGS)
def test_active_parameters_are_those_its_authors_publish(name: str) -> None:
    model = load(name).model
    assert model is not None
    assert model.active_parameters is not None
    active, tables = WITHOUT_EMBEDDINGS[name]
    table = model.width * (model.vocab_size or 0)
    assert model.active_parameters - (tables - 1) * table == pytest.approx(
        active * BILLION, rel=0.01
    )


@pytest.mark.parametrize(
    ("name", "elements", "state"),
    [
        # A key and a value of 128 for each of eight heads; four heads; eight heads of 256.
        ("llama-3-8b", 32 * 8 * (128 + 128), 0),
        ("qwen3-30b-a3b", 48 * 4 * (128 + 128), 0),
        ("gemma-2-9b", 42 * 8 * (256 + 256), 0),
        # The latent, and one rotated key for all heads.
        ("deepseek-v3", 61 * (512 + 64), 0),
        # Beside these the indexer's key.
        ("deepseek-v3.2", 61 * (512 + 64 + 128), 0),
        # Ten layers of softmax; 70 with a state of 64 heads.
        ("minimax-text-01", 10 * 8 * (128 + 128), 70 * 64 * 128 * 128),
        # 80 heads of 64 by 128, and three tokens of X, B and C for the convolution.
        ("mamba-2-2.7b", 0, 64 * (80 * 64 * 128 + 3 * (5120 + 2 * 128))),
        ("vit-b-16", 0, 0),
        # Four layers of softmax; 28 with 16 words a channel, and three tokens of the channels.
        ("jamba-v0.1", 4 * 8 * (128 + 128), 28 * 8192 * (16 + 3)),
        ("gpt-oss-20b", 24 * 8 * (64 + 64), 0),
        # Twelve layers of two heads; 36 with 32 states, and three tokens of what is convolved.
        (
            "qwen3-next-80b-a3b",
            12 * 2 * (256 + 256),
            36 * (32 * 128 * 128 + 3 * (2 * 16 * 128 + 32 * 128)),
        ),
        # Forty states of 64 by 64, and the token before, twice.
        ("rwkv-7-2.9b", 0, 32 * (40 * 64 * 64 + 2 * 2560)),
        # 32 layers of twenty heads; as many, and the 1,500 tokens of an encoder for each.
        ("whisper-large-v3", 32 * 20 * (64 + 64), 1500 * 32 * 20 * (64 + 64)),
        ("kimi-linear-48b-a3b", 7 * (512 + 64), 20 * (32 * 128 * 128 + 3 * 3 * 32 * 128)),
    ],
)
def test_cache_and_state_by_hand(name: str, elements: int, state: int) -> None:
    found = summarize(load(name))
    assert (found.cache_bytes_per_token, found.state_bytes) == (2 * elements, 2 * state)


def test_formats_of_a_cache() -> None:
    """32 layers of eight heads: a byte for a key's element, two for a value's; 4.25 bits each."""
    keys = summarize(load("llama-3-8b", "formats.K=fp8_e4m3"))
    assert keys.cache_bytes_per_token == 32 * 8 * 128 * (1 + 2)
    both = summarize(load("llama-3-8b", ("formats.K=mxfp4", "formats.V=mxfp4")))
    assert both.cache_bytes_per_token == 32 * 8 * 256 * 4.25 / 8
    latents = summarize(load("deepseek-v3", "formats.default=fp32"))
    assert latents.cache_bytes_per_token == 4 * 61 * 576


def test_operations_of_a_token_by_hand() -> None:
    """Every weight but the input embedding and the norms once, and each key twice."""
    found = summarize(load("llama-3-8b", seq_len=1000))
    operations = dict(found.operations)
    weights = 8_030_261_248 - 128256 * 4096 - (2 * 32 + 1) * 4096
    assert operations["mac"] == weights + 32 * 32 * (128 + 128) * 1000
    # A new maximum rescales the sum before it: one more a head.
    assert operations["exp"] == 32 * 32 * (1000 + 1)
    assert operations["silu"] == 32 * 14336
    # A window takes no more keys than it has.
    assert summarize(load("mistral-7b", seq_len=9000)) != summarize(load("mistral-7b", seq_len=99))
    wide = dict(summarize(load("mistral-7b", seq_len=9000)).operations)
    assert wide["mac"] == dict(summarize(load("mistral-7b", seq_len=5000)).operations)["mac"]


@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v3", left("minimax-text-01")])
def test_operations_are_those_of_a_simulated_token(name: str) -> None:
    work = load(name, scope="model", phase="decode", cached_len=255, batch=1)
    result = simulate(work, Architecture.load("fusemax"))
    macs = sum(dict(e.operations).get("mac", 0) for e in result.einsums)
    assert dict(summarize(work).operations)["mac"] == macs
    assert result.tokens == 1
    assert result.tokens_per_s == pytest.approx(1 / result.latency_s)
    assert result.joules_per_token == pytest.approx(result.energy_pj * 1e-12)
    assert Result.from_dict(result.to_dict()) == result


def test_an_encoder_and_a_decoder(tmp_path: Path) -> None:
    """T5's token passes the decoder, whose keys alone are cached a token."""
    found = of(tmp_path, T5)
    assert dict(found.layers) == {"encoder-MHA": 6, "decoder-MHA": 6}
    assert found.cache_bytes_per_token == 2 * 6 * 8 * (64 + 64)
    assert found.decoded
    # The decoder's layers keep a key and a value of each token of the encoder, too.
    assert found.encoder_cache_bytes_per_token == 2 * 6 * 8 * (64 + 64)
    text = run("show", str(tmp_path / "config.json"), "--summary").stdout
    assert "12 KiB a token of the encoder" in " ".join(text.split())
    assert not summarize(load("vit-b-16")).decoded


def test_widths_of_an_edited_model(tmp_path: Path) -> None:
    whole = of(tmp_path, LLAMA)
    assert of(tmp_path, LLAMA | {"num_key_value_heads": 1}).cache_bytes_per_token * 8 == (
        whole.cache_bytes_per_token
    )
    tied = of(tmp_path, LLAMA | {"tie_word_embeddings": True})
    assert whole.parameters - tied.parameters == 128256 * 4096
    # The output head is computed all the same.
    assert tied.operations == whole.operations
    assert of(tmp_path, MAMBA2).parameters == 2_702_599_680
    dense = of(tmp_path, DEEPSEEK_V3 | {"n_routed_experts": None})
    assert dense.active_parameters == dense.parameters - (129280 - 1) * 7168


def test_the_command() -> None:
    found = json.loads(run("show", "minimax-text-01", "--summary", "--json").stdout)
    assert list(found) == [
        "parameters",
        "active_parameters",
        "operations_per_token",
        "cache_bytes_per_token",
        "layers",
    ]
    assert found["layers"] == {"lightning": 70, "GQA": 10}
    text = run("show", "qwen3-30b-a3b", "--summary", "--set", "seq_len=1K").stdout
    assert "30,532,122,624" in text
    assert "96 KiB a token" in text
    assert "after 1,023 others" in text


def test_what_has_no_summary(tmp_path: Path) -> None:
    assert "this workload has shapes alone" in refused("show", "bert-base", "--summary")
    assert "go with --summary" in refused("show", "llama-3-8b", "--json")
    assert "workload" in refused("show", "fusemax-binding", "--summary")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({k: v for k, v in LLAMA.items() if k != "vocab_size"}))
    assert "without 'vocab_size'" in refused("show", str(path), "--summary")
    heads = LLAMA | {"num_attention_heads": 0}
    path.write_text(json.dumps(heads))
    message = refused("show", str(path), "--summary")
    assert "config.json:1" in message
    assert "num_attention_heads: expected a whole number, at least 1, got 0" in message
    assert "E: given by hand" in refused("show", "llama-3-8b", "--summary", "--set", "E=32")
