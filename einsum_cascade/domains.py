"""Domains: which numbers an input or a parameter may hold, as a cascade file says it.

========= ==============================================
written   means
========= ==============================================
positive  larger than 0
unit      larger than 0 and at most 1 (decays, gates)
a..b      whole numbers from a to b; b may be ``G``, the shape of a rank, or ``G-1``
========= ==============================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import ir
from .errors import Problem, did_you_mean

if TYPE_CHECKING:
    import numpy as np

_WHOLE = re.compile(r"(\d{1,15})\.\.(?:(\d{1,15})|([A-Z][A-Z0-9_]*)(-1)?)")


def parse_domain(text: str) -> ir.Domain | None:
    """The domain a text says, or None."""
    if text == "positive":
        return ir.Domain(kind="positive")
    if text == "unit":
        return ir.Domain(kind="unit")
    found = _WHOLE.fullmatch(text)
    if found is None:
        return None
    low, high, rank, below = found.groups()
    end = int(high) if high else -1 if below else 0
    return ir.Domain(kind="whole", low=int(low), high=end, rank=rank or "")


def domain_text(domain: ir.Domain) -> str:
    """A domain as it is written."""
    if domain.kind != "whole":
        return domain.kind
    end = f"{domain.rank}{domain.high or ''}" if domain.rank else str(domain.high)
    return f"{domain.low}..{end}"


def bounds(domain: ir.Domain, shapes: Mapping[str, int]) -> tuple[int, int]:
    """The least and the largest whole number of a domain of whole numbers."""
    return domain.low, domain.high + (shapes[domain.rank] if domain.rank else 0)


def domain_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Names that are neither inputs nor parameters, unknown ranks, empty domains."""
    known = [t.name for t in program.inputs] + [p.name for p in program.parameters]
    for name, domain in program.domains:
        if name not in known and name not in spoiled:
            what = f"'domains' names '{name}', which is neither an input nor a parameter"
            yield Problem(what, domain.span, did_you_mean(name, known))
        if domain.rank and domain.rank not in program.rank_of and domain.rank not in spoiled:
            hint = did_you_mean(domain.rank, program.rank_of)
            yield Problem(f"unknown rank '{domain.rank}' in a domain", domain.span, hint)
        if domain.kind == "whole" and not domain.rank and domain.high < domain.low:
            yield Problem(f"no whole number is in {domain_text(domain)}", domain.span)


def outside(
    domain: ir.Domain, values: np.ndarray[Any, Any], shapes: Mapping[str, int]
) -> str | None:
    """What is wrong with the first element that is not in a domain, in words; or None."""
    import numpy as np

    numbers = np.asarray(values, np.float64)
    if domain.kind == "whole":
        low, high = bounds(domain, shapes)
        good = (numbers >= low) & (numbers <= high) & (numbers == np.floor(numbers))
        wanted = f"a whole number from {low} to {high}"
    elif domain.kind == "unit":
        good, wanted = (numbers > 0) & (numbers <= 1), "larger than 0 and at most 1"
    else:
        good, wanted = numbers > 0, "larger than 0"
    if good.all():
        return None
    at = tuple(np.argwhere(~good)[0].tolist())
    place = f" at {list(at)}" if at else ""
    return f"is {numbers[at]:g}{place}, but it must be {wanted}"


def draw(
    domain: ir.Domain, rng: np.random.Generator, size: tuple[int, ...], shapes: Mapping[str, int]
) -> np.ndarray[Any, Any]:
    """Random numbers of a domain, none of them near its open end."""
    import numpy as np

    if domain.kind == "whole":
        low, high = bounds(domain, shapes)
        return rng.integers(low, high, size, endpoint=True)
    top = 1.0 if domain.kind == "unit" else 2.0
    return np.asarray(rng.uniform(0.5, top, size))
