"""Schedules: step programs, and the order in which resources issue their tasks."""
