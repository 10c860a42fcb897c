"""What every choice of a subspace costs: tables of sums of measures.

The mappings of a subspace have the same loops. What is left to choose, the array of every
Einsum and the places of every tensor, is a few alternatives each, and costs belong to few
choices at once: an Einsum's work to its array, an access to the array of the Einsum, that
of the tensor's writer, and the tensor's places. Each such combination is an *entry*; its
costs are what the rules of counting and billing say of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.bound.footprint import in_step
from archsim.bound.legality import illegalities
from archsim.bound.masking import windows_of
from archsim.bound.record import BoundEinsum
from archsim.bound.streaming import stream_of
from archsim.cost.accesses import AccessCount, Uses, accesses_along, register_uses
from archsim.cost.energy import access_pj, operations_pj
from archsim.space.access_map import AccessMap
from einsum_cascade.errors import MappingError

from ..space.fusion import bound_subspace, bound_ways
from ..space.least_shares import least_shares
from ..space.region import Region, Subspace
from ..space.ways import Way
from .batch import matrix
from .held import HeldCosts
from .kernels.arrays import Floats, Ints
from .known_costs import NO_ROUTE, KnownCosts, Price
from .left_out import LeftOut, OpenBand
from .measures import IrregularError, Linear, LinearSum, OpenMeasure, OpenMeter
from .routes import AccessRoutes, loops_of


@dataclass(frozen=True, kw_only=True)
class AccessEntries:
    """Entries of one access: ``(k * writers + w) * places + o`` from ``first`` on, for
    way ``k`` of its Einsum, ``w`` of the tensor's writer, and places ``o``."""

    einsum: int
    tensor: int
    first: int


@dataclass(frozen=True, slots=True)
class TileEntry:
    """A tensor's tile at a memory, both by number, as an Einsum has it in one way; -1: in all."""

    tensor: int
    memory: int
    einsum: int
    way: int


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The choices of a subspace and what they cost.

    Costs are columns: energy in pJ, then cycles of every array and every memory, and of loads that
    hide behind the work of an array. Many entries cost the same: each has the number of a row, and
    -1 where it is not legal.
    """

    einsums: tuple[str, ...]
    tensors: tuple[str, ...]
    ways: tuple[tuple[Way, ...], ...]
    """Alternatives of each Einsum; its entries begin at ``works``."""
    works: tuple[int, ...]
    writers: tuple[int, ...]
    """By tensor, the Einsum that writes it, or -1."""
    places: tuple[int, ...]
    """Alternatives of each tensor."""
    accesses: tuple[AccessEntries, ...]
    entries: Ints
    """Of every entry its row."""
    coefficients: Floats
    """(rows * columns, measures)"""
    constants: Floats
    columns: int
    kept: NDArray[np.bool_]
    """(tensors, places, memories): whether these places are in a memory of limited size."""
    tiles: tuple[TileEntry, ...]
    """In the order of their tensors; the largest of those of one tensor and memory must fit."""
    tile_coefficients: Floats
    """(tiles, measures): their bytes."""
    tile_constants: Floats
    capacities: Floats
    measures: tuple[OpenMeasure, ...]
    steps_left: OpenBand | None
    """Of the steps of the shared loops; None: all."""

    @property
    def combinations(self) -> int:
        """Ways and places of all Einsums and tensors together."""
        return prod(map(len, self.ways)) * prod(self.places)


class SubspaceRefusedError(Exception):
    """No mapping of a subspace is legal, or none can be worked out in a batch."""

    def __init__(self, why: str, *, irregular: bool = False) -> None:
        super().__init__(why)
        self.irregular = irregular


def tabulate(
    space: Region, subspace: Subspace, *, relaxed: bool = False, known: KnownCosts | None = None
) -> Tables:
    """The tables of a subspace.

    Parameters
    ----------
    subspace : Subspace
        One of the space; its first tiling is bound, and what is counted holds for all.
    relaxed : bool
        As for ``OpenMeter``: masks and gathers are left aside.
    known : KnownCosts, optional
        Of other subspaces of the region; what is new is added.

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
        return _Tabulator(space, subspace, known or KnownCosts(), relaxed=relaxed).tables()
    except MappingError as error:
        raise SubspaceRefusedError(error.problems[0].message) from None
    except IrregularError as error:
        raise SubspaceRefusedError(str(error), irregular=True) from None


class _Tabulator:
    """Builds the tables of one subspace."""

    def __init__(
        self, space: Region, subspace: Subspace, known: KnownCosts, *, relaxed: bool
    ) -> None:
        self.known = known
        self.space = space
        self.program = space.program
        self.machine = space.architecture
        self.names = [e.name for e in self.program.einsums]
        self.tensors = list(space.places)
        self.variants = self._variants(subspace)
        problems = illegalities(self.base)
        if problems:
            raise MappingError(problems)
        self.left_out = LeftOut(*windows_of(self.base)) if relaxed else LeftOut({}, {})
        self.meter = OpenMeter(
            self.base.tiling, relaxed=relaxed, left_out=self.left_out, places=known.places
        )
        # Columns: 0 energy, then one for each array, each memory with a bandwidth, and loads.
        self.memories = [m for m in self.machine.memories if m.bandwidth_bytes_per_s]
        self.column = {a.name: n for n, a in enumerate(self.machine.arrays, start=1)}
        first = 1 + len(self.column)
        self.column |= {m.name: n for n, m in enumerate(self.memories, start=first)}
        first = 1 + len(self.column)
        behind = [a for a in self.machine.arrays if a.operands == "systolic" and a.overlap is True]
        self.loading = {a.name: n for n, a in enumerate(behind, start=first)}
        """Of arrays whose loads hide behind work the column of these loads."""
        self.columns = 1 + len(self.column) + len(self.loading)
        self.held = HeldCosts(self.base, self.variants, self.meter)
        self.rows: list[list[Linear]] = []
        self.entries: list[int] = []
        self.routes = AccessRoutes(space, self.base, known)
        self._goings: dict[int, int] = {}

    def _variants(self, subspace: Subspace) -> dict[str, tuple[BoundEinsum, ...]]:
        """Every Einsum in each of its ways that differ; also sets the mapping they come from."""
        ways = self.space.ways
        found: dict[str, list[BoundEinsum]] = {name: [] for name in self.names}
        self.ways: dict[str, list[Way]] = {name: [] for name in self.names}
        seen: set[tuple[object, ...]] = set()
        self.base = bound_subspace(self.space, subspace)
        # An Einsum's loops do not depend on the ways of others: not all combinations are bound.
        for number in range(max(len(able) for able in ways.values())):
            bound = self.base.einsums
            if number:
                bound = bound_ways(self.space, subspace, self.base, number)
            for e in bound:
                if self.space.constraints.broken_by_loops(e) is not None:
                    continue
                going = tuple((x.member, x.level) for x in e.going)
                if (e.name, e.array.name, going) not in seen:
                    seen.add((e.name, e.array.name, going))
                    found[e.name].append(e)
                    self.ways[e.name].append(ways[e.name][number])
        for name, variants in found.items():
            if not variants:
                broken = self.space.constraints.broken_by_loops(self.base.by_name[name])
                raise MappingError(broken.text if broken else f"{name} cannot run so")
        return {name: tuple(variants) for name, variants in found.items()}

    def tables(self) -> Tables:
        """All of them."""
        works = []
        for name in self.names:
            works.append(len(self.entries))
            self.entries += [self._row(self._work(variant)) for variant in self.variants[name]]
        accesses = [
            self._access(number, position, access_map)
            for number, name in enumerate(self.names)
            for position, access_map in enumerate(self.variants[name][0].touches)
        ]
        tiles = sorted(self._tiles(), key=lambda pair: pair[0].tensor)
        forms, sizes = [x for row in self.rows for x in row], [size for _, size in tiles]
        used = dict.fromkeys(place for form in (*forms, *sizes) for place in form.terms)
        asked = self.meter.measures
        measures = tuple(asked[place] for place in used)
        columns = {place: n for n, place in enumerate(used)}
        coefficients, constants = matrix(forms, columns)
        of_tiles, of_fixed_tiles = matrix(sizes, columns)
        limited, memories = self._limited, self.machine.memories
        return Tables(
            einsums=tuple(self.names),
            tensors=tuple(self.tensors),
            ways=tuple(tuple(self.ways[n]) for n in self.names),
            works=tuple(works),
            writers=tuple(self.names.index(t) if t in self.names else -1 for t in self.tensors),
            places=tuple(len(self.space.places[t]) for t in self.tensors),
            accesses=tuple(accesses),
            entries=np.array(self.entries, dtype=np.int64),
            coefficients=coefficients,
            constants=constants,
            columns=self.columns,
            kept=self._kept(),
            tiles=tuple(tile for tile, _ in tiles),
            tile_coefficients=of_tiles,
            tile_constants=of_fixed_tiles,
            capacities=np.array([float(memories[n].capacity_bytes or 0) for n in limited]),
            measures=measures,
            steps_left=self.meter.steps_left(self.base.einsums),
        )

    def _row(self, costs: list[Linear]) -> int:
        """The number of a new row of costs."""
        self.rows.append(costs)
        return len(self.rows) - 1

    def _work(self, e: BoundEinsum) -> list[Linear]:
        """What an Einsum costs by itself: operations, and cycles on its array."""
        key = (e.name, self._going(e), *self.held.anew(e), *self.left_out.key(e))
        if key not in self.known.rows:
            self.known.rows[key] = self._working(e)
        return self.known.rows[key]

    def _working(self, e: BoundEinsum) -> list[Linear]:
        costs = [Linear()] * self.columns
        costs[0] = self._points(e) * sum(operations_pj(self.machine, e.array, e.operations))
        busy = self.meter.iterations(e) * e.cycles_of_point
        costs[self.column[e.array.name]] = busy + self.held.skew(e)
        return costs

    def _points(self, e: BoundEinsum) -> Linear:
        """Points that are billed: however ranks are cut as many, or as many as a mask lets through,
        but for steps that are left out where an Einsum has none."""
        if e.einsum.where is None:
            return self.meter.run(e)
        shapes = self.space.shapes
        shares = least_shares(self.program, self.machine, shapes).of_points
        points = prod(shapes[v.upper()] for v in e.variables)
        return Linear(points * shares.get(e.name, 1.0))

    def _access(self, number: int, position: int, access_map: AccessMap) -> AccessEntries:
        """Entries of one access of an Einsum."""
        name, tensor = self.names[number], access_map.access.tensor
        first = len(self.entries)
        writing = access_map is self.variants[name][0].write
        others = () if writing else self.variants.get(tensor, ())
        routes: dict[tuple[int, int], list[int]] = {}
        numbers: dict[tuple[object, ...], int] = {}
        mine = [
            numbers.setdefault(loops_of(v, v.touches[position]), len(numbers))
            for v in self.variants[name]
        ]
        written = [numbers.setdefault(loops_of(v, v.write), len(numbers)) for v in others]
        for k, own in enumerate(self.variants[name]):
            rows: dict[int, int] = {NO_ROUTE: NO_ROUTE}
            lines: dict[int, list[int]] = {}
            # An Einsum that writes is its own writer. Its entries with another way of the writer
            # are there to keep the numbering regular, and are never looked at.
            writers = others or (own if writing else None,) * self._writers(tensor)
            for w, writer in enumerate(writers):
                there = written[w] if others else -1
                if there not in lines:
                    key = (mine[k], there)
                    if key not in routes:
                        routes[key] = self.routes.of(own, writer, position)
                    for route in routes[key]:
                        if route not in rows:
                            rows[route] = self._touching_row(own, position, route)
                    lines[there] = [rows[route] for route in routes[key]]
                self.entries += lines[there]
        return AccessEntries(einsum=number, tensor=self.tensors.index(tensor), first=first)

    def _touching_row(self, own: BoundEinsum, position: int, route: int) -> int:
        """The row of one access along a route."""
        anew = self.held.anew(own)
        known = (own.name, position, self._going(own), route, *anew, *self.left_out.key(own))
        if known not in self.known.rows:
            self.known.rows[known] = self._touching(own, position, route)
        return self._row(self.known.rows[known])

    def _going(self, e: BoundEinsum) -> int:
        """The number of an Einsum's array and loops, the same in all subspaces of the region."""
        if id(e) not in self._goings:
            self._goings[id(e)] = self.known.going(e)
        return self._goings[id(e)]

    def _writers(self, tensor: str) -> int:
        return len(self.variants.get(tensor, ("",)))

    def _touching(self, e: BoundEinsum, number: int, route: int) -> list[Linear]:
        """What one access costs: its Einsum's loops and its route decide it."""
        costs = [LinearSum() for _ in range(self.columns)]
        way, waits = self.routes[route]
        tensor = e.touches[number].access.tensor
        own = self._in_registers(e, number, waits=waits)
        accesses = accesses_along(self.base, e, number, way, self.meter)
        moved = [(a.place, a.reads, a.writes) for a in accesses]
        for place, reads, writes in ((e.array.name, own.reads, own.writes), *moved):
            price = self._price(place, tensor)
            costs[0].add(reads, price.read_pj)
            costs[0].add(writes, price.write_pj)
            if price.cycles:
                costs[self.column[place]].add(reads + writes, price.cycles)
        array = e.array.name
        column = self.loading.get(array, self.column[array])
        costs[column].add(self.held.loads(e, number, waits=waits), 1)
        return [Linear(c.constant, c.terms) for c in costs]

    def _in_registers(self, e: BoundEinsum, number: int, *, waits: bool) -> Uses[Linear]:
        """What an access does to the registers of its array that are billed."""
        key = (e.name, number, self._going(e), waits, *self.left_out.key(e))
        if key not in self.known.registers:
            uses = register_uses(e, number, self.meter, waits=waits)
            billed = uses.of_one if e.array.registers.billed == "one" else uses.of_all
            self.known.registers[key] = billed
        return self.known.registers[key]

    def _price(self, place: str, tensor: str) -> Price:
        key = (place, tensor)
        if key not in self.known.prices:
            words = self.base.words
            # As a result is billed, so that a search cannot see another price.
            one = AccessCount(einsum="", tensor=tensor, place=place, reads=1, writes=0)
            read = access_pj(self.machine, one, words)[1]
            write = access_pj(self.machine, replace(one, reads=0, writes=1), words)[1]
            memory = self.machine.memory(place)
            cycles = 0.0
            if memory is not None and memory.bandwidth_bytes_per_s:
                clock = words.of(tensor) * self.machine.word_bytes * self.machine.clock_hz
                cycles = float(clock / memory.bandwidth_bytes_per_s)
            self.known.prices[key] = Price(read_pj=read, write_pj=write, cycles=cycles)
        return self.known.prices[key]

    @property
    def _limited(self) -> list[int]:
        return [n for n, m in enumerate(self.machine.memories) if m.capacity_bytes is not None]

    def _kept(self) -> NDArray[np.bool_]:
        most = max(len(places) for places in self.space.places.values())
        names = [self.machine.memories[n].name for n in self._limited]
        found = np.zeros((len(self.tensors), most, len(names)), dtype=np.bool_)
        for t, tensor in enumerate(self.tensors):
            for o, places in enumerate(self.space.places[tensor]):
                found[t, o] = [name in places for name in names]
        return found

    def _tiles(self) -> Iterator[tuple[TileEntry, Linear]]:
        """Tiles of each tensor at each memory of limited size, and their bytes."""
        for number, level in enumerate(self._limited):
            known: list[tuple[int, Linear]] = []
            for einsum, name in enumerate(self.names):
                variants = self.variants[name]
                for position, access_map in enumerate(variants[0].touches):
                    tensor = self.tensors.index(access_map.access.tensor)
                    sizes = [self._tile(v, position, level) for v in variants]
                    for way, size in enumerate(sizes):
                        if all(other == size for other in sizes):
                            # Most accesses of a tensor have one and the same tile.
                            if way == 0 and not any(t == tensor and x == size for t, x in known):
                                known.append((tensor, size))
                                yield TileEntry(tensor, number, einsum, -1), size
                        else:
                            yield TileEntry(tensor, number, einsum, way), size

    def _tile(self, e: BoundEinsum, position: int, level: int) -> Linear:
        """Bytes of a tensor's tile as an Einsum has it at a level."""
        access_map = e.touches[position]
        tensor = access_map.access.tensor
        outer, stream = e.outer(level), stream_of(self.base, e, tensor, level)
        one_copy = in_step(self.base, tensor, level)
        going = (
            tuple(x.member for x in loops if e.widths[x.member] > 1) for loops in (outer, stream)
        )
        key = (e.name, position, level, one_copy, *going)
        if key not in self.known.tiles:
            size = self.meter.first_tile(e, (*outer, *stream), access_map, one_copy=one_copy)
            self.known.tiles[key] = size * self._bytes_of(tensor)
        return self.known.tiles[key]

    def _bytes_of(self, tensor: str) -> Fraction:
        """Bytes of an element."""
        return Fraction(self.base.words.of(tensor) * self.machine.word_bytes)
