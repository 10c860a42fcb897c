"""Limits and defaults of workloads, each with the reason for its value."""

DEFAULT_SEQUENCE_LENGTH = 4096
"""Tokens per sequence if neither the user nor the model gives a length; a note reports the
default."""

MAX_STRETCHES_OF_ANSWER = 8
"""Largest number of decoding steps that are simulated for one answer. More steps follow nonlinear
costs more closely, and take proportionally longer; costs linear in the cache length are exact with
any number of steps.
"""

MAX_BASE_MODELS = 8
"""Largest number of workloads in a chain of base models, so that a cycle ends in an error."""

MAX_LAYERS = 100_000
"""Largest number of layers of a model, so that a damaged configuration cannot exhaust memory."""

CACHE_ELEMENT_BITS = 16
"""Bits per cached element if no format is given, as published models are served."""

MIN_SHARED_FIELDS = 5
"""Fewest fields that a model of an unknown type shares with the family that a hint names. Width,
layers, heads and inner width are fields of nearly all families, and tell nothing."""
