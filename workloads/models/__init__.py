"""Models as stacks of layers, with the shapes of their mixers and feed-forward networks."""

from .layers import Experts, FeedForward, Layer, ModelConfig, RepeatedLayer, WeightFormats, runs_of
from .mixers import (
    DecayAttention,
    DeltaAttention,
    GatedRecurrence,
    KeyIndexer,
    LatentAttention,
    Mixer,
    RwkvAttention,
    SelectiveScan,
    ShortConvolution,
    SoftmaxAttention,
    StateSpaceDual,
)

__all__ = [
    "DecayAttention",
    "DeltaAttention",
    "Experts",
    "FeedForward",
    "GatedRecurrence",
    "KeyIndexer",
    "LatentAttention",
    "Layer",
    "Mixer",
    "ModelConfig",
    "RepeatedLayer",
    "RwkvAttention",
    "SelectiveScan",
    "ShortConvolution",
    "SoftmaxAttention",
    "StateSpaceDual",
    "WeightFormats",
    "runs_of",
]
