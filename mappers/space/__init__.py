"""The space of mappings: factorisations, layouts, fusion."""
