"""What a layer has and nothing counts is said, and what would change scores is refused."""

from __future__ import annotations

import pytest
from family_cases import NEWER
from hybrid_cases import HYBRIDS
from model_cases import GEMMA2, LLAMA, model_of

from einsum_cascade.errors import SpecError
from workloads import load

GATE = "the product with the output's gate"
NORM = "the norm of the output"
MADE = "functions of decays and strengths"


@pytest.mark.parametrize("phase", ["prefill", "chunked-prefill", "decode"])
@pytest.mark.parametrize(
    ("name", "layer", "omitted"),
    [
        ("minimax-text-01", 0, f"activations of queries, keys and values, {NORM} and {GATE} are"),
        (
            "mamba-2-2.7b",
            0,
            f"the softplus and the products of steps, the skip of channels, {NORM} and {GATE} are",
        ),
        ("qwen3-next-80b-a3b", 0, f"{MADE}, {NORM} and {GATE} are"),
        ("qwen3-next-80b-a3b", 3, "norms of queries and keys are"),
        ("kimi-linear-48b-a3b", 0, f"{MADE}, {NORM} and {GATE} are"),
        (
            "rwkv-7-2.9b",
            1,
            "the shift of tokens, functions of what is made in low rank, the bonus,"
            f" {NORM} and {GATE} are",
        ),
        ("qwen3-8b", 0, "norms of queries and keys are"),
    ],
)
def test_a_layer_says_what_is_not_counted(name: str, layer: int, omitted: str, phase: str) -> None:
    tokens = {"decode": {"cached_len": 99}, "chunked-prefill": {"cached_len": 64, "seq_len": 64}}
    work = load(name, layer=layer, phase=phase, **tokens.get(phase, {"seq_len": 64}))
    assert f"{omitted} not counted" in work.parts[0].notes


def test_what_is_computed_is_not_said_to_be_left_out() -> None:
    """S6's cascade has the gate, the skip and the softplus; Llama's queries have no norm."""
    for name in ("falcon-mamba-7b", "llama-3-8b", "gemma-2-9b"):
        notes = load(name, phase="decode", cached_len=99).parts[0].notes
        assert not any("not counted" in note for note in notes), name


def test_models_say_what_is_beside_products() -> None:
    (first, *_, experts) = (
        note for note in load("qwen3-30b-a3b", scope="model").left_out if "not counted" in note
    )
    assert first == (
        "scope model: linear layers and attention; normalisations, rotary embeddings, scales by"
        " constants, biases, residual sums are not counted"
    )
    assert experts == "the choice of experts and the weighted sum of their outputs are not counted"


@pytest.mark.parametrize("biased", ["alibi", "relative_key"])
def test_a_bias_of_scores_is_refused(biased: str) -> None:
    by_type = {str(case.fields["model_type"]): case.fields for case in (*NEWER, *HYBRIDS)}
    for fields in (LLAMA, by_type["cohere"], by_type["cohere2"], by_type["granitemoehybrid"]):
        for usual in ("rope", "nope"):
            model_of(fields | {"position_embedding_type": usual})
        with pytest.raises(SpecError, match="'position_embedding_type' is not read"):
            model_of(fields | {"position_embedding_type": biased})


def test_which_heads_cap_their_logits() -> None:
    """RecurrentGemma caps its logits, Gemma 3 may, Llama has no such field."""
    by_type = {str(case.fields["model_type"]): case.fields for case in HYBRIDS}
    recurrent = by_type["recurrent_gemma"]
    assert model_of(recurrent).logit_softcap == 30
    assert model_of(recurrent | {"logits_soft_cap": None}).logit_softcap is None
    gemma3 = GEMMA2 | {"model_type": "gemma3_text"}
    assert model_of(GEMMA2).logit_softcap == 30
    assert model_of(gemma3).logit_softcap is None
    assert model_of(gemma3 | {"final_logit_softcapping": 20.0}).logit_softcap == 20
    with pytest.raises(SpecError, match="'final_logit_softcapping' is not read for 'llama'"):
        model_of(LLAMA | {"final_logit_softcapping": 30.0})
