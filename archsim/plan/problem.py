"""Mapping problem: one part of a workload, computed by one cascade on one machine."""

from __future__ import annotations

from dataclasses import dataclass

from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from einsum_cascade.shapes import complete_shapes

from ..spec.arch import Architecture
from .partition_factors import Partitioning
from .partitioning import replicating_partitionings, usual_partitionings
from .programs import program_of
from .workload import PartLike


@dataclass(frozen=True)
class MappingProblem:
    """Part of a workload, a cascade that computes it, and the machine that runs it.

    Each property is computed on first use, and raises SpecError if the cascade does not exist
    or shapes are missing.
    """

    part: PartLike
    architecture: Architecture
    cascade: str
    """Name or file of the cascade; mappings of the problem refer to it by this name."""

    @cached_property
    def program(self) -> Program:
        """Cascade, with the number formats of the part."""
        return program_of(self.part, self.architecture, self.cascade)

    @cached_property
    def shapes(self) -> dict[str, int]:
        """Sizes of ranks in elements and values of parameters: those given and the usual ones."""
        shapes, _ = complete_shapes(self.program, self.part.shapes_for(self.program.settable))
        return shapes

    @cached_property
    def partitionings(self) -> tuple[Partitioning, ...]:
        """Usual partitionings over the cores; one empty partitioning on a single core."""
        if not self.architecture.has_instances:
            return ((),)
        return usual_partitionings(self.program, self.architecture, self.shapes)

    @cached_property
    def replicating_partitionings(self) -> tuple[Partitioning, ...]:
        """Partitionings in which every core repeats some Einsums; none on a single core."""
        if not self.architecture.has_instances:
            return ()
        return replicating_partitionings(self.program, self.architecture, self.shapes)

    def computed_by(self, cascade: str) -> MappingProblem:
        """Return the problem with another cascade that computes the same part."""
        if cascade == self.cascade:
            return self
        return MappingProblem(self.part, self.architecture, cascade)
