"""Reachability, components and cycles of graphs, in time linear in the number of edges.

The algorithms are written out here because a graph library would add its import time to every
command.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping


def reachable(starts: Iterable[str], successors: Callable[[str], Iterable[str]]) -> dict[str, None]:
    """Return the start nodes and all nodes reached from them, each once, as the keys of a dict.

    >>> list(reachable("a", {"a": "bc", "b": "a", "c": ""}.__getitem__))
    ['a', 'c', 'b']
    """
    found: dict[str, None] = {}
    pending = list(starts)
    while pending:
        node = pending.pop()
        if node not in found:
            found[node] = None
            pending.extend(successors(node))
    return found


def connected(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> tuple[frozenset[str], ...]:
    """Return the connected components of ``names`` and the end points of ``edges``.

    Parameters
    ----------
    names : iterable of str
        Nodes; a node without edges is a component by itself.
    edges : iterable of (str, str)
        Undirected edges.

    >>> [sorted(group) for group in connected("abcd", [("a", "b"), ("c", "a")])]
    [['a', 'b', 'c'], ['d']]
    """
    neighbours: dict[str, list[str]] = {name: [] for name in names}
    for a, b in edges:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    group_of: dict[str, frozenset[str]] = {}
    for name in neighbours:
        if name not in group_of:
            group = frozenset(reachable((name,), neighbours.__getitem__))
            group_of.update(dict.fromkeys(group, group))
    return tuple(dict.fromkeys(group_of.values()))


def on_cycles(edges: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Return the edges that lie on a cycle.

    Parameters
    ----------
    edges : iterable of (str, str)
        Directed edges; an edge from a node to itself is a cycle.

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
    """Return the strongly connected components, successors before their predecessors.

    Uses Tarjan's algorithm (SIAM J. Comput. 1(2), 1972) without recursion.

    Parameters
    ----------
    successors : mapping of str to collection of str
        Nodes without successors need no entry; a node on no cycle is a component by itself.

    >>> [sorted(g) for g in strongly_connected({"a": ["b"], "b": ["a", "c"], "d": ["a"]})]
    [['c'], ['a', 'b'], ['d']]
    """
    # ``index`` numbers nodes in the order of discovery; ``low`` is the smallest index of an open
    # node that a node can reach. A node that reaches no earlier open node closes a component: all
    # nodes opened since.
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
