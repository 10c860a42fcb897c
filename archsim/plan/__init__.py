"""Planner: the jobs of a workload, a mapping for each job, and their results."""
