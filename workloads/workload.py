"""Workloads: a cascade with its shapes, and the parts that it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from einsum_cascade.errors import SpecError
from einsum_cascade.source import html_text

from .attention.layer_attention import Shapes
from .attention.phases import Tokens
from .models import ModelConfig
from .parts.model import Block, layer_notes, model_notes, model_parts, with_tokens
from .parts.part import Part
from .policy import MAX_STRETCHES_OF_ANSWER
from .spec import LINEAR, Request, WorkloadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload(WorkloadSpec):
    """Cascade to compute, and its shapes: see ``WorkloadSpec`` for the fields."""

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """Return the shapes of the attention for a cascade with given ranks: see
        ``Part.shapes_for``.

        Raises
        ------
        SpecError
            The user gave a rank that is not in ``ranks``.
        """
        return self._attention().shapes_for(ranks)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that run, in order: the attention, or the layers in the scope.

        Raises
        ------
        SpecError
            The scope needs a width, a number of layers, or a shape that is not given.
        """
        parts: Iterable[Part] = self._scope_parts()
        if self.stored_formats.stated:
            parts = (part.in_formats(self.stored_formats) for part in parts)
        return tuple(part.with_own_weights() for part in parts)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences about operations that the scope leaves out."""
        if self.request is not None and self.model is not None:
            prompt, answer = self._stages(self.model, self.request)
            notes = (note for one in (prompt, *(w for _, w in answer)) for note in one.left_out)
            return (request_note(self.request), *dict.fromkeys(notes))
        if self.scope == "attention":
            return ()
        activation = ", activation functions" if self.ffn_up == LINEAR else ""
        # A configuration may have rotary embeddings and scales; shapes alone say nothing of them.
        of_model = ", rotary embeddings, scales by constants" if self.model is not None else ""
        found = [
            f"scope {self.scope}: linear layers and attention; normalisations{of_model}, biases, "
            f"residual sums{activation} are not counted"
        ]
        if self.model is not None:
            return (*found, *model_notes(self, self.model))
        if self.scope == "model":
            found.append(f"{self.layers} layers alike; embeddings and output head are not counted")
        queries, keys = self.shape("P"), self.shape("M")
        if queries is not None and keys is not None and queries != keys:
            found.append(
                f"keys and values are projected for all M = {keys:,} keys beside P = {queries:,} "
                "queries: none comes from a cache"
            )
        return tuple(found)

    def _repr_html_(self) -> str:
        shapes = ", ".join(f"{rank} {size:,}" for rank, size in self.shapes)
        facts = [
            ("cascade", self.cascade),
            ("scope", self.scope),
            ("phase", self.phase),
            ("shapes", shapes),
        ]
        if self.layers is not None:
            facts.append(("layers", f"{self.layers:,}"))
        facts += [("note", note) for note in self.notes]
        rows = "".join(
            f"<tr><td style='text-align:left'><b>{html_text(label)}</b></td>"
            f"<td style='text-align:left'>{html_text(value)}</td></tr>"
            for label, value in facts
        )
        return f"<div><h4>workload {html_text(self.name)}</h4><table>{rows}</table></div>"

    def _attention(self) -> Part:
        """Return the attention as a part; in a wider scope, projections surround this part."""
        layer = self.model.layer(self.layer or 0) if self.model is not None else None
        return Part(
            name="attention",
            stated=self.stated,
            weights=layer.weights.of("attention")[0] if layer is not None else "",
            **self.features | {"notes": (*layer_notes(self), *self.notes)},
        )

    def _scope_parts(self) -> tuple[Part, ...]:
        if self.request is not None and self.model is not None:
            prompt, answer = self._stages(self.model, self.request)
            decoded = [(stretch, one._scope_parts()) for stretch, one in answer]
            return merge_stages(prompt._scope_parts(), decoded)
        attention = self._attention()
        if self.scope == "attention":
            return (attention,)
        if self.model is not None:
            return model_parts(self, attention, self.model)
        layers = 1 if self.scope == "block" else self.layers
        if self.model_width is None or self.ffn_width is None or layers is None:
            wanted = ("model_width", "ffn_width", *(("layers",) if layers is None else ()))
            absent = [name for name in wanted if getattr(self, name) is None]
            hint = f"add {absent[0]} to the workload, or --set {absent[0]}=..."
            text = f"{self.name}: scope '{self.scope}' needs {', '.join(absent)}"
            raise SpecError(text, hint=hint)
        model, inner, up = self.model_width, self.ffn_width, self.ffn_up
        block = Block(
            attention=attention, model_width=model, ffn_width=inner, ffn_up=up, times=layers
        )
        return block.parts()

    def _stages(
        self, model: ModelConfig, request: Request
    ) -> tuple[Workload, list[tuple[Stretch, Workload]]]:
        """Return the workload of a prompt, and of the middle token of each run of answer tokens.

        Raises
        ------
        SpecError
            The user gave widths.
        """
        prompt = replace(self, request=None)
        batch = self.computed.batch if self.computed is not None else self.batch or 1
        answer = []
        for stretch in stretches(request):
            tokens = Tokens(phase="decode", batch=batch, seq_len=1, cached_len=stretch.cached_len)
            answer.append((stretch, with_tokens(prompt, model, tokens)))
        return prompt, answer


PROMPT, ANSWER = "prefill", "decode"
"""Names of the stages of a request; they prefix the names of its parts."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Run of consecutive tokens of an answer, which is simulated by the token in its middle."""

    cached_len: int
    """Tokens before the token in the middle."""
    times: int


def stretches(request: Request) -> tuple[Stretch, ...]:
    """Divide the decoded tokens into runs of consecutive tokens, as equal in length as possible.

    The middle token of a run stands for all its tokens. If a run has two tokens in the middle, the
    earlier and the later one are taken in turn. A cost that is linear in the cache length adds up
    to the cost of all tokens.

    Examples
    --------
    >>> [(s.cached_len, s.times) for s in stretches(Request(prompt_len=100, answer_len=4))]
    [(100, 1), (101, 1), (102, 1)]
    >>> found = stretches(Request(prompt_len=100, answer_len=101))
    >>> len(found), sum(s.times for s in found), sum(s.times * s.cached_len for s in found)
    (8, 100, 14950)
    """
    steps = request.answer_len - 1
    count = min(steps, MAX_STRETCHES_OF_ANSWER)
    found = []
    even = 0
    for index in range(count):
        first, end = index * steps // count, (index + 1) * steps // count
        doubled = first + end - 1
        middle = (doubled + even % 2) // 2
        even += doubled % 2
        found.append(Stretch(cached_len=request.prompt_len + middle, times=end - first))
    return tuple(found)


def merge_stages(
    prompt: tuple[Part, ...], answer: list[tuple[Stretch, tuple[Part, ...]]]
) -> tuple[Part, ...]:
    """Return all parts of a request; equal parts in several runs of tokens become one part."""
    found = [replace(part, name=f"{PROMPT}.{part.name}", stage=PROMPT) for part in prompt]
    merged: dict[tuple[str, str, Shapes], Part] = {}
    keys: list[int] = []
    for stretch, parts in answer:
        for part in parts:
            part_so_far = merged.get(key := (part.name, part.cascade, part.shapes))
            if part_so_far is None:
                part_so_far = replace(part, times=0, stage=ANSWER)
                keys.append(stretch.cached_len + 1)
            merged[key] = replace(part_so_far, times=part_so_far.times + stretch.times * part.times)
    names = [name for name, _, _ in merged]
    for part, at in zip(merged.values(), keys, strict=True):
        several = names.count(part.name) > 1
        name = f"{ANSWER}.{part.name}" + (f"-at-{at}" if several else "")
        found.append(replace(part, name=name))
    return tuple(found)


def request_note(request: Request) -> str:
    """Return a sentence that tells how the answer of a request is simulated."""
    found = stretches(request)
    steps = request.answer_len - 1
    first = (
        f"a request of {request.prompt_len:,} tokens, whose answer's first comes out of the prompt"
    )
    if not found:
        return f"{first} and is its only one"
    if len(found) == steps:
        return f"{first}; each of {steps:,} further ones is simulated"
    return (
        f"{first}; {steps:,} further ones in {len(found)} stretches, each of which counts as the"
        " token in its middle"
    )
