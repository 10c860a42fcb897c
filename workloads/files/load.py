"""Workload files: a model's shapes, a batch, a sequence length, and what to compute."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.edit import Setting, parse_setting, python_setting
from einsum_cascade.yaml.library import spec_tree

from ..workload import Workload
from .fields import FileFields, file_fields, setting_fields, workload_tree
from .merge import OF_LAYERS, merged
from .model import places_of

_MOST_LAYERS = 8


def load(
    name: str | PathLike[str],
    settings: str | Iterable[str | Setting] = (),
    **fields: int | str,
) -> Workload:
    """The built-in workload of a name, or the one in a file.

    Parameters
    ----------
    name : str or path
        A built-in name; anything with a slash or ending in ``.yaml`` is a file.
    settings : str, or iterable of str and Setting
        Fields as the command line sets them: ``"config.num_key_value_heads=32"``.
    **fields
        Fields by keyword: ``seq_len="64K"``, ``batch=1``, or shapes by rank, ``E=32``.
        They win over the file, and a rank wins over ``batch`` and ``seq_len``.

    Raises
    ------
    SpecError
        There is none, or it is wrong.

    Examples
    --------
    >>> load("bert-base", seq_len="1K").shape("P")
    1024
    >>> load("llama-3-8b", "config.num_hidden_layers=2").model.layer_count
    2
    """
    texts = (settings,) if isinstance(settings, str) else settings
    given = [parse_setting(s, prefix="") if isinstance(s, str) else s for s in texts]
    top = setting_fields([*given, *(python_setting(k, v) for k, v in fields.items())])
    layers = [top, file_fields(workload_tree(spec_tree("workloads", name)))]
    found = merged(_with_models(layers, name), os.fspath(name))
    _refuse_without_effect(found, layers, name)
    return found


def _with_models(layers: list[FileFields], name: str | PathLike[str]) -> list[FileFields]:
    """Settings, their file, and the workloads it starts from; lowest first."""
    found = list(layers)
    model = layers[0].spec.model or layers[1].spec.model
    while model is not None:
        found.append(file_fields(workload_tree(spec_tree("workloads", model))))
        model = found[-1].spec.model
        if len(found) > _MOST_LAYERS:
            raise SpecError(f"{name}: its models name one another without end")
    return found[::-1]


def _refuse_without_effect(
    found: Workload, layers: list[FileFields], name: str | PathLike[str]
) -> None:
    """Refuse settings that the result does not depend on.

    Raises
    ------
    SpecError
        A field of layers beside a scope of attention alone, or a model of which a workload
        that is complete by itself takes nothing.
    """
    settings, file = layers
    places = places_of([settings.fields])
    unused = [key for key in OF_LAYERS if getattr(settings.spec, key) is not None]
    if found.scope == "attention" and unused:
        hint = "add scope=block or scope=model"
        text = f"{unused[0]}: scope 'attention' runs attention alone, this changes nothing"
        raise SpecError(Problem(text, places.get(unused[0]), hint))
    if found.scope == "block" and settings.spec.layers is not None:
        text = "layers: scope 'block' runs one layer, this changes nothing"
        raise SpecError(Problem(text, places.get("layers"), "scope=model runs all of them"))
    if found.scope == "model" and settings.spec.layer is not None:
        text = "layer: scope 'model' runs all layers, this changes nothing"
        raise SpecError(Problem(text, places.get("layer"), "scope=block runs one of them"))
    without_ffn = found.model and all(run.layer.ffn is None for run in found.model.runs)
    if settings.spec.ffn_up is not None and without_ffn:
        text = "ffn_up: the model's layers have no feed-forward network"
        raise SpecError(Problem(text, places.get("ffn_up")))
    if settings.spec.model is None:
        return
    bare = replace(settings, spec=settings.spec.model_copy(update={"model": None}))
    try:
        without = merged(_with_models([bare, file], name), os.fspath(name))
    except SpecError:
        return
    if without == found:
        text = f"model: '{os.fspath(name)}' says all of it itself, another model changes nothing"
        hint = f"simulate '{settings.spec.model}' in its place"
        raise SpecError(Problem(text, places.get("model"), hint))
