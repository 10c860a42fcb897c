"""Readers of decoders some of whose layers are mixtures of experts: glm4_moe, llama4.

Fields and defaults are those of Hugging Face Transformers (``Glm4MoeConfig``,
``Llama4TextConfig``, ``Llama4VisionConfig``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from einsum_cascade.yaml.source import YamlNode

from ..models import Experts, FeedForward, Layer, ModelConfig
from .fields import (
    ConfigFields,
    LayerCount,
    SiluGate,
    Size,
    SizeOrZero,
    all_full,
    attention_biases,
    divided,
    feed_forward,
    one_a_layer,
    per_layer,
    read_fields,
    refuse,
    routed,
    stack,
)
from .softmax import DecoderConfig, softmax_heads


class _Glm4MoeConfig(DecoderConfig):
    harmless = ("num_nextn_predict_layers", "use_grouped_mm")
    """Layers that predict further tokens are no part of what is read."""

    hidden_act: SiluGate = None
    num_key_value_heads: Size = 8
    attention_bias: bool = False
    use_qk_norm: bool = False
    moe_intermediate_size: Size
    n_routed_experts: Size
    num_experts_per_tok: Size
    n_shared_experts: SizeOrZero
    first_k_dense_replace: SizeOrZero


def glm4_moe(root: YamlNode) -> ModelConfig:
    """``Glm4MoeConfig``: the first layers are dense, the others have experts, some for all."""
    c = read_fields(_Glm4MoeConfig, root)
    all_full(root, c.layer_types, c.num_hidden_layers)
    d, experts = c.hidden_size, c.n_routed_experts
    mixer = softmax_heads(root, c, c.num_key_value_heads, qk_norm=c.use_qk_norm)
    other = 2 * d + (2 * mixer.qk_width if c.use_qk_norm else 0)
    # Queries, keys and values have biases, the output has none.
    other += attention_biases(mixer, d, output=False) if c.attention_bias else 0
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    mixture = Experts(
        experts=experts,
        per_token=routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.moe_intermediate_size,
        shared_inner=c.moe_intermediate_size * c.n_shared_experts,
    )
    layers = []
    for index in range(c.num_hidden_layers):
        sparse = index >= c.first_k_dense_replace
        ffn: FeedForward | Experts = mixture if sparse else dense
        # The router has a bias an expert, by which loads are evened out.
        more = experts if sparse else 0
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other + more))
    return stack(c, "glm4_moe", d, layers, d)


class _Llama4TextConfig(DecoderConfig):
    harmless = ("attn_temperature_tuning", "attn_scale", "floor_scale", "use_qk_norm", "for_llm_*")
    """Scales of queries, and norms without weights."""

    hidden_act: SiluGate = None
    num_key_value_heads: Size = 8
    head_dim: Size | None = 128
    intermediate_size: Size
    """Of an expert, and of the one that all tokens pass."""
    intermediate_size_mlp: Size
    """Of the layers without experts."""
    num_local_experts: SizeOrZero = 16
    num_experts_per_tok: SizeOrZero = 1
    interleave_moe_layer_step: SizeOrZero = 1
    moe_layers: tuple[SizeOrZero, ...] | None = None
    attention_chunk_size: Size | None = 8192
    no_rope_layers: Annotated[tuple[int, ...], one_a_layer(0, 1)] | None = None
    no_rope_layer_interval: Size = 4
    attention_bias: bool = False
    layer_types: (
        Annotated[tuple[str, ...], one_a_layer("full_attention", "chunked_attention")] | None
    ) = None


def llama4_text(root: YamlNode) -> ModelConfig:
    """``Llama4TextConfig``: layers with rotations see chunks, the others all; some have experts."""
    c = read_fields(_Llama4TextConfig, root)
    d, experts = c.hidden_size, c.num_local_experts
    full = softmax_heads(root, c, c.num_key_value_heads)
    other = 2 * d + (attention_biases(full, d) if c.attention_bias else 0)
    dense = feed_forward(c.intermediate_size_mlp, gated=True, activation=None)
    sparse = _sparse_layers(root, c)
    layers = []
    for index, chunked in enumerate(_chunked_layers(root, c)):
        mixer = replace(full, chunk=c.attention_chunk_size) if chunked else full
        ffn: FeedForward | Experts = dense
        if index in sparse:
            per_token = routed(root, "num_experts_per_tok", c.num_experts_per_tok, experts)
            ffn = Experts(
                experts=experts,
                per_token=per_token,
                inner=c.intermediate_size,
                shared_inner=c.intermediate_size,
            )
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return stack(c, "llama4_text", d, layers, d)


def _sparse_layers(root: YamlNode, c: _Llama4TextConfig) -> frozenset[int]:
    """The layers with experts: as listed, else every so many, the last of them."""
    step, count = c.interleave_moe_layer_step, c.num_hidden_layers
    listed = range(step - 1, count, step) if c.moe_layers is None and step else c.moe_layers or ()
    if any(index >= count for index in listed):
        raise refuse(root, "moe_layers", f"the layers are 0 to {count - 1}, got {max(listed)}")
    for field in ("num_local_experts", "num_experts_per_tok"):
        if listed and not getattr(c, field):
            raise refuse(root, field, "some layers have experts, and this is 0")
    return frozenset(listed)


def _chunked_layers(root: YamlNode, c: _Llama4TextConfig) -> list[bool]:
    count = c.num_hidden_layers
    if c.layer_types is not None:
        per_layer(root, "layer_types", c.layer_types, count)
        found = [kind == "chunked_attention" for kind in c.layer_types]
        if any(found) and c.attention_chunk_size is None:
            text = "'chunked_attention' needs an attention_chunk_size"
            raise refuse(root, "layer_types", text)
        return found
    if c.no_rope_layers:
        per_layer(root, "no_rope_layers", c.no_rope_layers, count)
        return [rotated == 1 for rotated in c.no_rope_layers]
    return [(index + 1) % c.no_rope_layer_interval != 0 for index in range(count)]


class _Llama4Config(ConfigFields):
    harmless = ("text_config", "vision_config")


class _Llama4VisionConfig(ConfigFields):
    harmless = ("*",)
    """An image's tokens are no part of what is run: the encoder's parameters alone are counted."""

    hidden_size: Size = 768
    num_hidden_layers: LayerCount = 34
    intermediate_size: Size = 5632
    vision_output_dim: Size = 7680
    projector_input_dim: Size = 4096
    projector_output_dim: Size = 4096
    image_size: Size = 448
    patch_size: Size = 14
    num_channels: Size = 3


def llama4(root: YamlNode) -> ModelConfig:
    """``Llama4Config``: the language model runs; an encoder of images counts as parameters."""
    text, vision = root.child("text_config"), root.child("vision_config")
    if text is None:
        return llama4_text(root)
    read_fields(_Llama4Config, root)
    model = llama4_text(text)
    if vision is None:
        return model
    other = model.other_parameters + _vision_parameters(vision, model.width)
    return replace(model, other_parameters=other)


def _vision_parameters(root: YamlNode, width: int) -> int:
    c = read_fields(_Llama4VisionConfig, root)
    d, inner = c.hidden_size, c.intermediate_size
    # Four projections and two products, each with biases, and two norms with theirs.
    layer = 4 * (d * d + d) + 2 * d * inner + inner + d + 4 * d
    patches = divided(root, "image_size", c.image_size, "patch_size", c.patch_size) ** 2
    # Patches in, positions (one for the class, and the class itself), norms at both ends.
    ends = c.num_channels * c.patch_size**2 * d + (patches + 1) * d + d + 4 * d
    adapter = inner * c.projector_input_dim + c.projector_output_dim**2
    return c.num_hidden_layers * layer + ends + adapter + c.vision_output_dim * width
