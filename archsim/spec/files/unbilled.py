"""Settings of a technology that nothing reads: of what no machine bills, its node, and texts."""

from __future__ import annotations

from collections.abc import Iterable

from einsum_cascade.errors import Problem, SpecError
from einsum_cascade.yaml.edit import Setting

from ..arch import Architecture

_NODE = "node"
_TEXTS = ("title", "source")


def refuse_unread(settings: Iterable[Setting]) -> None:
    """Refuse to set what nothing reads of a technology: texts, and its node, as its numbers are
    of the node they were found at.

    Raises
    ------
    SpecError
        A setting does.
    """
    wrong = [
        Problem(
            "the node says what the numbers of a technology are of; nothing scales them to another",
            setting.span,
            "take a technology of that node (architecture.technology=NAME or FILE)",
        )
        for setting in settings
        if setting.path[0].text == _NODE
    ]
    wrong += [
        Problem(f"'{setting.path[-1].text}' is a text: nothing reads it", setting.span)
        for setting in settings
        if setting.path[-1].text in _TEXTS
    ]
    if wrong:
        raise SpecError(wrong)


def refuse_unbilled(machines: Iterable[Architecture], settings: Iterable[Setting]) -> None:
    """Refuse to set what no machine bills: an action, or a class of memory.

    Parameters
    ----------
    machines : iterable of Architecture
        Those that the settings are for.
    settings : iterable of Setting
        Of their technologies.

    Raises
    ------
    SpecError
        The result would not depend on a setting.
    """
    billed: dict[str, dict[str, None]] = {"actions": {}, "memories": {}}
    names = []
    for machine in machines:
        names.append(machine.name)
        billed["memories"] |= dict.fromkeys(m.energy for m in machine.memories)
        for array in machine.arrays:
            billed["memories"][array.registers.energy] = None
            actions = (action for o in array.operations for action, _ in o.bill)
            billed["actions"] |= dict.fromkeys((*array.units, *actions))
    wrong = [
        Problem(
            f"{' and '.join(names)} bill{'s' * (len(names) == 1)} no '{name.text}', so that this"
            " changes nothing",
            name.span,
            f"billed: {', '.join(billed[kind.text])}",
        )
        for setting in settings
        if len(setting.path) > 1
        for kind, name in [setting.path[:2]]
        if kind.text in billed and name.text not in billed[kind.text]
    ]
    if wrong:
        raise SpecError(wrong)
