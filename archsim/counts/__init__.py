"""Counts of a bound mapping: memory accesses, array occupancy, spills, and sums over all cores."""
