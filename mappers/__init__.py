"""The search for mappings."""
