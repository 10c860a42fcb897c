"""Cost of a cascade, as sympy expressions in the shapes of its ranks.

Shapes are symbols named like the ranks; traffic and footprints are in elements. These counts are
independent of any machine or mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, SupportsIndex

from .. import ir
from ..algebra.conditions import Masks, with_masks
from ..analysis_report import PASS_HEADINGS, PassAnalysis, html_table, pass_rows
from ..errors import CascadeError, did_you_mean
from ..libraries import sympy
from ..memo import cached_property
from ..operations import einsum_operations
from ..passes.analysis import analyze_passes
from ..shapes import resolve_shapes
from .footprint import ExtraTraffic, RankFootprint, extra_traffic, footprints
from .point_counts import Mask, count_points
from .points import factored, points_of, rank_symbol, size_of
from .policy import MAX_EXPANDED_TERMS
from .traffic import compulsory_traffic

BUFFER = "buffer"
"""Name of the symbol for a buffer's size, in elements per coordinate of the outer ranks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumOperations:
    """Points and operations of one Einsum that its own and its inherited masks keep.

    ``at_most`` is True if data decide about some of the points; these points are all counted.
    """

    einsum: str
    points: Any
    operations: tuple[tuple[str, Any], ...]
    at_most: bool = False


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Passes, operations, traffic and footprints of a cascade.

    Attributes
    ----------
    passes : PassAnalysis
        Passes over every rank, with reasons.
    by_einsum : tuple of EinsumOperations
        Points and operations of each Einsum, over ``parallel`` ranks too; ``init`` is not counted.
    footprint : tuple of RankFootprint
        Elements to hold while a rank is traversed.
    traffic_min : expression
        Elements of each input read once and each output written once. A gathered input counts with
        the elements that are read whatever the data are.
    extra : tuple of ExtraTraffic
        Traffic added by the passes over a rank if the elements they read again are not held.
    """

    program: ir.Program
    passes: PassAnalysis
    by_einsum: tuple[EinsumOperations, ...]
    footprint: tuple[RankFootprint, ...]
    traffic_min: Any
    extra: tuple[ExtraTraffic, ...]

    @cached_property
    def operations(self) -> dict[str, Any]:
        """Number of operations of each kind, summed over all Einsums."""
        counts: dict[str, list[Any]] = {}
        for kind, number in (row for e in self.by_einsum for row in e.operations):
            counts.setdefault(kind, []).append(number)
        return {kind: factored(sympy.Add(*counts[kind])) for kind in sorted(counts)}

    @cached_property
    def total_operations(self) -> Any:
        """Number of all operations; a mac counts once, and copies do not count."""
        return sympy.Add(*(n for kind, n in self.operations.items() if kind != "copy"))

    @property
    def intensity(self) -> Any:
        """Number of operations per tensor element of the minimum traffic."""
        return factored(self.total_operations) / self.traffic_min

    def traffic(self, buffer: Any = None) -> Any:
        """Return the minimum traffic in tensor elements if a buffer holds ``buffer`` elements.

        The buffer size is per coordinate of the ranks that can be outer loops (``per`` of the
        footprint). A rank that needs more than the buffer adds the cheaper alternative of its
        ``extra`` traffic. If several ranks do, only the most expensive counts, because one second
        reading may serve all of them.

        Parameters
        ----------
        buffer : int or expression, optional
            Elements; by default the result is a Piecewise in the symbol ``buffer``.
        """
        have = sympy.Symbol(BUFFER, integer=True, nonnegative=True)
        if buffer is not None:
            have = buffer if isinstance(buffer, sympy.Basic) else _number(BUFFER, buffer)
        costs = [sympy.Piecewise((0, have >= x.needed), (x.cheapest, True)) for x in self.extra]
        if not costs:
            return self.traffic_min
        if len(costs) == 1:
            # Two cases with a total each read better than a sum that contains cases.
            added = self.traffic_min + self.extra[0].cheapest
            return sympy.Piecewise((self.traffic_min, have >= self.extra[0].needed), (added, True))
        return self.traffic_min + sympy.Max(*costs)

    def subs(self, shapes: Mapping[str, SupportsIndex]) -> Analysis:
        """Return the analysis with numbers for shapes (and parameters).

        Shapes that follow from the given ones (``M1`` from ``M`` and ``M0``) are filled in. Names
        left out stay symbols.

        Raises
        ------
        CascadeError
            A name is no rank of the cascade, a shape is no positive integer, or shapes contradict
            each other.
        """
        values = _values(self.program, shapes)

        @cache
        def put(expression: Any) -> Any:
            return evaluate_sums(_with_numbers(expression, values))

        return replace(
            self,
            by_einsum=tuple(self._counted(e, put, values) for e in self.by_einsum),
            footprint=tuple(_footprint_with(f, put) for f in self.footprint),
            traffic_min=put(self.traffic_min),
            extra=tuple(
                replace(x, needed=put(x.needed), spilled=put(x.spilled), reread=put(x.reread))
                for x in self.extra
            ),
        )

    def _counted(
        self, e: EinsumOperations, put: Any, values: Mapping[Any, Any]
    ) -> EinsumOperations:
        """Return an Einsum's operations for given numbers; count numerically where sympy fails."""
        numbers = {s.name: v for s, v in values.items()}
        # sympy takes minutes to add a sum over positions term by term.
        if e.points.has(sympy.Sum) and (known := self._at(e, numbers, put)) is not None:
            return known
        try:
            points = put(e.points)
        except ValueError:  # a mask at log(0): sympy compares no infinities without a sign
            points = None
        if points is not None and (points.free_symbols or points.is_Integer):
            return replace(e, points=points, operations=tuple((k, put(n)) for k, n in e.operations))
        return self._at(e, numbers, put) or e

    def _at(
        self, e: EinsumOperations, numbers: Mapping[str, Any], put: Any
    ) -> EinsumOperations | None:
        """Return an Einsum's operations, with points counted numerically.

        The result is None if a shape or parameter in the mask has no number. Shapes that the mask
        does not name are factors, and may stay symbols.
        """
        einsum = with_masks(self.program).einsum_of[e.einsum]
        mask = self.program.memo(Mask.of, einsum.variables, einsum.where)
        if not mask.needs <= numbers.keys():
            return None
        outer = put(size_of(self.program, [*self.program.parallel, *mask.untied]))
        # Free ranks count once here (``ones``), because ``outer`` multiplies by them.
        points = outer * count_points(self.program, einsum, {**numbers, **mask.ones})
        each = einsum_operations(self.program, einsum)
        return replace(e, points=points, operations=tuple((k, n * points) for k, n in each))

    def at(self, shapes: Mapping[str, int]) -> Analysis:
        """Return the analysis with numbers for all shapes, counted without symbols.

        ``subs`` would add up sums without closed form term by term.

        Parameters
        ----------
        shapes : mapping
            Shapes of every rank, with ``parallel`` ranks and all members. Parameters in masks take
            their defaults or usual values.

        Raises
        ------
        CascadeError
            As in ``subs``.
        MappingError
            A mask couples too many points to count them.
        """
        given: dict[str, float] = {u.name: u.size for u in self.program.usual}
        given |= {p.name: p.default for p in self.program.parameters if p.default is not None}
        found = replace(self, by_einsum=()).subs(shapes)
        numbers = given | dict(shapes)
        sizes = {rank_symbol(r): n for r, n in shapes.items()}
        counted = (
            self._at(e, numbers, lambda x: _with_numbers(x, sizes)) or e for e in self.by_einsum
        )
        return replace(found, by_einsum=tuple(counted))

    def to_dict(self) -> dict[str, Any]:
        """Return the analysis as plain values for JSON; expressions become text."""
        return {
            "cascade": self.program.name,
            "ranks": self.passes.to_dict(),
            "operations": {k: str(n) for k, n in self.operations.items()},
            "operations_by_einsum": {
                e.einsum: {k: str(n) for k, n in e.operations} for e in self.by_einsum
            },
            "at_most": [e.einsum for e in self.by_einsum if e.at_most],
            "footprint": {
                f.rank: {t.tensor: str(t.along) for t in f.tensors} for f in self.footprint
            },
            "footprint_elements": {
                f.rank: {
                    "per": list(f.per),
                    "held": {t.tensor: str(t.held) for t in f.tensors},
                    "total": str(f.total),
                    "needed_between_passes": str(f.needed),
                }
                for f in self.footprint
            },
            "traffic_unit": "elements",
            "traffic_min": str(self.traffic_min),
            "traffic": str(self.traffic()),
            "traffic_choices": {x.rank: x.choice for x in self.extra},
            "intensity": str(self.intensity),
        }

    def _repr_html_(self) -> str:
        operations = tuple((k, str(n)) for k, n in self.operations.items())
        traffic = (("minimum traffic (elements)", str(self.traffic_min)),)
        return (
            html_table(PASS_HEADINGS, pass_rows(self.passes))
            + html_table(("operation", "count"), (*operations, *traffic))
            + html_table(FOOTPRINT_HEADINGS, footprint_rows(self))
        )


FOOTPRINT_HEADINGS = ("rank", "tensor", "along the rank", "held", "why")


def footprint_rows(analysis: Analysis) -> tuple[tuple[str, ...], ...]:
    """Return a table row for each rank and tensor of which more than one element is held."""
    return tuple(
        (f.rank, t.tensor, str(t.along), str(t.held), t.reason)
        for f in analysis.footprint
        for t in f.tensors
        if t.along != 1 or t.held != 1
    )


def analyze(program: ir.Program) -> Analysis:
    """Analyse a cascade: passes, operations, traffic and footprints.

    Parameters
    ----------
    program : Program
        A verified cascade.

    Returns
    -------
    Analysis

    Raises
    ------
    CascadeError
        A declared reduction is not associative.
    """
    passes = analyze_passes(program)
    masks = Masks(program)
    return Analysis(
        program=program,
        passes=passes,
        by_einsum=tuple(_operations(program, e, masks) for e in with_masks(program).einsums),
        footprint=footprints(program, passes),
        traffic_min=factored(compulsory_traffic(program)),
        extra=extra_traffic(program, passes),
    )


def _operations(program: ir.Program, einsum: ir.Einsum, masks: Masks) -> EinsumOperations:
    points = size_of(program, program.parallel) * points_of(program, einsum)
    counts = tuple((kind, n * points) for kind, n in einsum_operations(program, einsum))
    name, may_skip = einsum.name, masks.may_skip(einsum)
    return EinsumOperations(einsum=name, points=points, operations=counts, at_most=may_skip)


def _footprint_with(footprint: RankFootprint, put: Any) -> RankFootprint:
    tensors = tuple(replace(t, along=put(t.along), held=put(t.held)) for t in footprint.tensors)
    return replace(footprint, tensors=tensors, needed=put(footprint.needed))


def evaluate_sums(expression: Any) -> Any:
    """Return an expression with its sums evaluated, if they are polynomials or short.

    Rounded or clipped symbolic summands have no closed form: sympy takes minutes to add thousands
    of terms, and the result has as many terms.

    >>> from .sums import SumOverSymbols
    >>> i, N = sympy.Symbol("i", integer=True), sympy.Symbol("N", integer=True, positive=True)
    >>> evaluate_sums(SumOverSymbols(i, (i, 0, 1000 * N)).subs(N, 4))
    8002000
    >>> evaluate_sums(SumOverSymbols(sympy.Min(i, N), (i, 0, 4095)))
    Sum(Min(N, i), (i, 0, 4095))
    """
    if not expression.has(sympy.Sum):
        return expression
    long = {s: sympy.Dummy() for s in expression.atoms(sympy.Sum) if not _is_short(s)}
    kept = {dummy: s for s, dummy in long.items()}
    return expression.xreplace(long).doit().xreplace(kept)


def _is_short(total: Any) -> bool:
    """Return whether a sum is cheap to expand: few terms, or no rounding or clipping inside."""
    sums = total.atoms(sympy.Sum)
    limits = [limit for s in sums for limit in s.limits]
    terms = sympy.Mul(*(high - low + 1 for _, low, high in limits))
    rounded = total.has(sympy.Min, sympy.Max, sympy.floor, sympy.ceiling)
    return bool(terms.is_number and terms <= MAX_EXPANDED_TERMS) or not rounded


def _with_numbers(expression: Any, values: Mapping[Any, Any]) -> Any:
    """Return an expression with numbers substituted for symbols, as ``subs`` does."""
    one = sympy.Integer(0) + expression
    plain = sympy.floor | sympy.ceiling | sympy.Min | sympy.Max
    parts = one.atoms(sympy.core.function.Application, sympy.Sum)
    if not all(isinstance(part, plain) for part in parts):
        return one.subs(values)
    # One traversal of the expression, while ``subs`` takes one per symbol.
    return one.xreplace({s: sympy.sympify(v, strict=True) for s, v in values.items()})


def _values(program: ir.Program, shapes: Mapping[str, SupportsIndex]) -> dict[Any, Any]:
    """Return a mapping from symbols to numbers, including shapes that follow from given ones."""
    parameters = {p.name for p in program.parameters}
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    given = {n: v for n, v in shapes.items() if n not in parameters and n != BUFFER}
    for name in given:
        if name not in ranks:
            text = f"cascade '{program.name}' has no rank '{name}'"
            raise CascadeError(text, hint=did_you_mean(name, (*ranks, *parameters)))
    found = {
        rank_symbol(n): sympy.Integer(v)
        for n, v in resolve_shapes(program, given, partial=True).items()
    }
    for name, value in shapes.items():
        if name in parameters:
            found[sympy.Symbol(name, real=True)] = _number(name, value)
        elif name == BUFFER:
            found[sympy.Symbol(BUFFER, integer=True, nonnegative=True)] = _number(name, value)
    return found


def _number(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CascadeError(f"{name} is a number, not {value!r}")
    return sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
