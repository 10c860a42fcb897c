"""Reference execution of a cascade on numpy arrays, in the order of its dependences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from math import prod
from types import MappingProxyType
from typing import Any, Literal

from .. import ir
from ..errors import EvaluationError
from ..graphs import strongly_connected
from ..ordering import Dependence, dependences, loop_over
from .aligned import Buffer
from .dtypes import Array
from .evaluation import compute, is_contraction
from .inputs import Binding, bind, split_named
from .targets import allocate, store_result, store_scattered, tensor_shape


@dataclass(frozen=True)
class IterativeLoop:
    """Loop over an iterative rank variable, whose steps run in order for each value."""

    variable: str
    steps: tuple[Step, ...]


Step = ir.Einsum | IterativeLoop


def einsums_of(step: Step) -> tuple[ir.Einsum, ...]:
    """Return the Einsums of a step in the order in which one iteration runs them.

    The Einsums of inner loops are listed in place.
    """
    if isinstance(step, ir.Einsum):
        return (step,)
    return tuple(e for inner in step.steps for e in einsums_of(inner))


def schedule(program: ir.Program) -> tuple[Step, ...]:
    """Return the steps of a program in execution order.

    Raises
    ------
    EvaluationError
        Einsums depend on one another and no iteration orders them.
    """
    return _steps(program.einsums, dependences(program))


def _steps(einsums: tuple[ir.Einsum, ...], edges: tuple[Dependence, ...]) -> tuple[Step, ...]:
    names = [e.name for e in einsums]
    needs: dict[str, set[str]] = {n: set() for n in names}
    for edge in edges:
        if edge.reader in needs and edge.writer in needs:
            needs[edge.reader].add(edge.writer)
    group_of = {name: group for group in strongly_connected(needs) for name in group}
    sorter: TopologicalSorter[frozenset[str]] = TopologicalSorter()
    for name in names:
        others = {group_of[m] for m in needs[name]}
        sorter.add(group_of[name], *(others - {group_of[name]}))
    sorter.prepare()
    steps: list[Step] = []
    ready: list[int] = []
    while sorter.is_active():
        # Run the first Einsum (or cycle of Einsums) whose dependences are all done.
        for group in sorter.get_ready():
            heappush(ready, min(names.index(n) for n in group))
        first = names[heappop(ready)]
        members = tuple(e for e in einsums if e.name in group_of[first])
        is_loop = len(members) > 1 or first in needs[first]
        steps.append(_loop(members, edges) if is_loop else members[0])
        sorter.done(group_of[first])
    return tuple(steps)


def _loop(members: tuple[ir.Einsum, ...], edges: tuple[Dependence, ...]) -> IterativeLoop:
    group = frozenset(e.name for e in members)
    variable, rest = loop_over(group, edges)
    if variable is None:
        what = f"these Einsums depend on one another: {', '.join(sorted(group))}"
        raise EvaluationError(what, members[0].target.span)
    # Within one step the remaining edges order the Einsums; a cycle of them is an inner loop.
    return IterativeLoop(variable, _steps(members, rest))


MEMORY_LIMIT_BYTES = 4 * 2**30
"""Memory limit for the arrays of one evaluation, in bytes."""

_NONE: Mapping[str, Any] = MappingProxyType({})


def evaluate(
    program: ir.Program,
    inputs: Mapping[str, Any],
    *,
    dtype: Any = "float64",
    keep: Literal["outputs", "all"] = "outputs",
    sizes: Mapping[str, int] = _NONE,
    parameters: Mapping[str, float] = _NONE,
    **named: Any,
) -> dict[str, Array]:
    """Run a cascade on numpy arrays, and return its output arrays.

    Parameters
    ----------
    program : ir.Program
        Cascade to run.
    inputs : mapping
        One array per input: the parallel ranks first, then its own in order, such as ``Q`` of shape
        (B, H, P, E). All inputs may omit the parallel ranks.
    dtype : {"float64", "float32", "float16", "bfloat16"} or None
        Storage type of tensors, by name or as a numpy type; None takes the widest floating type
        among the inputs.
    keep : {"outputs", "all"}
        Return the outputs only, or every tensor that an Einsum writes.
    sizes : mapping
        Shapes that the inputs do not determine, such as ``{"M0": 64}``.
    parameters : mapping
        Values of the scalar parameters.
    **named
        Sizes and parameters by keyword.

    Returns
    -------
    dict
        New arrays by name, with the parallel ranks first if the inputs carry them. An iterative
        tensor has one coordinate more than its rank.

    Raises
    ------
    EvaluationError
        The inputs do not fit the cascade, a tensor is read beyond its coordinates, a result is NaN
        (``NotANumberError``), or the evaluation needs too much memory.
    """
    if keep not in ("outputs", "all"):
        raise EvaluationError(f"keep is 'outputs' or 'all', not {keep!r}")
    mappings: dict[str, Any] = {"inputs": inputs, "sizes": sizes, "parameters": parameters}
    for name, mapping in mappings.items():
        if not isinstance(mapping, Mapping):
            raise EvaluationError(f"{name} is a mapping from names, not {type(mapping).__name__}")
    given = {**sizes, **parameters, **named}
    shapes, scalars = split_named(program, given, ("dtype", "keep", "sizes", "parameters"))
    binding = bind(program, inputs, dtype, shapes, scalars)
    run = _EvaluationRun(program, binding, keep == "all")
    return run.outputs()


class _EvaluationRun:
    """Single evaluation of a program: its steps in order, and the tensors still needed."""

    def __init__(self, program: ir.Program, binding: Binding, keep_all: bool) -> None:
        self.program = program
        self.binding = binding
        self.steps = schedule(program)
        written = tuple(program.einsum_of)
        self.wanted = written if keep_all else program.outputs
        self.store = {name: Buffer(array) for name, array in binding.inputs.items()}
        self.last_use = self._last_use()

    def outputs(self) -> dict[str, Array]:
        self._check_memory()
        for at, step in enumerate(self.steps):
            for einsum in einsums_of(step):
                self._begin(einsum)
            self._execute(step, {})
            self.store = {name: b for name, b in self.store.items() if self.last_use[name] > at}
        return {name: self.store[name].values for name in self.wanted}

    def _begin(self, einsum: ir.Einsum) -> None:
        """Allocate the tensor of an Einsum and evaluate the ``init`` statements of the tensor."""
        buffer = self.store[einsum.name] = allocate(self.program, einsum, self.binding)
        for statement in self.program.init:
            if statement.name == einsum.name:
                self._evaluate(statement, buffer, {})

    def _execute(self, step: Step, fixed: Mapping[str, int]) -> None:
        if isinstance(step, IterativeLoop):
            rank = self.program.rank_of_variable[step.variable]
            for value in range(self.binding.shapes[rank]):
                for inner in step.steps:
                    self._execute(inner, {**fixed, step.variable: value})
        else:
            self._evaluate(step, self.store[step.name], fixed)

    def _evaluate(self, einsum: ir.Einsum, buffer: Buffer, fixed: Mapping[str, int]) -> None:
        mine = {v: fixed[v] for v in einsum.target.variables if v in fixed}
        result = compute(self.program, einsum, self.binding, self.store, mine)
        if einsum.scattered:
            store_scattered(self.program, einsum, self.binding, self.store, result)
        else:
            store_result(self.program, einsum, self.binding, buffer, result, mine)

    def _last_use(self) -> dict[str, int]:
        """Return the number of the last step that reads each tensor.

        Tensors to return outlive all steps.
        """
        found = dict.fromkeys((*self.store, *self.program.einsum_of), -1)
        for at, step in enumerate(self.steps):
            for einsum in einsums_of(step):
                found.update((a.tensor, at) for a in einsum.reads)
                for statement in self.program.init:
                    if statement.name == einsum.name:
                        found.update((a.tensor, at) for a in statement.reads)
        return found | dict.fromkeys(self.wanted, len(self.steps))

    def _check_memory(self) -> None:
        """Raise an error before the evaluation starts if it would need too much memory."""
        # Lifetimes of tensors as in ``outputs``, in bytes.
        alive = {name: b.values.nbytes for name, b in self.store.items()}
        worst, largest = 0, ""
        for at, step in enumerate(self.steps):
            for einsum in einsums_of(step):
                alive[einsum.name] = self._stored_bytes(einsum)
            for einsum in einsums_of(step):
                total = sum(alive.values()) + self._working_bytes(einsum)
                if total > worst:
                    worst, largest = total, einsum.name
            alive = {name: size for name, size in alive.items() if self.last_use[name] > at}
        if worst > MEMORY_LIMIT_BYTES:
            what = (
                f"evaluating '{self.program.name}' needs about {worst / 2**30:.1f} GiB of arrays "
                f"(at Einsum '{largest}'); the limit is {MEMORY_LIMIT_BYTES / 2**30:.0f} GiB"
            )
            raise EvaluationError(what, hint="use smaller shapes")

    def _stored_bytes(self, einsum: ir.Einsum) -> int:
        leading = prod(self.binding.shapes[r] for r in self.binding.parallel)
        shape = tensor_shape(self.program, einsum, self.binding.shapes)
        return leading * prod(shape) * self.binding.precision.storage.itemsize

    def _working_bytes(self, einsum: ir.Einsum) -> int:
        """Return the number of bytes that an Einsum's evaluation needs.

        A contraction needs its result, any other Einsum its whole iteration space.
        """
        contracted = is_contraction(einsum, self.binding.precision)
        names = einsum.target.variables if contracted else einsum.variables
        leading = prod(self.binding.shapes[r] for r in self.binding.parallel)
        points = prod(self.binding.shapes[self.program.rank_of_variable[v]] for v in names)
        return leading * points * self.binding.precision.working(einsum.name).itemsize
