"""``--set FIELD=VALUE``: which specification a setting is for.

``architecture.``, ``mapping.``, ``technology.`` and ``workload.`` say it; a field without
one of these is the workload's (``formats.K`` among them).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.yaml.edit import Setting, parse_setting
from einsum_cascade.yaml.source import YamlScalar

Section = Literal["workload", "architecture", "mapping", "technology"]
SECTIONS: tuple[str, ...] = get_args(Section)
_OF_WORKLOADS = ("formats", "config", "shape")
"""Fields of a workload that have fields of their own: they need no ``workload.`` before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Settings by specification, each from the first field below its section."""

    workload: tuple[Setting, ...] = ()
    architecture: tuple[Setting, ...] = ()
    mapping: tuple[Setting, ...] = ()
    technology: tuple[Setting, ...] = ()

    def rooted(self, part: Section) -> tuple[Setting, ...]:
        """The settings of one specification, from the root of its file."""
        found: tuple[Setting, ...] = getattr(self, part)
        return tuple(
            Setting(path=(_key(part, setting), *setting.path), value=setting.value)
            for setting in found
        )

    @classmethod
    def of_part(cls, part: Section, texts: Iterable[str]) -> Overrides:
        """Settings given where only one specification is meant.

        An architecture's may also start with ``technology.``.

        Raises
        ------
        SpecError
            A text is no setting.
        """
        own: list[Setting] = []
        technology: list[Setting] = []
        for text in _texts(texts):
            setting = parse_setting(text, prefix="")
            first = setting.path[0].text
            deep = len(setting.path) > 1
            if part == "architecture" and first == "technology" and deep:
                technology.append(setting.below(1))
            else:
                own.append(setting.below(1) if first == part and deep else setting)
        if part == "technology":
            return cls(technology=tuple(own))
        if part == "architecture":
            return cls(architecture=tuple(own), technology=tuple(technology))
        return cls(mapping=tuple(own)) if part == "mapping" else cls(workload=tuple(own))


Overriding = Overrides | Iterable[str]
"""Settings as parsed, or as texts."""


def parse_overrides(texts: Iterable[str]) -> Overrides:
    """Read what follows every ``--set``.

    Parameters
    ----------
    texts : iterable of str
        ``FIELD=VALUE`` each; the field's first name may be a specification's.

    Raises
    ------
    SpecError
        Naming every text that is no setting, or is for no specification.

    Examples
    --------
    >>> given = parse_overrides(["seq_len=64K", "architecture.clock=1 GHz"])
    >>> [[key.text for key in s.path] for s in (*given.workload, *given.architecture)]
    [['seq_len'], ['clock']]
    """
    problems: list[Problem] = []
    settings: list[Setting] = []
    for text in _texts(texts):
        try:
            settings.append(parse_setting(text))
        except SpecError as wrong:
            problems.extend(wrong.problems)
    return sorted_settings(settings, problems)


def sorted_settings(settings: Iterable[Setting], problems: Iterable[Problem] = ()) -> Overrides:
    """Settings by the specification that each is for.

    Parameters
    ----------
    settings : iterable of Setting
        Whose first step may be a specification's name.
    problems : iterable of Problem
        What is wrong already, to be told together.

    Raises
    ------
    SpecError
        Naming every setting that is for no specification, and the problems given.
    """
    told = list(problems)
    found: dict[str, list[Setting]] = {part: [] for part in SECTIONS}
    for setting in settings:
        first = setting.path[0].text
        if first in SECTIONS:
            if len(setting.path) > 1:
                found[first].append(setting.below(1))
            else:
                what = f"a field of the {first} is expected: {first}.FIELD=VALUE"
                told.append(Problem(what, setting.span))
        elif len(setting.path) > 1 and first not in _OF_WORKLOADS:
            hint = did_you_mean(first, SECTIONS)
            what = f"'{first}' is none of {', '.join(SECTIONS)}"
            told.append(Problem(what, setting.span, hint))
        else:
            found["workload"].append(setting)
    if told:
        raise SpecError(told)
    return Overrides(**{part: tuple(settings) for part, settings in found.items()})


def section_of(field: str) -> str:
    """The specification that a field is of: ``workload`` for ``seq_len`` and ``formats.K``.

    Parameters
    ----------
    field : str
        As before the ``=`` of a setting.
    """
    first, dot, _ = field.partition(".")
    return first if dot and first not in _OF_WORKLOADS else "workload"


def _texts(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError("overrides are a list of texts, not one text")
    return texts


def _key(part: str, setting: Setting) -> YamlScalar:
    return YamlScalar(span=setting.span, value=part, text=part)
