"""A search of little effort, for what has to hold of anything that a search finds."""

from __future__ import annotations

from mappers.exact.policy import BRIEF

BRIEFLY = BRIEF
