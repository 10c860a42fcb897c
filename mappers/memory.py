"""What searches found, kept from one run to the next in the user's cache directory.

A mapping is kept under the content of its problem: the cascade's equations, the shapes, the
machine with its technology, the objective, and the version of this package. Whoever changes
one of them asks another question. The first line of a file says what the rest was, so that one
which is no longer all there is not believed. ``ARCHSIM_CACHE`` names another directory; set to
nothing, nothing is kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as Sizes
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from archsim.spec.arch import Architecture
from archsim.spec.files.mapping_text import mapping_text
from archsim.spec.mapping import Mapping
from archsim.version import installed_version
from archsim.writing import OutputFolder
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.notation.printer import program_text
from einsum_cascade.yaml.library import file_exists

VARIABLE = "ARCHSIM_CACHE"
"""The environment variable that names the directory."""


@dataclass(frozen=True, kw_only=True)
class MappingKey:
    """What a mapping is the answer to: ``shapes`` in elements by rank, parameters among them."""

    program: Program
    architecture: Architecture
    shapes: Sizes[str, int]
    objective: str
    folder: str = "mappings"
    """Where answers are kept, below the user's cache directory."""

    @property
    def key(self) -> str:
        """A name for the question that no other has."""
        machine = replace(self.architecture, source="")
        shapes = sorted(self.shapes.items())
        parts = (
            installed_version(),
            program_text(self.program),
            repr(self.program.formats),
            repr(machine),
            repr(shapes),
            self.objective,
        )
        # No part has a zero byte, so that two questions never run into one text.
        return sha256("\0".join(parts).encode()).hexdigest()


RUNNER_UP = "-runner-up"
"""What is kept beside a mapping is named by it and this: the runner-up of its search."""


def recall(question: MappingKey, which: str = "") -> Mapping | None:
    """The mapping that a search found for just this problem, if one did.

    Parameters
    ----------
    which : str
        ``RUNNER_UP``, or nothing.
    """
    path = _place(question, f"{which}.yaml")
    if path is None or _kept(path) is None:
        return None
    # What cannot be read any more is searched for again.
    with suppress(InputError):
        return Mapping.load(path)
    return None


def remember(
    question: MappingKey, mapping: Mapping, which: str = "", *, another: bool = False
) -> None:
    """Keep a mapping; where nothing can be written, nothing is.

    Parameters
    ----------
    which : str
        As of ``recall``.
    another : bool
        Whether it is of the cascade that it names, and not of the question's, which it need not
        call by its name.
    """
    kept = mapping if another else replace(mapping, cascade=question.program.name)
    _keep(_place(question, f"{which}.yaml"), mapping_text(kept))


def recall_beside(question: MappingKey) -> str | None:
    """What else was kept of a search, if anything was."""
    path = _place(question, ".json")
    return None if path is None else _kept(path)


def remember_beside(question: MappingKey, text: str) -> None:
    """Keep what else is known of a search; where nothing can be written, nothing is.

    Parameters
    ----------
    text : str
        What ``recall_beside`` gives.
    """
    _keep(_place(question, ".json"), text)


def _keep(path: Path | None, text: str) -> None:
    if path is None:
        return
    # Another process may read it at this moment: it finds all of it, or nothing.
    with suppress(InputError), OutputFolder(path.parent) as folder:
        folder.text(path.name, f"{_sealed(text)}\n{text}")


def _kept(path: Path) -> str | None:
    """The text that was kept; None where there is none, or it is not all as it was."""
    if not file_exists(path):
        return None
    with suppress(OSError, UnicodeDecodeError):
        head, _, text = path.read_text(encoding="utf-8").partition("\n")
        return text if head == _sealed(text) else None
    return None


def _sealed(text: str) -> str:
    """A comment of YAML that no other text has."""
    return f"# {sha256(text.rstrip().encode()).hexdigest()}"


def _place(question: MappingKey, suffix: str) -> Path | None:
    named = os.environ.get(VARIABLE)
    if named == "":
        return None
    if named is None:
        # Not above: who gives a mapping need not wait for it.
        from platformdirs import user_cache_path

        try:
            folder = user_cache_path("archsim")
        except RuntimeError:  # nobody has a home here
            return None
        # Older versions give a place below "~" then, which is a folder like any other; and a home
        # that is not there is not made.
        *below, _root = folder.parents
        if not folder.is_absolute() or not any(path.is_dir() for path in below):
            return None
    else:
        folder = Path(named)
    return folder / question.folder / f"{question.key}{suffix}"
