"""Remembered mappings: results of searches, kept between runs in the user's cache directory.

A mapping is kept under the content of its problem: equations of the cascade, shapes, machine and
technology, objective, and version of this package. A change of any of them is another problem. The
first line of a file is a checksum of its name and of the rest, so that a damaged or renamed file is
ignored. The variable ``ARCHSIM_CACHE`` names another directory; if it is empty, nothing is kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as Sizes
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from archsim.spec.arch import Architecture
from archsim.spec.files.mapping import build_mapping
from archsim.spec.files.mapping_text import mapping_text
from archsim.spec.mapping import Mapping
from archsim.version import installed_version
from archsim.writing import OutputFolder
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.notation import program_text
from einsum_cascade.source import Source
from einsum_cascade.yaml.library import file_exists
from einsum_cascade.yaml.source import read_yaml

VARIABLE = "ARCHSIM_CACHE"
"""Environment variable that names the cache directory."""


@dataclass(frozen=True, kw_only=True)
class MappingKey:
    """Content of a mapping problem: ``shapes`` in elements by rank, with values of parameters."""

    program: Program
    architecture: Architecture
    shapes: Sizes[str, int]
    objective: str
    folder: str = "mappings"
    """Folder below the cache directory."""

    @property
    def key(self) -> str:
        """Hash of the content, as a file name."""
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
        # No part contains a zero byte, so two problems never give the same text.
        return sha256("\0".join(parts).encode()).hexdigest()


RUNNER_UP = "-runner-up"
"""Suffix of the file that keeps the runner-up of a search."""


def recall(question: MappingKey, which: str = "") -> Mapping | None:
    """Return the mapping that a search of this very problem found; None if none was kept.

    Parameters
    ----------
    which : str
        ``RUNNER_UP`` for the runner-up; empty for the best mapping.
    """
    path = _path(question, f"{which}.yaml")
    text = _kept(path)
    # A file that can no longer be read is searched for again.
    with suppress(InputError):
        return None if text is None else build_mapping(read_yaml(Source(str(path), text)))
    return None


def remember(
    question: MappingKey, mapping: Mapping, which: str = "", *, another: bool = False
) -> None:
    """Keep a mapping; where the directory cannot be written, do nothing.

    Parameters
    ----------
    which : str
        As in ``recall``.
    another : bool
        True if the mapping is of the cascade that it names, and not of the problem's own.
    """
    kept = mapping if another else replace(mapping, cascade=question.program.name)
    _keep(_path(question, f"{which}.yaml"), mapping_text(kept))


def recall_details(question: MappingKey) -> str | None:
    """Return the JSON text kept with a search; None if there is none."""
    return _kept(_path(question, ".json"))


def remember_details(question: MappingKey, text: str) -> None:
    """Keep a JSON text with a search; where the directory cannot be written, do nothing.

    Parameters
    ----------
    text : str
        Text that ``recall_details`` returns later.
    """
    _keep(_path(question, ".json"), text)


def _keep(path: Path | None, text: str) -> None:
    if path is None:
        return
    # Another process may read the file at this moment: it finds all of it, or nothing.
    with suppress(InputError), OutputFolder(path.parent) as folder:
        folder.text(path.name, f"{_checksum_line(path, text)}\n{text}")


def _kept(path: Path | None) -> str | None:
    """Return the text of a file; None if there is none, or its checksum is wrong."""
    if path is None or not file_exists(path):
        return None
    with suppress(OSError, UnicodeDecodeError):
        head, _, text = path.read_text(encoding="utf-8").partition("\n")
        return text if head == _checksum_line(path, text) else None
    return None


def _checksum_line(path: Path, text: str) -> str:
    """Return a YAML comment with the checksum of a text and of the name of its file."""
    return f"# {sha256(f'{path.name} {text.rstrip()}'.encode()).hexdigest()}"


def _path(question: MappingKey, suffix: str) -> Path | None:
    named = os.environ.get(VARIABLE)
    if named == "":
        return None
    if named is None:
        # imported late: most commands never ask for the directory
        from platformdirs import user_cache_path

        try:
            folder = user_cache_path("archsim")
        except RuntimeError:  # the user has no home directory
            return None
        # Older versions return a path below "~" in this case, which is a folder like any other. A
        # home directory that does not exist is not created.
        *below, _root = folder.parents
        if not folder.is_absolute() or not any(path.is_dir() for path in below):
            return None
    else:
        folder = Path(named)
    return folder / question.folder / f"{question.key}{suffix}"
