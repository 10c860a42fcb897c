"""Random shapes, inputs and parameters for validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from einsum_cascade import ir
from einsum_cascade.domains import (
    coordinate_bounds,
    draw,
    draw_input,
    last_value,
    places_needed,
    scattered_by,
)
from einsum_cascade.errors import EvaluationError
from einsum_cascade.shapes import resolve_shapes

# No size is below 4. An output of one number may cancel to nearly nothing, so that all its digits
# are rounding errors; a few features may be nearly equal, and so is their normalisation then.
_SHAPES = (4, 5, 7, 8, 11, 13, 16)
_TILES = (1, 2, 3, 4, 5)
_PARALLEL = (1, 2, 3)
_MOST_ELEMENTS = 2**26
"""Largest number of elements of an input: 512 MiB in float64."""
_NO_SHAPES: Mapping[str, int] = MappingProxyType({})


def random_shapes(
    program: ir.Program, given: Mapping[str, int], rng: np.random.Generator
) -> dict[str, int]:
    """Draw small shapes of every rank: even and odd, with tiles that may not divide their rank.

    Parameters
    ----------
    program : Program
        The cascade.
    given : mapping of str to int
        Shapes that are not drawn, in elements by rank.
    rng : Generator
        Generator of the random shapes.

    Returns
    -------
    dict of str to int
        Shapes of every rank, members of families included.

    Raises
    ------
    EvaluationError
        A shape in ``given`` is wrong, or contradicts another.

    Examples
    --------
    Any tile and number of tiles that are drawn make up the rank.

    >>> import numpy as np
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> found = random_shapes(program, {"M": 13, "M0": 4}, np.random.default_rng(0))
    >>> found["M"], found["M0"], found["M1"]
    (13, 4, 4)
    """
    chosen = _chosen_sizes(program, given, rng)
    shapes = resolve_shapes(program, chosen, EvaluationError)
    drawn = _DrawnShapes(program, given, chosen, shapes)
    for einsum in program.einsums:
        if einsum.select is not None:
            drawn.limit_selection(einsum)
        if einsum.where is None:
            drawn.cover_windows(einsum)
        drawn.cover_scatters(einsum)
    drawn.cover_distinct()
    return resolve_shapes(program, chosen, EvaluationError)


def _chosen_sizes(
    program: ir.Program, given: Mapping[str, int], rng: np.random.Generator
) -> dict[str, Any]:
    """Return the given shapes, with just enough drawn ones added to fix every shape."""
    chosen: dict[str, Any] = dict(given)
    followers = {r.name for r in program.ranks if r.like is not None}
    for name in program.parallel:
        chosen.setdefault(name, int(rng.choice(_PARALLEL)))
    # A rank declared like another has the same shape: chunks of a fixed length.
    fixed = [(n, r.shape) for r in program.ranks if r.shape for n in (r.name, r.like) if n]
    chosen.update({name: size for name, size in fixed if name not in given})
    for rank in program.ranks:
        followed_by = {r.name for r in program.ranks if r.like == rank.name}
        if rank.name in followers and not program.rank_of[rank.like or ""].partition:
            # Same length as another rank, but cut into other tiles.
            chosen.update(
                {n: int(rng.choice(_TILES)) for n in rank.partition[1:] if n not in given}
            )
        if rank.family is not None or rank.name in followers or followed_by & set(given):
            continue
        if not rank.partition:
            chosen.setdefault(rank.name, int(rng.choice(_SHAPES)))
            continue
        # A family of n members follows from any n of these n + 1 sizes.
        names = (*rank.partition[1:], rank.name, rank.partition[0])
        for name in names:
            pool = _SHAPES if name == rank.name else _TILES
            size = int(rng.choice(pool))
            if sum(n in chosen for n in names) < len(rank.partition):
                chosen.setdefault(name, size)
    return chosen


def shapes_of_inputs(program: ir.Program, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of the ranks of all inputs, from arrays that carry the parallel ranks."""
    found: dict[str, int] = {}
    for tensor in program.inputs:
        ranks = (*program.parallel, *tensor.ranks)
        found |= dict(zip(ranks, inputs[tensor.name].shape, strict=True))
    return found


def windowed_ranks(program: ir.Program) -> set[str]:
    """Set the shapes of input ranks that are read at sums (``p + t``) to the length that these
    indices need."""
    inputs = {t.name: t for t in program.inputs}
    found = set()
    reads = (a for e in program.einsums if e.where is None for a in e.reads)
    for access in (a for a in reads if a.tensor in inputs):
        for name, index in zip(inputs[access.tensor].ranks, access.indices, strict=True):
            rank = program.rank_of[name]
            sums = isinstance(index, ir.Affine) and len(index.terms) > 1
            if sums and not rank.partition and rank.like is None:
                found.add(name)
    return found


@dataclass(frozen=True)
class _DrawnShapes:
    """Drawn shapes, which may still change, and the shapes that follow from them."""

    program: ir.Program
    given: Mapping[str, int]
    chosen: dict[str, Any]
    shapes: Mapping[str, int]

    def cover_windows(self, einsum: ir.Einsum) -> None:
        """Set the shape of a rank read at ``p + s`` so that it covers the largest index."""
        inputs = {t.name for t in self.program.inputs}
        for access in einsum.reads:
            pairs = zip(self.program.tensor_ranks[access.tensor], access.indices, strict=True)
            for rank, index in pairs:
                if rank in self.given or not isinstance(self.chosen.get(rank), int):
                    continue
                if access.tensor not in inputs and len(index.variables) < 2:
                    continue
                if self.program.rank_of[rank].partition:
                    continue
                moved = index.offset if isinstance(index, ir.Gather) else index
                if isinstance(moved, ir.Affine):
                    needed = last_value(self.program, moved, self.shapes) + 1
                    self.chosen[rank] = max(self.chosen[rank], needed)

    def cover_scatters(self, einsum: ir.Einsum) -> None:
        """Enlarge ranks so that each scattered element has a position."""
        for index in einsum.scattered:
            ranks = scattered_by(self.program, einsum, index)
            needed = prod(self.shapes[r] for r in ranks)
            self._enlarge(self.program.scatters_along(index), needed)

    def cover_distinct(self) -> None:
        """Enlarge ranks so that each distinct entry has a position of its own."""
        for rank, needed in places_needed(self.program, self.shapes):
            self._enlarge(rank, needed)

    def _enlarge(self, rank: str | None, needed: int) -> None:
        if rank in self.chosen and rank not in self.given:
            self.chosen[rank] = max(self.chosen[rank], needed)

    def limit_selection(self, einsum: ir.Einsum) -> None:
        """Reduce the number of selected elements to at most the number of candidates."""
        selected = ir.variables_of(einsum.expression)
        for variable in einsum.target.variables:
            rank = self.program.rank_of_variable[variable]
            over = [self.program.rank_of_variable[v] for v in einsum.over]
            if variable not in selected and rank not in self.given and rank in self.chosen:
                self.chosen[rank] = min([self.chosen[rank], *(self.shapes[r] for r in over)])


def random_parameters(
    program: ir.Program,
    given: Mapping[str, float],
    rng: np.random.Generator,
    shapes: Mapping[str, int] = _NO_SHAPES,
) -> dict[str, float]:
    """Return the given parameters, defaults, and random numbers for all other parameters.

    A random number is from the parameter's domain; without a domain it is between 0.5 and 1.

    Parameters
    ----------
    program : Program
        The cascade.
    given : mapping of str to float
        Parameters that are not drawn.
    rng : Generator
        Generator of the random parameters.
    shapes : mapping of str to int, optional
        For domains that depend on a shape.
    """
    found: dict[str, float] = dict(given)
    for parameter in program.parameters:
        size = float(rng.uniform(0.5, 1.0))
        if (domain := program.domain(parameter.name)) is not None:
            size = float(draw(domain, rng, (), shapes))
        found.setdefault(parameter.name, size if parameter.default is None else parameter.default)
    return found


def random_inputs(
    program: ir.Program, shapes: Mapping[str, int], rng: np.random.Generator
) -> dict[str, Any]:
    """Draw normal inputs, uniform inputs in domains, and whole numbers for tensors of
    coordinates.

    The standard deviation is the last rank's shape to the power -1/4. A product of two inputs
    summed over this rank then has deviation 1, and its exponential fits every number format.

    Parameters
    ----------
    program : Program
        The cascade.
    shapes : mapping of str to int
        Shapes of every rank, in elements.
    rng : Generator
        Generator of the inputs.

    Returns
    -------
    dict of str to array
        By name, the parallel ranks first: ``Q`` of shape (B, H, P, E).

    Raises
    ------
    EvaluationError
        An input would be too large to make up.
    """
    coordinates = coordinate_bounds(program, shapes)
    inputs: dict[str, Any] = {}
    for tensor in program.inputs:
        size = tuple(shapes[r] for r in (*program.parallel, *tensor.ranks))
        if prod(size) > _MOST_ELEMENTS:
            # Shapes are small, except those that a constant coordinate demands.
            raise EvaluationError(
                f"'{tensor.name}' of '{program.name}' has {prod(size)} elements, more than the"
                f" {_MOST_ELEMENTS} that are made up to run it; its equations read a coordinate"
                " far out"
            )
        if (drawn := draw_input(program, tensor, rng, shapes)) is not None:
            inputs[tensor.name] = drawn
        elif tensor.name in coordinates:
            inputs[tensor.name] = rng.integers(0, coordinates[tensor.name], size)
        else:
            last = shapes[tensor.ranks[-1]] if tensor.ranks else 1
            inputs[tensor.name] = rng.normal(scale=last**-0.25, size=size)
    return inputs
