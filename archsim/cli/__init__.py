"""Command line: ``archsim simulate``, ``archsim analyze`` and the other commands."""

from .application import archsim, main

__all__ = ["archsim", "main"]
