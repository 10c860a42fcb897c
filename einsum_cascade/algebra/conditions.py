"""Masks of Einsums: points that an Einsum skips by its own condition or by its operands'.

An element removed by a condition on the kept ranks is absent, and so is everything computed from
that element: a mask on the scores reaches every Einsum below. A rewrite must keep the points of
every reduction. Points are counted on a program ``with_masks``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import ir
from ..affine import Families, affine_value, digits, linear, linear_expression
from ..ir import Affine, AffineTerm, collected
from ..masks import Opaque, conjuncts, depends_on_data, inequalities
from ..memo import Memoized, cached_property, memoized
from ..notation import expression_text
from ..operations import identity_of
from .terms import conjunction, rebuild, sources, substitute_variables, variable, variables_of


@dataclass(frozen=True)
class Masks(Memoized):
    """Conditions under which the Einsums of a program skip points."""

    program: ir.Program

    @memoized
    def _absent(self, with_ends: bool) -> dict[str, frozenset[ir.Condition]]:
        """Return the conditions under which each tensor's elements exist.

        ``with_ends`` includes the conditions that positions lie inside their ranks.
        """
        found: dict[str, frozenset[ir.Condition]] = {}
        for einsum in self.program.einsums:
            over = frozenset(einsum.over)
            every = self._at_points(einsum, found)
            own = {c for c in every if not variables_of(c) & over}
            if with_ends:
                own |= {*self._inside(frozenset(einsum.target.variables), whole=False)}
            if einsum.select is not None and len(own) < len(every):
                # If candidates are too few, a missing entry of the selection is no position.
                own.add(ir.Relational(">=", einsum.target, ir.Number(0)))
            # A step that a mask leaves out keeps the state as it was: the element is there.
            is_iterative = einsum.name in self.program.iterative
            found[einsum.name] = frozenset() if is_iterative else frozenset(own)
        return found

    def skipped(self, einsum: ir.Einsum) -> frozenset[ir.Condition]:
        """Return the conditions that must all hold for a point to take part in an Einsum."""
        return self._at_points(einsum, self._absent(False))

    def _at_points(
        self, einsum: ir.Einsum, absent: Mapping[str, frozenset[ir.Condition]]
    ) -> frozenset[ir.Condition]:
        found = set(conjuncts(einsum.where))
        for access in ir.unconditional_reads(einsum.expression):
            if access.tensor != einsum.name:
                found |= self._inherited(access, absent)
        return frozenset(found)

    def _inherited(
        self, access: ir.Access, absent: Mapping[str, frozenset[ir.Condition]]
    ) -> frozenset[ir.Condition]:
        conditions = absent.get(access.tensor, frozenset())
        source = self.program.einsum_of.get(access.tensor)
        if not conditions or source is None:
            return conditions
        values = self._values_at(source, access)
        found: set[ir.Condition] = set()
        for condition in conditions:
            rewritten = self._by_families(condition, values)
            # Arithmetic on a gathered position has no form: its variable gets a name of its own.
            sums = {v for n in ir.walk(rewritten) if _is_sum(n) for v in variables_of(n)}
            put = {
                v: variable(f"{source.name}.{v}") if v in sums and isinstance(i, ir.Gather) else i
                for v, i in values.items()
            }
            found.update(conjuncts(substitute_variables(rewritten, put)))
        return frozenset(found)

    @cached_property
    def _families(self) -> Families:
        return Families.of(self.program)

    def _values_at(self, source: ir.Einsum, access: ir.Access) -> dict[str, ir.Index]:
        """Return the index that each variable of ``source`` takes where ``access`` reads its
        tensor.

        If the tensor is written at ``m1*M0 + m0`` and read at another m, the value is that of m. A
        variable without a known value is named after its tensor, which no variable of the reader
        equals.
        """
        target = source.target
        found: dict[str, ir.Index] = {v: variable(f"{source.name}.{v}") for v in target.variables}
        for written, read in zip(target.indices, access.indices, strict=True):
            if not isinstance(written, ir.Affine):
                continue
            whole = self._families.fold(linear(written)).single
            if (name := written.as_variable) is not None:
                found[name] = read
            elif isinstance(read, ir.Affine) and linear(written) == linear(read):
                found |= {v: variable(v) for v in written.variables}
            elif whole is not None and whole not in written.variables:
                found[whole] = read
        return found

    def _by_families(self, condition: ir.Condition, values: Mapping[str, ir.Index]) -> ir.Condition:
        """Rewrite comparisons of members to the whole rank if only the rank has a value."""
        families = (self._families.members_of(f) for f, _ in self._families.members if f in values)
        members = {v for family in families for v in family}

        def change(node: ir.Node) -> ir.Node:
            if not isinstance(node, ir.Relational) or not members & variables_of(node):
                return node
            left, right = linear_expression(node.left), linear_expression(node.right)
            if left is None or right is None:
                return node
            form = self._families.fold(left.minus(right))
            return replace(node, left=affine_value(form), right=ir.Number(0))

        return rebuild(condition, change)

    def with_full_mask(self, einsum: ir.Einsum) -> ir.Einsum:
        r"""Return the Einsum with its whole mask written out, including masks of its operands.

        Inherited conditions on data, or on positions that the Einsum does not name, are left out,
        because they cannot be counted without data (``may_skip`` reports them).

        Returns
        -------
        Einsum
            The same object if its own mask already says everything.

        >>> from einsum_cascade import Cascade
        >>> head = "cascade: a\nranks: [M, P]\ninputs: {X: [M, P]}\noutput: Z\neinsums: |\n"
        >>> text = head + "  Y[m, p] = X[m, p] where m <= p\n  Z[p] = exp(Y[m, p])\n"
        >>> program = Cascade.parse(text).program
        >>> from ..notation import statement_text
        >>> statement_text(Masks(program).with_full_mask(program.einsum_of["Z"]))
        'Z[p] = exp(Y[m, p]) where m <= p'
        """
        own = conjuncts(einsum.where)
        places = frozenset(einsum.variables)
        known = (*self._inside(places, whole=True), *own)
        given = [f for c in known for f in self._forms(c)]
        added: list[ir.Condition] = []
        skipped = self.skipped(einsum)
        beyond = self._at_points(einsum, self._absent(True)) - skipped
        for condition in sorted((skipped | beyond) - {*own}, key=expression_text):
            if depends_on_data(condition) or not variables_of(condition) <= places:
                continue
            forms = self._forms(condition)
            # Only forms of positions themselves, not of multiples of them, end with a rank.
            terms = [t for form in forms for t in form.terms if t.variable is not None]
            if condition in beyond and any(t.coefficient != 1 for t in terms):
                continue
            if not is_implied_by(condition, forms) or not all(_is_implied(f, given) for f in forms):
                added.append(condition)
                given += forms
        return replace(einsum, where=conjunction(einsum.where, *added)) if added else einsum

    def _inside(self, places: frozenset[str], *, whole: bool) -> Iterator[ir.Condition]:
        """Yield the conditions that positions lie inside ranks, which may have a partial last tile.

        An Einsum that reads the position with another variable of tile length has no point beyond
        the end. ``whole`` adds the ends of ranks that ``places`` contains by their own variable.
        """
        for rank in self.program.ranks:
            end = ir.Name(rank.name, "shape")
            if rank.partition and {m.lower() for m in rank.partition} <= places:
                yield ir.Relational("<", affine_value(digits(rank.partition)), end)
            if whole and rank.variable in places:
                yield ir.Relational("<", ir.Name(rank.variable, "variable"), end)

    def _forms(self, condition: ir.Condition) -> tuple[Affine, ...]:
        """Return the affine sums that are at most zero wherever a condition holds."""
        parts = inequalities(condition)
        return tuple(self._with_model_shapes(p) for p in parts if isinstance(p, Affine))

    def _with_model_shapes(self, form: Affine) -> Affine:
        """Return a sum in which ranks that are declared alike share one shape."""
        model = self.program.model_of
        shared = ((t, tuple(map(model, t.shapes))) for t in form.terms)
        return collected(tuple(AffineTerm(t.coefficient, s, t.variable) for t, s in shared))

    def sees_every_candidate(self, einsum: ir.Einsum) -> bool:
        """Return whether some element reduces or selects over all points, none of them masked.

        Only the ends of the other ranks are tried: for ``m <= p + M - P`` the last p sees every m.
        """
        conditions = self.skipped(einsum)
        forms = [f for c in conditions for f in self._forms(c)]
        if not all(is_implied_by(c, self._forms(c)) for c in conditions):
            return False
        every = dict.fromkeys(v for f in forms for v in f.variables)
        kept = [v for v in every if v not in einsum.over]
        for ends in itertools.product((False, True), repeat=len(kept)):
            at = dict(zip(kept, ends, strict=True))
            if all(_never_positive(self._with_model_shapes(_at_ends(f, at))) for f in forms):
                return True
        return False

    def may_skip(self, einsum: ir.Einsum) -> bool:
        """Return whether data decide about points, which ``with_full_mask`` cannot express."""
        return any(depends_on_data(c) for c in self.skipped(einsum))

    def keeps_points(self, old: ir.Einsum, new: ir.Einsum) -> bool:
        """Return whether a new reduction covers exactly the points of an old one.

        Parameters
        ----------
        old, new : Einsum
            ``new`` need not belong to a program; the operands of both are looked up in this one.
        """
        return self.skipped(old) == self.skipped(new)

    def may_be_infinite(self, einsum: ir.Einsum) -> bool:
        """Return whether a running max or min can still be its identity after some steps.

        This requires a mask on the reduction or on a reduction it reads, or an infinity among the
        reduced values.
        """
        if einsum.select is not None or not math.isinf(identity_of(self.program, einsum.reduction)):
            return False
        for source in (einsum, *sources(self.program, einsum)):
            empty = identity_of(self.program, source.reduction) if source.over else 0
            if self.skipped(source) and math.isinf(empty):
                return True
        return bool(self.infinite_sources(einsum))

    def infinite_sources(self, einsum: ir.Einsum) -> frozenset[str]:
        """Return the tensors an Einsum depends on whose equation contains an infinity."""
        its = (einsum, *sources(self.program, einsum))
        nodes = [(source.name, n) for source in its for n in ir.walk(source.expression)]
        return frozenset(
            name for name, n in nodes if isinstance(n, ir.Number) and math.isinf(n.value)
        )

    def sources(self, einsum: ir.Einsum) -> frozenset[str]:
        """Return every tensor that an Einsum is computed from, and its own tensor."""
        return frozenset((einsum.name, *(s.name for s in sources(self.program, einsum))))


def _at_ends(form: Affine, last: Mapping[str, bool]) -> Affine:
    """Return a sum with each variable of ``last`` at its last value if True, at 0 if False.

    Other variables take the value that maximises the sum: the end of the rank for a positive
    coefficient, 0 for a negative one.
    """
    terms: list[AffineTerm] = []
    for t in form.terms:
        if t.variable is None:
            terms.append(t)
        elif last.get(t.variable, t.coefficient > 0):
            end = t.variable.upper()
            terms += [
                AffineTerm(t.coefficient, (*t.shapes, end)),
                AffineTerm(-t.coefficient, t.shapes),
            ]
    return collected(tuple(terms))


def _is_sum(node: ir.Node) -> bool:
    return isinstance(node, ir.Affine) and bool(node.variables) and node.as_variable is None


def is_implied_by(condition: ir.Condition, forms: Sequence[Affine | Opaque]) -> bool:
    """Return whether a condition holds wherever its affine sums are at most zero.

    Parameters
    ----------
    condition : Condition
    forms : sequence of Affine or Opaque
        Forms that are at most zero where the condition holds.
    """
    if isinstance(condition, ir.Logical) and condition.operator == "not":
        (inner,) = condition.operands
        return isinstance(inner, ir.Relational) and inner.operator != "==" and bool(forms)
    return isinstance(condition, ir.Relational) and condition.operator != "!=" and bool(forms)


def _is_implied(wanted: Affine, given: Sequence[Affine]) -> bool:
    """Return whether ``wanted <= 0`` follows by itself, or from one or two of the given sums.

    >>> less = lambda a, b: Affine((AffineTerm(1, (), a), AffineTerm(-1, (), b)))  # a <= b
    >>> _is_implied(less("m", "q"), [less("m", "p"), less("p", "q")])
    True
    >>> _is_implied(less("q", "m"), [less("m", "p"), less("p", "q")])
    False
    """
    rest = [wanted.minus(g) for g in given]
    return any(
        _never_positive(form)
        for form in (wanted, *rest, *(r.minus(g) for r in rest for g in given))
    )


def _never_positive(form: Affine) -> bool:
    """Return whether a sum is at most zero for all non-negative variables and shapes.

    The sum without terms is 0.
    """
    return all(t.coefficient < 0 for t in form.terms)


def with_masks(program: ir.Program) -> ir.Program:
    """Return the program with the whole mask of every Einsum written out.

    The result is the same object if nothing is added; repeated calls return one object.
    """
    return program.memo(_with_full_masks)


def _with_full_masks(program: ir.Program) -> ir.Program:
    masks = Masks(program)
    with_full_mask = tuple(masks.with_full_mask(e) for e in program.einsums)
    if all(a is b for a, b in zip(with_full_mask, program.einsums, strict=True)):
        return program
    return replace(program, einsums=with_full_mask)
