"""Sweeps: one run for every point of a grid of settings, kept where a later start finds it."""
