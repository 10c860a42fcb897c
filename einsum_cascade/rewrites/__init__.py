"""Rewrites: rules that turn a cascade into an equal one, with a proof.

``rewrite`` applies several rules one after the other and returns a derivation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar, cast

from ..errors import RewriteError, did_you_mean
from ..ir import Program
from ..notation import statement_text
from ..source import html_text
from ..verify import check
from .base import Rewrite, RewriteStep
from .chunk import Chunk, MakeIterative
from .factor import Factor, Reassociate, Separate
from .partition import FusePartition, Partition
from .proof import Proof, prove
from .reduce_passes import ReducePasses

__all__ = [
    "RULES",
    "Chunk",
    "Derivation",
    "Factor",
    "FusePartition",
    "MakeIterative",
    "Partition",
    "Proof",
    "Reassociate",
    "ReducePasses",
    "Rewrite",
    "Rule",
    "Separate",
    "RewriteStep",
    "parse_rule",
    "prove",
    "rewrite",
]

_RULE = re.compile(r"\s*([A-Za-z_]\w*)\s*(?::(.*)|\((.*)\)\s*)?")
_MEMBERS = tuple(range(3, 9))
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Rule:
    """Rule with its written form, its possible numbers of arguments, and its constructor."""

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
"""All rules; ``factor`` is another name for ``defer_division``."""


def parse_rule(text: str) -> Rewrite:
    """Return the rewrite for a text such as ``partition:M=M1,M0`` or ``partition(M, M1, M0)``.

    Raises
    ------
    RewriteError
        There is no such rule (the hint names the nearest and lists all), or its arguments do not
        fit.
    """
    found = _RULE.fullmatch(text)
    name = found[1] if found else text
    known = {r.name: r for r in RULES}
    if name not in known:
        listed = ", ".join(known)
        hint = did_you_mean(name, known)
        hint = f"{hint} (rules: {listed})" if "?" in hint else f"rules: {listed}"
        raise RewriteError(f"there is no rewrite rule '{name[:60]}'", None, hint)
    rule = known[name]
    inside = (found[2] or found[3] or "").strip() if found else ""
    arguments = re.split(r"\s*[=,]\s*", inside) if inside else []
    wrong = [a for a in arguments if not _NAME.fullmatch(a)]
    count = len(arguments)
    if not all(arguments):
        problem = f"an argument is empty in '{text[:80]}'"
    elif wrong:
        problem = f"'{wrong[0][:60]}' in '{text[:80]}' is no name"
    elif count not in rule.counts:
        problem = f"rule '{name}' has {count} argument{'s' * (count != 1)} in '{text[:80]}'"
    else:
        return rule.build(*arguments)
    raise RewriteError(problem, None, f"write {rule.usage}")


class HasProgram(Protocol):
    """Object that holds a program, such as ``Cascade``; rules themselves work on programs only."""

    @property
    def program(self) -> Program:
        """Program that the object holds."""

    def with_program(self, program: Program) -> Self:
        """Return an object of the same kind that holds another program."""


C = TypeVar("C", bound=Program | HasProgram)
Rules = str | Rewrite | Iterable[str | Rewrite]


@dataclass(frozen=True)
class Derivation(Generic[C]):
    """Steps from one cascade to another, and the proof that the two are equal.

    Attributes
    ----------
    start : Program
        Given cascade.
    steps : tuple of RewriteStep
        Every rule applied, helper rules included.
    result : Cascade or Program
        Rewritten cascade, of the type that was given.
    proof : Proof or None
        Counted passes and operations, and a run of both cascades; None if not requested.
    """

    start: Program
    steps: tuple[RewriteStep, ...]
    result: C
    proof: Proof | None = None

    @property
    def program(self) -> Program:
        """Program of the rewritten cascade."""
        return self.steps[-1].after

    def text(self) -> str:
        """Return the derivation as text: each rule, its identity, and the equations it changed."""
        return "\n".join(self._lines())

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{html_text(self.text())}</pre>"

    def _lines(self) -> Iterator[str]:
        yield f"{self.start.name}:"
        yield from _changes((), _statements(self.start), sign=" ")
        for number, step in enumerate(self.steps, 1):
            yield ""
            yield f"{number}. {step.rule}"
            yield from (f"   because {line}" for line in step.because)
            yield from _changes(_statements(step.before), _statements(step.after))
            if step.hint:
                yield f"   hint: {step.hint}"
        if self.proof is not None:
            yield ""
            yield "proof"
            yield from (f"   {line}" for line in self.proof.text().splitlines())


def rewrite(cascade: C, *rules: Rules, prove_it: bool = True, seed: int = 0) -> Derivation[C]:
    """Apply rules one after the other and prove the result equal to the original.

    Parameters
    ----------
    cascade : Cascade or Program
        Cascade to rewrite.
    *rules : str or Rewrite, or lists of them
        Rules such as ``"partition:M=M1,M0"`` and ``"reduce_passes"``.
    prove_it : bool
        Whether to count passes and operations and to run both cascades.
    seed : int
        Seed of the random inputs of the proof.

    Raises
    ------
    RewriteError
        A rule is unknown or does not apply, or the result computes something else.
    """
    program = cascade if isinstance(cascade, Program) else cascade.program
    check(program)
    chosen = list(_chosen(rules))
    if not chosen:
        raise RewriteError("no rule is given; name at least one, such as reduce_passes")
    steps: list[RewriteStep] = []
    now = program
    for rule in chosen:
        steps.extend(rule.derive(now))
        now = steps[-1].after
    title = f"{program.name} after {', '.join(map(str, chosen))}"
    now = replace(now, name=f"{program.name}-rewritten", title=title)
    steps[-1] = replace(steps[-1], after=now)
    proof = prove(program, now, seed) if prove_it else None
    if proof is not None and not proof.holds:
        raise RewriteError(
            f"the rewritten cascade does not compute what '{program.name}' computes: the "
            f"float64 results differ by {proof.error_float64:.1e}",
            program.span,
        )
    result = now if isinstance(cascade, Program) else cascade.with_program(now)
    return Derivation(program, tuple(steps), cast(C, result), proof)


def _chosen(rules: Iterable[str | Rewrite | Iterable[str | Rewrite]]) -> Iterator[Rewrite]:
    for rule in rules:
        if isinstance(rule, Rewrite):
            yield rule
        elif isinstance(rule, str):
            yield parse_rule(rule)
        else:
            yield from _chosen(rule)


def _statements(program: Program) -> tuple[str, ...]:
    return tuple(statement_text(e) for e in program.statements)


def _changes(
    before: tuple[str, ...], after: tuple[str, ...], sign: str | None = None
) -> Iterator[str]:
    """Yield the lines that describe a step: removed equations first, then added ones."""
    for line in before:
        if line not in after:
            yield f"   - {line}"
    for line in after:
        if line not in before:
            yield f"   {sign or '+'} {line}"
