"""Cost tables of random choices against the engine: legality, energy, and a bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from portions import left, some

from archsim import Architecture
from archsim.counts.occupancy import busy_cycles
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.legality.footprint import largest_tile, requirement, resident_tile
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from archsim.spec.arch import Overlap
from archsim.spec.mapping import Mapping
from archsim.spec.tensor_words import in_formats
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from einsum_cascade.number_formats import TensorFormats
from mappers.exact.measures import Floats, measured
from mappers.exact.subspaces import strides_of
from mappers.exact.tables import SubspaceRefusedError, Tables, tabulate
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region, mapping_of

SHAPES = {"B": 2, "H": 3, "E": 32, "F": 48, "P": 1100, "M": 1300}
FORMATS = TensorFormats(default="fp32", tensors=(("K", "mxfp4"), ("V", "int8")), word_bits=16)
ARRAYS = ("array_2d", "array_1d")
CHOICES = 12
"""Random choices of a subspace."""


def entries(tables: Tables, placements: list[int], tensor: int, places: int) -> list[int]:
    """Entries of a tensor in some places, one for each access."""
    c = tables.choices
    writer = c.writers[tensor]
    writers = len(tables.placements[writer]) if writer >= 0 else 1
    written = placements[writer] if writer >= 0 else 0
    return [
        first + (placements[einsum] * writers + written) * tables.places[tensor] + places
        for einsum, first in c.accesses[c.first[tensor] : c.first[tensor + 1]]
    ]


def picked(tables: Tables, random: Random, *, legal: bool) -> tuple[list[int], list[int]] | None:
    """Random ways and places, of legal ones if that is asked; None where there are none."""
    placements = [random.randrange(len(found)) for found in tables.placements]
    places: list[int] = []
    for tensor in range(len(tables.tensors)):
        able = [
            o
            for o in range(tables.places[tensor])
            if not legal or (tables.choices.rows[entries(tables, placements, tensor, o)] >= 0).all()
        ]
        if not able:
            return None
        places.append(random.choice(able))
    return placements, places


def priced(tables: Tables, costs: Floats, placements: list[int], places: list[int]) -> Floats:
    """Energy in pJ, and cycles of each array and memory."""
    chosen = [first + way for first, way in zip(tables.choices.works, placements, strict=True)]
    chosen += [e for t, o in enumerate(places) for e in entries(tables, placements, t, o)]
    total: Floats = costs[tables.choices.rows[chosen]].sum(axis=0)
    return total


def bound(space: Region, mapping: Mapping) -> tuple[Bound | None, str]:
    """The mapping as the engine takes it, or why it does not."""
    try:
        return bind(space.program, mapping, space.architecture, space.given), ""
    except MappingError as error:
        return None, error.problems[0].message


@pytest.mark.parametrize(
    ("cascade", "machine"),
    some(
        product(
            ("attention-1pass", "attention-2pass", "attention-3pass"),
            ("fusemax", "fusemax-micro24", "flat"),
        ),
        8,
        4,
    ),
)
def test_tables_say_what_the_engine_says(cascade: str, machine: str) -> None:
    program, random = Cascade.load(cascade).program, Random(cascade + machine)
    architecture = Architecture.load(machine)
    if machine == "fusemax-micro24":
        program = in_formats(program, FORMATS)
        costs = [f"arrays.{a}.operations.mac.fp32={{cycles: 2, bill: {{mac: 3}}}}" for a in ARRAYS]
        architecture = Architecture.load(machine, costs)
    space = random.choice(Mapspace.of(program, architecture, SHAPES).regions(4))
    agreed = refused = 0
    for lowered, total in chosen_of(space, random):
        if lowered is None:
            refused += 1
            continue
        result = evaluate_bound(lowered)
        assert total[0] == pytest.approx(result.energy_pj, rel=1e-9)
        assert np.max(total[1:]) <= result.cycles * (1 + 1e-9)
        agreed += 1
    assert agreed > 5
    assert refused


def chosen_of(space: Region, random: Random) -> Iterator[tuple[Bound | None, Floats]]:
    """Random choices of some subspaces: as the engine has them, None where they are not legal, and
    what tables say of them."""
    for subspace in random.sample(subspaces_of(space), 3):
        try:
            tables = tabulate(space, subspace)
        except SubspaceRefusedError:
            continue
        amounts = measured(tables.measures, strides_of(space, subspace))
        for number in range(CHOICES):
            choice = picked(tables, random, legal=number % 4 > 0)
            if choice is None:
                continue
            placements, places = choice
            row = random.randrange(len(subspace.sizes))
            flat = tables.coefficients @ amounts[row] + tables.constants
            names = [w[n] for w, n in zip(tables.placements, placements, strict=True)]
            kept = [space.places[t][o] for t, o in zip(tables.tensors, places, strict=True)]
            mapping = mapping_of(
                space,
                subspace.skeleton,
                subspace.sizes[row],
                dict(zip(tables.einsums, names, strict=True)),
                dict(zip(tables.tensors, kept, strict=True)),
            )
            legal = all(
                (tables.choices.rows[entries(tables, placements, t, o)] >= 0).all()
                for t, o in enumerate(places)
            )
            lowered, why = bound(space, mapping)
            if lowered is None:
                # Entries do not say whether tiles fit.
                assert not legal or ", has " in why, why
            else:
                assert legal
            yield lowered, priced(tables, flat.reshape(-1, tables.columns), placements, places)


@pytest.mark.parametrize("overlap", [left(False), True, "streams"])
def test_tables_know_what_systolic_arrays_lose(overlap: Overlap) -> None:
    """Loads and skew are never more than in the engine, and for most the same."""
    program, random = Cascade.load("attention-1pass").program, Random(7)
    machine = Architecture.load("flat")
    arrays = tuple(replace(a, operands="systolic", overlap=overlap) for a in machine.arrays)
    machine = replace(machine, arrays=arrays)
    space = Mapspace.of(program, machine, SHAPES).regions(1)[0]
    close = lost = 0
    for lowered, total in chosen_of(space, random):
        if lowered is None:
            continue
        first = 1 + len(arrays) + sum(m.bandwidth_bytes_per_s is not None for m in machine.memories)
        for number, array in enumerate(arrays):
            mine = [e for e in lowered.einsums if e.array.name == array.name]
            busy = float(sum(busy_cycles(lowered, e) for e in mine))
            said = total[1 + number]
            if overlap is True:
                said = max(said, total[first + number])
            assert said <= busy * (1 + 1e-9)
            if busy > 1.05 * sum(float(e.cycles) for e in mine):
                lost += 1
                close += said >= 0.9 * busy
    assert lost > 5
    assert close > lost / 2


def test_tables_say_what_memories_hold() -> None:
    """Memories hold less than whole tiles where few registers keep few tiles in flight."""
    program, random = Cascade.load("attention-1pass").program, Random(1)
    machine = Architecture.load("fusemax")
    few = tuple(replace(a, registers=replace(a.registers, depth=3)) for a in machine.arrays)
    space = Mapspace.of(program, replace(machine, arrays=few), SHAPES).regions(1)[0]
    streaming = 0
    for subspace in random.sample(subspaces_of(space), 20):
        try:
            tables = tabulate(space, subspace)
        except SubspaceRefusedError:
            continue
        row = random.randrange(len(subspace.sizes))
        amounts = measured(tables.measures, strides_of(space, subspace))[row]
        tiles = tables.tile_coefficients @ amounts + tables.tile_constants
        everywhere = {t: found[-1] for t, found in space.places.items()}
        placements = {
            n: found[0] for n, found in zip(tables.einsums, tables.placements, strict=True)
        }
        mapping = mapping_of(space, subspace.skeleton, subspace.sizes[row], placements, everywhere)
        sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
        given = {r: n for r, n in space.shapes.items() if r not in sizes}
        tiling = build_tiling(program, mapping, given, sizes)
        lowered = bind_loops(program, mapping, space.architecture, tiling)
        for memory, level in enumerate(limited(space)):
            held = dict(requirement(lowered, level).tensors)
            mine: dict[str, float] = {}
            c = tables.choices
            for number, (place, _, placement) in enumerate(c.tiles):
                # The mapping has the first ways.
                if place == memory and placement <= 0:
                    size = tiles[number]
                    tensor = tables.tensors[np.searchsorted(c.first_tile, number, "right") - 1]
                    mine[tensor] = max(mine.get(tensor, 0.0), size)
            assert mine == held
            streaming += sum(
                resident_tile(lowered, e, e.write, level) < largest_tile(e, e.write, level)
                for e in lowered.einsums
                if not e.write.running
            )
    assert streaming > 5


def limited(space: Region) -> list[int]:
    """Memories of limited size, as tables number them."""
    memories = space.architecture.memories
    return [n for n, m in enumerate(memories) if m.capacity_bytes is not None]
