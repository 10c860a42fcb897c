"""Validation: cascades and mapped loop nests run on random numbers and are compared with
references."""
