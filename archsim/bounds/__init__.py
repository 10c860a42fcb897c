"""Lower bounds: the floor of any mapping, and what it is made of."""
