"""The planner: jobs of a workload, the mapping of each, and their runs."""
