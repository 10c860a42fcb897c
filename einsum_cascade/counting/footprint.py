"""What has to be held while a rank is traversed, and what it costs not to hold it.

All sizes are in elements and sympy expressions in the shapes. A tensor that a later pass
reads again has to be held over the whole rank, or written out and read back, or computed
again from inputs that are read again; any other tensor is needed one element (or one
tile) at a time, whatever the size of the rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import ir
from ..analysis_report import PassAnalysis, RankPasses, TensorPasses
from ..memo import cached_property
from .points import factored, rank_symbol, size_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFootprint:
    """What has to be held of one tensor while one rank is traversed.

    ``along`` counts elements along the rank; ``held`` also those along the tensor's other
    ranks that the loops inside the traversal go over.
    """

    tensor: str
    along: Any
    held: Any
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFootprint:
    """What has to be held while ``rank`` is traversed, for one coordinate of ``per``.

    ``needed`` is the part that later passes come back to: the buffer without which they
    cost traffic.
    """

    rank: str
    per: tuple[str, ...]
    tensors: tuple[TensorFootprint, ...]
    needed: Any

    @property
    def total(self) -> Any:
        """Elements held in all."""
        import sympy

        return sympy.Add(*(t.held for t in self.tensors))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraTraffic:
    """What passes over ``rank`` cost, in elements, when ``needed`` elements are not there.

    ``spilled``: intermediates are written out and read back. ``reread``: later passes read
    inputs again and compute intermediates again; infinite where that is no way, since what is
    picked by its value is known only after a traversal of another rank. ``tensors`` and
    ``inputs`` say which.
    """

    rank: str
    needed: Any
    spilled: Any
    reread: Any
    tensors: tuple[str, ...]
    inputs: tuple[str, ...]

    @property
    def cheapest(self) -> Any:
        """The cheaper of the two."""
        import sympy

        return sympy.Min(self.spilled, self.reread)

    @property
    def choice(self) -> str:
        """Both ways in words."""
        inputs = ", ".join(self.inputs)
        if set(self.tensors) <= set(self.inputs):
            return f"read {inputs} again in every later pass"
        spilled = ", ".join(t for t in self.tensors if t not in self.inputs)
        if self.reread.is_infinite:
            return f"write out and read back {spilled}"
        again = f"read {inputs} again and recompute" if inputs else "recompute"
        return f"write out and read back {spilled}, or {again}"


def tensor_size(program: ir.Program, tensor: str, *, parallel: bool = True) -> Any:
    """Elements of a tensor; an iterative one has its initial coordinate as well.

    Parameters
    ----------
    program : Program
    tensor : str
    parallel : bool, default True
        Whether the ranks of ``parallel`` multiply, too.

    Returns
    -------
    expression
        Elements, in the shapes: ``I + 1`` along an iterative rank I, whose states are 0 to I.
    """
    import sympy

    ranks = program.tensor_ranks[tensor]
    iterative = program.iterative.get(tensor, ())
    carried = [r for r in ranks if r not in iterative]
    size = size_of(program, (*carried, *(program.parallel if parallel else ())))
    return sympy.Mul(size, *(rank_symbol(r) + 1 for r in iterative))


def footprints(program: ir.Program, passes: PassAnalysis) -> tuple[RankFootprint, ...]:
    """A footprint per rank of the analysis.

    Parameters
    ----------
    program : Program
    passes : PassAnalysis
        Of the same program.

    Returns
    -------
    tuple of RankFootprint
        In elements, in the order of ``passes.ranks``.
    """
    return tuple(_Traversal(program, passes, r).footprint for r in passes.ranks)


def extra_traffic(program: ir.Program, passes: PassAnalysis) -> tuple[ExtraTraffic, ...]:
    """What each plain rank or family with more than one pass costs when nothing is held.

    A member is left out: the passes of its family count them already.
    """
    found = []
    for r in passes.ranks:
        if r.count > 1 and r.grain != "member":
            traversal = _Traversal(program, passes, r)
            extra = traversal.extra
            if extra is not None:
                found.append(extra)
    return tuple(found)


@dataclass(frozen=True)
class _Traversal:
    program: ir.Program
    passes: PassAnalysis
    rank: RankPasses

    @cached_property
    def _grains(self) -> tuple[RankPasses, ...]:
        """The rank itself; for a family its members, each with its own passes."""
        members = self.program.rank_of[self.rank.rank].partition if self._declared else ()
        known = {r.rank: r for r in self.passes.ranks}
        return tuple(known[m] for m in members if m in known) or (self.rank,)

    @cached_property
    def _read(self) -> dict[str, dict[str, TensorPasses]]:
        """By grain and tensor, the passes that read it."""
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
        """The rank, its family and its members."""
        names = {self.rank.rank, *(g.rank for g in self._grains)}
        if self._declared:
            known = self.program.rank_of[self.rank.rank]
            names |= {known.family or known.name, *known.partition}
        return frozenset(names)

    @cached_property
    def _per(self) -> tuple[str, ...]:
        """Ranks that every Einsum on the way goes over: they can be the outer loops."""
        spaces = [
            [self.program.rank_of_variable.get(v, v.upper()) for v in e.variables]
            for e in self._einsums
        ]
        common = [r for r in spaces[0] if all(r in s for s in spaces[1:])] if spaces else []
        return (*self.program.parallel, *(r for r in common if r not in self._own))

    def _tensor(self, tensor: str) -> TensorFootprint:
        import sympy

        size, reasons = self._along(tensor)
        # Loops that run outside the traversal hold one coordinate at a time; all other ranks of the
        # tensor are gone through inside it and have to be held whole.
        outer = self._own | set(self._per)
        inner = [
            r
            for r in self.program.tensor_ranks[tensor]
            if r not in outer and not self._members(r) <= outer
        ]
        held = sympy.Mul(size, size_of(self.program, inner))
        return TensorFootprint(
            tensor=tensor, along=size, held=held, reason="; ".join(reasons) or "one at a time"
        )

    def _members(self, rank: str) -> set[str]:
        """The members of a family; of any other rank, the rank."""
        known = self.program.rank_of.get(rank)
        return set(known.partition) if known is not None and known.partition else {rank}

    def _along(self, tensor: str) -> tuple[Any, list[str]]:
        """Elements along the rank: the shape of each grain at which it is read again."""
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
        """The most that has to survive the end of any one pass."""
        import sympy

        totals = [sympy.Integer(0)]
        # Nothing has to survive the last pass.
        for number in range(1, self.rank.count):
            alive = [t.tensor for t in self.rank.tensors if _survives(t, number)]
            totals.append(sympy.Add(*(self._tensor(t).held for t in alive)))
        return sympy.Max(*totals)

    @property
    def extra(self) -> ExtraTraffic | None:
        import sympy

        inputs = {t.name for t in self.program.inputs}
        again = [t for t in self.rank.tensors if t.reread]
        if not again:
            return None
        # Written once and read in each later pass; an input needs no writing.
        spilled = sympy.Add(
            *(
                tensor_size(self.program, t.tensor)
                * (len(t.reread) + (0 if t.tensor in inputs else 1))
                for t in again
            )
        )
        sources = [(t, self._sources(t.tensor)) for t in again]
        # Within one pass one reading of an input serves all that is computed from it.
        visits = sorted({(p, s) for t, found in sources for p in t.reread for s in found})
        reread = sympy.Add(*(tensor_size(self.program, s) for _, s in visits))
        if any(self._is_picked(t.tensor) for t in again):
            reread = sympy.oo
        return ExtraTraffic(
            rank=self.rank.rank,
            needed=self._needed,
            spilled=factored(spilled),
            reread=factored(reread),
            tensors=tuple(t.tensor for t in again),
            inputs=tuple(dict.fromkeys(s for _, found in sources for s in found)),
        )

    def _is_picked(self, tensor: str) -> bool:
        """Whether an element is computed from what is picked along the rank, by value or place."""
        einsums = self.program.einsum_of
        made = [einsums[name] for name in self._computed_from(tensor) if name in einsums]
        elsewhere = [a for e in made for a in e.reads if not self._carries(a.tensor)]
        places = (i.access.tensor for a in elsewhere for i in a.indices if isinstance(i, ir.Gather))
        return any(e.select is not None for e in made) or any(map(self._carries, places))

    def _sources(self, tensor: str) -> tuple[str, ...]:
        """Inputs that carry the rank and that an element of ``tensor`` is computed from."""
        inputs = {t.name for t in self.program.inputs}
        return tuple(sorted(inputs.intersection(self._computed_from(tensor))))

    def _computed_from(self, tensor: str) -> set[str]:
        """Tensors that carry the rank and that an element of ``tensor`` is computed from."""
        seen: set[str] = set()
        queue = [tensor]
        while queue:
            name = queue.pop()
            if name not in seen and self._carries(name):
                seen.add(name)
                made = self.program.einsum_of.get(name)
                queue.extend(a.tensor for a in (made.reads if made else ()))
        return seen

    def _carries(self, tensor: str) -> bool:
        return bool(set(self.program.tensor_ranks.get(tensor, ())) & self._own)


def _survives(tensor: TensorPasses, number: int) -> bool:
    """Whether a tensor is traversed up to pass ``number`` and read after it."""
    first = min(p for p in (tensor.written, *tensor.read) if p is not None)
    return first <= number and any(p > number for p in tensor.read)
