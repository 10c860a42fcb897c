"""What a cascade costs: points, operations, footprints, traffic, in its shapes."""
