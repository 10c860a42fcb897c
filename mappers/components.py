"""Which Einsums feed one another from iteration to iteration, and so run by turns."""

from __future__ import annotations

from einsum_cascade.ir import Program


def strongly_connected_components(program: Program) -> tuple[tuple[str, ...], ...]:
    """Einsums in the smallest groups that can run one after the other.

    The Einsums of a component need one another (a running value and what it is made from);
    everything else that one needs is in the components before it. Inside a component, and
    between those that do not need each other, the order of the cascade stays.

    Returns
    -------
    tuple of tuple of str
        Names of Einsums, a component each, in an order in which they can run.

    Examples
    --------
    A token's share DKV is made of the state KV of the token before, and KV of DKV:

    >>> from einsum_cascade import Cascade
    >>> strongly_connected_components(Cascade.load("retnet-recurrent").program)
    (('G',), ('DKV', 'KV'), ('O',))
    """
    # Imported only where a mapping has to be made: most runs have a written one.
    import networkx as nx

    place = {e.name: number for number, e in enumerate(program.einsums)}
    needs = nx.DiGraph()
    needs.add_nodes_from(place)
    for e in program.einsums:
        needs.add_edges_from((a.tensor, e.name) for a in e.reads if a.tensor in place)
    together = nx.condensation(needs)
    members = {
        node: sorted(data["members"], key=place.__getitem__)
        for node, data in together.nodes.items()
    }
    order = nx.lexicographical_topological_sort(together, key=lambda node: place[members[node][0]])
    return tuple(tuple(members[node]) for node in order)
