"""Which arrays of a machine an Einsum may be put on."""

from __future__ import annotations

from archsim.spec.arch import Architecture, ProcessingArray
from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.operations import einsum_operations, operation_label


def arrays_of(
    program: Program, einsum: Einsum, architecture: Architecture
) -> tuple[ProcessingArray, ...]:
    """The arrays that can do all operations of an Einsum, in the order of the machine.

    Raises
    ------
    MappingError
        There is none.
    """
    kinds = [kind for kind, _ in einsum_operations(program, einsum)]
    able = architecture.arrays_for(kinds)
    if not able:
        wanted = ", ".join(map(operation_label, kinds))
        text = f"{einsum.name}: no array of {architecture.name} can do all of {wanted}"
        hint = "give an array the operations that are missing"
        raise MappingError(Problem(text, einsum.span, hint))
    return able
