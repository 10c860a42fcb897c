"""The mapping as written: loop order, partition, binding, residency and schedule.

A mapping names ranks and array dimensions; sizes come only when it is bound to a cascade,
shapes and a machine (``archsim.lower``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Final, Literal

from einsum_cascade.source import Span

if TYPE_CHECKING:
    from .spec.overrides import Overriding

FIT: Final = "fit"
"""A tile size (or lookahead) written ``fit``: the largest that fits."""

WHOLE: Final = "whole"
"""A tile size written ``whole``: the whole rank where that fits, else one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionRef:
    """``array_2d.rows``: the size of an array's axis."""

    array: str
    dimension: str

    def __str__(self) -> str:
        return f"{self.array}.{self.dimension}"


TileSize = int | DimensionRef | Literal["fit", "whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One member of a partitioned rank and its size: ``P: {P0: array_2d.columns}``.

    The outermost member is implied: with ``P0`` and ``P1`` given, ``P2`` counts the tiles.
    """

    rank: str
    member: str
    size: TileSize
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NestLevel:
    """Temporal loops whose iterations exchange tiles with ``level``, outermost first."""

    level: str
    loops: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumMapping:
    """Where and how one Einsum runs inside the shared nest."""

    einsum: str
    array: str
    spatial: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of an array dimension and the ranks laid out along it."""
    nest: tuple[NestLevel, ...] = ()
    """The Einsum's own temporal loops, outermost first, below the shared nest. Loops
    given as a plain list belong to the innermost memory."""
    outside: tuple[str, ...] = ()
    """Shared loops this Einsum does not run in: it runs before or after all of them."""
    bypass: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of a level and the tensors that this Einsum passes by it."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTask:
    """``RD@-1`` in a phase: the Einsum, on the tile ``shift`` steps away."""

    einsum: str
    shift: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How tasks of neighbouring tiles may overlap."""

    kind: Literal["sequential", "phases", "pipelined"] = "pipelined"
    lookahead: int | Literal["fit"] = "fit"
    """Pipelined: tiles in flight on an array at once."""
    groups: tuple[tuple[PhaseTask, ...], ...] = ()
    """Phases: groups with a barrier between them. Sequential: Einsums that share loops
    and overlap; without groups each is its own."""
    exposes: tuple[str, ...] | None = None
    """Phases: Einsums whose reduction latency the next barrier waits for; None: all."""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Tensors a level (a memory, or an array's registers) holds."""

    level: str
    tensors: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A whole mapping file."""

    name: str
    cascade: str
    tiles: tuple[Tile, ...] = ()
    nest: tuple[NestLevel, ...] = ()
    einsums: tuple[EinsumMapping, ...] = ()
    keep: tuple[Keep, ...] = ()
    schedule: Schedule = Schedule()
    source: str = field(default="", compare=False)

    @classmethod
    def load(cls, name: str | PathLike[str], overrides: Overriding = ()) -> Mapping:
        """The built-in mapping of a name, or the one in a file.

        Parameters
        ----------
        name : str or path
            A built-in name; anything with a slash or ending in ``.yaml`` is a file.
        overrides : iterable of str
            Settings such as ``schedule.lookahead=3``.

        Raises
        ------
        SpecError
            There is none, or it is wrong.
        """
        from .spec.load import load_mapping

        return load_mapping(name, overrides)

    def einsum(self, name: str) -> EinsumMapping | None:
        """How Einsum ``name`` is mapped, or None."""
        return next((e for e in self.einsums if e.einsum == name), None)

    @property
    def span(self) -> Span | None:
        """Where the mapping's Einsums begin, for what is missing there."""
        return self.einsums[0].span if self.einsums else None
