"""Who must wait for the end of a loop: what streams through it cannot be taken on the way."""

from __future__ import annotations

from einsum_cascade.ir import Access, Affine

from ..space.iteration import Loop
from .lower import Lowered, LoweredEinsum


def producer_of(lowered: Lowered, access: Access) -> LoweredEinsum | None:
    """The Einsum that writes what an access reads; None for inputs."""
    return next((p for p in lowered.einsums if p.name == access.tensor), None)


def reads_stop(lowered: Lowered, access: Access, variable: str) -> bool:
    """Whether an iterative tensor is read after its rank is done (``RD[M1, p]``)."""
    ranks = lowered.program.iterative.get(access.tensor, ())
    if variable.upper() not in ranks:
        return False
    writer = lowered.program.einsum_of[access.tensor]
    for written, index in zip(writer.target.indices, access.indices, strict=True):
        if variable in written.variables and isinstance(index, Affine):
            return variable not in index.variables
    return False


def reads_earlier(lowered: Lowered, access: Access) -> bool:
    """Whether an access reads a running value from before this iteration."""
    target = lowered.program.einsum_of[access.tensor].target
    return any(
        isinstance(wrote, Affine)
        and isinstance(read, Affine)
        and wrote.offset == 1
        and read.offset == 0
        and read.variables == wrote.variables
        for wrote, read in zip(target.indices, access.indices, strict=True)
    )


def waiting(
    lowered: Lowered, source: LoweredEinsum, between: tuple[LoweredEinsum, ...], loop: Loop
) -> dict[str, str]:
    """Einsums that wait for the end of a loop that one source streams in, and for what."""
    fed = {source.name}
    after: dict[str, str] = {}
    for e in between:
        for access in e.einsum.reads:
            if access.tensor not in fed or reads_earlier(lowered, access):
                continue
            fed.add(e.name)
            writer = producer_of(lowered, access)
            assert writer is not None, "what is fed is written"
            ends = reads_stop(lowered, access, loop.variable)
            summed = loop.variable in writer.einsum.over
            if access.tensor in after or ends or summed:
                after[e.name] = access.tensor
    return after


def streaming(source: LoweredEinsum, loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """Loops of its own in which an Einsum hands on value after value."""
    return tuple(x for x in loops if x in source.own and x.variable not in source.einsum.over)


def up_to(
    lowered: Lowered, source: LoweredEinsum, last: LoweredEinsum
) -> tuple[LoweredEinsum, ...]:
    """Einsums that run after one, up to and with another."""
    names = [e.name for e in lowered.einsums]
    return lowered.einsums[names.index(source.name) + 1 : names.index(last.name) + 1]
