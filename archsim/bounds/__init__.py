"""Lower bounds: the floor under any mapping of a cascade, and the bounds from which it is made."""
