"""Files of machines, mappings and technologies: fields, units, reading and writing."""
