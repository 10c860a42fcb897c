"""Which version of the package this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version, such as ``0.1.0``; empty where it is run from its source, not installed."""
    try:
        return version("archsim")
    except PackageNotFoundError:
        return ""
