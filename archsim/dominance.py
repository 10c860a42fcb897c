"""Pareto filter: positions of the points that no other point dominates."""

from __future__ import annotations

from collections.abc import Sequence


def undominated(points: Sequence[Sequence[float]], slack: Sequence[float]) -> list[int]:
    """Return positions of the points of a Pareto front, the first cost ascending.

    Parameters
    ----------
    points : sequence of sequence of float
        Costs of each point: the less, the better.
    slack : sequence of float
        Share of each cost that does not count. In the first cost, a point that is worse by no more
        replaces points it otherwise matches. In the others, a point has to save more.

    Examples
    --------
    >>> undominated([(1, 9), (2, 5), (2, 7), (3, 5), (4, 1)], (0, 0))
    [0, 1, 4]
    >>> undominated([(100, 50), (101, 49.9), (120, 40)], (0, 0.01))
    [0, 2]
    """
    first_slack, *other_slack = slack
    kept: list[int] = []
    for position in sorted(range(len(points)), key=lambda n: (tuple(points[n]), n)):
        first, *others = points[position]
        rivals = [points[n] for n in kept]
        if any(
            all(
                cost >= rival * (1 - share)
                for cost, rival, share in zip(others, costs[1:], other_slack, strict=True)
            )
            for costs in rivals
        ):
            continue
        kept = [
            n
            for n, costs in zip(kept, rivals, strict=True)
            if first > costs[0] * (1 + first_slack)
            or any(cost > rival for cost, rival in zip(others, costs[1:], strict=True))
        ]
        kept.append(position)
    return kept
