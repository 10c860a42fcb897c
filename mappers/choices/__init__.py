"""Open choices of a mapping file: combinations, and the cheapest legal one."""
