"""Machines side by side, as they are or at equal area."""
