"""A whole request: its prompt computed at once, then its answer token by token.

The first token of an answer comes out of the prompt. Every further one is decoded after a
cache that is one token longer than the last; as many tokens as there are stretches are
simulated, each for its neighbours, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..attention.phases import Tokens
from ..models import ModelConfig
from ..spec import Request, WorkloadSpec
from .part import Part, Shapes
from .rephase import with_tokens

PROMPT, ANSWER = "prefill", "decode"
"""The stages of a request, which its parts are named after."""
_STRETCHES = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring tokens of an answer that count as the one in their middle."""

    cached_len: int
    """Tokens before the one in the middle."""
    times: int


def stretches(request: Request) -> tuple[Stretch, ...]:
    """The tokens that are decoded, in stretches that differ by one token at most.

    Where there are two in the middle, stretches take the earlier and the later one by turns.
    A cost that grows evenly with the cache adds up to what all tokens cost.

    Examples
    --------
    >>> [(s.cached_len, s.times) for s in stretches(Request(prompt_len=100, answer_len=4))]
    [(100, 1), (101, 1), (102, 1)]
    >>> found = stretches(Request(prompt_len=100, answer_len=101))
    >>> len(found), sum(s.times for s in found), sum(s.times * s.cached_len for s in found)
    (8, 100, 14950)
    """
    steps = request.answer_len - 1
    count = min(steps, _STRETCHES)
    found = []
    even = 0
    for index in range(count):
        first, end = index * steps // count, (index + 1) * steps // count
        doubled = first + end - 1
        middle = (doubled + even % 2) // 2
        even += doubled % 2
        found.append(Stretch(cached_len=request.prompt_len + middle, times=end - first))
    return tuple(found)


def decoded(
    work: WorkloadSpec, model: ModelConfig, request: Request
) -> Iterator[tuple[Stretch, WorkloadSpec]]:
    """The decoding workload of each stretch.

    Raises
    ------
    SpecError
        Widths were given by hand.
    """
    batch = work.computed.batch if work.computed is not None else work.batch or 1
    for stretch in stretches(request):
        tokens = Tokens(phase="decode", batch=batch, seq_len=1, cached_len=stretch.cached_len)
        yield stretch, with_tokens(work, model, tokens)


def staged(
    prompt: tuple[Part, ...], answer: list[tuple[Stretch, tuple[Part, ...]]]
) -> tuple[Part, ...]:
    """All parts of a request; those of several stretches that are alike are one."""
    found = [replace(part, name=f"{PROMPT}.{part.name}", stage=PROMPT) for part in prompt]
    alike: dict[tuple[str, str, Shapes], Part] = {}
    keys: list[int] = []
    for stretch, parts in answer:
        for part in parts:
            known = alike.get(like := (part.name, part.cascade, part.shapes))
            if known is None:
                known = replace(part, times=0, stage=ANSWER)
                keys.append(stretch.cached_len + 1)
            alike[like] = replace(known, times=known.times + stretch.times * part.times)
    names = [name for name, _, _ in alike]
    for part, at in zip(alike.values(), keys, strict=True):
        several = names.count(part.name) > 1
        name = f"{ANSWER}.{part.name}" + (f"-at-{at}" if several else "")
        found.append(replace(part, name=name))
    return tuple(found)


def request_note(request: Request) -> str:
    """How an answer is simulated, in a sentence."""
    found = stretches(request)
    steps = request.answer_len - 1
    first = (
        f"a request of {request.prompt_len:,} tokens, whose answer's first comes out of the prompt"
    )
    if not found:
        return f"{first} and is its only one"
    if len(found) == steps:
        return f"{first}; each of {steps:,} further ones is simulated"
    return (
        f"{first}; {steps:,} further ones in {len(found)} stretches, each of which counts as the"
        " token in its middle"
    )
