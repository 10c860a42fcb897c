"""What a workload runs: parts, each a cascade on shapes of its own, so and so often.

Attention alone is one part. A layer is its attention between projections, and a
feed-forward network; a model repeats its layers. A model whose layers differ (seven of
linear attention to one of softmax, experts) is several ``Block`` objects, each with the
number of times it occurs; the layers of a ``ModelConfig`` are taken apart in ``layer``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from einsum_cascade.errors import Problem, SpecError

from ..models import ModelConfig
from ..spec import LINEAR, Request, WorkloadSpec
from .block import Block
from .model import layer_notes, model_notes, model_parts
from .part import Part
from .request import decoded, request_note, staged


def attention_part(work: WorkloadSpec) -> Part:
    """The attention of a workload by itself.

    Parameters
    ----------
    work : WorkloadSpec
        Of any scope; in a wider one this part stands between the projections.
    """
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
        weights=work.model.weights.projections if work.model is not None else "",
    )


def parts_of(work: WorkloadSpec) -> tuple[Part, ...]:
    """What a workload runs, in order: attention alone, one layer, or all layers.

    Raises
    ------
    SpecError
        The scope needs a width, a number of layers or a shape that is not given.
    """
    parts: Iterable[Part] = _parts(work)
    if work.formats.stated:
        parts = (part.in_formats(work.formats) for part in parts)
    return tuple(part.with_own_weights() for part in parts)


def _parts(work: WorkloadSpec) -> tuple[Part, ...]:
    if work.request is not None and work.model is not None:
        return _of_request(work, work.model, work.request)
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


def _of_request(work: WorkloadSpec, model: ModelConfig, request: Request) -> tuple[Part, ...]:
    prompt = replace(work, request=None)
    answer = [(stretch, _parts(one)) for stretch, one in decoded(prompt, model, request)]
    return staged(_parts(prompt), answer)


def left_out(work: WorkloadSpec) -> tuple[str, ...]:
    """What the scope of a workload leaves out, in sentences.

    Returns
    -------
    tuple of str
        Notes of the result. Empty for attention alone, which promises no more.
    """
    if work.request is not None and work.model is not None:
        prompt = replace(work, request=None)
        answer = (one for _, one in decoded(prompt, work.model, work.request))
        said = (note for one in (prompt, *answer) for note in left_out(one))
        return (request_note(work.request), *dict.fromkeys(said))
    if work.scope == "attention":
        return ()
    activation = ", activation functions" if work.ffn_up == LINEAR else ""
    # What a model's configuration may have; shapes alone say nothing of positions and constants.
    of_model = ", rotary embeddings, scales by constants" if work.model is not None else ""
    found = [
        f"scope {work.scope}: linear layers and attention; normalisations{of_model}, biases, "
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
