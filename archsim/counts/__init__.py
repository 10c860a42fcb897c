"""Counts of a bound mapping: accesses, occupancy, spills, and the sums over all cores."""
