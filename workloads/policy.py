"""Limits and defaults of workloads, each with its reason."""

DEFAULT_SEQUENCE_LENGTH = 4096
"""Tokens of a sequence where neither the user nor the model gives a length; a note says so."""

MAX_STRETCHES_OF_ANSWER = 8
"""Decoding steps simulated for an answer. More steps follow nonlinear costs more closely, and take
proportionally longer; costs linear in the cache length are exact with any number of steps."""

MAX_BASE_MODELS = 8
"""Workloads that a workload may build on, one upon the other, so that a cycle ends in an error."""

MAX_LAYERS = 100_000
"""Layers of a model, so that a damaged configuration cannot exhaust memory."""

CACHE_ELEMENT_BITS = 16
"""Bits of a cached element without a stated format, as published models are served."""
