"""Algebra on the intermediate representation: terms, masks, excerpts, sweeps, a bridge to sympy."""
