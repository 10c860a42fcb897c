"""Strongly connected components of a cascade: Einsums that feed one another and take turns."""

from __future__ import annotations

from einsum_cascade.graphs import strongly_connected
from einsum_cascade.ir import Program


def strongly_connected_components(program: Program) -> tuple[tuple[str, ...], ...]:
    """Return the strongly connected components of a cascade, in an order in which they can run.

    The Einsums of a component need one another (a running value and its inputs). Everything else
    that they need is in earlier components. Einsums keep the order of the cascade otherwise.

    Returns
    -------
    tuple of tuple of str
        Names of Einsums, one tuple per component.

    Examples
    --------
    A token's share DKV is made of the state KV of the token before, and KV of DKV:

    >>> from einsum_cascade import Cascade
    >>> strongly_connected_components(Cascade.load("retnet-recurrent").program)
    (('G',), ('DKV', 'KV'), ('O',))
    """
    place = {e.name: number for number, e in enumerate(program.einsums)}
    needs = {e.name: {a.tensor for a in e.reads if a.tensor in place} for e in program.einsums}
    groups = (sorted(group, key=place.__getitem__) for group in strongly_connected(needs))
    left = sorted(groups, key=lambda group: place[group[0]])
    found: list[tuple[str, ...]] = []
    able: set[str] = set()
    while left:
        # One component is always ready: there is no cycle between components.
        first = next(g for g in left if all(needs[name] <= {*able, *g} for name in g))
        left.remove(first)
        able.update(first)
        found.append(tuple(first))
    return tuple(found)
