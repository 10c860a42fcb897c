"""Searches of mappings with several nests: a shortest path over cuts of the cascade."""
