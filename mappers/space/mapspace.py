"""Mapspace: all mappings of a cascade on a machine, as regions that cut ranks differently.

The cuts for arrays decide how well arrays can be filled, before anything else is chosen. Every
region has a lower bound of its cycles. The most promising regions come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from math import inf, prod
from operator import itemgetter

from archsim.plan.problem import MappingProblem
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Tile
from einsum_cascade.errors import NoLegalMappingError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import operations_of

from . import policy
from .array_tiles import arrays_of, decided_by, family_tiles, planes_of, sides_of
from .constraints import (
    NO_CONSTRAINTS,
    Constraints,
    HasTiles,
    IsKept,
    IsShared,
    MappingConstraint,
    RunsOn,
)
from .factorisation import cuts_of, cuts_sharing_dimensions, unlaid_ranks
from .fusion import allowed_subspaces, crossing, shareable_ranks
from .grid import Iterations, Options, RegionGrid
from .region import Region, RegionKey

Family = tuple[tuple[Tile, ...], dict[str, int]]
"""Tiles of the ranks that the cascade itself cuts, and the sizes of all ranks."""


def _has_equal_sizes(program: Program, family: Family) -> bool:
    """Return whether ranks that the cascade declares alike have the same size."""
    return all(family[1][r.name] == family[1][r.like] for r in program.ranks if r.like)


def _smaller(
    program: Program,
    architecture: Architecture,
    given: dict[str, int],
    width: int,
    known: Collection[Family],
) -> Iterator[Family]:
    """Yield tiles of the cascade half as long as the narrowest array is wide, a quarter, and so on.

    They end once the busiest array is no less busy. If its work grows with the tile, tiles as long
    as an array is wide do not pay.
    """
    family = _of_width(program, architecture, given, width)
    least = inf if family is None else _work(program, architecture, family)
    while family is not None and (width := width // 2):
        family = _of_width(program, architecture, given, width)
        if family is None or family in known:
            continue
        if (
            not _has_equal_sizes(program, family)
            or (work := _work(program, architecture, family)) >= least
        ):
            return
        least = work
        yield family


def _between(
    program: Program, architecture: Architecture, given: dict[str, int], known: Collection[Family]
) -> Iterator[Family]:
    """Yield tiles of the cascade with lengths between the narrowest and the widest array dimension.

    Such tiles may balance the work of large tiles against the traffic of small ones.
    """
    sides = sides_of(architecture) or (1,)
    width = sides[0]
    while (width := 2 * width) < sides[-1]:
        family = _of_width(program, architecture, given, width)
        if family is not None and family not in known and _has_equal_sizes(program, family):
            yield family


def _of_width(
    program: Program, architecture: Architecture, given: dict[str, int], width: int
) -> Family | None:
    try:
        return family_tiles(program, architecture, given, width)
    except SpecError:
        return None  # A given size contradicts it.


def _have_less_work_in_small_tiles(
    program: Program, architecture: Architecture, families: Collection[Family]
) -> bool:
    """Return whether arrays are less busy with smaller tiles of the cascade."""
    sized = sorted(
        ([t.size for t in family[0]], _work(program, architecture, family)) for family in families
    )
    return any(small < large for (_, small), (_, large) in pairwise(sized))


def _has_stationary_arrays(architecture: Architecture) -> bool:
    """Return whether some array's processing elements hold one operand while others pass.

    A tile as long as such an array stays there from one Einsum to the next. A longer tile is loaded
    again.
    """
    return any(a.operands == "systolic" and len(a.dimensions) > 1 for a in architecture.arrays)


def _work(program: Program, architecture: Architecture, family: Family) -> float:
    """Return the cycles of the busiest array, if each Einsum fills its fastest array.

    The padding of a rank's last tile does not count.
    """
    sizes = {rank: float(size) for rank, size in family[1].items()}
    for rank in program.ranks:
        if rank.partition:
            sizes[rank.partition[0]] = sizes[rank.name] / prod(sizes[m] for m in rank.partition[1:])
    busy = defaultdict[str, float](float)
    for e in program.einsums:
        operations = program.memo(operations_of)[e.name]
        rates = (
            (float(array.cycles_of(operations)) / array.elements, array.name)
            for array in arrays_of(program, e, architecture)
        )
        # Of equally fast arrays the first one of the machine, whatever their names.
        cycles, name = min(rates, key=itemgetter(0))
        busy[name] += cycles * prod(sizes[v.upper()] for v in e.variables)
    return max(busy.values())


@dataclass(frozen=True, kw_only=True)
class Mapspace:
    """All mappings of a cascade, with given sizes, on a machine."""

    program: Program
    architecture: Architecture
    given: dict[str, int]
    """Sizes of ranks in coordinates, except sizes that mappings decide."""
    families: tuple[Family, ...]
    each: int = 0
    """Number of regions that each family of tiles gets at least, if a caller asks for all
    families. It is 1 if small tiles have less work and large ones less traffic. It is 2 if arrays
    hold an operand in place."""
    slow: bool = False
    """True if Einsums may also run on arrays too slow to matter for latency. Such mappings may
    have the least energy."""
    constraints: Constraints = NO_CONSTRAINTS

    @property
    def mapping_problem(self) -> MappingProblem:
        """Cascade, machine and given sizes, without a choice of tiles."""
        return MappingProblem(self.program, self.architecture, self.given)

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
        """Return the mapspace of a cascade on a machine.

        Parameters
        ----------
        given : dict
            Shapes in elements, by rank.
        constraints : Constraints
            Constraints that all mappings fulfil, with names of the cascade and the machine.
        slow : bool
            True if arrays that are too slow to matter for latency are tried as well.

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
        # Tiles as wide as an array come first and win among equals.
        for width in sorted(widths, key=lambda w: (w != sides[-1], w)):
            try:
                family = family_tiles(program, architecture, given, width)
            except SpecError:
                # A given size may contradict others.
                if not found:
                    raise
                continue
            # Parts of ranks that are declared alike must not differ.
            if family not in found and (not found or _has_equal_sizes(program, family)):
                found.append(family)
        found += _smaller(program, architecture, given, sides[0], found)
        if has_tradeoff := _have_less_work_in_small_tiles(program, architecture, found):
            found += _between(program, architecture, given, found)
        fixed, shapes = found[0]
        left = {r: size for r, size in shapes.items() if r not in decided_by(program, fixed)}
        return cls(
            program=program,
            architecture=architecture,
            given=left,
            families=tuple(found),
            each=2 if _has_stationary_arrays(architecture) else int(has_tradeoff),
            slow=slow,
            constraints=constraints,
        )

    @property
    def shapes(self) -> dict[str, int]:
        """Sizes of all ranks in the first family, whose tiles are as long as the widest array."""
        return self.families[0][1]

    @cached_property
    def _uncut(self) -> tuple[Region, ...]:
        """One region for each family of the cascade's own tiles, in which no rank is cut."""
        return tuple(
            Region(
                program=self.program,
                architecture=self.architecture,
                shapes=shapes,
                fixed=fixed,
                cuts=(),
                least_cycles=inf,
                slow=self.slow,
                constraints=self.constraints,
            )
            for fixed, shapes in self.families
        )

    def cuttable(self) -> Iterator[tuple[Region, Options, Options]]:
        """Yield each uncut region with usual cuts of its ranks, and with all alternative ones."""
        for base in self._uncut:
            (_, usual), *others = self._options(base.shapes, planes_of(self.architecture))
            options = dict(usual)
            for _, each in others:
                for rank, cuts in each.items():
                    options[rank] = tuple(dict.fromkeys((*options[rank], *cuts)))
            yield base, usual, options

    @cached_property
    def _grids(self) -> tuple[RegionGrid, ...]:
        memo = Iterations()
        return tuple(
            RegionGrid(base=base, options=options, unusual=number + odd, memo=memo)
            for number, base in enumerate(self._uncut)
            for odd, options in self._options(base.shapes)
        )

    @property
    def size(self) -> int:
        """Number of regions that have a layout which fulfils all constraints."""
        return sum(grid.size for grid in self._grids)

    def regions(
        self, most: int, *, diverse: bool = False, within: float = inf, fair: bool = False
    ) -> tuple[Region, ...]:
        """Return the most promising regions, best first.

        Parameters
        ----------
        most : int
            Largest number of regions.
        diverse : bool
            True if all families of the cascade's tiles take turns, where cycles do not rank them.
        within : float
            Largest bound of a region in cycles; slower regions are left out.
        fair : bool
            True if each family also has regions with usual cuts (``each``).
        """
        # Constraints on loops and places may empty a region: others take its place.
        each = self.each if fair else 0
        enough = self.size if self.constraints else max(most, each)
        if within < inf:
            enough = max(enough, policy.REGIONS_PER_WANTED_REGION * most)
        found = [best for grid in self._grids for best in grid.best(enough)]
        found.sort(key=lambda one: one[0])
        if diverse:
            # The best region of every family comes first, then the second of every family, and so
            # on.
            turns: dict[tuple[Tile, ...], int] = {}
            order = [turns.setdefault(grid.base.fixed, 0) for _, grid, _ in found]
            for number, (_, grid, _) in enumerate(found):
                order[number] = turns[grid.base.fixed]
                turns[grid.base.fixed] += 1
            found = [one for _, one in sorted(zip(order, found, strict=True), key=lambda p: p[0])]
        regions = ((grid, grid.region(place)) for _, grid, place in found)
        able = ((grid, region) for grid, region in regions if self._may_qualify(region, within))
        best = [*islice(able, most)]
        if each:
            best += self._of_each_size(best, regions, within)
        return tuple(region for _, region in best)

    def _of_each_size(
        self,
        best: Collection[tuple[RegionGrid, Region]],
        others: Iterable[tuple[RegionGrid, Region]],
        within: float,
    ) -> Iterator[tuple[RegionGrid, Region]]:
        """Yield each family's best region, and regions with usual cuts if the family has none.

        Lower bounds of cycles ignore traffic, which may favour other families.
        """
        usual = {grid.base.fixed: grid for grid in reversed(self._grids)}
        missing = [grid for grid in usual.values() if all(grid is not g for g, _ in best)]
        missing *= self.each
        sizes = {grid.base.fixed for grid, _ in best}
        for grid, region in others:
            if not missing and len(sizes) == len(usual):
                return
            found = next((n for n, one in enumerate(missing) if one is grid), None)
            # Examining a region takes much longer than looking up its family.
            if (found is None and grid.base.fixed in sizes) or not self._may_qualify(
                region, within
            ):
                continue
            if found is not None:
                del missing[found]
            sizes.add(grid.base.fixed)
            yield grid, region

    def _may_qualify(self, region: Region, within: float) -> bool:
        """Return whether a region may have a mapping that is fast enough and fulfils all
        constraints."""
        if within < inf and not (region.least_cycles <= within and region.bound <= within):
            return False
        return self._may_obey(region)

    def _may_obey(self, region: Region) -> bool:
        """Return whether any mapping of a region may fulfil all constraints."""
        if not self.constraints:
            return True
        if region.key not in self._obeying:
            able = all(region.sizes(cut) for cut in region.factorisations)
            able = able and all(region.places.values()) and self._may_share(region)
            able = able and all(region.placements.values())
            if able and self.constraints.of_nest:
                subspaces = allowed_subspaces(region, shareable_ranks(region))
                able = next(subspaces, None) is not None
            self._obeying[region.key] = able
        return self._obeying[region.key]

    def _may_share(self, region: Region) -> bool:
        """Return whether Einsums can share loops over all ranks for which constraints demand it."""
        for rank in self.constraints.wanted:
            cut = region.factorisation_of.get(rank)
            if cut is None or not (cut.levelled or cut.outside) or cut.whole:
                return False
            may_loop = not cut.outside and all(region.placements.values())
            # A boundary crosses all loops of a rank of several iterations, or none.
            if self._crossed.get(rank) or (may_loop and crossing(region, rank, self._crossed)):
                return False
        return True

    @cached_property
    def _crossed(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _obeying(self) -> dict[RegionKey, bool]:
        return {}

    def uncut(self) -> tuple[Region, ...]:
        """Return the regions that do not cut ranks for arrays, so that tiles may have any size.

        Each Einsum runs on a single array: the one that can do the most Einsums, if constraints
        allow it. The traffic of memories is much the same on all arrays.
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
        cuts = tuple((rank, ()) for rank in self._ranks)
        return tuple(replace(base, cuts=cuts, constraints=constraints) for base in self._uncut)

    @cached_property
    def _ranks(self) -> tuple[str, ...]:
        """All ranks that some Einsum has, parallel ranks first."""
        walked = {v.upper() for e in self.program.einsums for v in e.variables}
        return (*self.program.parallel, *(r.name for r in self.program.ranks if r.name in walked))

    def bound_outside(self, regions: Collection[Region]) -> float:
        """Return a lower bound of the cycles of all mappings outside of the given regions."""
        known = {region.key for region in regions}
        known |= {key for key, left in self._obeying.items() if not left}
        return min((grid.least_bound_outside(known) for grid in self._grids), default=inf)

    def _options(
        self, shapes: dict[str, int], planes: tuple[tuple[int, int], ...] | None = None
    ) -> Iterator[tuple[int, Options]]:
        """Yield alternative cuts of each rank, parallel ranks first, and how unusual they are.

        The first alternatives fill an array dimension with one rank alone, or one of the planes.
        The others share a dimension with another rank. Without planes, as in a grid, no part of a
        parallel rank does: each alternative would multiply the regions of all other ranks.
        """
        sides = sides_of(self.architecture)
        parallel, unlaid = self.program.parallel, unlaid_ranks(self.program)
        einsums = self.program.einsums
        narrowest = min(sides, default=1)
        usual: Options = {}
        for rank in self._ranks:
            usual[rank] = ((),)
            if rank not in unlaid and shapes[rank] > 1:
                *cuts, none = cuts_of(
                    shapes[rank],
                    (*sides, *self.constraints.named_spatial_sizes(rank)),
                    planes or (),
                )
                if rank in parallel or shapes[rank] > narrowest:
                    usual[rank] = (*cuts, none)
                else:
                    # A rank that fits along any array may as well have loops, above all if most
                    # Einsums share them.
                    often = sum(rank.lower() in e.variables for e in einsums)
                    common = 2 * often > len(einsums)
                    usual[rank] = (none, *cuts) if common else (*cuts, none)
        yield 0, usual
        for rank in self._ranks:
            if rank in unlaid or (rank in parallel and planes is None):
                continue
            sharing = cuts_sharing_dimensions(
                shapes[rank], sides, self._companions(rank, shapes), planes or ()
            )
            if sharing := tuple(cut for cut in sharing if cut not in usual[rank]):
                # A rank that fits whole seldom lies there in part.
                yield (
                    policy.PARTIAL_RANK_ODDITY if shapes[rank] <= narrowest else 0,
                    usual | {rank: sharing},
                )

    def _companions(self, rank: str, shapes: dict[str, int]) -> list[int]:
        """Return the sizes of ranks that occur together with a rank in some Einsum."""
        variables = (e.variables for e in self.program.einsums)
        together = (v for v in variables if rank in self.program.parallel or rank.lower() in v)
        others = {v.upper() for each in together for v in each} - {rank}
        others -= unlaid_ranks(self.program)
        return sorted({shapes[r] for r in others if shapes[r] > 1})


def explain_infeasibility(space: Mapspace) -> NoLegalMappingError | None:
    """Return an error with a smallest set of constraints that together allow no mapping.

    Without any one of them the mapspace would have mappings. None means that it has some.
    """
    if not space.constraints or space.regions(1):
        return None
    left = [*space.constraints.all]
    for one in space.constraints.all:
        others = [c for c in left if c is not one]
        if not replace(space, constraints=Constraints(tuple(others))).regions(1):
            left = others
    if len(left) == 1:
        (alone,) = left
        text = f"nothing of the mapspace is left where {alone.text}"
        return NoLegalMappingError(text, alone.span, _hint(space, alone))
    both = "both" if len(left) == 2 else "all"
    text = f"nothing of the mapspace is left under these constraints, {both} of them together:"
    return NoLegalMappingError([Problem(text), *(Problem(c.text, c.span) for c in left)])


def no_legal_mapping(space: Mapspace, why: Sequence[Problem]) -> NoLegalMappingError:
    """Return the error for a mapspace without legal mappings, with reasons and constraints.

    Parameters
    ----------
    why : sequence of Problem
        Problems of the mappings that were examined.
    """
    obeyed = space.constraints.all
    if not obeyed:
        return NoLegalMappingError(why)
    text = "no mapping that obeys the constraints was found legal; the first is not, as"
    also = "what is to be obeyed:" if len(obeyed) > 1 else "what is to be obeyed is this:"
    listed = (Problem(c.text, c.span) for c in obeyed)
    return NoLegalMappingError([Problem(text), *why, Problem(also), *listed])


def _hint(space: Mapspace, constraint: MappingConstraint) -> str | None:
    """Return a hint that lists the values which constraints could allow instead."""
    free = replace(space, constraints=Constraints())
    match constraint.statement:
        case RunsOn(einsum, _):
            e = space.program.einsum_of[einsum]
            able = (a.name for a in arrays_of(space.program, e, space.architecture))
            return f"what can do all operations of {einsum}: {', '.join(able)}"
        case IsKept(tensor, _):
            places = free.regions(1)[0].places[tensor]
            return f"{tensor} may be kept in {'; '.join(' and '.join(p) for p in places)}"
        case HasTiles(memory, rank, _):
            sizes = _tile_sizes(free, memory, rank)
            return f"tiles of {rank} in {memory} may have {', '.join(f'{n:,}' for n in sizes)}"
        case IsShared():
            shared = shareable_ranks(free.regions(1)[0])
            return f"ranks whose loops may be shared: {', '.join(shared) or 'none'}"
        case _:
            return None


def _tile_sizes(space: Mapspace, memory: str, rank: str) -> list[int]:
    """Return the possible tile sizes of a rank in a memory, from a few promising regions."""
    found: set[int] = set()
    inner = len(space.architecture.memories)
    inner -= [m.name for m in space.architecture.memories].index(memory)
    for region in space.regions(policy.REGIONS_FOR_TILE_SIZE_HINT):
        cut = region.factorisation_of[rank]
        found |= {min(cut.size, cut.fine_size * prod(row[:inner])) for row in cut.sizes()}
    return sorted(found)
