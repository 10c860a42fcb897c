"""Passes of a cascade over a rank, and the reasons for them."""
