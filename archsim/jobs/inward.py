"""Shared loops brought to a memory inside of the one where a mapping has them.

What is made for one instance knows its share of the memories that feed it. Together they hold
what all of them need once, so that there is room under fewer loops.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec.mapping import Mapping, NestLevel


def brought_inward(mapping: Mapping, outer: str, inner: str, number: int) -> Mapping:
    """The innermost shared loops of a memory, and all that Einsums have of their own there, at a
    memory inside of it.

    Parameters
    ----------
    mapping : Mapping
    outer, inner : str
        The memories, as the mapping names them.
    number : int
        Of the shared loops.
    """
    nest: list[NestLevel] = []
    for level in mapping.nest:
        if level.level != outer:
            nest.append(level)
            continue
        stay = len(level.loops) - number
        nest.append(replace(level, loops=level.loops[:stay]))
        nest.append(replace(level, level=inner, loops=level.loops[stay:]))
    einsums = (
        replace(
            e,
            nest=tuple(
                replace(level, level=inner) if level.level == outer else level for level in e.nest
            ),
        )
        for e in mapping.einsums
    )
    return replace(
        mapping, nest=tuple(level for level in nest if level.loops), einsums=tuple(einsums)
    )
