"""Indices as linear forms, and a cascade as nodes that read and write.

This is the view the pass analysis works on. An index is a sum of rank variables, shapes
and a constant. ``m1*M0 + m0`` over all members of a partition is the family's own
variable ``m``. A gather becomes a node of its own, which *picks* elements, so that the
position it needs and the value it brings can be ready at different times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from . import ir


@dataclass(frozen=True)
class Term:
    """``coefficient * shapes * variable``; ``variable`` None makes it a constant."""

    coefficient: int
    shapes: tuple[str, ...] = ()
    variable: str | None = None


@dataclass(frozen=True)
class Form:
    """A sum of terms."""

    terms: tuple[Term, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables, each once."""
        return tuple(dict.fromkeys(t.variable for t in self.terms if t.variable))

    def coefficient(self, variable: str) -> int | None:
        """The whole-number coefficient of ``variable``; None when a shape scales it."""
        own = [t for t in self.terms if t.variable == variable]
        if any(t.shapes for t in own):
            return None
        return sum(t.coefficient for t in own)

    @cached_property
    def constant(self) -> int:
        """The whole-number part without variables and shapes."""
        return sum(t.coefficient for t in self.terms if not t.variable and not t.shapes)

    @cached_property
    def shape_terms(self) -> tuple[Term, ...]:
        """Shapes that stand alone."""
        return tuple(t for t in self.terms if not t.variable and t.shapes)

    @cached_property
    def single(self) -> str | None:
        """``v`` when the form is ``v`` plus a constant (shapes allowed), else None."""
        if len(self.variables) == 1 and self.coefficient(self.variables[0]) == 1:
            return self.variables[0]
        return None

    def minus(self, other: Form) -> Form:
        """The difference of two forms."""
        flipped = tuple(Term(-t.coefficient, t.shapes, t.variable) for t in other.terms)
        return _collected((*self.terms, *flipped))


def _collected(terms: tuple[Term, ...]) -> Form:
    sums: dict[tuple[tuple[str, ...], str | None], int] = {}
    for t in terms:
        key = (tuple(sorted(t.shapes)), t.variable)
        sums[key] = sums.get(key, 0) + t.coefficient
    return Form(tuple(Term(c, shapes, v) for (shapes, v), c in sums.items() if c))


def linear(index: ir.Affine) -> Form:
    """The form an index says."""
    return _collected(tuple(Term(t.coefficient, t.shapes, t.variable) for t in index.terms))


# ------------------------------------------------------------------ families


@dataclass(frozen=True)
class Families:
    """Which rank variables make up a family's variable."""

    members: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, program: ir.Program) -> Families:
        """The partitioned ranks of a program, by variable, outermost member first."""
        return cls(
            tuple(
                (r.variable, tuple(m.lower() for m in r.partition))
                for r in program.ranks
                if r.partition
            )
        )

    def family_of(self, variable: str) -> str | None:
        """The family variable a member belongs to."""
        return next((f for f, members in self.members if variable in members), None)

    def members_of(self, variable: str) -> tuple[str, ...]:
        """The member variables of a family variable; empty for any other variable."""
        return dict(self.members).get(variable, ())

    def fold(self, form: Form) -> Form:
        """Replace a full mixed-radix sum of members by the family's variable."""
        for family, members in self.members:
            if members and set(members) <= set(form.variables):
                rest = tuple(t for t in form.terms if t.variable not in members)
                form = _collected((*rest, Term(1, (), family)))
        return form

    def close(self, variables: tuple[str, ...]) -> tuple[str, ...]:
        """Add families all of whose members are there, and members of families there."""
        found = dict.fromkeys(variables)
        for family, members in self.members:
            if family in found or (members and set(members) <= set(found)):
                found.update(dict.fromkeys((family, *members)))
        return tuple(found)


# ------------------------------------------------------------------ nodes


@dataclass(frozen=True)
class Read:
    """One tensor read: a form per dimension."""

    tensor: str
    forms: tuple[Form, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """An Einsum, an init statement or a pick, as the pass analysis sees it.

    ``picked`` holds ``(variable, rank)`` of the positions a gather chooses.
    """

    name: str
    owner: str
    tensor: str
    target: tuple[Form, ...]
    variables: tuple[str, ...]
    reads: tuple[Read, ...]
    kind: str = "einsum"
    picked: tuple[tuple[str, str], ...] = ()


def nodes_of(program: ir.Program) -> tuple[Node, ...]:
    """Every statement of a program as nodes, init first, picks before their Einsum."""
    families = Families.of(program)
    found: list[Node] = []
    for kind, statements in (("init", program.init), ("einsum", program.einsums)):
        for position, einsum in enumerate(statements):
            found.extend(_statement(program, families, einsum, kind, position))
    return tuple(found)


def _statement(
    program: ir.Program, families: Families, einsum: ir.Einsum, kind: str, position: int
) -> list[Node]:
    picks: list[Node] = []
    reads: list[Read] = []
    inner = {i.access for a in einsum.reads for i in a.indices if isinstance(i, ir.Gather)}
    for access in einsum.reads:
        if any(isinstance(i, ir.Gather) for i in access.indices):
            name = f"{einsum.name}<{kind}{position}.{len(picks)}"
            pick = _pick(program, families, einsum, access, name)
            picks.append(pick)
            reads.append(Read(pick.tensor, pick.target))
        elif access not in inner:
            reads.append(Read(access.tensor, _forms(families, access)))
    node = Node(
        name=einsum.name if kind == "einsum" else f"{einsum.name} (init {position})",
        owner=einsum.name,
        tensor=einsum.target.tensor,
        target=_forms(families, einsum.target),
        variables=families.close(einsum.variables),
        reads=tuple(reads),
        kind=kind,
    )
    return [*picks, node]


def _pick(
    program: ir.Program, families: Families, einsum: ir.Einsum, access: ir.Access, name: str
) -> Node:
    """The node that fetches ``access``: it stands where its position tensors say."""
    forms: list[Form] = []
    reads: list[Read] = []
    picked: list[tuple[str, str]] = []
    ranks = program.tensor_ranks.get(access.tensor, ())
    for dimension, index in enumerate(access.indices):
        if isinstance(index, ir.Gather):
            variable = f"{name}@{dimension}"
            picked.append((variable, ranks[dimension] if dimension < len(ranks) else ""))
            forms.append(Form((Term(1, (), variable),)))
            reads.append(Read(index.access.tensor, _forms(families, index.access)))
        else:
            forms.append(families.fold(linear(index)))
    variables = access.variables
    return Node(
        name=name,
        owner=einsum.name,
        tensor=name,
        target=tuple(Form((Term(1, (), v),)) for v in variables),
        variables=(*families.close(variables), *(v for v, _ in picked)),
        reads=(Read(access.tensor, tuple(forms)), *reads),
        kind="pick",
        picked=tuple(picked),
    )


def _forms(families: Families, access: ir.Access) -> tuple[Form, ...]:
    """A form per index; a gather inside a gather says nothing about its position."""
    return tuple(
        families.fold(linear(i)) if isinstance(i, ir.Affine) else Form() for i in access.indices
    )
