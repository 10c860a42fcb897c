"""What a rewrite is: a frozen object that takes a program to an equal program, in steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..algebra.terms import in_order
from ..errors import Problem, RewriteError, did_you_mean
from ..ir import Einsum, Program
from ..verify import check


@dataclass(frozen=True, kw_only=True)
class RewriteStep:
    """One application of one rule.

    Attributes
    ----------
    rule : str
        The rule as it would be written on the command line.
    before, after : Program
        The cascade on both sides.
    because : tuple of str
        The identities used and what they allow, one line each.
    """

    rule: str
    before: Program
    after: Program
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewrite:
    """A rule. Subclasses say in their docstring: precondition, before -> after, source."""

    name: ClassVar[str] = ""

    def derive(self, program: Program) -> tuple[RewriteStep, ...]:
        """The steps this rule takes on a program; never empty.

        Raises
        ------
        RewriteError
            When the precondition fails; names the condition and the Einsum.
        """
        raise NotImplementedError

    def apply(self, program: Program) -> Program:
        """The rewritten program, verified before and after."""
        check(program)
        return self.derive(program)[-1].after


def step(rule: str, before: Program, after: Program, *because: str) -> RewriteStep:
    """A step whose product is in order and has been verified.

    Parameters
    ----------
    rule : str
        Its name and, behind a colon, the Einsum: ``factor:AV``.
    before, after : Program
    *because : str
        Reasons, one a line of the derivation.

    Returns
    -------
    RewriteStep
        With the Einsums of ``after`` in an order in which they can run.

    Raises
    ------
    CascadeError
        When the product is malformed (a defect of the rule, not of the input).
    """
    after = in_order(after)
    check(after)
    return RewriteStep(rule=rule, before=before, after=after, because=tuple(because))


def refuse(
    rule: str, condition: str, einsum: Einsum | None = None, hint: str | None = None
) -> RewriteError:
    """The error of a rule whose precondition fails: which condition, at which Einsum.

    Parameters
    ----------
    rule : str
    condition : str
        What does not hold, in words that go on after a colon.
    einsum : Einsum, optional
        Where.
    hint : str, optional
        What to do about it.

    Returns
    -------
    RewriteError
        To be raised.
    """
    where = f" at '{einsum.name}'" if einsum is not None else ""
    span = einsum.span if einsum is not None else None
    return RewriteError(Problem(f"{rule} does not apply{where}: {condition}", span, hint))


def einsum_named(program: Program, name: str, rule: str) -> Einsum:
    """The Einsum a rule was asked to work on.

    Parameters
    ----------
    program : Program
    name : str
    rule : str
        Which asks, for the error.

    Raises
    ------
    RewriteError
        When the program has no such Einsum.
    """
    found = program.einsum_of.get(name)
    if found is None:
        hint = did_you_mean(name, program.einsum_of)
        raise RewriteError(
            Problem(f"{rule}: '{program.name}' has no Einsum '{name}'", program.span, hint)
        )
    return found
