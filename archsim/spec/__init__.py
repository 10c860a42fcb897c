"""Specifications of machines, technologies and mappings: YAML in, frozen types out."""
