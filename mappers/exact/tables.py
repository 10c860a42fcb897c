"""Cost tables of a subspace: each choice's cost as a sum of measures of the tiling."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.counts.accesses import (
    AccessCount,
    PathStop,
    Uses,
    accesses_of,
    in_own_registers,
    path_of,
    register_uses,
)
from archsim.counts.meter import EXACT
from archsim.counts.occupancy import StationaryOperand, stationary_operand
from archsim.energy import operations_pj, prices_of
from archsim.iteration.access_map import AccessMap
from archsim.iteration.windowed import one
from archsim.legality.dependences import crossed_stream, illegalities, interruption, is_still_held
from archsim.legality.footprint import keeps_one_copy, stream_of
from archsim.nest.masks import windows_of
from archsim.nest.record import Bound, BoundEinsum
from archsim.nest.residency import Home, Residency
from einsum_cascade.errors import MappingError, raise_all
from einsum_cascade.memo import Cache, Interner

from ..space.factorisation import EinsumPlacement
from ..space.fusion import bound_placements, bound_subspace
from ..space.mask_bounds import mask_shares
from ..space.region import Region, Subspace
from . import policy
from .kernels.bounds import EINSUM, TENSOR, Choices
from .kernels.measures import Floats
from .measures import (
    IrregularError,
    Linear,
    MaskedShares,
    OpenBand,
    OpenMeasure,
    OpenMeter,
    int_array,
    matrix,
    offsets,
)

Price = tuple[float, float, float]
"""Energies to read and to write one tensor element at a memory or register file, and the cycles to
move it; 0 if bandwidth is unlimited."""

Route = tuple[tuple[PathStop, ...], bool]
"""Stops of an access at memory levels, and whether its operand waits in the array's registers."""

NO_ROUTE = -1
"""Route number of an access whose tensor would be lost."""


class CostMemo:
    """Memo of costs that the subspaces of one region share, and numbers for the memo's keys."""

    def __init__(self) -> None:
        self.measures = Interner[OpenMeasure]()
        self.loops = Interner[Hashable]()
        """Numbers for the array and the loops of an Einsum, which decide its costs."""
        self.nests = Interner[Hashable]()
        """Numbers for the loops of an Einsum that decide whether tiles of other Einsums are still
        held."""
        self.routes = Interner[Route]()
        self.rows = Cache[list[Linear]]()
        self.alternatives = Cache[list[int]]()
        """Route numbers of an access, one for each residency of its tensor, by the loops that
        decide them."""
        self.registers = Cache[Uses[Linear]]()
        self.prices = Cache[Price]()
        self.tiles = Cache[Linear]()
        self.residencies = Cache[list[Residency]]()

    def loops_number(self, e: BoundEinsum) -> int:
        """Return the number that stands for an Einsum's array and loops, which decide its costs."""
        spatial = tuple((x.member, x.dimension) for x in e.spatial)
        return self.loops(
            (e.array.name, tuple((x.member, x.level) for x in e.nonunit_loops), spatial)
        )


class AccessRoutes:
    """Routes of accesses through the memory levels, for one subspace.

    Parameters
    ----------
    base : Bound
        A mapping of the subspace.
    memo : CostMemo
        Memo of the region's costs; new ones are added.
    """

    def __init__(self, space: Region, base: Bound, memo: CostMemo) -> None:
        self._space = space
        self._base = base
        self._memo = memo
        self._nests: dict[int, int] = {}

    def of(self, own: BoundEinsum, writer: BoundEinsum | None, position: int) -> list[int]:
        """Return the route numbers of an access, one for each residency of its tensor.

        ``NO_ROUTE`` stands for a residency in which the tensor would be lost.

        Parameters
        ----------
        own, writer : BoundEinsum
            Einsum with the access, and the Einsum that writes the tensor (None for an input),
            each in some placement. All other Einsums are as in the subspace's mapping.
        position : int
            Index of the access among the Einsum's ``access_maps``.
        """
        key = (own.name, position, *self._loops(own, writer, position))
        return self._memo.alternatives.get(key, partial(self._worked_out, own, writer, position))

    def _loops(
        self, own: BoundEinsum, writer: BoundEinsum | None, position: int
    ) -> tuple[object, ...]:
        """Return the numbers of all loops that decide the route of an access: a memo key."""
        others: tuple[int, ...] = ()
        if position < len(own.reads):
            # An Einsum that ran before may have brought the operand.
            place, operand = self._base.position, own.operands[position]
            names = (*operand.readers, *(same.einsum for same in operand.same))
            before = (r for r in dict.fromkeys(names) if place[r] < place[own.name])
            others = tuple(self._nest(self._base.by_name[r]) for r in before)
        made = NO_ROUTE if writer is None else self._nest(writer)
        return self._nest(own), made, others

    def _nest(self, e: BoundEinsum) -> int:
        """Return the number for an Einsum's loops that decide which tiles it finds and leaves
        behind."""
        if id(e) not in self._nests:
            shared = sum(e.trip_counts[x.member] > 1 for x in e.shared)
            key = (self._memo.loops_number(e), shared, e.outside)
            self._nests[id(e)] = self._memo.nests(key)
        return self._nests[id(e)]

    def _worked_out(self, own: BoundEinsum, writer: BoundEinsum | None, position: int) -> list[int]:
        mixed = self._base.with_loops_of(own if writer is None else writer, own)
        found: list[int] = []
        tensor = own.access_maps[position].access.tensor
        for residency in self._memo.residencies.get(tensor, partial(self._alternatives, tensor)):
            route = _route(mixed.with_residency(residency), own, position)
            found.append(NO_ROUTE if route is None else self._memo.routes(route))
        return found

    def _alternatives(self, tensor: str) -> list[Residency]:
        """Return all residencies that differ only in the levels that keep one tensor."""
        levels = {m.name: n for n, m in enumerate(self._space.architecture.memories)}
        kept = dict(self._base.residency.places)
        found: list[Residency] = []
        for places in self._space.places[tensor]:
            kept[tensor] = tuple(Home(name, levels.get(name)) for name in places)
            found.append(Residency(places=tuple(kept.items())))
        return found


def _route(bound: Bound, e: BoundEinsum, number: int) -> Route | None:
    """Return the route of an access, or None if its tensor would be lost."""
    # Accesses are the reads in order, then the write.
    if number == len(e.reads):
        if interruption(bound, e) is not None:
            return None
        return path_of(bound, e, number), False
    if not is_still_held(bound, e, number) or crossed_stream(bound, e, e.operands[number]):
        return None
    return path_of(bound, e, number), in_own_registers(bound, e, number)


class StationaryOperandCosts:
    """Cycles that stationary operands cost an array, for the Einsums of one subspace.

    Loading operands takes cycles, and so do draining and filling between folds (skew).

    Parameters
    ----------
    base : Bound
        Mapping of the subspace's first tiling.
    variants : mapping of str to sequence of BoundEinsum
        Each Einsum, bound in all of its placements.
    """

    def __init__(
        self, base: Bound, variants: Mapping[str, Sequence[BoundEinsum]], meter: OpenMeter
    ) -> None:
        self._base, self._variants, self._meter = base, variants, meter
        every = chain.from_iterable(variants.values())
        self._stationary = {id(e): stationary_operand(e) for e in every}
        self._counted: dict[int, int | None] = {}
        """Operand whose loads count, keyed by the identity of a bound Einsum."""

    def reloaded_at(self, e: BoundEinsum) -> tuple[str, ...]:
        """Return the shared loops that make an Einsum load its stationary operand at every step.

        This happens if another Einsum uses the same processing elements in between.
        """
        if e.array.overlap != "streams" or self._stationary[id(e)] is None:
            return ()
        turns = any(
            name != e.name
            and not self._base.in_different_groups(e.name, name)
            and all(v.array.name == e.array.name and v.spatial for v in others)
            for name, others in self._variants.items()
        )
        return tuple(loop.member for loop in e.shared) if turns else ()

    def skew(self, e: BoundEinsum) -> Linear:
        """Return the cycles that an array spends draining and filling between folds."""
        stationary = self._stationary[id(e)]
        if stationary is None or not stationary.skew or e.array.overlap == "streams":
            return Linear()
        cycles = sum(n for _, n in stationary.skew)
        if e.array.overlap:
            return Linear(cycles)
        folds = [self._changes(e, number) for number in stationary.own]
        # The operand with the fewest folds counts. Which one that is depends on the tiling.
        return folds[0] * cycles if all(other == folds[0] for other in folds) else Linear()

    def loads(self, e: BoundEinsum, number: int, *, waits: bool) -> Linear:
        """Return the cycles that loading an operand into the processing elements takes.

        Parameters
        ----------
        number : int
            Number of the operand; only one operand has a cost.
        waits : bool
            True if the operand waits in registers of the array.
        """
        stationary = self._stationary[id(e)]
        if stationary is None or waits or self._counted_of(e, stationary) != number:
            return Linear()
        cycles = stationary.load_cycles
        writers = self._variants.get(e.access_maps[number].access.tensor, ())
        # No placement writes the operand on the Einsum's own array.
        elsewhere = all(writer.array.name != e.array.name for writer in writers)
        if e.array.overlap == "streams" and elsewhere:
            cycles += stationary.load_cycles - 1
        return self._changes(e, number) * cycles

    def _changes(self, e: BoundEinsum, number: int) -> Linear:
        return self._meter.delivered(e, e.whole, self._relevant(e, number), one)

    def _relevant(self, e: BoundEinsum, number: int) -> tuple[bool, ...]:
        """Return, for each loop, whether its steps replace the operand that a processing element
        holds."""
        reloaded_at, moving = bool(self.reloaded_at(e)), e.access_maps[number].moving
        return tuple(
            loop.variable in moving or (reloaded_at and loop in e.shared) for loop in e.whole.loops
        )

    def _counted_of(self, e: BoundEinsum, stationary: StationaryOperand) -> int | None:
        """Return the operand whose loads count: the one loaded most often in the first tiling."""
        if id(e) not in self._counted:
            able = stationary.loaded if stationary.load_cycles else ()
            self._counted[id(e)] = max(
                able,
                key=lambda number: EXACT.delivered(e, e.whole, self._relevant(e, number), one),
                default=None,
            )
        return self._counted[id(e)]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All choices of a subspace and their costs.

    The first column of costs is energy in pJ. Then come the cycles of every array and every memory.
    Last come the cycles of loads that hide behind an array's work. Many entries have equal costs.
    Each entry thus has the index of a row, or -1 if it is illegal.

    Entry ``first + (k * writers + w) * places + o`` of an access is for placement ``k`` of its
    Einsum, placement ``w`` of the tensor's writer, and residency ``o`` of the tensor.
    """

    einsums: tuple[str, ...]
    tensors: tuple[str, ...]
    placements: tuple[tuple[EinsumPlacement, ...], ...]
    """Placements of each Einsum."""
    places: tuple[int, ...]
    """Number of alternative residencies of each tensor."""
    choices: Choices
    """Decisions of the subspace in the order in which a search takes them."""
    coefficients: Floats
    """Coefficients of measures in each cost, (rows * columns, measures)."""
    constants: Floats
    columns: int
    tile_coefficients: Floats
    """Coefficients of measures in the bytes of each tile, (tiles, measures)."""
    tile_constants: Floats
    measures: tuple[OpenMeasure, ...]
    steps_left: OpenBand | None
    """Band of steps of the shared loops that a mask does not skip; None if it skips none."""

    @property
    def combinations(self) -> int:
        """Number of combinations of all Einsums' placements and all tensors' residencies."""
        return prod(map(len, self.placements)) * prod(self.places)


class SubspaceRefusedError(Exception):
    """Error raised if a subspace has no legal mapping, or its counts have no closed form."""

    def __init__(self, why: str, *, irregular: bool = False) -> None:
        super().__init__(why)
        self.irregular = irregular


def tabulate(
    space: Region, subspace: Subspace, *, relaxed: bool = False, memo: CostMemo | None = None
) -> Tables:
    """Return the cost tables of a subspace.

    Parameters
    ----------
    subspace : Subspace
        A subspace of the region; its first tiling is bound, and its counts hold for all tilings.
    relaxed : bool
        True if masks and gathers are relaxed, as for ``OpenMeter``.
    memo : CostMemo, optional
        Costs of other subspaces of the region; costs of this one are added.

    Returns
    -------
    Tables
        Energies in pJ and cycles, as sums of measures of the tiling.

    Raises
    ------
    SubspaceRefusedError
        No mapping of the subspace is legal, or its counts are no sums of measures.
    """
    try:
        return _Tabulator(space, subspace, memo or CostMemo(), relaxed=relaxed).tables()
    except MappingError as error:
        raise SubspaceRefusedError(error.problems[0].message) from None
    except IrregularError as error:
        raise SubspaceRefusedError(str(error), irregular=True) from None


class _Tabulator:
    """Builder of the cost tables of one subspace."""

    def __init__(self, space: Region, subspace: Subspace, memo: CostMemo, *, relaxed: bool) -> None:
        self.memo = memo
        self.space = space
        self.program = space.program
        self.machine = space.architecture
        memories = enumerate(self.machine.memories)
        self.limited = [n for n, m in memories if m.capacity_bytes is not None]
        """Indices of the memories of limited capacity."""
        self.names = [e.name for e in self.program.einsums]
        self.tensors = list(space.places)
        self.variants = self._variants(subspace)
        raise_all(illegalities(self.base), MappingError)
        shares = MaskedShares(*windows_of(self.base)) if relaxed else None
        tiling, numbers = self.base.tiling, memo.measures
        self.meter = OpenMeter(tiling, relaxed=relaxed, masked_shares=shares, numbers=numbers)
        # Columns: 0 is energy, then one for each array, for each memory with a bandwidth, and for
        # loads.
        self.memories = [m for m in self.machine.memories if m.bandwidth_bytes_per_s]
        self.column = {a.name: n for n, a in enumerate(self.machine.arrays, start=1)}
        first = 1 + len(self.column)
        self.column |= {m.name: n for n, m in enumerate(self.memories, start=first)}
        first = 1 + len(self.column)
        behind = [a for a in self.machine.arrays if a.operands == "systolic" and a.overlap is True]
        self.loading = {a.name: n for n, a in enumerate(behind, start=first)}
        """Cost column of the loads of each array whose loads hide behind its work."""
        self.columns = 1 + len(self.column) + len(self.loading)
        self.stationary = StationaryOperandCosts(self.base, self.variants, self.meter)
        self.rows: list[list[Linear]] = []
        self.entries: list[int] = []
        self.routes = AccessRoutes(space, self.base, memo)

    def _variants(self, subspace: Subspace) -> dict[str, tuple[BoundEinsum, ...]]:
        """Return each Einsum bound in every distinct placement, and bind the first mapping.

        Placements that break a constraint are left out.
        """
        placements = self.space.placements
        found: dict[str, list[BoundEinsum]] = {name: [] for name in self.names}
        self.placements: dict[str, list[EinsumPlacement]] = {name: [] for name in self.names}
        seen: set[tuple[object, ...]] = set()
        self.base = bound_subspace(self.space, subspace)
        # An Einsum's loops do not depend on other Einsums' placements: no combinations are bound.
        for number in range(max(len(able) for able in placements.values())):
            bound = self.base.einsums
            if number:
                bound = bound_placements(self.space, subspace, self.base, number)
            for e in bound:
                if self.space.constraints.broken_by_loops(e) is not None:
                    continue
                nonunit = tuple((x.member, x.level) for x in e.nonunit_loops)
                if (e.name, e.array.name, nonunit) not in seen:
                    seen.add((e.name, e.array.name, nonunit))
                    found[e.name].append(e)
                    self.placements[e.name].append(placements[e.name][number])
        for name, variants in found.items():
            if not variants:
                broken = self.space.constraints.broken_by_loops(self.base.by_name[name])
                raise MappingError(broken.text if broken else f"{name} cannot run so")
        return {name: tuple(variants) for name, variants in found.items()}

    def tables(self) -> Tables:
        """Return the finished cost tables."""
        works = []
        for name in self.names:
            works.append(len(self.entries))
            self.entries += [self._row(self._work(variant)) for variant in self.variants[name]]
        accesses = [
            self._access(number, position, access_map)
            for number, name in enumerate(self.names)
            for position, access_map in enumerate(self.variants[name][0].access_maps)
        ]
        tiles = sorted(self._tiles(), key=lambda pair: pair[0])
        forms, sizes = [x for row in self.rows for x in row], [size for _, _, size in tiles]
        used = dict.fromkeys(place for form in (*forms, *sizes) for place in form.terms)
        asked = self.meter.measures
        measures = tuple(asked[place] for place in used)
        columns = {place: n for n, place in enumerate(used)}
        coefficients, constants = matrix(forms, columns)
        of_tiles, of_fixed_tiles = matrix(sizes, columns)
        return Tables(
            einsums=tuple(self.names),
            tensors=tuple(self.tensors),
            placements=tuple(tuple(self.placements[n]) for n in self.names),
            places=tuple(len(self.space.places[t]) for t in self.tensors),
            choices=self._choices(works, accesses, [(t, *tile) for t, tile, _ in tiles]),
            coefficients=coefficients,
            constants=constants,
            columns=self.columns,
            tile_coefficients=of_tiles,
            tile_constants=of_fixed_tiles,
            measures=measures,
            steps_left=self.meter.steps_left(self.base.einsums),
        )

    def _choices(
        self,
        works: list[int],
        accesses: list[tuple[int, int, int]],
        tiles: list[tuple[int, int, int, int]],
    ) -> Choices:
        """Return the decisions in the order in which a search takes them.

        Parameters
        ----------
        works : list of int
            First entry of each Einsum.
        accesses : list of tuple
            Tensor, Einsum and first entry of each access.
        tiles : list of tuple
            Tensor, memory, Einsum and placement (-1 for all) of each tile, sorted by tensor.
        """
        tensors = range(len(self.tensors))
        alternatives = [len(self.placements[name]) for name in self.names]
        touching = [{einsum for own, einsum, _ in accesses if own == t} for t in tensors]
        order: list[tuple[int, int, int]] = []
        for number, placements in enumerate(alternatives):
            order.append((EINSUM, number, placements))
            # A tensor's places are decided once the last Einsum that touches it has its placement.
            ready = (t for t in tensors if max(touching[t], default=0) == number)
            order += [(TENSOR, t, len(self.space.places[self.tensors[t]])) for t in ready]
        frontier = _frontiers(alternatives, order, touching)
        factors = [row for before in frontier for row in _factors(alternatives, before)]
        rows = sorted(accesses, key=lambda access: access[0])
        capacities = [self.machine.memories[n].capacity_bytes or 0 for n in self.limited]
        return Choices(
            decisions=int_array(order, 3),
            works=int_array(works),
            writers=int_array(
                [self.names.index(t) if t in self.names else -1 for t in self.tensors]
            ),
            alternatives=int_array(alternatives),
            accesses=int_array([access[1:] for access in rows], 2),
            first=offsets([sum(own == t for own, *_ in rows) for t in tensors]),
            rows=int_array(self.entries),
            kept=self._kept(),
            tiles=int_array([tile[1:] for tile in tiles], 3),
            first_tile=offsets([sum(own == t for own, *_ in tiles) for t in tensors]),
            capacities=np.array(capacities, dtype=np.float64),
            frontier=int_array(factors, 2),
            first_frontier=offsets([len(before) for before in frontier]),
            first_state=offsets([prod(alternatives[e] for e in before) for before in frontier]),
        )

    def _row(self, costs: list[Linear]) -> int:
        """Add a row of costs and return its index."""
        self.rows.append(costs)
        return len(self.rows) - 1

    def _work(self, e: BoundEinsum) -> list[Linear]:
        """Return the costs of an Einsum's operations: their energy, and its cycles on its array."""
        loops, masks = self.memo.loops_number(e), self.meter.masked_shares.key(e)
        key = (e.name, loops, *self.stationary.reloaded_at(e), *masks)
        return self.memo.rows.get(key, partial(self._work_costs, e))

    def _work_costs(self, e: BoundEinsum) -> list[Linear]:
        costs = [Linear()] * self.columns
        costs[0] = self._points(e) * sum(operations_pj(self.machine, e.array, e.operations))
        busy = self.meter.iterations(e) * e.cycles_of_point
        costs[self.column[e.array.name]] = busy + self.stationary.skew(e)
        return costs

    def _points(self, e: BoundEinsum) -> Linear:
        """Return the number of points whose operations cost energy.

        Rank cuts do not change it. An Einsum with a mask has the points that its mask leaves. Any
        other Einsum has the points of steps that are not skipped.
        """
        if e.einsum.where is None:
            return self.meter.run(e)
        shapes = self.space.shapes
        shares = mask_shares(self.program, self.machine, shapes).of_points
        points = prod(shapes[v.upper()] for v in e.variables)
        return Linear(points * shares.get(e.name, 1.0))

    def _access(self, number: int, position: int, access_map: AccessMap) -> tuple[int, int, int]:
        """Add an access's entries for all placements and residencies.

        Returns
        -------
        tuple of int
            Tensor, Einsum and first entry of the access.
        """
        name, tensor = self.names[number], access_map.access.tensor
        first = len(self.entries)
        writing = access_map is self.variants[name][0].write
        writers: Sequence[BoundEinsum | None] = self.variants.get(tensor, (None,))
        for own in self.variants[name]:
            rows: dict[int, int] = {NO_ROUTE: NO_ROUTE}
            # An Einsum that writes is its own writer. Entries for another placement of the writer
            # keep the numbering regular and are never read.
            for writer in (own,) * len(writers) if writing else writers:
                for route in self.routes.of(own, writer, position):
                    if route not in rows:
                        rows[route] = self._access_row(own, position, route)
                    self.entries.append(rows[route])
        return self.tensors.index(tensor), number, first

    def _access_row(self, own: BoundEinsum, position: int, route: int) -> int:
        """Return the row index for the costs of one access along a route."""
        loops, masks = self.memo.loops_number(own), self.meter.masked_shares.key(own)
        key = (own.name, position, loops, route, *self.stationary.reloaded_at(own), *masks)
        return self._row(self.memo.rows.get(key, partial(self._access_costs, own, position, route)))

    def _access_costs(self, e: BoundEinsum, number: int, route: int) -> list[Linear]:
        """Return the costs of one access, which depend on its Einsum's loops and its route."""
        costs = [Linear()] * self.columns
        stops, waits = self.memo.routes[route]
        tensor = e.access_maps[number].access.tensor
        own = self._in_registers(e, number, waits=waits)
        accesses = accesses_of(self.base, e, number, self.meter, stops)
        moved = [(a.place, a.reads, a.writes) for a in accesses]
        for place, reads, writes in ((e.array.name, own.reads, own.writes), *moved):
            read_pj, write_pj, cycles = self.memo.prices.get(
                (place, tensor), partial(self._price, place, tensor)
            )
            costs[0] += reads * read_pj
            costs[0] += writes * write_pj
            if cycles:
                costs[self.column[place]] += (reads + writes) * cycles
        array = e.array.name
        costs[self.loading.get(array, self.column[array])] += self.stationary.loads(
            e, number, waits=waits
        )
        return costs

    def _in_registers(self, e: BoundEinsum, number: int, *, waits: bool) -> Uses[Linear]:
        """Return how often an access reads and writes its array's registers, as they are billed."""

        def billed() -> Uses[Linear]:
            uses = register_uses(e, number, self.meter, waits=waits)
            return uses.of_one if e.array.registers.billed == "one" else uses.of_all

        key = (e.name, number, self.memo.loops_number(e), waits, *self.meter.masked_shares.key(e))
        return self.memo.registers.get(key, billed)

    def _price(self, place: str, tensor: str) -> Price:
        words = self.base.words
        # Results are billed by the same function, so that a search has the same prices.
        one = AccessCount(einsum="", tensor=tensor, place=place, reads=1, writes=0)
        prices = prices_of(self.machine, words)
        read, write = prices.of(one)[1], prices.of(replace(one, reads=0, writes=1))[1]
        memory = self.machine.memory(place)
        cycles = 0.0
        if memory is not None and memory.bandwidth_bytes_per_s:
            clock = words.of(tensor) * self.machine.word_bytes * self.machine.clock_hz
            cycles = float(clock / memory.bandwidth_bytes_per_s)
        return read, write, cycles

    def _kept(self) -> NDArray[np.bool_]:
        most = max(len(places) for places in self.space.places.values())
        names = [self.machine.memories[n].name for n in self.limited]
        found = np.zeros((len(self.tensors), most, len(names)), dtype=np.bool_)
        for t, tensor in enumerate(self.tensors):
            for o, places in enumerate(self.space.places[tensor]):
                found[t, o] = [name in places for name in names]
        return found

    def _tiles(self) -> Iterator[tuple[int, tuple[int, int, int], Linear]]:
        """Yield the tiles of each tensor at each memory of limited capacity.

        A tile has the number of its tensor, those of its memory, its Einsum and the Einsum's
        placement (-1 for all placements), and its bytes.
        """
        for number, level in enumerate(self.limited):
            known: list[tuple[int, Linear]] = []
            for einsum, name in enumerate(self.names):
                variants = self.variants[name]
                for position, access_map in enumerate(variants[0].access_maps):
                    tensor = self.tensors.index(access_map.access.tensor)
                    sizes = [self._tile(v, position, level) for v in variants]
                    for placement, size in enumerate(sizes):
                        if all(other == size for other in sizes):
                            # Most accesses of a tensor have the same tile.
                            if placement == 0 and (tensor, size) not in known:
                                known.append((tensor, size))
                                yield tensor, (number, einsum, -1), size
                        else:
                            yield tensor, (number, einsum, placement), size

    def _tile(self, e: BoundEinsum, position: int, level: int) -> Linear:
        """Return the bytes of the tile that one access of an Einsum has at a memory level."""
        access_map = e.access_maps[position]
        tensor = access_map.access.tensor
        outer, stream = e.nest(level).loops, stream_of(self.base, e, tensor, level)
        one_copy = keeps_one_copy(self.base, tensor, level)
        nonunit = (
            tuple(x.member for x in loops if e.trip_counts[x.member] > 1)
            for loops in (outer, stream)
        )
        key = (e.name, position, level, one_copy, *nonunit)
        found = self.memo.tiles.find(key)
        if found is None:
            size = self.meter.first_tile(e, (*outer, *stream), access_map, one_copy=one_copy)
            element_bytes = Fraction(self.base.words.of(tensor) * self.machine.word_bytes)
            found = self.memo.tiles.keep(key, size * element_bytes)
        return found


def _frontiers(
    alternatives: list[int], order: list[tuple[int, int, int]], touching: list[set[int]]
) -> list[list[int]]:
    """Return the frontier before each decision, and the one at the end.

    A frontier lists the placed Einsums that touch tensors without a decision. If they have too many
    states, the first Einsums are dropped from it. This makes bounds lower but keeps them valid.
    """
    found: list[list[int]] = []
    forgotten: set[int] = set()
    for depth in range(len(order) + 1):
        decided = [number for kind, number, _ in order[:depth] if kind == EINSUM]
        wanted = {e for kind, t, _ in order[depth:] if kind == TENSOR for e in touching[t]}
        now = [e for e in decided if e in wanted - forgotten]
        # Forgotten Einsums stay forgotten: each state follows from the one before it.
        while prod(alternatives[e] for e in now) > policy.MAX_FRONTIER_STATES:
            forgotten.add(now.pop(0))
        found.append(now)
    return found


def _factors(alternatives: list[int], einsums: list[int]) -> Iterator[tuple[int, int]]:
    """Yield each Einsum of a frontier with its factor in the mixed-radix number of a state."""
    factor = 1
    for number in einsums:
        yield number, factor
        factor *= alternatives[number]
