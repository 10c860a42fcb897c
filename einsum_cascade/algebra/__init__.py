"""Algebra on the IR: terms, masks, excerpts, sweeps, and a bridge to sympy."""
