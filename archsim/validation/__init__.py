"""Running cascades and mapped nests on numbers, and comparing them with references."""
