"""All kinds of attacks, each a function of what is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from generators import TEXTS, Attack
from newer import DRAWN

KINDS: Mapping[str, Callable[[random.Random], Attack]] = MappingProxyType({**TEXTS, **DRAWN})


def attacks(kind: str, seed: int, first: int = 0) -> Iterator[tuple[int, Attack]]:
    """Attacks of a kind without end, each with its number."""
    number = first
    while True:
        yield number, KINDS[kind](random.Random(f"{kind} {seed} {number}"))
        number += 1
