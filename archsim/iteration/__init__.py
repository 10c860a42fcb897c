"""Iteration spaces, tiles, bands and access maps, with exact counts; no machine is needed."""
