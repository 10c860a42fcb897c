"""Sweeps: one run for every point of a grid of settings, stored so that a later start goes on."""
