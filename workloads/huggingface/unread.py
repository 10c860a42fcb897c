"""Fields of a configuration that nothing reads: what they may be, and the refusal of the others.

A configuration has dozens of fields for training, generation and file handling. These change
no shape and no operation that is counted, and may be there. Any other field that its family
does not read may change what is computed (experts, kinds of layers, quantised weights), and is
refused unless its value turns it off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.source import YamlMapping, YamlNode, shorten

HARMLESS: tuple[str, ...] = (
    # What the file is, and who wrote it.
    *("model_type", "architectures", "source", "name", "title", "license", "language", "_*"),
    *("name_or_path", "auto_map", "*_version", "torch_dtype", "dtype", "torchscript"),
    *("use_bfloat16", "*_in_fp32", "tokenizer_class", "prefix", "id2label", "label2id"),
    *("num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    # Tokens with a meaning, and how text is generated.
    *("*_token_id", "*_token_ids", "*_token_index", "bad_words_ids", "*suppress_tokens"),
    *("do_sample", "early_stopping", "temperature", "top_k", "top_p", "typical_p", "num_beams"),
    *("num_beam_groups", "num_return_sequences", "*_penalty", "*no_repeat_ngram_size"),
    *("max_length", "min_length", "remove_invalid_values", "use_cache", "cache_implementation"),
    # Training.
    *("*dropout*", "*_drop_rate", "*_pdrop", "*layerdrop*", "*drop_path*", "initializer_*"),
    *("init_*", "*_init", "*_init_std", "*_init_scheme", "*loss*", "aux_*", "*_aux"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *(
        "output_router_logits",
        "output_past",
        "return_*",
        "use_return_dict",
        "gradient_checkpointing",
        "router_jitter_noise",
    ),
    *("summary_*", "classifier_*", "pruned_heads", "rescale_prenorm_residual"),
    # How work is cut and spread, which changes none of it.
    *("pretraining_tp", "ep_size", "tensor_parallel*", "fuse_*", "fused_*", "use_flash*"),
    *("attn_implementation", "chunk_size_feed_forward", "reorder_and_upcast_attn"),
    # Positions: rotations are not counted. How long a sequence may be says not how long it is.
    *("rope_*", "rotary_*", "*_rotary_*", "max_position_embeddings", "n_positions", "n_ctx"),
    *("original_max_position_embeddings", "max_sequence_length", "model_max_length"),
    *("initial_context_length", "relative_attention_max_distance"),
    # Constants inside functions: as many operations, whatever they are.
    *("*_eps", "*_epsilon", "scale_attn_*", "query_pre_attn_scalar", "logit_scale"),
    *("routed_scaling_factor", "norm_topk_prob", "scoring_func", "topk_method"),
    *("topk_group", "n_group"),
)
"""Names, and patterns of names, of fields that any family may have."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        # Rotations are not counted; a bias of scores (alibi, relative_key) would be.
        "position_embedding_type": ("absolute", "rope", "rope_gptj", "nope"),
        "hidden_act": ("silu", "swish"),
    }
)
"""Values by field that change nothing where the field is not read."""


SETTING = "workload.config."
"""What settings of a configuration's fields begin with."""
_FURTHER = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Fields that say how many layers predict further tokens."""


def beside_layers(root: YamlNode) -> tuple[str, ...]:
    """What a configuration has that is no part of the layers that run, in sentences.

    Raises
    ------
    SpecError
        It has a number of layers that predict further tokens that is none.
    """
    inner = root.child("text_config")
    found = []
    further = max(_count(node, name) for node in (root, inner) for name in _FURTHER)
    if further and _plain(root, "use_mtp") is not False:
        layers = "layer that predicts" if further == 1 else "layers that predict"
        found.append(f"{further} {layers} further tokens: neither counted nor run")
    if inner is not None and _plain(root, "vision_config"):
        found.append("the encoder of images counts as parameters, and is not run")
    return tuple(found)


def _plain(node: YamlNode | None, name: str) -> Any:
    field = node.child(name) if node is not None else None
    return field.plain() if field is not None else None


def _count(node: YamlNode | None, name: str) -> int:
    value = _plain(node, name)
    if node is None or value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        text = f"{name}: expected how many layers predict further tokens, a whole number from 0"
        got = f"the text '{shorten(value)}'" if isinstance(value, str) else shorten(str(value))
        raise SpecError(Problem(f"{text}, got {got}", node.span_of((name,))))
    return value


def unread_problems(
    root: YamlNode,
    read: frozenset[str],
    family: str,
    *,
    harmless: tuple[str, ...] = (),
    alike: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Problem]:
    """Fields that nothing reads and that may change what is computed.

    Parameters
    ----------
    root : YamlNode
        The configuration.
    read : frozenset of str
        Fields that the family's reader knows.
    family : str
        Its name, for the message.
    harmless : tuple of str
        Names and patterns beside ``HARMLESS``.
    alike : mapping
        Other names of what was read, and the value that they must have.
    """
    if not isinstance(root, YamlMapping):
        return
    for key, node in root.entries:
        name = key.text
        value = node.plain()
        if name in alike:
            # A list in a file is a tuple once it is read.
            if (tuple(value) if isinstance(value, list) else value) not in (None, alike[name]):
                text = f"{name}: expected {alike[name]}, as the other fields say"
                yield Problem(text, node.span)
        elif name in read or any(fnmatchcase(name, p) for p in (*HARMLESS, *harmless)):
            continue
        elif value and value not in NEUTRAL.get(name, ()):
            text = f"'{shorten(name)}' is not read for {family}, and may change what is computed"
            hint = f"if it changes nothing, leave it out: --set {SETTING}{shorten(name)}=null"
            yield Problem(text, key.span, hint)
