"""Remembered texts, such as mappings that a search found, kept in the user's cache directory.

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
        formats = repr(self.program.formats)
        return content_key(
            program_text(self.program), formats, repr(machine), repr(shapes), self.objective
        )


RUNNER_UP = "-runner-up"
"""Suffix of the file that keeps the runner-up of a search."""


def recall(question: MappingKey, which: str = "") -> Mapping | None:
    """Return the mapping that a search of this very problem found; None if none was kept.

    Parameters
    ----------
    which : str
        ``RUNNER_UP`` for the runner-up; empty for the best mapping.
    """
    name = f"{question.key}{which}.yaml"
    folder, text = _folder(question.folder), recall_text(question.folder, name)
    if folder is None or text is None:
        return None
    # A file that can no longer be read is searched for again.
    with suppress(InputError):
        return build_mapping(read_yaml(Source(str(folder / name), text)))
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
    remember_texts(question.folder, {f"{question.key}{which}.yaml": mapping_text(kept)})


def recall_details(question: MappingKey) -> str | None:
    """Return the JSON text kept with a search; None if there is none."""
    return recall_text(question.folder, f"{question.key}.json")


def remember_details(question: MappingKey, text: str) -> None:
    """Keep a JSON text with a search; where the directory cannot be written, do nothing.

    Parameters
    ----------
    text : str
        Text that ``recall_details`` returns later.
    """
    remember_texts(question.folder, {f"{question.key}.json": text})


def content_key(*parts: str) -> str:
    """Return the hash of the texts on which a result depends, and of the version, as a file name.

    Parameters
    ----------
    *parts : str
        Texts without zero bytes, so that other texts never join to the same one.
    """
    return sha256("\0".join((installed_version(), *parts)).encode()).hexdigest()


def remember_texts(folder: str, texts: Sizes[str, str]) -> None:
    """Keep texts by file name; where the directory cannot be written, do nothing.

    Parameters
    ----------
    folder : str
        Folder below the cache directory.
    """
    path = _folder(folder)
    if path is None or not texts:
        return
    # Another process may read a file at this moment: it finds all of it, or nothing.
    with suppress(InputError), OutputFolder(path) as output:
        for name, text in texts.items():
            output.text(name, f"{_checksum_line(name, text)}\n{text}")


def recall_text(folder: str, name: str) -> str | None:
    """Return a text that was kept; None if there is none, or its checksum is wrong."""
    path = _folder(folder)
    if path is None or not file_exists(path / name):
        return None
    with suppress(OSError, UnicodeDecodeError):
        head, _, text = (path / name).read_text(encoding="utf-8").partition("\n")
        return text if head == _checksum_line(name, text) else None
    return None


def _checksum_line(name: str, text: str) -> str:
    """Return a YAML comment with the checksum of a text and of the name of its file."""
    return f"# {sha256(f'{name} {text.rstrip()}'.encode()).hexdigest()}"


def _folder(name: str) -> Path | None:
    """Return a folder below the cache directory; None if nothing can be kept."""
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
    return folder / name
