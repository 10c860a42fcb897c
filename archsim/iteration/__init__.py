"""Iteration spaces, tiles, bands and access maps: exact integer counts without a machine."""
