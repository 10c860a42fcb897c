"""Arrays of machines that were read lately, in whatever else those differ."""

from __future__ import annotations

from einsum_cascade.memo import IdentityCache
from einsum_cascade.yaml.edit import Setting, apply_settings
from einsum_cascade.yaml.source import YamlNode

from .architecture import ARRAYS, KEY, ArraysRead

_KEPT = 32
"""Arrays that are remembered: a grid has some sizes of them, in any order."""


class RecentArrays(IdentityCache[ArraysRead]):
    """Those that were read lately, by their node in the file with settings made."""

    def __init__(self) -> None:
        super().__init__(_KEPT)
        self._made: list[tuple[YamlNode, tuple[Setting, ...], YamlNode]] = []

    def tree(self, file: YamlNode, settings: tuple[Setting, ...]) -> YamlNode:
        """The tree of a file with settings made, in which arrays that were set alike before are
        the same node.

        Parameters
        ----------
        file : YamlNode
            As it is written.
        settings : tuple of Setting
            From its root.

        Raises
        ------
        SpecError
            As ``apply_settings``.
        """
        mine = tuple(s for s in settings if [step.text for step in s.path[:2]] == [KEY, ARRAYS])
        if not mine or any(len(s.path) < 2 for s in settings):
            return apply_settings(file, settings)
        # What is set of arrays changes nothing else, and nothing else changes them.
        rest = [s for s in settings if s not in mine]
        for known, made, root in self._made:
            if known is file and made == mine:
                return apply_settings(root, rest)
        root = apply_settings(file, mine)
        self._made = [(file, mine, root), *self._made[: _KEPT - 1]]
        return apply_settings(root, rest)
