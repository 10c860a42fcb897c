"""Part of a workload: a cascade, its shapes, and the number of times it runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError, did_you_mean, raise_all
from einsum_cascade.ir import Program
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span

from ..attention.layer_attention import GROUP_HEADS, GROUPS, ShapedCascade, checked_size
from ..spec import LINEAR

_TOKEN_RANKS = frozenset("BMNP")
"""Ranks that count sequences (B), or tokens in attention (M, P) and in linear layers (N)."""
_OUTPUT = "Z"
"""Name of the output tensor of a linear layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(ShapedCascade):
    """Cascade with its shapes, in elements by rank, and the number of times it runs."""

    name: str
    times: int = 1
    together: int = 1
    """Number of runs that start as one kernel, as they need nothing of one another: experts of a
    layer, heads of a product."""
    idle: int = 0
    """Number of further sets of the same weights that are in memory and do not run: experts."""
    weights: str = ""
    """Number format of the weights if it differs from the other tensors' format; else empty."""
    inputs: str = ""
    """Number format of the inputs that are no weights, likewise."""
    stage: str = ""
    """Stage of a request that the part belongs to: "prefill" or "decode"."""
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks that the user gave, and their positions in files; the cascade must have these ranks."""
    formats: TensorFormats = field(default=TensorFormats())
    """Number formats of the tensors."""
    made: tuple[tuple[str, str], ...] = ()
    """Pairs of a result and the name that cascades of attention give to the same tensor."""

    def in_formats(self, formats: TensorFormats) -> Part:
        """Return the part with given number formats.

        A result that attention reads has the format of the tensor in attention.
        """
        given = dict(formats.tensors)
        own = {name: given[there] for name, there in self.made if there in given}
        tensors = tuple(sorted((given | own).items()))
        return replace(self, formats=replace(formats, tensors=tensors))

    def with_own_weights(self) -> Part:
        """Return the part with its own formats for its inputs, unless ``formats`` names the tensor.

        Weights are the inputs without a rank of tokens or sequences.
        """
        program = Cascade.load(self.cascade).program if self.weights else None
        if program is None or "B" in program.parallel:
            return self
        own = dict.fromkeys((t.name for t in program.inputs), self.inputs) if self.inputs else {}
        own |= dict.fromkeys(weights_of(program), self.weights)
        tensors = own | dict(self.formats.tensors)
        formats = replace(self.formats, tensors=tuple(sorted(tensors.items())))
        return replace(self, formats=formats)

    def shapes_for(self, ranks: Collection[str], cascade: str = "") -> dict[str, int]:
        """Return the shapes of the ranks of a cascade.

        H are query heads and P query tokens. Where heads share keys and values, and the cascade has
        no rank for groups, heads become rows of one head: see ``layer_attention``.

        Parameters
        ----------
        ranks : collection of str
            Ranks of the cascade that runs, perhaps another than the part's own. Its parameters
            that count elements (a window) are included.
        cascade : str
            Name of that cascade, for the message of an error.

        Returns
        -------
        dict of str to int
            Elements by rank.

        Raises
        ------
        SpecError
            The user gave a rank that is not in ``ranks``.
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
        raise_all(problems, SpecError)
        shapes = self.heads.shapes(dict(self.unless_given) | dict(self.shapes), ranks)
        return {rank: size for rank, size in shapes.items() if rank in ranks}

    def folded_for(self, ranks: Collection[str]) -> int:
        """Return the number of query heads that are folded into one head; 1 without folding.

        The ranks of the cascade decide whether it folds heads.
        """
        return self.heads.folded(ranks)

    def notes_for(self, ranks: Collection[str]) -> tuple[str, ...]:
        """Return sentences about omissions, and about the folding of shared heads."""
        return (*self.notes, *self.heads.notes(dict(self.shapes), ranks))

    def left_out_by(self, program: Program) -> tuple[str, ...]:
        """Return a sentence for each feature of the part that a cascade lacks."""
        return tuple(o.note for o in self.omissions if o.applies_to(program))


def weights_of(program: Program) -> tuple[str, ...]:
    """Return the inputs without a rank of tokens or sequences: weights, or initial states of
    sequences if the cascade has a rank of sequences."""
    return tuple(t.name for t in program.inputs if _TOKEN_RANKS.isdisjoint(t.ranks))


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
    """Return a linear layer: N tokens times a matrix of ``features`` by ``projected`` weights.

    Parameters
    ----------
    name : str
        Name of the part.
    tokens, features, projected : int
        Shapes of N, D and J in elements.
    cascade : str
        Cascade with these ranks: a product, with or without an activation function.
    times : int
        Number of times the part runs; these runs start together.
    makes : str, optional
        Name of the result in attention.

    Raises
    ------
    SpecError
        A shape exceeds the largest size.
    """
    sizes = (("D", features), ("J", projected), ("N", tokens))
    shapes = tuple((rank, checked_size(rank, size)) for rank, size in sizes)
    made = ((_OUTPUT, makes),) if makes else ()
    return Part(name=name, cascade=cascade, shapes=shapes, times=times, together=times, made=made)
