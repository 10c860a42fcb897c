"""Mapping problem: a cascade with its shapes, and the machine to map it to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import prod

from einsum_cascade.ir import Program
from einsum_cascade.memo import Memoized

from ..spec.arch import Architecture, Memory
from ..spec.tensor_words import words_of


@dataclass(frozen=True)
class Cores:
    """Cores of a machine that has a single kind of cores, with the memory that feeds them."""

    memory: Memory
    name: str
    number: int


@dataclass(frozen=True, eq=False)
class MappingProblem(Memoized):
    """Mapping problem: a cascade, its shapes, and the machine that runs it."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    """Sizes of ranks in elements, and values of parameters."""

    @property
    def cores(self) -> Cores | None:
        """Cores of the machine; None if the machine has no cores, or several kinds of cores."""
        found = [Cores(m, name, n) for m in self.architecture.memories for name, n in m.instances]
        return found[0] if len(found) == 1 else None

    @property
    def unlinked_cores(self) -> Cores | None:
        """Cores of the machine; None also if the cores form a ring."""
        found = self.cores
        return None if found is None or found.memory.ring else found

    def extent(self, rank: str) -> int:
        """Return the size of a rank; for a tile of a rank, the size of the whole rank."""
        return self.shapes.get(self.program.whole_rank(rank), 1)

    def elements(self, ranks: Iterable[str]) -> int:
        """Return the number of points that some ranks span together with the parallel ranks.

        Tiles of a rank count as that rank, except those of given sizes.
        """
        wanted = {*self.program.parallel, *ranks}
        wholes = {self.program.whole_rank(rank) for rank in wanted}
        return prod(self._spanned(whole, wanted) for whole in wholes)

    def _spanned(self, whole: str, wanted: Collection[str]) -> int:
        """Return the number of coordinates of a rank that some of its tiles span together."""
        sizes, extent = self.shapes, self.extent(whole)
        members = self.program.rank_of[whole].partition if whole in self.program.rank_of else ()
        mine = [m for m in members if m in wanted]
        if whole in wanted or not mine:
            return extent
        if all(m in sizes for m in mine):
            return prod(sizes[m] for m in mine)
        return -(-extent // prod(sizes[m] for m in members if m in sizes and m not in mine))

    def tensor_bytes(self, tensor: str, elements: int) -> float:
        """Return the bytes that a number of elements of a tensor takes."""
        words = self.program.memo(words_of, self.architecture.word_bits).of(tensor)
        return float(elements * words * self.architecture.word_bytes)
