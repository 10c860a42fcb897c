"""Files of machines, mappings and technologies: their fields, their units, reading and writing."""
