"""Version of the package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version, such as ``0.1.0``; empty if the package is not installed."""
    try:
        return version("archsim")
    except PackageNotFoundError:
        return ""
