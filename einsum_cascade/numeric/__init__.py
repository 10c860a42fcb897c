"""Modules that evaluate a cascade on numpy arrays; ``numeric.reference`` is the entry point."""
