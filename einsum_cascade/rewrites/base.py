"""Base class of rewrites: frozen objects that turn a program into an equal program, in steps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from ..algebra.terms import drop_unread, in_order
from ..errors import RewriteError, did_you_mean
from ..ir import Einsum, Node, Program, Rank
from ..verify import check


@dataclass(frozen=True, kw_only=True)
class RewriteStep:
    """One application of one rule.

    Attributes
    ----------
    rule : str
        Rule as written on the command line.
    before, after : Program
        Cascade before and after the step.
    because : tuple of str
        Identities used and their consequences, one line each.
    hint : str
        Rule that would make the result cheaper; empty if there is none.
    """

    rule: str
    before: Program
    after: Program
    because: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Rewrite:
    """Rule that turns a program into an equal one.

    The docstring of each subclass gives its precondition, before -> after, and source.
    """

    name: ClassVar[str] = ""

    def __str__(self) -> str:
        """Return the rule as written on the command line."""
        given = [value for f in fields(self) if (value := getattr(self, f.name))]
        return f"{self.name}:{','.join(given)}" if given else self.name

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """Return the steps of this rule on a program, at least one.

        Raises
        ------
        RewriteError
            The precondition fails; names the condition and the Einsum.
        """
        raise NotImplementedError

    def apply(self, program: Program) -> Program:
        """Return the rewritten program; both programs are verified."""
        check(program)
        return self.derive(program)[-1].after


def step(rule: str, before: Program, after: Program, *because: str) -> RewriteStep:
    """Return a step after dropping what no output needs, ordering the rest and verifying it.

    Parameters
    ----------
    rule : str
        Name of the rule and, after a colon, of the Einsum: ``factor:AV``.
    before, after : Program
    *because : str
        Reasons, one line of the derivation each.

    Raises
    ------
    CascadeError
        The result is malformed: a defect of the rule, not of the input.
    """
    after = in_order(drop_unread(after))
    check(after)
    return RewriteStep(rule=rule, before=before, after=after, because=tuple(because))


def refuse(
    rule: str, condition: str, at: Node | None = None, hint: str | None = None
) -> RewriteError:
    """Return the error to raise if the precondition of a rule fails.

    Parameters
    ----------
    rule : str
    condition : str
        Violated condition, as a clause after a colon.
    at : Einsum, Rank or Program, optional
        Node that violates it; of these, the message names an Einsum.
    hint : str, optional
        Advice to the user.
    """
    where = f" at '{at.name}'" if isinstance(at, Einsum) else ""
    span = None if at is None else at.span
    return RewriteError(f"{rule} does not apply{where}: {condition}", span, hint)


def einsum_named(program: Program, name: str, rule: str) -> Einsum:
    """Return the Einsum that a user names in a rule.

    Parameters
    ----------
    program : Program
    name : str
    rule : str
        Rule to name in the error.

    Raises
    ------
    RewriteError
        The program has no such Einsum.
    """
    found = program.einsum_of.get(name)
    if found is None:
        hint = did_you_mean(name, program.einsum_of)
        raise RewriteError(f"{rule}: '{program.name}' has no Einsum '{name}'", program.span, hint)
    return found


def rank_named(program: Program, name: str, rule: str) -> Rank:
    """Return the rank that a user names in a rule.

    Raises
    ------
    RewriteError
        The program has no such rank.
    """
    found = program.rank_of.get(name)
    if found is None:
        hint = did_you_mean(name, program.rank_of)
        raise RewriteError(f"{rule}: '{program.name}' has no rank '{name}'", None, hint)
    return found
