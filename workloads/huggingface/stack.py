"""Layers of a model, built from the fields of a configuration: mixers, networks, and both joined.

A ``Half`` is a mixer or a feed-forward network with the parameters that belong to it besides its
matrix products: the norm before it, biases, and per-head scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Generic, TypeVar

from einsum_cascade.yaml.source import YamlNode

from ..models import (
    Experts,
    FeedForward,
    Layer,
    Mixer,
    ModelConfig,
    SelectiveScan,
    SoftmaxAttention,
    StateSpaceDual,
    runs_of,
)
from .fields import ConfigFields, exact_quotient, field_error

Network = FeedForward | Experts
ALIBI_SLOPES = "slopes as ALiBi's, weaker in later layers"
"""Decay of lightning attention, per head."""
Part = TypeVar("Part", bound=Mixer | Network, covariant=True)


@dataclass(frozen=True, slots=True)
class Half(Generic[Part]):
    """A mixer or a feed-forward network of a layer, and its parameters besides products."""

    part: Part
    other_parameters: int
    """Parameters of the norm before the part, of its biases, and of its scales."""


def join_halves(
    mixers: Sequence[Half[Mixer]], networks: Sequence[Half[Network] | None]
) -> list[Layer]:
    """Return one layer for each pair of a mixer and a network; None stands for no network."""
    return [
        Layer(
            mixer=mixer.part,
            ffn=None if network is None else network.part,
            other_parameters=mixer.other_parameters
            + (0 if network is None else network.other_parameters),
        )
        for mixer, network in zip(mixers, networks, strict=True)
    ]


def dense_or_sparse(
    dense: Half[Network], mixture: Callable[[], Half[Network]], sparse: Sequence[bool]
) -> list[Half[Network]]:
    """Return the network of each layer: a mixture of experts where ``sparse`` is True.

    The mixture is built, and its fields are checked, only if a layer has it.
    """
    experts = mixture() if any(sparse) else dense
    return [experts if is_sparse else dense for is_sparse in sparse]


def build_model(
    c: ConfigFields,
    family: str,
    width: int,
    layers: Iterable[Layer],
    other: int,
    *,
    logit_softcap: float | None = None,
) -> ModelConfig:
    """Return the model of some layers.

    Parameters
    ----------
    c : ConfigFields
        Fields of every family: the size of the vocabulary, and whether embeddings are tied.
    family : str
        The ``model_type``.
    width : int
        Width of the residual stream, in elements.
    layers : iterable of Layer
        Layers in order.
    other : int
        Parameters besides those of the layers and the embeddings.
    logit_softcap : float, optional
        Bound of logits that are capped by tanh.
    """
    return ModelConfig(
        family=family,
        width=width,
        runs=runs_of(layers),
        vocab_size=c.vocab_size,
        logit_softcap=logit_softcap,
        tied_embeddings=c.tie_word_embeddings,
        other_parameters=other,
    )


def attention_heads(
    root: YamlNode,
    width: int,
    heads: int,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    *,
    width_field: str = "hidden_size",
    heads_field: str = "num_attention_heads",
) -> SoftmaxAttention:
    """Return causal softmax attention of some heads.

    Parameters
    ----------
    root : YamlNode
        The configuration, for the place of an error.
    width, heads : int
        Width of the residual stream, and number of query heads.
    kv_heads : int, optional
        Number of key and value heads; by default one per query head.
    head_dim : int, optional
        Width of a head; by default ``width / heads``.
    width_field, heads_field : str
        Fields that hold ``width`` and ``heads``.

    Raises
    ------
    SpecError
        ``heads`` does not divide ``width``, or ``kv_heads`` does not divide ``heads``.
    """
    if head_dim is None:
        head_dim = exact_quotient(root, width_field, width, heads_field, heads)
    keys = kv_heads or heads
    exact_quotient(root, heads_field, heads, "num_key_value_heads", keys)
    return SoftmaxAttention(heads=heads, kv_heads=keys, qk_width=head_dim, v_width=head_dim)


def attention_biases(attention: SoftmaxAttention, width: int, output: bool = True) -> int:
    """Count biases of the query, key and value projections, and of the output projection."""
    a = attention
    inputs = a.heads * a.qk_width + a.kv_heads * (a.qk_width + a.v_width)
    return inputs + (width if output else 0)


_FUNCTIONS = MappingProxyType(
    {"swish": "silu", **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_python"), "gelu")}
    | {"gelu_pytorch_tanh": "gelu", "relu2": "squared relu"}
)
"""Our names of activation functions, by other names and by names of approximations."""


def feed_forward(inner: int, gated: bool = True, activation: str | None = None) -> FeedForward:
    """Return a network; without an activation it has SiLU behind a gate, GELU without a gate."""
    usual = FeedForward(inner=inner, gated=gated)
    name = _FUNCTIONS.get(activation or "", activation) or usual.function
    return usual if name == usual.function else replace(usual, activation=name)


def mixture_of_experts(
    root: YamlNode,
    experts: int,
    per_token: int,
    inner: int,
    shared_inner: int = 0,
    *,
    field: str = "num_experts_per_tok",
) -> Experts:
    """Return a mixture of gated experts; ``field`` holds ``per_token``.

    Raises
    ------
    SpecError
        A token goes to more experts than exist.
    """
    if per_token > experts:
        raise field_error(root, field, f"a token goes to {per_token} experts, there are {experts}")
    return Experts(experts=experts, per_token=per_token, inner=inner, shared_inner=shared_inner)


def scan_half(
    mixer: SelectiveScan, width: int, *, conv_bias: bool, proj_bias: bool, norms: bool = False
) -> Half[Mixer]:
    """Return Mamba's mixer with its norm, the bias of steps, the skip, and optional biases.

    ``norms`` adds norms of the latent of steps, of B and of C.
    """
    other = width + 2 * mixer.inner
    other += mixer.dt_rank + 2 * mixer.state if norms else 0
    other += mixer.inner if conv_bias else 0
    other += 2 * mixer.inner + width if proj_bias else 0
    return Half(mixer, other)


def ssd_half(
    root: YamlNode,
    mixer: StateSpaceDual,
    width: int,
    *,
    fields: tuple[str, str],
    conv_bias: bool,
    proj_bias: bool,
) -> Half[Mixer]:
    """Return Mamba-2's mixer with the parameters besides its products.

    These are the norms of its input and output, and three numbers per head (A, the bias of steps,
    the skip). The convolution and both projections may have biases.

    Parameters
    ----------
    root, mixer, width : YamlNode, StateSpaceDual, int
        The configuration, the mixer, and the width of the residual stream.
    fields : tuple of str
        Fields that hold the number of heads and of groups.
    conv_bias, proj_bias : bool
        True if the convolution, and the projections, have biases.

    Raises
    ------
    SpecError
        The groups do not divide the heads.
    """
    a = mixer
    exact_quotient(root, fields[0], a.heads, fields[1], a.groups)
    other = width + a.inner + 3 * a.heads + (a.convolved if conv_bias else 0)
    other += a.inner + a.convolved + a.heads + width if proj_bias else 0
    return Half(mixer, other)
