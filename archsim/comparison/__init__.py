"""Comparison of machines, as they are, at equal area or at equal power."""
