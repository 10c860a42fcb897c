"""Validation of a mapping: its tiled and reordered loop nest runs in place of
``Cascade.evaluate``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.ir import Program

from ..legality.binding import bind
from ..nest.roles import resolve_roles
from ..nest.sequence import nests_of
from ..nest.tiling import tile_size
from ..plan.job import Generators, MakeMapping
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from ..spec.tensor_words import in_formats, with_word_bits
from .execute import execute_mapped, execute_nests
from .inputs import windowed_ranks
from .trial import Runner

_TILES = 2
_RAGGED = 5
_REST = 3
_PARALLEL = 2


def mapping_fits(mapping: Mapping, cascade: Cascade) -> bool:
    """Return whether a mapping is for the given cascade.

    Parameters
    ----------
    mapping : Mapping
        Mapping, which names its cascade by built-in name or file. Equations are compared, not names
        or references.
    cascade : Cascade
        The one to be run.
    """
    return _computed(type(cascade).load(mapping.cascade).program) == _computed(cascade.program)


def _computed(program: Program) -> Program:
    """Return a cascade without its descriptions."""
    return replace(program, name="", title="", origin="", unverified="", reference="")


def check_mapping_fits(mapping: Mapping, cascades: Iterable[Cascade]) -> None:
    """Refuse cascades that a mapping is not for.

    Raises
    ------
    SpecError
        Naming each.
    """
    problems = [
        Problem(f"mapping '{mapping.name}' is for cascade '{mapping.cascade}', not '{c.name}'")
        for c in cascades
        if not mapping_fits(mapping, c)
    ]
    if problems:
        raise SpecError(problems)


def mapped_run(
    cascade: Cascade,
    mapping: Mapping | MakeMapping | None,
    architecture: Architecture,
    generators: Generators,
) -> Runner:
    """Return a runner for ``validate_cascade`` that executes the mapped nest.

    Without a mapping, ``generators`` make one for the shapes.

    Parameters
    ----------
    cascade : Cascade
        Cascade to run.
    mapping : Mapping, callable or None
        One of this cascade (``mapping_fits``), or what makes one.
    architecture : Architecture
        The machine whose arrays give the lanes, and whose memories say what fits.
    generators : Generators
        Generators of mappings, and the selection among open choices.

    Returns
    -------
    callable
        Takes inputs, ``dtype=`` and shapes and parameters by keyword, as
        ``Cascade.evaluate``; raises MappingError where the mapping is not legal on those
        shapes, and EvaluationError where running it would take too long.
    """
    program = cascade.program
    program = in_formats(program, with_word_bits(program.formats, architecture.word_bits))
    names = {p.name for p in program.parameters}

    def run(inputs: dict[str, Any], *, dtype: Any, **numbers: Any) -> dict[str, Any]:
        shapes = {n: v for n, v in numbers.items() if n not in names}
        for tensor in program.inputs:
            ranks = (*program.parallel, *tensor.ranks)
            shapes |= dict(zip(ranks, inputs[tensor.name].shape, strict=True))
        parameters = {n: v for n, v in numbers.items() if n in names}
        how = mapping or generators.make
        if not isinstance(how, Mapping):
            how = how(program, architecture, shapes | parameters)
        if how.nests:
            return _nest_by_nest(program, how, architecture, (shapes, parameters), inputs, dtype)
        bound = bind(program, how, architecture, shapes | parameters, choose=generators.choose)
        return execute_mapped(bound, inputs, dtype=dtype, **parameters)

    return run


def _nest_by_nest(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    numbers: tuple[dict[str, int], dict[str, Any]],
    inputs: dict[str, Any],
    dtype: Any,
) -> dict[str, Any]:
    """Run several nests, each on the tensors of the nests before it."""
    shapes, parameters = numbers
    bounds = (
        bind(part.program, part.mapping, architecture, part.shapes | parameters)
        for part in nests_of(program, mapping, shapes)
    )
    known = execute_nests(bounds, inputs, dtype=dtype, **parameters)
    return {name: known[name] for name in program.outputs}


def mapped_shapes(cascade: Cascade, mapping: Mapping, architecture: Architecture) -> dict[str, int]:
    """Return shapes that test a mapping: whole tiles and a partial one of every rank.

    Ranks that the mapping does not cut are small, so that a run is short.

    Parameters
    ----------
    cascade : Cascade
        Cascade to run.
    mapping : Mapping
        Its tiles, whose sizes may be those of an array's axes.
    architecture : Architecture
        The machine with these arrays.

    Returns
    -------
    dict of str to int
        Elements by rank; ranks that follow from others are left out.

    Examples
    --------
    Two whole tiles of 256 keys, and one of five; queries likewise.

    >>> from archsim import Architecture
    >>> cascade, mapping = Cascade.load("attention-1pass"), Mapping.load("fusemax-binding")
    >>> found = mapped_shapes(cascade, mapping, Architecture.load("fusemax"))
    >>> found["M"], found["M0"], found["E"]
    (517, 256, 3)
    """
    program = cascade.program
    nests = mapping.nests or (mapping,)
    named = [resolve_roles(program, nest, architecture) for nest in nests]
    sizes = [{t.member: tile_size(t, architecture) or 1 for t in nest.tiles} for nest in named]
    shapes: dict[str, int] = dict.fromkeys(program.parallel, _PARALLEL)
    windowed = windowed_ranks(program)
    for rank in program.ranks:
        if rank.family is not None or rank.like is not None or rank.name in windowed:
            # Members follow their family, and ranks declared alike the one they are like.
            # How long a rank read at sums has to be follows from the others.
            continue
        if rank.shape is not None:
            continue  # The rank can have no other size.
        # If there are several nests, the one with the largest tiles determines their number.
        tile = max(
            prod(own[t.member] for t in nest.tiles if t.rank == rank.name)
            for nest, own in zip(nests, sizes, strict=True)
        )
        cut = any(t.rank == rank.name for nest in nests for t in nest.tiles)
        shapes[rank.name] = _TILES * tile + min(_RAGGED, tile - 1) if cut else _REST
        for own in sizes:
            shapes |= {member: own[member] for member in rank.partition[1:] if member in own}
    for nest in named:
        shapes |= _in_a_ring(nest, architecture, shapes)
    return shapes


def _in_a_ring(
    mapping: Mapping, architecture: Architecture, shapes: dict[str, int]
) -> dict[str, int]:
    """Return shapes that chips in a ring partition: equal tiles, whole for tensors that
    circulate."""
    found: dict[str, int] = {}
    for level in mapping.nest:
        memory = architecture.memory(level.level)
        if level.ring and memory is not None:
            chips = prod(n for _, n in memory.instances)
            for rank in (s.rank for s in level.spatial if s.rank in shapes):
                found[rank] = -(-shapes[rank] // chips) * chips
            for rank in (r for r in level.ring if r in shapes):
                tiles = (tile_size(t, architecture) or 1 for t in mapping.tiles if t.rank == rank)
                found[rank] = chips * prod(tiles)
    return found
