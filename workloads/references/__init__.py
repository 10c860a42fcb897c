"""Numpy references of the built-in cascades, written independently of the cascades.

Each function takes the inputs and parameters of a cascade by name, and returns the outputs by name.
Arrays have the cascade's index order (``Q`` is [P, E], ``K`` [M, E], ``V`` [M, F]) with any
parallel ranks in front. A result may depend on the shape of a rank that no input has (the size of a
block): the function takes this shape by the rank's name. A cascade file names its function under
``reference:``. No function uses the cascade language.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isfunction
from typing import Any

from . import applications, attention, layers, memory, recurrent, sparse

__all__ = ["REFERENCES", "Reference", "find_reference"]


@dataclass(frozen=True)
class Reference:
    """Named reference function, which takes a cascade's inputs and parameters by keyword.

    A keyword that is a rank receives the rank's shape, if the result depends on it (the size of a
    block). The function gives arrays by output, or the array of the only output.
    """

    name: str
    function: Callable[..., Any]

    def __call__(self, **arguments: Any) -> Any:
        """Evaluate the function on inputs and parameters by keyword."""
        return self.function(**arguments)


_MODULES = (attention, recurrent, sparse, memory, layers, applications)
REFERENCES: tuple[Reference, ...] = tuple(
    Reference(name, function)
    for module in _MODULES
    for name, function in vars(module).items()
    if isfunction(function) and function.__module__ == module.__name__ and name[0] != "_"
)
"""References by name: every public function of these modules is one."""


def find_reference(name: str) -> Reference | None:
    """Return the reference with a name, or None."""
    return next((r for r in REFERENCES if r.name == name), None)
