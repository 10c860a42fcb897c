"""Evaluation of a cascade on numpy arrays: the parts of ``einsum_cascade.numeric.reference``."""
