"""Files that people write: YAML with positions, settings, schemas, and what ships."""
