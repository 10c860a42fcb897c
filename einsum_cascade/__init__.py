"""Attention algorithms as cascades of extended Einsums."""

from .cascade import Cascade
from .errors import CascadeError, EvaluationError, InputError, RewriteError

__all__ = ["Cascade", "CascadeError", "EvaluationError", "InputError", "RewriteError"]
