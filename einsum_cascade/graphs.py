"""Groups and cycles of small graphs.

By sympy, which an analysis needs anyway: a library of graphs alone takes longer to load than
these take to find.
"""

from __future__ import annotations

from collections.abc import Iterable


def connected(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> tuple[frozenset[str], ...]:
    """The connected groups of ``names`` and of what ``edges`` name besides.

    Parameters
    ----------
    names : iterable of str
        Nodes, also those on no edge; each of these is a group by itself.
    edges : iterable of (str, str)
        Without direction.

    >>> [sorted(group) for group in connected("abcd", [("a", "b"), ("c", "a")])]
    [['a', 'b', 'c'], ['d']]
    """
    from sympy.utilities.iterables import connected_components

    pairs = list(edges)
    every = list(dict.fromkeys((*names, *(n for pair in pairs for n in pair))))
    return tuple(frozenset(c) for c in connected_components((every, pairs)))


def on_cycles(edges: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The edges that lie on a cycle.

    Parameters
    ----------
    edges : iterable of (str, str)
        From the first to the second; an edge from a node to itself is a cycle.

    >>> sorted(on_cycles([("a", "b"), ("b", "a"), ("b", "c")]))
    [('a', 'b'), ('b', 'a')]
    """
    from sympy.utilities.iterables import strongly_connected_components

    pairs = list(edges)
    names = list(dict.fromkeys(n for pair in pairs for n in pair))
    group: dict[str, int] = {}
    for number, component in enumerate(strongly_connected_components((names, pairs))):
        group.update(dict.fromkeys(component, number))
    return frozenset((a, b) for a, b in pairs if group[a] == group[b])
