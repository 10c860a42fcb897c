"""Symbolic cost of a cascade in its shapes: points, operations, footprints and traffic."""
