"""Searches of relaxations: simpler machines whose mappings are lifted back to the real machine."""
