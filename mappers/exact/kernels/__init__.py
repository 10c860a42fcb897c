"""Compiled kernels of the exact search: measures, bounds, and the branch and bound."""
