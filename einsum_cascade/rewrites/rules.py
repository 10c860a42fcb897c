"""Rules by name: the registry, and how a rule is written on a command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Problem, RewriteError, did_you_mean
from .base import Rewrite
from .chunk import Chunk
from .factor import Factor
from .iterative import MakeIterative
from .partition import FusePartition, Partition
from .reassociate import Reassociate
from .reduce_passes import ReducePasses
from .separate import Separate

_RULE = re.compile(r"\s*([A-Za-z_]\w*)\s*(?::(.*)|\((.*)\)\s*)?")
_MEMBERS = tuple(range(3, 9))
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Rule:
    """How a rule is written, how many arguments it takes, and how it is built."""

    name: str
    usage: str
    counts: tuple[int, ...]
    build: Callable[..., Rewrite]


RULES: tuple[Rule, ...] = (
    Rule("partition", "partition:M=M1,M0", _MEMBERS, lambda r, *m: Partition(r, m)),
    Rule(
        "split_partition",
        "split_partition:M=M1,M0",
        _MEMBERS,
        lambda r, *m: Partition(r, m, split=True),
    ),
    Rule("fuse_partition", "fuse_partition:M", (1,), FusePartition),
    Rule("defer_division", "defer_division or defer_division:AV", (0, 1), Factor),
    Rule("factor", "factor or factor:AV", (0, 1), Factor),
    Rule("reassociate", "reassociate or reassociate:AV", (0, 1), Reassociate),
    Rule("make_iterative", "make_iterative:GM or make_iterative:GM,M", (1, 2), MakeIterative),
    Rule("separate", "separate:VAR", (1,), Separate),
    Rule("reduce_passes", "reduce_passes or reduce_passes:M", (0, 1), ReducePasses),
    Rule("chunk", "chunk or chunk:P,M", (0, 2), Chunk),
)
"""Every rule there is. ``factor`` is another name of ``defer_division``."""


def parse_rule(text: str) -> Rewrite:
    """The rewrite a text such as ``partition:M=M1,M0`` or ``partition(M, M1, M0)`` names.

    Raises
    ------
    RewriteError
        There is no such rule (says the nearest and lists all), or its arguments do not fit.
    """
    found = _RULE.fullmatch(text)
    name = found[1] if found else text
    known = {r.name: r for r in RULES}
    if name not in known:
        listed = ", ".join(known)
        hint = did_you_mean(name, known)
        hint = f"{hint} (rules: {listed})" if "?" in hint else f"rules: {listed}"
        raise RewriteError(Problem(f"there is no rewrite rule '{name[:60]}'", None, hint))
    rule = known[name]
    inside = (found[2] or found[3] or "").strip() if found else ""
    arguments = re.split(r"\s*[=,]\s*", inside) if inside else []
    if not all(arguments):
        raise RewriteError(
            Problem(f"an argument is empty in '{text[:80]}'", None, f"write {rule.usage}")
        )
    wrong = [a for a in arguments if not _NAME.fullmatch(a)]
    if wrong:
        raise RewriteError(
            Problem(f"'{wrong[0][:60]}' in '{text[:80]}' is no name", None, f"write {rule.usage}")
        )
    if len(arguments) not in rule.counts:
        count = len(arguments)
        raise RewriteError(
            Problem(
                f"rule '{name}' has {count} argument{'s' * (count != 1)} in '{text[:80]}'",
                None,
                f"write {rule.usage}",
            )
        )
    return rule.build(*arguments)
