"""Built-in mappings as if written for one machine: its parts by their names, not by role."""

from __future__ import annotations

import re

from einsum_cascade.yaml.library import builtin_source

NAMES = {"outer": "DRAM", "nearest": "global_buffer", "matrix": "array_2d", "vector": "array_1d"}


def by_name(mapping: str) -> str:
    """The text of a built-in mapping for the arrays and memories of fusemax and flat."""
    text = builtin_source("mappings", mapping).text
    return re.sub(rf"\b({'|'.join(NAMES)})\b", lambda found: NAMES[found[0]], text)
