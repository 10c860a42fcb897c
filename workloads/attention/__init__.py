"""One layer's attention in a phase: its cascade, shapes, shared heads and omissions."""
