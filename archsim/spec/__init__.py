"""Machines, mappings and technologies: the frozen types here, their files in ``files``."""
