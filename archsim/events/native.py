"""The event kernel compiled, for runs of more events than are quick in Python."""

from __future__ import annotations

from ..compiled import compiled_with
from . import kernel

run = compiled_with(kernel.HELPERS, kernel.run)
