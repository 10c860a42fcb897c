"""Iteration spaces whose masks are conjunctions of affine inequalities, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import ir
from ..affine import Families, digits
from ..ir import Affine, AffineTerm
from ..masks import conjuncts, depends_on_data, inequalities

Row = tuple[tuple[tuple[str, int], ...], int]
"""Inequality: a sum of coefficients times variables, plus a constant, is at most zero."""

_ONE = Affine((AffineTerm(1),))


@dataclass(frozen=True)
class AffineSpace:
    """Points of the variables from 0 to their sizes that satisfy all rows."""

    sizes: Mapping[str, int]
    rows: tuple[Row, ...]

    @classmethod
    def of(
        cls, program: ir.Program, einsum: ir.Einsum, numbers: Mapping[str, float]
    ) -> AffineSpace | None:
        """Return the iteration space of an Einsum; None if its mask has another form.

        A partitioned rank is one variable if the mask names none of its members alone.

        Parameters
        ----------
        program : Program
        einsum : Einsum
            Einsum with its inherited masks written out.
        numbers : mapping
            Shapes of all ranks, and values of the parameters in the mask.
        """
        values = {name: n for name, n in numbers.items() if isinstance(n, int)}
        given = {p.name: values[p.name] for p in program.parameters if p.name in values}
        forms = _forms(einsum.where, given)
        if forms is None:
            return None
        families, names = Families.of(program), list(einsum.variables)
        forms = [families.fold(f) for f in forms]
        for family, members in families.members:
            if members and set(members) <= set(names):
                names = [n for n in names if n not in members and n != family]
                if any(not set(members).isdisjoint(f.variables) for f in forms):
                    place = digits(tuple(m.upper() for m in members))
                    end = place.minus(Affine((AffineTerm(1, (family.upper(),)),)))
                    forms = [_unfolded(f, family, place) for f in forms]
                    forms.append(end.plus(_ONE))
                    names += members
                else:
                    names.append(family)
        needed = {s for f in forms for t in f.terms for s in t.shapes}
        needed |= {n.upper() for n in names}
        if not needed <= values.keys() or any(not {*f.variables} <= {*names} for f in forms):
            return None
        rows = tuple(_row(f, values) for f in forms)
        return cls({n: values[n.upper()] for n in names}, rows)

    def reach(self, row: Row) -> tuple[int, int]:
        """Return the smallest and the largest value of a row's sum over the whole space."""
        terms, constant = row
        ends = [c * (self.sizes[v] - 1) for v, c in terms]
        return constant + sum(min(e, 0) for e in ends), constant + sum(max(e, 0) for e in ends)


def _forms(where: ir.Condition | None, given: Mapping[str, int]) -> list[Affine] | None:
    """Return sums that are at most zero exactly where a mask holds; None for masks of other forms.

    Conditions on data count as if they always held.
    """
    forms: list[Affine] = []
    for condition in conjuncts(where):
        if depends_on_data(condition):
            continue
        # Inequalities that follow from ``!=`` or a negation may say less.
        if not isinstance(condition, ir.Relational) or condition.operator == "!=":
            return None
        for form in inequalities(condition, given):
            if not isinstance(form, Affine):
                return None
            forms.append(form)
    return forms


def _unfolded(form: Affine, family: str, place: Affine) -> Affine:
    """Return a sum with the position of all members in place of a rank's variable."""
    for t in [t for t in form.terms if t.variable == family]:
        whole = Affine((AffineTerm(t.coefficient, t.shapes),)).times(place)
        assert whole is not None, "a constant multiplies any sum"
        form = form.minus(Affine((t,))).plus(whole)
    return form


def _row(form: Affine, values: Mapping[str, int]) -> Row:
    """Return a sum with numbers for shapes."""
    weights = form.weights(values)
    constant = weights.pop("", 0)
    return tuple((v, c) for v, c in weights.items() if c), constant
