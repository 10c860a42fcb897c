"""Summary of a model: parameters, operations, sizes of caches, and kinds of layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.counting.point_counts import count_points
from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Program
from einsum_cascade.operations import operations_of
from einsum_cascade.shapes import complete_shapes, resolve_shapes

from .attention.phases import Tokens
from .models import Cached, ModelConfig
from .parts.model import kinds_of_layers, with_tokens
from .parts.part import Part
from .policy import CACHE_ELEMENT_BITS
from .workload import Workload

_STATE = "SI"
"""Name that cascades give to their initial state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """Summary of a model in numbers.

    Examples
    --------
    >>> from workloads import load
    >>> found = summarize(load("llama-3-8b"))
    >>> found.parameters, found.cache_bytes_per_token, dict(found.layers)
    (8030261248, 131072, {'GQA': 32})
    """

    name: str
    parameters: int
    """Parameters of the checkpoint, with embeddings and output head; shared weights count once."""
    active_parameters: int
    """Parameters that one token uses: all except those of routed experts that skip the token."""
    operations: tuple[tuple[str, int], ...]
    """Operations of one token in all layers and the output head, by kind."""
    keys: int
    """Number of tokens that the counted token sees, itself included."""
    decoded: bool
    """True if the counted token is decoded after all other tokens.

    False if the operations are an average over all tokens.
    """
    cache_bytes_per_token: int | float
    """Bytes that a token adds to the cache of a sequence in all layers.

    An element has 2 bytes unless the workload gives a format.
    """
    state_bytes: int | float
    """Bytes that a sequence keeps in all layers, independent of its length. Keys and values of
    cross attention are included if the encoder has a fixed length.
    """
    encoder_cache_bytes_per_token: int | float
    """Bytes that a token of the encoder adds for cross attention; 0 if the encoder has a fixed
    length."""
    layers: tuple[tuple[str, int], ...]
    """Kinds of layers, each with its number of layers."""
    omitted: tuple[str, ...] = ()
    """Sentences about parts of the published model that the summary does not include."""
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``archsim show --summary --json``."""
        return {
            "parameters": self.parameters,
            "active_parameters": self.active_parameters,
            "operations_per_token": dict(self.operations),
            "cache_bytes_per_token": self.cache_bytes_per_token,
            "layers": dict(self.layers),
        }


def summarize(work: Workload) -> ModelSummary:
    """Return the summary of a workload's model.

    Operations are those of decoding one token that sees all keys of the workload (its M). An
    encoder computes all tokens at once; its operations are an average per token.

    Raises
    ------
    SpecError
        The workload has no model configuration, or the configuration does not
        give the size of the vocabulary, which the number of parameters needs.
    """
    model = work.model
    if model is None:
        text = f"{work.name}: a summary is of a model, and this workload has shapes alone"
        raise SpecError(text, hint="name one with a 'config', or a config.json")
    parameters, active = model.parameters, model.active_parameters
    if parameters is None or active is None:
        text = f"{work.name}: without 'vocab_size' the number of parameters is not known"
        raise SpecError(text, hint="--set workload.config.vocab_size=...")
    keys = work.computed.keys if work.computed is not None else work.seq_len or 1
    encoded = _bytes(work, model.cached_of_encoder)
    state = _bytes(work, ((_STATE, model.state_elements),))
    decoded = any(run.layer.mixer.causal for run in model.runs)
    return ModelSummary(
        name=work.name,
        parameters=parameters,
        active_parameters=active,
        operations=_operations(work, model, keys, decoded),
        keys=keys,
        decoded=decoded,
        cache_bytes_per_token=_bytes(work, model.cached),
        state_bytes=state + (model.encoder_len or 0) * encoded,
        encoder_cache_bytes_per_token=0 if model.encoder_len else encoded,
        layers=tuple(kinds_of_layers(model).items()),
        omitted=model.omitted,
        source=work.source or model.source,
    )


def _bytes(work: Workload, tensors: Cached) -> int | float:
    """Return the bytes of some tensors in their number formats, as a whole number if possible."""
    formats = work.stored_formats
    formats = replace(formats, word_bits=formats.word_bits or CACHE_ELEMENT_BITS)
    found = sum((formats.bits_of(name) * count for name, count in tensors), Fraction(0)) / 8
    return int(found) if found.denominator == 1 else float(found)


def _operations(
    work: Workload, model: ModelConfig, keys: int, decoded: bool
) -> tuple[tuple[str, int], ...]:
    tokens = Tokens(phase="decode", batch=1, seq_len=1, cached_len=keys - 1)
    if not decoded:
        tokens = Tokens(phase="prefill", batch=1, seq_len=keys, cached_len=0)
    one = with_tokens(replace(work, scope="model"), model, tokens)
    found: Counter[str] = Counter()
    for part in one.parts:
        for kind, number in _part_operations(part).items():
            found[kind] += part.times * number
    return tuple((kind, -(-n // tokens.queries)) for kind, n in sorted(found.items()))


def _part_operations(part: Part) -> Counter[str]:
    """Count the operations of one run of a part, by kind.

    A rank that mappings may tile counts as a single tile.
    """
    # The import stands here because it loads sympy, which only a summary needs.
    program = with_masks(Cascade.load(part.cascade).program)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    numbers = _rank_sizes(program, given)
    batch = prod(int(numbers.get(rank, 1)) for rank in program.parallel)
    each = operations_of(program)
    found: Counter[str] = Counter()
    for einsum in program.einsums:
        points = batch * count_points(program, einsum, numbers)
        for kind, times in each[einsum.name]:
            found[kind] += times * points
    return found


def _rank_sizes(program: Program, given: dict[str, int]) -> dict[str, float]:
    ranks = {*program.parallel, *(r.name for r in program.ranks)}
    shapes = {rank: size for rank, size in given.items() if rank in ranks}
    for rank in program.ranks:
        inside = rank.partition[1:]
        if inside and rank.name in shapes and not {*rank.partition} & {*shapes}:
            shapes |= dict.fromkeys(inside, 1) | {inside[-1]: shapes[rank.name]}
    parameters = {p.name: p.default for p in program.parameters if p.default is not None}
    given_parameters = {name: n for name, n in given.items() if name not in ranks}
    return {**parameters, **given_parameters, **resolve_shapes(program, shapes)}
