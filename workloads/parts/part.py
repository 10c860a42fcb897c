"""A part of a workload: a cascade on shapes of its own, so and so often."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.ir import Program
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span

from ..attention.layer_attention import LayerOmission
from ..attention.shared_heads import GROUP_HEADS, GROUPS, SharedHeads, checked_size
from ..spec import LINEAR

Shapes = tuple[tuple[str, int], ...]

_TOKEN_RANKS = frozenset("BMNP")
"""Ranks of sequences, and of the tokens of attention and of linear layers."""
_OUTPUT = "Z"
"""What a linear layer makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A cascade, its shapes in elements by rank, and how often it runs."""

    name: str
    cascade: str
    """A built-in name or a file."""
    shapes: Shapes
    times: int = 1
    weights: str = ""
    """The format of its weights, where it is not that of its other tensors."""
    stage: str = ""
    """Of a request, ``prefill`` or ``decode``."""
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks given for this cascade, and where: it must have them."""
    heads: SharedHeads = field(default=SharedHeads())
    """How query heads share keys and values."""
    notes: tuple[str, ...] = ()
    """What any cascade leaves out of the part, in sentences."""
    omissions: tuple[LayerOmission, ...] = ()
    """What other cascades than its own may leave out."""
    stand_ins: tuple[str, ...] = ()
    """Cascades that compute the part on the same shapes, but for their omissions."""
    unless_given: tuple[tuple[str, int], ...] = ()
    """Parameters of other cascades than its own, in elements."""
    formats: TensorFormats = field(default=TensorFormats())
    """Of the numbers in its tensors."""
    made: tuple[tuple[str, str], ...] = ()
    """Its results that are tensors of attention, and what they are called there."""

    def in_formats(self, formats: TensorFormats) -> Part:
        """The part on numbers of some formats: what it makes has that of what it is made for."""
        given = dict(formats.tensors)
        own = {name: given[there] for name, there in self.made if there in given}
        tensors = tuple(sorted((given | own).items()))
        return replace(self, formats=replace(formats, tensors=tensors))

    def with_own_weights(self) -> Part:
        """The part with its weights in their own format, where none is stated for these.

        Weights are what no token and no sequence has of its own.
        """
        program = Cascade.load(self.cascade).program if self.weights else None
        if program is None or "B" in program.parallel:
            return self
        own = [t.name for t in program.inputs if _TOKEN_RANKS.isdisjoint(t.ranks)]
        tensors = dict.fromkeys(own, self.weights) | dict(self.formats.tensors)
        formats = replace(self.formats, tensors=tuple(sorted(tensors.items())))
        return replace(self, formats=formats)

    def shapes_for(self, ranks: Collection[str], cascade: str = "") -> dict[str, int]:
        """The shapes of those ranks of a cascade that are given here.

        H are query heads and P query tokens. Where heads share keys and values and the
        cascade has no rank for it, they are rows of one head: see ``shared_heads``.

        Parameters
        ----------
        ranks : collection of str
            Of the cascade that is run, perhaps another than the part's own; its parameters
            that count elements (a window) among them.
        cascade : str
            Its name, where it is another, for the problem.

        Returns
        -------
        dict of str to int
            Elements by rank.

        Raises
        ------
        SpecError
            A rank that was given for the cascade is none of ``ranks``.
        """
        problems = [
            Problem(
                f"cascade '{cascade or self.cascade}' has no rank '{rank}'",
                span,
                did_you_mean(rank, ranks),
            )
            for rank, span in self.stated
            if rank not in ranks and not (rank == "H" and {GROUPS, GROUP_HEADS} <= {*ranks})
        ]
        if problems:
            raise SpecError(problems)
        shapes = self.heads.shapes(dict(self.unless_given) | dict(self.shapes), ranks)
        return {rank: size for rank, size in shapes.items() if rank in ranks}

    def folded_for(self, ranks: Collection[str]) -> int:
        """How many query heads become rows of one head in a cascade of those ranks."""
        return self.heads.folded(ranks)

    def notes_for(self, ranks: Collection[str]) -> tuple[str, ...]:
        """What is left out and how shared heads are computed, in sentences."""
        return (*self.notes, *self.heads.notes(dict(self.shapes), ranks))

    def left_out_by(self, program: Program) -> tuple[str, ...]:
        """What a cascade leaves out of this part, in sentences."""
        return tuple(o.note for o in self.omissions if o.applies_to(program))


def linear(
    name: str,
    tokens: int,
    features: int,
    projected: int,
    *,
    cascade: str = LINEAR,
    times: int = 1,
    makes: str = "",
) -> Part:
    """A matrix of ``features`` by ``projected`` weights, met by so many tokens.

    Parameters
    ----------
    name : str
        Of the part.
    tokens, features, projected : int
        Shapes of N, D and J in elements.
    cascade : str
        One with these ranks: a plain product, or one with an activation function.
    times : int
        How often it runs.
    makes : str, optional
        What attention calls its result.

    Raises
    ------
    SpecError
        There are more tokens than anything may have.
    """
    sizes = (("D", features), ("J", projected), ("N", tokens))
    shapes = tuple((rank, checked_size(rank, size)) for rank, size in sizes)
    made = ((_OUTPUT, makes),) if makes else ()
    return Part(name=name, cascade=cascade, shapes=shapes, times=times, made=made)
