"""A workload from a model: the tokens of a phase, the layer, and what to say about them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.source import Span
from einsum_cascade.yaml.source import YamlMapping, YamlNode

from ..attention.layer_attention import LayerAttention
from ..attention.mixers import attention_of
from ..attention.phases import AskedPhase, Phase, Tokens, tokens_of, usual_layer
from ..attention.shared_heads import SharedHeads
from ..huggingface.read import read_config
from ..models import ModelConfig
from ..spec import Request

DEFAULT_LENGTH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChoice:
    """What a user chose, file by file, already merged; None where nothing was said."""

    asked: AskedPhase = "prefill"
    batch: int | None = None
    seq_len: int | None = None
    cached_len: int | None = None
    prompt_len: int | None = None
    answer_len: int | None = None
    layer: int | None = None
    places: Mapping[str, Span]
    """Where each field was said last."""

    @property
    def phase(self) -> Phase:
        """The phase of the tokens computed first: a request begins with a prefill."""
        return "prefill" if self.asked == "request" else self.asked

    @property
    def request(self) -> Request | None:
        """The request that is asked for, if it is one."""
        if self.prompt_len is None or self.answer_len is None:
            return None
        return Request(prompt_len=self.prompt_len, answer_len=self.answer_len)

    def problem(self, name: str, message: str, hint: str | None = None) -> SpecError:
        """An error about a field, where it was written."""
        return SpecError(Problem(f"{name}: {message}", self.places.get(name), hint))

    def checked(self) -> TokenChoice:
        """The same choice.

        Raises
        ------
        SpecError
            ``cached_len`` is missing, or stands beside a phase without a cache; or
            ``seq_len`` beside one of a single token; likewise for the lengths of a request.
        """
        if self.asked == "request":
            return self._checked_request()
        for name in ("prompt_len", "answer_len"):
            if getattr(self, name) is not None:
                raise self.problem(name, "only phase 'request' has a prompt and an answer")
        if self.phase == "prefill" and self.cached_len:
            hint = "phase=decode or phase=chunked-prefill have a cache"
            raise self.problem("cached_len", "a prefill starts from an empty cache", hint)
        if self.phase != "prefill" and self.cached_len is None:
            what = "needs cached_len, the tokens of a sequence that came before"
            raise self.problem("phase", f"'{self.phase}' {what}", "for example cached_len=8191")
        if self.phase == "decode" and self.seq_len is not None:
            text = "decoding computes one token a sequence; cached_len says how many came before"
            raise self.problem("seq_len", text)
        return self

    def _checked_request(self) -> TokenChoice:
        """A request, whose prompt is what is computed first."""
        for name in ("seq_len", "cached_len"):
            if getattr(self, name) is not None:
                raise self.problem(
                    name, "a request has a prompt_len and an answer_len in its place"
                )
        if self.request is None:
            text = "'request' needs prompt_len and answer_len, the tokens asked and answered"
            raise self.problem("phase", text, "for example prompt_len=4096 and answer_len=512")
        return replace(self, seq_len=self.prompt_len)

    def refuse_cache(self) -> None:
        """Refuse a phase with a cache: what is asked for is an encoder's.

        Raises
        ------
        SpecError
            Tokens come before those computed.
        """
        if self.asked != "prefill":
            text = f"an encoder computes all tokens at once, so '{self.asked}' has no cache to read"
            raise self.problem("phase", text, "phase=prefill, with seq_len tokens")

    def shapes(self) -> dict[str, int]:
        """B, P and M, as far as they are given."""
        found = {} if self.batch is None else {"B": self.batch}
        cached = self.cached_len or 0
        queries = 1 if self.phase == "decode" else self.seq_len
        if queries is not None:
            found |= {"P": queries, "M": cached + queries}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayer:
    """One layer of a model as a workload."""

    model: ModelConfig
    index: int
    attention: LayerAttention
    tokens: Tokens
    notes: tuple[str, ...]

    @property
    def ffn_width(self) -> int | None:
        """Width inside its feed-forward network (inside one expert), or None."""
        ffn = self.model.layer(self.index).ffn
        return None if ffn is None else ffn.inner


def model_layer(config: YamlNode, choice: TokenChoice, ranks: Mapping[str, int]) -> ModelLayer:
    """The attention of the layer that was chosen, else of the most frequent one.

    Parameters
    ----------
    config : YamlNode
        The fields of a Hugging Face configuration.
    choice : TokenChoice
        Phase, lengths and layer.
    ranks : dict of str to int
        Shapes that are given by hand and win.

    Raises
    ------
    SpecError
        The configuration is wrong, there is no such layer, or nothing computes it.
    """
    model = read_config(config)
    # A request is decoded in the end, by what has a cache.
    phase = choice.phase if choice.request is None else "decode"
    index = usual_layer(model, phase) if choice.layer is None else choice.layer
    if index >= model.layer_count:
        last = model.layer_count - 1
        raise choice.problem("layer", f"the model's layers are 0 to {last}, got {index}")
    if choice.request is not None:
        _check_request(model, choice, by_hand=not {"P", "M"}.isdisjoint(ranks))
    layer = model.layer(index)
    if layer.cross is None and not getattr(layer.mixer, "causal", True):
        choice.refuse_cache()
    tokens, assumed = _tokens(model, choice, ranks)
    try:
        attention = attention_of(layer.mixer, tokens_of(model, layer, tokens))
    except SpecError as wrong:
        place = next((choice.places[n] for n in ("M", "P", "seq_len") if n in choice.places), None)
        raise SpecError([Problem(p.message, place, p.hint) for p in wrong.problems]) from None
    by_hand = not {"P", "M"}.isdisjoint(ranks)
    return ModelLayer(
        model=model,
        index=index,
        attention=attention,
        tokens=tokens,
        notes=(*(() if by_hand else assumed), *attention.notes),
    )


def _check_request(model: ModelConfig, choice: TokenChoice, by_hand: bool) -> None:
    """Refuse requests to what does not answer token by token."""
    if by_hand:
        raise choice.problem("phase", "P and M are given by hand, and follow from a request")
    cross = any(run.layer.cross is not None for run in model.runs)
    if cross and model.encoder_len is None:
        text = "an encoder and a decoder have lengths of their own, and no request is made of these"
        raise choice.problem("phase", text, "phase=prefill, and phase=decode")


def _tokens(
    model: ModelConfig, choice: TokenChoice, ranks: Mapping[str, int]
) -> tuple[Tokens, tuple[str, ...]]:
    """The tokens computed, and a note where their number was not given."""
    length = choice.seq_len or model.tokens or DEFAULT_LENGTH
    assumed = choice.seq_len is None and model.tokens is None and choice.phase != "decode"
    tokens = Tokens(
        phase=choice.phase,
        batch=choice.batch or 1,
        seq_len=length,
        cached_len=choice.cached_len or 0,
        given_queries=ranks.get("P"),
        given_keys=ranks.get("M"),
    )
    return tokens, (f"seq_len was not given: {length} tokens are taken",) if assumed else ()


def shared_heads(
    attention: LayerAttention,
    shapes: Mapping[str, int],
    choice: TokenChoice,
    ranks: Collection[str],
) -> SharedHeads:
    """How the query heads that are computed share keys and values.

    Parameters
    ----------
    attention : LayerAttention
        The layer's.
    shapes : mapping of str to int
        The layer's, with those given by hand.
    choice : TokenChoice
        Where fields were written, for a problem's place.
    ranks : collection of str
        Ranks whose shapes were given by hand.

    Raises
    ------
    SpecError
        H was given by hand and does not divide into groups as large as the model's.
    """
    kv_heads, heads = attention.kv_heads, shapes.get("H", 1)
    group = dict(attention.shapes)["H"] // kv_heads if kv_heads else 1
    group = heads if kv_heads == 1 else group
    if heads % group:
        text = f"{heads} query heads are not groups of {group}, which share keys and values"
        raise choice.problem("H", text)
    return SharedHeads(
        group=group,
        variants=attention.variants,
        given=tuple(ranks),
        own_values=attention.own_values,
    )


def places_of(trees: Iterable[YamlNode | None]) -> dict[str, Span]:
    """Where each field, and each rank below ``shape``, was written; later trees win."""
    found: dict[str, Span] = {}
    for tree in trees:
        for part in (tree, tree.child("shape") if tree is not None else None):
            if isinstance(part, YamlMapping):
                found |= {key.text: key.span for key, _ in part.entries}
    return found
