"""Groups and cycles of graphs, in a time that grows as their edges do.

A library of graphs alone takes longer to load than these take to find; sympy has some, which
an analysis needs anyway, and what only runs a cascade does without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


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
    pairs = list(edges)
    successors: dict[str, list[str]] = {}
    for a, b in pairs:
        successors.setdefault(a, []).append(b)
    group: dict[str, int] = {}
    for number, component in enumerate(strongly_connected(successors)):
        group.update(dict.fromkeys(component, number))
    return frozenset((a, b) for a, b in pairs if group[a] == group[b])


def strongly_connected(successors: Mapping[str, Collection[str]]) -> tuple[frozenset[str], ...]:
    """Groups of nodes that all reach one another, those reached before those that reach them.

    By Tarjan's algorithm (SIAM J. Comput. 1(2), 1972), without recursion.

    Parameters
    ----------
    successors : mapping of str to collection of str
        Nodes that are successors alone need no entry; a node on no cycle is a group by itself.

    >>> [sorted(g) for g in strongly_connected({"a": ["b"], "b": ["a", "c"], "d": ["a"]})]
    [['c'], ['a', 'b'], ['d']]
    """
    # ``index``: the how many-th a node was found; ``low``: the first found of those open nodes that
    # it is known to reach. A node that reaches none before itself closes a group: all open ones
    # since.
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: dict[str, None] = {}
    found: list[frozenset[str]] = []
    for start in successors:
        work = [(start, iter(successors[start]))] if start not in index else []
        if work:
            index[start] = low[start] = len(index)
            open_nodes[start] = None
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    open_nodes[other] = None
                    work.append((other, iter(successors.get(other, ()))))
                    break
                if other in open_nodes:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = [open_nodes.popitem()[0]]
                    while group[-1] != node:
                        group.append(open_nodes.popitem()[0])
                    found.append(frozenset(group))
    return tuple(found)
