"""Domains: intervals for the values of an input or a parameter, as a cascade file states them.

========= =========================================================================
written   meaning
========= =========================================================================
[a, b]    random values are drawn between a and b; results do not depend on it
a..b      integers from a to b, such as flags and labels; other values are rejected.
          b may be ``G``, the shape of a rank, or ``G-1``
========= =========================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import ir
from .errors import Problem, did_you_mean
from .libraries import np

_WHOLE = re.compile(r"(\d{1,15})\.\.(?:(\d{1,15})|([A-Z][A-Z0-9_]*)(-1)?)")


def whole_domain(name: str, text: str) -> ir.Domain | None:
    """Return the integer domain that a text ``a..b`` states, or None if the text has another form.

    The rank is not looked up here.

    >>> found = whole_domain("labels", "0..G-1")
    >>> found.low, found.high, found.rank, whole_text(found)
    (0, -1, 'G', '0..G-1')
    """
    found = _WHOLE.fullmatch(text)
    if found is None:
        return None
    low, high, rank, below = found.groups()
    end = int(high) if high else -1 if below else 0
    return ir.Domain(name=name, low=int(low), high=end, whole=True, rank=rank or "")


def whole_text(domain: ir.Domain) -> str:
    """Return an integer domain as text, such as ``0..G-1``, which ``whole_domain`` reads back."""
    end = f"{domain.rank}{domain.high or ''}" if domain.rank else str(domain.high)
    return f"{domain.low}..{end}"


def _bounds(domain: ir.Domain, shapes: Mapping[str, int]) -> tuple[int, int]:
    """Return the smallest and the largest integer of a domain."""
    return int(domain.low), int(domain.high) + (shapes[domain.rank] if domain.rank else 0)


def domain_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Yield problems of domains: unknown names, unknown ranks, empty intervals.

    Parameters
    ----------
    program : Program
    spoiled : frozenset of str
        Names whose declaration was already rejected; their absence is not reported.
    """
    known = [*(t.name for t in program.inputs), *(p.name for p in program.parameters)]
    for domain in program.domains:
        if domain.name not in known and domain.name not in spoiled:
            what = f"'domains' names '{domain.name}', which is no input and no parameter"
            yield Problem(what, domain.span, did_you_mean(domain.name, known))
        if domain.rank and domain.rank not in program.rank_of and domain.rank not in spoiled:
            hint = did_you_mean(domain.rank, program.rank_of)
            yield Problem(f"unknown rank '{domain.rank}' in a domain", domain.span, hint)
        if domain.whole and not domain.rank and domain.high < domain.low:
            yield Problem(f"no whole number is in {whole_text(domain)}", domain.span)
        if not domain.whole and not -math.inf < domain.low < domain.high < math.inf:
            what = f"the domain of '{domain.name}' is empty or has no end"
            yield Problem(what, domain.span, "two numbers, the smaller first, such as [0, 1]")


def outside(
    domain: ir.Domain, values: np.ndarray[Any, Any] | float, shapes: Mapping[str, int]
) -> str | None:
    """Return a message about the first element outside a domain, or None.

    Parameters
    ----------
    domain : Domain
        A domain of real numbers rejects nothing.
    values : array of any shape, or float
    shapes : mapping
        Shapes of the ranks that bound domains.

    >>> outside(whole_domain("labels", "0..G-1"), 3, {"G": 3})
    'is 3, but it must be a whole number from 0 to 2'
    """
    if not domain.whole:
        return None
    numbers = np.asarray(values, np.float64)
    low, high = _bounds(domain, shapes)
    good = (numbers >= low) & (numbers <= high) & (numbers == np.floor(numbers))
    if good.all():
        return None
    at = tuple(np.argwhere(~good)[0].tolist())
    place = f" at {list(at)}" if at else ""
    return f"is {numbers[at]:g}{place}, but it must be a whole number from {low} to {high}"


def draw(
    domain: ir.Domain, rng: np.random.Generator, size: tuple[int, ...], shapes: Mapping[str, int]
) -> np.ndarray[Any, Any]:
    """Return an array of random numbers from a domain.

    Parameters
    ----------
    domain : Domain
    rng : numpy.random.Generator
    size : tuple of int
    shapes : mapping
        Shapes of the ranks that bound domains.
    """
    if domain.whole:
        low, high = _bounds(domain, shapes)
        return rng.integers(low, high, size, endpoint=True)
    return np.asarray(rng.uniform(domain.low, domain.high, size))


def draw_input(
    program: ir.Program, tensor: ir.Tensor, rng: np.random.Generator, shapes: Mapping[str, int]
) -> np.ndarray[Any, Any] | None:
    """Return random numbers from the domain of an input; None if the input has no domain.

    Scatter positions differ along the ranks that they are scattered by. Entries of an input that
    the cascade declares distinct differ along the declared ranks.

    Parameters
    ----------
    program : Program
    tensor : Tensor
        Input of the program.
    rng : numpy.random.Generator
    shapes : mapping
        Shape of every rank, in elements.
    """
    domain = program.domain(tensor.name)
    ranks = (*program.parallel, *tensor.ranks)
    size = tuple(shapes[r] for r in ranks)
    along = {r for d in program.distinct if d.name == tensor.name for r in d.ranks}
    for einsum in program.einsums:
        for index in einsum.scattered:
            if index.access.tensor == tensor.name:
                along.update(scattered_by(program, einsum, index))
    if along:
        low, high = 0, coordinate_bounds(program, shapes).get(tensor.name, 1) - 1
        if domain is not None:
            low, high = _bounds(domain, shapes)
        distinct_axes = [n for n, r in enumerate(ranks) if r in along]
        return low + _draw_distinct(rng, size, distinct_axes, high + 1 - low)
    return None if domain is None else np.asarray(draw(domain, rng, size, shapes))


def scattered_by(program: ir.Program, einsum: ir.Einsum, index: ir.Gather) -> tuple[str, ...]:
    """Return the ranks along which the positions of a scattered index have to differ.

    For ``C[I[j], e]`` this is J, since two equal positions would write one element twice. For
    ``C[I[b, j], b]`` it is J alone, because another b is another element.

    Parameters
    ----------
    program : Program
    einsum : Einsum
        Einsum with a scattered target.
    index : Gather
        Scattered index of the target.
    """
    others = {v for i in einsum.target.indices if i is not index for v in i.variables}
    own = (v for v in index.access.variables if v not in others)
    return tuple(program.rank_of_variable[v] for v in own)


def _draw_distinct(
    rng: np.random.Generator, size: tuple[int, ...], distinct_axes: list[int], below: int
) -> np.ndarray[Any, Any]:
    """Return random integers from 0 to ``below - 1`` that differ along some axes."""
    rest = [n for n in range(len(size)) if n not in distinct_axes]
    count = math.prod(size[n] for n in distinct_axes)
    rows = [rng.permutation(below)[:count] for _ in range(math.prod(size[n] for n in rest))]
    if count > below:
        # They cannot all differ; the evaluation reports that.
        rows = [rng.integers(0, below, count) for _ in rows]
    found = np.array(rows, np.int64).reshape([size[n] for n in (*rest, *distinct_axes)])
    return np.moveaxis(found, range(len(size)), (*rest, *distinct_axes))


def index_tensors(program: ir.Program) -> frozenset[str]:
    """Return the tensors that hold coordinates, since an index gathers or scatters by them."""
    accesses = (a for e in program.statements for a in (*e.reads, e.target))
    indices = (i for a in accesses for i in a.indices)
    return frozenset(i.access.tensor for i in indices if isinstance(i, ir.Gather))


def distinct_problems(program: ir.Program, spoiled: frozenset[str]) -> Iterator[Problem]:
    """Yield problems of ``distinct``: no inputs, inputs without positions, ranks an input lacks.

    Parameters
    ----------
    program : ir.Program
    spoiled : frozenset of str
        As in ``domain_problems``.
    """
    inputs = {t.name: t for t in program.inputs}
    gathered_by = index_tensors(program)
    for named in program.distinct:
        name = named.name
        if name in spoiled:
            continue
        if name not in inputs:
            what = f"'distinct' names '{name}', which is no input"
            yield Problem(what, named.span, did_you_mean(name, inputs))
            continue
        if name not in gathered_by:
            what = f"'distinct' names '{name}', which holds no positions"
            yield Problem(what, named.span, f"nothing is read or written at {name}[..]")
        known = (*program.parallel, *inputs[name].ranks)
        for rank in named.ranks:
            if rank not in known and rank not in spoiled:
                what = f"entries of '{name}' cannot differ along '{rank}', which it does not have"
                yield Problem(what, named.span, did_you_mean(rank, known))
            if named.ranks.count(rank) > 1:
                yield Problem(f"'{name}' is distinct along '{rank}' twice", named.span)


def repeated_entries(
    program: ir.Program,
    named: ir.Tensor,
    values: np.ndarray[Any, Any],
    shapes: Mapping[str, int],
    parallel: tuple[str, ...],
) -> str | None:
    """Return a message about two equal entries of an input that must differ, or None.

    Entries wholly beyond the end of a partitioned rank are ignored: with 5 keys in 2 x 2 tiles of
    2, the last tile is not checked.

    Parameters
    ----------
    program : ir.Program
    named : Tensor
        Input with the ranks along which its entries differ, where other coordinates are equal.
    values : array
        Values of the input.
    shapes : mapping
        Shape of every rank, in elements.
    parallel : tuple of str
        Parallel ranks that the array has.
    """
    ranks = (*parallel, *next(t.ranks for t in program.inputs if t.name == named.name))
    along = [n for n, r in enumerate(ranks) if r in named.ranks]
    others = [n for n in range(len(ranks)) if n not in along]
    places = np.stack(np.nonzero(_inside_cut_ranks(program, ranks, shapes)), axis=1)
    found = values[tuple(places.T)]
    keys = np.column_stack((places[:, others], found))
    order = np.lexsort(keys.T[::-1])
    same = np.nonzero((keys[order[1:]] == keys[order[:-1]]).all(axis=1))[0]
    if not len(same):
        return None
    # Report the pair that comes first.
    pairs = sorted(sorted((order[n], order[n + 1])) for n in same)
    first, second = (places[n].tolist() for n in pairs[0])
    names = ", ".join(named.ranks)
    return f"is {found[pairs[0][0]]} at {first} and at {second}: it must differ along {names}"


def _inside_cut_ranks(
    program: ir.Program, ranks: tuple[str, ...], shapes: Mapping[str, int]
) -> np.ndarray[Any, Any]:
    """Return flags of a tensor's elements, True before the ends of partitioned ranks."""
    found = np.ones([shapes[r] for r in ranks], bool)
    for family in program.ranks:
        members = [m for m in family.partition if m in ranks]
        if not members:
            continue
        begin = np.zeros([1] * len(ranks), np.int64)
        for member in members:
            inner = family.partition[family.partition.index(member) + 1 :]
            steps = np.arange(shapes[member]) * math.prod(shapes[m] for m in inner)
            begin = begin + steps.reshape([-1 if r == member else 1 for r in ranks])
        found &= begin < shapes[family.name]
    return found


def places_needed(program: ir.Program, shapes: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield ranks with the minimal shape at which distinct index entries all lie inside.

    Parameters
    ----------
    program : ir.Program
    shapes : mapping of str to int
        Shape of every rank, in elements.

    Yields
    ------
    tuple of str and int
        A rank and its minimal shape.
    """
    along = {d.name: d.ranks for d in program.distinct}
    for rank, index in program.gathers():
        if index.access.tensor in along:
            count = math.prod(shapes.get(r, 1) for r in along[index.access.tensor])
            last = (count - 1) * max(1, index.factor(shapes))
            yield rank, last + last_value(program, index.offset, shapes) + 1


def coordinate_bounds(program: ir.Program, shapes: Mapping[str, int]) -> dict[str, int]:
    r"""Return, for each index tensor, the exclusive upper bound of its elements.

    Parameters
    ----------
    program : Program
    shapes : mapping of str to int
        Of every rank, in elements.

    Returns
    -------
    dict of str to int
        At least 1: where no position fits, the evaluation says so.

    >>> from einsum_cascade import Cascade
    >>> head = "cascade: a\nranks: [M, J, T]\ninputs: {I: [J], K: [M]}\noutput: C\n"
    >>> program = Cascade.parse(head + "einsums: C[j, t] = K[I[j]*T + t]").program
    >>> coordinate_bounds(program, {"M": 12, "J": 2, "T": 4})
    {'I': 3}
    """
    found: dict[str, int] = {}
    for rank, index in program.gathers():
        left = shapes[rank] - 1 - last_value(program, index.offset, shapes)
        bound = max(1, left // max(1, index.factor(shapes)) + 1)
        found[index.access.tensor] = min(found.get(index.access.tensor, bound), bound)
    return found


def last_value(program: ir.Program, index: ir.Affine, shapes: Mapping[str, int]) -> int:
    """Return the largest value that an index takes.

    Parameters
    ----------
    program : Program
    index : Affine
    shapes : mapping of str to int
        Shape of every rank, in elements.
    """
    weights = index.weights(shapes)
    constant = weights.pop("", 0)
    ends = (n * (shapes[program.rank_of_variable[v]] - 1) for v, n in weights.items())
    return constant + sum(max(0, end) for end in ends)
