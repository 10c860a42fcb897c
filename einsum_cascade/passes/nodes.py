"""Statements of a cascade as nodes that read and write tensors, for the pass analysis.

A gather becomes a node of its own, because the position it needs and the value it brings may be
ready at different times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .. import ir
from ..affine import Families, linear
from ..algebra.conditions import Masks
from ..ir import Affine, AffineTerm
from ..masks import Before, Compared, orders_of
from ..memo import cached_property


@dataclass(frozen=True)
class Read:
    """Read of a tensor, with the affine index of each dimension."""

    tensor: str
    forms: tuple[Affine, ...]

    @cached_property
    def used(self) -> frozenset[str]:
        """Variables that occur in the indices."""
        return frozenset(v for form in self.forms for v in form.variables)

    @cached_property
    def moving(self) -> tuple[tuple[int, str, int], ...]:
        """Triples of a dimension, a variable of its index, and the direction of the index, 1 or
        -1.
        """
        return tuple(
            (dimension, v, -1 if (form.coefficient(v) or 1) < 0 else 1)
            for dimension, form in enumerate(self.forms)
            for v in form.variables
        )


@dataclass(frozen=True, eq=False)
class PassNode:
    """Einsum, init statement or gather, as the pass analysis sees it.

    ``gathered`` holds a pair ``(variable, rank)`` for each position that a gather chooses.
    ``masks`` are the orders that the node's mask imposes on its variables. ``compared`` are the
    other pairs of variables that the mask relates.
    """

    name: str
    owner: str
    tensor: str
    target: tuple[Affine, ...]
    variables: tuple[str, ...]
    reads: tuple[Read, ...]
    kind: str = "einsum"
    gathered: tuple[tuple[str, str], ...] = ()
    masks: tuple[Before, ...] = ()
    compared: tuple[Compared, ...] = ()

    @cached_property
    def written(self) -> Read:
        """Tensor that the node writes, with its indices."""
        return Read(self.tensor, self.target)

    def same_as(self, variable: str) -> tuple[str, ...]:
        """Return ``variable`` and the variables that the mask makes equal to it."""
        orders = {(m.first, m.second) for m in self.masks}
        equal = (b for a, b in orders if a == variable and (b, a) in orders)
        return (variable, *sorted(equal))


def nodes_of(program: ir.Program) -> tuple[PassNode, ...]:
    """Return all statements of a program as nodes: first ``init``, gathers before their Einsum."""
    families, masks = Families.of(program), Masks(program)
    found: list[PassNode] = []
    for kind, statements in (("init", program.init), ("einsum", program.einsums)):
        for position, einsum in enumerate(statements):
            found.extend(_statement(program, families, masks, einsum, kind, position))
    return tuple(found)


def _statement(
    program: ir.Program,
    families: Families,
    masks: Masks,
    einsum: ir.Einsum,
    kind: str,
    position: int,
) -> list[PassNode]:
    gathers: list[PassNode] = []
    reads: list[Read] = []
    accesses = (*einsum.reads, einsum.target)
    inner = {i.access for a in accesses for i in a.indices if isinstance(i, ir.Gather)}
    for access in einsum.reads:
        if any(isinstance(i, ir.Gather) for i in access.indices):
            name = f"{einsum.name}<{kind}{position}.{len(gathers)}"
            gathers.append(_gather_node(program, families, einsum, access, name))
            reads.append(gathers[-1].written)
        elif access not in inner:
            reads.append(Read(access.tensor, _forms(families, access)))
    before, compared = orders_of(masks.skipped(einsum), families)
    node = PassNode(
        name=einsum.name if kind == "einsum" else f"{einsum.name} (init {position})",
        owner=einsum.name,
        tensor=einsum.target.tensor,
        target=_forms(families, einsum.target),
        variables=families.close(einsum.variables),
        reads=tuple(reads),
        kind=kind,
        masks=before,
        compared=compared,
    )
    if einsum.scattered:
        scatter = _scatter_node(program, families, einsum, f"{einsum.name}>{position}")
        written = tuple(f for i in einsum.target.indices for f in _unscattered(families, i))
        return [*gathers, replace(node, tensor=scatter.reads[0].tensor, target=written), scatter]
    return [*gathers, node]


def _unscattered(families: Families, index: ir.Index) -> tuple[Affine, ...]:
    """Return the source indices of an element, before the scatter moves it.

    A scattered index becomes the indices at which the index tensor is read.
    """
    if isinstance(index, ir.Gather):
        return _forms(families, index.access)
    return (families.fold(linear(index)),)


def _scatter_node(
    program: ir.Program, families: Families, einsum: ir.Einsum, name: str
) -> PassNode:
    """Return the node that scatters results; any element may come from any source position."""
    target: list[Affine] = []
    source: list[Affine] = []
    looked: list[Read] = []
    gathered: list[tuple[str, str]] = []
    variables: list[str] = []
    plain = {v for i in einsum.target.indices if isinstance(i, ir.Affine) for v in i.variables}
    for index in einsum.target.indices:
        if not isinstance(index, ir.Gather):
            target.append(families.fold(linear(index)))
            source.append(target[-1])
            variables += index.variables
            continue
        variables.append((program.scatters_along(index) or "").lower())
        target.append(Affine((AffineTerm(1, (), variables[-1]),)))
        forms = _forms(families, index.access)
        for form in forms:
            if not {*form.variables} <= plain and (variable := form.variables[0]):
                gathered.append((f"{name}@{len(gathered)}", program.rank_of_variable[variable]))
                form = Affine((AffineTerm(1, (), gathered[-1][0]),))
            source.append(form)
        looked.append(Read(index.access.tensor, tuple(source[len(source) - len(forms) :])))
    return PassNode(
        name=name,
        owner=einsum.name,
        tensor=einsum.name,
        target=tuple(target),
        variables=(*families.close(tuple(variables)), *(v for v, _ in gathered)),
        reads=(Read(name, tuple(source)), *looked),
        kind="gather",
        gathered=tuple(gathered),
    )


def _gather_node(
    program: ir.Program, families: Families, einsum: ir.Einsum, access: ir.Access, name: str
) -> PassNode:
    """Return the node that reads a tensor at positions given by index tensors."""
    forms: list[Affine] = []
    reads: list[Read] = []
    gathered: list[tuple[str, str]] = []
    ranks = program.tensor_ranks.get(access.tensor, ())
    for dimension, index in enumerate(access.indices):
        if isinstance(index, ir.Gather):
            variable = f"{name}@{dimension}"
            gathered.append((variable, ranks[dimension] if dimension < len(ranks) else ""))
            forms.append(Affine((AffineTerm(1, (), variable),)))
            reads.append(Read(index.access.tensor, _forms(families, index.access)))
        else:
            forms.append(families.fold(linear(index)))
    variables = access.variables
    return PassNode(
        name=name,
        owner=einsum.name,
        tensor=name,
        target=tuple(Affine((AffineTerm(1, (), v),)) for v in variables),
        variables=(*families.close(variables), *(v for v, _ in gathered)),
        reads=(Read(access.tensor, tuple(forms)), *reads),
        kind="gather",
        gathered=tuple(gathered),
    )


def _forms(families: Families, access: ir.Access) -> tuple[Affine, ...]:
    """Return one affine index per dimension; a gather inside a gather has an empty one."""
    return tuple(
        families.fold(linear(i)) if isinstance(i, ir.Affine) else Affine() for i in access.indices
    )
