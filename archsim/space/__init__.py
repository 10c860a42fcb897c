"""Iteration spaces, tiles and bands: whole numbers, and no machine."""
