"""What is different between two mappings of a cascade on a machine, as a person would say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from archsim.bound.record import Bound, BoundEinsum

from .certificate import Difference

_NONE = "none"
_OUTSIDE = "stays outside of"


def differences_of_nests(
    one: Sequence[tuple[str, Bound]], other: Sequence[tuple[str, Bound]]
) -> tuple[Difference, ...]:
    """Where two mappings differ of which either may have several nests.

    Parameters
    ----------
    one, other : sequence of tuple
        The name of each nest, and its mapping, bound.
    """
    if len(one) == len(other) == 1:
        return differences(one[0][1], other[0][1])
    here, there = (" | ".join(name for name, _ in x) or "one" for x in (one, other))
    return (Difference(what="nests", here=here, there=there),)


def differences(one: Bound, other: Bound) -> tuple[Difference, ...]:
    """Where two mappings differ, what matters most first.

    Parameters
    ----------
    one, other : Bound
        Of the same cascade and shapes on the same machine.

    Returns
    -------
    tuple of Difference
        Shared loops by memory, Einsums that stay outside of them, arrays, places, layouts. Where
        nests are not the same ones, that they share no loops goes without saying.
    """
    alike = one.groups == other.groups
    return tuple(
        Difference(what=what, here=here, there=there)
        for (what, here), (_, there) in zip(_told(one), _told(other), strict=True)
        if here != there and (alike or _OUTSIDE not in what)
    )


def _told(bound: Bound) -> Iterator[tuple[str, str]]:
    """Choices of a mapping by what they are about, the same ones in the same order for all."""
    groups = [" ".join(group) for group in bound.groups]
    yield "nests", " | ".join(groups) if len(groups) > 1 else "one"
    spread = bound.instances.spread if bound.instances is not None else ()
    yield "spread", _listed(f"{x.rank} over {x.parts:,} {x.instances}" for x in spread)
    for level, memory in enumerate(bound.architecture.memories):
        loops = [x for x in bound.nest if x.level == level and x.bound > 1]
        yield f"shared loops at {memory.name}", _listed(f"{x.rank} {x.bound:,}" for x in loops)
    for e in bound.einsums:
        yield f"{e.name} {_OUTSIDE}", _listed(dict.fromkeys(_left(bound, e)))
        yield f"{e.name} runs on", e.array.name
    homes = dict(bound.residency.places)
    for tensor in sorted(homes):
        yield f"{tensor} is kept in", _listed(home.name for home in homes[tensor])
    for e in bound.einsums:
        yield f"own loops of {e.name}", _listed(_own(e))
        yield f"side by side in {e.name}", _listed(_lying(e))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or _NONE


def _left(bound: Bound, e: BoundEinsum) -> Iterator[str]:
    """Ranks of the shared loops that an Einsum stays out of."""
    return (x.rank for x in bound.nest if x.bound > 1 and x.member in e.outside)


def _own(e: BoundEinsum) -> Iterator[str]:
    return (f"{x.variable.upper()} {e.widths[x.member]:,}" for x in e.own if e.widths[x.member] > 1)


def _lying(e: BoundEinsum) -> Iterator[str]:
    """Dimensions with the ranks along them."""
    for d in e.array.dimensions:
        ranks = dict.fromkeys(x.variable.upper() for x in e.spatial if x.dimension == d.name)
        if ranks:
            yield f"{d.name}: {' x '.join(ranks)}"
