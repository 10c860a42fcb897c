"""What ``nearest`` means: the innermost memory; of memories side by side, that of each array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.ir import Program

from ..spec.arch import Architecture
from ..spec.mapping import Case, EinsumMapping, Mapping, Spill
from ..spec.roles import NEAREST, memory_in_role
from .branches import Routes, touched_by


class Near:
    """The memories that tensors are in which a mapping keeps ``nearest``.

    Of a machine whose memories are in a line that is the innermost. Else a tensor is in the
    memory that feeds the array of each Einsum that touches it; what is made in one branch and read
    in another is in the innermost memory that both are inside of, too.
    """

    def __init__(self, program: Program, architecture: Architecture, mapping: Mapping) -> None:
        self.program = program
        self.architecture = architecture
        self.memories = [m.name for m in architecture.memories]
        self.branched = not architecture.tree.is_line
        self.routes = Routes(program=program, architecture=architecture, arrays={})
        self.passing = {
            (how.einsum, t)
            for how in mapping.einsums
            for level, tensors in how.bypass
            if self.is_many(level)
            for t in tensors
        }
        """Pairs of an Einsum and a tensor that it passes by what is nearest."""
        self.given: dict[str, set[int]] = {}
        """Memories that were given to a tensor, by that."""

    def is_many(self, level: str) -> bool:
        """Whether a word of a mapping stands for memories that differ from array to array."""
        return (
            self.branched
            and level == NEAREST
            and memory_in_role(self.architecture, level) is not None
        )

    def runs_on(self, arrays: dict[str, str]) -> None:
        """Say which array each Einsum is on."""
        known = {a.name for a in self.architecture.arrays}
        self.routes = replace(
            self.routes, arrays={e: array for e, array in arrays.items() if array in known}
        )

    def _levels(self, tensor: str) -> set[int]:
        if not self.branched:
            return {len(self.memories) - 1}
        users = {e for e in self.routes.arrays if (e, tensor) not in self.passing}
        # What nobody touches is for binding to refuse, by its name.
        return self.routes.nearest(tensor, users) or {len(self.memories) - 1}

    def places(
        self, tensors: Iterable[str], einsum: str | None = None
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Memories and what they keep of tensors that are nearest.

        Parameters
        ----------
        tensors : iterable of str
            What is kept.
        einsum : str or None
            Of an Einsum that passes them by: those that it would take them from.
        """
        for tensor in tensors:
            for level in sorted(self._levels(tensor)):
                if einsum is None:
                    self.given.setdefault(tensor, set()).add(level)
                elif level not in self._reach(einsum, tensor):
                    continue
                yield self.memories[level], (tensor,)

    def _reach(self, einsum: str, tensor: str) -> frozenset[int]:
        if einsum not in self.routes.arrays:
            return frozenset()
        return self.routes.reach(einsum, tensor)

    def spilling(self, spill: Spill) -> str:
        """The memory that spills.

        Raises
        ------
        SpecError
            What may spill is in several.
        """
        tensors = [t for t, _ in (*spill.copies, *spill.staged)]
        levels = {level for t in tensors for level in self._levels(t)}
        if len(levels) == 1:
            return self.memories[levels.pop()]
        names = ", ".join(self.memories[i] for i in sorted(levels))
        name = self.architecture.name
        text = f"several memories of {name} are '{NEAREST}' ({names}), and one may spill"
        raise SpecError(Problem(text, spill.span, "name it"))

    def check(self, case: Case) -> None:
        """Refuse an open choice of what is nearest where an array has several memories beside.

        Raises
        ------
        SpecError
            The choice would have to say which of them.
        """
        for keep in case.keep:
            for tensor in keep.tensors if self.is_many(keep.level) else ():
                for how, _ in self._strays(tensor, self._levels(tensor)):
                    text = (
                        f"{how} could take {tensor} from several memories of "
                        f"{self.architecture.name} that are side by side: an open choice of what "
                        f"is {NEAREST} does not say which"
                    )
                    raise SpecError(Problem(text, keep.span, "name the memory"))

    def _strays(self, tensor: str, levels: set[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
        for e in self.routes.arrays:
            einsum = self.program.einsum_of.get(e)
            if einsum is None or tensor not in touched_by(self.program, einsum):
                continue
            if (e, tensor) not in self.passing and (found := self.routes.strays(e, tensor, levels)):
                yield e, found

    def without_strays(self, mapping: Mapping) -> Mapping:
        """A mapping whose Einsums take each tensor that is nearest by one way."""
        if not self.branched:
            return mapping
        passed: dict[str, list[tuple[str, str]]] = {}
        for tensor, levels in self.given.items():
            for e, found in self._strays(tensor, levels):
                passed.setdefault(e, []).extend((self.memories[i], tensor) for i in found)
        return replace(
            mapping,
            einsums=tuple(passing(how, passed.get(how.einsum, ())) for how in mapping.einsums),
        )


def passing(how: EinsumMapping, pairs: Iterable[tuple[str, str]]) -> EinsumMapping:
    """An Einsum that passes further tensors by memories: pairs of a memory and a tensor."""
    found = {level: [*tensors] for level, tensors in how.bypass}
    for level, tensor in pairs:
        held = found.setdefault(level, [])
        held += [tensor] if tensor not in held else []
    return replace(how, bypass=tuple((level, tuple(ts)) for level, ts in found.items()))
