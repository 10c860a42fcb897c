"""The mapspace: factorisations, placements on arrays, fusion and residency."""
