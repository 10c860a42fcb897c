"""Pictures of a result. The modules here import matplotlib: load them only to draw."""
