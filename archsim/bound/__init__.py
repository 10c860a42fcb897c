"""A mapping bound to a cascade, shapes and a machine; whether it is legal."""
