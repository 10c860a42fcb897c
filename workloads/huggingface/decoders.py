"""Readers of decoders with softmax attention, from ``llama`` to ``starcoder2``.

Field names and the defaults of fields that may be absent are those of the configuration
classes of Hugging Face Transformers (``LlamaConfig``, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, Field

from einsum_cascade.yaml.source import YamlNode, YamlScalar

from ..models import Experts, FeedForward, Layer, ModelConfig, SoftmaxAttention
from .fields import (
    ConfigFields,
    LayerCount,
    Positive,
    SiluGate,
    Size,
    SizeOrZero,
    attention_biases,
    build_model,
    check_full_attention,
    check_layer_indices,
    check_per_layer,
    checked_per_token,
    constant,
    exact_quotient,
    feed_forward,
    field_error,
    one_per_layer,
    read_fields,
)
from .softmax import DecoderConfig, Halves, decoder_stack, layer_windows, softmax_heads
from .vision import (
    Mistral3MultimodalConfig,
    Qwen35MultimodalConfig,
    multimodal_model,
    pixtral_encoder,
    qwen3_vl_encoder,
)


class _LlamaConfig(DecoderConfig):
    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    mlp_bias: bool = False


class _Olmo2Config(DecoderConfig):
    num_key_value_heads: Size | None = None
    attention_bias: bool = False


class _MistralConfig(DecoderConfig):
    num_key_value_heads: Size | None = 8
    # A null is no window (later versions); without the field there is the class's default.
    sliding_window: Size | None = 4096


class _MixtralConfig(DecoderConfig):
    hidden_act: SiluGate = None
    num_key_value_heads: Size | None = 8
    sliding_window: Size | None = None
    num_local_experts: Size = 8
    num_experts_per_tok: Size = 2


class _Qwen2Config(DecoderConfig):
    num_key_value_heads: Size | None = 32
    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: SizeOrZero = 28


class _Qwen3Config(_Qwen2Config):
    head_dim: Size | None = 128
    attention_bias: bool = False


_SAVED_AS = AliasChoices("num_experts", "num_local_experts")
"""Files that Transformers 5 saves have the second name."""


class _Qwen3MoeConfig(DecoderConfig):
    ignored: ClassVar[tuple[str, ...]] = ("use_qk_norm",)
    """Queries and keys of the family are always normalised."""
    aliases = (("num_local_experts", "num_experts"),)

    # A null is the width over the heads, as is no field: Qwen3's own default is 128.
    num_key_value_heads: Size | None = 4
    hidden_act: SiluGate = None
    attention_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: SizeOrZero | None = None
    num_experts: SizeOrZero = Field(default=128, validation_alias=_SAVED_AS)
    num_experts_per_tok: Size = 8
    moe_intermediate_size: Size = 768
    decoder_sparse_step: Size = 1
    mlp_only_layers: tuple[SizeOrZero, ...] | None = None


class _Qwen3VlMoeTextConfig(_Qwen3MoeConfig):
    ignored = ("use_qk_norm", "sliding_window", "max_window_layers")
    """There is no window, whatever is said of it."""

    num_key_value_heads: Size | None = 16
    use_sliding_window: Annotated[Any, constant(False)] = False
    num_experts: SizeOrZero = Field(default=60, validation_alias=_SAVED_AS)
    num_experts_per_tok: Size = 4
    moe_intermediate_size: Size = 1408


class _GptOssConfig(DecoderConfig):
    aliases = (("experts_per_token", "num_experts_per_tok"),)

    hidden_act: SiluGate = None
    attention_bias: bool = True
    num_key_value_heads: Size = 8
    head_dim: Size = 64
    sliding_window: Size | None = 128
    num_local_experts: Size = 128
    num_experts_per_tok: Size = 4
    # Whatever the numbers are, an element takes as many operations.
    swiglu_limit: Positive = 7.0
    swiglu_alpha: Positive = 1.702


def llama(root: YamlNode) -> ModelConfig:
    """``LlamaConfig``."""
    c = read_fields(_LlamaConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size
    mixer = softmax_heads(root, c, c.num_key_value_heads)
    other = 2 * d
    if c.attention_bias:
        other += attention_biases(mixer, d)
    if c.mlp_bias:
        # Biases of gate and up, and of down.
        other += 2 * c.intermediate_size + d
    ffn = feed_forward(c.intermediate_size, gated=True, activation=c.hidden_act)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=other)
    return build_model(c, "llama", c.hidden_size, [layer] * c.num_hidden_layers, d)


def olmo2(root: YamlNode) -> ModelConfig:
    """``Olmo2Config``: norms behind both halves; queries and keys normalised over all heads."""
    c = read_fields(_Olmo2Config, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size
    mixer = softmax_heads(root, c, c.num_key_value_heads, qk_norm=True)
    # A norm has a weight a channel: two of the stream, and all heads of queries and of keys.
    other = 2 * d + (mixer.heads + mixer.kv_heads) * mixer.qk_width
    other += attention_biases(mixer, d) if c.attention_bias else 0
    ffn = feed_forward(c.intermediate_size, gated=True, activation=c.hidden_act)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=other)
    return build_model(c, "olmo2", d, [layer] * c.num_hidden_layers, d)


def mistral(root: YamlNode) -> ModelConfig:
    """``MistralConfig``: every layer has the window, where there is one."""
    c = read_fields(_MistralConfig, root)
    ffn = feed_forward(c.intermediate_size, gated=True, activation=c.hidden_act)
    windowed = [True] * c.num_hidden_layers
    layers = [
        Layer(
            mixer=softmax_heads(root, c, c.num_key_value_heads, window=window),
            ffn=ffn,
            other_parameters=2 * c.hidden_size,
        )
        for window in layer_windows(root, c, c.sliding_window, windowed)
    ]
    return build_model(c, "mistral", c.hidden_size, layers, c.hidden_size)


def mixtral(root: YamlNode) -> ModelConfig:
    """``MixtralConfig``."""
    c = read_fields(_MixtralConfig, root)
    experts = Experts(
        experts=c.num_local_experts,
        per_token=checked_per_token(
            root, "num_experts_per_tok", c.num_experts_per_tok, c.num_local_experts
        ),
        inner=c.intermediate_size,
    )
    layers = [
        Layer(
            mixer=softmax_heads(root, c, c.num_key_value_heads, window=window),
            ffn=experts,
            other_parameters=2 * c.hidden_size,
        )
        for window in layer_windows(root, c, c.sliding_window, [True] * c.num_hidden_layers)
    ]
    return build_model(c, "mixtral", c.hidden_size, layers, c.hidden_size)


def _qwen_windows(root: YamlNode, c: _Qwen2Config) -> list[int | None]:
    # Published files give a sliding_window that is switched off by the other field.
    window = c.sliding_window if c.use_sliding_window else None
    windowed = [index >= c.max_window_layers for index in range(c.num_hidden_layers)]
    return layer_windows(root, c, window, windowed)


def qwen2(root: YamlNode) -> ModelConfig:
    """``Qwen2Config``: queries, keys and values have biases."""
    c = read_fields(_Qwen2Config, root)
    d = c.hidden_size
    layers = []
    for window in _qwen_windows(root, c):
        mixer = softmax_heads(root, c, c.num_key_value_heads, window=window)
        other = 2 * d + attention_biases(mixer, d, output=False)
        ffn = feed_forward(c.intermediate_size, gated=True, activation=c.hidden_act)
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "qwen2", d, layers, d)


def qwen3(root: YamlNode) -> ModelConfig:
    """``Qwen3Config``: queries and keys are normalised a head."""
    c = read_fields(_Qwen3Config, root)
    d = c.hidden_size
    layers = []
    for window in _qwen_windows(root, c):
        mixer = softmax_heads(root, c, c.num_key_value_heads, window=window, qk_norm=True)
        other = 2 * d + 2 * mixer.qk_width
        other += attention_biases(mixer, d) if c.attention_bias else 0
        ffn = feed_forward(c.intermediate_size, gated=True, activation=c.hidden_act)
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "qwen3", d, layers, d)


def qwen3_moe(root: YamlNode) -> ModelConfig:
    """``Qwen3MoeConfig``: as qwen3, but for experts in all layers or every few."""
    c = read_fields(_Qwen3MoeConfig, root)
    window = c.sliding_window if c.use_sliding_window else None
    if window and c.max_window_layers and c.layer_types is None:
        text = (
            "layers from this one on have the window in the first version of the class, and all"
            " of them in later ones: layer_types says which"
        )
        raise field_error(root, "max_window_layers", text)
    windows = layer_windows(root, c, window, [True] * c.num_hidden_layers)
    return _qwen3_moe_stack(root, c, windows)


def qwen3_vl_moe_text(root: YamlNode) -> ModelConfig:
    """``Qwen3VLMoeTextConfig``: as qwen3_moe with defaults of its own, and without windows."""
    c = read_fields(_Qwen3VlMoeTextConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    return _qwen3_moe_stack(root, c, [None] * c.num_hidden_layers)


def _qwen3_moe_stack(
    root: YamlNode, c: _Qwen3MoeConfig, windows: Sequence[int | None]
) -> ModelConfig:
    d, experts, dense_layers = c.hidden_size, c.num_experts, c.mlp_only_layers or ()
    check_layer_indices(root, "mlp_only_layers", dense_layers, c.num_hidden_layers)
    dense = feed_forward(c.intermediate_size, gated=True, activation=None)
    layers = []
    for index, window in enumerate(windows):
        mixer = softmax_heads(root, c, c.num_key_value_heads, window=window, qk_norm=True)
        other = 2 * d + 2 * mixer.qk_width
        other += attention_biases(mixer, d) if c.attention_bias else 0
        sparse = experts and index not in dense_layers
        ffn: FeedForward | Experts = dense
        if sparse and (index + 1) % c.decoder_sparse_step == 0:
            per_token = checked_per_token(
                root, "num_experts_per_tok", c.num_experts_per_tok, experts
            )
            ffn = Experts(experts=experts, per_token=per_token, inner=c.moe_intermediate_size)
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "qwen3_moe", d, layers, d)


def qwen3_vl(root: YamlNode) -> ModelConfig:
    """``Qwen3VLConfig``: a qwen3, and an encoder of images."""
    return multimodal_model(root, Qwen35MultimodalConfig, qwen3, qwen3_vl_encoder)


def qwen3_vl_moe(root: YamlNode) -> ModelConfig:
    """``Qwen3VLMoeConfig``: a qwen3_moe, and an encoder of images."""
    return multimodal_model(root, Qwen35MultimodalConfig, qwen3_vl_moe_text, qwen3_vl_encoder)


def mistral3(root: YamlNode) -> ModelConfig:
    """``Mistral3Config``: a mistral or ministral3, and an encoder of images."""
    return multimodal_model(root, Mistral3MultimodalConfig, _mistral_or_ministral, pixtral_encoder)


def _mistral_or_ministral(root: YamlNode) -> ModelConfig:
    kind = root.child("model_type")
    newer = isinstance(kind, YamlScalar) and kind.text == "ministral3"
    return ministral3(root) if newer else mistral(root)


def gpt_oss(root: YamlNode) -> ModelConfig:
    """``GptOssConfig``: sinks, windowed and full layers alternate, biases everywhere.

    Both products of an expert are clamped, and one is added to the second before the gate
    multiplies it.
    """
    c = read_fields(_GptOssConfig, root)
    d, experts = c.hidden_size, c.num_local_experts
    ffn = Experts(
        experts=experts,
        per_token=checked_per_token(root, "num_experts_per_tok", c.num_experts_per_tok, experts),
        inner=c.intermediate_size,
        activation="clamped silu",
        biases=2 * c.intermediate_size + d,
    )
    windowed = [index % 2 == 0 for index in range(c.num_hidden_layers)]
    layers = []
    for window in layer_windows(root, c, c.sliding_window, windowed):
        mixer = softmax_heads(root, c, c.num_key_value_heads, window=window, sinks=True)
        # A sink a head; for each expert the biases of the router and of both its layers.
        other = 2 * d + mixer.heads + (attention_biases(mixer, d) if c.attention_bias else 0)
        other += experts * (1 + ffn.biases)
        layers.append(Layer(mixer=mixer, ffn=ffn, other_parameters=other))
    return build_model(c, "gpt_oss", d, layers, d)


class _PhiConfig(DecoderConfig):
    num_key_value_heads: Size | None = None
    qk_layernorm: bool = False


class _Phi3Config(DecoderConfig):
    ignored = ("full_attn_mod", "interpolate_factor")
    """Which of the layers see all keys: the class lets all of them do the same."""

    num_key_value_heads: Size | None = None
    sliding_window: Size | None = None


class _GptNeoXConfig(DecoderConfig):
    ignored = ("use_parallel_residual",)
    """Side by side or one after the other: as many operations."""

    attention_bias: bool = True


def phi(root: YamlNode) -> ModelConfig:
    """``PhiConfig``: attention and feed-forward side by side behind one norm."""
    c = read_fields(_PhiConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size
    mixer = softmax_heads(root, c, c.num_key_value_heads, qk_norm=c.qk_layernorm)
    # One norm, of a weight and a bias a channel; then biases of both products.
    other = 2 * d + attention_biases(mixer, d) + c.intermediate_size + d
    # Norms of queries and keys with a weight and a bias, all heads sharing them.
    other += 4 * mixer.qk_width if c.qk_layernorm else 0
    ffn = feed_forward(c.intermediate_size, gated=False, activation=c.hidden_act)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=other)
    # The output embedding has a bias.
    return build_model(
        c, "phi", c.hidden_size, [layer] * c.num_hidden_layers, 2 * d + (c.vocab_size or 0)
    )


def phi3(root: YamlNode) -> ModelConfig:
    """``Phi3Config``."""
    c = read_fields(_Phi3Config, root)
    d = c.hidden_size
    ffn = feed_forward(c.intermediate_size, gated=True, activation=c.hidden_act)
    layers = [
        Layer(
            mixer=softmax_heads(root, c, c.num_key_value_heads, window=window),
            ffn=ffn,
            other_parameters=2 * d,
        )
        for window in layer_windows(root, c, c.sliding_window, [True] * c.num_hidden_layers)
    ]
    return build_model(c, "phi3", c.hidden_size, layers, d)


def gpt_neox(root: YamlNode) -> ModelConfig:
    """``GPTNeoXConfig``."""
    c = read_fields(_GptNeoXConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size
    mixer = softmax_heads(root, c, None)
    # Two norms, each of a weight and a bias a channel; then biases of both products.
    other = 4 * d + c.intermediate_size + d
    other += attention_biases(mixer, d) if c.attention_bias else 0
    ffn = feed_forward(c.intermediate_size, gated=False, activation=c.hidden_act)
    layer = Layer(mixer=mixer, ffn=ffn, other_parameters=other)
    return build_model(c, "gpt_neox", c.hidden_size, [layer] * c.num_hidden_layers, 2 * d)


class _Gpt2Config(ConfigFields):
    n_embd: Size
    n_layer: LayerCount
    n_head: Size
    n_inner: Size | None = None
    n_positions: Size = 1024
    activation_function: str | None = None
    tie_word_embeddings: bool = True


def gpt2(root: YamlNode) -> ModelConfig:
    """``GPT2Config``."""
    c = read_fields(_Gpt2Config, root)
    d, inner = c.n_embd, c.n_inner or 4 * c.n_embd
    width = exact_quotient(root, "n_embd", d, "n_head", c.n_head)
    mixer = SoftmaxAttention(heads=c.n_head, kv_heads=c.n_head, qk_width=width, v_width=width)
    layer = Layer(
        mixer=mixer,
        ffn=feed_forward(inner, gated=False, activation=c.activation_function),
        other_parameters=4 * d + attention_biases(mixer, d) + inner + d,
    )
    # A table of positions, and the last norm with its bias.
    return build_model(c, "gpt2", d, [layer] * c.n_layer, c.n_positions * d + 2 * d)


class _GraniteConfig(DecoderConfig):
    ignored = (
        *("embedding_multiplier", "logits_scaling", "residual_multiplier"),
        "attention_multiplier",
    )
    """Constants by which what is there is multiplied."""

    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    mlp_bias: bool = False


class _SmolLm3Config(DecoderConfig):
    ignored = ("max_window_layers",)
    """Windows go by rotations."""

    num_key_value_heads: Size | None = 4
    attention_bias: bool = False
    mlp_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: Size | None = None
    no_rope_layers: Annotated[tuple[int, ...], one_per_layer(0, 1)] | None = None
    no_rope_layer_interval: Size = 4
    tie_word_embeddings: bool = True


class _SeedOssConfig(DecoderConfig):
    num_key_value_heads: Size | None = 8
    head_dim: Size | None = 128
    attention_bias: bool = True
    attention_out_bias: bool = False
    mlp_bias: bool = False


class _Ernie45Config(DecoderConfig):
    ignored = ("num_nextn_predict_layers",)
    """Layers that predict further tokens are no part of what is read."""

    num_key_value_heads: Size | None = 2
    head_dim: Size | None = 128
    use_bias: bool = False
    use_rmsnorm: Annotated[bool | None, constant(True)] = None
    tie_word_embeddings: bool = True


class _Glm4Config(DecoderConfig):
    num_key_value_heads: Size | None = 2
    head_dim: Size | None = 128
    attention_bias: bool = True


class _CohereConfig(DecoderConfig):
    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    use_qk_norm: bool = False
    tie_word_embeddings: bool = True


class _Cohere2Config(DecoderConfig):
    ignored = ("use_embedding_sharing", "use_parallel_embedding")
    """What is said by other fields, and how work is spread."""
    aliases = (
        ("layer_switch", "sliding_window_pattern"),
        ("_sliding_window_pattern", "sliding_window_pattern"),
    )

    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    sliding_window: Size | None = 4096
    sliding_window_pattern: Size = 4
    order_of_interleaved_layers: Annotated[str | None, constant("local_attn_first")] = None
    use_gated_activation: Annotated[bool | None, constant(True)] = None
    use_parallel_block: Annotated[bool | None, constant(True)] = None
    tie_word_embeddings: bool = True


class _Exaone4Config(DecoderConfig):
    num_key_value_heads: Size | None = 32
    sliding_window: Size | None = 4096
    sliding_window_pattern: Any = 4
    """A number, or a word of L and G, which stands beside ``layer_types``."""


class _Olmo3Config(DecoderConfig):
    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    sliding_window: Size | None = 4096


class _Ministral3Config(DecoderConfig):
    num_key_value_heads: Size | None = 8
    head_dim: Size | None = 128
    sliding_window: Size | None = None


class _Starcoder2Config(DecoderConfig):
    ignored = ("attention_softmax_in_fp32", "scale_attention_softmax_*")
    """How exactly scores are computed."""

    num_key_value_heads: Size | None = 2
    hidden_act: str | None = "gelu_pytorch_tanh"
    norm_type: Annotated[str | None, constant("layer_norm")] = None
    mlp_type: Annotated[str | None, constant("default")] = None
    use_bias: bool = True
    sliding_window: Size | None = None
    tie_word_embeddings: bool = True


def _every(interval: int, layers: int) -> list[bool]:
    """All layers but the last of every so many."""
    return [(index + 1) % interval != 0 for index in range(layers)]


def granite(root: YamlNode) -> ModelConfig:
    """``GraniteConfig``: llama, but that embeddings, scores, sums and logits are scaled."""
    c = read_fields(_GraniteConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        other = 2 * d + (attention_biases(halves.mixer, d) if c.attention_bias else 0)
        return other + (2 * c.intermediate_size + d if c.mlp_bias else 0)

    return decoder_stack(root, c, "granite", c.num_key_value_heads, beside)


def smollm3(root: YamlNode) -> ModelConfig:
    """``SmolLM3Config``: where there is a window, layers without rotations have it."""
    c = read_fields(_SmolLm3Config, root)
    d, count = c.hidden_size, c.num_hidden_layers
    if c.no_rope_layers is not None:
        check_per_layer(root, "no_rope_layers", c.no_rope_layers, count)
        windowed = [rotated == 0 for rotated in c.no_rope_layers]
    else:
        windowed = [not rotated for rotated in _every(c.no_rope_layer_interval, count)]
    window = c.sliding_window if c.use_sliding_window else None

    def beside(halves: Halves) -> int:
        other = 2 * d + (attention_biases(halves.mixer, d) if c.attention_bias else 0)
        return other + (2 * c.intermediate_size + d if c.mlp_bias else 0)

    windows = layer_windows(root, c, window, windowed)
    return decoder_stack(root, c, "smollm3", c.num_key_value_heads, beside, windows=windows)


def seed_oss(root: YamlNode) -> ModelConfig:
    """``SeedOssConfig``: biases of queries, keys and values, and of the output apart."""
    c = read_fields(_SeedOssConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        inputs = attention_biases(halves.mixer, d, output=False) if c.attention_bias else 0
        other = 2 * d + inputs + (d if c.attention_out_bias else 0)
        return other + (2 * c.intermediate_size + d if c.mlp_bias else 0)

    return decoder_stack(root, c, "seed_oss", c.num_key_value_heads, beside)


def ernie4_5(root: YamlNode) -> ModelConfig:
    """``Ernie4_5Config``: one field says whether all products have biases."""
    c = read_fields(_Ernie45Config, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        biases = attention_biases(halves.mixer, d) + 2 * c.intermediate_size + d
        return 2 * d + (biases if c.use_bias else 0)

    return decoder_stack(root, c, "ernie4_5", c.num_key_value_heads, beside)


def glm4(root: YamlNode) -> ModelConfig:
    """``Glm4Config``: norms before and behind both halves."""
    c = read_fields(_Glm4Config, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        biases = attention_biases(halves.mixer, d, output=False) if c.attention_bias else 0
        return 4 * d + biases

    return decoder_stack(root, c, "glm4", c.num_key_value_heads, beside)


def cohere(root: YamlNode) -> ModelConfig:
    """``CohereConfig``: both halves side by side behind one norm, which has no bias."""
    c = read_fields(_CohereConfig, root)
    check_full_attention(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        a = halves.mixer
        # Every head has weights of its own.
        norms = (a.heads + a.kv_heads) * a.qk_width if c.use_qk_norm else 0
        return d + norms + (attention_biases(a, d) if c.attention_bias else 0)

    kv_heads = c.num_key_value_heads
    return decoder_stack(root, c, "cohere", kv_heads, beside, qk_norm=c.use_qk_norm)


def cohere2(root: YamlNode) -> ModelConfig:
    """``Cohere2Config``: as cohere, all but the last of every few layers with a window."""
    c = read_fields(_Cohere2Config, root)
    d = c.hidden_size
    windowed = _every(c.sliding_window_pattern, c.num_hidden_layers)
    windows = layer_windows(root, c, c.sliding_window, windowed)

    def beside(halves: Halves) -> int:
        return d + (attention_biases(halves.mixer, d) if c.attention_bias else 0)

    return decoder_stack(root, c, "cohere2", c.num_key_value_heads, beside, windows=windows)


def exaone4(root: YamlNode) -> ModelConfig:
    """``Exaone4Config``: norms behind both halves; queries and keys are normalised a head."""
    c = read_fields(_Exaone4Config, root)
    d, pattern = c.hidden_size, c.sliding_window_pattern
    if isinstance(pattern, bool) or not isinstance(pattern, int | str | None):
        text = "expected a whole number, or a word of L and G"
        raise field_error(root, "sliding_window_pattern", text)
    # The class itself cannot make kinds of layers of a word: files that have one list them.
    if isinstance(pattern, str) and c.layer_types is None and c.sliding_window is not None:
        text = f"'{pattern[:20]}' says not which layers have the window without layer_types"
        raise field_error(root, "sliding_window_pattern", text)
    period = pattern if isinstance(pattern, int) and c.sliding_window is not None else 0
    count = c.num_hidden_layers
    windowed = _every(period, count) if period > 0 else [False] * count
    windows = layer_windows(root, c, c.sliding_window, windowed)

    def beside(halves: Halves) -> int:
        return 2 * d + 2 * halves.mixer.qk_width

    kv_heads = c.num_key_value_heads
    return decoder_stack(root, c, "exaone4", kv_heads, beside, windows=windows, qk_norm=True)


def olmo3(root: YamlNode) -> ModelConfig:
    """``Olmo3Config``: as olmo2, three of four layers with a window."""
    c = read_fields(_Olmo3Config, root)
    d = c.hidden_size
    windows = layer_windows(root, c, c.sliding_window, _every(4, c.num_hidden_layers))

    def beside(halves: Halves) -> int:
        a = halves.mixer
        biases = attention_biases(a, d) if c.attention_bias else 0
        return 2 * d + (a.heads + a.kv_heads) * a.qk_width + biases

    kv_heads = c.num_key_value_heads
    return decoder_stack(root, c, "olmo3", kv_heads, beside, windows=windows, qk_norm=True)


def ministral3(root: YamlNode) -> ModelConfig:
    """``Ministral3Config``: as mistral; queries far into a text are scaled."""
    c = read_fields(_Ministral3Config, root)
    windowed = [True] * c.num_hidden_layers
    windows = layer_windows(root, c, c.sliding_window, windowed)
    norms = 2 * c.hidden_size
    return decoder_stack(
        root, c, "ministral3", c.num_key_value_heads, lambda _: norms, windows=windows
    )


def starcoder2(root: YamlNode) -> ModelConfig:
    """``Starcoder2Config``: two products and norms with biases."""
    c = read_fields(_Starcoder2Config, root)
    d = c.hidden_size
    windowed = [True] * c.num_hidden_layers
    windows = layer_windows(root, c, c.sliding_window, windowed)

    def beside(halves: Halves) -> int:
        biases = attention_biases(halves.mixer, d) + c.intermediate_size + d
        return 4 * d + (biases if c.use_bias else 0)

    return decoder_stack(
        root,
        c,
        "starcoder2",
        c.num_key_value_heads,
        beside,
        windows=windows,
        gated=False,
        last=2 * d,
    )
