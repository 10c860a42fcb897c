"""Pareto fronts and capacity curves."""
