"""Stacks of states or convolutions and softmax: layers by hand, fields, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hybrid_cases import (
    BAMBA,
    GRANITE_H_TINY,
    HYBRIDS,
    LFM2,
    LFM2_MOE,
    NEMOTRON_3_NANO,
    NEMOTRON_9B,
    RECURRENT_GEMMA,
)
from model_cases import JAMBA, LLAMA, model_of

from einsum_cascade.errors import SpecError
from workloads import load, summarize
from workloads.models import (
    Experts,
    FeedForward,
    GatedRecurrence,
    ShortConvolution,
    SoftmaxAttention,
    StateSpaceDual,
)
from workloads.parts.model import kinds_of_layers

MICRO = next(case.fields for case in HYBRIDS if case.name.endswith("h-micro"))


def test_blocks_of_nemotron() -> None:
    """A mixer and the network behind it are a layer; some mixers have none behind them."""
    model = model_of(NEMOTRON_3_NANO)
    # 52 blocks: 23 of Mamba-2 and 6 of softmax, 23 of experts behind 17 and 6 of them.
    assert kinds_of_layers(model) == {"SSD-sparse": 17, "SSD-alone": 6, "GQA-sparse": 6}
    first, third = model.layer(0), model.layer(2)
    dual = StateSpaceDual(heads=64, head_width=64, state=128, groups=8, conv_width=4, chunk=128)
    assert first.mixer == third.mixer == dual
    assert third.ffn is None
    assert model.layer(3).mixer == SoftmaxAttention(heads=32, kv_heads=2, qk_width=128, v_width=128)
    experts = first.ffn
    assert isinstance(experts, Experts)
    assert (experts.inner, experts.gated, experts.activation) == (1856, False, "squared relu")
    # Two products in each of 128 experts and in the shared one, and the router.
    assert experts.weights(2688) == 2 * 2688 * (128 * 1856 + 3712) + 128 * 2688
    assert experts.idle_parameters(2688) == 2 * 2688 * (128 - 6) * 1856
    # Norms of both blocks, of the state's output; A, steps and skip a head; the convolution's
    # biases of X, B and C; the router's.
    assert first.other_parameters == 2 * 2688 + 4096 + 3 * 64 + (4096 + 2 * 8 * 128) + 128
    dense = model_of(NEMOTRON_9B)
    assert dense.layer(0).ffn == FeedForward(inner=15680, gated=False, activation="squared relu")
    kinds = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
    for names in (kinds, kinds | {"M": "linear_attention", "*": "full_attention"}):
        fields = dict(NEMOTRON_3_NANO)
        pattern = fields.pop("hybrid_override_pattern")
        assert model_of(fields | {"layers_block_type": [names[k] for k in pattern]}) == model


def test_jamba_with_one_expert_is_dense() -> None:
    """Nothing is routed, so that how many experts a token goes to need not be said."""
    experts, one = model_of(JAMBA), model_of(JAMBA | {"num_experts": 1})
    assert experts.parameters is not None
    # Sixteen layers lose fifteen experts of three matrices each, and the router.
    less = 16 * (15 * 3 * 4096 * 14336 + 16 * 4096)
    assert one.parameters == experts.parameters - less
    assert one.active_parameters == one.parameters - (65536 - 1) * 4096


def test_experts_without_gates_run_as_such(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(NEMOTRON_3_NANO), encoding="utf-8")
    work = load(str(path), phase="decode", cached_len=99, scope="model")
    first = {part.cascade for part in work.parts if part.name.endswith("expert-up")}
    assert first == {"linear-layer-squared-relu"}
    # A key and a value of both heads in six layers; in 23 a state of 64 heads and three tokens.
    summary = summarize(work)
    assert summary.cache_bytes_per_token == 2 * 6 * 2 * 2 * 128
    assert summary.state_bytes == 2 * 23 * (64 * 64 * 128 + 3 * (4096 + 2 * 8 * 128))


def test_layers_of_bamba_and_granite() -> None:
    bamba, tiny, micro = (model_of(fields) for fields in (BAMBA, GRANITE_H_TINY, MICRO))
    assert [i for i in range(32) if bamba.layer(i).mixer.kind == "GQA"] == [9, 18, 27]
    assert model_of(BAMBA | {"attn_layer_indices": None}).cached == ()
    assert model_of(BAMBA | {"mamba_d_head": "auto"}) == bamba
    assert tiny.layer(0).ffn == Experts(experts=64, per_token=6, inner=512, shared_inner=1024)
    assert micro.layer(0).ffn == FeedForward(inner=8192, gated=True)
    assert kinds_of_layers(tiny) == {"SSD": 36, "GQA": 4}
    # As later versions of the class call them.
    later = {"mamba": "linear_attention", "attention": "full_attention"}
    renamed = {"layer_types": [later[kind] for kind in GRANITE_H_TINY["layer_types"]]}
    assert model_of(GRANITE_H_TINY | renamed) == tiny
    without = {k: v for k, v in MICRO.items() if k != "layer_types"}
    assert kinds_of_layers(model_of(without)) == {"SSD": 40}


def test_layers_of_lfm2() -> None:
    dense, sparse = model_of(LFM2), model_of(LFM2_MOE)
    short = ShortConvolution(channels=2048, conv_width=3)
    assert [i for i in range(16) if dense.layer(i).mixer != short] == [2, 5, 8, 10, 12, 14]
    # Two thirds of 12,288.
    assert dense.layer(0).ffn == FeedForward(inner=8192, gated=True)
    odd = LFM2 | {"block_ff_dim": 6656, "block_ffn_dim_multiplier": 1.1}
    assert model_of(odd).layer(0).ffn == FeedForward(inner=5120, gated=True), "up from 4,880"
    plain = model_of(LFM2 | {"block_auto_adjust_ff_dim": False})
    assert plain.layer(0).ffn == FeedForward(inner=12288, gated=True)
    assert [type(sparse.layer(i).ffn) for i in (1, 2)] == [FeedForward, Experts]
    # Projections of channels and both gates, and of what comes out; three taps.
    assert short.weights(2048) == 4 * 2048**2 + 3 * 2048
    kinds = ["conv"] * 15 + ["full_attention"]
    assert kinds_of_layers(model_of(LFM2 | {"layer_types": kinds})) == {"convolution": 15, "GQA": 1}


def test_layers_of_recurrent_gemma() -> None:
    model = model_of(RECURRENT_GEMMA)
    gated = GatedRecurrence(inner=2560, blocks=10, conv_width=4)
    assert [i for i in range(9) if model.layer(i).mixer != gated] == [2, 5, 8]
    assert model.layer(2).mixer == SoftmaxAttention(
        heads=10, kv_heads=1, qk_width=256, v_width=256, window=2048
    )
    assert model.layer(0).ffn == FeedForward(inner=7680, gated=True, activation="gelu")
    # Channels, their gate, and the output; four taps; two gates of ten blocks of 256 channels.
    assert gated.weights(2560) == 3 * 2560**2 + 4 * 2560 + 2 * 10 * 256**2
    assert dict(model.cached) == {"K": 8 * 256, "V": 8 * 256}
    # A word of each channel, and three tokens before the convolution.
    assert model.state_elements == 18 * (2560 + 3 * 2560)


@pytest.mark.parametrize(
    ("fields", "parts", "cascades"),
    [
        (
            LFM2,
            ["input-projection", "attention", "output-projection"],
            ["depthwise-convolution-linear"] * 3,
        ),
        (
            RECURRENT_GEMMA,
            [
                *("input-projection", "convolution", "input-gate-projection"),
                *("recurrent-gate-projection", "attention", "output-projection"),
            ],
            ["rg-lru-prefill", "rg-lru-resumed", "rg-lru-step"],
        ),
    ],
    ids=["lfm2", "recurrent_gemma"],
)
def test_what_a_layer_runs(
    tmp_path: Path, fields: dict[str, Any], parts: list[str], cascades: list[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    phases: list[dict[str, Any]] = [
        {"seq_len": 24},
        {"phase": "chunked-prefill", "cached_len": 99, "seq_len": 24},
        {"phase": "decode", "cached_len": 99},
    ]
    for phase, cascade in zip(phases, cascades, strict=True):
        work = load(str(path), scope="block", layer=0, **phase)
        assert [part.name for part in work.parts][: len(parts)] == parts
        assert [part.cascade for part in work.parts if part.name == "attention"] == [cascade]


@pytest.mark.parametrize(
    ("fields", "change", "more"),
    [
        # Of both projections: Z, X, B, C and the steps, and what comes out.
        (BAMBA, {"mamba_proj_bias": True}, 29 * (2 * 8192 + 2 * 128 + 128 + 4096)),
        (BAMBA, {"mamba_conv_bias": False}, -29 * (8192 + 2 * 128)),
        (GRANITE_H_TINY, {"attention_bias": True}, 4 * (2 * 1536 + 2 * 512)),
        # Of what goes in, of the taps, and of what comes out.
        (LFM2, {"conv_bias": True}, 10 * 5 * 2048),
        (LFM2, {"tie_embedding": False}, 65536 * 2048),
        (LFM2_MOE, {"use_expert_bias": False}, -22 * 32),
        (RECURRENT_GEMMA, {"attention_bias": True}, 8 * (2560 + 2 * 256)),
        (NEMOTRON_9B, {"use_conv_bias": False}, -27 * (10240 + 2 * 8 * 128)),
        (NEMOTRON_9B, {"mlp_bias": True}, 25 * (15680 + 4480)),
        (NEMOTRON_9B, {"attention_bias": True}, 4 * (5120 + 2 * 1024 + 4480)),
        (NEMOTRON_9B, {"use_bias": True}, 27 * (2 * 10240 + 2 * 8 * 128 + 128 + 4480)),
    ],
)
def test_what_a_field_adds(fields: dict[str, Any], change: dict[str, Any], more: int) -> None:
    before, after = model_of(fields).parameters, model_of(fields | change).parameters
    assert before is not None
    assert after == before + more


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (BAMBA | {"attn_layer_indices": [32]}, "the layers are 0 to 31, got 32"),
        (BAMBA | {"mamba_d_head": 32}, "128 heads of mamba_d_head 32 are not mamba_expand x"),
        (BAMBA | {"mamba_d_head": None}, "expected a whole number"),
        (BAMBA | {"mamba_n_groups": 3}, "mamba_n_groups: 3 does not divide mamba_n_heads, 128"),
        (BAMBA | {"num_local_experts": 8}, "'num_local_experts' is not read for 'bamba'"),
        (GRANITE_H_TINY | {"layer_types": ["mamba"]}, "one entry for each of 40 layers"),
        (GRANITE_H_TINY | {"layer_types": ["full"] * 40}, "expected 'mamba' or 'attention'"),
        (GRANITE_H_TINY | {"num_experts_per_tok": 0}, "layers have experts, and this is 0"),
        (NEMOTRON_9B | {"hybrid_override_pattern": "M-M"}, "one entry for each of 56 layers"),
        (NEMOTRON_9B | {"hybrid_override_pattern": "X" * 56}, "entry 0: expected 'M' or"),
        (NEMOTRON_9B | {"hybrid_override_pattern": None}, "it says which blocks there are"),
        (
            NEMOTRON_9B | {"num_hidden_layers": 3, "hybrid_override_pattern": "M--"},
            "a feed-forward network stands behind no mixer",
        ),
        (NEMOTRON_3_NANO | {"n_routed_experts": 0}, "some blocks have experts, and this is 0"),
        (NEMOTRON_3_NANO | {"moe_latent_size": 1024}, "'moe_latent_size' is not read"),
        (NEMOTRON_3_NANO | {"mamba_proj_bias": True}, "'mamba_proj_bias' is not read"),
        (LLAMA | {"model_type": "falcon_h1"}, "adds up softmax and Mamba-2 side by side"),
        (LFM2 | {"block_dim": 1024}, "block_dim: expected 2048"),
        (LFM2 | {"layer_types": ["conv"]}, "expected one entry for each of 16 layers"),
        (LFM2 | {"block_ff_dim": 1}, "nothing is left of it once it is adjusted"),
        (LFM2_MOE | {"num_experts_per_tok": 33}, "a token goes to 33 experts, there are 32"),
        (RECURRENT_GEMMA | {"head_dim": 128}, "10 heads of 2560 are 256 wide, not 128"),
        (RECURRENT_GEMMA | {"lru_width": 2561}, "10 does not divide lru_width, 2561"),
        (RECURRENT_GEMMA | {"intermediate_size": 7}, "2 does not divide intermediate_size, 7"),
        (RECURRENT_GEMMA | {"block_types": [], "_block_types": []}, "no kind of layer is named"),
        (NEMOTRON_9B | {"mamba_state_dim": 64}, "mamba_state_dim: expected 128"),
        (NEMOTRON_9B | {"mamba_num_groups": 1}, "mamba_num_groups: expected 8"),
        (RECURRENT_GEMMA | {"_block_types": ["attention"]}, "_block_types: expected ('recurrent'"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpecError, match=re.escape(wanted)):
        model_of(fields)
