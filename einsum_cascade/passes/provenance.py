"""Which fibers an Einsum traverses: the tensors it reads, and what those were computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..affine import Families, Form
from ..facts import cached_property
from .nodes import PassNode, Read

Place = tuple[str, int]
"""A tensor and one of its dimensions: the fibers along it."""


Steps = Iterator["Steps"]
"""A traversal that hands out the deeper ones, so that its depth is not Python's."""


def _run(steps: Steps) -> None:
    """Run a traversal, and what it hands out, depth first."""
    stack = [steps]
    while stack:
        deeper = next(stack[-1], None)
        if deeper is None:
            stack.pop()
        else:
            stack.append(deeper)


@dataclass(frozen=True, eq=False)
class Provenance:
    """Follows tensors back, element by element, to the inputs."""

    nodes: tuple[PassNode, ...]
    families: Families

    @cached_property
    def _known(self) -> dict[tuple[str, str], dict[Place, int]]:
        return {}

    @cached_property
    def _writers(self) -> dict[str, tuple[PassNode, ...]]:
        found: dict[str, tuple[PassNode, ...]] = {}
        for node in self.nodes:
            found[node.tensor] = (*found.get(node.tensor, ()), node)
        return found

    def of(self, node: PassNode, variable: str) -> dict[Place, int]:
        """The fibers that ``node`` traverses along ``variable``, each with its direction.

        Holds the tensors it reads or writes at this coordinate and, through intermediate
        tensors, those these were computed from element by element.
        """
        key = (node.name, variable)
        if key not in self._known:
            found: dict[Place, int] = {}
            _run(self._collect(node, variable, 1, found, set()))
            self._known[key] = found
        return self._known[key]

    def places_of(self, node: PassNode, tensor: str, variable: str) -> frozenset[Place]:
        """The fibers of ``of`` that belong to one tensor ``node`` reads."""
        found: dict[Place, int] = {}
        for read in node.reads:
            if read.tensor == tensor:
                _run(self._follow(read, variable, 1, found, set()))
        return frozenset(found)

    def own_tensors(self, node: PassNode, variable: str) -> tuple[tuple[str, bool], ...]:
        """Tensors the node itself traverses along ``variable``, and whether it writes them."""
        found = []
        if node.kind != "pick" and any(True for _ in self._along(node.written, variable)):
            found.append((node.tensor, True))
        for read in node.reads:
            if any(True for _ in self._along(read, variable)):
                found.append((read.tensor, False))
        return tuple(dict.fromkeys(found))

    def _collect(
        self,
        node: PassNode,
        variable: str,
        sign: int,
        found: dict[Place, int],
        seen: set[tuple[str, str]],
    ) -> Steps:
        if (node.name, variable) in seen:
            return
        seen.add((node.name, variable))
        for v in node.same_as(variable):
            if node.kind != "pick":
                for dimension, s in self._along(node.written, v):
                    # The first way that reaches a place says its direction: -1 where it is read
                    # backwards.
                    found.setdefault((node.tensor, dimension), sign * s)
            for read in node.reads:
                yield self._follow(read, v, sign, found, seen)

    def _follow(
        self,
        read: Read,
        variable: str,
        sign: int,
        found: dict[Place, int],
        seen: set[tuple[str, str]],
    ) -> Steps:
        for dimension, s in self._along(read, variable):
            found.setdefault((read.tensor, dimension), sign * s)
            for writer in self._writers.get(read.tensor, ()):
                if dimension < len(writer.target):
                    v = self._inside(writer.target[dimension], variable)
                    if v is not None:
                        yield self._collect(writer, v, sign * s, found, seen)

    def _along(self, read: Read, variable: str) -> Iterator[tuple[int, int]]:
        """Dimensions of ``read`` that move with ``variable``, and in which direction."""
        members = self.families.members_of(variable)
        used = read.used
        # A tensor with some members alone (``LM[m1, p]``) has an element per tile, not per element
        # of the family: traversing it is no pass over the family's fibers.
        whole = not members or variable in used or set(members) <= used
        names = {variable, self.families.family_of(variable), *(members if whole else ())}
        if used.isdisjoint(names):
            return
        for dimension, v, sign in read.moving:
            if v in names:
                yield dimension, sign

    def _inside(self, form: Form, variable: str) -> str | None:
        """The writer's variable at a dimension; a family's own grain is kept."""
        if not form.variables:
            return None
        v = form.single or form.variables[0]
        if variable in self.families.members_of(v) or v in self.families.members_of(variable):
            return variable
        return v
