"""Footprints: tensor elements to hold while a rank is traversed, and the cost of not holding them.

All sizes are in elements, as sympy expressions in the shapes. A tensor that a later pass reads
again must be held over the whole rank, written out and read back, or recomputed from inputs that
are read again. Any other tensor is needed one element (or one tile) at a time, whatever the size of
the rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import ir
from ..analysis_report import PassAnalysis, RankPasses, TensorPasses
from ..graphs import reachable
from ..libraries import sympy
from ..memo import cached_property
from .points import factored, rank_symbol, size_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFootprint:
    """Elements of one tensor to hold while one rank is traversed.

    ``along`` counts elements along the rank; ``held`` multiplies by the other ranks of the tensor
    that loops inside the traversal cover.
    """

    tensor: str
    along: Any
    held: Any
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFootprint:
    """Tensor elements to hold while ``rank`` is traversed, for one coordinate of the ranks
    ``per``.

    ``per`` are the ranks that can be outer loops. ``needed`` counts the elements that later passes
    read again; a smaller buffer costs extra traffic.
    """

    rank: str
    per: tuple[str, ...]
    tensors: tuple[TensorFootprint, ...]
    needed: Any

    @property
    def total(self) -> Any:
        """Number of elements held for all tensors."""
        return sympy.Add(*(t.held for t in self.tensors))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraTraffic:
    """Extra traffic of the passes over ``rank`` if a buffer cannot hold ``needed`` elements.

    ``spilled`` and ``reread`` are two alternatives, in tensor elements. ``spilled`` writes
    intermediates out and reads them back. ``reread`` reads inputs again in later passes and
    recomputes intermediates. It is infinite for elements gathered by value, which are known only
    after a traversal of another rank. ``tensors`` are the tensors needed again, ``inputs`` the
    inputs to read again.
    """

    rank: str
    needed: Any
    spilled: Any
    reread: Any
    tensors: tuple[str, ...]
    inputs: tuple[str, ...]

    @property
    def cheapest(self) -> Any:
        """Smaller of ``spilled`` and ``reread``, in tensor elements."""
        return sympy.Min(self.spilled, self.reread)

    @property
    def choice(self) -> str:
        """Sentence that describes the two alternatives, writing out and reading again."""
        inputs = ", ".join(self.inputs)
        if set(self.tensors) <= set(self.inputs):
            return f"read {inputs} again in every later pass"
        spilled = ", ".join(t for t in self.tensors if t not in self.inputs)
        if self.reread.is_infinite:
            return f"write out and read back {spilled}"
        again = f"read {inputs} again and recompute" if inputs else "recompute"
        return f"write out and read back {spilled}, or {again}"


def tensor_size(program: ir.Program, tensor: str, *, parallel: bool = True) -> Any:
    """Return the number of elements of a tensor; an iterative tensor includes its initial state.

    Parameters
    ----------
    program : Program
    tensor : str
    parallel : bool, default True
        Whether to multiply by the shapes of the ``parallel`` ranks.

    Returns
    -------
    expression
        Elements in the shapes: ``I + 1`` along an iterative rank I, whose states are 0 to I.
    """
    ranks = program.tensor_ranks[tensor]
    iterative = program.iterative.get(tensor, ())
    carried = [r for r in ranks if r not in iterative]
    size = size_of(program, (*carried, *(program.parallel if parallel else ())))
    return sympy.Mul(size, *(rank_symbol(r) + 1 for r in iterative))


def footprints(program: ir.Program, passes: PassAnalysis) -> tuple[RankFootprint, ...]:
    """Return one footprint per analysed rank, in the order of ``passes.ranks``.

    Parameters
    ----------
    program : Program
    passes : PassAnalysis
        Passes of the same program.
    """
    return tuple(_Traversal(program, passes, r).footprint for r in passes.ranks)


def extra_traffic(program: ir.Program, passes: PassAnalysis) -> tuple[ExtraTraffic, ...]:
    """Return the extra traffic of each plain or partitioned rank with several passes.

    The traffic applies if the buffer holds nothing. Members of a partitioned rank are left out,
    because the passes over the whole rank already count theirs.
    """
    ranks = (r for r in passes.ranks if r.count > 1 and r.grain != "member")
    found = (_Traversal(program, passes, r).extra for r in ranks)
    return tuple(extra for extra in found if extra is not None)


@dataclass(frozen=True)
class _Traversal:
    program: ir.Program
    passes: PassAnalysis
    rank: RankPasses

    @cached_property
    def _grains(self) -> tuple[RankPasses, ...]:
        """Passes over the rank itself, or over each of its members if the rank is partitioned."""
        members = self.program.rank_of[self.rank.rank].partition if self._declared else ()
        known = {r.rank: r for r in self.passes.ranks}
        return tuple(known[m] for m in members if m in known) or (self.rank,)

    @cached_property
    def _read(self) -> dict[str, dict[str, TensorPasses]]:
        """Passes that read a tensor, by rank (or member) and tensor name."""
        return {g.rank: {t.tensor: t for t in g.tensors} for g in self._grains}

    @property
    def _declared(self) -> bool:
        return self.rank.rank in self.program.rank_of

    @cached_property
    def _einsums(self) -> tuple[ir.Einsum, ...]:
        names = {name for grain in (self.rank, *self._grains) for name, _ in grain.pass_of}
        return tuple(e for e in self.program.einsums if e.name in names)

    @property
    def footprint(self) -> RankFootprint:
        tensors = tuple(t for e in self._einsums for t in (*(a.tensor for a in e.reads), e.name))
        found = tuple(self._tensor(t) for t in dict.fromkeys(tensors))
        return RankFootprint(rank=self.rank.rank, per=self._per, tensors=found, needed=self._needed)

    @cached_property
    def _own(self) -> frozenset[str]:
        """Names of the rank, of the partitioned rank it belongs to, and of all members."""
        names = {self.rank.rank, *(g.rank for g in self._grains)}
        if self._declared:
            known = self.program.rank_of[self.rank.rank]
            names |= {known.family or known.name, *known.partition}
        return frozenset(names)

    @cached_property
    def _per(self) -> tuple[str, ...]:
        """Ranks over which every Einsum of the traversal iterates, so that they can be outer
        loops.
        """
        spaces = [
            [self.program.rank_of_variable.get(v, v.upper()) for v in e.variables]
            for e in self._einsums
        ]
        common = [r for r in spaces[0] if all(r in s for s in spaces[1:])] if spaces else []
        return (*self.program.parallel, *(r for r in common if r not in self._own))

    def _tensor(self, tensor: str) -> TensorFootprint:
        size, reasons = self._along(tensor)
        # Loops outside the traversal hold one coordinate at a time; all other ranks of the tensor
        # are covered inside and held whole.
        outer = self._own | set(self._per)
        ranks = (r for r in self.program.tensor_ranks[tensor] if r not in outer)
        inner = [r for r in ranks if not self._members(r) <= outer]
        held = sympy.Mul(size, size_of(self.program, inner))
        return TensorFootprint(
            tensor=tensor, along=size, held=held, reason="; ".join(reasons) or "one at a time"
        )

    def _members(self, rank: str) -> set[str]:
        """Return the members of a partitioned rank; for any other rank, the rank itself."""
        known = self.program.rank_of.get(rank)
        return set(known.partition) if known is not None and known.partition else {rank}

    def _along(self, tensor: str) -> tuple[Any, list[str]]:
        """Return the number of a tensor's elements to hold along the rank, and the reasons.

        The number is the product of the shapes of the ranks (or members) in which the tensor is
        read again.
        """
        held: list[str] = []
        reasons = []
        for grain in self._grains:
            found = self._read[grain.rank].get(tensor)
            if found is not None and found.reread:
                held.append(grain.rank)
                passes = " and ".join(str(p) for p in found.reread)
                reasons.append(f"needed again along {grain.rank} in pass {passes}")
        carried = set(self.program.tensor_ranks[tensor])
        if not reasons and not carried & self._own:
            reasons.append(f"does not carry {self.rank.rank}: stays while it is traversed")
        elif not reasons and set(self.program.iterative.get(tensor, ())) & self._own:
            reasons.append("one state, updated in place")
        return size_of(self.program, held), reasons

    # ------------------------------------------------------------------ traffic

    @property
    def _needed(self) -> Any:
        """Largest number of elements that have to survive the end of a pass, over all passes."""
        totals = [sympy.Integer(0)]
        # Nothing has to survive the last pass.
        for number in range(1, self.rank.count):
            alive = [t.tensor for t in self.rank.tensors if t.survives(number)]
            totals.append(sympy.Add(*(self._tensor(t).held for t in alive)))
        return sympy.Max(*totals)

    @property
    def extra(self) -> ExtraTraffic | None:
        inputs = {t.name for t in self.program.inputs}
        again = [t for t in self.rank.tensors if t.reread]
        if not again:
            return None
        # An intermediate is written once and read in each later pass; an input needs no write.
        moves = ((t.tensor, len(t.reread) + (0 if t.tensor in inputs else 1)) for t in again)
        spilled = sympy.Add(*(tensor_size(self.program, name) * n for name, n in moves))
        sources = [(t, sorted(inputs & self._computed_from(t.tensor))) for t in again]
        # Within one pass, reading an input once serves everything computed from it.
        visits = sorted({(p, s) for t, found in sources for p in t.reread for s in found})
        reread = sympy.Add(*(tensor_size(self.program, s) for _, s in visits))
        if any(self._is_gathered(t.tensor) for t in again):
            reread = sympy.oo
        return ExtraTraffic(
            rank=self.rank.rank,
            needed=self._needed,
            spilled=factored(spilled),
            reread=factored(reread),
            tensors=tuple(t.tensor for t in again),
            inputs=tuple(dict.fromkeys(s for _, found in sources for s in found)),
        )

    def _is_gathered(self, tensor: str) -> bool:
        """Return whether gathers along the rank decide an element of a tensor, by value or
        position.
        """
        einsums = self.program.einsum_of
        made = [einsums[name] for name in self._computed_from(tensor) if name in einsums]
        elsewhere = [a for e in made for a in e.reads if not self._carries(a.tensor)]
        places = (i.access.tensor for a in elsewhere for i in a.indices if isinstance(i, ir.Gather))
        return any(e.select is not None for e in made) or any(map(self._carries, places))

    def _computed_from(self, tensor: str) -> set[str]:
        """Return the tensors with the rank from which ``tensor`` is computed, including itself."""

        def read(name: str) -> list[str]:
            made = self.program.einsum_of.get(name)
            return [a.tensor for a in (made.reads if made else ()) if self._carries(a.tensor)]

        return set(reachable([tensor] if self._carries(tensor) else [], read))

    def _carries(self, tensor: str) -> bool:
        return bool(set(self.program.tensor_ranks.get(tensor, ())) & self._own)
