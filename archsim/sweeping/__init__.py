"""Sweeps: one run for every point of a grid of settings, stored so that a sweep can be resumed."""
