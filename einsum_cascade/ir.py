"""The intermediate representation of a cascade: frozen, hashable, with spans.

Two nodes are equal when they say the same thing; where it was written (``span``) does
not count. Shapes are in elements. Upper-case names are ranks (and their shapes),
lower-case names are rank variables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .memo import Memoized, cached_property
from .number_formats import TensorFormats
from .source import Span

DTYPES: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
"""Number types a tensor may be accumulated in."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Anything written in a file."""

    span: Span | None = field(default=None, compare=False, repr=False)


# ------------------------------------------------------------------ index expressions


@dataclass(frozen=True, kw_only=True)
class AffineTerm(Node):
    """``coefficient * shapes... * variable``; ``variable`` None makes it a constant.

    ``m1*M0`` is ``AffineTerm(coefficient=1, shapes=("M0",), variable="m1")``.
    """

    coefficient: int = 1
    shapes: tuple[str, ...] = ()
    variable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Affine(Node):
    """A sum of affine terms. No terms is the constant zero."""

    terms: tuple[AffineTerm, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables in order of appearance, each once."""
        return tuple(dict.fromkeys(t.variable for t in self.terms if t.variable))

    @property
    def as_variable(self) -> str | None:
        """The variable ``v`` if this index is exactly ``v``, else None."""
        if len(self.terms) == 1:
            t = self.terms[0]
            if t.variable and t.coefficient == 1 and not t.shapes:
                return t.variable
        return None

    @cached_property
    def offset(self) -> int | None:
        """``c`` if this index is exactly ``v + c`` (one variable, integer c), else None."""
        variables = [t for t in self.terms if t.variable]
        rest = [t for t in self.terms if not t.variable]
        if len(variables) != 1 or variables[0].coefficient != 1 or variables[0].shapes:
            return None
        if any(t.shapes for t in rest):
            return None
        return sum(t.coefficient for t in rest)


@dataclass(frozen=True, kw_only=True)
class Gather(Node):
    """An index that is an element of an integer tensor, scaled and moved: ``K[I[j]*T + t]``."""

    access: Access
    coefficient: int = 1
    shapes: tuple[str, ...] = ()
    offset: Affine = Affine()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables used inside, then those of the offset."""
        return tuple(dict.fromkeys((*self.access.variables, *self.offset.variables)))

    @property
    def plain(self) -> bool:
        """Whether the element is the index as it is, without arithmetic."""
        return self.coefficient == 1 and not self.shapes and not self.offset.terms


Index = Affine | Gather

# ------------------------------------------------------------------ value expressions


@dataclass(frozen=True, kw_only=True)
class Number(Node):
    """A literal; ``inf`` is written ``inf``. Integers stay integers."""

    value: int | float


@dataclass(frozen=True, kw_only=True)
class Name(Node):
    """A bare name used as a number: a rank variable, a shape or a scalar parameter.

    Inside the body of a user's function or reduction, ``argument`` is one of its own.
    """

    name: str
    kind: Literal["variable", "shape", "parameter", "argument"]


@dataclass(frozen=True, kw_only=True)
class Access(Node):
    """``tensor[indices]``. A tensor of rank zero has no indices."""

    tensor: str
    indices: tuple[Index, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Rank variables in order of appearance, each once."""
        return tuple(dict.fromkeys(v for i in self.indices for v in i.variables))


@dataclass(frozen=True, kw_only=True)
class Unary(Node):
    """Negation."""

    operator: Literal["-"]
    operand: Expression


@dataclass(frozen=True, kw_only=True)
class Binary(Node):
    """``left operator right``."""

    operator: Literal["+", "-", "*", "/", "**"]
    left: Expression
    right: Expression


@dataclass(frozen=True, kw_only=True)
class Call(Node):
    """A built-in or user-declared function. ``where(c, a, b)`` has a condition first."""

    function: str
    arguments: tuple[Expression | Condition, ...]


Expression = Number | Name | Access | Unary | Binary | Call


@dataclass(frozen=True, kw_only=True)
class Relational(Node):
    """``left operator right`` inside ``where``."""

    operator: Literal["<", "<=", ">", ">=", "==", "!="]
    left: Expression
    right: Expression


@dataclass(frozen=True, kw_only=True)
class Logical(Node):
    """``and`` / ``or`` of conditions, or ``not`` of one."""

    operator: Literal["and", "or", "not"]
    operands: tuple[Condition, ...]


Condition = Relational | Logical

# ------------------------------------------------------------------ statements


@dataclass(frozen=True, kw_only=True)
class Einsum(Node):
    """One extended Einsum: ``target = expression :: reduction[over] where condition``.

    ``over`` holds the reduced rank variables in a canonical order (order of appearance
    on the right). ``reduction`` is ``+`` unless written otherwise, and is kept ``+`` when
    nothing is reduced. A selection ``I[j,p] << topk(S[m,p], j)`` has ``select`` set to
    ``topk``; its expression is the access that is selected from, and ``over`` the ranks
    selected over.
    """

    target: Access
    expression: Expression
    reduction: str = "+"
    over: tuple[str, ...] = ()
    where: Condition | None = None
    select: str | None = None

    @property
    def name(self) -> str:
        """An Einsum is named by the tensor it writes."""
        return self.target.tensor

    @cached_property
    def reads(self) -> tuple[Access, ...]:
        """Accesses on the right (expression, gathers inside indices, ``where``), in order, each
        once, and what tells where a result is scattered to.

        Gathered index tensors follow the access that uses them.
        """
        return tuple(dict.fromkeys(_accesses(self.expression, self.where, *self.target.indices)))

    @cached_property
    def scattered(self) -> tuple[Gather, ...]:
        """Indices of the result that are elements of others: ``C[I[j], e] = ...``."""
        return tuple(i for i in self.target.indices if isinstance(i, Gather))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """The iteration space: every rank variable, targets first."""
        where = () if self.where is None else variables_of(self.where)
        written = (*self.target.variables, *variables_of(self.expression), *where, *self.over)
        return tuple(dict.fromkeys(written))


@dataclass(frozen=True, kw_only=True)
class Rank(Node):
    """A declared rank. ``partition`` names its members, outermost first: ``(M1, M0)``.

    Members are ranks too and appear in ``Cascade.ranks`` with ``family`` set. ``like``
    names a rank that must have the same shape, member by member where both have members
    (the queries and keys of self-attention). ``shape`` is the shape of a rank that can have
    no other (the three taps of a filter).
    """

    name: str
    meaning: str = ""
    partition: tuple[str, ...] = ()
    family: str | None = None
    like: str | None = None
    shape: int | None = None

    @property
    def variable(self) -> str:
        """The rank variable: the name in lower case."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Tensor(Node):
    """A declared input: its ranks in order, without the cascade's ``parallel`` ranks."""

    name: str
    ranks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Parameter(Node):
    """A scalar the user passes by keyword; ``default`` None makes it required."""

    name: str
    default: float | None = None


@dataclass(frozen=True, kw_only=True)
class Domain(Node):
    """Where the values of an input or a parameter are meant to lie: ``low`` to ``high``.

    Random values are drawn from it. ``whole`` numbers (flags, labels) are all it may hold;
    their ``high`` is counted from the shape of ``rank`` when there is one.
    """

    name: str
    low: float
    high: float
    whole: bool = False
    rank: str = ""


@dataclass(frozen=True, kw_only=True)
class UserFunction(Node):
    """A scalar function declared in the file: ``name(arguments) = body``."""

    name: str
    arguments: tuple[str, ...]
    body: Expression


@dataclass(frozen=True, kw_only=True)
class UserReduction(Node):
    """An associative operator declared in the file, with its identity element."""

    name: str
    arguments: tuple[str, str]
    body: Expression
    identity: int | float


@dataclass(frozen=True, kw_only=True)
class Usual(Node):
    """A size that is usual for a rank (or parameter), taken where nobody gives one."""

    name: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Program(Node, Memoized):
    """A whole cascade as written: what ``Cascade`` (the public class) wraps.

    ``parallel`` ranks are carried by every tensor and omitted from the equations.
    ``init`` holds statements that set coordinate 0 of iterative tensors. A tensor is
    iterative along rank variable ``v`` when an Einsum writes it at ``v + 1``; its extent
    there is the rank's shape plus one. ``reference`` names the independent function
    the cascade is checked against; ``unverified`` says what was not compared with its publication;
    ``distinct`` has inputs with the ranks along which their entries differ;
    ``formats`` are of its tensors' numbers, where who runs it states any.
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
        """Where a name stands under a key that lists bare names (``output``, ...).

        Returns
        -------
        Span or None
            None where the key does not list the name, and in a program that was not parsed.
        """
        found = (span for at, written, span in self.places if (at, written) == (key, name))
        return next(found, None)

    @cached_property
    def rank_of(self) -> dict[str, Rank]:
        """Ranks by name."""
        return {r.name: r for r in self.ranks}

    @cached_property
    def rank_of_variable(self) -> dict[str, str]:
        """Rank name by rank variable."""
        return {r.variable: r.name for r in self.ranks}

    def domain(self, name: str) -> Domain | None:
        """The domain of an input or a parameter, or None where it has none."""
        return next((d for d in self.domains if d.name == name), None)

    def alike(self, one: str, other: str) -> bool:
        """Whether two ranks are declared to have the same shape (see ``Rank.like``).

        Returns
        -------
        bool
            False for a rank and itself: that they are the same is no declaration.
        """
        return one != other and self.model_of(one) == self.model_of(other)

    def model_of(self, name: str) -> str:
        """The rank that a rank is declared to be like, in the end; itself if it is like none."""
        seen: list[str] = []
        while name not in seen:
            seen.append(name)
            name = self._models.get(name, name)
        return name

    @cached_property
    def _models(self) -> dict[str, str]:
        """Ranks declared to be like another, member by member where both have members."""
        found: dict[str, str] = {}
        for rank in self.ranks:
            if rank.like in self.rank_of:
                model = self.rank_of[rank.like]
                found[rank.name] = model.name
                found |= dict(zip(rank.partition, model.partition, strict=False))
        return found

    @property
    def settable(self) -> tuple[str, ...]:
        """Names that numbers may be given for: all ranks, the parallel ones first, parameters."""
        ranks = (*self.parallel, *(r.name for r in self.ranks))
        return (*ranks, *(p.name for p in self.parameters))

    @cached_property
    def einsum_of(self) -> dict[str, Einsum]:
        """Einsums (not init statements) by the tensor they write."""
        return {e.name: e for e in self.einsums}

    @cached_property
    def tensor_ranks(self) -> dict[str, tuple[str, ...]]:
        """Ranks of every tensor, in index order, without ``parallel``.

        An index ``m1 + 1`` on the left gives rank ``M1`` (the tensor is iterative there).
        An index with several variables or a scaled one gives the family rank where they
        make one up (``m1*M0 + m0`` gives ``M``).
        """
        found = {t.name: t.ranks for t in self.inputs}
        for e in self.einsums:
            found.setdefault(e.name, tuple(self._rank_of_index(i) for i in e.target.indices))
        return found

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
        """The rank that positions are of: that picks are from, or ``N`` of ``0..N-1``."""
        picks, domain = self.einsum_of.get(index.access.tensor), self.domain(index.access.tensor)
        if picks is not None and picks.select is not None and picks.over:
            return self.rank_of_variable.get(picks.over[0])
        counted = domain is not None and domain.rank and (domain.low, domain.high) == (0, -1)
        return domain.rank if domain is not None and counted else None

    @cached_property
    def iterative(self) -> dict[str, tuple[str, ...]]:
        """Per iterative tensor, the ranks along which it is written at ``v + 1``."""
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
    """Direct sub-nodes in written order; none of numbers, names and affine indices."""
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
    """The node and everything below it, depth first, indices and gathers included."""
    found: list[Node] = []
    stack = [node]
    while stack:
        top = stack.pop()
        found.append(top)
        stack.extend(reversed(children(top)))
    return tuple(found)


def variables_of(node: Node) -> tuple[str, ...]:
    """Rank variables, in indices and as numbers, in order, each once."""
    return tuple(dict.fromkeys(v for n in walk(node) for v in _own_variables(n)))


def _accesses(*roots: Node | None) -> list[Access]:
    return [n for root in roots if root is not None for n in walk(root) if isinstance(n, Access)]


def _own_variables(node: Node) -> tuple[str, ...]:
    if isinstance(node, Affine):
        return node.variables
    if isinstance(node, Name) and node.kind == "variable":
        return (node.name,)
    return ()
