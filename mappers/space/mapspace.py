"""The space of mappings of a cascade on a machine: regions whose ranks are cut in different ways.

How ranks are cut for arrays decides how full the arrays can be, before anything else is
chosen: every region has a bound of its cycles, and the most promising regions come first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from math import inf, prod

from archsim.spec.arch import Architecture
from archsim.spec.mapping import Tile
from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property

from . import policy
from .array_tiles import arrays_of, decided_by, family_tiles
from .constraints import NO_CONSTRAINTS, Constraints, MappingConstraint, RunsOn
from .factorisation import cuts_beside, cuts_of, sides_of, unlaid_ranks
from .fusion import allowed_subspaces, crossing, shareable_ranks
from .grid import Iterations, Options, PromisedRegion, RegionGrid, RegionKey
from .region import Region

Family = tuple[tuple[Tile, ...], dict[str, int]]
"""Sizes of the tiles of ranks that the cascade itself cuts, and all shapes that follow."""


def _is_alike(program: Program, family: Family) -> bool:
    """Whether ranks that are declared alike are of one size."""
    return all(family[1][r.name] == family[1][r.like] for r in program.ranks if r.like)


def _smaller(
    program: Program,
    architecture: Architecture,
    given: dict[str, int],
    width: int,
    known: Collection[Family],
) -> Iterator[Family]:
    """Tiles of the cascade that are a half as wide as the narrowest array, a quarter, and so on, as
    long as there is less to do in all: what grows with the chunks of a kernel is not worth it
    because an array is wide."""

    family = _of_width(program, architecture, given, width)
    least = inf if family is None else _work(program, family)
    while family is not None and (width := width // 2):
        family = _of_width(program, architecture, given, width)
        if family is None or family in known:
            continue
        if not _is_alike(program, family) or (work := _work(program, family)) >= least:
            return
        least = work
        yield family


def _between(
    program: Program, architecture: Architecture, given: dict[str, int], known: Collection[Family]
) -> Iterator[Family]:
    """Tiles twice as wide as the narrowest array, four times, and so on, less wide than the widest:
    what small ones leave to do and what large ones move may be balanced there."""
    sides = sides_of(architecture) or (1,)
    width = sides[0]
    while (width := 2 * width) < sides[-1]:
        family = _of_width(program, architecture, given, width)
        if family is not None and family not in known and _is_alike(program, family):
            yield family


def _of_width(
    program: Program, architecture: Architecture, given: dict[str, int], width: int
) -> Family | None:
    try:
        return family_tiles(program, architecture, given, width)
    except SpecError:
        return None  # a size that is given does not go with it


def _are_torn(program: Program, families: Collection[Family]) -> bool:
    """Whether tiles of the cascade leave less to do where they are smaller."""
    sized = sorted(([t.size for t in family[0]], _work(program, family)) for family in families)
    return any(small < large for (_, small), (_, large) in pairwise(sized))


def _hold_still(architecture: Architecture) -> bool:
    """Whether elements of an array hold values while others pass: a tile as long as the array is
    stays there from one Einsum to the next, what is longer is loaded again."""
    return any(a.operands == "systolic" and len(a.dimensions) > 1 for a in architecture.arrays)


def _work(program: Program, family: Family) -> float:
    """Points of all Einsums; what the last tile of a rank has too much is not counted."""
    sizes = {rank: float(size) for rank, size in family[1].items()}
    for rank in program.ranks:
        if rank.partition:
            sizes[rank.partition[0]] = sizes[rank.name] / prod(sizes[m] for m in rank.partition[1:])
    return sum(prod(sizes[v.upper()] for v in e.variables) for e in program.einsums)


@dataclass(frozen=True, kw_only=True)
class Mapspace:
    """All mappings of a cascade of some shapes on a machine."""

    program: Program
    architecture: Architecture
    given: dict[str, int]
    """Shapes in elements, by rank, without what mappings decide."""
    families: tuple[Family, ...]
    each: int = 0
    """Regions of each size of the cascade's tiles, at the least, where that is asked for: one where
    small ones leave less to do and large ones less to move, two where arrays hold still what is as
    long as they are."""
    slow: bool = False
    """Whether Einsums may run on arrays where one takes longer than all need: for least energy."""
    constraints: Constraints = NO_CONSTRAINTS

    @classmethod
    def of(
        cls,
        program: Program,
        architecture: Architecture,
        given: dict[str, int],
        constraints: Constraints = NO_CONSTRAINTS,
        *,
        slow: bool = False,
    ) -> Mapspace:
        """The space of a cascade on a machine.

        Parameters
        ----------
        given : dict
            Shapes in elements, by rank.
        constraints : Constraints
            What all of its mappings obey; names are those of the cascade and the machine.
        slow : bool
            Whether arrays that are too slow to be of use where time counts are tried, too.

        Raises
        ------
        SpecError
            Shapes are missing.
        MappingError
            No array can do all operations of an Einsum.
        """
        sides = sides_of(architecture) or (1,)
        longest = max(given.values(), default=1)
        widths = {*sides, 4 * sides[-1], longest}
        found: list[Family] = []
        # As wide as an array first: of equals that is what is taken.
        for width in sorted(widths, key=lambda w: (w != sides[-1], w)):
            try:
                family = family_tiles(program, architecture, given, width)
            except SpecError:
                # A size that is given may not go with others.
                if not found:
                    raise
                continue
            # Nor may parts of ranks that are declared alike differ, where one is given.
            if family not in found and (not found or _is_alike(program, family)):
                found.append(family)
        found += _smaller(program, architecture, given, sides[0], found)
        if torn := _are_torn(program, found):
            found += _between(program, architecture, given, found)
        fixed, shapes = found[0]
        left = {r: size for r, size in shapes.items() if r not in decided_by(program, fixed)}
        return cls(
            program=program,
            architecture=architecture,
            given=left,
            families=tuple(found),
            each=2 if _hold_still(architecture) else int(torn),
            slow=slow,
            constraints=constraints,
        )

    @property
    def shapes(self) -> dict[str, int]:
        """Every rank's, where those that the cascade cuts are as wide as an array."""
        return self.families[0][1]

    @cached_property
    def _grids(self) -> tuple[RegionGrid, ...]:
        memo = Iterations()
        return tuple(
            RegionGrid.of(
                self.program,
                self.architecture,
                fixed,
                shapes,
                options,
                number + odd,
                constraints=self.constraints,
                memo=memo,
            )
            for number, (fixed, shapes) in enumerate(self.families)
            for odd, options in self._options(shapes)
        )

    @property
    def size(self) -> int:
        """How many regions there are whose layouts obey all constraints."""
        return sum(grid.size for grid in self._grids)

    def regions(
        self, most: int, *, spread: bool = False, within: float = inf, fair: bool = False
    ) -> tuple[PromisedRegion, ...]:
        """The most promising regions, best first.

        Parameters
        ----------
        most : int
            How many, at the most.
        spread : bool
            Whether all sizes of what the cascade itself cuts take turns: where cycles do not
            tell what is best.
        within : float
            Cycles; regions with no mapping as fast are left out.
        fair : bool
            Whether each size of the cascade's tiles has regions with usual cuts besides (``each``).
        """
        # Constraints on loops and places may leave nothing of a region: others are taken then.
        each = self.each if fair else 0
        enough = self.size if self.constraints else max(most, each)
        if within < inf:
            enough = max(enough, policy.REGIONS_PER_WANTED_REGION * most)
        found = [best for grid in self._grids for best in grid.best(enough)]
        found.sort(key=lambda one: one[0])
        if spread:
            # The best of every size first, then the second of every size, and so on.
            turns: dict[tuple[Tile, ...], int] = {}
            order = [turns.setdefault(grid.fixed, 0) for _, grid, _ in found]
            for number, (_, grid, _) in enumerate(found):
                order[number], turns[grid.fixed] = turns[grid.fixed], turns[grid.fixed] + 1
            found = [one for _, one in sorted(zip(order, found, strict=True), key=lambda p: p[0])]
        promised = ((grid, grid.region(place, slow=self.slow)) for _, grid, place in found)
        able = ((g, p) for g, p in promised if self._is_able(p, within))
        best = [*islice(able, most)]
        if each:
            best += self._of_each_size(best, promised, within)
        return tuple(promised for _, promised in best)

    def _of_each_size(
        self,
        best: Collection[tuple[RegionGrid, PromisedRegion]],
        others: Iterable[tuple[RegionGrid, PromisedRegion]],
        within: float,
    ) -> Iterator[tuple[RegionGrid, PromisedRegion]]:
        """Of each size of the cascade's tiles the best region, and some with usual cuts if it has
        none: what is moved no bound of cycles knows, and those speak for some sizes alone."""
        usual = {grid.fixed: grid for grid in reversed(self._grids)}
        missing = [grid for grid in usual.values() if all(grid is not g for g, _ in best)]
        missing *= self.each
        sizes = {grid.fixed for grid, _ in best}
        for grid, promised in others:
            if not missing and len(sizes) == len(usual):
                return
            found = next((n for n, one in enumerate(missing) if one is grid), None)
            # To look at a region takes much longer than to see what it is of.
            if (found is None and grid.fixed in sizes) or not self._is_able(promised, within):
                continue
            if found is not None:
                del missing[found]
            sizes.add(grid.fixed)
            yield grid, promised

    def _is_able(self, promised: PromisedRegion, within: float) -> bool:
        """Whether a region may have a mapping that obeys all constraints and is fast enough."""
        if within < inf and not (promised.cycles <= within and promised.bound <= within):
            return False
        return self._is_left(promised.region)

    def _is_left(self, region: Region) -> bool:
        """Whether any mapping of a region may obey all constraints."""
        if not self.constraints:
            return True
        key = (region.fixed, region.cuts)
        if key not in self._left:
            able = all(region.sizes(cut) for cut in region.factorisations)
            able = able and all(region.places.values()) and self._may_share(region)
            able = able and all(region.placements.values())
            self._left[key] = able and self._has_subspaces(region)
        return self._left[key]

    def _may_share(self, region: Region) -> bool:
        """Whether ranks that have to be shared have loops here that Einsums may share."""
        for rank in self.constraints.wanted:
            cut = region.factorisation_of.get(rank)
            if cut is None or not (cut.levelled or cut.outside) or cut.whole:
                return False
            known = rank in self._crossed or cut.outside or not all(region.placements.values())
            # A boundary crosses the loops of a rank wherever they go round, or nowhere.
            if not known and (crossed := crossing(region, rank)) is not None:
                self._crossed[rank] = crossed
            if self._crossed.get(rank):
                return False
        return True

    def _has_subspaces(self, region: Region) -> bool:
        if not self.constraints.of_nest:
            return True
        return next(allowed_subspaces(region, shareable_ranks(region)), None) is not None

    @cached_property
    def _crossed(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _left(self) -> dict[RegionKey, bool]:
        return {}

    def uncut(self) -> tuple[Region, ...]:
        """The regions in which no rank is cut for arrays, so that tiles may have any size.

        Each Einsum runs on one array, the one that can do most of them where that is allowed: what
        memories move is much the same on others.
        """
        able = {e.name: arrays_of(self.program, e, self.architecture) for e in self.program.einsums}
        names = [a.name for arrays in able.values() for a in arrays]
        runs = []
        for e, arrays in able.items():
            may = [a for a in arrays if not self.constraints.broken_by_array(e, a.name)]
            if may:
                best = max(may, key=lambda a: names.count(a.name)).name
                runs.append(MappingConstraint(statement=RunsOn(e, (best,)), must=True))
        constraints = Constraints((*self.constraints.all, *runs))
        parallel = self.program.parallel
        ranks = (*parallel, *(r.name for r in self.program.ranks if r.name in self._walked))
        return tuple(
            Region(
                program=self.program,
                architecture=self.architecture,
                shapes=shapes,
                fixed=fixed,
                cuts=tuple((rank, ()) for rank in ranks),
                least_cycles=inf,
                constraints=constraints,
            )
            for fixed, shapes in self.families
        )

    def bound_beside(self, regions: Collection[PromisedRegion]) -> float:
        """Cycles that no mapping outside of some regions is below."""
        known = {(r.region.fixed, r.region.cuts) for r in regions}
        known |= {key for key, left in self._left.items() if not left}
        return min((grid.least_beside(known) for grid in self._grids), default=inf)

    def _options(self, shapes: dict[str, int]) -> Iterator[tuple[int, Options]]:
        """Ways to cut each rank that Einsums go over, parallel ones first: all that fill arrays
        by themselves, and those where a part of one rank lies beside another; and how unusual
        these are."""
        sides = sides_of(self.architecture)
        parallel, unlaid = self.program.parallel, unlaid_ranks(self.program)
        ranks = [*parallel, *(r.name for r in self.program.ranks if r.name in self._walked)]
        narrowest = min(sides, default=1)
        usual: Options = {}
        for rank in ranks:
            usual[rank] = ((),)
            if rank not in unlaid and shapes[rank] > 1:
                *cuts, none = cuts_of(shapes[rank], (*sides, *self.constraints.sizes_laid(rank)))
                if rank in parallel or shapes[rank] > narrowest:
                    usual[rank] = (*cuts, none)
                else:
                    # What fits along any array may as well be left to loops, first of all where
                    # most Einsums may share them.
                    usual[rank] = (none, *cuts) if self._common(rank) else (*cuts, none)
        yield 0, usual
        for rank in ranks:
            if rank in parallel or rank in unlaid:
                continue
            beside = cuts_beside(shapes[rank], sides, self._companions(rank, shapes, narrowest))
            if beside := tuple(cut for cut in beside if cut not in usual[rank]):
                # A rank that fits as a whole seldom lies there in part.
                yield (
                    policy.PARTIAL_RANK_ODDITY if shapes[rank] <= narrowest else 0,
                    usual | {rank: beside},
                )

    @cached_property
    def _walked(self) -> frozenset[str]:
        return frozenset(v.upper() for e in self.program.einsums for v in e.variables)

    def _common(self, rank: str) -> bool:
        """Whether more than half of the Einsums have a rank."""
        einsums = self.program.einsums
        return 2 * sum(rank.lower() in e.variables for e in einsums) > len(einsums)

    def _companions(self, rank: str, shapes: dict[str, int], narrowest: int) -> list[int]:
        """Sizes of shorter ranks that some Einsum has beside a rank."""
        together = (e.variables for e in self.program.einsums if rank.lower() in e.variables)
        others = {v.upper() for variables in together for v in variables} - {rank}
        others -= unlaid_ranks(self.program)
        return sorted({shapes[r] for r in others if 1 < shapes[r] < narrowest})
