"""Lower bounds: the floor of any mapping, and the bounds from which it is made."""
