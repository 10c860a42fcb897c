"""What the built-in cascades ought to compute, in plain numpy and independent of them.

Each function takes the inputs of a cascade by name, in the cascade's index order (``Q`` is
[P, E], ``K`` [M, E], ``V`` [M, F]), with any parallel ranks in front, and its parameters;
it returns the outputs by name. Where the result depends on the shape of a rank that no input
carries (the size of a block), it takes that shape by the rank's name. A cascade file
names its function under ``reference:``. Nothing here knows the cascade language.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import (
    attention,
    gated,
    heads,
    layers,
    linear,
    memory,
    recurrent,
    retrieval,
    scores,
    sequences,
    sparse,
    states,
    vision,
)
from .functions import Array

__all__ = ["REFERENCES", "Reference", "find_reference"]


@dataclass(frozen=True)
class Reference:
    """A named function of arrays that returns arrays by name."""

    name: str
    function: Callable[..., dict[str, Array]]

    def __call__(self, **arguments: Any) -> dict[str, Array]:
        """Evaluate on inputs and parameters by keyword."""
        return self.function(**arguments)


REFERENCES: tuple[Reference, ...] = tuple(
    Reference(function.__name__, function)
    for function in (
        attention.softmax_attention,
        attention.softmax_attention_causal,
        attention.sliding_window_attention,
        attention.softmax_attention_temperature,
        attention.softmax_attention_sink,
        attention.squared_softmax_attention,
        linear.linear_attention,
        linear.linear_attention_causal,
        linear.lightning_attention,
        linear.lightning_attention_backward,
        layers.linear_layer,
        layers.linear_layer_relu,
        layers.linear_layer_squared_relu,
        layers.linear_layer_gelu,
        layers.linear_layer_softcap,
        layers.linear_layer_swiglu,
        layers.linear_layer_swiglu_clamped,
        layers.projections,
        layers.output_projection,
        layers.feed_forward,
        linear.transnormer_attention,
        linear.normalised_attention,
        linear.lightning_decay_paper,
        linear.lightning_decay_code,
        linear.lightning_decay_minimax,
        recurrent.retention,
        recurrent.retention_normalised,
        recurrent.gated_linear_attention,
        recurrent.selective_scan,
        recurrent.state_space_dual,
        recurrent.delta_rule,
        recurrent.gated_delta_rule,
        recurrent.qlstm,
        recurrent.qlstm_reversed,
        recurrent.dynamical_system,
        states.lightning_attention_step,
        states.lightning_attention_resumed,
        states.lightning_attention_prefill,
        states.retention_step,
        states.retention_resumed,
        states.retention_prefill,
        states.state_space_dual_step,
        states.state_space_dual_resumed,
        states.state_space_dual_prefill,
        states.gated_delta_rule_step,
        states.kimi_delta_attention_step,
        states.rwkv7_step,
        states.selective_scan_step,
        states.selective_scan_resumed,
        states.selective_scan_prefill,
        states.depthwise_convolution,
        states.depthwise_convolution_linear,
        memory.titans_memory,
        memory.titans_mag,
        memory.titans_mal,
        memory.titans_mac,
        memory.in_context_regression,
        memory.bico_attention,
        layers.softmax,
        layers.log_softmax,
        layers.cross_entropy,
        layers.deit_lt_loss,
        layers.layer_norm,
        layers.rms_norm,
        layers.rms_norm_projection,
        attention.causal_attention,
        attention.two_sided_window_attention,
        attention.window_attention,
        attention.flash_attention,
        attention.flash_attention_causal,
        attention.flash_attention_backward,
        heads.multi_query_attention,
        heads.grouped_query_attention,
        heads.grouped_query_attention_causal,
        heads.grouped_query_attention_window,
        heads.grouped_query_attention_alibi,
        heads.grouped_query_attention_gated,
        heads.grouped_query_attention_sink,
        heads.grouped_query_attention_sink_window,
        heads.grouped_query_attention_softcap,
        heads.grouped_query_attention_softcap_window,
        heads.latent_attention,
        retrieval.recycled_attention_full,
        retrieval.recycled_attention,
        retrieval.hcam,
        retrieval.mixture_of_heads,
        retrieval.landmark_attention,
        retrieval.landmark_retrieval,
        vision.agent_attention,
        vision.super_token_attention,
        vision.reversed_attention,
        vision.visual_attention_redistribution,
        vision.isolation_attention,
        vision.channel_spatial_gate,
        sequences.positional_attention,
        sequences.oat_pointer,
        sequences.look_once_to_hear_lstm,
        sequences.look_once_to_hear_attention,
        vision.click_attention,
        scores.softcap_attention,
        scores.alibi_attention,
        scores.t5_attention,
        scores.t5_causal_attention,
        scores.prefix_attention,
        scores.chunked_local_attention,
        scores.gated_attention,
        scores.forgetting_attention,
        scores.softpick_attention,
        scores.differential_attention,
        scores.paged_attention_decode,
        scores.paged_attention,
        gated.rwkv6,
        gated.rwkv7,
        gated.kimi_delta_attention,
        gated.delta_product,
        gated.mlstm,
        gated.rg_lru,
        gated.rg_lru_prefill,
        gated.rg_lru_resumed,
        gated.rg_lru_step,
        gated.lightning_attention_grouped,
        gated.mamba3,
        gated.mamba3_mimo,
        gated.log_linear_attention,
        gated.gated_slot_attention,
        layers.rotary_positions,
        linear.based_attention,
        sparse.deepseek_sparse_attention,
        sparse.deepseek_sparse_attention_shared,
        sparse.native_sparse_attention,
        sparse.native_sparse_attention_overlapped,
        sparse.native_sparse_attention_decode,
        sparse.mixture_of_block_attention,
        sparse.path_attention,
        memory.titans_deep_memory,
        attention.flash_attention_backward_grouped,
    )
)
"""Every reference, by its function's name."""


def find_reference(name: str) -> Reference | None:
    """The reference called ``name``, or None."""
    return next((r for r in REFERENCES if r.name == name), None)
