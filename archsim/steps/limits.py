"""What is too much, or too uneven, to be run step by step."""

from __future__ import annotations

from einsum_cascade.errors import InputError

VISITS_AT_MOST = 20_000
"""Places of a nest, told apart by what happens there, that a walk goes to: some seconds."""


class StepsError(InputError):
    """A mapping is legal, but its steps cannot be told one by one, or are too many to run.

    An average step stands in for them then (``evaluate.one_answer``).
    """
