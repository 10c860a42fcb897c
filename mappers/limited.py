"""Memories of limited size: what a search can do with less of one."""

from __future__ import annotations

from archsim.spec.arch import Architecture, Memory
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import Problem, SpecError, did_you_mean

BUFFER = "buffer"
"""The outermost memory of limited size, on any machine; one of that name goes first."""


def limited_memory(architecture: Architecture, name: str, option: str) -> Memory:
    """The memory whose size a search is asked about.

    Parameters
    ----------
    name : str
        Its name or role, or ``buffer``: the outermost that is limited.
    option : str
        Where that was written, as errors begin.

    Raises
    ------
    SpecError
        There is none of that name or role, it is the outermost, or of no limit.
    """
    outermost, *inner = architecture.memories[architecture.home_level :]
    known = [m.name for m in inner if m.capacity_bytes is not None]
    named = memory_in_role(architecture, name) or name
    if named == BUFFER and architecture.memory(named) is None:
        if not known:
            raise SpecError(f"{option}: no inner memory of {architecture.name} is limited in size")
        named = known[0]
    if named not in [m.name for m in architecture.memories]:
        hint = did_you_mean(name, known)
        raise SpecError(f"{option}: {architecture.name} has no memory '{name}'; {hint}")
    if named not in known:
        why = "is the outermost" if named == outermost.name else "has no limit"
        text = f"{option}: {named} {why}; asked is the size of an inner memory"
        raise SpecError(Problem(text, hint=f"known: {', '.join(known) or 'none'}"))
    return next(m for m in inner if m.name == named)
