"""Attention of one layer in a phase: its cascade, shapes, shared heads and omissions."""
