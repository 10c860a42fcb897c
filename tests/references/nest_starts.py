"""Running values that begin with inputs: random cases, and a walk of what brings the inputs in.

Before the first step of a tile, its ``init`` runs as an Einsum would: in the loops of the one
that carries the value on, where they are over ranks of its own; ranks that no loop is over it
goes through by itself.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from nest_cases import Case, random_case
from nest_loops import Nest, WalkedLoop
from nest_walker import NestWalker

from archsim.spec.mapping import Keep
from einsum_cascade import ir


def started_case(seed: int) -> Case | None:
    """A random case whose running values begin with inputs; None if it has no such values."""
    case = random_case(seed)
    if not case.program.init:
        return None
    random = Random(seed)
    inputs: list[ir.Tensor] = []
    starts = [_start(random, case.program, s, inputs) for s in case.program.init]
    program = replace(case.program, init=tuple(starts), inputs=(*case.program.inputs, *inputs))
    first, *inner = case.architecture.memories
    keep = [
        Keep(level=memory.name, tensors=(tensor.name,))
        for tensor in inputs
        for memory in (first, *(m for m in inner if random.random() < 0.5))
    ]
    mapping = replace(case.mapping, keep=(*case.mapping.keep, *keep))
    return replace(case, program=program, mapping=mapping)


def _start(
    random: Random, program: ir.Program, statement: ir.Einsum, inputs: list[ir.Tensor]
) -> ir.Einsum:
    """A statement that reads one or two new inputs, perhaps summed over a rank of their own."""
    mine = [*statement.target.variables]
    others = [r.variable for r in program.ranks if not r.partition and not r.family]
    others = [v for v in others if v not in mine]
    extra = random.sample(others, min(len(others), random.choice((0, 0, 1))))
    accesses: list[ir.Expression] = []
    for _ in range(random.choice((1, 1, 2))):
        picked = [v for v in mine if random.random() < 0.7] + extra
        random.shuffle(picked)
        name = f"Z{len(inputs)}"
        inputs.append(ir.Tensor(name=name, ranks=tuple(v.upper() for v in picked)))
        terms = [(ir.AffineTerm(variable=v),) for v in picked]
        indices = tuple(ir.Affine(terms=t) for t in terms)
        accesses.append(ir.Access(tensor=name, indices=indices))
    expression = accesses[0]
    for other in accesses[1:]:
        expression = ir.Binary(operator="*", left=expression, right=other)
    return replace(statement, expression=expression, over=tuple(extra))


class StartWalker(NestWalker):
    """Walks statements of ``init``; nobody has left anything for them."""

    @classmethod
    def of(cls, nest: Nest) -> StartWalker:
        """One for a nest."""
        return cls(nest.program, nest.mapping, nest.architecture, nest.shapes, nest.sizes)

    def temporal(self, einsum: ir.Einsum) -> list[WalkedLoop]:
        """The carrying Einsum's loops over ranks of the statement, and over what is left."""
        loops = self._mine(einsum, super().temporal(self.program.einsum_of[einsum.name]))
        looped = {x.variable for x in (*loops, *self._mine(einsum, self._laid(einsum)))}
        alone = [
            WalkedLoop(v.upper(), v, 1, self.shapes[v.upper()], len(self.levels) - 1, False)
            for v in sorted(self._variables(einsum))
            if v not in looped
        ]
        return [*loops, *alone]

    def spatial(self, einsum: ir.Einsum) -> list[WalkedLoop]:
        """The carrying Einsum's lanes over ranks of the statement."""
        return self._mine(einsum, self._laid(einsum))

    def _laid(self, einsum: ir.Einsum) -> list[WalkedLoop]:
        carrying = self.program.einsum_of[einsum.name]
        inner = {loop.variable: loop.stride for loop in super().temporal(carrying)}
        names = [name for _, ranks in self.how(einsum).spatial for name in ranks]
        return self._sized([(name, self.registers, False) for name in names], inner)

    def _mine(self, einsum: ir.Einsum, loops: list[WalkedLoop]) -> list[WalkedLoop]:
        return [x for x in loops if x.variable in self._variables(einsum)]

    def _is_left(self, einsum: ir.Einsum, access: ir.Access, level: int) -> bool:
        return False
