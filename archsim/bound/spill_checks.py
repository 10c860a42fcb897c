"""What a mapping may say about spilling: levels, tensors and tile members that exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from einsum_cascade.errors import Problem, did_you_mean
from einsum_cascade.ir import Program
from einsum_cascade.source import Span

from ..spec.arch import Architecture
from ..spec.mapping import Factors, Mapping
from .tiling import Tiling


def spill_problems(
    program: Program, mapping: Mapping, architecture: Architecture, tiling: Tiling
) -> Iterator[Problem]:
    """A spill at no level, at one that cannot, or of what does not exist.

    Parameters
    ----------
    program : Program
        The cascade, for its tensors.
    mapping : Mapping
        The mapping as written; one that spills nothing is fine.
    architecture : Architecture
        The machine; its outermost memory has none to spill to.
    tiling : Tiling
        The tile members that amounts may name.
    """
    spill = mapping.spill
    if spill is None:
        return
    inner = [m.name for m in architecture.memories[1:]]
    if not spill.level:
        yield Problem("'spill' says at which level", spill.span, "add 'level: ...' to it")
    elif spill.level not in inner:
        hint = did_you_mean(spill.level, inner) or f"such a level is {', '.join(inner)}"
        text = f"'{spill.level}' is no memory with another outside it, so nothing spills there"
        yield Problem(text, spill.span, hint if inner else "the machine has one memory only")
    yield from tensor_problems(program, spill.span, (t for t, _ in (*spill.copies, *spill.staged)))
    yield from factor_problems(tiling, spill.span, spill.staged)


def tensor_problems(
    program: Program, span: Span | None, tensors: Iterable[str]
) -> Iterator[Problem]:
    """Tensors that do not exist.

    Parameters
    ----------
    program : Program
        The cascade: inputs, and what its Einsums write, are its tensors.
    span : Span or None
        Where the mapping's file names them.
    tensors : iterable of str
        The names; one that is repeated is told once.
    """
    known = [*(t.name for t in program.inputs), *(e.name for e in program.einsums)]
    for tensor in dict.fromkeys(tensors):
        if tensor not in known:
            hint = did_you_mean(tensor, known)
            yield Problem(f"the cascade has no tensor '{tensor}'", span, hint)


def einsum_problems(program: Program, span: Span | None, names: Iterable[str]) -> Iterator[Problem]:
    """Einsums that do not exist.

    Parameters
    ----------
    program : Program
        The cascade.
    span : Span or None
        Where the mapping's file names them.
    names : iterable of str
        The names; one that is repeated is told once.
    """
    known = [e.name for e in program.einsums]
    for name in dict.fromkeys(names):
        if name not in known:
            hint = did_you_mean(name, known)
            yield Problem(f"the cascade has no Einsum '{name}'", span, hint)


def factor_problems(
    tiling: Tiling, span: Span | None, amounts: Iterable[tuple[str, Factors]]
) -> Iterator[Problem]:
    """Tile members that do not exist.

    Parameters
    ----------
    tiling : Tiling
        The cut ranks, whose members are known.
    span : Span or None
        Where the mapping's file names them.
    amounts : iterable of (str, factors)
        By tensor, a product of numbers and names of members.
    """
    for name in dict.fromkeys(f for _, factors in amounts for f in factors):
        if isinstance(name, str) and name not in tiling.members:
            hint = did_you_mean(name, tiling.members)
            yield Problem(f"no rank or tile is called '{name}'", span, hint)
