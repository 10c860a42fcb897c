"""Version of the package."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

_PACKAGES = ("archsim", "einsum_cascade", "mappers", "specs", "workloads")


def installed_version() -> str:
    """Return the version, such as ``0.1.0``; empty if the package is not installed."""
    try:
        return version("archsim")
    except PackageNotFoundError:
        return ""


@cache
def source_hash() -> str:
    """Return the hash of all files of the packages: code, and built-in specifications."""
    found = sha256()
    for package in _PACKAGES:
        for name, data in _files_in(files(package)):
            found.update(f"{package} {name} {len(data)}\n".encode())
            found.update(data)
    return found.hexdigest()


def _files_in(folder: Traversable) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file below a folder, in a fixed order."""
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_file():
            yield entry.name, entry.read_bytes()
        elif entry.name != "__pycache__":
            yield from _files_in(entry)
