"""Binding of a mapping: names become a loop nest with sizes.

A binding combines a mapping with a cascade, the shapes of its ranks, and a machine.
"""
