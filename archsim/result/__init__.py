"""Result of a simulation: its record, JSON, reports and figures."""
