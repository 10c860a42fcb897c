"""What a workload runs: parts, each a cascade on shapes of its own, so and so often.

Attention alone is one part. A layer is its attention between projections, and a
feed-forward network; a model repeats its layers. A model whose layers differ (seven of
linear attention to one of softmax, experts) is several ``Block`` objects, each with the
number of times it occurs; the layers of a ``ModelConfig`` are taken apart in ``layer_parts``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from einsum_cascade.errors import Problem, SpecError

from .layer_parts import around_heads
from .model_parts import layer_notes, model_notes, model_parts
from .part import LINEAR, Part, linear

if TYPE_CHECKING:
    from .config import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A layer of a model: attention with its projections, and a feed-forward network.

    ``attention`` has shapes of B sequences, H heads of width E (queries and keys) and F
    (values), P queries and M keys a sequence. Projections and feed-forward network are
    matrix multiplications over the tokens of all sequences together. Normalisations,
    biases and residual sums are left out.

    Raises
    ------
    SpecError
        Attention has no shape of a rank that the projections need.
    """

    attention: Part
    model_width: int
    """Width of the residual stream, D."""
    ffn_width: int
    """Width inside the feed-forward network, S."""
    key_heads: int | None = None
    """Heads of keys and values; None: as many as of queries. Fewer share them (GQA, MQA)."""
    new_keys: int | None = None
    """Keys a sequence that are projected here, perhaps none; None: all. The others come from
    a cache."""
    ffn_up: str = LINEAR
    """The cascade that widens a token inside the feed-forward network, its activation
    function and gate included: a built-in name or a file; ranks as ``linear-layer``."""
    times: int = 1
    """How many such layers there are."""
    name: str = ""
    """Put before the names of its parts where a model has several kinds of layers."""

    def __post_init__(self) -> None:
        given = dict(self.attention.shapes)
        if missing := [rank for rank in "BHEFPM" if rank not in given]:
            what = f"the shape{'s' * (len(missing) > 1)} of {', '.join(missing)}"
            raise SpecError(f"projections and feed-forward layers need {what}")

    def parts(self) -> tuple[Part, ...]:
        """The parts of the layer in the order they run."""
        shapes = dict(self.attention.shapes)
        tokens = shapes["B"] * shapes["P"]
        d, inner = self.model_width, self.ffn_width
        parts = (
            *around_heads(self.attention, d, self.key_heads, self.new_keys),
            linear("ffn-up", tokens, d, inner, cascade=self.ffn_up),
            linear("ffn-down", tokens, inner, d),
        )
        name = f"{self.name}." if self.name else ""
        return tuple(
            replace(part, name=name + part.name, times=part.times * self.times) for part in parts
        )


def attention_part(work: Workload) -> Part:
    """The attention of a workload by itself."""
    return Part(
        name="attention",
        cascade=work.cascade,
        shapes=work.shapes,
        stated=work.stated,
        heads=work.heads,
        notes=(*layer_notes(work), *work.notes),
        omissions=work.omissions,
        stand_ins=work.stand_ins,
        unless_given=work.unless_given,
    )


def parts_of(work: Workload) -> tuple[Part, ...]:
    """What a workload runs, in order: attention alone, one layer, or all layers.

    Raises
    ------
    SpecError
        The scope needs a width, a number of layers or a shape that is not given.
    """
    attention = attention_part(work)
    if work.scope == "attention":
        return (attention,)
    if work.model is not None:
        return model_parts(work, attention, work.model)
    layers = 1 if work.scope == "block" else work.layers
    if work.model_width is None or work.ffn_width is None or layers is None:
        wanted = ("model_width", "ffn_width", *(("layers",) if layers is None else ()))
        absent = [name for name in wanted if getattr(work, name) is None]
        hint = f"add {absent[0]} to the workload, or --set {absent[0]}=..."
        text = f"{work.name}: scope '{work.scope}' needs {', '.join(absent)}"
        raise SpecError(Problem(text, hint=hint))
    return Block(
        attention=attention,
        model_width=work.model_width,
        ffn_width=work.ffn_width,
        ffn_up=work.ffn_up,
        times=layers,
    ).parts()


def left_out(work: Workload) -> tuple[str, ...]:
    """What the scope of a workload leaves out, in sentences."""
    if work.scope == "attention":
        return ()
    activation = ", activation functions" if work.ffn_up == LINEAR else ""
    found = [
        f"scope {work.scope}: linear layers and attention; normalisations, biases, "
        f"residual sums{activation} are not counted"
    ]
    if work.model is not None:
        return (*found, *model_notes(work, work.model))
    if work.scope == "model":
        found.append(f"{work.layers} layers alike; embeddings and output head are not counted")
    queries, keys = work.shape("P"), work.shape("M")
    if queries is not None and keys is not None and queries != keys:
        found.append(
            f"keys and values are projected for all M = {keys:,} keys beside P = {queries:,} "
            "queries: none comes from a cache"
        )
    return tuple(found)
