"""Binding: a mapping on a cascade, shapes and a machine becomes a loop nest with sizes."""
