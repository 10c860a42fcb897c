"""Which mapping runs which part of a workload: the planner."""
