"""The points of a sweep, each by its number: nothing of them is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .spec import RandomPoints, Sweep

_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One point: its number, and the position of its value on every axis."""

    number: int
    places: tuple[int, ...]


def point_at(sweep: Sweep, number: int) -> Point:
    """The point of a number from 0; the last axis moves fastest.

    Parameters
    ----------
    number : int
        Of points drawn at random: the position in the drawing.
    """
    at = number
    if isinstance(sweep.points, RandomPoints):
        at = shuffled(number, sweep.grid, sweep.points.seed)
    return Point(number, places_at(sweep, at))


def places_at(sweep: Sweep, at: int) -> tuple[int, ...]:
    """The position on every axis of the point at some place of the grid."""
    places: list[int] = []
    for axis in reversed(sweep.axes):
        at, place = divmod(at, len(axis.values))
        places.append(place)
    return tuple(reversed(places))


def shuffled(number: int, total: int, seed: int) -> int:
    """Where a number goes in a fixed random order of ``range(total)``, without the order.

    A Feistel network permutes the next power of four; what falls outside is permuted on until
    it falls inside, so that no two numbers meet (Black and Rogaway, CT-RSA 2002).

    Examples
    --------
    >>> sorted(shuffled(n, 6, seed=1) for n in range(6))
    [0, 1, 2, 3, 4, 5]
    """
    half = max(1, ((total - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = number >> half, number & mask
        for turn in range(_ROUNDS):
            text = f"{seed}:{turn}:{right}".encode()
            mixed = int.from_bytes(hashlib.blake2b(text).digest(), "big")
            left, right = right, left ^ (mixed & mask)
        number = left << half | right
        if number < total:
            return number
