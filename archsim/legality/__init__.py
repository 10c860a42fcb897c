"""Legality: whether a bound nest computes its cascade and fits its memories. ``bind`` is here,
too."""
