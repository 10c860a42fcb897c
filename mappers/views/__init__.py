"""Reports and pictures of searches, fronts and capacity curves."""
