"""Who must wait for the end of a loop: what streams through it cannot be taken on the way."""

from __future__ import annotations

from einsum_cascade.ir import Access, Affine

from ..space.iteration import Loop
from .record import Bound, BoundEinsum


def producer_of(bound: Bound, access: Access) -> BoundEinsum | None:
    """The Einsum that writes what an access reads; None for inputs."""
    return next((p for p in bound.einsums if p.name == access.tensor), None)


def reads_stop(bound: Bound, access: Access, variable: str) -> bool:
    """Whether an iterative tensor is read after its rank is done (``RD[M1, p]``)."""
    ranks = bound.program.iterative.get(access.tensor, ())
    if variable.upper() not in ranks:
        return False
    writer = bound.program.einsum_of[access.tensor]
    for written, index in zip(writer.target.indices, access.indices, strict=True):
        if variable in written.variables and isinstance(index, Affine):
            return variable not in index.variables
    return False


def reads_earlier(bound: Bound, access: Access) -> bool:
    """Whether an access reads a running value from before this iteration."""
    target = bound.program.einsum_of[access.tensor].target
    return any(
        isinstance(wrote, Affine)
        and isinstance(read, Affine)
        and wrote.offset == 1
        and read.offset == 0
        and read.variables == wrote.variables
        for wrote, read in zip(target.indices, access.indices, strict=True)
    )


def waiting(
    bound: Bound, source: BoundEinsum, between: tuple[BoundEinsum, ...], loop: Loop
) -> dict[str, str]:
    """Einsums that wait for the end of a loop that one source streams in, and for what."""
    fed = {source.name}
    after: dict[str, str] = {}
    for e in between:
        for access in e.einsum.reads:
            if access.tensor not in fed or reads_earlier(bound, access):
                continue
            fed.add(e.name)
            writer = producer_of(bound, access)
            assert writer is not None, "what is fed is written"
            ends = reads_stop(bound, access, loop.variable)
            summed = loop.variable in writer.einsum.over
            if access.tensor in after or ends or summed:
                after[e.name] = access.tensor
    return after


def streaming(source: BoundEinsum, loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """Loops of its own in which an Einsum hands on value after value."""
    return tuple(x for x in loops if x in source.own and x.variable not in source.einsum.over)


def up_to(bound: Bound, source: BoundEinsum, last: BoundEinsum) -> tuple[BoundEinsum, ...]:
    """Einsums that run after one, up to and with another."""
    names = [e.name for e in bound.einsums]
    return bound.einsums[names.index(source.name) + 1 : names.index(last.name) + 1]
