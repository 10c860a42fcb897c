"""Settings ``--set FIELD=VALUE``, sorted by the specification that each changes.

A field begins with ``architecture.``, ``mapping.``, ``technology.`` or ``workload.``. A field
without one of these belongs to the workload (``formats.K`` among them).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from einsum_cascade.errors import Problem, SpecError, collect_problems, did_you_mean, raise_all
from einsum_cascade.yaml.edit import Setting, parse_setting
from einsum_cascade.yaml.source import YamlScalar

Section = Literal["workload", "architecture", "mapping", "technology"]
SECTIONS: tuple[str, ...] = get_args(Section)
_OF_WORKLOADS = ("formats", "config", "shape")
"""Workload fields that have nested fields; a setting of these needs no ``workload.`` prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Settings, sorted by specification; the path of each begins below the specification's name."""

    workload: tuple[Setting, ...] = ()
    architecture: tuple[Setting, ...] = ()
    mapping: tuple[Setting, ...] = ()
    technology: tuple[Setting, ...] = ()

    def rooted(self, part: Section) -> tuple[Setting, ...]:
        """Return the settings of one specification, with paths from the root of its file."""
        found: tuple[Setting, ...] = getattr(self, part)
        return tuple(
            replace(s, path=(YamlScalar(span=s.span, value=part, text=part), *s.path))
            for s in found
        )

    @classmethod
    def of_part(cls, part: Section, given: Overriding) -> Overrides:
        """Sort settings that were given where only one specification is possible.

        Each may begin with the specification's name, and a setting of an architecture also with
        ``technology.``. Parsed settings are returned as they are.

        Raises
        ------
        SpecError
            A text is not a setting.
        """
        if isinstance(given, Overrides):
            return given
        found: dict[str, list[Setting]] = {part: []}
        for text in _texts(given):
            setting = parse_setting(text, prefix="")
            first, deep = setting.path[0].text, len(setting.path) > 1
            if deep and part == "architecture" and first == "technology":
                found.setdefault(first, []).append(setting.below(1))
            else:
                found[part].append(setting.below(1) if deep and first == part else setting)
        return cls(**{name: tuple(settings) for name, settings in found.items()})


Overriding = Overrides | Iterable[str]
"""Settings, either parsed or as texts."""


def parse_overrides(
    texts: Iterable[str], more: Iterable[Setting] = (), *, prefix: str = "--set "
) -> Overrides:
    """Parse settings and sort them by the specification that each changes.

    Parameters
    ----------
    texts : iterable of str
        Texts ``FIELD=VALUE``; the field may begin with the name of a specification.
    more : iterable of Setting
        Parsed settings.
    prefix : str
        Text before a setting where the user wrote it, for messages.

    Raises
    ------
    SpecError
        Names every text that is not a setting, or belongs to no specification.

    Examples
    --------
    >>> given = parse_overrides(["seq_len=64K", "architecture.clock=1 GHz"])
    >>> [[key.text for key in s.path] for s in (*given.workload, *given.architecture)]
    [['seq_len'], ['clock']]
    """
    wrong: list[Problem] = []
    settings: list[Setting] = []
    for text in _texts(texts):
        with collect_problems(wrong):
            settings.append(parse_setting(text, prefix))
    found: dict[str, list[Setting]] = {part: [] for part in SECTIONS}
    for setting in (*settings, *more):
        first = setting.path[0].text
        if first in SECTIONS:
            if len(setting.path) > 1:
                found[first].append(setting.below(1))
            else:
                what = f"a field of the {first} is expected: {first}.FIELD=VALUE"
                wrong.append(Problem(what, setting.span))
        elif len(setting.path) > 1 and first not in _OF_WORKLOADS:
            hint = did_you_mean(first, SECTIONS)
            wrong.append(Problem(f"'{first}' is none of {', '.join(SECTIONS)}", setting.span, hint))
        else:
            found["workload"].append(setting)
    for part in found.values():
        wrong += _set_twice(part)
    raise_all(wrong, SpecError)
    return Overrides(**{part: tuple(settings) for part, settings in found.items()})


def _set_twice(settings: Iterable[Setting]) -> Iterator[Problem]:
    """Yield a problem for each setting of a field that another one sets: one would be ignored."""
    first: dict[str, Setting] = {}
    for setting in settings:
        before = first.setdefault(setting.field, setting)
        if before is not setting:
            text = f"'{setting.field}' is set twice, also by {before.span}"
            yield Problem(text, setting.span, "leave one of them out")


def section_of(field: str) -> str:
    """Return the specification that a field belongs to: ``workload`` for ``seq_len``,
    ``formats.K``.

    Parameters
    ----------
    field : str
        Text before the ``=`` of a setting.
    """
    first, dot, _ = field.partition(".")
    return first if dot and first not in _OF_WORKLOADS else "workload"


def _texts(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError("overrides are a list of texts, not one text")
    return texts
