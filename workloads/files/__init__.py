"""Workload files and settings, read into a ``Workload``."""
