"""How often a cascade has to pass over a rank, and why."""
