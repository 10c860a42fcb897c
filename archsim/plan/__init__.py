"""Planner: jobs of a workload, the mapping of each, and their results."""
