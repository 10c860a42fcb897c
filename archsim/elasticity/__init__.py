"""Sensitivity of a run to every number of its machine."""
