"""Compiled kernels of the exact search: measures, lower bounds, and branch and bound."""
