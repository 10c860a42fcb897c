"""Validation: cascades and mapped nests run on numbers and compared with references."""
