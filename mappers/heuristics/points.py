"""Mappings of a space as points: what is chosen of each thing that is open, by number."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from archsim.spec.mapping import Mapping
from einsum_cascade.memo import cached_property

from ..objectives import LATENCY, SearchObjective
from ..space.fusion import candidates_of, subspaces_of
from ..space.mapspace import Mapspace
from ..space.nothing_left import nothing_left
from ..space.region import Region, Subspace
from ..space.written import mapping_of

_REGIONS = 12
"""Regions that points are of, where cycles tell which are good."""

_UNTIMED = 40
"""The same where they do not."""

_ELSEWHERE = 0.5
"""Tensors of a random point that are not in the outermost memory alone: this share at the most.
The more there are, the likelier is one that is gone when it is read."""


@dataclass(frozen=True, slots=True)
class MappingPoint:
    """A mapping: numbers of a region, and of what is chosen in it."""

    region: int
    subspace: int
    tiling: int
    ways: tuple[int, ...]
    """Of each Einsum, in the order of the cascade."""
    places: tuple[int, ...]
    """Of each tensor, in the order of ``Region.places``."""


class OpenChoices:
    """What is open in one region, listed."""

    def __init__(self, region: Region) -> None:
        self.region = region
        outermost = (region.architecture.memories[0].name,)
        self.ways = tuple(region.ways.values())
        self.places = tuple(region.places.values())
        # Where a constraint keeps a tensor elsewhere, too, the first of its places stands in.
        self.outermost = tuple(
            found.index(outermost) if outermost in found else 0 for found in self.places
        )

    @cached_property
    def subspaces(self) -> tuple[Subspace, ...]:
        """All there are, those that share what most Einsums have first."""
        return subspaces_of(self.region)

    @cached_property
    def candidates(self) -> int:
        """How many mappings the region has."""
        return candidates_of(self.region, self.subspaces)

    @cached_property
    def sharing(self) -> dict[tuple[str, ...], list[int]]:
        """Numbers of subspaces by the ranks that they share."""
        found: dict[tuple[str, ...], list[int]] = {}
        for number, subspace in enumerate(self.subspaces):
            found.setdefault(subspace.skeleton.shared, []).append(number)
        return found

    def tilings(self, shared: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tilings of all subspaces that share some ranks, and (subspace, tiling) of each."""
        numbers = self.sharing[shared]
        sizes = [self.subspaces[n].sizes for n in numbers]
        which = [
            (n, row) for n, rows in zip(numbers, sizes, strict=True) for row in range(len(rows))
        ]
        return np.concatenate(sizes), np.array(which)


class Points:
    """The points of a mapspace's most promising regions."""

    def __init__(self, space: Mapspace, objective: SearchObjective) -> None:
        timed = objective.code == LATENCY
        most = min(_REGIONS if timed else _UNTIMED, space.size)
        promised = space.regions(most, spread=not timed)
        if nothing := nothing_left(space):
            raise nothing
        self.program = space.program
        self.regions = tuple(OpenChoices(one.region) for one in promised)
        self.bound = 0.0
        """What no mapping of the space is below, in the objective."""
        if timed:
            self.bound = min(space.bound_beside(promised), *(one.bound for one in promised))

    def mapping(self, point: MappingPoint) -> Mapping:
        """A point as a mapping."""
        choices = self.regions[point.region]
        region, subspace = choices.region, choices.subspaces[point.subspace]
        ways = {e: found[n] for (e, found), n in zip(region.ways.items(), point.ways, strict=True)}
        places = {
            t: found[n] for (t, found), n in zip(region.places.items(), point.places, strict=True)
        }
        return mapping_of(region, subspace.skeleton, subspace.sizes[point.tiling], ways, places)

    def draw(self, random: Random) -> MappingPoint:
        """Any point: of a promising region more likely than of others."""
        weights = [1 / (1 + n) for n in range(len(self.regions))]
        (number,) = random.choices(range(len(self.regions)), weights)
        choices = self.regions[number]
        # Every set of shared ranks is as likely as another, however many orders it has.
        subspace = random.choice(choices.sharing[random.choice([*choices.sharing])])
        elsewhere = random.random() * _ELSEWHERE
        return MappingPoint(
            region=number,
            subspace=subspace,
            tiling=random.randrange(len(choices.subspaces[subspace].sizes)),
            ways=tuple(random.randrange(len(found)) for found in choices.ways),
            places=tuple(
                random.randrange(len(found)) if random.random() < elsewhere else outermost
                for found, outermost in zip(choices.places, choices.outermost, strict=True)
            ),
        )

    def like(self, mapping: Mapping, number: int) -> MappingPoint:
        """The point of a region that has most of a mapping, which need not be of the space.

        Shared ranks, arrays and places are taken over, where the region has them.
        """
        choices = self.regions[number]
        arrays = {e.einsum: (e.array, bool(e.outside)) for e in mapping.einsums}
        ways = [
            next((n for n, w in enumerate(f) if (w.array, w.alone) == arrays.get(e)), 0)
            for e, f in choices.region.ways.items()
        ]
        kept = {t: {k.level for k in mapping.keep if t in k.tensors} for t in choices.region.places}
        places = [
            next((n for n, levels in enumerate(found) if {*levels} == kept[t]), outermost)
            for (t, found), outermost in zip(
                choices.region.places.items(), choices.outermost, strict=True
            )
        ]
        loops = [loop for level in mapping.nest for loop in level.loops]
        shared = {_rank_of(loop, choices.region.factorisation_of) for loop in loops}
        sharing = max(choices.sharing, key=lambda ranks: -len({*ranks} ^ shared))
        # Those with the most loops are last: each memory holds a part.
        subspace = choices.sharing[sharing][-1]
        return MappingPoint(number, subspace, 0, tuple(ways), tuple(places))

    def near(self, point: MappingPoint, random: Random) -> MappingPoint:
        """A point that differs in one thing, now and then in several; perhaps in none."""
        moves = (self._tiling, self._way, self._place, self._order, self._sharing, self._region)
        (move,) = random.choices(moves, (4, 4, 4, 2, 1, 1))
        return move(point, random)

    def _tiling(self, point: MappingPoint, random: Random) -> MappingPoint:
        """One tile a size larger or smaller; loops may begin to go round, or cease to."""
        choices = self.regions[point.region]
        subspace = choices.subspaces[point.subspace]
        rows, which = choices.tilings(subspace.skeleton.shared)
        mine = subspace.sizes[point.tiling]
        if not mine.size:
            return point
        column = random.randrange(mine.size)
        # Tilings that differ from this one in one column alone; of their sizes the next ones below
        # and above.
        others = np.delete(rows, column, axis=1) == np.delete(mine, column)
        alike = others.all(axis=1) & (rows[:, column] != mine[column])
        if not alike.any():
            chosen = which[random.randrange(len(which))]
        else:
            sizes = np.unique(rows[alike, column])
            around = [*sizes[sizes < mine[column]][-1:], *sizes[sizes > mine[column]][:1]]
            of_size = which[alike & (rows[:, column] == random.choice(around))]
            chosen = of_size[random.randrange(len(of_size))]
        return replace(point, subspace=int(chosen[0]), tiling=int(chosen[1]))

    def _way(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Another way of one Einsum."""
        numbers = [len(found) for found in self.regions[point.region].ways]
        return replace(point, ways=_changed(point.ways, numbers, random))

    def _place(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Other places of one tensor."""
        numbers = [len(found) for found in self.regions[point.region].places]
        return replace(point, places=_changed(point.places, numbers, random))

    def _order(self, point: MappingPoint, random: Random) -> MappingPoint:
        """The same loops of the same tiles in another order."""
        choices = self.regions[point.region]
        loops = [{*order} for order in choices.subspaces[point.subspace].skeleton.order]
        skeleton = choices.subspaces[point.subspace].skeleton
        same = [
            number
            for number in choices.sharing[skeleton.shared]
            if choices.subspaces[number].skeleton.own == skeleton.own
            and [{*order} for order in choices.subspaces[number].skeleton.order] == loops
        ]
        return replace(point, subspace=random.choice(same))

    def _sharing(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Other shared ranks, the same tiles if these have them."""
        choices = self.regions[point.region]
        mine = choices.subspaces[point.subspace].sizes[point.tiling]
        rows, which = choices.tilings(random.choice([*choices.sharing]))
        same = which[(rows == mine).all(axis=1)]
        found = same if len(same) else which
        subspace, tiling = found[random.randrange(len(found))]
        return replace(point, subspace=int(subspace), tiling=int(tiling))

    def _region(self, point: MappingPoint, random: Random) -> MappingPoint:
        """Ranks cut otherwise, arrays and places as they were."""
        was = self.regions[point.region]
        number = random.randrange(len(self.regions))
        choices = self.regions[number]
        ways = tuple(
            _as_near(mine[n].array, mine[n].alone, [(w.array, w.alone) for w in found])
            for n, mine, found in zip(point.ways, was.ways, choices.ways, strict=True)
        )
        shared = was.subspaces[point.subspace].skeleton.shared
        numbers = choices.sharing.get(shared) or choices.sharing[random.choice([*choices.sharing])]
        subspace = random.choice(numbers)
        tiling = random.randrange(len(choices.subspaces[subspace].sizes))
        return MappingPoint(number, subspace, tiling, ways, point.places)


def _changed(chosen: tuple[int, ...], numbers: list[int], random: Random) -> tuple[int, ...]:
    """One of some choices made anew, of those where there is one."""
    free = [n for n, number in enumerate(numbers) if number > 1]
    if not free:
        return chosen
    at = random.choice(free)
    other = (chosen[at] + random.randrange(1, numbers[at])) % numbers[at]
    return (*chosen[:at], other, *chosen[at + 1 :])


def _as_near(array: str, alone: bool, ways: list[tuple[str, bool]]) -> int:
    """The first way on an array, alone or not, or else the first."""
    return ways.index((array, alone)) if (array, alone) in ways else 0


def _rank_of(loop: str, ranks: Collection[str]) -> str:
    """The rank that a loop of some mapping is over: members are called by it and a number."""
    names = (loop[:end] for end in range(len(loop), 0, -1))
    return next((name for name in names if name in ranks), loop)
