"""Reader of specification files: YAML with positions, settings, schemas, and built-in files."""
