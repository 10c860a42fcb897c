"""Readers of workloads, machines and mappings, which callers give by name and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from einsum_cascade.errors import InputError, SpecError
from einsum_cascade.yaml.edit import python_setting
from workloads import load
from workloads.workload import Workload

from ..spec.arch import Architecture
from ..spec.mapping import AUTO, MADE
from ..spec.mapping import Mapping as MappingSpec
from ..spec.overrides import Overrides, parse_overrides
from .job import Generators
from .selection import ByPart, Given, mapping_called, usual_mapping

FindMappings = Callable[[Workload, Architecture], ByPart]
Name = str | PathLike[str]
MappingArgument = Given | Name | Sequence[MappingSpec | Name]
"""Mapping as a caller gives it: a mapping or its name, several, one per part, ``"auto"``, or None.
"""


def overrides_of(settings: str | Sequence[str], fields: Mapping[str, Any]) -> Overrides:
    """Return settings grouped by the specification that they change.

    Settings are texts (``FIELD=VALUE``) or keywords.

    Raises
    ------
    SpecError
        One is no setting, or is for no specification.
    """
    texts = (settings,) if isinstance(settings, str) else settings
    dotted = (f"{k}={v}" for k, v in fields.items() if "." in k)
    more = [python_setting(k, v) for k, v in fields.items() if "." not in k]
    return parse_overrides((*texts, *dotted), more, prefix="")


def load_workload(workload: Workload | Name, given: Overrides) -> Workload:
    """Return a workload: the given one if it is loaded already, else the one of a name and
    settings.

    Raises
    ------
    SpecError
        The workload does not exist, is wrong, or is loaded already and settings are given for it.
    """
    if isinstance(workload, str | PathLike):
        return load(workload, given.workload)
    if given.workload:
        setting = given.workload[0]
        text = f"{setting.field}: the workload is loaded already, nothing is set in it any more"
        hint = f'workloads.load("{workload.name}", {setting.field}=...), or give its name'
        raise SpecError(text, setting.span, hint)
    return workload


def load_machine(architecture: Architecture | Name, given: Overrides) -> Architecture:
    """Return a machine: the given one if it is loaded already, else the one of a name and settings.
    Raises SpecError.
    """
    if not isinstance(architecture, Architecture):
        return Architecture.load(architecture, given)
    settings = (*given.architecture, *given.technology)
    if settings:
        text = f"{settings[0].field}: the architecture is loaded already, nothing is set in it"
        hint = "give its name, or Architecture.load(NAME, [FIELD=VALUE])"
        raise SpecError(text, settings[0].span, hint)
    return architecture


def load_mapping(
    mapping: MappingArgument,
    workload: Workload,
    machine: Architecture,
    given: Overrides,
    *,
    generators: Generators,
    find: FindMappings,
) -> Given:
    """Return the mapping of a workload, in the form that the planner takes.

    Parameters
    ----------
    mapping : Mapping, name, sequence of both, ByPart, or None
        Names are of built-in mappings or files; ``einsum-by-einsum`` is made, and ``auto`` is
        what ``find`` finds.
    given : Overrides
        Settings, of which those of the mapping are used.

    Raises
    ------
    SpecError
        There is no such mapping, or it takes no settings.
    MappingError
        None is found, or none can be made.
    """
    if isinstance(mapping, ByPart):
        _refuse_settings(given, " one mapping for each part is given")
        return mapping
    one = mapping is None or isinstance(mapping, str | PathLike | MappingSpec)
    several: Sequence[MappingSpec | Name] = (
        (() if mapping is None else (mapping,)) if one else tuple(mapping)  # type: ignore[arg-type, assignment]
    )
    names = [m if isinstance(m, MappingSpec) else fspath(m) for m in several]
    if AUTO in names:
        if len(names) > 1 or given.mapping:
            text = f"mapping {AUTO} searches for every part's mapping: give no other, and no field"
            raise InputError(text)
        return find(workload, machine)
    if given.mapping and not names:
        usual = usual_mapping(workload, machine)
        names = [usual.name] if usual else []
    _check_settings(names, given)
    return [
        m if isinstance(m, MappingSpec) else mapping_called(m, workload, machine, generators, given)
        for m in names
    ]


def _check_settings(names: Sequence[MappingSpec | str], given: Overrides) -> None:
    """Raise an error if settings are given for a mapping that takes none.

    Settings apply to a single written mapping that is given by name.
    """
    hint = ""
    if len(names) > 1:
        why = f" is for one mapping, but {len(names)} are given: change it in its file"
    elif not names:
        why = ": no mapping is written for this cascade, and one that is made takes no settings"
        hint = "write one, and name its file: --mapping FILE"
    elif isinstance(names[0], MappingSpec):
        why = ": the mapping is loaded already, nothing is set in it any more"
    elif names[0] in MADE:
        why = f": {names[0]} is made from the cascade and takes no settings"
    else:
        return
    _refuse_settings(given, why, hint)


def _refuse_settings(given: Overrides, why: str, hint: str = "") -> None:
    if given.mapping:
        setting = given.mapping[0]
        raise InputError(f"mapping.{setting.field}{why}", setting.span, hint)
