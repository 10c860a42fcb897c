"""Generators: mappings built for any cascade by rules, without a search."""
