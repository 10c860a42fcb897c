"""Running values that are read before all of a step is done."""

from __future__ import annotations

from einsum_cascade.errors import Problem

from .record import Bound


def unfinished_states(bound: Bound) -> list[Problem]:
    """All places of a running value must be done before a step of its own reads it at any of them.

    ``X[s+1, p] = X[s, p] - L[p, s] * X[s, s]``: with the loop over P outside of that over S a row
    would be through all steps before the next one had its first.

    Parameters
    ----------
    bound : Bound
        The mapping.

    Returns
    -------
    list of Problem
        One for each Einsum whose loops are in such an order.
    """
    found: list[Problem] = []
    for e in bound.einsums:
        ranks = {r.lower() for r in bound.program.iterative.get(e.name, ())}
        ahead = {v for o in e.operands if o.producer == e.name for moved in o.ahead for v in moved}
        for number, loop in enumerate(e.going if ahead else ()):
            steps = [x.member for x in e.going[number + 1 :] if x.variable in ranks]
            if loop.variable in ahead - ranks and steps:
                how = bound.mapping.einsum(e.name)
                text = (
                    f"{e.name} reads {e.name} where a later iteration of {loop.member} writes it, "
                    f"and every {steps[0]} inside that loop needs all of the one before"
                )
                hint = f"put {loop.member} inside {steps[0]}"
                found.append(Problem(text, how.span if how else None, hint))
                break
    return found
