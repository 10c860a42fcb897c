"""Intermediate representation of a cascade: frozen, hashable nodes with spans.

Two nodes are equal if they mean the same; their spans are not compared. Shapes are in elements.
Upper-case names are ranks and their shapes, lower-case names are rank variables.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from .memo import Memoized, cached_property
from .number_formats import TensorFormats
from .source import Span

DTYPES: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
"""Names of the number types in which a tensor may be accumulated."""


RANK_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
"""Pattern of a rank's name."""

TENSOR_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")
"""Pattern of a tensor's name."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Base class of all nodes, which represent text of a cascade file."""

    span: Span | None = field(default=None, compare=False, repr=False)


# ------------------------------------------------------------------ index expressions


@dataclass(frozen=True)
class AffineTerm(Node):
    """Product ``coefficient * shapes... * variable``; without a variable it is constant.

    ``m1*M0`` is ``AffineTerm(coefficient=1, shapes=("M0",), variable="m1")``.
    """

    coefficient: int = 1
    shapes: tuple[str, ...] = ()
    variable: str | None = None

    def factor(self, sizes: Mapping[str, int]) -> int:
        """Return the coefficient times the sizes of the shapes, as a number."""
        return self.coefficient * prod(sizes[s] for s in self.shapes)


@dataclass(frozen=True)
class Affine(Node):
    """Sum of affine terms, used as an index or as a side of a comparison; no terms mean zero."""

    terms: tuple[AffineTerm, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of the sum in order of appearance, each once."""
        return tuple(dict.fromkeys(t.variable for t in self.terms if t.variable))

    @property
    def as_variable(self) -> str | None:
        """Variable ``v`` if the index is exactly ``v``, else None."""
        if len(self.terms) == 1:
            t = self.terms[0]
            if t.variable and t.coefficient == 1 and not t.shapes:
                return t.variable
        return None

    @cached_property
    def offset(self) -> int | None:
        """Offset ``c`` if the index is exactly ``v + c`` (one variable, integer c), else None."""
        scaled = any(t.shapes for t in self.terms)
        variables = [t for t in self.terms if t.variable]
        if scaled or len(variables) != 1 or variables[0].coefficient != 1:
            return None
        return self.constant

    def coefficient(self, variable: str) -> int | None:
        """Return the integer coefficient of ``variable``, or None if a shape scales the
        variable."""
        own = [t for t in self.terms if t.variable == variable]
        if any(t.shapes for t in own):
            return None
        return sum(t.coefficient for t in own)

    @cached_property
    def constant(self) -> int:
        """Sum of the integer terms, those with neither a variable nor a shape."""
        return sum(t.coefficient for t in self.terms if not t.variable and not t.shapes)

    @cached_property
    def shape_terms(self) -> tuple[AffineTerm, ...]:
        """Terms that have shapes but no variable."""
        return tuple(t for t in self.terms if not t.variable and t.shapes)

    @cached_property
    def single(self) -> str | None:
        """Variable ``v`` if the sum is ``v`` plus a constant (shapes allowed), else None."""
        if len(self.variables) == 1 and self.coefficient(self.variables[0]) == 1:
            return self.variables[0]
        return None

    def weights(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the factor of each variable as a number; the key ``""`` holds the constant."""
        found: dict[str, int] = {}
        for t in self.terms:
            found[t.variable or ""] = found.get(t.variable or "", 0) + t.factor(sizes)
        return found

    def plus(self, other: Affine) -> Affine:
        """Return the sum of two affine sums."""
        return collected((*self.terms, *other.terms))

    def minus(self, other: Affine) -> Affine:
        """Return the difference of two affine sums."""
        flipped = tuple(AffineTerm(-t.coefficient, t.shapes, t.variable) for t in other.terms)
        return collected((*self.terms, *flipped))

    def times(self, other: Affine) -> Affine | None:
        """Return the product of two sums, or None if the product is not linear in the variables.

        A shape times a variable is still linear (``M0 * m1``); ``m * p`` is not.
        """
        if self.variables and other.variables:
            return None
        return collected(
            AffineTerm(a.coefficient * b.coefficient, a.shapes + b.shapes, a.variable or b.variable)
            for a, b in itertools.product(self.terms, other.terms)
        )


def collected(terms: Iterable[AffineTerm]) -> Affine:
    """Return the sum of terms with like terms added up.

    Every variable and shape occurs once, in order of appearance.

    Returns
    -------
    Affine
        The normal form, without spans: ``M0*M1`` and ``M1*M0`` are one term, and no coefficient
        is zero, so that equal sums in the same order compare equal.
    """
    sums: dict[tuple[tuple[str, ...], str | None], int] = {}
    for t in terms:
        # Sorted, so that M0*M1 and M1*M0 are one key; a sum that comes to 0 falls out below.
        key = (tuple(sorted(t.shapes)), t.variable)
        sums[key] = sums.get(key, 0) + t.coefficient
    return Affine(tuple(AffineTerm(c, shapes, v) for (shapes, v), c in sums.items() if c))


@dataclass(frozen=True)
class Gather(Node):
    """Index that an integer tensor's element gives, scaled and shifted: ``K[I[j]*T + t]``."""

    access: Access
    coefficient: int = 1
    shapes: tuple[str, ...] = ()
    offset: Affine = Affine()

    def factor(self, sizes: Mapping[str, int]) -> int:
        """Return the coefficient times the sizes of the shapes, as a number."""
        return self.coefficient * prod(sizes[s] for s in self.shapes)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of the gathered access, then of the offset."""
        return tuple(dict.fromkeys((*self.access.variables, *self.offset.variables)))

    @property
    def plain(self) -> bool:
        """True if the index is the gathered element itself, without arithmetic."""
        return self.coefficient == 1 and not self.shapes and not self.offset.terms


Index = Affine | Gather

# ------------------------------------------------------------------ value expressions


@dataclass(frozen=True)
class Number(Node):
    """Literal number; integers stay integers, and infinity is written ``inf``."""

    value: int | float


@dataclass(frozen=True)
class Name(Node):
    """Bare name used as a number: a rank variable, a shape or a scalar parameter.

    In the body of a user function or reduction, kind ``argument`` is one of its arguments.
    """

    name: str
    kind: Literal["variable", "shape", "parameter", "argument"]


@dataclass(frozen=True)
class Access(Node):
    """Read or write of a tensor, ``tensor[indices]``; a tensor of rank zero has no indices."""

    tensor: str
    indices: tuple[Index, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of the indices in order of appearance, each once."""
        return tuple(dict.fromkeys(v for i in self.indices for v in i.variables))


@dataclass(frozen=True)
class Unary(Node):
    """Negation of an expression."""

    operator: Literal["-"]
    operand: Expression


@dataclass(frozen=True)
class Binary(Node):
    """Arithmetic operation ``left operator right``."""

    operator: Literal["+", "-", "*", "/", "**"]
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Call(Node):
    """Call of a built-in or user function; ``where(c, a, b)`` takes a condition first."""

    function: str
    arguments: tuple[Expression | Condition, ...]


Expression = Number | Name | Access | Unary | Binary | Call


@dataclass(frozen=True)
class Relational(Node):
    """Comparison ``left operator right`` in a condition."""

    operator: Literal["<", "<=", ">", ">=", "==", "!="]
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Logical(Node):
    """Conjunction or disjunction of conditions, or negation of one condition."""

    operator: Literal["and", "or", "not"]
    operands: tuple[Condition, ...]


Condition = Relational | Logical

# ------------------------------------------------------------------ statements


@dataclass(frozen=True)
class Einsum(Node):
    """Extended Einsum ``target = expression :: reduction[over] where condition``.

    ``over`` holds the reduced rank variables in order of appearance on the right. ``reduction`` is
    ``+`` unless the file says otherwise, also if nothing is reduced. A selection ``I[j,p] <<
    topk(S[m,p], j)`` has ``select`` set to ``topk``, the access to select from as its expression,
    and the rank variables to select over in ``over``.
    """

    target: Access
    expression: Expression
    reduction: str = "+"
    over: tuple[str, ...] = ()
    where: Condition | None = None
    select: str | None = None

    @property
    def name(self) -> str:
        """Name of the tensor that the Einsum writes."""
        return self.target.tensor

    @property
    def roots(self) -> tuple[Node, ...]:
        """Target, expression and condition, if there is one."""
        return tuple(n for n in (self.target, self.expression, self.where) if n is not None)

    @cached_property
    def reads(self) -> tuple[Access, ...]:
        """Accesses that the Einsum reads, in order, each once.

        They stand in the expression, in ``where``, and inside indices of the target. A gathered
        index tensor follows the access that uses it.
        """
        return tuple(dict.fromkeys(accesses_of(self.expression, self.where, *self.target.indices)))

    @cached_property
    def scattered(self) -> tuple[Gather, ...]:
        """Indices of the target that elements of an integer tensor give: ``C[I[j], e] = ...``."""
        return tuple(i for i in self.target.indices if isinstance(i, Gather))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables of the iteration space, those of the target first."""
        written = (*self.target.variables, *variables_of(self.expression, self.where), *self.over)
        return tuple(dict.fromkeys(written))

    @cached_property
    def repeated(self) -> str | None:
        """Variable of a sum that an added term lacks: the term is added once per coordinate.

        None if every term has every variable of the sum: ``S[p] = A[p, e] + C[p]`` repeats ``C``.
        """
        variables = self.over if self.reduction == "+" else ()
        return next((v for v in variables if not every_term_has(self.expression, v)), None)


@dataclass(frozen=True, kw_only=True)
class Rank(Node):
    """Declared rank; ``partition`` names its members, outermost first: ``(M1, M0)``.

    Members are ranks too and name the partitioned rank in ``family``. ``like`` names a rank of
    equal shape, member by member if both are partitioned (the queries and keys of self-attention).
    ``shape`` is set if the rank can have only one shape (the three taps of a filter).
    """

    name: str
    meaning: str = ""
    partition: tuple[str, ...] = ()
    family: str | None = None
    like: str | None = None
    shape: int | None = None

    @property
    def variable(self) -> str:
        """Variable of the rank: its name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Tensor(Node):
    """Declared input: its ranks in order, without the ``parallel`` ranks of the cascade."""

    name: str
    ranks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Parameter(Node):
    """Scalar parameter that the user passes by keyword; it is required if ``default`` is None."""

    name: str
    default: float | None = None


@dataclass(frozen=True, kw_only=True)
class Domain(Node):
    """Interval ``low`` to ``high`` of the values of an input or a parameter.

    Random values are drawn from the interval. If ``whole``, all values must be integers (flags,
    labels). If there is a ``rank``, its shape is added to ``high``.
    """

    name: str
    low: float
    high: float
    whole: bool = False
    rank: str = ""


@dataclass(frozen=True, kw_only=True)
class UserFunction(Node):
    """Scalar function declared in the file: ``name(arguments) = body``."""

    name: str
    arguments: tuple[str, ...]
    body: Expression


@dataclass(frozen=True, kw_only=True)
class UserReduction(Node):
    """Associative operator declared in the file, with its identity element."""

    name: str
    arguments: tuple[str, str]
    body: Expression
    identity: int | float


@dataclass(frozen=True, kw_only=True)
class Usual(Node):
    """Usual size of a rank or parameter, used if the user gives none."""

    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Program(Node, Memoized):
    """Whole cascade as its file states it; the public class ``Cascade`` wraps it.

    Every tensor carries the ``parallel`` ranks, which equations omit. ``init`` holds statements
    that set coordinate 0 of iterative tensors. A tensor is iterative along rank variable ``v`` if
    an Einsum writes it at ``v + 1``; its extent there is the shape of the rank plus one.

    ``reference`` names the independent function that the cascade is checked against. ``unverified``
    says what has not been compared with the publication. ``distinct`` lists inputs with the ranks
    along which their entries differ. ``formats`` are the number formats of the tensors, if the user
    states any.
    """

    name: str
    title: str = ""
    origin: str = ""
    unverified: str = ""
    parallel: tuple[str, ...] = ()
    ranks: tuple[Rank, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    domains: tuple[Domain, ...] = ()
    distinct: tuple[Tensor, ...] = ()
    usual: tuple[Usual, ...] = ()
    functions: tuple[UserFunction, ...] = ()
    reductions: tuple[UserReduction, ...] = ()
    init: tuple[Einsum, ...] = ()
    einsums: tuple[Einsum, ...] = ()
    accumulate: tuple[tuple[str, str], ...] = ()
    reference: str = ""
    formats: TensorFormats = field(default=TensorFormats())
    places: tuple[tuple[str, str, Span], ...] = field(default=(), compare=False, repr=False)

    def place(self, key: str, name: str) -> Span | None:
        """Return the span of a name that is listed under a key of the file (``output``, ...).

        The result is None if the key does not list the name, or if the program was not parsed.
        """
        found = (span for at, written, span in self.places if (at, written) == (key, name))
        return next(found, None)

    @cached_property
    def rank_of(self) -> dict[str, Rank]:
        """Ranks by their name."""
        return {r.name: r for r in self.ranks}

    @cached_property
    def rank_of_variable(self) -> dict[str, str]:
        """Names of ranks by their rank variable."""
        return {r.variable: r.name for r in self.ranks}

    def domain(self, name: str) -> Domain | None:
        """Return the domain of an input or a parameter, or None if it has no domain."""
        return next((d for d in self.domains if d.name == name), None)

    def share_shape(self, one: str, other: str) -> bool:
        """Return whether two different ranks are declared to have one shape (see ``Rank.like``)."""
        return one != other and self.model_of(one) == self.model_of(other)

    def model_of(self, name: str) -> str:
        """Return the rank whose shape a rank takes by ``like`` declarations, or the rank itself."""
        seen: list[str] = []
        while name not in seen:
            seen.append(name)
            name = self._models.get(name, name)
        return name

    @cached_property
    def _models(self) -> dict[str, str]:
        """Rank whose shape each rank declared ``like`` another takes; members pair in order."""
        found: dict[str, str] = {}
        for rank in self.ranks:
            if rank.like in self.rank_of:
                model = self.rank_of[rank.like]
                found[rank.name] = model.name
                found |= dict(zip(rank.partition, model.partition, strict=False))
        return found

    @property
    def settable(self) -> tuple[str, ...]:
        """Names that accept a number: all ranks, ``parallel`` ones first, then parameters."""
        ranks = (*self.parallel, *(r.name for r in self.ranks))
        return (*ranks, *(p.name for p in self.parameters))

    @property
    def statements(self) -> tuple[Einsum, ...]:
        """Statements of ``init``, then the Einsums."""
        return (*self.init, *self.einsums)

    def gathers(self) -> Iterator[tuple[str, Gather]]:
        """Yield the gathered indices of all reads, each after the rank that it addresses."""
        for access in (a for e in self.statements for a in e.reads):
            ranks = self.tensor_ranks[access.tensor]
            for rank, index in zip(ranks, access.indices, strict=True):
                if isinstance(index, Gather):
                    yield rank, index

    @cached_property
    def einsum_of(self) -> dict[str, Einsum]:
        """Einsums (without init statements) by the tensor they write."""
        return {e.name: e for e in self.einsums}

    @cached_property
    def parallel_variables(self) -> tuple[str, ...]:
        """Rank variables of the ``parallel`` ranks, which index every tensor."""
        return tuple(rank.lower() for rank in self.parallel)

    def family_of(self, rank: str) -> str | None:
        """Return the rank that a rank is a member of, or None."""
        declared = self.rank_of.get(rank)
        return None if declared is None else declared.family

    def whole_rank(self, rank: str) -> str:
        """Return the rank that a rank is a member of, or the rank itself."""
        return self.family_of(rank) or rank

    @cached_property
    def tensor_ranks(self) -> dict[str, tuple[str, ...]]:
        """Names of the ranks of every tensor in index order, without the ``parallel`` ranks.

        An index ``m1 + 1`` on the left gives rank ``M1``, along which the tensor is iterative. An
        index with all members of a rank (``m1*M0 + m0``) gives the whole rank ``M``.
        """
        found = {t.name: t.ranks for t in self.inputs}
        for e in self.einsums:
            found.setdefault(e.name, tuple(self._rank_of_index(i) for i in e.target.indices))
        return found

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors: inputs, then tensors that Einsums write."""
        return tuple(self.tensor_ranks)

    def _rank_of_index(self, index: Index) -> str:
        if isinstance(index, Gather):
            return self.scatters_along(index) or "?"
        names = [self.rank_of_variable.get(v, v.upper()) for v in index.variables]
        if len(names) == 1:
            return names[0]
        families = {self.rank_of[n].family for n in names if n in self.rank_of}
        if len(families) == 1 and (family := next(iter(families))):
            return family
        return "*".join(names)

    def scatters_along(self, index: Gather) -> str | None:
        """Return the rank that a scattered index addresses.

        It is the rank that a selection selects from, or ``N`` of the domain ``0..N-1``.
        """
        selection, domain = (
            self.einsum_of.get(index.access.tensor),
            self.domain(index.access.tensor),
        )
        if selection is not None and selection.select is not None and selection.over:
            return self.rank_of_variable.get(selection.over[0])
        counted = domain is not None and domain.rank and (domain.low, domain.high) == (0, -1)
        return domain.rank if domain is not None and counted else None

    @cached_property
    def iterative(self) -> dict[str, tuple[str, ...]]:
        """Names of the ranks along which each iterative tensor is written at ``v + 1``."""
        found: dict[str, tuple[str, ...]] = {}
        for e in self.einsums:
            ranks = tuple(
                self.rank_of_variable[i.variables[0]]
                for i in e.target.indices
                if isinstance(i, Affine)
                and i.offset == 1
                and i.variables[0] in self.rank_of_variable
            )
            if ranks:
                found[e.name] = ranks
        return found


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct children of a node in written order.

    Numbers, names and affine indices have no children.
    """
    match node:
        case Access(indices=indices):
            return indices
        case Gather(access=access, offset=offset):
            return (access, offset) if offset.terms else (access,)
        case Unary(operand=operand):
            return (operand,)
        case Binary(left=left, right=right) | Relational(left=left, right=right):
            return (left, right)
        case Call(arguments=arguments):
            return arguments
        case Logical(operands=operands):
            return operands
        case _:
            return ()


def walk(node: Node) -> tuple[Node, ...]:
    """Return the node and all its descendants depth first, including indices and gathers."""
    found: list[Node] = []
    stack = [node]
    while stack:
        top = stack.pop()
        found.append(top)
        stack.extend(reversed(children(top)))
    return tuple(found)


def variables_of(*nodes: Node | None) -> tuple[str, ...]:
    """Return the rank variables below the nodes, in order, each once."""
    found: dict[str, None] = {}
    for node in (n for root in nodes if root is not None for n in walk(root)):
        if isinstance(node, Affine):
            found.update(dict.fromkeys(node.variables))
        elif isinstance(node, Name) and node.kind == "variable":
            found[node.name] = None
    return tuple(found)


def every_term_has(node: Node, variable: str) -> bool:
    """Return whether every term has a variable when products are multiplied out.

    A call or a power is one term.
    """
    match node:
        case Unary(operand=operand):
            return every_term_has(operand, variable)
        case Binary(operator="+" | "-", left=left, right=right):
            return every_term_has(left, variable) and every_term_has(right, variable)
        case Binary(operator="*", left=left, right=right):
            return every_term_has(left, variable) or every_term_has(right, variable)
        case Binary(operator="/", left=left, right=right):
            return every_term_has(left, variable) or variable in variables_of(right)
        case _:
            return variable in variables_of(node)


def shapes_of(*nodes: Node | None) -> tuple[str, ...]:
    """Return the ranks whose shapes occur below the nodes, alone or as factors of an index."""
    found: dict[str, None] = {}
    for node in (n for root in nodes if root is not None for n in walk(root)):
        if isinstance(node, Affine):
            found.update(dict.fromkeys(s for t in node.terms for s in t.shapes))
        elif isinstance(node, Gather):
            found.update(dict.fromkeys(node.shapes))
        elif isinstance(node, Name) and node.kind == "shape":
            found[node.name] = None
    return tuple(found)


def accesses_of(*nodes: Node | None) -> tuple[Access, ...]:
    """Return every access below the nodes, in written order, with repetitions."""
    return tuple(
        n for root in nodes if root is not None for n in walk(root) if isinstance(n, Access)
    )


def unconditional_reads(node: Node) -> Iterator[Access]:
    """Yield the accesses that are read at every point, including accesses inside indices.

    Operands of a ``where`` call are read at some points only, and are left out.
    """
    if isinstance(node, Access):
        yield node
    if isinstance(node, Call) and node.function == "where":
        return
    for child in children(node):
        yield from unconditional_reads(child)
