"""Reader of workload files and settings."""
