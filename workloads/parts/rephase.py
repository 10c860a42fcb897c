"""The same model with other tokens: one that is decoded, or a piece of a prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from einsum_cascade.errors import Problem, SpecError

from ..attention.mixers import attention_of, heads_of
from ..attention.phases import Tokens, tokens_of, usual_layer
from ..models import ModelConfig
from ..spec import WorkloadSpec
from .model import ffn_up_of

W = TypeVar("W", bound=WorkloadSpec)


def with_tokens(work: W, model: ModelConfig, tokens: Tokens) -> W:
    """A model's workload for other tokens, by the cascades that compute these.

    Parameters
    ----------
    work : WorkloadSpec
        Its scope stays, and its layer where that runs then.
    model : ModelConfig
        The workload's.
    tokens : Tokens
        The phase, sequences, and lengths.

    Raises
    ------
    SpecError
        Widths were given by hand, which cascades of other phases may not follow.
    """
    given = sorted(set(work.heads.given) - {"B", "P", "M"})
    if given:
        text = f"{', '.join(given)}: given by hand, and other tokens take the model's widths"
        raise SpecError(Problem(text, hint="change config in its place"))
    usual = usual_layer(model, tokens.phase)
    index = work.layer if work.layer is not None and work.layer >= usual else usual
    layer = model.layer(index)
    found = attention_of(layer.mixer, tokens_of(model, layer, tokens))
    said = work.ffn_up != ffn_up_of(model.layer(work.layer or 0))
    return replace(
        work,
        phase=tokens.phase,
        computed=tokens,
        cached_len=tokens.cached_len,
        layer=index,
        cascade=found.cascade,
        shapes=found.shapes,
        heads=heads_of(found),
        ffn_up=work.ffn_up if said else ffn_up_of(model.layer(index)),
        notes=found.notes,
        omissions=found.omissions,
        stand_ins=found.stand_ins,
        unless_given=found.unless_given,
        stated=(),
        request=None,
    )
