"""Readers of decoders that are llama but for norms, biases, windows or where halves stand:
cohere, ernie, exaone, glm4, granite, ministral, olmo3, seed_oss, smollm, starcoder.

Field names and the defaults of fields that may be absent are those of the configuration
classes of Hugging Face Transformers (``CohereConfig``, ...).
"""

from __future__ import annotations

from typing import Annotated, Any

from einsum_cascade.yaml.source import YamlNode

from ..models import ModelConfig
from .fields import (
    Size,
    all_full,
    attention_biases,
    one_a_layer,
    only,
    per_layer,
    read_fields,
    refuse,
)
from .softmax import DecoderConfig, Halves, decoder_stack, layer_windows


class _GraniteConfig(DecoderConfig):
    harmless = (
        *("embedding_multiplier", "logits_scaling", "residual_multiplier"),
        "attention_multiplier",
    )
    """Constants by which what is there is multiplied."""

    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    mlp_bias: bool = False


class _SmolLm3Config(DecoderConfig):
    harmless = ("max_window_layers",)
    """Windows go by rotations."""

    num_key_value_heads: Size | None = 4
    attention_bias: bool = False
    mlp_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: Size | None = None
    no_rope_layers: Annotated[tuple[int, ...], one_a_layer(0, 1)] | None = None
    no_rope_layer_interval: Size = 4
    tie_word_embeddings: bool = True


class _SeedOssConfig(DecoderConfig):
    num_key_value_heads: Size | None = 8
    head_dim: Size | None = 128
    attention_bias: bool = True
    attention_out_bias: bool = False
    mlp_bias: bool = False


class _Ernie45Config(DecoderConfig):
    harmless = ("num_nextn_predict_layers",)
    """Layers that predict further tokens are no part of what is read."""

    num_key_value_heads: Size | None = 2
    head_dim: Size | None = 128
    use_bias: bool = False
    use_rmsnorm: Annotated[bool | None, only(True)] = None
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
    harmless = ("use_embedding_sharing", "use_parallel_embedding")
    """What is said by other fields, and how work is spread."""
    alike = (
        ("layer_switch", "sliding_window_pattern"),
        ("_sliding_window_pattern", "sliding_window_pattern"),
    )

    num_key_value_heads: Size | None = None
    attention_bias: bool = False
    sliding_window: Size | None = 4096
    sliding_window_pattern: Size = 4
    order_of_interleaved_layers: Annotated[str | None, only("local_attn_first")] = None
    use_gated_activation: Annotated[bool | None, only(True)] = None
    use_parallel_block: Annotated[bool | None, only(True)] = None
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
    harmless = ("attention_softmax_in_fp32", "scale_attention_softmax_*")
    """How exactly scores are computed."""

    num_key_value_heads: Size | None = 2
    hidden_act: str | None = "gelu_pytorch_tanh"
    norm_type: Annotated[str | None, only("layer_norm")] = None
    mlp_type: Annotated[str | None, only("default")] = None
    use_bias: bool = True
    sliding_window: Size | None = None
    tie_word_embeddings: bool = True


def _every(interval: int, layers: int) -> list[bool]:
    """All layers but the last of every so many."""
    return [(index + 1) % interval != 0 for index in range(layers)]


def granite(root: YamlNode) -> ModelConfig:
    """``GraniteConfig``: llama, but that embeddings, scores, sums and logits are scaled."""
    c = read_fields(_GraniteConfig, root)
    all_full(root, c.layer_types, c.num_hidden_layers)
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
        per_layer(root, "no_rope_layers", c.no_rope_layers, count)
        slides = [rotated == 0 for rotated in c.no_rope_layers]
    else:
        slides = [not rotated for rotated in _every(c.no_rope_layer_interval, count)]
    window = c.sliding_window if c.use_sliding_window else None

    def beside(halves: Halves) -> int:
        other = 2 * d + (attention_biases(halves.mixer, d) if c.attention_bias else 0)
        return other + (2 * c.intermediate_size + d if c.mlp_bias else 0)

    windows = layer_windows(root, c, window, slides)
    return decoder_stack(root, c, "smollm3", c.num_key_value_heads, beside, windows=windows)


def seed_oss(root: YamlNode) -> ModelConfig:
    """``SeedOssConfig``: biases of queries, keys and values, and of the output apart."""
    c = read_fields(_SeedOssConfig, root)
    all_full(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        inputs = attention_biases(halves.mixer, d, output=False) if c.attention_bias else 0
        other = 2 * d + inputs + (d if c.attention_out_bias else 0)
        return other + (2 * c.intermediate_size + d if c.mlp_bias else 0)

    return decoder_stack(root, c, "seed_oss", c.num_key_value_heads, beside)


def ernie4_5(root: YamlNode) -> ModelConfig:
    """``Ernie4_5Config``: one field says whether all products have biases."""
    c = read_fields(_Ernie45Config, root)
    all_full(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        biases = attention_biases(halves.mixer, d) + 2 * c.intermediate_size + d
        return 2 * d + (biases if c.use_bias else 0)

    return decoder_stack(root, c, "ernie4_5", c.num_key_value_heads, beside)


def glm4(root: YamlNode) -> ModelConfig:
    """``Glm4Config``: norms before and behind both halves."""
    c = read_fields(_Glm4Config, root)
    all_full(root, c.layer_types, c.num_hidden_layers)
    d = c.hidden_size

    def beside(halves: Halves) -> int:
        biases = attention_biases(halves.mixer, d, output=False) if c.attention_bias else 0
        return 4 * d + biases

    return decoder_stack(root, c, "glm4", c.num_key_value_heads, beside)


def cohere(root: YamlNode) -> ModelConfig:
    """``CohereConfig``: both halves side by side behind one norm, which has no bias."""
    c = read_fields(_CohereConfig, root)
    all_full(root, c.layer_types, c.num_hidden_layers)
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
    slides = _every(c.sliding_window_pattern, c.num_hidden_layers)
    windows = layer_windows(root, c, c.sliding_window, slides)

    def beside(halves: Halves) -> int:
        return d + (attention_biases(halves.mixer, d) if c.attention_bias else 0)

    return decoder_stack(root, c, "cohere2", c.num_key_value_heads, beside, windows=windows)


def exaone4(root: YamlNode) -> ModelConfig:
    """``Exaone4Config``: norms behind both halves; queries and keys are normalised a head."""
    c = read_fields(_Exaone4Config, root)
    d, pattern = c.hidden_size, c.sliding_window_pattern
    if isinstance(pattern, bool) or not isinstance(pattern, int | str | None):
        text = "expected a whole number, or a word of L and G"
        raise refuse(root, "sliding_window_pattern", text)
    # The class itself cannot make kinds of layers of a word: files that have one list them.
    if isinstance(pattern, str) and c.layer_types is None and c.sliding_window is not None:
        text = f"'{pattern[:20]}' says not which layers have the window without layer_types"
        raise refuse(root, "sliding_window_pattern", text)
    period = pattern if isinstance(pattern, int) and c.sliding_window is not None else 0
    count = c.num_hidden_layers
    slides = _every(period, count) if period > 0 else [False] * count
    windows = layer_windows(root, c, c.sliding_window, slides)

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
    slides = [True] * c.num_hidden_layers
    windows = layer_windows(root, c, c.sliding_window, slides)
    norms = 2 * c.hidden_size
    return decoder_stack(
        root, c, "ministral3", c.num_key_value_heads, lambda _: norms, windows=windows
    )


def starcoder2(root: YamlNode) -> ModelConfig:
    """``Starcoder2Config``: two products and norms with biases."""
    c = read_fields(_Starcoder2Config, root)
    d = c.hidden_size
    slides = [True] * c.num_hidden_layers
    windows = layer_windows(root, c, c.sliding_window, slides)

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
