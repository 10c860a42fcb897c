"""Exact steps of a run: the iterations of its loops, classed by work and stored as run lengths."""
